//! One socket's datagrams: which are on their way, which were answered, and which were given up.

use std::collections::VecDeque;

/// What an answer to a datagram means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the first, and in time; the latency counts from then.
    Answered(u64),
    /// The datagram had been given up.
    Late,
    /// It had been answered already.
    Duplicate,
    /// No such datagram was sent.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    since: u64,
    at: u64,
    open: bool,
}

/// The datagrams of one socket, numbered from 0. Every answer is remembered, in one bit.
#[derive(Default)]
pub struct Ledger {
    recent: VecDeque<Sent>,
    /// The number of the first of the recent ones.
    first: u64,
    in_flight: u64,
    answered: Vec<u64>,
}

impl Ledger {
    /// How many datagrams wait for their answers.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The number of the next datagram.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first + self.recent.len() as u64
    }

    /// Whether any datagram was ever answered.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.answered.iter().any(|word| *word != 0)
    }

    /// The next datagram left at `at`; its latency counts from `since`.
    pub fn sent(&mut self, since: u64, at: u64) {
        if self.next().is_multiple_of(64) {
            self.answered.push(0);
        }
        self.recent.push_back(Sent { since, at, open: true });
        self.in_flight += 1;
    }

    /// Datagram `number` was answered.
    pub fn answer(&mut self, number: u64) -> Verdict {
        if number >= self.next() {
            return Verdict::Unknown;
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.answered[word] & bit != 0 {
            return Verdict::Duplicate;
        }
        self.answered[word] |= bit;
        match number.checked_sub(self.first).and_then(|place| self.recent.get_mut(place as usize)) {
            Some(sent) => {
                sent.open = false;
                self.in_flight -= 1;
                Verdict::Answered(sent.since)
            }
            None => Verdict::Late,
        }
    }

    /// Give up what left at least `timeout` ago; gives how many those are.
    pub fn expire(&mut self, now: u64, timeout: u64) -> u64 {
        let mut lost = 0;
        while let Some(sent) = self.recent.front() {
            if sent.open {
                if now.saturating_sub(sent.at) < timeout {
                    break;
                }
                lost += 1;
            }
            self.recent.pop_front();
            self.first += 1;
        }
        self.in_flight -= lost;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_answered_once_in_any_order() {
        let mut ledger = Ledger::default();
        for at in 0..3 {
            ledger.sent(at + 100, at);
        }
        assert_eq!((ledger.next(), ledger.in_flight(), ledger.heard()), (3, 3, false));
        assert_eq!(ledger.answer(2), Verdict::Answered(102));
        assert_eq!(ledger.answer(0), Verdict::Answered(100));
        assert_eq!(ledger.answer(2), Verdict::Duplicate);
        assert_eq!(ledger.answer(3), Verdict::Unknown);
        assert_eq!((ledger.in_flight(), ledger.heard()), (1, true));
    }

    #[test]
    fn what_is_given_up_may_come_late_and_once() {
        let mut ledger = Ledger::default();
        for at in [0, 10, 20] {
            ledger.sent(at, at);
        }
        assert_eq!(ledger.answer(1), Verdict::Answered(10));
        assert_eq!(ledger.expire(99, 100), 0);
        assert_eq!(ledger.expire(100, 100), 1);
        assert_eq!((ledger.in_flight(), ledger.next()), (1, 3));
        assert_eq!(ledger.answer(0), Verdict::Late);
        assert_eq!(ledger.answer(0), Verdict::Duplicate);
        assert_eq!(ledger.answer(1), Verdict::Duplicate);
        assert_eq!(ledger.expire(120, 100), 1);
        assert_eq!((ledger.in_flight(), ledger.next(), ledger.answer(2)), (0, 3, Verdict::Late));
    }

    #[test]
    fn it_remembers_a_million_in_a_bit_each() {
        let mut ledger = Ledger::default();
        for number in 0..1_000_000 {
            ledger.sent(number, number);
            assert_eq!(ledger.answer(number), Verdict::Answered(number));
            ledger.expire(number, 1);
        }
        assert!(ledger.recent.len() < 2 && ledger.answered.len() <= 1_000_000 / 64 + 1);
        assert_eq!(ledger.answer(5), Verdict::Duplicate);
    }
}
