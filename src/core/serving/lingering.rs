//! Sockets whose connection is over, but not all that was sent on it has arrived.
//!
//! Closing with unread input makes the system throw away what has not arrived at the peer yet. So where the peer may
//! still be sending, the socket lingers until what we sent has arrived.

use mio::net::TcpStream;

use crate::core::os::streams;

/// At most so long, for the last bytes of a connection to arrive.
const LINGER: u64 = 2_000_000_000;
/// Between two looks whether they have.
const LOOK: u64 = 5_000_000;

/// Those that linger, and how long they may.
#[derive(Default)]
pub(super) struct Lingering {
    sockets: Vec<(TcpStream, u64)>,
}

impl Lingering {
    /// End our side of a conversation, and keep its socket until that has arrived.
    pub(super) fn add(&mut self, stream: TcpStream, now: u64) {
        streams::end_output(&stream);
        self.sockets.push((stream, now + LINGER));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// When to look after them.
    pub(super) fn due(&self, now: u64) -> Option<u64> {
        (!self.is_empty()).then_some(now + LOOK)
    }

    /// Close those that lingered long enough, or whose last bytes have arrived.
    pub(super) fn look_after(&mut self, now: u64) {
        self.sockets.retain_mut(|(stream, until)| now < *until && streams::still_sending(stream, 1));
    }

    /// Close them all.
    pub(super) fn clear(&mut self) {
        self.sockets.clear();
    }
}
