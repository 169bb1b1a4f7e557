//! Looking again for a moment before a wait: a thread that sleeps has to be woken, which costs more than the looking.

use std::hint::spin_loop;
use std::io;
use std::time::{Duration, Instant};

/// For so long it is looked. A peer on this machine that asks again once it is answered does so in less; with 50 of
/// them a longer look finds them one by one, where a sleep lets several come together.
const LOOK: Duration = Duration::from_micros(20);
/// A wait is short up to here: most of one that long is the waking.
const SHORT: Duration = Duration::from_micros(100);
/// After so many looks in vain, one in 2^MOST short waits is preceded by one.
const MOST: u32 = 8;

// A look after one in vain lasts as long as a short wait. Two that let each other sleep take so long because both have
// to be woken: a peer that is answered while it falls asleep asks again within LOOK, and then goes on to do so.

/// Whether to look, from how earlier waits went. Where this is the only processor, whoever is waited for needs it.
pub struct Spin {
    several: bool,
    short: bool,
    vain: u32,
    pass: u32,
    /// A long look has found something; whether a usual one does is to be seen.
    caught: bool,
}

impl Spin {
    /// For the waits of one thread at a time.
    #[must_use]
    pub fn here() -> Self {
        Self::with(processors() > 1)
    }

    fn with(several: bool) -> Self {
        Self { several, short: false, vain: 0, pass: 0, caught: false }
    }

    /// Wait for at most `limit` (None: no limit) by means of `wait`, which says whether it found something.
    pub fn wait(
        &mut self,
        limit: Option<Duration>,
        mut wait: impl FnMut(Option<Duration>) -> io::Result<bool>,
    ) -> io::Result<bool> {
        if !self.several || limit.is_some_and(|limit| limit <= LOOK) {
            return wait(limit);
        }
        let began = Instant::now();
        if self.looks() {
            let long = self.vain > 0 && !self.caught;
            let most = if long { limit.map_or(SHORT, |limit| limit.min(SHORT)) } else { LOOK };
            loop {
                if wait(Some(Duration::ZERO))? {
                    self.looked(true, long);
                    return Ok(true);
                }
                if began.elapsed() >= most {
                    break;
                }
                spin_loop();
            }
            self.looked(false, long);
        }
        let found = wait(limit)?;
        self.short = found && began.elapsed() < SHORT;
        Ok(found)
    }

    /// Decide whether to look before the next wait.
    fn looks(&mut self) -> bool {
        if !self.short {
            return false;
        }
        let passed = self.pass > 0;
        self.pass = self.pass.saturating_sub(1);
        !passed
    }

    /// Take note of what looking came to. What only a long look has found says nothing of usual ones yet.
    fn looked(&mut self, found: bool, long: bool) {
        self.caught = found && long;
        if found {
            self.vain = if long { self.vain } else { 0 };
            self.pass = 0;
        } else {
            self.vain = (self.vain + 1).min(MOST);
            self.pass = 1 << self.vain;
        }
    }
}

/// How many this machine has, whichever of them this process may use: peers may use the others.
#[cfg(unix)]
fn processors() -> usize {
    // SAFETY: it only asks for a number.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1)
}

/// How many this process may use.
#[cfg(not(unix))]
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NONE: Option<Duration> = None;

    /// Wait once, where the looks find nothing until the last; give the limits that were asked with.
    fn limits(spin: &mut Spin, limit: Option<Duration>, looks: bool) -> Vec<Option<Duration>> {
        let mut asked = Vec::new();
        let found = spin.wait(limit, |limit| {
            if asked.last() != Some(&limit) {
                asked.push(limit);
            }
            Ok(limit != Some(Duration::ZERO) || looks)
        });
        assert!(found.unwrap());
        asked
    }

    #[test]
    fn it_looks_only_after_a_short_wait_and_seldom_where_that_is_in_vain() {
        let zero = Some(Duration::ZERO);
        let mut spin = Spin::with(true);
        assert_eq!(limits(&mut spin, NONE, true), [NONE]);
        spin.short = true;
        assert_eq!(limits(&mut spin, NONE, true), [zero]);
        for times in [2, 4, 8] {
            spin.short = true;
            assert_eq!(limits(&mut spin, NONE, false), [zero, NONE]);
            for _ in 0..times {
                spin.short = true;
                assert_eq!(limits(&mut spin, NONE, true), [NONE]);
            }
        }
        spin.short = true;
        assert_eq!(limits(&mut spin, NONE, true), [zero]);
        // It paid, so that it looks again.
        assert_eq!(limits(&mut spin, NONE, true), [zero]);
        spin.short = false;
        assert_eq!(limits(&mut spin, NONE, true), [NONE]);
    }

    #[test]
    fn what_only_a_long_look_finds_does_not_make_usual_ones_frequent() {
        let zero = Some(Duration::ZERO);
        let mut spin = Spin::with(true);
        spin.short = true;
        assert_eq!(limits(&mut spin, NONE, false), [zero, NONE]);
        for times in [2, 4] {
            for _ in 0..times {
                spin.short = true;
                assert_eq!(limits(&mut spin, NONE, true), [NONE]);
            }
            spin.short = true;
            assert_eq!(limits(&mut spin, NONE, true), [zero]);
            // It was the long one; the next is a usual one, and may be in vain.
            assert!(spin.caught);
            assert_eq!(limits(&mut spin, NONE, false), [zero, NONE]);
        }
        assert_eq!(spin.pass, 8);
    }

    #[test]
    fn it_never_looks_alone_or_for_longer_than_is_waited() {
        let mut spin = Spin::with(false);
        spin.short = true;
        assert_eq!(limits(&mut spin, NONE, true), [NONE]);
        let mut spin = Spin::with(true);
        spin.short = true;
        let limit = Some(Duration::from_micros(20));
        assert_eq!(limits(&mut spin, limit, true), [limit]);
    }
}
