//! Which port of which host is asked next.

use super::super::SENT;
use super::super::host::{Ask, Host, Phase, SMALL_WINDOW, allowed_after};
use super::super::permutation::GROUP;
use super::{CHECK, CHECK_STEP, Flight, ProbeOrder, RATE_SLACK, ScanEngine, find};

impl ScanEngine {
    pub(super) fn next_ask(&mut self) -> Option<(u32, Ask)> {
        let in_window = self.in_flight + self.reserved < self.window;
        while !self.put_back.is_empty() {
            if !in_window {
                return None;
            }
            let (slot, ask) = self.put_back.pop_front()?;
            let Some(host) = self.hosts[slot as usize].as_mut() else { continue };
            host.put_back -= 1;
            if ask.canary || ask.repeat == 0 || host.questions.contains_key(&ask.port) {
                return Some((slot, ask));
            }
            self.touch(slot, false); // it was answered meanwhile
        }
        // In random order who is not heard yet comes first; by address, what was begun is ended first.
        let may_begin = self.now >= self.next_unheard;
        let phases = if self.plan.random { [Phase::Unheard, Phase::Heard] } else { [Phase::Heard, Phase::Unheard] };
        loop {
            if self.plan.random {
                self.admit();
            }
            let mut chosen = None;
            for phase in phases {
                let may_ask = if phase == Phase::Unheard { may_begin } else { in_window };
                if chosen.is_none() && may_ask {
                    chosen = self.pop(phase);
                }
            }
            if chosen.is_none() {
                if !self.plan.random && may_begin && self.admit() {
                    continue;
                }
                chosen = if in_window { self.pop(Phase::Silent) } else { None };
            }
            let slot = chosen?;
            if let Some(ask) = self.take(slot) {
                return Some((slot, ask));
            }
        }
    }

    fn pop(&mut self, phase: Phase) -> Option<u32> {
        while let Some((slot, index)) = self.ready[phase as usize].pop_front() {
            let Some(host) = self.hosts[slot as usize].as_mut().filter(|host| host.index == index) else { continue };
            host.queued = false;
            if host.phase == phase {
                return Some(slot);
            }
            self.touch(slot, false);
        }
        None
    }

    /// Begin with one more host, if there is one and the hosts that are not heard yet leave room for it.
    pub(super) fn admit(&mut self) -> bool {
        let Some(index) = self.order.upcoming() else { return false };
        let full = !self.alone && self.pledged >= self.most_pledged;
        if self.undrawn >= GROUP || full || !self.crowd.has_room(index, self.now) {
            return false;
        }
        let Some((index, order)) = self.order.take() else { return false };
        let mut host = Host::new(index, order, self.plan.timeout, self.plan.retries, self.limit);
        self.live += 1;
        self.undrawn += 1;
        self.crowd.enter(&mut host, self.now);
        if self.alone {
            host.phase = Phase::Heard; // it holds nobody up
        } else {
            host.pledged = true;
            self.pledged += host.first;
        }
        let on_link = host.link.is_some();
        let slot = if let Some(slot) = self.free_hosts.pop() {
            self.hosts[slot as usize] = Some(host);
            slot
        } else {
            self.hosts.push(Some(host));
            self.hosts.len() as u32 - 1
        };
        if on_link {
            self.on_link.insert(index, slot);
        }
        self.touch(slot, false);
        true
    }

    /// The next thing to ask of a host, if there is any by now; it is queued again if there are more.
    fn take(&mut self, slot: u32) -> Option<Ask> {
        let found = self.take_one(slot);
        // Else it is not done: its last probe is about to leave.
        if found.is_none() || self.hosts[slot as usize].as_ref().is_some_and(Host::has_work) {
            self.touch(slot, found.is_some());
        }
        found
    }

    fn take_one(&mut self, slot: u32) -> Option<Ask> {
        loop {
            let host = self.hosts[slot as usize].as_mut()?;
            if !host.may_be_asked(self.now) {
                return None;
            }
            if host.canary_is_next() {
                let canary = host.canaries.pop_front();
                if canary.is_some() && !host.dead {
                    return canary;
                }
                continue;
            }
            let Some(ask) = host.waiting.pop_front() else {
                return self.draw(slot).map(|port| Ask { port, repeat: 0, canary: false });
            };
            if let Some(question) = host.questions.get(&ask.port) {
                // Else it was answered meanwhile, or granted when more seemed to be lost.
                if ask.repeat <= allowed_after(host.allowed, question.wasted) {
                    return Some(ask);
                }
                self.bench(slot, ask.port, ask.repeat - 1);
            }
        }
    }

    fn draw(&mut self, slot: u32) -> Option<u16> {
        let host = self.hosts[slot as usize].as_mut()?;
        if host.cursor == host.first && host.phase == Phase::Silent {
            host.wait = self.crowd.wait(host.network); // its neighbours are better known by now
        }
        while host.to_draw() {
            let port = self.plan.ports[host.order.at(host.cursor) as usize];
            host.cursor += 1;
            if host.cursor == host.order.count() {
                host.drawn = true;
                self.undrawn -= 1;
            }
            if host.cursor > host.asked_before {
                return Some(port);
            }
            if !host.decided.contains(&port) {
                self.close_question(slot, port); // it begins anew
                return Some(port);
            }
        }
        None
    }

    pub(super) fn send(&mut self, slot: u32, ask: Ask, now: i64) -> Option<ProbeOrder> {
        let host = self.hosts[slot as usize].as_mut()?;
        let small = host.window <= SMALL_WINDOW;
        let windowed = host.phase != Phase::Unheard;
        host.asked(now, RATE_SLACK);
        if self.path.followed && host.link.is_none() {
            self.path.asked(now, host.phase);
        }
        if !windowed {
            host.first_until = now + self.plan.timeout;
            self.next_unheard = self.next_unheard.max(now - RATE_SLACK) + self.spread;
        }
        let token = self.take_off(Flight { generation: 0, slot, ask, sent_at: now, small, windowed, listening: false });
        let host = self.hosts[slot as usize].as_mut()?;
        self.in_flight += usize::from(windowed);
        self.tally.retries += u64::from(ask.repeat > 0);
        if host.first_sent < 0 {
            host.first_sent = now;
            if host.link.is_some() {
                host.check_at = (now + CHECK + CHECK_STEP - 1) / CHECK_STEP * CHECK_STEP;
            }
        }
        if !ask.canary
            && !host.questions.is_empty()
            && let Some(question) = host.questions.get_mut(&ask.port)
        {
            question.tokens.push(token);
            question.exhausted = false;
            question.asked_at = now;
            question.repeat = ask.repeat;
        }
        while let Some(&oldest) = host.sent.front()
            && find(&self.flights, oldest).is_none()
        {
            host.sent.pop_front();
        }
        host.sent.push_back(token);
        let index = host.index;
        let armed = host.armed;
        let sooner = |host| now + self.patience(host) < armed;
        if armed < 0 || self.hosts[slot as usize].as_ref().is_some_and(sooner) {
            self.arm(slot);
        }
        self.trace(now, slot, ask, SENT);
        Some(ProbeOrder { token, host: index, port: ask.port, repeat: ask.repeat })
    }
}
