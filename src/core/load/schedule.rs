//! When each message is to be sent: as soon as there is room for it, or at a constant rate, whatever the server does.
//!
//! Messages are dealt to lanes (connections) in turn, so the k-th of n lanes has the messages k, k + n, k + 2n: when one
//! was due follows from its number, and no queue is kept, however far a server falls behind.

/// A rate is so many messages in this many nanoseconds: in 1,000 seconds.
const SPAN: u128 = 1_000_000_000_000;

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so many nanoseconds. What was due and could not be sent by then never is.
    Time(u64),
    /// After so many messages, rounded up to as many on every lane.
    Messages(u64),
}

/// The schedule of a load; times are nanoseconds since its start.
#[derive(Clone, Debug)]
pub struct Schedule {
    rate: Option<u64>,
    until: Until,
    lanes: Vec<Lane>,
    dealt: u64,
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    dealt: u64,
    begun: u64,
}

impl Schedule {
    /// A schedule for so many lanes; `rate` is messages in 1,000 seconds (at least 1), None a closed loop.
    #[must_use]
    pub fn new(rate: Option<u64>, until: Until, lanes: usize) -> Self {
        Self { rate: rate.map(|rate| rate.max(1)), until, lanes: vec![Lane::default(); lanes], dealt: 0, closed: false }
    }

    /// When the next message is due that has not been dealt; None in a closed loop, and after the last.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let due = due(self.rate?, self.dealt);
        let is_one = match self.until {
            Until::Time(end) => due < end,
            Until::Messages(total) => self.dealt < total,
        };
        (is_one && !self.lanes.is_empty()).then_some(due)
    }

    /// Deal the next message if it is due: to which lane, and for when it was meant.
    pub fn deal(&mut self, now: u64) -> Option<(usize, u64)> {
        let due = self.next_due().filter(|due| *due <= now)?;
        let lane = (self.dealt % self.lanes.len() as u64) as usize;
        self.dealt += 1;
        self.lanes[lane].dealt += 1;
        Some((lane, due))
    }

    /// How many messages a lane may begin now.
    #[must_use]
    pub fn ready(&self, lane: usize, now: u64) -> u64 {
        let Lane { dealt, begun } = self.lanes[lane];
        match (self.until, self.rate) {
            (_, Some(_)) if self.closed => 0,
            (_, Some(_)) => dealt - begun,
            (Until::Time(end), None) if now >= end => 0,
            (Until::Time(_), None) => u64::MAX,
            (Until::Messages(total), None) => total.div_ceil(self.lanes.len() as u64).saturating_sub(begun),
        }
    }

    /// Begin a message of a lane that has one ready; gives the time from which its latency counts.
    pub fn begin(&mut self, lane: usize, now: u64) -> u64 {
        let number = self.lanes[lane].begun;
        self.lanes[lane].begun += 1;
        self.rate.map_or(now, |rate| due(rate, number * self.lanes.len() as u64 + lane as u64))
    }

    /// What was dealt has had its chance: where the time is over, what has not begun never will.
    ///
    /// Not before: what was due and looked after late, for want of a core, is late, but sent.
    pub fn close(&mut self, now: u64) {
        self.closed |= matches!(self.until, Until::Time(end) if now >= end) && self.next_due().is_none();
    }

    /// Whether no message will become ready any more that is not ready now.
    #[must_use]
    pub fn over(&self, now: u64) -> bool {
        match (self.until, self.rate) {
            (Until::Time(_), Some(_)) => self.closed,
            (Until::Time(end), None) => now >= end,
            (Until::Messages(_), _) => self.next_due().is_none(),
        }
    }

    /// How many messages were due at a rate, were dealt, and have not begun.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        // In a closed loop nothing is dealt.
        self.dealt.saturating_sub(self.lanes.iter().map(|lane| lane.begun).sum())
    }
}

fn due(rate: u64, number: u64) -> u64 {
    (u128::from(number) * SPAN / u128::from(rate)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_rate_is_kept_to_the_nanosecond_and_dealt_in_turn() {
        // 3 a second for a second, on two lanes.
        let mut schedule = Schedule::new(Some(3000), Until::Time(SECOND), 2);
        assert_eq!(schedule.next_due(), Some(0));
        assert_eq!(schedule.deal(0), Some((0, 0)));
        assert_eq!(schedule.deal(333_333_332), None);
        assert_eq!(schedule.deal(SECOND), Some((1, 333_333_333)));
        assert_eq!(schedule.deal(SECOND), Some((0, 666_666_666)));
        assert_eq!((schedule.deal(SECOND), schedule.next_due()), (None, None));
        assert_eq!((schedule.ready(0, SECOND - 1), schedule.ready(1, SECOND - 1)), (2, 1));
        // However late they are begun: for when they were meant is what counts.
        assert_eq!([schedule.begin(0, 900), schedule.begin(0, 900)], [0, 666_666_666]);
        schedule.close(SECOND - 1);
        assert_eq!((schedule.over(SECOND), schedule.ready(1, SECOND)), (false, 1));
        schedule.close(SECOND);
        assert_eq!((schedule.over(SECOND), schedule.ready(1, SECOND), schedule.unsent()), (true, 0, 1));
    }

    #[test]
    fn what_is_looked_after_late_is_late_and_sent() {
        let mut schedule = Schedule::new(Some(2000), Until::Time(SECOND), 1);
        schedule.close(2 * SECOND);
        assert!(!schedule.over(2 * SECOND));
        while schedule.deal(2 * SECOND).is_some() {}
        assert_eq!([schedule.begin(0, 2 * SECOND), schedule.begin(0, 2 * SECOND)], [0, SECOND / 2]);
        schedule.close(2 * SECOND);
        assert_eq!((schedule.over(2 * SECOND), schedule.unsent()), (true, 0));
    }

    #[test]
    fn a_day_at_any_rate_drifts_by_nothing() {
        for rate in [1, 7, 999, 1_234_567, 10_000_000_000] {
            assert_eq!(due(rate, 86_400 * rate), 86_400_000 * SECOND);
        }
    }

    #[test]
    fn a_closed_loop_has_always_one_more_until_the_end() {
        let mut schedule = Schedule::new(None, Until::Time(SECOND), 1);
        assert_eq!((schedule.next_due(), schedule.deal(5)), (None, None));
        assert_eq!(schedule.ready(0, 5), u64::MAX);
        assert_eq!(schedule.begin(0, 5), 5);
        assert_eq!((schedule.ready(0, SECOND), schedule.over(SECOND)), (0, true));
    }

    #[test]
    fn an_amount_is_shared_out_and_rounded_up() {
        let mut schedule = Schedule::new(None, Until::Messages(5), 2);
        assert!(schedule.over(0));
        for lane in [0, 0, 0, 1, 1, 1] {
            assert!(schedule.ready(lane, 9) > 0);
            schedule.begin(lane, 9);
        }
        assert_eq!((schedule.ready(0, 9), schedule.ready(1, 9)), (0, 0));
        let mut schedule = Schedule::new(Some(1000), Until::Messages(2), 2);
        assert_eq!([schedule.deal(9 * SECOND), schedule.deal(9 * SECOND)], [Some((0, 0)), Some((1, SECOND))]);
        assert!(schedule.deal(9 * SECOND).is_none() && schedule.over(0));
        assert_eq!((schedule.ready(1, 99 * SECOND), schedule.unsent()), (1, 2));
    }

    #[test]
    fn without_lanes_nothing_is_dealt() {
        let mut schedule = Schedule::new(Some(1000), Until::Time(SECOND), 0);
        assert_eq!((schedule.next_due(), schedule.deal(0)), (None, None));
    }
}
