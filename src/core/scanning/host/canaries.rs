//! Canaries: ports known to answer, which are asked again to tell silence from loss, and whether the host still lives.

use super::{Host, Phase};

const CANARY_PORTS: usize = 4;
const CANARY_BURST: i64 = 64;
const CANARY_MAX: i64 = 256;
/// After those, so many silences call for one more: round trips and loss change, and nothing else would tell.
const CANARY_APART: i64 = 1024;
const CANARIES_AT_ONCE: i64 = 16;
const CANARIES_WHEN_SLOW: i64 = 4;
const DEAD_AFTER: u32 = 6;
/// So many ports without an answer, among them those asked first, and none with one: the host may say nothing at all.
const SILENCES: i64 = 256;

impl Host {
    /// Remember a port that answers, to be asked again as a canary; closed ones are less of a nuisance.
    pub fn known_to_answer(&mut self, port: u16, closed: bool) {
        let ports = if closed { &mut self.closed_ports } else { &mut self.open_ports };
        if ports.len() < CANARY_PORTS {
            ports.push(port);
        }
    }

    /// Choose the port of the next canary; none where no port is known to answer, or the host has died.
    pub fn canary(&mut self) -> Option<u16> {
        let ports = self.canary_ports();
        if ports.is_empty() || self.dead {
            return None;
        }
        let port = ports[(self.turn + 1) % ports.len()];
        self.turn += 1;
        self.canaries_sent += 1;
        Some(port)
    }

    fn canary_ports(&self) -> &[u16] {
        if self.closed_ports.is_empty() { &self.open_ports } else { &self.closed_ports }
    }

    /// How many canaries are to tell silence from loss now: a few per timeout, as many as silences call for.
    ///
    /// The sooner loss is known, the fewer ports are asked in vain. A host that was slowed down has some for as long as it
    /// is slow: nothing else tells that it may be asked faster again.
    pub fn canaries_due(&mut self, now: i64) -> i64 {
        let first = (self.silences / 4).min(CANARY_BURST) + (self.silences / 64).min(CANARY_MAX - CANARY_BURST);
        let mut left = first + self.silences / CANARY_APART - self.canaries_sent;
        if self.interval > 0 && left < CANARIES_WHEN_SLOW {
            left = CANARIES_WHEN_SLOW.min(self.silences / 8 + CANARY_BURST - self.canaries_sent);
        }
        if now < self.next_canary || left <= 0 {
            return 0;
        }
        self.next_canary = now + self.timeout;
        left.min(CANARIES_AT_ONCE)
    }

    /// How many canaries must still be sent before silence is called filtered.
    #[must_use]
    pub fn canaries_missing(&self) -> i64 {
        self.canaries_needed() - self.canaries_sent
    }

    pub(super) fn canaries_needed(&self) -> i64 {
        (self.silences / 2).clamp(1, CANARY_BURST)
    }

    /// Count a canary without answer; many in a row, for long, and nothing else heard: the host has died.
    pub fn canary_lost(&mut self, now: i64, timeout: i64, limit: usize) {
        self.canary_losses += 1;
        if self.canary_losses >= DEAD_AFTER && now - self.last_answer >= 2 * timeout {
            self.dead = true;
            self.interval = 0; // there is nobody left to be gentle with
            self.next_send = 0;
            self.window = limit;
        }
    }

    /// Whether so much was asked of a lone host in vain that the rest of it waits as silent hosts.
    #[must_use]
    pub fn seems_silent(&self) -> bool {
        self.silences >= SILENCES && self.phase == Phase::Heard && !self.up && self.srtt < 0
    }

    /// Whether the host is dead beyond doubt: were it one port that fell silent, that port might be limited.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.dead && self.canary_ports().len() > 1
    }

    /// Note a sign of life; say whether the host was taken for dead.
    pub fn heard(&mut self, now: i64) -> bool {
        let was_dead = self.dead;
        if was_dead {
            self.doubted = self.last_answer - self.timeout..now;
        }
        self.last_answer = now;
        self.canary_losses = 0;
        self.dead = false;
        was_dead
    }
}
