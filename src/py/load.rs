//! The TCP load generator and the raw echo loop, for Python.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::core::errors::Error;
use crate::core::load::{self, TcpLoad};

/// Run `work` detached; Ctrl-C ends it.
pub(super) fn heeding_signals<T: Send>(
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

/// Ask a TCP server over `connections`, `depth` messages in flight on each, and check every answer.
///
/// Gives the messages asked (at least `messages`), the seconds it took, and the mean seconds of a volley.
#[pyfunction]
pub fn load_tcp(
    py: Python<'_>,
    address: &str,
    connections: usize,
    depth: usize,
    request: Vec<u8>,
    reply: Vec<u8>,
    messages: u64,
) -> PyResult<(u64, f64, f64)> {
    let address: SocketAddr = address.parse().map_err(|_| PyValueError::new_err("address must be ADDRESS:PORT"))?;
    if connections == 0 || depth == 0 || request.is_empty() || reply.is_empty() {
        return Err(PyValueError::new_err("nothing to ask, or nobody to"));
    }
    let load = TcpLoad { address, connections, depth, request, reply, messages };
    let report = heeding_signals(py, |keep_going| load.run(keep_going))?;
    let seconds = |time: Duration| time.as_secs_f64();
    Ok((report.messages, seconds(report.elapsed), seconds(report.latency)))
}

/// Echo on 127.0.0.1 with the least work that can be done, until Ctrl-C; `tell` is called with the port.
#[pyfunction]
pub fn raw_echo_loop(py: Python<'_>, tell: &Bound<'_, PyAny>) -> PyResult<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::Io)?;
    listener.set_nonblocking(true).map_err(Error::Io)?;
    tell.call1((listener.local_addr().map_err(Error::Io)?.port(),))?;
    heeding_signals(py, |keep_going| load::raw_echo_loop(listener, seldom(keep_going)))
}

/// Ask only every 100 ms: attaching in every turn would cost what is to be measured.
pub(super) fn seldom(keep_going: &mut dyn FnMut() -> bool) -> impl FnMut() -> bool {
    let mut looked = Instant::now();
    move || {
        if looked.elapsed() < Duration::from_millis(100) {
            return true;
        }
        looked = Instant::now();
        keep_going()
    }
}
