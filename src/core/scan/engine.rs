//! The scanner's decisions: what to ask next, how long to wait, when to ask again, what an answer means.
//!
//! A machine: it opens no socket and reads no clock. A driver asks it for probes (`next`), tells it what came of them
//! (`answer`), and lets time pass (`expire`); durations and times are integer nanoseconds. The pure engine takes the
//! same decisions in the same order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use super::host::{Ask, Host, LEVELS, MAX_REPEATS, MS, SECOND, SMALL_WINDOW, level};
use super::permutation::{GROUP, Order};
use super::{Answer, Outcome, Plan, SENT, State, Tally, TraceEvent};
use crate::core::net::is_transient;

const FAULT_PAUSE: i64 = 5 * MS;
const RATE_SLACK: i64 = 2 * MS;
const BENCH_LIMIT: usize = 131_072;
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

/// What one thread learned of a host that others can use.
#[derive(Debug, Clone, Copy)]
pub struct News {
    host: u64,
    srtt: i64,
    rttvar: i64,
    highest: u32,
    port: u16,
    closed: bool,
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
        if let Answer::Local(code) = what {
            self.local_fault(slot, ask, code, now);
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

    // --- between the threads of one scan

    /// What was learned since the last call that other threads can use; nothing where there are none.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Take over what another thread learned of a host.
    pub fn learn(&mut self, news: News) {
        let known = self.group == Some(news.host / GROUP);
        let slot = known.then(|| self.group_slots[(news.host % GROUP) as usize]).filter(|&slot| slot != NO_SLOT);
        match slot {
            Some(slot) => self.apply(slot, news),
            None if self.learned.len() < GROUP as usize * 2 => {
                self.learned.insert(news.host, news);
            }
            None => {}
        }
    }

    fn apply(&mut self, slot: u32, news: News) {
        let (timeout, retries) = (self.plan.timeout, self.plan.retries);
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        host.known_to_answer(news.port, news.closed);
        let shorter = host.srtt < 0 && host.adopt(news.srtt, news.rttvar, timeout);
        host.highest = host.highest.max(news.highest);
        if shorter {
            self.arm(slot);
        }
        self.grant(slot, retries);
        self.touch(slot);
    }

    // --- choosing

    fn next_ask(&mut self) -> Option<(u32, Ask)> {
        if let Some((slot, ask)) = self.put_back.pop_front() {
            if let Some(host) = self.hosts[slot as usize].as_mut() {
                host.put_back -= 1;
            }
            return Some((slot, ask));
        }
        while let Some(slot) = self.ready.pop_front() {
            let asked = self.next_waiting(slot);
            let more = self.hosts[slot as usize].as_ref().is_some_and(|host| !host.waiting.is_empty());
            if asked.is_none() || more {
                self.touch(slot);
            }
            if let Some(ask) = asked {
                return Some((slot, ask));
            }
        }
        while self.parked < self.limit && !self.drawn_all {
            let Some((slot, port)) = self.draw() else { break };
            let ask = Ask { port, repeat: 0, canary: false };
            let Some(host) = self.hosts[slot as usize].as_mut() else { continue };
            if host.may_be_asked(self.now) {
                return Some((slot, ask));
            }
            self.parked += 1;
            host.waiting.push_back(ask);
            self.touch(slot);
        }
        None
    }

    fn next_waiting(&mut self, slot: u32) -> Option<Ask> {
        let host = self.hosts[slot as usize].as_mut()?;
        host.queued = false;
        while host.may_be_asked(self.now) {
            let ask = host.waiting.pop_front()?;
            if ask.repeat == 0 && !ask.canary {
                self.parked -= 1;
            }
            if !host.dead || (ask.repeat <= self.plan.retries && !ask.canary) {
                return Some(ask);
            }
            if !ask.canary {
                // The host died since: this port has been asked often enough.
                self.bench(slot, ask.port, ask.repeat - 1);
                return self.next_waiting(slot);
            }
        }
        None
    }

    fn draw(&mut self) -> Option<(u32, u16)> {
        let Some((index, port_index)) = self.order.next() else {
            self.drawn_all = true;
            self.leave_group();
            return None;
        };
        if self.group != Some(index / GROUP) {
            self.leave_group();
            self.group = Some(index / GROUP);
            self.group_slots.resize(GROUP as usize, NO_SLOT);
        }
        let place = (index % GROUP) as usize;
        if self.group_slots[place] == NO_SLOT {
            self.group_slots[place] = self.new_host(index);
            if let Some(news) = self.learned.remove(&index) {
                self.apply(self.group_slots[place], news);
            }
        }
        Some((self.group_slots[place], self.plan.ports[port_index as usize]))
    }

    fn new_host(&mut self, index: u64) -> u32 {
        let host = Host::new(index, self.plan.timeout, self.plan.retries, (self.limit / 2).max(1), self.limit);
        if let Some(slot) = self.free_hosts.pop() {
            self.hosts[slot as usize] = Some(host);
            slot
        } else {
            self.hosts.push(Some(host));
            self.hosts.len() as u32 - 1
        }
    }

    fn leave_group(&mut self) {
        self.learned.clear();
        let slots = std::mem::take(&mut self.group_slots);
        for &slot in &slots {
            if slot != NO_SLOT {
                if let Some(host) = self.hosts[slot as usize].as_mut() {
                    host.drawn = true;
                }
                self.touch(slot);
            }
        }
        if self.drawn_all {
            self.group_slots = slots; // no slot is given away any more: news of these hosts still finds them
        }
    }

    fn send(&mut self, slot: u32, ask: Ask, now: i64) -> Option<ProbeOrder> {
        let host = self.hosts[slot as usize].as_mut()?;
        let small = host.window <= SMALL_WINDOW;
        let place = self.free_flights.pop().unwrap_or_else(|| {
            self.flights.push(Flight { generation: 0, slot: NO_SLOT, ask, sent_at: 0, small });
            self.flights.len() as u32 - 1
        });
        let entry = &mut self.flights[place as usize];
        *entry = Flight { generation: entry.generation.wrapping_add(1), slot, ask, sent_at: now, small };
        let token = u64::from(entry.generation) << 32 | u64::from(place);
        host.asked(now, RATE_SLACK);
        self.in_flight += 1;
        self.tally.probes += 1;
        self.tally.retries += u64::from(ask.repeat > 0);
        let number = level(ask.repeat);
        while let Some(&oldest) = host.sent[number].front()
            && flight(&self.flights, oldest).is_none()
        {
            host.sent[number].pop_front();
        }
        host.sent[number].push_back(token);
        let index = host.index;
        if host.armed < 0 || now + timeout_of(&self.plan, host, number) < host.armed {
            self.arm(slot);
        }
        self.trace(now, slot, ask, SENT);
        Some(ProbeOrder { token, host: index, port: ask.port, repeat: ask.repeat })
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

    // --- what came of a probe

    /// Take a probe out of flight.
    fn land(&mut self, token: u64) -> Option<(u32, Ask, i64, bool)> {
        let &Flight { slot, ask, sent_at, small, .. } = flight(&self.flights, token)?;
        self.flights[token as u32 as usize].slot = NO_SLOT;
        self.free_flights.push(token as u32);
        self.in_flight -= 1;
        if let Some(host) = self.hosts[slot as usize].as_mut() {
            host.in_flight -= 1;
        }
        Some((slot, ask, sent_at, small))
    }

    fn heard(&mut self, slot: u32, ask: Ask, what: Answer, now: i64, rtt: i64, small: bool) {
        let closed = what == Answer::Refused;
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        let first = host.srtt < 0;
        let shorter = host.sample(rtt, self.plan.timeout);
        let lost = if ask.canary { 0 } else { ask.repeat }; // a canary's losses were counted as they came
        self.tally.drops += u64::from(lost);
        host.heard(now);
        host.answered(small, lost, self.limit);
        host.review(now);
        let higher = ask.repeat > host.highest;
        host.highest = host.highest.max(ask.repeat);
        if self.plan.threads > 1 && host.srtt >= 0 && (first || higher) {
            let (srtt, rttvar, highest) = (host.srtt, host.rttvar, host.highest);
            self.news.push(News { host: host.index, srtt, rttvar, highest, port: ask.port, closed });
        }
        if !ask.canary {
            host.known_to_answer(ask.port, closed);
        }
        if shorter {
            self.arm(slot);
        }
        if !ask.canary {
            let state = if closed { State::Closed } else { State::Open };
            self.decide(slot, ask.port, state, what, rtt);
        }
        if ask.repeat > 0 {
            self.grant(slot, self.plan.retries);
        }
    }

    fn unanswered(&mut self, token: u64, now: i64) {
        let Some((slot, ask, _, small)) = self.land(token) else { return };
        self.trace(now, slot, ask, Answer::NoResponse.code());
        self.sent_well();
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if ask.canary {
            self.tally.drops += 1;
            host.lost(small);
            host.review(now);
            host.canary_lost(now, self.plan.timeout);
            if host.dead {
                host.allowed = self.plan.retries;
            } else {
                self.grant(slot, self.plan.retries);
                if ask.repeat < MAX_REPEATS
                    && let Some(host) = self.hosts[slot as usize].as_mut()
                {
                    host.waiting.push_back(Ask { repeat: ask.repeat + 1, ..ask });
                }
            }
        } else {
            host.silences += 1;
            if ask.repeat < host.allowed {
                host.waiting.push_back(Ask { repeat: ask.repeat + 1, ..ask });
            } else {
                self.bench(slot, ask.port, ask.repeat);
            }
            if self.plan.adaptive
                && let Some(host) = self.hosts[slot as usize].as_mut()
                && host.canary_due(now)
            {
                self.add_canary(slot);
            }
        }
        self.touch(slot);
    }

    /// Let a host where loss was seen have its silent ports asked more often, those on the bench at once.
    fn grant(&mut self, slot: u32, retries: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if !self.plan.adaptive || !host.grant(retries) {
            return;
        }
        for _ in 0..host.bench.len() {
            let Some((port, repeat)) = host.bench.pop_front() else { break };
            if repeat < host.allowed {
                self.benched -= 1;
                host.waiting.push_back(Ask { port, repeat: repeat + 1, canary: false });
            } else {
                host.bench.push_back((port, repeat));
            }
        }
    }

    /// Set a silent port aside until its host is finished: loss seen by then gives it another chance.
    fn bench(&mut self, slot: u32, port: u16, repeat: u32) {
        if !self.plan.adaptive {
            self.decide(slot, port, State::Filtered, Answer::NoResponse, -1);
            return;
        }
        if let Some(host) = self.hosts[slot as usize].as_mut() {
            host.bench.push_back((port, repeat));
            self.benched += 1;
        }
        if self.benched > BENCH_LIMIT {
            self.unbench(slot);
        }
    }

    fn unbench(&mut self, slot: u32) -> bool {
        let benched = self.hosts[slot as usize].as_mut().and_then(|host| host.bench.pop_front());
        let Some((port, _)) = benched else { return false };
        self.benched -= 1;
        self.decide(slot, port, State::Filtered, Answer::NoResponse, -1);
        true
    }

    fn add_canary(&mut self, slot: u32) -> bool {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return false };
        let Some(port) = host.canary() else { return false };
        host.waiting.push_back(Ask { port, repeat: 0, canary: true });
        true
    }

    /// Queue a host that has something to ask and room in its window; finish and free one that has nothing left.
    fn touch(&mut self, slot: u32) {
        let Some(host) = self.hosts[slot as usize].as_mut() else { return };
        if !host.waiting.is_empty() {
            if host.queued || host.in_flight >= host.window {
                return;
            }
            if self.now >= host.next_send {
                host.queued = true;
                self.ready.push_back(slot);
            } else if host.nap < 0 {
                host.nap = host.next_send;
                self.timer_serial += 1;
                self.timers.push(Reverse((host.nap, host.index, self.timer_serial, slot)));
            }
        } else if host.drawn && host.in_flight == 0 && host.put_back == 0 {
            if host.bench.is_empty() {
                self.hosts[slot as usize] = None;
                self.free_hosts.push(slot);
            } else {
                self.finish(slot);
            }
        }
    }

    /// Call what stayed silent filtered, but not before enough canaries have told silence from loss.
    fn finish(&mut self, slot: u32) {
        let mut missing = self.hosts[slot as usize].as_ref().map_or(0, Host::canaries_missing);
        while missing > 0 && self.add_canary(slot) {
            missing -= 1;
        }
        let waits = self.hosts[slot as usize].as_ref().is_some_and(|host| !host.waiting.is_empty());
        if !waits {
            while self.unbench(slot) {}
        }
        self.touch(slot);
    }

    fn decide(&mut self, slot: u32, port: u16, state: State, reason: Answer, rtt: i64) {
        self.tally.states[state as usize] += 1;
        if self.plan.keep >> (state as u8) & 1 == 1
            && let Some(host) = &self.hosts[slot as usize]
        {
            self.outcomes.push(Outcome { host: host.index, port, state, reason, rtt, banner: None });
        }
    }

    // --- faults of this machine

    /// Put the probe back and narrow the window; only a fault that lasts at a window of one is a verdict.
    fn local_fault(&mut self, slot: u32, ask: Ask, code: i32, now: i64) {
        self.tally.local_errors += 1;
        if is_transient(code) {
            self.window = self.in_flight.max(1);
            let mut lasting = false;
            if self.in_flight == 0 {
                self.not_before = now + FAULT_PAUSE;
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
            self.decide(slot, ask.port, State::Error, Answer::Local(code), -1);
        }
        self.touch(slot);
    }

    /// A probe left this machine: the fault, if there was one, is over, and the window recovers slowly.
    fn sent_well(&mut self) {
        self.fault_since = -1;
        if self.window < self.limit {
            self.window_growth += 1;
            if self.window_growth >= self.window {
                self.window_growth = 0;
                self.window += 1;
            }
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
