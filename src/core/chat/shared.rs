//! What a chat's loop shares with other threads: their commands on the way in, events on the way out.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::hub::{Event, Member};
use super::room::{Append, Entry, Resident};
use crate::core::latch::lock;
use crate::core::os::bell::Rope;

/// So many events wait for somebody who is slower than the chat; more are lost.
const KEPT_EVENTS: usize = 1 << 16;

/// What another thread wants of the loop.
pub enum Command {
    /// Tell who is there, and where.
    Members(SyncSender<Vec<(Member, SocketAddr)>>),
    /// Say something to everybody.
    Broadcast(String),
    /// Part with the one of this name, for this reason; tell whether there was one.
    Kick(String, String, SyncSender<bool>),
    /// Apply entries of the log of a shared room; tell when that is done.
    Entries(Vec<Entry>, SyncSender<()>),
    /// Tell who is in the shared room.
    Residents(SyncSender<Vec<Resident>>),
}

/// What is to be appended to the log of a shared room.
#[derive(Default)]
struct Outbox {
    waiting: Vec<Append>,
    ended: bool,
    // Who takes it hears this.
    rope: Option<Rope>,
}

impl Outbox {
    fn ring(&self) {
        if let Some(rope) = &self.rope {
            rope.pull();
        }
    }
}

#[derive(Default)]
struct Events {
    waiting: VecDeque<Event>,
    lost: u64,
    ended: bool,
}

/// The meeting place.
pub struct Shared {
    // None once the loop has ended.
    commands: Mutex<Option<Vec<Command>>>,
    events: Mutex<Events>,
    arrived: Condvar,
    outbox: Mutex<Outbox>,
}

impl Shared {
    /// One with nothing in it; the rope is pulled when there is something to append.
    #[must_use]
    pub fn new(rope: Option<Rope>) -> Self {
        Self {
            commands: Mutex::new(Some(Vec::new())),
            events: Mutex::default(),
            arrived: Condvar::new(),
            outbox: Mutex::new(Outbox { rope, ..Outbox::default() }),
        }
    }

    /// Leave what is to be appended to the log of a shared room.
    pub fn append(&self, appends: Vec<Append>) {
        let mut outbox = lock(&self.outbox);
        outbox.waiting.extend(appends);
        outbox.ring();
    }

    /// Take what is to be appended; `None` when there will be no more.
    pub fn take_appends(&self) -> Option<Vec<Append>> {
        let mut outbox = lock(&self.outbox);
        let over = outbox.ended && outbox.waiting.is_empty();
        (!over).then(|| mem::take(&mut outbox.waiting))
    }

    /// Leave a command, if the loop will come by again; its answer, if any, is dropped otherwise.
    pub fn ask(&self, command: Command) {
        if let Some(commands) = &mut *lock(&self.commands) {
            commands.push(command);
        }
    }

    /// Take the commands.
    pub fn take_commands(&self) -> Vec<Command> {
        lock(&self.commands).as_mut().map(mem::take).unwrap_or_default()
    }

    /// Leave events.
    pub fn put(&self, events: Vec<Event>) {
        let mut state = lock(&self.events);
        for event in events {
            if state.waiting.len() < KEPT_EVENTS {
                state.waiting.push_back(event);
            } else {
                state.lost += 1;
            }
        }
        drop(state);
        self.arrived.notify_all();
    }

    /// Wait at most `timeout` for events, and give them and the number of those lost; `None` when there will be none.
    pub fn wait(&self, timeout: Duration) -> Option<(VecDeque<Event>, u64)> {
        let pending = |state: &mut Events| state.waiting.is_empty() && !state.ended;
        let waited = self.arrived.wait_timeout_while(lock(&self.events), timeout, pending);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.waiting.is_empty() && state.ended {
            return None;
        }
        Some((mem::take(&mut state.waiting), mem::take(&mut state.lost)))
    }

    /// The loop has ended.
    pub fn end(&self) {
        lock(&self.commands).take();
        lock(&self.events).ended = true;
        self.arrived.notify_all();
        let mut outbox = lock(&self.outbox);
        outbox.ended = true;
        outbox.ring();
        outbox.rope = None;
    }
}
