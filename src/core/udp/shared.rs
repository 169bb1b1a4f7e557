//! What the thread that turns a loop and the threads that watch it share: counters, the end, and the bell.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::core::latch::lock;
use crate::core::os::bell::Rope;
use crate::core::os::inherited::Inherited;

/// The running totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams taken.
    pub messages: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Bytes of the replies that left.
    pub bytes_out: u64,
    /// Replies longer than a datagram can be.
    pub too_long: u64,
    /// Replies given up because the system had no room for them.
    pub timeouts: u64,
    /// ICMP errors that came in, and replies that the network refused.
    pub icmp_errors: u64,
    /// Datagrams from ports below 1024, or from the socket's own address.
    pub ignored: u64,
    /// Replies that left after the end had begun.
    pub drained: u64,
    /// Replies that were dropped because the end came first.
    pub aborted: u64,
}

/// The counters, each its own atomic: they are read while they move.
#[derive(Default)]
pub(super) struct Tally {
    pub messages: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub too_long: AtomicU64,
    pub timeouts: AtomicU64,
    pub icmp_errors: AtomicU64,
    pub ignored: AtomicU64,
    pub drained: AtomicU64,
    /// Replies under way that have not left.
    pub unsent: AtomicU64,
}

pub(super) fn add(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

pub(super) fn take(counter: &AtomicU64, n: usize) {
    counter.fetch_sub(n as u64, Ordering::Relaxed);
}

/// The shared part of a loop.
pub struct Shared {
    pub(super) tally: Tally,
    ending: AtomicBool,
    deadline: Mutex<Option<Instant>>,
    /// Gone with the loop, so that a handle that outlives it holds no descriptor.
    rope: Mutex<Option<Rope>>,
    socket: Inherited,
}

impl Shared {
    pub(super) fn new(rope: Rope, socket: Inherited) -> Self {
        Self {
            tally: Tally::default(),
            ending: AtomicBool::new(false),
            deadline: Mutex::new(None),
            rope: Mutex::new(Some(rope)),
            socket,
        }
    }

    /// Reads the totals.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tally = &self.tally;
        Counts {
            messages: read(&tally.messages),
            bytes_in: read(&tally.bytes_in),
            bytes_out: read(&tally.bytes_out),
            too_long: read(&tally.too_long),
            timeouts: read(&tally.timeouts),
            icmp_errors: read(&tally.icmp_errors),
            ignored: read(&tally.ignored),
            drained: read(&tally.drained),
            // Whoever is behind with giving up may be asked before it has.
            aborted: if self.expired() { read(&tally.unsent) } else { 0 },
        }
    }

    /// Begins the end: what is queued is still answered within `grace` (None: no limit).
    /// A later call may bring the end forward, never put it off.
    pub fn end(&self, grace: Option<Duration>) {
        // A grace beyond the clock is no limit that anybody lives to see.
        let wanted = grace.and_then(|grace| Instant::now().checked_add(grace));
        let mut deadline = lock(&self.deadline);
        *deadline = match (*deadline, wanted) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        drop(deadline);
        self.ending.store(true, Ordering::Release);
        if let Some(rope) = &*lock(&self.rope) {
            rope.pull();
        }
    }

    /// Let go of the socket: this is a forked child, which must not hold its parent's port.
    pub fn abandon(&self) {
        self.socket.let_go();
    }

    pub(super) fn unhang_bell(&self) {
        *lock(&self.rope) = None;
    }

    pub(super) fn ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// How long the end may still take; None where it has not begun or has no limit.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let deadline = *lock(&self.deadline);
        deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    pub(super) fn expired(&self) -> bool {
        self.ending() && self.remaining().is_some_and(|left| left.is_zero())
    }
}
