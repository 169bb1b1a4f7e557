//! Sockets whose connection is over, but not all that was sent on it has arrived.
//!
//! Closing with unread input makes the system throw away what has not arrived at the peer yet. So where the peer may
//! still be sending, the socket lingers until what we sent has arrived. Each is looked at more and more seldom, and a
//! few of them in each turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mio::net::TcpStream;
use slab::Slab;

use crate::core::os::streams;
use crate::core::time::NEVER;

/// At most so long, for the last bytes of a connection to arrive.
const LINGER: u64 = 2_000_000_000;
/// Until the first look whether they have; each further one is twice as far away.
const FIRST_LOOK: u64 = 5_000_000;
/// In one turn, however many linger.
const LOOKS: usize = 32;

/// One that lingers.
struct Last {
    stream: TcpStream,
    until: u64,
    wait: u64,
}

/// Those that linger, and when to look at them.
#[derive(Default)]
pub(super) struct Lingering {
    sockets: Slab<Last>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Lingering {
    /// End our side of a conversation, and keep its socket until that has arrived.
    pub(super) fn add(&mut self, stream: TcpStream, now: u64) {
        streams::end_output(&stream);
        let key = self.sockets.insert(Last { stream, until: now + LINGER, wait: FIRST_LOOK });
        self.due.push(Reverse((now + FIRST_LOOK, key)));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// When to look after them.
    pub(super) fn due(&self) -> u64 {
        self.due.peek().map_or(NEVER, |Reverse((due, _))| *due)
    }

    /// Close those that lingered long enough, or whose last bytes have arrived; some of them, if there are many.
    pub(super) fn look_after(&mut self, now: u64) {
        for _ in 0..LOOKS {
            if self.due() > now {
                return;
            }
            let Some(Reverse((_, key))) = self.due.pop() else {
                return;
            };
            let last = &mut self.sockets[key];
            if now < last.until && streams::still_sending(&mut last.stream, 1) {
                last.wait *= 2;
                self.due.push(Reverse(((now + last.wait).min(last.until), key)));
            } else {
                self.sockets.remove(key);
            }
        }
    }

    /// Close them all.
    pub(super) fn clear(&mut self) {
        self.sockets.clear();
        self.due.clear();
    }
}
