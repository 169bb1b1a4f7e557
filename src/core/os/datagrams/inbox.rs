//! The memory of one batch of datagrams, with room for a prefix before each.

use std::net::SocketAddr;

use super::{BATCH, Local};
use crate::core::memory::{NoMemory, with_capacity, zeros};

/// What is known of one datagram besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Which piece of the inbox holds its bytes.
    pub slot: usize,
    /// How many bytes were kept.
    pub len: usize,
    /// Whether there were more.
    pub truncated: bool,
    /// Who sent it.
    pub peer: SocketAddr,
    /// To which address, where that was asked for.
    pub local: Option<Local>,
}

/// The datagrams of one batch.
pub struct Inbox {
    buffer: Vec<u8>,
    stride: usize,
    prefix: usize,
    max_datagram: usize,
    pub(super) arrivals: Vec<Arrival>,
}

impl Inbox {
    /// Makes room for a batch; what lies untouched costs no memory.
    pub fn new(max_datagram: usize, prefix: &[u8]) -> Result<Self, NoMemory> {
        // An odd number of cache lines, or all slots would start in the same set of the cache.
        let stride = ((prefix.len() + max_datagram).div_ceil(64) | 1) * 64;
        let mut buffer = zeros(stride.checked_mul(BATCH).ok_or(NoMemory)?)?;
        if !prefix.is_empty() {
            for slot in buffer.chunks_exact_mut(stride) {
                slot[..prefix.len()].copy_from_slice(prefix);
            }
        }
        Ok(Self { buffer, stride, prefix: prefix.len(), max_datagram, arrivals: with_capacity(BATCH)? })
    }

    /// What the last batch brought.
    #[must_use]
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// Forget them.
    pub fn clear(&mut self) {
        self.arrivals.clear();
    }

    /// Forget those that are not to be kept.
    pub fn retain(&mut self, keep: impl FnMut(&Arrival) -> bool) {
        self.arrivals.retain(keep);
    }

    /// The bytes of one datagram.
    #[must_use]
    pub fn data(&self, arrival: &Arrival) -> &[u8] {
        let start = arrival.slot * self.stride + self.prefix;
        &self.buffer[start..start + arrival.len]
    }

    /// The bytes of one datagram with the prefix before them.
    #[must_use]
    pub fn prefixed(&self, arrival: &Arrival) -> &[u8] {
        let start = arrival.slot * self.stride;
        &self.buffer[start..start + self.prefix + arrival.len]
    }

    /// Where the datagram of each slot is to be written, in order of the slots.
    pub(super) fn slots(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (from, to) = (self.prefix, self.prefix + self.max_datagram);
        self.buffer.chunks_exact_mut(self.stride).map(move |slot| &mut slot[from..to])
    }
}
