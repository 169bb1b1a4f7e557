//! The course of a load: what both drivers do alike, step by step, whatever they move bytes with.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Progress, Schedule, Tally, Until};
use crate::core::errors::Result;
use crate::core::os::waiting::Punctual;
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

/// What moves the bytes of a load.
pub trait Driver {
    /// Its course.
    fn course(&self) -> &Course;
    /// Its course, to go on with.
    fn course_mut(&mut self) -> &mut Course;
    /// How far it is.
    fn progress(&self) -> Progress;
    /// Open what is to be open before the course begins; called until it has begun.
    fn open(&mut self, now: u64);
    /// Send what may be sent on a lane.
    fn talk(&mut self, lane: usize, now: u64);
    /// Look for what was given up.
    fn sweep(&mut self, now: u64);
    /// Whether nothing is left to be done, or nobody to do it with.
    fn finished(&self, now: u64) -> bool;
    /// Wait at most `limit` for answers and take what came; true where a signal came instead.
    fn listen(&mut self, limit: Duration) -> Result<bool>;

    /// Go on for about `slice`, or until a signal comes; false is the end.
    fn step(&mut self, slice: Duration) -> Result<bool> {
        let _punctual = self.course().terms.rate.map(|_| Punctual::now());
        let end = self.course().now().saturating_add(nanoseconds(slice));
        while !self.course().is_over() {
            let mut now = self.course().now();
            if !self.course().begun() {
                self.open(now);
                now = self.course().now();
            }
            self.course_mut().deal(now);
            while let Some(lane) = self.course_mut().next_marked() {
                self.talk(lane, now);
            }
            self.course_mut().close(now);
            if self.course_mut().sweeps(now) {
                self.sweep(now);
            }
            if self.course().begun() && self.finished(now) {
                self.course_mut().over = Some(now);
                break;
            }
            let now = self.course().now();
            if now >= end {
                return Ok(true);
            }
            let limit = (end - now).min(self.course().leisure(now));
            if self.listen(Duration::from_nanos(limit))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How far a load is, and what came of it; times are nanoseconds since it was made.
pub struct Course {
    /// What came of it so far.
    pub tally: Tally,
    terms: Terms,
    clock: Clock,
    schedule: Schedule,
    began: Option<u64>,
    /// What was given up is looked for so often, and was last at this time.
    sweep_every: u64,
    swept: u64,
    last_answer: u64,
    over: Option<u64>,
    /// The lanes that may have something to send, and whether a lane stands there.
    marked: VecDeque<usize>,
    is_marked: Vec<bool>,
}

impl Course {
    /// One whose messages cannot be sent yet; what was given up is looked for every `sweep_every` nanoseconds.
    pub fn new(terms: Terms, sweep_every: u64) -> Result<Self> {
        Ok(Self {
            tally: Tally::new()?,
            terms,
            clock: Clock::start(),
            schedule: Schedule::new(terms.rate, terms.until, 0),
            began: None,
            sweep_every,
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

    /// How long silence may last.
    #[must_use]
    pub fn patience(&self) -> u64 {
        nanoseconds(self.terms.timeout)
    }

    /// Everything is open that will be: messages may be sent on so many lanes, all of which are marked; at a rate they
    /// are due from `lead` nanoseconds later on.
    pub fn begin(&mut self, lanes: usize, lead: u64) -> u64 {
        let now = self.now();
        self.schedule = Schedule::new(self.terms.rate, self.terms.until, lanes);
        self.began = Some(if self.terms.rate.is_some() { now.saturating_add(lead) } else { now });
        self.marked = (0..lanes).collect();
        self.is_marked = vec![true; lanes];
        now
    }

    /// Whether messages may be sent.
    fn begun(&self) -> bool {
        self.began.is_some()
    }

    /// How long messages could be sent.
    fn spent(&self, now: u64) -> u64 {
        self.began.map_or(0, |began| now.saturating_sub(began))
    }

    /// Mark the lanes whose messages are due.
    fn deal(&mut self, now: u64) {
        if self.began.is_some_and(|began| now < began) {
            return;
        }
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
    fn next_marked(&mut self) -> Option<usize> {
        let lane = self.marked.pop_front()?;
        self.is_marked[lane] = false;
        Some(lane)
    }

    /// Those marked have had their turn.
    fn close(&mut self, now: u64) {
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

    /// Whether it is time to look for what was given up.
    fn sweeps(&mut self, now: u64) -> bool {
        let due = now.saturating_sub(self.swept) >= self.sweep_every;
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
    fn leisure(&self, now: u64) -> u64 {
        let Some(began) = self.began else { return self.sweep_every };
        let end = match self.terms.until {
            // After the end there is nothing to be in time for.
            Until::Time(end) if began.saturating_add(end) > now => Some(end),
            _ => None,
        };
        let next = self.schedule.next_due().into_iter().chain(end).min();
        next.map_or(u64::MAX, |next| began.saturating_add(next).saturating_sub(now)).min(self.sweep_every)
    }

    fn is_over(&self) -> bool {
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
