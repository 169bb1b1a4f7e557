//! The raw connect loop that benchmarks compare the scanner with.

use pyo3::prelude::*;

use crate::core::errors::Error;
use crate::core::scan::raw_loop;

/// Count the ports of an address from `first` to `last` that accept a connection; see `core::scan::raw_loop`.
#[pyfunction]
pub fn raw_connect_loop(py: Python<'_>, host: &str, first: u16, last: u16, threads: usize) -> PyResult<usize> {
    let address = host.parse().map_err(|_| Error::Value(format!("{host:?} is not an IP address")))?;
    Ok(py.detach(|| raw_loop::raw_connect_loop(address, first, last, threads))?)
}
