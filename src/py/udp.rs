//! UDP for Python: datagrams as tuples, replies as bytes, everything between detached.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyTuple, PyType};

use super::owned;
use super::signals::wait_for_end;
use crate::core::errors::{Error, Result};
use crate::core::latch::{caught, lock};
use crate::core::os::addresses;
use crate::core::udp::echo::Echo;
use crate::core::udp::{Counts, Options, Reactor, Shared};

/// The peers that are remembered as Python objects: most datagrams come from somebody known.
const PEERS: usize = 1024;

type Plan = (usize, bool, bool);

/// The Python types that results are made of.
struct Types {
    new: Py<PyAny>,
    datagram: Py<PyAny>,
    peer: Py<PyAny>,
    tally: Py<PyAny>,
}

static TYPES: PyOnceLock<Types> = PyOnceLock::new();

fn types(py: Python<'_>) -> PyResult<&'static Types> {
    TYPES.get_or_try_init(py, || {
        let types = py.import("oxisock.types")?;
        Ok(Types {
            // A NamedTuple made by tuple.__new__ costs a third of one made by calling its class.
            new: PyType::new::<PyTuple>(py).getattr("__new__")?.unbind(),
            datagram: types.getattr("Datagram")?.unbind(),
            peer: types.getattr("Peer")?.unbind(),
            tally: py.import("oxisock.engines.udp")?.getattr("UdpTally")?.unbind(),
        })
    })
}

fn options((max_datagram, answer_low_ports, wildcard): Plan) -> Options {
    Options { max_datagram, answer_low_ports, wildcard }
}

fn grace(seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else { return Ok(None) };
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err("seconds must not be negative"));
    }
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

fn peer_object(py: Python<'_>, peer: SocketAddr) -> PyResult<Py<PyAny>> {
    let types = types(py)?;
    let fields = (addresses::host(peer), peer.port());
    types.new.call1(py, (types.peer.bind(py), fields))
}

fn tally(py: Python<'_>, counts: Counts) -> PyResult<Py<PyAny>> {
    types(py)?.tally.call1(
        py,
        (
            counts.messages,
            counts.bytes_in,
            counts.bytes_out,
            counts.too_long,
            counts.timeouts,
            counts.icmp_errors,
            counts.ignored,
            counts.drained,
            counts.aborted,
        ),
    )
}

struct Turning {
    reactor: Reactor,
    peers: HashMap<SocketAddr, Py<PyAny>>,
}

impl Turning {
    fn batch<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let types = types(py)?;
        let (new, class) = (types.new.bind(py), types.datagram.bind(py));
        let batch = self.reactor.batch();
        let mut made = Vec::with_capacity(batch.len());
        for (arrival, data) in batch {
            let peer = if let Some(known) = self.peers.get(&arrival.peer) {
                known.clone_ref(py)
            } else {
                let fresh = peer_object(py, arrival.peer)?;
                if self.peers.len() >= PEERS {
                    self.peers.clear();
                }
                self.peers.insert(arrival.peer, fresh.clone_ref(py));
                fresh
            };
            made.push(new.call1((class, (PyBytes::new(py, data), peer, arrival.truncated)))?);
        }
        PyList::new(py, made)
    }
}

/// A UDP socket that Python turns.
#[pyclass(frozen, module = "oxisock._native")]
pub struct UdpReactor {
    turning: Mutex<Option<Turning>>,
    shared: Arc<Shared>,
}

impl UdpReactor {
    fn locked(&self) -> MutexGuard<'_, Option<Turning>> {
        lock(&self.turning)
    }
}

#[pymethods]
impl UdpReactor {
    fn turn<'py>(&self, py: Python<'py>, replies: Vec<Option<PyBackedBytes>>) -> PyResult<Option<Bound<'py, PyList>>> {
        let turn = || {
            let mut guard = self.locked();
            let turning = guard.as_mut().ok_or_else(|| Error::State("the loop is closed".to_owned()))?;
            Ok(turning.reactor.turn(&replies))
        };
        let on = py.detach(|| caught(turn))?;
        if !on {
            return Ok(None);
        }
        // Only the turning thread and `close` take this lock while attached, and neither keeps it.
        self.locked().as_mut().map(|turning| turning.batch(py)).transpose()
    }

    fn refused(&self, py: Python<'_>) -> PyResult<Vec<(Py<PyAny>, usize)>> {
        let refused = self.locked().as_mut().map(|turning| turning.reactor.take_refused());
        refused.unwrap_or_default().into_iter().map(|(peer, len)| Ok((peer_object(py, peer)?, len))).collect()
    }

    fn end(&self, drain: Option<f64>) -> PyResult<()> {
        self.shared.end(grace(drain)?);
        Ok(())
    }

    fn close(&self, py: Python<'_>) {
        let ended = py.detach(|| self.locked().take());
        // Attached again: it holds Python objects.
        drop(ended);
    }

    fn abandon(&self) {
        self.shared.abandon();
    }

    fn tally(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        tally(py, self.shared.counts())
    }
}

/// A UDP echo server on a thread of its own.
#[pyclass(frozen, module = "oxisock._native")]
pub struct UdpEchoReactor {
    echo: Echo,
}

#[pymethods]
impl UdpEchoReactor {
    fn end(&self, drain: Option<f64>) -> PyResult<()> {
        self.echo.shared().end(grace(drain)?);
        Ok(())
    }

    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        grace(Some(timeout))?;
        wait_for_end(py, timeout, |slice| self.echo.wait(slice))
    }

    fn abandon(&self) {
        self.echo.shared().abandon();
    }

    fn tally(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        tally(py, self.echo.shared().counts())
    }
}

/// Takes over a bound socket, to be turned by the caller.
#[pyfunction]
pub fn udp_reactor(fd: i64, plan: Plan) -> Result<UdpReactor> {
    // SAFETY: the face passes what `socket.detach()` gave.
    let socket = unsafe { owned(fd) }?;
    let reactor = Reactor::new(socket.into(), options(plan), b"")?;
    let shared = reactor.shared();
    Ok(UdpReactor { turning: Mutex::new(Some(Turning { reactor, peers: HashMap::new() })), shared })
}

/// Takes over a bound socket and begins to echo.
#[pyfunction]
pub fn start_udp_echo(fd: i64, plan: Plan, prefix: PyBackedBytes) -> Result<UdpEchoReactor> {
    // SAFETY: the face passes what `socket.detach()` gave.
    let socket = unsafe { owned(fd) }?;
    Ok(UdpEchoReactor { echo: Echo::start(socket.into(), options(plan), &prefix)? })
}
