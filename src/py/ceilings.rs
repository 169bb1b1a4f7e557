//! The raw loops that benchmarks compare the scanner and the servers with.

use std::net::{TcpListener, UdpSocket};

use pyo3::prelude::*;

use super::signals::{heeding_signals, seldom};
use crate::core::chat::load::raw_chat_loop as chat_loop;
use crate::core::errors::Error;
use crate::core::raw_loop::raw_echo_loop as echo_loop;
use crate::core::scan::raw_loop;
use crate::core::udp::raw_loop::raw_datagram_loop as datagram_loop;

/// Count the ports of an address from `first` to `last` that accept a connection; see `core::scan::raw_loop`.
#[pyfunction]
pub fn raw_connect_loop(py: Python<'_>, host: &str, first: u16, last: u16, threads: usize) -> PyResult<usize> {
    let address = host.parse().map_err(|_| Error::Value(format!("{host:?} is not an IP address")))?;
    Ok(py.detach(|| raw_loop::raw_connect_loop(address, first, last, threads))?)
}

/// Echo on 127.0.0.1 with the least work that can be done, until Ctrl-C; `tell` is called with the port.
#[pyfunction]
pub fn raw_echo_loop(py: Python<'_>, tell: &Bound<'_, PyAny>) -> PyResult<()> {
    let listener = listen(tell)?;
    heeding_signals(py, |keep_going| echo_loop(listener, seldom(keep_going)))
}

/// Chat on 127.0.0.1 with the least work that can be done, until Ctrl-C; `tell` is called with the port.
#[pyfunction]
pub fn raw_chat_loop(py: Python<'_>, tell: &Bound<'_, PyAny>) -> PyResult<()> {
    let listener = listen(tell)?;
    heeding_signals(py, |keep_going| chat_loop(listener, seldom(keep_going)))
}

/// Send datagrams to 127.0.0.1 back after `prefix`, with the least work that can be done, until Ctrl-C; `tell` is called
/// with the port.
#[pyfunction]
pub fn raw_datagram_loop(py: Python<'_>, prefix: &[u8], tell: &Bound<'_, PyAny>) -> PyResult<()> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).map_err(Error::Io)?;
    tell.call1((socket.local_addr().map_err(Error::Io)?.port(),))?;
    let socket = socket.into();
    heeding_signals(py, |keep_going| Ok(datagram_loop(&socket, prefix, seldom(keep_going))?))
}

fn listen(tell: &Bound<'_, PyAny>) -> PyResult<TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::Io)?;
    listener.set_nonblocking(true).map_err(Error::Io)?;
    tell.call1((listener.local_addr().map_err(Error::Io)?.port(),))?;
    Ok(listener)
}
