//! What a chat's loop shares with other threads: their commands on the way in, events on the way out.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::sync::mpsc::SyncSender;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::hub::{Event, Member};
use crate::core::latch::lock;

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
}

impl Shared {
    /// One with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self { commands: Mutex::new(Some(Vec::new())), events: Mutex::default(), arrived: Condvar::new() }
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
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}
