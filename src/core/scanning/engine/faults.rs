//! Faults of this machine: those that pass and those that do not.

use super::super::host::{Ask, MS};
use super::super::{Answer, State};
use super::ScanEngine;
use crate::core::os::errors::is_transient;

const PAUSE: i64 = 5 * MS;

impl ScanEngine {
    /// Put the probe back and narrow the window; only a fault that lasts with nothing else open is a verdict.
    pub(super) fn local_fault(&mut self, slot: u32, ask: Ask, what: Answer, now: i64) {
        self.tally.local_errors += 1;
        if let Answer::Local(code) = what
            && is_transient(code)
        {
            self.window = (self.in_flight + self.reserved).max(1);
            self.room = (self.open + self.reserved).max(1);
            let mut lasting = false;
            if self.in_flight == 0 {
                self.not_before = now + PAUSE;
            }
            if self.open == 0 {
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
            if let Some(host) = self.hosts[slot as usize].as_mut() {
                host.faulty = true;
            }
            self.decide(slot, ask.port, State::Error, what, -1);
        }
        self.touch(slot, false);
    }

    /// A probe left this machine: the fault, if there was one, is over, and window and room recover slowly.
    pub(super) fn sent_well(&mut self) {
        self.fault_since = -1;
        if self.window < self.limit || self.room < self.room_limit {
            self.growth += 1;
            if self.growth >= self.window {
                self.growth = 0;
                self.window = self.limit.min(self.window + 1);
                self.room = self.room_limit.min(self.room + 1);
            }
        }
    }
}
