//! Who may come into a chat, as a machine: those from one network who come and go are let in at a limited rate.
//!
//! It is the twin of `oxisock.pure.chat.porter`, which says why and how, and decides alike.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::core::time::NEVER;

/// Who stays as long costs nothing.
const SHORT: u64 = 60_000_000_000;
/// The most networks remembered.
const KEPT: usize = 4096;
/// Between two looks for networks that may be forgotten.
const LOOK: u64 = 1_000_000_000;

/// Lets in by network.
pub struct Porter {
    interval: u64,
    most: u64,
    slack: u64,
    // Token buckets: when they will be full again.
    full_at: HashMap<u128, u64>,
    // How many have come in and may have gone already.
    unheard: HashMap<u128, u64>,
    looked: u64,
}

impl Porter {
    /// The rate is that of lines, `interval` 0 for no limit.
    #[must_use]
    pub fn new(interval: u64, burst: u64) -> Self {
        Self {
            interval,
            most: if interval == 0 { NEVER } else { burst },
            slack: (burst - 1).saturating_mul(interval),
            full_at: HashMap::new(),
            unheard: HashMap::new(),
            looked: 0,
        }
    }

    /// At most so many are to come in before the driver looks who of them has gone.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Whether somebody from there may come in.
    #[must_use]
    pub fn admits(&self, network: u128, now: u64) -> bool {
        let missing = self.full_at.get(&network).map_or(0, |due| due.saturating_sub(now));
        let held = self.unheard.get(&network).map_or(0, |unheard| unheard.saturating_mul(self.interval));
        missing.saturating_add(held) <= self.slack
    }

    /// Somebody from there has come in.
    pub fn came(&mut self, network: u128) {
        *self.unheard.entry(network).or_default() += 1;
    }

    /// Of one of those who came from there it is known by now whether he has gone; where so, after `left`.
    pub fn heard(&mut self, network: u128) {
        if let Entry::Occupied(mut unheard) = self.unheard.entry(network) {
            *unheard.get_mut() -= 1;
            if *unheard.get() == 0 {
                unheard.remove();
            }
        }
    }

    /// Somebody from there who came in at `joined` has gone.
    pub fn left(&mut self, network: u128, joined: u64, now: u64) {
        if self.interval == 0 || now.saturating_sub(joined) >= SHORT {
            return;
        }
        if !self.full_at.contains_key(&network) && self.full_at.len() >= KEPT {
            if now < self.looked + LOOK {
                return;
            }
            self.looked = now;
            self.full_at.retain(|_, due| *due > now);
            if self.full_at.len() >= KEPT {
                return;
            }
        }
        let due = self.full_at.entry(network).or_default();
        *due = (*due).max(now).saturating_add(self.interval).min(NEVER);
    }
}
