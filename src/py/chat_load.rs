//! The chat load generator, for Python.

use std::net::SocketAddr;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::signals::heeding_signals;
use crate::core::chat::load::ChatLoad;

/// Let one talk and the others listen, with `depth` lines in flight, and check every delivery.
///
/// Gives the deliveries, the seconds they took, and the median and 99th percentile of their latency in seconds.
#[pyfunction]
pub fn load_chat(
    py: Python<'_>,
    address: &str,
    listeners: usize,
    depth: u64,
    lines: u64,
) -> PyResult<(u64, f64, f64, f64)> {
    let address: SocketAddr = address.parse().map_err(|_| PyValueError::new_err("address must be ADDRESS:PORT"))?;
    if listeners == 0 || depth == 0 || lines == 0 {
        return Err(PyValueError::new_err("nothing to say, or nobody to hear it"));
    }
    let load = ChatLoad { address, listeners, depth, lines };
    let report = heeding_signals(py, |keep_going| load.run(keep_going))?;
    Ok((report.deliveries, report.elapsed.as_secs_f64(), report.median.as_secs_f64(), report.p99.as_secs_f64()))
}
