//! What every TCP server under way offers Python, whatever it serves: its end, its counters, and what a fork is to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::core::reactor::control::Control;

/// How soon Ctrl-C is seen, at the latest.
const SLICE: Duration = Duration::from_millis(50);

/// A TCP server under way.
#[pyclass(frozen, subclass, module = "oxisock._native")]
pub struct ReactorRun {
    control: Arc<Control>,
}

impl ReactorRun {
    /// The server whose reactors share `control`.
    pub fn of(control: &Arc<Control>) -> Self {
        Self { control: Arc::clone(control) }
    }
}

#[pymethods]
impl ReactorRun {
    /// Stop listening and end within `drain` nanoseconds.
    fn begin_stop(&self, drain: u64) {
        self.control.begin_stop(drain);
    }

    /// Give the connections drained and aborted by the stop.
    fn outcome(&self) -> (u64, u64) {
        self.control.outcome()
    }

    /// Give the fields of `ServerStats`.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.control.counters())
    }

    /// From now on, shut sockets down before closing them.
    fn forked(&self) {
        self.control.forked();
    }

    /// Let go of the listener: this is a forked child.
    fn abandon(&self) {
        self.control.abandon();
    }
}

/// Wait at most `timeout` seconds for what `wait` waits for; say whether it came.
pub fn wait_in_slices(py: Python<'_>, timeout: f64, wait: impl Fn(Duration) -> bool + Sync) -> PyResult<bool> {
    let deadline =
        Duration::try_from_secs_f64(timeout.max(0.0)).ok().and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()));
        if py.detach(|| wait(left.min(SLICE))) {
            return Ok(true);
        }
        if left.is_zero() {
            return Ok(false);
        }
        py.check_signals()?;
    }
}
