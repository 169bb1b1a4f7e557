//! How long a host takes to answer, and so how long a probe waits for it.

use super::{FLOOR, Host, MS, SECOND};

/// So many answers say little of how round trips vary.
const FEW: i64 = 4;

impl Host {
    /// Take a round trip into the estimate; say whether the timeout became shorter.
    ///
    /// Over a second a sample is ambiguous, because the kernel itself repeats a SYN then, and is discarded (Karn).
    ///
    /// It took between `least` and `rtt`, for who is busy sees an answer late: what the estimate says already is no news.
    pub fn sample(&mut self, least: i64, rtt: i64, limit: i64) -> bool {
        if rtt > SECOND {
            return false;
        }
        if self.srtt < 0 {
            self.srtt = rtt;
            self.rttvar = rtt.clamp(5 * MS, 2 * SECOND);
        } else {
            let delta = rtt.min(least.max(self.srtt)) - self.srtt;
            self.srtt += delta >> 3;
            self.rttvar += (delta.abs() - self.rttvar) >> 2;
        }
        self.follow(limit)
    }

    /// What probes to other hosts of its network may be given: the timeout, or less while it follows from a few answers.
    ///
    /// The estimate after the first one is five round trips, to be safe, and many hosts have no second one for long.
    #[must_use]
    pub fn expected(&self) -> i64 {
        if self.answers < FEW && self.srtt >= 0 { self.timeout.min(FLOOR.max(2 * self.srtt)) } else { self.timeout }
    }

    /// Take over an estimate that another thread made; say whether the timeout became shorter.
    pub fn adopt(&mut self, srtt: i64, rttvar: i64, limit: i64) -> bool {
        self.srtt = srtt;
        self.rttvar = rttvar;
        self.follow(limit)
    }

    fn follow(&mut self, limit: i64) -> bool {
        let before = self.timeout;
        // A quarter of the round trip at the least: after many even samples one late answer must not look like silence.
        self.timeout = limit.min(FLOOR.max(self.srtt + (4 * self.rttvar).max(self.srtt >> 2)));
        self.timeout < before
    }
}
