//! The chat server and its hub, for Python.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::owned;
use super::serving::{Reactors, ServerPlan};
use super::signals::{wait_for_end, wait_in_slices};
use crate::core::chat::hub;
use crate::core::chat::porter;
use crate::core::chat::room;
use crate::core::chat::rules::Rules;
use crate::core::chat::service;
use crate::core::framing::Codec;
use crate::core::framing::delimited::Delimited;
use crate::core::os::addresses;

/// Python's `HubPlan`.
#[derive(FromPyObject)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct HubPlan {
    name: String,
    max_clients: usize,
    max_line: u64,
    history: usize,
    queue_limit: usize,
    drop: bool,
    interval: u64,
    burst: u64,
    idle_timeout: u64,
    echo: bool,
    events: bool,
    shared: bool,
}

impl HubPlan {
    fn rules(self) -> Rules {
        Rules {
            name: self.name,
            max_clients: self.max_clients,
            history: self.history,
            queue_limit: self.queue_limit,
            drop: self.drop,
            interval: self.interval,
            burst: self.burst,
            idle_timeout: self.idle_timeout,
            echo: self.echo,
            events: self.events,
            shared: self.shared,
        }
    }
}

type Event = (&'static str, String, String);
/// Python's `HubEntry`: kind, node, client, nick, text, when.
type Entry = (String, String, u64, String, String, u64);
/// Python's `HubResident`: nick, where from, when, bytes waiting, lines missed, node.
type Resident = (String, String, u64, usize, u64, String);

fn entry((kind, node, client, nick, text, when): Entry) -> room::Entry {
    room::Entry { kind, node, client, nick, text, when }
}

fn residents(found: Vec<room::Resident>) -> Vec<Resident> {
    found.into_iter().map(|one| (one.nick, one.place, one.when, one.queued, one.skipped, one.node)).collect()
}

/// The reactor of a chat server, on a thread of its own.
#[pyclass(frozen, extends = Reactors, module = "oxisock._native")]
pub struct ChatReactor {
    reactor: service::ChatReactor,
}

#[pymethods]
impl ChatReactor {
    /// Wait at most `timeout` seconds; say whether it has ended.
    fn wait(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        wait_for_end(py, timeout, |slice| self.reactor.running.wait(slice))
    }

    /// Give the time on the clock of `members`, in nanoseconds.
    fn now(&self) -> u64 {
        self.reactor.running.control.now()
    }

    /// Give nick, host, port, time of joining, bytes queued and lines skipped of everybody.
    fn members(&self, py: Python<'_>) -> Vec<(String, String, u16, u64, usize, u64)> {
        py.detach(|| self.reactor.members())
            .into_iter()
            .map(|(member, peer)| {
                (member.nick, addresses::host(peer), peer.port(), member.joined, member.queued, member.skipped)
            })
            .collect()
    }

    /// Say something to everybody.
    fn broadcast(&self, text: String) {
        self.reactor.broadcast(text);
    }

    /// Part with a client; False if nobody is called so.
    fn kick(&self, py: Python<'_>, nick: String, reason: String) -> bool {
        py.detach(|| self.reactor.kick(nick, reason))
    }

    /// Give what is to be appended to the log of a shared room; None when there will be no more.
    fn take_appends(&self) -> Option<Vec<room::Append>> {
        self.reactor.shared.take_appends()
    }

    /// Apply entries of that log, in their order; returns when that is done.
    fn entries(&self, py: Python<'_>, entries: Vec<Entry>) {
        py.detach(|| self.reactor.entries(entries.into_iter().map(entry).collect()));
    }

    /// Give those who are in the shared room, in order of joining.
    fn residents(&self, py: Python<'_>) -> Vec<Resident> {
        residents(py.detach(|| self.reactor.residents()))
    }

    /// Wait at most `timeout` seconds for events and give them, with the number of those lost; None at the end.
    fn events(&self, py: Python<'_>, timeout: f64) -> PyResult<Option<(Vec<Event>, u64)>> {
        let told = wait_in_slices(py, timeout, |slice| {
            Ok(match self.reactor.shared.wait(slice) {
                Some((events, 0)) if events.is_empty() => None,
                told => Some(told),
            })
        })?;
        // Nothing yet, unlike the end.
        let told = told.unwrap_or_else(|| Some(Default::default()));
        Ok(told.map(|(events, lost)| (events.into(), lost)))
    }
}

/// Begin to chat on the listening descriptor, which is taken over, as the bell is that is rung for what is to append.
#[pyfunction]
#[pyo3(signature = (listener, server, plan, bell = None))]
pub fn start_chat(
    py: Python<'_>,
    listener: i64,
    server: ServerPlan,
    plan: HubPlan,
    bell: Option<i64>,
) -> PyResult<Py<ChatReactor>> {
    let codec: Codec = Arc::new(Delimited::lines(false, false, plan.max_line));
    // SAFETY: the face passes what `socket.detach()` gave.
    let listener = unsafe { owned(listener) }?;
    // SAFETY: as above, unless there is none.
    let rope = bell.map(|bell| unsafe { owned(bell) }).transpose()?.map(Into::into);
    let reactor = service::ChatReactor::start(listener.into(), server.plan(), &codec, &plan.rules(), rope)?;
    let base = Reactors::of(&reactor.running.control);
    Py::new(py, (ChatReactor { reactor }, base))
}

/// The room of a chat: what happened in, what everybody is sent out.
#[pyclass(module = "oxisock._native")]
pub struct Hub {
    hub: hub::Hub,
}

#[pymethods]
impl Hub {
    #[new]
    fn new(plan: HubPlan) -> Self {
        Self { hub: hub::Hub::new(plan.rules()) }
    }

    #[getter]
    fn full(&self) -> bool {
        self.hub.full()
    }

    #[getter]
    fn timeouts(&self) -> u64 {
        self.hub.timeouts()
    }

    #[pyo3(signature = (client, now, r#where = ""))]
    fn joined(&mut self, client: u64, now: u64, r#where: &str) -> bool {
        self.hub.joined(client, now, r#where)
    }

    #[pyo3(name = "entry")]
    fn apply(&mut self, entry: Entry) {
        self.hub.entry(&self::entry(entry));
    }

    fn take_appends(&mut self) -> Vec<room::Append> {
        self.hub.take_appends()
    }

    fn residents(&self) -> Vec<Resident> {
        residents(self.hub.residents())
    }

    fn line(&mut self, client: u64, line: &[u8], now: u64) {
        self.hub.line(client, line, now);
    }

    fn too_long(&mut self, client: u64, now: u64) {
        self.hub.too_long(client, now);
    }

    fn left(&mut self, client: u64, lost: bool) {
        self.hub.left(client, lost);
    }

    fn tick(&mut self, now: u64) {
        self.hub.tick(now);
    }

    fn backlog(&mut self, client: u64, size: usize) -> bool {
        self.hub.backlog(client, size)
    }

    fn broadcast(&mut self, text: &str) {
        self.hub.broadcast(text);
    }

    fn kick(&mut self, nick: &str, reason: &str) -> bool {
        self.hub.kick(nick, reason)
    }

    fn close(&mut self) {
        self.hub.close();
    }

    fn take_pressed(&mut self) -> Vec<u64> {
        self.hub.take_pressed()
    }

    fn take_closes<'py>(&mut self, py: Python<'py>) -> Vec<(u64, Bound<'py, PyBytes>, bool)> {
        let closes = self.hub.take_closes();
        closes.into_iter().map(|close| (close.client, PyBytes::new(py, &close.last), close.cut)).collect()
    }

    fn take_dirty(&mut self) -> Vec<u64> {
        self.hub.take_dirty()
    }

    fn take<'py>(&mut self, py: Python<'py>, client: u64) -> Bound<'py, PyBytes> {
        let mut taken = Vec::new();
        self.hub.send_with(client, |out| {
            taken.extend_from_slice(out);
            0
        });
        PyBytes::new(py, &taken)
    }

    fn take_events(&mut self) -> Vec<Event> {
        self.hub.take_events()
    }

    fn deadline(&self) -> u64 {
        self.hub.deadline()
    }

    fn members(&self) -> Vec<(u64, String, u64, usize, u64)> {
        let members = self.hub.members();
        members.into_iter().map(|m| (m.client, m.nick, m.joined, m.queued, m.skipped)).collect()
    }
}

/// Who may come into a chat.
#[pyclass(module = "oxisock._native")]
pub struct Porter {
    porter: porter::Porter,
}

#[pymethods]
impl Porter {
    #[new]
    fn new(interval: u64, burst: u64) -> Self {
        Self { porter: porter::Porter::new(interval, burst.max(1)) }
    }

    fn admits(&self, network: u128, now: u64) -> bool {
        self.porter.admits(network, now)
    }

    fn left(&mut self, network: u128, joined: u64, now: u64) {
        self.porter.left(network, joined, now);
    }

    #[getter]
    fn most(&self) -> u64 {
        self.porter.most()
    }

    fn came(&mut self, network: u128) {
        self.porter.came(network);
    }

    fn heard(&mut self, network: u128) {
        self.porter.heard(network);
    }
}
