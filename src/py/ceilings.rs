//! The raw loops that benchmarks compare the scanner and the servers with.

use std::net::{TcpListener, UdpSocket};

use pyo3::prelude::*;

use super::signals::{heeding_signals, seldom};
use crate::core::ceilings::{chat, connect, datagrams, echo};
use crate::core::errors::Error;

/// Count the ports of an address from `first` to `last` that accept a connection; see `core::ceilings::connect`.
#[pyfunction]
pub fn raw_connect_loop(py: Python<'_>, host: &str, first: u16, last: u16, threads: usize) -> PyResult<usize> {
    let address = host.parse().map_err(|_| Error::Value(format!("{host:?} is not an IP address")))?;
    Ok(py.detach(|| connect::run(address, first, last, threads))?)
}

/// Echo on 127.0.0.1 with the least work that can be done, until Ctrl-C; `tell` is called with the port.
#[pyfunction]
pub fn raw_echo_loop(py: Python<'_>, tell: &Bound<'_, PyAny>) -> PyResult<()> {
    let listener = listen(tell)?;
    heeding_signals(py, |keep_going| echo::run(listener, seldom(keep_going)))
}

/// Chat on 127.0.0.1 with the least work that can be done, until Ctrl-C; `tell` is called with the port.
#[pyfunction]
pub fn raw_chat_loop(py: Python<'_>, tell: &Bound<'_, PyAny>) -> PyResult<()> {
    let listener = listen(tell)?;
    heeding_signals(py, |keep_going| chat::run(listener, seldom(keep_going)))
}

/// Send datagrams to 127.0.0.1 back after `prefix`, with the least work that can be done, until Ctrl-C; `tell` is called
/// with the port.
#[pyfunction]
pub fn raw_datagram_loop(py: Python<'_>, prefix: &[u8], tell: &Bound<'_, PyAny>) -> PyResult<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).map_err(Error::Io)?;
    tell.call1((socket.local_addr().map_err(Error::Io)?.port(),))?;
    let socket = socket.into();
    heeding_signals(py, |keep_going| Ok(datagrams::run(&socket, prefix, seldom(keep_going))?))
}

fn listen(tell: &Bound<'_, PyAny>) -> PyResult<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::Io)?;
    listener.set_nonblocking(true).map_err(Error::Io)?;
    tell.call1((listener.local_addr().map_err(Error::Io)?.port(),))?;
    Ok(listener)
}
