//! Which port of which host is asked next.

use super::super::SENT;
use super::super::host::{Ask, Host, SMALL_WINDOW, level};
use super::super::permutation::GROUP;
use super::{Flight, NO_SLOT, ProbeOrder, RATE_SLACK, ScanEngine, flight, timeout_of};

impl ScanEngine {
    pub(super) fn next_ask(&mut self) -> Option<(u32, Ask)> {
        if let Some((slot, ask)) = self.put_back.pop_front() {
            if let Some(host) = self.hosts[slot as usize].as_mut() {
                host.put_back -= 1;
            }
            return Some((slot, ask));
        }
        while let Some(slot) = self.ready.pop_front() {
            let asked = self.next_waiting(slot);
            let more = self.hosts[slot as usize].as_ref().is_some_and(|host| !host.waiting.is_empty());
            if asked.is_none() || more {
                self.touch(slot);
            }
            if let Some(ask) = asked {
                return Some((slot, ask));
            }
        }
        while self.parked < self.limit && !self.drawn_all {
            let Some((slot, port)) = self.draw() else { break };
            let ask = Ask { port, repeat: 0, canary: false };
            let Some(host) = self.hosts[slot as usize].as_mut() else { continue };
            if host.may_be_asked(self.now) {
                return Some((slot, ask));
            }
            self.parked += 1;
            host.waiting.push_back(ask);
            self.touch(slot);
        }
        None
    }

    pub(super) fn next_waiting(&mut self, slot: u32) -> Option<Ask> {
        self.hosts[slot as usize].as_mut()?.queued = false;
        loop {
            let host = self.hosts[slot as usize].as_mut()?;
            if !host.may_be_asked(self.now) {
                return None;
            }
            let ask = host.waiting.pop_front()?;
            if ask.repeat == 0 && !ask.canary {
                self.parked -= 1;
            }
            if !host.dead || (ask.repeat <= self.plan.retries && !ask.canary) {
                return Some(ask);
            }
            if !ask.canary {
                // The host died since: this port has been asked often enough.
                self.bench(slot, ask.port, ask.repeat - 1);
            }
        }
    }

    pub(super) fn draw(&mut self) -> Option<(u32, u16)> {
        let Some((index, port_index)) = self.order.next() else {
            self.drawn_all = true;
            self.leave_group();
            return None;
        };
        if self.group != Some(index / GROUP) {
            self.leave_group();
            self.group = Some(index / GROUP);
            self.group_slots.resize(GROUP as usize, NO_SLOT);
        }
        let place = (index % GROUP) as usize;
        if self.group_slots[place] == NO_SLOT {
            self.group_slots[place] = self.new_host(index);
            if let Some(news) = self.learned.remove(&index) {
                self.apply(self.group_slots[place], news);
            }
        }
        Some((self.group_slots[place], self.plan.ports[port_index as usize]))
    }

    pub(super) fn new_host(&mut self, index: u64) -> u32 {
        let host = Host::new(index, self.plan.timeout, self.plan.retries, (self.limit / 2).max(1), self.limit);
        if let Some(slot) = self.free_hosts.pop() {
            self.hosts[slot as usize] = Some(host);
            slot
        } else {
            self.hosts.push(Some(host));
            self.hosts.len() as u32 - 1
        }
    }

    pub(super) fn leave_group(&mut self) {
        self.learned.clear();
        let slots = std::mem::take(&mut self.group_slots);
        for &slot in &slots {
            if slot != NO_SLOT {
                if let Some(host) = self.hosts[slot as usize].as_mut() {
                    host.drawn = true;
                }
                self.touch(slot);
            }
        }
        if self.drawn_all {
            self.group_slots = slots; // no slot is given away any more: news of these hosts still finds them
        }
    }

    pub(super) fn send(&mut self, slot: u32, ask: Ask, now: i64) -> Option<ProbeOrder> {
        let host = self.hosts[slot as usize].as_mut()?;
        let small = host.window <= SMALL_WINDOW;
        let place = self.free_flights.pop().unwrap_or_else(|| {
            self.flights.push(Flight { generation: 0, slot: NO_SLOT, ask, sent_at: 0, small });
            self.flights.len() as u32 - 1
        });
        let entry = &mut self.flights[place as usize];
        *entry = Flight { generation: entry.generation.wrapping_add(1), slot, ask, sent_at: now, small };
        let token = u64::from(entry.generation) << 32 | u64::from(place);
        host.asked(now, RATE_SLACK);
        self.in_flight += 1;
        self.tally.probes += 1;
        self.tally.retries += u64::from(ask.repeat > 0);
        let number = level(ask.repeat);
        while let Some(&oldest) = host.sent[number].front()
            && flight(&self.flights, oldest).is_none()
        {
            host.sent[number].pop_front();
        }
        host.sent[number].push_back(token);
        let index = host.index;
        if host.armed < 0 || now + timeout_of(&self.plan, host, number) < host.armed {
            self.arm(slot);
        }
        self.trace(now, slot, ask, SENT);
        Some(ProbeOrder { token, host: index, port: ask.port, repeat: ask.repeat })
    }
}
