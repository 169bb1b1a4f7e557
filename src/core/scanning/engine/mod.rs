//! The scanner's decisions: what to ask next, how long to wait, when to ask again, what an answer means.
//!
//! A machine: it opens no socket and reads no clock. A driver asks it for probes (`next`), tells it what came of them
//! (`answer`), and lets time pass (`expire`); durations and times are integer nanoseconds. The pure engine takes the
//! same decisions in the same order.

mod answers;
mod choosing;
mod news;

pub use news::News;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::host::{Ask, Host, LEVELS, MS, SECOND};
use super::permutation::Order;
use super::{Answer, Outcome, Plan, State, Tally, TraceEvent};

const RATE_SLACK: i64 = 2 * MS;
const NO_SLOT: u32 = u32::MAX;

/// What the driver is to send: connect to `port` of host number `host`; `token` names the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOrder {
    /// Names the probe; the lower 32 bits are unique among the probes in flight.
    pub token: u64,
    /// The host's number.
    pub host: u64,
    /// The port.
    pub port: u16,
    /// The how-manieth repeat.
    pub repeat: u32,
}

#[derive(Debug)]
struct Flight {
    generation: u32,
    /// The slot of the host, `NO_SLOT` where this entry is free.
    slot: u32,
    ask: Ask,
    sent_at: i64,
    small: bool,
}

/// The machine of one scan, or of one thread's share of it.
#[derive(Debug)]
pub struct ScanEngine {
    plan: Plan,
    order: Order,
    total: u64,
    drawn_all: bool,
    group: Option<u64>,
    group_slots: Vec<u32>,
    hosts: Vec<Option<Host>>,
    free_hosts: Vec<u32>,
    window: usize,
    limit: usize,
    window_growth: usize,
    in_flight: usize,
    /// Descriptors that the driver uses for other things, to be counted into the window.
    pub reserved: usize,
    parked: usize,
    benched: usize,
    flights: Vec<Flight>,
    free_flights: Vec<u32>,
    put_back: VecDeque<(u32, Ask)>,
    ready: VecDeque<u32>,
    timers: BinaryHeap<Reverse<(i64, u64, u64, u32)>>,
    timer_serial: u64,
    /// The time of the present call.
    now: i64,
    not_before: i64,
    fault_since: i64,
    interval: i64,
    next_send: i64,
    outcomes: Vec<Outcome>,
    events: Vec<TraceEvent>,
    tally: Tally,
    news: Vec<News>,
    learned: HashMap<u64, News>,
}

impl ScanEngine {
    /// The machine of thread `thread` of a scan of `hosts` hosts.
    #[must_use]
    pub fn new(plan: Plan, hosts: u64, thread: usize) -> Self {
        let threads = plan.threads.max(1);
        let order = Order::new(
            hosts,
            plan.ports.len() as u64,
            plan.first_ports,
            plan.random.then_some(plan.seed),
            plan.shard + plan.shards * thread as u64,
            plan.shards * threads as u64,
        );
        let limit = ((plan.concurrency + threads - 1 - thread) / threads).max(1);
        let interval = plan.interval * threads as i64;
        Self {
            total: order.remaining(),
            order,
            drawn_all: false,
            group: None,
            group_slots: Vec::new(),
            hosts: Vec::new(),
            free_hosts: Vec::new(),
            window: limit,
            limit,
            window_growth: 0,
            in_flight: 0,
            reserved: 0,
            parked: 0,
            benched: 0,
            flights: Vec::new(),
            free_flights: Vec::new(),
            put_back: VecDeque::new(),
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            timer_serial: 0,
            now: 0,
            not_before: 0,
            fault_since: -1,
            interval: interval + interval * RATE_SLACK / SECOND,
            next_send: plan.interval * thread as i64,
            outcomes: Vec::new(),
            events: Vec::new(),
            tally: Tally::default(),
            news: Vec::new(),
            learned: HashMap::new(),
            plan,
        }
    }

    /// How many ports are to be decided.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next probe to send at time `now`, or none where the window, the rate or the work allows none.
    pub fn next(&mut self, now: i64) -> Option<ProbeOrder> {
        self.now = now;
        if self.in_flight + self.reserved >= self.window || now < self.not_before.max(self.next_send) {
            return None;
        }
        let (slot, ask) = self.next_ask()?;
        if self.interval > 0 {
            self.next_send = self.next_send.max(now - RATE_SLACK) + self.interval;
        }
        self.send(slot, ask, now)
    }

    /// Take what came of a probe. A token that is not in flight is ignored.
    pub fn answer(&mut self, token: u64, what: Answer, now: i64) {
        self.now = now;
        let Some((slot, ask, sent_at, small)) = self.land(token) else { return };
        self.trace(now, slot, ask, what.code());
        if let Answer::Local(_) | Answer::Lasting(_) | Answer::Broadcast | Answer::Multicast = what {
            self.local_fault(slot, ask, what, now);
            return;
        }
        self.sent_well();
        match what {
            Answer::SynAck | Answer::Refused => self.heard(slot, ask, what, now, now - sent_at, small),
            // Refused by itself or by a router on the way: no round trip of the host, and no word on loss.
            _ if !ask.canary => {
                let state = if what == Answer::SelfConnect { State::Closed } else { State::Filtered };
                self.decide(slot, ask.port, state, what, -1);
            }
            _ => {}
        }
        self.touch(slot);
    }

    /// Give up the probes whose time is over by `now`; their tokens go to `expired`, so that the driver closes them.
    pub fn expire(&mut self, now: i64, expired: &mut Vec<u64>) {
        self.now = now;
        while let Some(&Reverse((deadline, index, _, slot))) = self.timers.peek() {
            if deadline > now {
                break;
            }
            self.timers.pop();
            let Some(host) = self.hosts[slot as usize].as_mut() else { continue };
            if host.index != index {
                continue;
            }
            if host.armed != deadline {
                if host.nap == deadline {
                    host.nap = -1;
                    self.touch(slot);
                }
                continue;
            }
            host.armed = -1;
            for number in 0..LEVELS {
                let limit = timeout_of(&self.plan, host, number);
                while let Some(&token) = host.sent[number].front() {
                    if let Some(flight) = flight(&self.flights, token) {
                        if flight.sent_at + limit > now {
                            break;
                        }
                        expired.push(token);
                    }
                    host.sent[number].pop_front();
                }
            }
            self.arm(slot);
        }
        for &token in expired.iter() {
            self.unanswered(token, now);
        }
    }

    /// The time at which `expire` or `next` may have something to do if no answer comes.
    #[must_use]
    pub fn wakeup(&self, now: i64) -> Option<i64> {
        let mut wake = self.timers.peek().map(|&Reverse((deadline, ..))| deadline);
        if self.in_flight + self.reserved < self.window {
            for time in [self.not_before, self.next_send] {
                if time > now {
                    wake = Some(wake.map_or(time, |wake| wake.min(time)));
                }
            }
        }
        wake
    }

    /// Whether every port is decided.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.tally.decided() == self.total
    }

    /// The outcomes since the last call, of the states that the plan keeps.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// The events since the last call; none unless the plan asks for a trace.
    pub fn take_events(&mut self) -> Vec<TraceEvent> {
        std::mem::take(&mut self.events)
    }

    /// The totals so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    // --- time

    /// Set the host's timer to the earliest deadline among its probes in flight, if that is earlier.
    fn arm(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let mut earliest = -1;
        for number in 0..LEVELS {
            while let Some(&token) = host.sent[number].front() {
                if let Some(flight) = flight(&self.flights, token) {
                    let deadline = flight.sent_at + timeout_of(&self.plan, host, number);
                    if earliest < 0 || deadline < earliest {
                        earliest = deadline;
                    }
                    break;
                }
                host.sent[number].pop_front();
            }
        }
        if earliest >= 0 && (host.armed < 0 || earliest < host.armed) {
            host.armed = earliest;
            self.timer_serial += 1;
            self.timers.push(Reverse((earliest, host.index, self.timer_serial, slot)));
        }
    }

    fn trace(&mut self, now: i64, slot: u32, ask: Ask, what: i32) {
        if self.plan.trace
            && let Some(host) = &self.hosts[slot as usize]
        {
            self.events.push(TraceEvent { time: now, host: host.index, port: ask.port, repeat: ask.repeat, what });
        }
    }
}

fn flight(flights: &[Flight], token: u64) -> Option<&Flight> {
    let entry = flights.get(token as u32 as usize)?;
    (entry.slot != NO_SLOT && entry.generation == (token >> 32) as u32).then_some(entry)
}

fn timeout_of(plan: &Plan, host: &Host, doublings: usize) -> i64 {
    if plan.adaptive { plan.timeout.min(host.timeout << doublings) } else { plan.timeout }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use super::*;

    const ROUND_TRIP: i64 = 10 * MS;
    const STACK: usize = 128 << 10;

    fn plan(ports: Vec<u16>) -> Plan {
        let first_ports = ports.len() as u64;
        Plan {
            ranges: Vec::new(),
            ports,
            first_ports,
            timeout: SECOND,
            retries: 0,
            adaptive: true,
            concurrency: 1 << 16,
            interval: 0,
            threads: 1,
            random: true,
            seed: 3,
            shard: 0,
            shards: 1,
            banner: 0,
            keep: 1,
            trace: false,
        }
    }

    /// Scan a host of which every fiftieth port refuses, until it dies at `dies` and says nothing any more.
    fn scan(dies: i64) -> Tally {
        let mut engine = ScanEngine::new(plan((1..=u16::MAX).collect()), 1, 0);
        let (mut now, mut expired) = (0, Vec::new());
        let mut arrivals = VecDeque::new();
        while !engine.finished() {
            let mut sent = 0;
            while sent < 64
                && let Some(probe) = engine.next(now)
            {
                sent += 1;
                now += MS / 100;
                if now < dies && probe.port % 50 == 0 {
                    arrivals.push_back((now + ROUND_TRIP, probe.token));
                }
            }
            if sent < 64 {
                let next = engine.wakeup(now).into_iter().chain(arrivals.front().map(|arrival| arrival.0)).min();
                now = next.unwrap().max(now + MS / 10);
            }
            while let Some(&(arrival, token)) = arrivals.front()
                && arrival <= now
            {
                arrivals.pop_front();
                engine.answer(token, Answer::Refused, now);
            }
            expired.clear();
            engine.expire(now, &mut expired);
        }
        engine.tally()
    }

    #[test]
    fn a_host_that_dies_with_many_ports_waiting_takes_no_stack() {
        for dies in [SECOND / 2, SECOND] {
            let scan = thread::Builder::new().stack_size(STACK).spawn(move || scan(dies)).unwrap();
            let tally = scan.join().unwrap();
            assert_eq!(tally.states.iter().sum::<u64>(), 65535);
            assert!(tally.states[State::Closed as usize] > 0, "it did answer at first");
        }
    }
}
