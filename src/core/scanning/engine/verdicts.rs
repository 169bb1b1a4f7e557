//! Verdicts on ports, and what is put off until there is one: the bench, further repeats, canaries.

use super::super::host::{Ask, MAX_REPEATS, Question, allowed_after};
use super::super::{Answer, Outcome, State};
use super::ScanEngine;

const BENCH_LIMIT: usize = 131_072;

impl ScanEngine {
    /// Let a host where loss was seen have its silent ports asked more often, those on the bench at once.
    pub(super) fn grant(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if !self.plan.adaptive || !host.grant(self.plan.retries, self.highest) {
            return;
        }
        let allowed = host.allowed;
        self.ask_benched(slot, |question, repeat| repeat < allowed_after(allowed, question.wasted));
    }

    /// Let what a host was asked while its silence said nothing be asked as often as if it had not been.
    pub(super) fn ask_anew(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if !self.plan.adaptive {
            return;
        }
        let since = host.doubted.start;
        for question in host.questions.values_mut() {
            if question.asked_at >= since {
                question.wasted = question.repeat + 1;
            }
        }
        self.ask_benched(slot, |question, repeat| question.asked_at >= since && repeat < MAX_REPEATS);
    }

    fn ask_benched(&mut self, slot: u32, chosen: impl Fn(&Question, u32) -> bool) {
        let spare = self.has_spare();
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let mut unneeded = Vec::new();
        for _ in 0..host.bench.len() {
            let Some((port, repeat)) = host.bench.pop_front() else { break };
            let Some(question) = host.questions.get_mut(&port) else { continue };
            if chosen(question, repeat) {
                if !spare {
                    unneeded.append(&mut question.tokens);
                }
                question.benched = false;
                self.benched -= 1;
                host.again(port, repeat + 1);
            } else {
                host.bench.push_back((port, repeat));
            }
        }
        self.drop_all(&unneeded);
    }

    /// Set a silent port aside until its host is finished: loss seen by then gives it another chance.
    pub(super) fn bench(&mut self, slot: u32, port: u16, repeat: u32) {
        if !self.plan.adaptive {
            self.decide(slot, port, State::Filtered, Answer::NoResponse, -1);
            return;
        }
        if let Some(host) = self.hosts[slot as usize].as_mut()
            && let Some(question) = host.questions.get_mut(&port)
        {
            question.benched = true;
            host.bench.push_back((port, repeat));
            self.benched += 1;
        }
        if self.benched > BENCH_LIMIT {
            self.unbench(slot);
        }
    }

    pub(super) fn unbench(&mut self, slot: u32) -> bool {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return false };
        let Some((port, _)) = host.bench.pop_front() else { return false };
        if host.questions.contains_key(&port) {
            self.decide(slot, port, State::Filtered, Answer::NoResponse, -1);
        }
        true
    }

    pub(super) fn add_canary(&mut self, slot: u32) -> bool {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return false };
        let Some(port) = host.canary() else { return false };
        host.canaries.push_back(Ask { port, repeat: 0, canary: true });
        true
    }

    pub(super) fn decide(&mut self, slot: u32, port: u16, state: State, reason: Answer, rtt: i64) {
        self.tally.states[state as usize] += 1;
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if !host.up || host.asked_before > 0 {
            host.decided.insert(port);
        }
        if self.plan.keep >> (state as u8) & 1 == 1 {
            self.outcomes.push(Outcome { host: host.index, port, state, reason, rtt, banner: None });
        }
        self.close_question(slot, port);
    }

    pub(super) fn close_question(&mut self, slot: u32, port: u16) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if !host.questions.is_empty()
            && let Some(question) = host.questions.remove(&port)
        {
            self.benched -= usize::from(question.benched);
            self.drop_all(&question.tokens);
        }
    }
}
