//! The TCP servers, for Python.

mod machines;

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyType};

use super::buffer::{bytes_of, list_of};
use super::framing::{Framer, feed_error};
use super::owned;
use super::signals::wait_for_end;
use crate::core::errors::Error;
use crate::core::latch::{caught, lock};
use crate::core::os::addresses;
use crate::core::serving::connection::{Faults, Limits};
use crate::core::serving::control::{Control, Stats};
use crate::core::serving::echo;
use crate::core::serving::journal::What;
use crate::core::serving::messages::{self, Action, Batch, Delivery, Input};
use crate::core::serving::running::Running;
use crate::core::serving::service::Plan;

pub use machines::{Connection, ProxyHeader, Shares};

/// The reactors of a TCP server: their end, their counters, and what a fork is to them.
#[pyclass(frozen, subclass, module = "oxisock._native")]
pub struct Reactors {
    control: Arc<Control>,
}

impl Reactors {
    /// The server whose reactors share `control`.
    pub fn of(control: &Arc<Control>) -> Self {
        Self { control: Arc::clone(control) }
    }
}

#[pymethods]
impl Reactors {
    /// Stop listening and end within `drain` nanoseconds.
    fn begin_stop(&self, drain: u64) {
        self.control.begin_stop(drain);
    }

    /// Give the connections drained and aborted by the stop.
    fn outcome(&self) -> (u64, u64) {
        self.control.outcome()
    }

    /// Give the counters, as Python's `ServerStats`.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        named(py, self.control.stats())
    }

    /// Give what happened to connections since the last call, and how much was lost; the first call begins to watch.
    fn notices<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, u64)> {
        let (notices, lost) = self.control.journal.take();
        let found = PyList::empty(py);
        for notice in notices {
            let (what, number) = match notice.what {
                What::Opened => ("opened", 0),
                What::Received(size) => ("received", size),
                What::Closed(reason) => ("closed", reason as usize),
            };
            found.append((notice.when, addresses::host(notice.peer), notice.peer.port(), what, number))?;
        }
        Ok((found, lost))
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

/// Python's `ServerStats`; the counters that belong to UDP stay 0.
fn named(py: Python<'_>, stats: Stats) -> PyResult<Bound<'_, PyAny>> {
    static STATS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let fields = PyDict::new(py);
    fields.set_item("accepted", stats.accepted)?;
    fields.set_item("active", stats.active)?;
    fields.set_item("closed", stats.closed)?;
    fields.set_item("shed", stats.shed)?;
    fields.set_item("rejected", stats.rejected)?;
    fields.set_item("messages", stats.messages)?;
    fields.set_item("bytes_in", stats.bytes_in)?;
    fields.set_item("bytes_out", stats.bytes_out)?;
    fields.set_item("handler_errors", stats.handler_errors)?;
    fields.set_item("frame_errors", stats.frame_errors)?;
    fields.set_item("timeouts", stats.timeouts)?;
    fields.set_item("handshake_errors", stats.handshake_errors)?;
    STATS.import(py, "oxisock.types", "ServerStats")?.call((), Some(&fields))
}

/// Python's `ServerPlan`.
#[derive(FromPyObject)]
pub struct ServerPlan {
    max_connections: u64,
    max_per_address: u64,
    idle_timeout: u64,
    write_timeout: u64,
    max_buffered: usize,
    nodelay: bool,
    keepalive: bool,
    proxies: Vec<(u128, u128)>,
    header_timeout: u64,
    secure: bool,
    handshake_timeout: u64,
}

impl ServerPlan {
    pub fn plan(&self) -> Plan {
        Plan {
            max_connections: self.max_connections,
            max_per_address: self.max_per_address,
            limits: Limits {
                idle_timeout: self.idle_timeout,
                write_timeout: self.write_timeout,
                max_buffered: self.max_buffered,
            },
            nodelay: self.nodelay,
            keepalive: self.keepalive,
            proxies: self.proxies.clone(),
            header_timeout: self.header_timeout,
            secure: self.secure,
            handshake_timeout: self.handshake_timeout,
        }
    }
}

/// Python's `FaultPlan`.
#[derive(FromPyObject)]
pub struct FaultPlan {
    cut: usize,
    delay: u64,
    reset_after: u64,
    drop: u64,
    seed: u64,
}

impl FaultPlan {
    fn faults(&self) -> Faults {
        Faults { cut: self.cut, delay: self.delay, reset_after: self.reset_after, drop: self.drop, seed: self.seed }
    }
}

/// Reactors that echo, on threads of their own.
#[pyclass(frozen, extends = Reactors, module = "oxisock._native")]
pub struct EchoReactors {
    running: Running,
}

#[pymethods]
impl EchoReactors {
    /// Wait at most `timeout` seconds; say whether it has ended.
    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        wait_for_end(py, timeout, |slice| self.running.wait(slice))
    }
}

/// Begin to echo on the listening descriptor, which is taken over.
#[pyfunction]
pub fn start_echo(
    py: Python<'_>,
    listener: i64,
    plan: ServerPlan,
    workers: usize,
    faults: Option<FaultPlan>,
) -> PyResult<Py<EchoReactors>> {
    let faults = faults.map(|plan| plan.faults());
    // SAFETY: the face passes what `socket.detach()` gave.
    let listener = unsafe { owned(listener) }?;
    let running = echo::start(listener.into(), plan.plan(), workers, faults)?;
    let base = Reactors::of(&running.control);
    Py::new(py, (EchoReactors { running }, base))
}

/// The loop of a message server, to be turned by Python threads, one at a time.
#[pyclass(frozen, extends = Reactors, module = "oxisock._native")]
pub struct MessageReactor {
    reactor: messages::MessageReactor,
    /// Whether items hold messages, rather than bytes.
    #[pyo3(get)]
    framed: bool,
    // By place in the reactor: the connection's token, and its peer as Python knows it.
    peers: Mutex<Vec<Option<KnownPeer>>>,
}

type KnownPeer = (u64, Py<PyAny>);

type Answers<'py> = Vec<(u64, Bound<'py, PyBytes>, u64, u8)>;

impl MessageReactor {
    /// Send the replies and then do more, detached: the bytes are Python's, and are not copied where a socket takes them.
    fn reply<T: Send>(
        &self,
        replies: &Bound<'_, PyList>,
        more: impl FnOnce() -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let answers: Answers<'_> = replies.extract()?;
        let parts: Vec<_> = answers
            .iter()
            .map(|(token, output, messages, action)| {
                let action = match action {
                    0 => Action::Answered,
                    1 => Action::Held,
                    _ => Action::Finish,
                };
                (*token, output.as_bytes(), *messages, action)
            })
            .collect();
        Ok(replies.py().detach(|| {
            caught(|| {
                if !parts.is_empty() {
                    self.reactor.answer(&parts);
                }
                more()
            })
        })?)
    }

    fn items<'py>(&self, py: Python<'py>, batch: &mut Batch) -> PyResult<Bound<'py, PyList>> {
        let items = PyList::empty(py);
        for delivery in batch.deliveries.drain(..) {
            let Delivery { token, peer, room, input } = delivery;
            let mut trouble = None;
            // If there is no memory for what a connection has sent, that costs this connection only.
            let mut copied = |copy: PyResult<Bound<'py, PyAny>>| {
                copy.or_else(|error| {
                    trouble = Some(error.into_value(py));
                    if self.framed { Ok(PyList::empty(py).into_any()) } else { bytes_of(py, b"").map(Bound::into_any) }
                })
            };
            let input = match input {
                Input::Bytes(start, end) => Some(copied(bytes_of(py, &batch.arena[start..end]).map(Bound::into_any))?),
                Input::Relief if !self.framed => Some(bytes_of(py, b"")?.into_any()),
                Input::Relief => Some(PyList::empty(py).into_any()),
                Input::End | Input::Gone => None,
                Input::Messages { first, spans, error } => {
                    let error = error.map(|error| feed_error(py, error, PyList::empty(py)).into_value(py));
                    let first = first.as_ref().map(|(held, span)| &held[span.start..span.end]);
                    let size = spans.len() + usize::from(first.is_some());
                    let rest = batch.spans[spans].iter().map(|span| &batch.arena[span.start..span.end]);
                    let messages = copied(list_of(py, size, first.into_iter().chain(rest)).map(Bound::into_any))?;
                    trouble = trouble.or(error);
                    Some(messages)
                }
            };
            let peer = self.peer(py, token, peer)?;
            items.append((token, peer, input, room, trouble))?;
        }
        Ok(items)
    }

    /// The peer as a Python object, made once for each connection.
    fn peer<'py>(&self, py: Python<'py>, token: u64, address: SocketAddr) -> PyResult<Bound<'py, PyAny>> {
        static PEER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let place = (token & 0xffff_ffff) as usize;
        {
            let peers = lock(&self.peers);
            if let Some(Some((known, peer))) = peers.get(place)
                && *known == token
            {
                return Ok(peer.bind(py).clone());
            }
        }
        let kind = PEER.import(py, "oxisock.types", "Peer")?;
        let peer = kind.call1((addresses::host(address), address.port()))?;
        let mut peers = lock(&self.peers);
        if peers.len() <= place {
            peers.resize_with(place + 1, || None);
        }
        let before = peers[place].replace((token, peer.clone().unbind()));
        // Not under the lock: dropping an object may run Python.
        drop(peers);
        drop(before);
        Ok(peer)
    }
}

#[pymethods]
impl MessageReactor {
    /// Send the replies and wait for input, if so; None when the server has ended.
    #[pyo3(signature = (replies, wait=true))]
    fn turn<'py>(
        &self,
        py: Python<'py>,
        replies: &Bound<'py, PyList>,
        wait: bool,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(mut batch) = self.reply(replies, || Ok(self.reactor.turn(wait)?))? else {
            return Ok(None);
        };
        let items = self.items(py, &mut batch)?;
        self.reactor.recycle(batch);
        Ok(Some(items))
    }

    /// What has to come first on a connection has come.
    fn begun(&self, token: u64) {
        self.reactor.begun(token);
    }

    /// Send the replies while another thread turns.
    fn submit(&self, replies: &Bound<'_, PyList>) -> PyResult<()> {
        self.reply(replies, || {
            self.reactor.send();
            Ok(())
        })
    }

    /// Give how many bytes the socket of a connection took; None where it has closed.
    fn written(&self, token: u64) -> Option<u64> {
        self.reactor.written(token)
    }

    /// Give the tokens of the connections that closed since the last call, and how many bytes their sockets took.
    fn take_closed(&self) -> Vec<(u64, u64)> {
        self.reactor.take_closed()
    }

    /// Add to the counters of errors.
    fn count_errors(&self, handler: u64, frame: u64) {
        let counters = &self.reactor.control.counters;
        counters.handler_errors.fetch_add(handler, Relaxed);
        counters.frame_errors.fetch_add(frame, Relaxed);
    }
}

/// Make the loop of a message server on the listening descriptor, which is taken over.
#[pyfunction]
pub fn message_reactor(
    py: Python<'_>,
    listener: i64,
    plan: ServerPlan,
    framer: Option<Bound<'_, Framer>>,
) -> PyResult<Py<MessageReactor>> {
    let codec = framer.map(|framer| framer.get().codec.clone());
    let frames_itself = codec.is_some();
    // SAFETY: the face passes what `socket.detach()` gave.
    let listener = unsafe { owned(listener) }?;
    let reactor = messages::MessageReactor::new(listener.into(), plan.plan(), codec).map_err(Error::Io)?;
    let base = Reactors::of(&reactor.control);
    Py::new(py, (MessageReactor { reactor, framed: frames_itself, peers: Mutex::default() }, base))
}
