//! The connections of one reactor, by key and by token, with their timers and their ends.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use slab::Slab;

use super::connection::{Closed, Connection, Faults, Limits, NEVER};
use super::control::{Control, Newcomer};
use super::lingering::Lingering;
use super::link::{Link, Taken};
use super::service::Plan;
use crate::core::os::streams;
use crate::core::timers::Timers;

/// How long a connection with input that waits to be read is not judged again.
const READ_FIRST: u64 = 1_000_000;
/// A connection that is gone, as its service knew it.
pub struct Closing<T> {
    /// What told it from others.
    pub token: u64,
    /// Where it came from.
    pub peer: SocketAddr,
    /// The bytes that its socket took.
    pub written: u64,
    /// The service waited for room.
    pub held: bool,
    /// The service has heard of it.
    pub(super) opened: bool,
    /// What the service kept.
    pub state: T,
}

/// The connections of one reactor.
pub struct Links<T> {
    slab: Slab<Link<T>>,
    // None once the reactor has ended.
    registry: Option<Registry>,
    limits: Limits,
    faults: Option<Faults>,
    timers: Timers,
    /// Keys of those that were written to by somebody else's event.
    touched: Vec<usize>,
    pub(super) lingering: Lingering,
    control: Arc<Control>,
}

impl<T: Default> Links<T> {
    pub(super) fn new(registry: Registry, plan: &Plan, faults: Option<Faults>, control: Arc<Control>) -> Self {
        Self {
            slab: Slab::new(),
            registry: Some(registry),
            limits: plan.limits,
            faults,
            timers: Timers::default(),
            touched: Vec::new(),
            lingering: Lingering::default(),
            control,
        }
    }

    /// The connection with this key.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut Link<T>> {
        self.slab.get_mut(key)
    }

    /// The key of the connection with this token, if it is still there.
    #[must_use]
    pub fn key_of(&self, token: u64) -> Option<usize> {
        find(&self.slab, token).map(|link| (link.token & 0xffff_ffff) as usize)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The keys of all.
    #[must_use]
    pub fn keys(&self) -> Vec<usize> {
        self.slab.iter().map(|(key, _)| key).collect()
    }

    /// How many bytes of answers a connection may still queue.
    #[must_use]
    pub fn room_for_answers(&self, key: usize) -> usize {
        self.slab.get(key).map_or(0, |link| self.limits.max_buffered.saturating_sub(link.machine.queued()))
    }

    /// Write `data` as far as the socket takes it, and keep the rest.
    pub fn send(&mut self, key: usize, data: &[u8], now: u64) {
        if let Some(link) = self.slab.get_mut(key)
            && link.machine.closed() == Closed::Open
            && link.send(data, &self.control.counters, now).is_err()
        {
            self.exhausted(key, now);
        }
    }

    /// Cut a connection for which there is no memory.
    pub fn exhausted(&mut self, key: usize, now: u64) {
        if let Some(link) = self.slab.get_mut(key) {
            link.machine.abort(Closed::Cut, now);
            self.control.counters.handler_errors.fetch_add(1, Relaxed);
        }
    }

    /// Try to write what waits, whatever the system last said.
    pub fn retry(&mut self, key: usize, now: u64) {
        if let Some(link) = self.slab.get_mut(key) {
            link.writable = true;
            self.flush(key, now);
        }
    }

    /// Add `data` to what waits; it goes out, together with what else comes, when the reactor gets to it.
    pub fn queue(&mut self, key: usize, data: &[u8], now: u64) {
        if let Some(link) = self.slab.get_mut(key)
            && link.machine.closed() == Closed::Open
            && link.queue(data, now).is_err()
        {
            self.exhausted(key, now);
        }
        self.touch(key);
    }

    /// Have the reactor flush and settle this connection, whose machine was told something.
    pub fn touch(&mut self, key: usize) {
        if let Some(link) = self.slab.get_mut(key)
            && !link.touched
        {
            link.touched = true;
            self.touched.push(key);
        }
    }

    /// Whether some are touched.
    pub(super) fn touches(&self) -> bool {
        !self.touched.is_empty()
    }

    /// One of those touched.
    pub(super) fn next_touched(&mut self) -> Option<usize> {
        let key = self.touched.pop()?;
        if let Some(link) = self.slab.get_mut(key) {
            link.touched = false;
        }
        Some(key)
    }

    /// Write what waits, as far as machine and socket allow.
    pub(super) fn flush(&mut self, key: usize, now: u64) {
        if let Some(link) = self.slab.get_mut(key) {
            link.flush(&self.control.counters, now);
        }
    }

    /// Read as much as the machine has room for, at most one `buffer`.
    pub(super) fn read(&mut self, key: usize, buffer: &mut [u8], now: u64) -> Taken {
        match self.slab.get_mut(key) {
            Some(link) => link.read(buffer, &self.control.counters, now),
            None => Taken::Nothing,
        }
    }

    /// Remember what the system says of a connection.
    pub(super) fn note(&mut self, key: usize, event: &mio::event::Event) -> bool {
        match self.slab.get_mut(key) {
            Some(link) => {
                link.note(event);
                true
            }
            None => false,
        }
    }

    /// Take a newcomer in; give its key.
    pub(super) fn open(&mut self, newcomer: Newcomer, now: u64) -> io::Result<usize> {
        let Newcomer { number, mut stream, peer } = newcomer;
        let mut faults = self.faults.unwrap_or(Faults::NONE);
        faults.seed = faults.seed.wrapping_add(number);
        let entry = self.slab.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Some(registry) = &self.registry {
            registry.register(&mut stream, Token(key), interest)?;
        }
        let machine = Connection::new(now, self.limits, faults);
        entry.insert(Link::new(number << 32 | key as u64, peer, machine, stream));
        Ok(key)
    }

    /// Set the timer that the machine wants, if no earlier one is set; give it if it is the earliest of all.
    pub(super) fn arm(&mut self, key: usize) {
        if let Some(link) = self.slab.get_mut(key) {
            let deadline = link.machine.deadline();
            if deadline < link.armed {
                link.armed = deadline;
                let token = link.token;
                self.set_timer(deadline, token);
            }
        }
    }

    fn set_timer(&mut self, due: u64, token: u64) {
        let slab = &self.slab;
        self.timers.tidy(slab.len(), |due, token| find(slab, token).is_some_and(|link| link.armed == due));
        self.timers.set(due, token);
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> u64 {
        self.timers.next()
    }

    /// Take a timer that was due before `heard`, judge its connection, and give its key.
    ///
    /// What came in before `heard` is dealt with, but for connections that still wait to be read.
    pub(super) fn expire(&mut self, heard: u64, now: u64) -> Option<usize> {
        while let Some((due, token)) = self.timers.take(heard) {
            let Some(key) = self.key_of(token) else {
                continue;
            };
            let link = &mut self.slab[key];
            // Otherwise an earlier timer has taken its place.
            if link.armed != due {
                continue;
            }
            if link.behind() {
                link.armed = now + READ_FIRST;
                self.timers.set(link.armed, token);
                continue;
            }
            link.armed = NEVER;
            if link.machine.deadline() <= heard {
                link.machine.tick(now);
            }
            return Some(key);
        }
        None
    }

    /// Close the socket, in the way that its end asks for, and forget the connection.
    pub(super) fn remove(&mut self, key: usize, shut_first: bool, now: u64) -> Option<Closing<T>> {
        let mut link = self.slab.try_remove(key)?;
        if shut_first {
            // Closing does that otherwise, but not while a forked child holds a duplicate.
            if let Some(registry) = &self.registry {
                let _ = registry.deregister(&mut link.stream);
            }
        }
        match link.machine.closed() {
            Closed::Stalled | Closed::Cut | Closed::Reset => streams::reset_on_close(&link.stream),
            _ if shut_first => streams::shut_down(&link.stream),
            _ => {}
        }
        let opened = link.header.is_none();
        let written = link.machine.written();
        let closing =
            Closing { token: link.token, peer: link.peer, written, held: link.held, opened, state: link.state };
        let owes =
            link.machine.closed() == Closed::Done && !link.machine.eof() && streams::still_sending(&mut link.stream, 0);
        if owes || link.machine.closed() == Closed::Refused {
            self.linger(link.stream, now);
        }
        Some(closing)
    }

    fn linger(&mut self, stream: TcpStream, now: u64) {
        self.control.counters.lingering.fetch_add(1, SeqCst);
        self.lingering.add(stream, now);
    }

    /// Look after those that linger; true if some of them do no longer.
    pub(super) fn look_after_lingering(&mut self, now: u64) -> bool {
        let before = self.lingering.len();
        self.lingering.look_after(now);
        let over = before - self.lingering.len();
        self.control.counters.lingering.fetch_sub(over as u64, SeqCst);
        over > 0
    }

    /// Say something to who is not taken in after all, and is about to be closed.
    pub(super) fn tell(&mut self, key: usize, words: &[u8]) {
        if let Some(link) = self.slab.get_mut(key) {
            let _ = link.stream.write(words);
        }
    }

    /// Say something to a newcomer who is not taken in.
    pub(super) fn refuse(&mut self, mut stream: TcpStream, words: &[u8], now: u64) {
        // Few words, and a socket that is empty: they fit, or the newcomer has gone.
        let _ = stream.write(words);
        self.linger(stream, now);
    }

    /// Give everything back: the reactor has ended.
    pub(super) fn end(&mut self) {
        self.control.counters.lingering.fetch_sub(self.lingering.len() as u64, SeqCst);
        self.lingering.clear();
        self.registry = None;
    }
}

fn find<T>(slab: &Slab<Link<T>>, token: u64) -> Option<&Link<T>> {
    slab.get((token & 0xffff_ffff) as usize).filter(|link| link.token == token)
}
