//! Probes under way, and those that listen after their time: where they are kept, and when each host is looked at next.

use std::cmp::Reverse;

use super::ScanEngine;
use crate::core::scanning::TraceEvent;
use crate::core::scanning::host::{Ask, Host, Phase};

pub(super) const NO_SLOT: u32 = u32::MAX;
/// A canary of the path has this instead of the slot of a host.
pub(super) const WITNESS: u32 = u32::MAX - 1;

#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) generation: u32,
    /// The slot of the host, `NO_SLOT` where this entry is free or given up.
    pub(super) slot: u32,
    pub(super) ask: Ask,
    pub(super) sent_at: i64,
    pub(super) small: bool,
    /// It has a place in the scan's window.
    pub(super) windowed: bool,
    /// Its time is over, and an answer is still an answer.
    pub(super) listening: bool,
}

impl ScanEngine {
    /// Set the host's timer to the earliest time at which there is something to do, if that is earlier.
    pub(super) fn arm(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let mut earliest = host.check_at;
        if host.waiting_for_pace && (earliest < 0 || host.next_send < earliest) {
            earliest = host.next_send;
        }
        if host.ends_at >= 0 && (earliest < 0 || host.ends_at < earliest) {
            earliest = host.ends_at;
        }
        while let Some(&token) = host.sent.front()
            && find(&self.flights, token).is_none()
        {
            host.sent.pop_front();
        }
        let Some(host) = self.hosts[slot as usize].as_ref() else { return };
        if let Some(flight) = host.sent.front().and_then(|&token| find(&self.flights, token)) {
            let deadline = flight.sent_at + self.patience(host);
            if earliest < 0 || deadline < earliest {
                earliest = deadline;
            }
        }
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if earliest >= 0 && (host.armed < 0 || earliest < host.armed) {
            host.armed = earliest;
            self.serial += 1;
            self.timers.push(Reverse((earliest, host.index, self.serial, slot)));
        }
    }

    /// How long a probe of this host has a place in the window, before its port is asked again.
    pub(super) fn patience(&self, host: &Host) -> i64 {
        match host.phase {
            _ if !self.plan.adaptive => self.plan.timeout,
            Phase::Unheard if self.has_spare() => self.crowd.patience(host),
            Phase::Unheard => self.plan.timeout,
            Phase::Silent => host.wait / 2,
            Phase::Heard if host.seems_silent() => self.plan.timeout / 2,
            Phase::Heard => self.plan.timeout.min(host.timeout),
        }
    }

    /// Whether there are descriptors for probes whose port will be asked again anyway.
    pub(super) fn has_spare(&self) -> bool {
        self.room_limit > self.limit && 2 * self.open < self.room_limit
    }

    pub(super) fn flight(&self, token: u64) -> Option<&Flight> {
        find(&self.flights, token)
    }

    /// Give a probe that leaves a place, and a token that names it.
    pub(super) fn take_off(&mut self, flight: Flight) -> u64 {
        let place = self.free_flights.pop().unwrap_or_else(|| {
            self.flights.push(Flight { slot: NO_SLOT, ..flight });
            self.flights.len() as u32 - 1
        });
        let entry = &mut self.flights[place as usize];
        let generation = entry.generation.wrapping_add(1);
        *entry = Flight { generation, ..flight };
        self.open += 1;
        self.tally.probes += 1;
        u64::from(generation) << 32 | u64::from(place)
    }

    /// Take a probe out of flight, or from those that listen.
    pub(super) fn land(&mut self, token: u64) {
        let Some(&Flight { slot, ask, windowed, listening, .. }) = find(&self.flights, token) else { return };
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if listening {
            host.listening -= usize::from(!ask.canary);
        } else {
            host.in_flight -= 1;
            self.in_flight -= usize::from(windowed);
        }
    }

    /// The driver has closed this one.
    pub(super) fn release(&mut self, token: u64) {
        self.flights[token as u32 as usize].slot = NO_SLOT;
        self.free_flights.push(token as u32);
    }

    /// The driver is to close this one; until it has, nobody else gets its place.
    pub(super) fn forget(&mut self, token: u64) {
        self.flights[token as u32 as usize].slot = NO_SLOT;
        self.dropped.push(token);
    }

    /// Give up what is still under way of these.
    pub(super) fn drop_all(&mut self, tokens: &[u64]) {
        for &token in tokens {
            if self.flight(token).is_some() {
                self.land(token);
                self.forget(token);
            }
        }
    }

    pub(super) fn trace(&mut self, now: i64, slot: u32, ask: Ask, what: i32) {
        if self.plan.trace
            && let Some(host) = &self.hosts[slot as usize]
        {
            self.events.push(TraceEvent { time: now, host: host.index, port: ask.port, repeat: ask.repeat, what });
        }
    }
}

pub(super) fn find(flights: &[Flight], token: u64) -> Option<&Flight> {
    let entry = flights.get(token as u32 as usize)?;
    (entry.slot != NO_SLOT && entry.generation == (token >> 32) as u32).then_some(entry)
}
