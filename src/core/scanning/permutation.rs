//! The order of a scan: seeded permutations of hosts and ports, computed position by position, with no list in memory.

use crate::core::splitmix::mix;

/// Hosts go through in groups of at most this many, whose state is freed when they are done.
pub const GROUP: u64 = 1024;
/// So many ports of a host are asked before anything is known of it.
pub const FIRST: u64 = 16;

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

/// The ports of one host that fall to this share: each by its index, at positions 0..count.
///
/// In random order the first `FIRST` of the ports that are likeliest to answer come first, then the others of those,
/// then the rest.
#[derive(Debug)]
pub struct PortOrder {
    tiers: [u64; 3],
    offset: u64,
    step: u64,
    key: Option<u64>,
    /// The tier that it is for, and the permutation.
    present: Option<(u64, u64, Permutation)>,
}

impl PortOrder {
    /// How many ports there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.tiers[2].saturating_sub(self.offset).div_ceil(self.step)
    }

    /// The index of the port at `position`, which must be below the count.
    pub fn at(&mut self, position: u64) -> u64 {
        let place = self.offset + position * self.step;
        let Some(mut key) = self.key else { return place };
        if let Some((start, stop, permutation)) = &self.present
            && (*start..*stop).contains(&place)
        {
            return start + permutation.at(place - start);
        }
        let (mut start, mut stop) = (0, self.tiers[2]);
        for tier in self.tiers {
            if tier == start {
                continue; // an empty tier
            }
            if place < tier {
                stop = tier;
                break;
            }
            start = tier;
            key = mix(key);
        }
        let permutation = Permutation::new(stop - start, key);
        let index = start + permutation.at(place - start);
        self.present = Some((start, stop, permutation));
        index
    }
}

/// Every (host number, port index) of one share of a scan, each once.
///
/// Position `host * ports + port` of the whole scan belongs to the share if it is `start` modulo `step`. In random order
/// the hosts of a group are shuffled, and the ports of a host by a key of its own. Of the hosts, in their order, this
/// part takes every `parts`-th.
#[derive(Debug)]
pub struct Order {
    hosts: u64,
    ports: u64,
    tiers: [u64; 3],
    seed: Option<u64>,
    start: u64,
    step: u64,
    part: u64,
    parts: u64,
    first_host: u64,
    position: u64,
    shuffled: Option<(u64, Permutation)>,
    upcoming: Option<u64>,
}

impl Order {
    /// Begin at the first host of the share. Host 0 has the ports in the order of host `first_host` of the whole.
    #[must_use]
    pub fn new(
        (hosts, ports, first_ports): (u64, u64, u64),
        seed: Option<u64>,
        first_host: u64,
        (start, step): (u64, u64),
        (part, of): (u64, u64),
    ) -> Self {
        let mut order = Self {
            hosts,
            ports,
            tiers: [first_ports.min(FIRST), first_ports, ports],
            seed,
            start,
            step,
            part,
            parts: of,
            first_host,
            position: 0,
            shuffled: None,
            upcoming: None,
        };
        order.advance();
        order
    }

    /// How many (host, port) pairs there are in the share, all parts together.
    #[must_use]
    pub fn total(&self) -> u64 {
        (self.hosts * self.ports).saturating_sub(self.start).div_ceil(self.step)
    }

    /// How many hosts have ports in the share, all parts together.
    #[must_use]
    pub fn hosts(&self) -> u64 {
        if self.ports >= self.step { self.hosts } else { self.total() }
    }

    /// The host that comes next.
    #[must_use]
    pub fn upcoming(&self) -> Option<u64> {
        self.upcoming
    }

    /// The host that comes next, and its ports.
    pub fn take(&mut self) -> Option<(u64, PortOrder)> {
        let host = self.upcoming?;
        self.advance();
        Some((host, self.ports_of(host)))
    }

    /// The ports of any host.
    #[must_use]
    pub fn ports_of(&self, host: u64) -> PortOrder {
        let key = self.seed.map(|seed| mix(mix(seed) ^ (self.first_host + host)));
        PortOrder { tiers: self.tiers, offset: self.offset(host), step: self.step, key, present: None }
    }

    /// Where the share's first port of a host is, if that is below the number of ports.
    fn offset(&self, host: u64) -> u64 {
        let before = (u128::from(host) * u128::from(self.ports) % u128::from(self.step)) as u64;
        (self.start + self.step - before) % self.step
    }

    fn advance(&mut self) {
        while self.position < self.hosts {
            let (group, mut offset) = (self.position / GROUP, self.position % GROUP);
            let mine = self.position % self.parts == self.part;
            self.position += 1;
            if !mine {
                continue;
            }
            if let Some(seed) = self.seed {
                let shuffled = match self.shuffled.take() {
                    Some(present) if present.0 == group => present,
                    _ => {
                        let size = GROUP.min(self.hosts - group * GROUP);
                        (group, Permutation::new(size, mix(seed ^ mix(group))))
                    }
                };
                offset = shuffled.1.at(offset);
                self.shuffled = Some(shuffled);
            }
            let host = group * GROUP + offset;
            if self.offset(host) < self.ports {
                self.upcoming = Some(host);
                return;
            }
        }
        self.upcoming = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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

    fn pairs(mut order: Order) -> Vec<(u64, u64)> {
        let mut pairs = Vec::new();
        while let Some((host, mut ports)) = order.take() {
            pairs.extend((0..ports.count()).map(|position| (host, ports.at(position))));
        }
        pairs
    }

    #[test]
    fn shares_are_disjoint_and_complete() {
        for seed in [None, Some(5)] {
            for ports in [1, 7, 40] {
                let sizes = (1500, ports, 20.min(ports));
                let all = pairs(Order::new(sizes, seed, 0, (0, 1), (0, 1)));
                assert_eq!(all.len() as u64, 1500 * ports);
                let mut together = Vec::new();
                for start in 0..3 {
                    let before = together.len();
                    for part in 0..2 {
                        together.extend(pairs(Order::new(sizes, seed, 0, (start, 3), (part, 2))));
                    }
                    let order = Order::new(sizes, seed, 0, (start, 3), (0, 1));
                    assert_eq!((together.len() - before) as u64, order.total());
                    let hosts: HashSet<_> = together[before..].iter().map(|pair| pair.0).collect();
                    assert_eq!(hosts.len() as u64, order.hosts());
                }
                assert_eq!(together.len(), all.len());
                assert_eq!(together.into_iter().collect::<HashSet<_>>(), all.into_iter().collect());
            }
        }
    }

    #[test]
    fn the_likeliest_ports_come_first() {
        let mut order = Order::new((1, 1000, 100), Some(9), 0, (0, 1), (0, 1));
        let (_, mut ports) = order.take().unwrap();
        let all: Vec<u64> = (0..1000).map(|position| ports.at(position)).collect();
        for (from, to) in [(0, 16), (16, 100), (100, 1000)] {
            let tier: HashSet<u64> = all[from..to].iter().copied().collect();
            assert_eq!(tier, (from as u64..to as u64).collect());
        }
    }
}
