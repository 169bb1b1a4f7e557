//! How many connections each address has, as a machine: one address may not have them all.
//!
//! It is the twin of `oxisock.sockets.shares`, and counts alike.

use std::collections::HashMap;

/// Counts connections by network, a number as `addresses::network_of` gives it.
#[derive(Debug)]
pub struct Shares {
    most: u64,
    counts: HashMap<u128, u64>,
}

impl Shares {
    /// At most so many from one network.
    #[must_use]
    pub fn new(most: u64) -> Self {
        Self { most, counts: HashMap::new() }
    }

    /// Count a connection from there; false, and not counted, where there are as many as may be.
    pub fn take(&mut self, network: u128) -> bool {
        // Where there is no memory to count it, nobody comes in.
        if self.counts.try_reserve(1).is_err() {
            return false;
        }
        let count = self.counts.entry(network).or_default();
        let room = *count < self.most;
        *count += u64::from(room);
        room
    }

    /// A connection that was counted is gone.
    pub fn give_back(&mut self, network: u128) {
        if let Some(count) = self.counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&network);
            }
        }
    }

    /// How many networks have connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
