//! What came of a probe: an answer, a word of somebody else, or nothing in its time.

use std::cmp::Reverse;

use super::super::host::{Ask, MAX_REPEATS, Phase, Question, allowed_after};
use super::super::{Answer, State};
use super::{Flight, LATE, LATEST, ScanEngine, find};

/// With so many descriptors, canaries listen on: they are few.
const CANARIES_LISTEN: usize = 256;

impl ScanEngine {
    pub(super) fn answered(&mut self, flight: &Flight, what: Answer, now: i64) {
        let (slot, ask, rtt) = (flight.slot, flight.ask, now - flight.sent_at);
        let least = self.looked.map_or(rtt, |time| rtt.min(time - flight.sent_at));
        let closed = what == Answer::Refused;
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let first = host.srtt < 0;
        let shorter = host.sample(least, rtt, self.plan.timeout);
        if !host.up {
            self.came_up(slot, ask.port);
        } else if shorter {
            self.arm(slot);
        }
        self.note_timeout(slot);
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if self.path.followed && host.link.is_none() {
            self.path.witnesses.heard(host.index, ask.port, closed, host.expected(), now);
        }
        let mut lost = 0; // a canary's losses were counted as they came
        if !ask.canary {
            self.tally.drops += u64::from(ask.repeat);
            let wasted = host.questions.get(&ask.port).map_or(0, |question| question.wasted);
            lost = ask.repeat.saturating_sub(wasted);
        } else if flight.listening {
            host.was_late(flight.small);
        }
        let was_dead = host.heard(now);
        host.answered(flight.small, lost, self.limit);
        host.review(now);
        let higher = lost > host.highest;
        host.highest = host.highest.max(lost);
        self.highest = self.highest.max(lost);
        if ask.canary {
            host.vouched(self.limit);
        } else {
            host.known_to_answer(ask.port, closed);
        }
        self.tell(slot, ask.port, closed, first || higher);
        if !ask.canary {
            let state = if closed { State::Closed } else { State::Open };
            self.decide(slot, ask.port, state, what, rtt);
        }
        if was_dead {
            self.ask_anew(slot);
        }
        if ask.repeat > 0 || ask.canary {
            self.grant(slot);
        }
    }

    /// Take what was said of a host by somebody else; say whether it is the last word on all its ports.
    pub(super) fn seems_unreachable(&mut self, flight: &Flight, what: Answer, now: i64) -> bool {
        let (slot, after) = (flight.slot, now - flight.sent_at);
        let Some(host) = self.hosts[slot as usize].as_mut() else { return false };
        if host.up || what == Answer::NoResponse {
            return false;
        }
        if after >= LATE && what != Answer::SelfConnect {
            if what != Answer::HostUnreachable {
                return false;
            }
            self.tally.unreachable += 1;
            self.close(slot, Answer::HostUnreachable, Answer::HostUnreachable);
            return true;
        }
        if what == Answer::HostUnreachable && now - host.first_sent >= LATE {
            return false; // whoever has looked for the host since its first probe may give up just now
        }
        if what == Answer::HostUnreachable && host.link.is_some() {
            // The kernel says so itself if it looked for the host before the scan did: the neighbour table tells.
            if !host.checking {
                host.checking = true;
                host.rejected = Some((flight.ask.port, after));
                self.doubtful.push(host.index);
            }
            return false;
        }
        // A firewall is no farther than what is behind it, so its neighbours learn nothing from it.
        host.sample(after, after, self.plan.timeout);
        self.came_up(slot, flight.ask.port);
        false
    }

    pub(super) fn note_timeout(&mut self, slot: u32) {
        if !self.alone
            && let Some(host) = &self.hosts[slot as usize]
        {
            let (network, index, timeout) = (host.network, host.index, host.expected());
            self.note_timeout_of(network, index, timeout);
        }
    }

    /// Have others of a network wait by the timeout of one of its hosts.
    pub(super) fn note_timeout_of(&mut self, network: (bool, u128), index: u64, timeout: i64) {
        if !self.crowd.heard(network, index, timeout) {
            return;
        }
        for slot in 0..self.hosts.len() {
            if let Some(host) = &self.hosts[slot]
                && host.phase == Phase::Unheard
                && host.network == network
            {
                self.arm(slot as u32);
            }
        }
    }

    /// The time of a probe is over: ask again, and listen on for a late answer.
    pub(super) fn overdue(&mut self, token: u64, now: i64) {
        let Some(&Flight { slot, ask, small, sent_at, .. }) = self.flight(token) else { return };
        self.land(token);
        self.trace(now, slot, ask, Answer::NoResponse.code());
        self.sent_well();
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if ask.canary {
            self.tally.drops += 1;
            host.lost(small);
            host.review(now);
            host.canary_lost(now, self.plan.timeout, self.limit);
            let until = sent_at + self.plan.timeout;
            if until > now && self.room_limit >= CANARIES_LISTEN {
                self.listen_on(token, slot, until, true);
            } else {
                self.forget(token);
            }
            self.canary_unanswered(slot, ask);
        } else {
            host.silences += 1;
            let doubted = host.doubted.contains(&sent_at);
            let question =
                host.questions.entry(ask.port).or_insert_with(|| Question { asked_at: sent_at, ..Question::default() });
            if doubted {
                question.wasted = ask.repeat + 1;
            }
            self.port_unanswered(token, slot, ask, now);
            if self.plan.adaptive
                && let Some(host) = self.hosts[slot as usize].as_mut()
            {
                for _ in 0..host.canaries_due(now) {
                    self.add_canary(slot);
                }
            }
        }
        self.touch(slot, false);
    }

    fn canary_unanswered(&mut self, slot: u32, ask: Ask) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if host.dead {
            host.allowed = self.plan.retries;
            return;
        }
        self.grant(slot);
        if ask.repeat < MAX_REPEATS
            && let Some(host) = self.hosts[slot as usize].as_mut()
        {
            host.canaries.push_front(Ask { repeat: ask.repeat + 1, ..ask });
        }
    }

    fn port_unanswered(&mut self, token: u64, slot: u32, ask: Ask, now: i64) {
        let Some(host) = self.hosts[slot as usize].as_ref() else { return };
        let wasted = host.questions.get(&ask.port).map_or(0, |question| question.wasted);
        let (last, silent) = (ask.repeat >= allowed_after(host.allowed, wasted), host.phase == Phase::Silent);
        let until = self.listens_until(token, last);
        let mut listens = false;
        if let Some(host) = self.hosts[slot as usize].as_mut()
            && let Some(question) = host.questions.get_mut(&ask.port)
        {
            if question.tokens.is_empty() {
                question.tokens.push(token);
            }
            question.exhausted |= last && silent;
            if until > now {
                listens = true;
            } else if last && silent {
                host.questions.remove(&ask.port);
            }
            if !last {
                host.again(ask.port, ask.repeat + 1);
            }
        }
        if listens {
            self.listen_on(token, slot, until, false);
        } else {
            self.forget(token);
        }
        if last && !silent {
            self.bench(slot, ask.port, ask.repeat);
        }
    }

    fn listen_on(&mut self, token: u64, slot: u32, until: i64, canary: bool) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        self.flights[token as u32 as usize].listening = true;
        if canary {
            while let Some(&oldest) = host.late.front()
                && find(&self.flights, oldest).is_none()
            {
                host.late.pop_front();
            }
            host.late.push_back(token);
        } else {
            host.listening += 1;
        }
        self.serial += 1;
        self.listening.push(Reverse((until, self.serial, token)));
    }

    /// How long a probe whose time is over stays to listen; where descriptors are short, only the last does.
    ///
    /// The first probe to a host does in any case: a word that the host is not there comes seconds after it, and saves
    /// asking the other ports.
    fn listens_until(&mut self, token: u64, last: bool) -> i64 {
        let Some(&Flight { slot, ask, sent_at, .. }) = self.flight(token) else { return -1 };
        let spare = self.has_spare();
        let Some(host) = self.hosts[slot as usize].as_mut() else { return -1 };
        let until = sent_at + self.plan.timeout;
        if host.phase == Phase::Unheard {
            let more = host.order.count() > host.first && !self.plan.skip_silent;
            let first = more && ask.repeat == 0 && self.plan.ports[host.order.at(0) as usize] == ask.port;
            return match last || spare || first {
                _ if first || last && spare && more => until.max(host.first_sent + LATEST),
                true => until,
                false => -1,
            };
        }
        if !last && !spare && !host.seems_silent() || !self.plan.adaptive || host.is_lost() {
            return -1;
        }
        if host.phase == Phase::Silent { sent_at + host.wait } else { until }
    }

    /// A probe has listened long enough.
    pub(super) fn heard_nothing(&mut self, token: u64) {
        let Some(&Flight { slot, ask, .. }) = self.flight(token) else { return };
        self.land(token);
        self.forget(token);
        self.stopped_listening(slot, ask.port, token);
    }

    pub(super) fn stopped_listening(&mut self, slot: u32, port: u16, token: u64) {
        if let Some(host) = self.hosts[slot as usize].as_mut()
            && let Some(question) = host.questions.get(&port)
            && question.exhausted
            && question.tokens.last() == Some(&token)
        {
            host.questions.remove(&port);
        }
        self.touch(slot, false);
    }
}
