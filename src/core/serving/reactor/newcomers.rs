//! How connections come in: from the listener or another reactor, by the word of a proxy, or not at all.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use mio::net::TcpStream;

use super::Reactor;
use crate::core::os::streams;
use crate::core::serving::connection::{Closed, NEVER};
use crate::core::serving::control::Newcomer;
use crate::core::serving::door::Knock;
use crate::core::serving::journal::What;
use crate::core::serving::service::Service;

/// Accepted in one turn, so that a storm of connects does not starve those who are connected.
const ACCEPTS: usize = 256;

impl<S: Service> Reactor<S> {
    /// Whether there may be another connection; those whose last bytes are on their way count.
    pub(super) fn has_room(&self) -> bool {
        let counters = &self.control.counters;
        let closed = counters.closed.load(SeqCst);
        let there = counters.accepted.load(SeqCst) - closed + counters.lingering.load(SeqCst);
        there < self.plan.max_connections
    }

    pub(super) fn accept(&mut self, now: u64) {
        let Some(mut door) = self.door.take() else {
            return;
        };
        let mut began = NEVER;
        let enough = self.accepted.saturating_add(self.service.newcomers());
        for _ in 0..ACCEPTS {
            if self.accepted >= enough || door.due().is_none_or(|due| due > now) || !self.has_room() {
                break;
            }
            // Comers do not keep members waiting.
            if S::PATIENCE != NEVER {
                let time = self.control.now();
                began = began.min(time);
                if time - began > S::PATIENCE {
                    break;
                }
            }
            match door.accept(now) {
                Knock::Newcomer(stream, peer) => self.take_in(stream, peer, now),
                Knock::Shed => {
                    self.control.counters.shed.fetch_add(1, Relaxed);
                }
                Knock::Nobody => {}
            }
        }
        self.door = Some(door);
    }

    /// Give a newcomer to the reactor whose turn it is, unless the service refuses.
    fn take_in(&mut self, stream: TcpStream, peer: SocketAddr, now: u64) {
        // For whom a proxy speaks is known later.
        let proxy = self.control.is_proxy(peer);
        if !proxy && !self.control.admit(peer) {
            return;
        }
        if !proxy && let Some(words) = self.service.refusal(peer, now) {
            self.control.left(peer);
            self.control.counters.rejected.fetch_add(1, Relaxed);
            self.links.refuse(stream, words, now);
            return;
        }
        streams::prepare(&stream, self.plan.nodelay, self.plan.keepalive);
        let number = self.accepted;
        self.accepted += 1;
        self.control.counters.accepted.fetch_add(1, SeqCst);
        let newcomer = Newcomer { number, stream, peer };
        let mailboxes = &self.control.mailboxes;
        let index = number as usize % mailboxes.len();
        if index == self.index {
            self.welcome([newcomer], now);
        } else {
            mailboxes[index].put(newcomer);
        }
    }

    pub(super) fn welcome(&mut self, newcomers: impl IntoIterator<Item = Newcomer>, now: u64) {
        for newcomer in newcomers {
            let peer = newcomer.peer;
            // Where the system has no memory to watch it, its socket is closed already.
            let Ok(key) = self.links.open(newcomer, now) else {
                if !self.control.is_proxy(peer) {
                    self.control.left(peer);
                }
                self.control.counters.closed.fetch_add(1, SeqCst);
                continue;
            };
            if self.control.is_proxy(peer) {
                if let Some(link) = self.links.get_mut(key) {
                    link.header = Some(Box::default());
                    let due = now.saturating_add(self.plan.header_timeout).min(NEVER);
                    link.machine.require_by(due, Closed::Broken, now);
                }
            } else {
                self.control.journal.note(peer, What::Opened);
                self.service.opened(&mut self.links, key, now);
            }
            if self.draining
                && let Some(link) = self.links.get_mut(key)
            {
                link.machine.finish(now);
            }
            self.settle(key, now);
        }
    }

    /// Read what a proxy says of a connection in so many bytes of the buffer; give where what comes after that begins.
    pub(super) fn introduce(&mut self, key: usize, count: usize, now: u64) -> usize {
        let Some(link) = self.links.get_mut(key) else {
            return count;
        };
        let Some(header) = &mut link.header else {
            return 0;
        };
        let fed = header.feed(&self.buffer[..count]);
        let counters = &self.control.counters;
        let end = fed.unwrap_or(None).unwrap_or(count);
        counters.bytes_in.fetch_sub(end as u64, Relaxed);
        match fed {
            Ok(None) => return count,
            Err(_) => {
                link.machine.abort(Closed::Broken, now);
                return count;
            }
            Ok(Some(_)) => {}
        }
        let peer = header.source().unwrap_or(link.peer);
        link.peer = peer;
        let admitted = self.control.admit(peer);
        let words = if admitted { self.service.refusal(peer, now) } else { None };
        if let Some(words) = words {
            self.control.left(peer);
            counters.rejected.fetch_add(1, Relaxed);
            self.links.tell(key, words);
        }
        let Some(link) = self.links.get_mut(key) else {
            return count;
        };
        if !admitted || words.is_some() {
            link.machine.abort(Closed::Refused, now);
            return count;
        }
        link.header = None;
        link.machine.begin(now);
        self.control.journal.note(peer, What::Opened);
        self.service.opened(&mut self.links, key, now);
        let listens = self.links.get_mut(key).is_some_and(|link| link.machine.room() > 0);
        if listens { end } else { count }
    }
}
