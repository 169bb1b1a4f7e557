//! The order of a scan: a seeded permutation that is computed position by position, with no list in memory.

use crate::core::splitmix::mix;

/// Hosts go through in groups of at most this many, whose state is freed when they are done.
pub const GROUP: u64 = 1024;

const ROUNDS: usize = 4;

/// A pseudo-random bijection of 0..size onto itself, chosen by a 64-bit key.
///
/// A Feistel network over the next even power of two; a value that falls outside is sent through again until it falls
/// inside ("cycle walking": Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
#[derive(Debug, Clone)]
pub struct Permutation {
    size: u64,
    half: u32,
    mask: u64,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// Make the bijection of `key` over 0..size.
    #[must_use]
    pub fn new(size: u64, key: u64) -> Self {
        let bits = 64 - size.saturating_sub(1).leading_zeros();
        let half = bits.div_ceil(2).max(1);
        let mut keys = [0; ROUNDS];
        for (number, each) in (1..).zip(&mut keys) {
            *each = mix(key ^ number);
        }
        Self { size, half, mask: (1 << half) - 1, keys }
    }

    /// Where the permutation sends `position`, which must be below the size.
    #[must_use]
    pub fn at(&self, mut position: u64) -> u64 {
        loop {
            let (mut left, mut right) = (position >> self.half, position & self.mask);
            for key in self.keys {
                (left, right) = (right, left ^ (mix(right ^ key) & self.mask));
            }
            position = left << self.half | right;
            if position < self.size {
                return position;
            }
        }
    }
}

/// Every (host number, port index) of one share of a scan, each once.
///
/// The positions of the whole scan are counted group by group; this share takes `start`, `start + step`, ... In random
/// order the first `first_ports` ports of all hosts of a group come before its other ports.
#[derive(Debug)]
pub struct Order {
    hosts: u64,
    ports: u64,
    first_ports: u64,
    random: bool,
    seed: u64,
    position: u64,
    step: u64,
    group: Option<(u64, Permutation, Permutation)>,
}

impl Order {
    /// Begin at the first position of the share.
    #[must_use]
    pub fn new(hosts: u64, ports: u64, first_ports: u64, random: Option<u64>, start: u64, step: u64) -> Self {
        Self {
            hosts,
            ports,
            first_ports,
            random: random.is_some(),
            seed: random.unwrap_or_default(),
            position: start,
            step,
            group: None,
        }
    }

    /// How many pairs are still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        (self.hosts * self.ports).saturating_sub(self.position).div_ceil(self.step)
    }
}

impl Iterator for Order {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        if self.position >= self.hosts * self.ports {
            return None;
        }
        let per_group = GROUP * self.ports;
        let (number, offset) = (self.position / per_group, self.position % per_group);
        let hosts = GROUP.min(self.hosts - number * GROUP);
        self.position += self.step;
        if !self.random {
            return Some((number * GROUP + offset / self.ports, offset % self.ports));
        }
        let split = hosts * self.first_ports;
        if self.group.as_ref().is_none_or(|group| group.0 != number) {
            let key = mix(self.seed ^ mix(number));
            let early = Permutation::new(split.max(1), key);
            let late = Permutation::new((hosts * self.ports - split).max(1), mix(key));
            self.group = Some((number, early, late));
        }
        let (_, early, late) = self.group.as_ref()?;
        let (host, port) = if offset < split {
            let place = early.at(offset);
            (place % hosts, place / hosts)
        } else {
            let place = late.at(offset - split);
            (place % hosts, place / hosts + self.first_ports)
        };
        Some((number * GROUP + host, port))
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Permutation};
    use std::collections::HashSet;

    #[test]
    fn a_permutation_is_a_bijection_for_every_size() {
        for size in 1..300 {
            let permutation = Permutation::new(size, size * 7);
            let seen: HashSet<u64> = (0..size).map(|position| permutation.at(position)).collect();
            assert_eq!(seen.len() as u64, size);
            assert!(seen.iter().all(|&place| place < size));
        }
    }

    #[test]
    fn shares_are_disjoint_and_complete() {
        let all: HashSet<_> = Order::new(1500, 7, 3, Some(5), 0, 1).collect();
        assert_eq!(all.len(), 1500 * 7);
        let mut together = Vec::new();
        for start in 0..3 {
            let order = Order::new(1500, 7, 3, Some(5), start, 3);
            let expected = order.remaining();
            let before = together.len();
            together.extend(order);
            assert_eq!((together.len() - before) as u64, expected);
        }
        assert_eq!(together.len(), all.len());
        assert_eq!(together.into_iter().collect::<HashSet<_>>(), all);
    }
}
