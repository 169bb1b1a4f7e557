//! What came of a probe: verdicts, repeats, canaries, and faults of this machine.

use std::cmp::Reverse;

use super::super::host::{Ask, Host, MAX_REPEATS, MS};
use super::super::{Answer, Outcome, State};
use super::{Flight, NO_SLOT, News, ScanEngine, flight};
use crate::core::os::errors::is_transient;

const FAULT_PAUSE: i64 = 5 * MS;
const BENCH_LIMIT: usize = 131_072;

impl ScanEngine {
    /// Take a probe out of flight.
    pub(super) fn land(&mut self, token: u64) -> Option<(u32, Ask, i64, bool)> {
        let &Flight { slot, ask, sent_at, small, .. } = flight(&self.flights, token)?;
        self.flights[token as u32 as usize].slot = NO_SLOT;
        self.free_flights.push(token as u32);
        self.in_flight -= 1;
        if let Some(host) = self.hosts[slot as usize].as_mut() {
            host.in_flight -= 1;
        }
        Some((slot, ask, sent_at, small))
    }

    pub(super) fn heard(&mut self, slot: u32, ask: Ask, what: Answer, now: i64, rtt: i64, small: bool) {
        let closed = what == Answer::Refused;
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let first = host.srtt < 0;
        let shorter = host.sample(rtt, self.plan.timeout);
        let lost = if ask.canary { 0 } else { ask.repeat }; // a canary's losses were counted as they came
        self.tally.drops += u64::from(lost);
        host.heard(now);
        host.answered(small, lost, self.limit);
        host.review(now);
        let higher = ask.repeat > host.highest;
        host.highest = host.highest.max(ask.repeat);
        if self.plan.threads > 1 && host.srtt >= 0 && (first || higher) {
            let (srtt, rttvar, highest) = (host.srtt, host.rttvar, host.highest);
            self.news.push(News { host: host.index, srtt, rttvar, highest, port: ask.port, closed });
        }
        if ask.canary {
            host.vouched(self.limit);
        } else {
            host.known_to_answer(ask.port, closed);
        }
        if shorter {
            self.arm(slot);
        }
        if !ask.canary {
            let state = if closed { State::Closed } else { State::Open };
            self.decide(slot, ask.port, state, what, rtt);
        }
        if ask.repeat > 0 {
            self.grant(slot, self.plan.retries);
        }
    }

    pub(super) fn unanswered(&mut self, token: u64, now: i64) {
        let Some((slot, ask, _, small)) = self.land(token) else { return };
        self.trace(now, slot, ask, Answer::NoResponse.code());
        self.sent_well();
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if ask.canary {
            self.tally.drops += 1;
            host.lost(small);
            host.review(now);
            host.canary_lost(now, self.plan.timeout);
            if host.dead {
                host.allowed = self.plan.retries;
            } else {
                self.grant(slot, self.plan.retries);
                if ask.repeat < MAX_REPEATS
                    && let Some(host) = self.hosts[slot as usize].as_mut()
                {
                    host.waiting.push_back(Ask { repeat: ask.repeat + 1, ..ask });
                }
            }
        } else {
            host.silences += 1;
            if ask.repeat < host.allowed {
                host.waiting.push_back(Ask { repeat: ask.repeat + 1, ..ask });
            } else {
                self.bench(slot, ask.port, ask.repeat);
            }
            if self.plan.adaptive
                && let Some(host) = self.hosts[slot as usize].as_mut()
                && host.canary_due(now)
            {
                self.add_canary(slot);
            }
        }
        self.touch(slot);
    }

    /// Let a host where loss was seen have its silent ports asked more often, those on the bench at once.
    pub(super) fn grant(&mut self, slot: u32, retries: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if !self.plan.adaptive || !host.grant(retries) {
            return;
        }
        for _ in 0..host.bench.len() {
            let Some((port, repeat)) = host.bench.pop_front() else { break };
            if repeat < host.allowed {
                self.benched -= 1;
                host.waiting.push_back(Ask { port, repeat: repeat + 1, canary: false });
            } else {
                host.bench.push_back((port, repeat));
            }
        }
    }

    /// Set a silent port aside until its host is finished: loss seen by then gives it another chance.
    pub(super) fn bench(&mut self, slot: u32, port: u16, repeat: u32) {
        if !self.plan.adaptive {
            self.decide(slot, port, State::Filtered, Answer::NoResponse, -1);
            return;
        }
        if let Some(host) = self.hosts[slot as usize].as_mut() {
            host.bench.push_back((port, repeat));
            self.benched += 1;
        }
        if self.benched > BENCH_LIMIT {
            self.unbench(slot);
        }
    }

    pub(super) fn unbench(&mut self, slot: u32) -> bool {
        let benched = self.hosts[slot as usize].as_mut().and_then(|host| host.bench.pop_front());
        let Some((port, _)) = benched else { return false };
        self.benched -= 1;
        self.decide(slot, port, State::Filtered, Answer::NoResponse, -1);
        true
    }

    pub(super) fn add_canary(&mut self, slot: u32) -> bool {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return false };
        let Some(port) = host.canary() else { return false };
        host.waiting.push_back(Ask { port, repeat: 0, canary: true });
        true
    }

    /// Queue a host that has something to ask and room in its window; finish and free one that has nothing left.
    pub(super) fn touch(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if !host.waiting.is_empty() {
            if host.queued || host.in_flight >= host.window {
                return;
            }
            if self.now >= host.next_send {
                host.queued = true;
                self.ready.push_back(slot);
            } else if host.nap < 0 {
                host.nap = host.next_send;
                self.timer_serial += 1;
                self.timers.push(Reverse((host.nap, host.index, self.timer_serial, slot)));
            }
        } else if host.drawn && host.in_flight == 0 && host.put_back == 0 {
            if host.bench.is_empty() {
                self.hosts[slot as usize] = None;
                self.free_hosts.push(slot);
            } else {
                self.finish(slot);
            }
        }
    }

    /// Call what stayed silent filtered, but not before enough canaries have told silence from loss.
    pub(super) fn finish(&mut self, slot: u32) {
        let mut missing = self.hosts[slot as usize].as_ref().map_or(0, Host::canaries_missing);
        while missing > 0 && self.add_canary(slot) {
            missing -= 1;
        }
        let waits = self.hosts[slot as usize].as_ref().is_some_and(|host| !host.waiting.is_empty());
        if !waits {
            while self.unbench(slot) {}
        }
        self.touch(slot);
    }

    pub(super) fn decide(&mut self, slot: u32, port: u16, state: State, reason: Answer, rtt: i64) {
        self.tally.states[state as usize] += 1;
        if self.plan.keep >> (state as u8) & 1 == 1
            && let Some(host) = &self.hosts[slot as usize]
        {
            self.outcomes.push(Outcome { host: host.index, port, state, reason, rtt, banner: None });
        }
    }

    // --- faults of this machine

    /// Put the probe back and narrow the window; only a fault that lasts at a window of one is a verdict.
    pub(super) fn local_fault(&mut self, slot: u32, ask: Ask, what: Answer, now: i64) {
        self.tally.local_errors += 1;
        if let Answer::Local(code) = what
            && is_transient(code)
        {
            self.window = self.in_flight.max(1);
            let mut lasting = false;
            if self.in_flight == 0 {
                self.not_before = now + FAULT_PAUSE;
                if self.fault_since < 0 {
                    self.fault_since = now;
                }
                lasting = now - self.fault_since >= self.plan.timeout;
            }
            if !lasting {
                if let Some(host) = self.hosts[slot as usize].as_mut() {
                    host.put_back += 1;
                }
                self.put_back.push_front((slot, ask));
                return;
            }
        }
        if !ask.canary {
            self.decide(slot, ask.port, State::Error, what, -1);
        }
        self.touch(slot);
    }

    /// A probe left this machine: the fault, if there was one, is over, and the window recovers slowly.
    pub(super) fn sent_well(&mut self) {
        self.fault_since = -1;
        if self.window < self.limit {
            self.window_growth += 1;
            if self.window_growth >= self.window {
                self.window_growth = 0;
                self.window += 1;
            }
        }
    }
}
