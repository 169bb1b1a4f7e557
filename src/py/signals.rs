//! Ctrl-C while Rust works: the work asks, now and then, whether to go on.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::core::errors::Error;

/// Run `work` detached; Ctrl-C ends it.
pub fn heeding_signals<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let mut interrupt: Option<PyErr> = None;
    let heed = &mut interrupt;
    let result = py.detach(|| {
        work(&mut || {
            *heed = Python::attach(|py| py.check_signals().err());
            heed.is_none()
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
