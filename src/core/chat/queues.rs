//! What waits for each member of a chat, and who has too much waiting.

use std::collections::VecDeque;

use super::rules::Rules;
use crate::core::memory;

/// What is known of one member.
pub(super) struct Client {
    pub(super) out: Vec<u8>,
    // Bytes that the driver has taken and could not send.
    pub(super) backlog: usize,
    // Lines it will be told that it missed, and lines that it ever missed.
    pub(super) missed: u64,
    pub(super) skipped: u64,
    // Stands in a list.
    pub(super) dirty: bool,
    pub(super) pressed: bool,
    // Too slow, and to be told goodbye.
    pub(super) doomed: bool,
    pub(super) nick: String,
    pub(super) joined: u64,
    // When a line came.
    pub(super) last: u64,
    // Token bucket: when it will be full again.
    pub(super) tat: u64,
    pub(super) warned: Option<u64>,
}

impl Client {
    /// One who has just joined.
    pub(super) fn new(nick: String, now: u64) -> Self {
        Self {
            out: Vec::new(),
            backlog: 0,
            missed: 0,
            skipped: 0,
            dirty: false,
            pressed: false,
            doomed: false,
            nick,
            joined: now,
            last: now,
            tat: now,
            warned: None,
        }
    }
}

/// Lists of clients that the driver is to see to.
#[derive(Default)]
pub(super) struct Lists {
    pub(super) dirty: Vec<u64>,
    pub(super) pressed: Vec<u64>,
    pub(super) doomed: VecDeque<u64>,
}

impl Lists {
    /// Append a line to one queue, if that is not over its limit.
    pub(super) fn deliver(&mut self, id: u64, client: &mut Client, line: &[u8], rules: &Rules) {
        let queued = client.backlog + client.out.len();
        if queued > rules.queue_limit || client.missed > 0 {
            self.miss(id, client, rules.drop);
            return;
        }
        self.append(id, client, line);
        if queued + line.len() > rules.queue_limit {
            self.press(id, client);
        }
    }

    pub(super) fn append(&mut self, id: u64, client: &mut Client, line: &[u8]) {
        // One for whom there is no memory is as one who reads too slowly.
        if memory::append(&mut client.out, line).is_err() {
            return self.doom(id, client);
        }
        if !client.dirty {
            client.dirty = true;
            self.dirty.push(id);
        }
    }

    pub(super) fn press(&mut self, id: u64, client: &mut Client) {
        if !client.pressed {
            client.pressed = true;
            self.pressed.push(id);
        }
    }

    /// A line does not fit: the client misses it, or is to go.
    pub(super) fn miss(&mut self, id: u64, client: &mut Client, drop: bool) {
        if drop {
            client.missed += 1;
            client.skipped += 1;
            self.press(id, client);
        } else {
            self.doom(id, client);
        }
    }

    fn doom(&mut self, id: u64, client: &mut Client) {
        if !client.doomed {
            client.doomed = true;
            self.doomed.push_back(id);
        }
    }
}
