//! The course of a load: what both drivers do alike between deal and answer, whatever they move bytes with.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Progress, Schedule, Tally, Until};
use crate::core::errors::Result;
use crate::core::time::{Clock, nanoseconds};

/// So many messages are dealt before the connections are looked after again.
const DEAL: usize = 16 * 1024;

/// What a load is to do, whatever the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many messages each connection (of UDP, each socket) may have in flight.
    pub depth: u64,
    /// Messages in 1,000 seconds, all connections together; None is a closed loop.
    pub rate: Option<u64>,
    /// When to stop.
    pub until: Until,
    /// How long an answer may take; a connection that is silent for so long has failed, a datagram is lost.
    pub timeout: Duration,
}

/// How far a load is, and what came of it; times are nanoseconds since it was made.
pub struct Course {
    /// What came of it so far.
    pub tally: Tally,
    terms: Terms,
    clock: Clock,
    schedule: Schedule,
    began: Option<u64>,
    swept: u64,
    last_answer: u64,
    over: Option<u64>,
    /// The lanes that may have something to send, and whether a lane stands there.
    marked: VecDeque<usize>,
    is_marked: Vec<bool>,
}

impl Course {
    /// One whose messages cannot be sent yet.
    pub fn new(terms: Terms) -> Result<Self> {
        Ok(Self {
            tally: Tally::new()?,
            terms,
            clock: Clock::start(),
            schedule: Schedule::new(terms.rate, terms.until, 0),
            began: None,
            swept: 0,
            last_answer: 0,
            over: None,
            marked: VecDeque::new(),
            is_marked: Vec::new(),
        })
    }

    /// The time.
    #[inline]
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// What is to be done.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// How long silence may last.
    #[must_use]
    pub fn patience(&self) -> u64 {
        nanoseconds(self.terms.timeout)
    }

    /// Everything is open that will be: messages may be sent on so many lanes, all of which are marked.
    pub fn begin(&mut self, lanes: usize) -> u64 {
        let now = self.now();
        self.schedule = Schedule::new(self.terms.rate, self.terms.until, lanes);
        self.began = Some(now);
        self.marked = (0..lanes).collect();
        self.is_marked = vec![true; lanes];
        now
    }

    /// Whether messages may be sent.
    #[must_use]
    pub fn begun(&self) -> bool {
        self.began.is_some()
    }

    /// How long messages could be sent.
    fn spent(&self, now: u64) -> u64 {
        self.began.map_or(0, |began| now.saturating_sub(began))
    }

    /// Mark the lanes whose messages are due.
    pub fn deal(&mut self, now: u64) {
        let spent = self.spent(now);
        for _ in 0..DEAL {
            let Some((lane, due)) = self.schedule.deal(spent) else { break };
            self.tally.lag.record(spent - due, 1);
            self.mark(lane);
        }
    }

    /// Note that a lane may have something to send.
    pub fn mark(&mut self, lane: usize) {
        if !self.is_marked[lane] {
            self.is_marked[lane] = true;
            self.marked.push_back(lane);
        }
    }

    /// The first of those marked, which it no longer is.
    pub fn next_marked(&mut self) -> Option<usize> {
        let lane = self.marked.pop_front()?;
        self.is_marked[lane] = false;
        Some(lane)
    }

    /// Those marked have had their turn.
    pub fn close(&mut self, now: u64) {
        if self.begun() {
            self.schedule.close(self.spent(now));
        }
    }

    /// How many messages a lane with so many `in_flight` may begin.
    #[inline]
    #[must_use]
    pub fn room(&self, lane: usize, in_flight: u64, now: u64) -> u64 {
        self.terms.depth.saturating_sub(in_flight).min(self.schedule.ready(lane, self.spent(now)))
    }

    /// Begin a message; gives the time from which its latency counts.
    #[inline]
    pub fn begin_message(&mut self, lane: usize, now: u64) -> u64 {
        self.began.unwrap_or_default() + self.schedule.begin(lane, self.spent(now))
    }

    /// Whether a lane has nothing on its way and nothing to send.
    #[must_use]
    pub fn is_idle(&self, lane: usize, in_flight: u64, now: u64) -> bool {
        in_flight == 0 && self.schedule.ready(lane, self.spent(now)) == 0
    }

    /// Whether no message will become ready any more that is not ready now.
    #[must_use]
    pub fn dealt_all(&self, now: u64) -> bool {
        self.begun() && self.schedule.over(self.spent(now))
    }

    /// Whether to look for what was given up: every so many nanoseconds.
    pub fn sweeps(&mut self, now: u64, every: u64) -> bool {
        let due = now.saturating_sub(self.swept) >= every;
        if due {
            self.swept = now;
        }
        due
    }

    /// Something came.
    #[inline]
    pub fn heard(&mut self, now: u64) {
        self.last_answer = now;
    }

    /// How long nothing has to be done but to wait for answers.
    #[must_use]
    pub fn leisure(&self, now: u64) -> u64 {
        let Some(began) = self.began else { return u64::MAX };
        let end = match self.terms.until {
            // After the end there is nothing to be in time for.
            Until::Time(end) if began.saturating_add(end) > now => Some(end),
            _ => None,
        };
        let next = self.schedule.next_due().into_iter().chain(end).min();
        next.map_or(u64::MAX, |next| began.saturating_add(next).saturating_sub(now))
    }

    /// That was all.
    pub fn end(&mut self, now: u64) {
        self.over = Some(now);
    }

    /// Whether that was all.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// How far it is, where so many connections were opened, and so many messages wait on those that are alive.
    #[must_use]
    pub fn progress(&self, opened: usize, alive: usize, pending: u64) -> Progress {
        let spent = self.spent(self.over.unwrap_or_else(|| self.now()));
        let sending = match self.terms.until {
            Until::Time(end) => spent.min(end),
            Until::Messages(_) => spent,
        };
        let least = if matches!(self.terms.until, Until::Time(_)) { sending } else { 1 };
        let elapsed = if self.is_over() && alive > 0 { self.spent(self.last_answer).max(least) } else { spent };
        Progress {
            begun: self.begun(),
            opened,
            alive,
            pending,
            unsent: self.schedule.unsent(),
            sending: Duration::from_nanos(sending),
            elapsed: Duration::from_nanos(elapsed),
        }
    }
}
