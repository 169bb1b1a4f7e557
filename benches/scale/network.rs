//! A network in which nothing is stored: what a host is follows from a hash of its number.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use oxisock::core::scanning::Answer;
use oxisock::core::scanning::engine::ProbeOrder;
use oxisock::core::splitmix::mix;

use crate::case::Case;

const MS: i64 = 1_000_000;
/// Round trips lie between these, evenly, and each packet adds up to a quarter of its host's.
const NEAREST: i64 = 5 * MS;
const FARTHEST: i64 = 200 * MS;

/// Hosts, losses, and the answers on their way.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    up: u64,
    open: u64,
    refused: u64,
    loss: u64,
    packets: u64,
    arrivals: BinaryHeap<Reverse<(i64, u64, bool)>>,
    /// How many answers reached the scanner's machine.
    pub answers: u64,
}

impl Network {
    /// The network of a case.
    pub fn new(case: &Case) -> Self {
        Self {
            seed: mix(case.seed),
            up: share(case.up),
            open: share(case.open),
            refused: share(case.open + case.refused),
            loss: share(case.loss),
            packets: 0,
            arrivals: BinaryHeap::new(),
            answers: 0,
        }
    }

    /// What this port says when no packet is lost, none for silence.
    pub fn truth(&self, host: u64, port: u16) -> Option<Answer> {
        if self.hash(host, 1) >= self.up {
            return None;
        }
        let kind = self.hash(host, 2 + u64::from(port));
        if kind < self.open {
            Some(Answer::SynAck)
        } else if kind < self.refused {
            Some(Answer::Refused)
        } else {
            None
        }
    }

    /// A probe leaves at time `now`; what it meets will arrive.
    pub fn send(&mut self, probe: &ProbeOrder, now: i64) {
        let lost = self.loss > 0 && (self.dice() < self.loss || self.dice() < self.loss);
        if !lost && let Some(answer) = self.truth(probe.host, probe.port) {
            let nearness = (FARTHEST - NEAREST) as u64;
            let base = NEAREST + (self.hash(probe.host, 0) % nearness) as i64;
            let jitter = (self.dice() % (base as u64 / 4)) as i64;
            self.arrivals.push(Reverse((now + base + jitter, probe.token, answer == Answer::SynAck)));
        }
    }

    /// When the next answer arrives.
    pub fn next_arrival(&self) -> Option<i64> {
        self.arrivals.peek().map(|&Reverse((time, ..))| time)
    }

    /// An answer that has arrived by `now`, with the token of its probe.
    pub fn arrived(&mut self, now: i64) -> Option<(u64, Answer)> {
        if self.next_arrival()? > now {
            return None;
        }
        self.answers += 1;
        let Reverse((_, token, open)) = self.arrivals.pop()?;
        Some((token, if open { Answer::SynAck } else { Answer::Refused }))
    }

    fn hash(&self, host: u64, what: u64) -> u64 {
        mix(mix(self.seed ^ what).wrapping_add(host))
    }

    fn dice(&mut self) -> u64 {
        self.packets += 1;
        mix(self.seed ^ self.packets)
    }
}

/// A fraction as a threshold for 64 random bits.
fn share(fraction: f64) -> u64 {
    (fraction * u64::MAX as f64) as u64
}
