//! The port scanner: [`engine`] is the machine that decides, [`driver`] begins threads that connect as it says.
//!
//! The machine keeps a [`host::Host`] for each host being asked, in the order of [`permutation`]; a thread of the driver
//! is a `worker` with its `connections`, and what threads and owner share is in `shared`. `crowd` is what hosts have in
//! common, links and networks, and `path` what the way to them bears, as far as `witnesses` tell. Here is what all of them
//! speak of.

mod connections;
mod crowd;
pub mod driver;
pub mod engine;
pub mod host;
mod path;
pub mod permutation;
mod shared;
mod witnesses;
mod worker;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use self::permutation::Order;
use crate::core::os::errors::{errno, from_a_router, is_host_down, is_protocol_missing};

/// The addresses from `first` to `last`, both included, as integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    /// IP version 4, else 6.
    pub v4: bool,
    /// The first address.
    pub first: u128,
    /// The last address.
    pub last: u128,
    /// The zone of link-local IPv6 addresses.
    pub scope_id: u32,
}

/// Hosts by number that this machine reaches without a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// How many of them the neighbour table can be asked for at once.
    pub capacity: u64,
}

/// Everything a scan needs to know; durations are nanoseconds.
#[derive(Debug, Clone)]
#[allow(clippy::struct_excessive_bools)] // options, one by one
pub struct Plan {
    /// Host number i is the i-th address of these.
    pub ranges: Vec<AddressRange>,
    /// Port number j is the j-th of these.
    pub ports: Vec<u16>,
    /// In random order the first this many of `ports` are asked before the others.
    pub first_ports: u64,
    /// The longest that a probe waits.
    pub timeout: i64,
    /// The least number of repeats of an unanswered probe.
    pub retries: u32,
    /// Whether timeouts and repeats follow what the host shows.
    pub adaptive: bool,
    /// The most probes in flight.
    pub concurrency: usize,
    /// Between two probes, 0 for none.
    pub interval: i64,
    /// How many threads share the work.
    pub threads: usize,
    /// Whether the order is the permutation of `seed`, else by address and port.
    pub random: bool,
    /// Chooses the permutation.
    pub seed: u64,
    /// Which share of the positions, 0-based.
    pub shard: u64,
    /// Of how many shares.
    pub shards: u64,
    /// How long to wait for a banner, 0 for none.
    pub banner: i64,
    /// Bit `1 << state` for each state whose outcomes are reported.
    pub keep: u8,
    /// Whether every probe and answer is recorded.
    pub trace: bool,
    /// The most sockets at once, those that only listen included.
    pub descriptors: usize,
    /// Whether hosts of which nothing has come are asked no further.
    pub skip_silent: bool,
    /// Which hosts are on links of this machine.
    pub links: Vec<Link>,
    /// Which host of the whole scan host 0 is: its ports have the same order there.
    pub first_host: u64,
    /// This is a part of a scan of several hosts, with all ports of its own, even if that is one.
    pub of_many: bool,
    /// When the first probe may be sent.
    pub first_send: i64,
}

impl Plan {
    /// The order of one share of the scan of `hosts` hosts.
    fn order(&self, hosts: u64, share: (u64, u64), part: (u64, u64)) -> Order {
        let sizes = (hosts, self.ports.len() as u64, self.first_ports);
        Order::new(sizes, self.random.then_some(self.seed), self.first_host, share, part)
    }

    /// Which ports of a host fall to the plan's shard, in the order in which they are asked.
    #[must_use]
    pub fn asked_ports(&self, host: u64) -> Vec<u16> {
        let mut places = self.order(0, (self.shard, self.shards), (0, 1)).ports_of(host);
        (0..places.count()).map(|position| self.ports[places.at(position) as usize]).collect()
    }
}

/// The verdict on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It accepted a connection.
    Open,
    /// It refused one.
    Closed,
    /// It did not answer, or a router answered for it.
    Filtered,
    /// It could not be asked.
    Error,
}

/// What came of a probe, or why a port has its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The connection was accepted.
    SynAck,
    /// It was refused.
    Refused,
    /// Nothing came in time.
    NoResponse,
    /// ICMP: host unreachable.
    HostUnreachable,
    /// ICMP: network unreachable.
    NetUnreachable,
    /// ICMP: protocol unreachable.
    ProtoUnreachable,
    /// The probe met its own source port.
    SelfConnect,
    /// The host is not asked, because nothing has come from it.
    HostSilent,
    /// A fault of this machine: a broadcast address.
    Broadcast,
    /// A fault of this machine: a multicast address.
    Multicast,
    /// A fault of this machine, with its errno.
    Local(i32),
    /// One that will not pass, though others of that number do.
    Lasting(i32),
}

/// Added to the errno of a fault that will not pass, where Python tells of it.
const LASTING: i32 = 1 << 16;

impl Answer {
    /// What the error of a probe under way says of the other side.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{
            BrokenPipe, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, PermissionDenied,
            TimedOut,
        };
        match error.kind() {
            ConnectionRefused => Self::Refused,
            // Who refuses says so at once: these accepted first.
            ConnectionReset | BrokenPipe => Self::SynAck,
            // ICMPv6 "administratively prohibited" arrives as EACCES.
            HostUnreachable | PermissionDenied => Self::HostUnreachable,
            NetworkUnreachable => Self::NetUnreachable,
            TimedOut => Self::NoResponse,
            _ if is_host_down(error) || from_a_router(error) => Self::HostUnreachable,
            _ if is_protocol_missing(error) => Self::ProtoUnreachable,
            _ => Self::Local(errno(error)),
        }
    }

    /// The number under which Python knows it: minus the errno for a local fault.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::SynAck => 0,
            Self::Refused => 1,
            Self::NoResponse => 2,
            Self::HostUnreachable => 3,
            Self::NetUnreachable => 4,
            Self::ProtoUnreachable => 5,
            Self::SelfConnect => 6,
            Self::HostSilent => 7,
            Self::Broadcast => 8,
            Self::Multicast => 9,
            Self::Local(errno) | Self::Lasting(errno) => -errno,
        }
    }

    /// What Python tells of: the inverse of `code`, and minus (`LASTING` and the errno) for a fault that will not pass.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            0 => Self::SynAck,
            1 => Self::Refused,
            2 => Self::NoResponse,
            3 => Self::HostUnreachable,
            4 => Self::NetUnreachable,
            5 => Self::ProtoUnreachable,
            6 => Self::SelfConnect,
            7 => Self::HostSilent,
            8 => Self::Broadcast,
            9 => Self::Multicast,
            lasting if lasting <= -LASTING => Self::Lasting(-(lasting + LASTING)),
            negative if negative < 0 => Self::Local(-negative),
            _ => return None,
        })
    }
}

/// The code of a trace event for a probe that left.
pub const SENT: i32 = 100;

/// What was decided about one port of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The host's number.
    pub host: u64,
    /// The port.
    pub port: u16,
    /// The verdict.
    pub state: State,
    /// Why.
    pub reason: Answer,
    /// The round trip, -1 for none.
    pub rtt: i64,
    /// What the port said first.
    pub banner: Option<Vec<u8>>,
}

/// Running totals: ports by state, then probes by fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ports by `State`.
    pub states: [u64; 4],
    /// Probes sent.
    pub probes: u64,
    /// Repeats among them.
    pub retries: u64,
    /// Probes known to have been lost.
    pub drops: u64,
    /// Probes put back because of a fault of this machine.
    pub local_errors: u64,
    /// Hosts that are asked, or will be.
    pub hosts: u64,
    /// Those from which anything came.
    pub up: u64,
    /// Those for which nobody answers.
    pub unreachable: u64,
    /// Those from which nothing came, and of which nothing says that they are unreachable.
    pub silent: u64,
    /// Ports that were decided without a probe of their own.
    pub unasked: u64,
}

impl Tally {
    /// How many ports are decided.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.states.iter().sum()
    }

    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.states.iter_mut().zip(other.states) {
            *mine += theirs;
        }
        self.probes += other.probes;
        self.retries += other.retries;
        self.drops += other.drops;
        self.local_errors += other.local_errors;
        // The parts of one scan know all of its hosts, and ask different ones, but for a single one.
        self.hosts = self.hosts.max(other.hosts);
        self.up = (self.up + other.up).min(self.hosts);
        self.unreachable = (self.unreachable + other.unreachable).min(self.hosts - self.up);
        self.silent = (self.silent + other.silent).min(self.hosts - self.up - self.unreachable);
        self.unasked += other.unasked;
        self
    }
}

/// One probe or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceEvent {
    /// Nanoseconds since the start.
    pub time: i64,
    /// The host's number.
    pub host: u64,
    /// The port.
    pub port: u16,
    /// The how-manieth repeat.
    pub repeat: u32,
    /// An `Answer` code, or `SENT`.
    pub what: i32,
}

/// Maps a host number to its address: the ranges one after the other.
#[derive(Debug, Clone)]
pub struct Addresses {
    ranges: Vec<AddressRange>,
    starts: Vec<u64>,
    count: u64,
}

impl Addresses {
    /// Index the ranges.
    #[must_use]
    pub fn new(ranges: Vec<AddressRange>) -> Self {
        let mut starts = Vec::with_capacity(ranges.len());
        let mut count = 0u64;
        for range in &ranges {
            starts.push(count);
            count = count.saturating_add((range.last - range.first) as u64).saturating_add(1);
        }
        Self { ranges, starts, count }
    }

    /// How many hosts there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    fn place(&self, number: u64) -> Option<(&AddressRange, u128)> {
        let index = self.starts.partition_point(|&start| start <= number).saturating_sub(1);
        let range = self.ranges.get(index)?;
        Some((range, range.first + u128::from(number - self.starts[index])))
    }

    /// What hosts of one /24 (IPv6: /64) have in common; without ranges, 256 numbers are a network.
    #[must_use]
    pub fn network(&self, number: u64) -> (bool, u128) {
        match self.place(number) {
            Some((range, value)) => (range.v4, value >> if range.v4 { 8 } else { 64 }),
            None => (true, u128::from(number >> 8)),
        }
    }

    /// The socket address of a port of host `number`, which must be below `count`.
    #[must_use]
    pub fn get(&self, number: u64, port: u16) -> SocketAddr {
        let Some((range, value)) = self.place(number) else { return SocketAddr::from(([0, 0, 0, 0], port)) };
        if range.v4 {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::from(value as u32)), port)
        } else {
            SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(value), port, 0, range.scope_id))
        }
    }
}
