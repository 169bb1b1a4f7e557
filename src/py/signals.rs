//! Ctrl-C while Rust works: the work asks, now and then, whether to go on.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::core::errors::Result;
use crate::core::latch::caught;

/// How soon Ctrl-C is seen, at the latest.
const SLICE: Duration = Duration::from_millis(50);

/// Wait at most `timeout` seconds, detached, for what `wait` waits for, and give it; Ctrl-C ends the wait.
///
/// What is no number or negative is no time at all, and what no clock can tell is no limit.
pub fn wait_in_slices<T: Send>(
    py: Python<'_>,
    timeout: f64,
    wait: impl Fn(Duration) -> Result<Option<T>> + Sync,
) -> PyResult<Option<T>> {
    let timeout = Duration::try_from_secs_f64(timeout.max(0.0)).ok();
    let deadline = caught(|| Ok(timeout.and_then(|timeout| Instant::now().checked_add(timeout))))?;
    let slice = || {
        let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()));
        Ok((wait(left.min(SLICE))?, left.is_zero()))
    };
    loop {
        let (found, over) = py.detach(|| caught(slice))?;
        if found.is_some() || over {
            return Ok(found);
        }
        py.check_signals()?;
    }
}

/// The same, for what comes or not.
pub fn wait_for_end(py: Python<'_>, timeout: f64, wait: impl Fn(Duration) -> Result<bool> + Sync) -> PyResult<bool> {
    Ok(wait_in_slices(py, timeout, |slice| Ok(wait(slice)?.then_some(())))?.is_some())
}

/// Run `work` detached; Ctrl-C ends it.
pub fn heeding_signals<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<T> + Send,
) -> PyResult<T> {
    let mut interrupt: Option<PyErr> = None;
    let heed = &mut interrupt;
    let result = py.detach(|| {
        caught(|| {
            work(&mut || {
                *heed = Python::attach(|py| py.check_signals().err());
                heed.is_none()
            })
        })
    });
    match interrupt {
        Some(error) => Err(error),
        None => Ok(result?),
    }
}

/// Ask only every 100 ms: attaching in every turn would cost what is to be measured.
pub fn seldom(keep_going: &mut dyn FnMut() -> bool) -> impl FnMut() -> bool {
    let mut looked = Instant::now();
    move || {
        if looked.elapsed() < Duration::from_millis(100) {
            return true;
        }
        looked = Instant::now();
        keep_going()
    }
}
