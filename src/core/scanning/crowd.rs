//! What hosts have in common: the links of this machine that they are on, and the networks whose round trips they share.

use std::collections::{HashMap, HashSet, VecDeque};

use super::host::{Host, MS};
use super::{Addresses, Link, Plan};

/// For so long the kernel keeps asking the link for an address of which nobody answers.
const HELD: i64 = 3200 * MS;
const SHORTEST_WAIT: i64 = 100 * MS;
const NETWORKS: usize = 64;

/// How many addresses the neighbour table is being asked for. The kernel has one for each IP version.
#[derive(Debug, Default)]
struct Table {
    capacity: u64,
    held: u64,
    /// (time, host number)
    until: VecDeque<(i64, u64)>,
    /// Those of `until` that are held no longer.
    early: HashSet<u64>,
}

impl Table {
    fn clear(&mut self, now: i64) {
        while let Some(&(time, index)) = self.until.front() {
            if self.early.remove(&index) {
                self.until.pop_front();
            } else if time <= now {
                self.until.pop_front();
                self.held -= 1;
            } else {
                return;
            }
        }
    }

    fn full(&self) -> bool {
        self.held >= self.capacity
    }
}

/// What is known of a network of which a host was heard.
#[derive(Debug)]
struct Heard {
    /// The timeouts of its hosts, by number.
    members: HashMap<u64, i64>,
    /// The longest of them.
    slowest: i64,
}

/// The hosts of a scan, seen together.
#[derive(Debug)]
pub(super) struct Crowd {
    timeout: i64,
    addresses: Addresses,
    /// They are disjoint and in order.
    links: Vec<Link>,
    /// For IPv4 and for IPv6.
    tables: [Table; 2],
    networks: HashMap<(bool, u128), Heard>,
    /// The networks, as they came.
    came: VecDeque<(bool, u128)>,
}

impl Crowd {
    /// What one of so many threads sees: each has its share of the neighbour table.
    pub(super) fn new(plan: &Plan, threads: u64) -> Self {
        let addresses = Addresses::new(plan.ranges.clone());
        let mut tables = [Table::default(), Table::default()];
        for link in plan.links.iter().rev() {
            tables[usize::from(addresses.network(link.first).0)].capacity = (link.capacity / threads).max(1);
        }
        Self {
            timeout: plan.timeout,
            addresses,
            links: plan.links.clone(),
            tables,
            networks: HashMap::new(),
            came: VecDeque::new(),
        }
    }

    // --- links

    /// Which table has a host that is on a link of this machine.
    fn table_of(&self, index: u64) -> Option<usize> {
        let link = self.links[..self.links.partition_point(|link| link.first <= index)].last()?;
        (index <= link.last).then(|| usize::from(self.addresses.network(link.first).0))
    }

    /// Whether a host is on a link of this machine.
    pub(super) fn is_on_link(&self, index: u64) -> bool {
        self.table_of(index).is_some()
    }

    /// Whether the neighbour table bears this host now.
    pub(super) fn has_room(&mut self, index: u64, now: i64) -> bool {
        let Some(number) = self.table_of(index) else { return true };
        let table = &mut self.tables[number];
        table.clear(now);
        !table.full()
    }

    /// When there will be room for this host; none where nothing is in its way.
    pub(super) fn room_at(&self, index: u64) -> Option<i64> {
        let table = &self.tables[self.table_of(index)?];
        if table.full() { table.until.front().map(|first| first.0) } else { None }
    }

    /// Note that a host is about to be asked.
    pub(super) fn enter(&mut self, host: &mut Host, now: i64) {
        host.network = self.addresses.network(host.index);
        host.link = self.table_of(host.index);
        if let Some(number) = host.link {
            let table = &mut self.tables[number];
            table.held += 1;
            host.held_until = now + HELD;
            table.until.push_back((host.held_until, host.index));
        }
    }

    /// Note that the neighbour table knows this host.
    pub(super) fn settled(&mut self, host: &mut Host, now: i64) {
        if let Some(number) = host.link
            && now < host.held_until
        {
            host.held_until = -1;
            let table = &mut self.tables[number];
            table.early.insert(host.index);
            table.held -= 1;
        }
    }

    // --- networks

    /// The network of a host.
    pub(super) fn network(&self, index: u64) -> (bool, u128) {
        self.addresses.network(index)
    }

    /// Note the timeout of a host that answers; say whether it is the first of its network.
    pub(super) fn heard(&mut self, network: (bool, u128), index: u64, timeout: i64) -> bool {
        let Some(heard) = self.networks.get_mut(&network) else {
            self.networks.insert(network, Heard { members: HashMap::from([(index, timeout)]), slowest: timeout });
            self.came.push_back(network);
            if self.networks.len() > NETWORKS
                && let Some(oldest) = self.came.pop_front()
            {
                self.networks.remove(&oldest);
            }
            return true;
        };
        let before = heard.members.insert(index, timeout);
        if timeout > heard.slowest {
            heard.slowest = timeout;
        } else if timeout < heard.slowest && before == Some(heard.slowest) {
            heard.slowest = heard.members.values().copied().max().unwrap_or(timeout);
        }
        false
    }

    /// How long a silent host of a network is listened to: twice what its slowest neighbour is given.
    pub(super) fn wait(&self, network: (bool, u128)) -> i64 {
        let heard = self.networks.get(&network);
        heard.map_or(self.timeout, |heard| self.timeout.min(SHORTEST_WAIT.max(2 * heard.slowest)))
    }

    /// How long a probe to a host that is not heard yet has before its port is asked again.
    ///
    /// It listens for the whole timeout in any case. On a link it has to wait for the neighbour table, too.
    pub(super) fn patience(&self, host: &Host) -> i64 {
        let heard = host.link.is_none() && self.networks.contains_key(&host.network);
        if heard { self.wait(host.network) / 2 } else { self.timeout }
    }
}
