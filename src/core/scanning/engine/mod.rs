//! The scanner's decisions: what to ask next, how long to wait, when to ask again, what an answer means.
//!
//! A machine: it opens no socket and reads no clock. A driver asks it for probes (`next`), tells it what came of them
//! (`answer`), and lets time pass (`expire`); durations and times are integer nanoseconds. The pure engine takes the
//! same decisions in the same order.
//!
//! `choosing` is what is asked next, `answers` what came of it, `verdicts` what is decided, `phases` what becomes of a
//! host, `watching` what the way to the hosts bears, `faults` those of this machine, `flights` what is under way, `news`
//! what threads tell each other.

mod answers;
mod choosing;
mod faults;
mod flights;
mod news;
mod phases;
mod verdicts;
mod watching;

pub use news::News;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use self::flights::{Flight, WITNESS, find};
use super::crowd::Crowd;
use super::host::{Ask, Host, MS, SECOND};
use super::path::Path;
use super::permutation::Order;
use super::{Answer, Outcome, Plan, State, Tally, TraceEvent};

const RATE_SLACK: i64 = 2 * MS;
/// An unreachable that takes so long is no firewall's: somebody looked for the host, and gave up.
const LATE: i64 = SECOND / 2;
/// After the first probe to a host: nobody looks for it longer.
const LATEST: i64 = 3500 * MS;
/// After the first probe to a host: the link was asked three times whose address it is.
const CHECK: i64 = 2200 * MS;
/// So that many hosts are looked up at once.
const CHECK_STEP: i64 = 50 * MS;

/// Between two probes to hosts that are not heard yet, by all threads together: nobody answers for most addresses, so
/// nothing else keeps thousands of them from leaving at once, and a queue on the way from dropping what is too much.
const SPREAD: i64 = MS / 40;
/// That is for the default concurrency. With a higher one, the time is shorter in proportion.
const USUAL_CONCURRENCY: usize = 4096;

fn spread(concurrency: usize) -> i64 {
    SPREAD * USUAL_CONCURRENCY as i64 / concurrency.max(USUAL_CONCURRENCY) as i64
}

/// What the driver is to send: connect to `port` of host number `host`; `token` names the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOrder {
    /// Names the probe; the lower 32 bits are unique among the probes that the driver has.
    pub token: u64,
    /// The host's number.
    pub host: u64,
    /// The port.
    pub port: u16,
    /// The how-manieth repeat.
    pub repeat: u32,
}

/// The machine of one scan, or of one thread's share of it.
#[derive(Debug)]
pub struct ScanEngine {
    plan: Plan,
    order: Order,
    alone: bool,
    crowd: Crowd,
    path: Path,
    /// Those about which something is undecided.
    hosts: Vec<Option<Host>>,
    free_hosts: Vec<u32>,
    live: usize,
    /// Of those, how many have ports that were not drawn.
    undrawn: u64,
    /// The slots of those that are on a link, by number.
    on_link: HashMap<u64, u32>,
    pledged: u64,
    most_pledged: u64,
    /// Probes in flight have a place in the window; all that have a descriptor have one in the room.
    window: usize,
    limit: usize,
    room: usize,
    room_limit: usize,
    growth: usize,
    in_flight: usize,
    open: usize,
    /// Descriptors that the driver uses for other things, to be counted into window and room.
    pub reserved: usize,
    /// While the driver tells of answers: up to when it had seen all that had come, because they may have come at any time
    /// since. None if each is told as it comes.
    pub looked: Option<i64>,
    benched: usize,
    flights: Vec<Flight>,
    free_flights: Vec<u32>,
    put_back: VecDeque<(u32, Ask)>,
    /// (slot, number) by phase.
    ready: [VecDeque<(u32, u64)>; 3],
    timers: BinaryHeap<Reverse<(i64, u64, u64, u32)>>,
    /// (time, serial, token)
    listening: BinaryHeap<Reverse<(i64, u64, u64)>>,
    serial: u64,
    /// Tokens of probes that are of no use any more.
    dropped: Vec<u64>,
    doubtful: Vec<u64>,
    /// The time of the present call.
    now: i64,
    not_before: i64,
    fault_since: i64,
    interval: i64,
    next_send: i64,
    /// Between two probes to hosts that are not heard yet, and when the next one may leave.
    spread: i64,
    next_unheard: i64,
    /// The highest repeat that any host answered.
    highest: u32,
    outcomes: Vec<Outcome>,
    events: Vec<TraceEvent>,
    tally: Tally,
    news: Vec<News>,
}

impl ScanEngine {
    /// The machine of thread `thread` of a scan of `hosts` hosts: the threads share the ports of a single host, and the
    /// hosts where there are more.
    #[must_use]
    pub fn new(plan: Plan, hosts: u64, thread: usize) -> Self {
        let threads = plan.threads.max(1);
        let (number, count) = (thread as u64, threads as u64);
        let alone = hosts == 1 && !plan.of_many;
        let (share, part) = if alone {
            ((plan.shard + plan.shards * number, plan.shards * count), (0, 1))
        } else {
            ((plan.shard, plan.shards), (number, count))
        };
        let order = plan.order(hosts, share, part);
        let limit = ((plan.concurrency + threads - 1 - thread) / threads).max(1);
        let room = ((plan.descriptors + threads - 1 - thread) / threads).max(limit);
        // So that threads that know nothing of each other keep within any second together.
        let interval = plan.interval * count as i64;
        let square = i128::from(interval) * i128::from(interval) / i128::from(SECOND);
        let interval = interval + if threads > 1 { square as i64 + 1 } else { 0 };
        let tally = Tally { hosts: order.hosts(), ..Tally::default() };
        Self {
            order,
            alone,
            crowd: Crowd::new(&plan, count),
            path: Path::new(&plan, alone),
            hosts: Vec::new(),
            free_hosts: Vec::new(),
            live: 0,
            undrawn: 0,
            on_link: HashMap::new(),
            pledged: 0,
            most_pledged: limit.min((room / 2).max(1)) as u64,
            window: limit,
            limit,
            room,
            room_limit: room,
            growth: 0,
            in_flight: 0,
            open: 0,
            reserved: 0,
            looked: None,
            benched: 0,
            flights: Vec::new(),
            free_flights: Vec::new(),
            put_back: VecDeque::new(),
            ready: Default::default(),
            timers: BinaryHeap::new(),
            listening: BinaryHeap::new(),
            serial: 0,
            dropped: Vec::new(),
            doubtful: Vec::new(),
            now: 0,
            not_before: 0,
            fault_since: -1,
            interval: interval + interval * RATE_SLACK / SECOND,
            next_send: plan.first_send + plan.interval * thread as i64,
            spread: if plan.adaptive { spread(plan.concurrency) * count as i64 } else { 0 },
            next_unheard: 0,
            highest: 0,
            outcomes: Vec::new(),
            events: Vec::new(),
            tally,
            news: Vec::new(),
            plan,
        }
    }

    /// How many ports are to be decided, by all threads together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.order.total()
    }

    /// The next probe to send at time `now`, or none where room, window, rate or the work allow none.
    pub fn next(&mut self, now: i64) -> Option<ProbeOrder> {
        self.now = now;
        let not_before = self.not_before.max(self.next_send).max(self.path.next_send);
        if self.open + self.reserved >= self.room || now < not_before {
            return None;
        }
        let witness = self.path.due(now, self.open - self.in_flight);
        let asked = if witness.is_none() { Some(self.next_ask()?) } else { None };
        if self.interval > 0 {
            self.next_send = self.next_send.max(now - RATE_SLACK) + self.interval;
        }
        match (witness, asked) {
            (Some((host, port)), _) => Some(self.ask_witness(host, port, now)),
            (None, Some((slot, ask))) => self.send(slot, ask, now),
            (None, None) => None,
        }
    }

    /// Take what came of a probe. A token that was given up is ignored.
    pub fn answer(&mut self, token: u64, what: Answer, now: i64) {
        self.now = now;
        let Some(flight) = self.flight(token).copied() else { return };
        let (slot, ask) = (flight.slot, flight.ask);
        if slot == WITNESS {
            self.witness_answered(token, ask, what, now);
            return;
        }
        self.land(token);
        self.release(token);
        self.open -= 1;
        self.trace(now, slot, ask, what.code());
        if let Answer::Local(_) | Answer::Lasting(_) | Answer::Broadcast | Answer::Multicast = what {
            if flight.listening {
                // Its port was asked again since: it hears nothing more, and that is all.
                self.tally.local_errors += 1;
                self.stopped_listening(slot, ask.port, token);
            } else {
                self.local_fault(slot, ask, what, now);
            }
            return;
        }
        self.sent_well();
        match what {
            Answer::SynAck | Answer::Refused => self.answered(&flight, what, now),
            _ => {
                if !self.seems_unreachable(&flight, what, now) && !ask.canary {
                    let state = if what == Answer::SelfConnect { State::Closed } else { State::Filtered };
                    self.decide(slot, ask.port, state, what, -1);
                }
            }
        }
        self.touch(slot, false);
    }

    /// Let time pass; the probes that are of no use any more go to `expired`, so that the driver closes them.
    pub fn expire(&mut self, now: i64, expired: &mut Vec<u64>) {
        self.now = now;
        let mut overdue = Vec::new();
        while let Some(&Reverse((deadline, index, _, slot))) = self.timers.peek() {
            if deadline > now {
                break;
            }
            self.timers.pop();
            let Some(host) = self.hosts[slot as usize].as_ref() else { continue };
            if host.index != index || host.armed != deadline {
                continue;
            }
            let patience = self.patience(host);
            let Some(host) = self.hosts[slot as usize].as_mut() else { continue };
            host.armed = -1;
            while let Some(&token) = host.sent.front() {
                if let Some(flight) = find(&self.flights, token) {
                    if flight.sent_at + patience > now {
                        break;
                    }
                    overdue.push(token);
                }
                host.sent.pop_front();
            }
            if host.next_send <= now {
                host.waiting_for_pace = false;
            }
            if host.ends_at <= now {
                host.ends_at = -1;
            }
            if (0..=now).contains(&host.check_at) {
                host.check_at = -1;
                if !host.up {
                    host.checking = true;
                    self.doubtful.push(index);
                }
            }
            self.arm(slot);
            self.touch(slot, false);
        }
        for token in overdue {
            self.overdue(token, now);
        }
        while let Some(&Reverse((until, _, token))) = self.listening.peek()
            && until <= now
        {
            self.listening.pop();
            self.heard_nothing(token);
        }
        if self.path.followed {
            self.watch_path(now);
        }
        self.open -= self.dropped.len();
        for &token in &self.dropped {
            self.free_flights.push(token as u32);
        }
        expired.append(&mut self.dropped);
    }

    /// The hosts for which the driver is to look into the neighbour table, and say `neighbour` of each.
    pub fn take_doubtful(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.doubtful)
    }

    /// The time at which `expire` or `next` may have something to do if no answer comes.
    #[must_use]
    pub fn wakeup(&self, now: i64) -> Option<i64> {
        if !self.dropped.is_empty() {
            return Some(now);
        }
        let timer = self.timers.peek().map(|&Reverse((deadline, ..))| deadline);
        let listener = self.listening.peek().map(|&Reverse((until, ..))| until);
        let idle = || self.path.idle_at().map(|time| time.max(now));
        let canary = self.path.witnesses.deadline().or_else(idle);
        let mut wake = timer.into_iter().chain(listener).chain(canary).min();
        if self.open + self.reserved < self.room {
            let room = self.order.upcoming().and_then(|index| self.crowd.room_at(index));
            for time in
                [self.not_before, self.next_send, self.path.next_send, self.next_unheard].into_iter().chain(room)
            {
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
        self.order.upcoming().is_none() && self.live == 0
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
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::thread;

    use super::super::Link;
    use super::*;

    const ROUND_TRIP: i64 = 10 * MS;
    const STACK: usize = 128 << 10;

    pub(super) fn plan(ports: Vec<u16>) -> Plan {
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
            descriptors: 1 << 16,
            skip_silent: false,
            links: Vec::new(),
            first_host: 0,
            of_many: false,
            first_send: 0,
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

    /// Threads that know nothing of each other keep within the neighbour table together, and so do all links.
    #[test]
    fn each_thread_has_its_share_of_the_neighbour_table() {
        for (threads, most) in [(1, 300), (4, 75)] {
            let link = |first, last| Link { first, last, capacity: 300 };
            let links = vec![link(0, 499), link(500, 1999)];
            let mut engine = ScanEngine::new(Plan { threads, links, ..plan(vec![22]) }, 2000, 0);
            let asked = (0..1000).filter(|&moment| engine.next(moment * MS).is_some());
            assert_eq!(asked.count(), most);
        }
    }
}
