//! What happened to the connections of a server, for somebody who watches; without one it costs a look at a flag.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use super::connection::Closed;
use crate::core::latch::lock;

/// So many notices wait to be taken; the oldest make room for new ones, and are counted.
const KEPT: usize = 10_000;

/// What may happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was let in.
    Opened,
    /// So many bytes came in.
    Received(usize),
    /// It ended.
    Closed(Closed),
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// When, in nanoseconds since 1970.
    pub when: u64,
    /// Whose connection it is.
    pub peer: SocketAddr,
    /// What it was.
    pub what: What,
}

/// The notices that nobody has taken yet, and how many were lost.
#[derive(Default)]
pub struct Journal {
    watched: AtomicBool,
    kept: Mutex<(VecDeque<Notice>, u64)>,
}

impl Journal {
    /// Write something down, if anybody watches.
    pub fn note(&self, peer: SocketAddr, what: What) {
        if !self.watched.load(Relaxed) {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let when = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let mut kept = lock(&self.kept);
        if kept.0.len() >= KEPT {
            kept.0.pop_front();
            kept.1 += 1;
        }
        // Where there is no memory for it, it is lost as well.
        if kept.0.try_reserve(1).is_ok() {
            kept.0.push_back(Notice { when, peer, what });
        } else {
            kept.1 += 1;
        }
    }

    /// Take what was written down since the last call, and how much was lost; the first call begins to watch.
    pub fn take(&self) -> (VecDeque<Notice>, u64) {
        self.watched.store(true, Relaxed);
        std::mem::take(&mut *lock(&self.kept))
    }
}
