//! Timers that are dropped late: who is gone, or waits for another time by now, is told apart when his time comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::time::NEVER;

/// So many that nobody waits for any more are kept, beside as many as there are owners.
const KEPT: usize = 64;

/// When who is to be judged: the earliest time first, and of one time the lowest number.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(u64, u64)>>);

impl Timers {
    /// Set a timer.
    pub fn set(&mut self, due: u64, owner: u64) {
        self.0.push(Reverse((due, owner)));
    }

    /// When the next is due.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.0.peek().map_or(NEVER, |Reverse((due, _))| *due)
    }

    /// Take the next that is due by `now`: its time, and whose it is.
    pub fn take(&mut self, now: u64) -> Option<(u64, u64)> {
        if self.next() > now {
            return None;
        }
        self.0.pop().map(|Reverse(timer)| timer)
    }

    /// Where most are waited for by none of so many owners, drop those.
    pub fn tidy(&mut self, owners: usize, waited_for: impl Fn(u64, u64) -> bool) {
        if self.0.len() > 2 * owners + KEPT {
            self.0.retain(|Reverse((due, owner))| waited_for(*due, *owner));
        }
    }
}
