//! The scan machine with a driver that goes mad and then comes to its senses: every port is decided once, and it ends.

use std::collections::HashSet;

use oxisock::core::scanning::engine::{ProbeOrder, ScanEngine};
use oxisock::core::scanning::{Answer, Link, Plan};

use super::script::Script;

const LONG: i64 = 1 << 60;
const MS: i64 = 1_000_000;
/// So many steps of a sane driver end every scan of this size.
const STEPS: usize = 2_000_000;

fn plan(script: &mut Script<'_>, hosts: u64, ports: usize) -> Plan {
    let shards = 1 + script.one_of(3) as u64;
    let concurrency = if script.yes() { 1 + script.one_of(9) } else { 1 + script.one_of(5000) };
    let link = Link { first: 0, last: hosts / 2, capacity: script.number(1) };
    Plan {
        ranges: Vec::new(),
        ports: (1..=ports as u16).collect(),
        first_ports: script.one_of(ports + 1) as u64,
        timeout: if script.yes() { script.between(1, 1 << 55) as i64 } else { MS * (1 + script.number(1) as i64) },
        retries: script.one_of(12) as u32,
        adaptive: script.yes(),
        concurrency,
        interval: if script.yes() { 0 } else { script.between(0, 1_000_000_000) as i64 },
        threads: 1 + script.one_of(3),
        random: script.yes(),
        seed: script.number(8),
        shard: script.number(1) % shards,
        shards,
        banner: 0,
        keep: 15,
        trace: script.yes(),
        descriptors: concurrency + if script.yes() { 0 } else { script.one_of(10_000) },
        skip_silent: script.yes(),
        links: if script.yes() { vec![link] } else { Vec::new() },
        first_host: 0,
        of_many: false,
        first_send: 0,
    }
}

/// What may come of a probe; None for nothing.
fn answer(case: u8) -> Option<Answer> {
    Some(match case % 20 {
        0 | 1 => Answer::SynAck,
        2..=5 => Answer::Refused,
        6 => Answer::HostUnreachable,
        7 => Answer::NetUnreachable,
        8 => Answer::ProtoUnreachable,
        9 => Answer::SelfConnect,
        10 => Answer::Local(24),
        11 => Answer::Local(99),
        12 => Answer::Local(1),
        13 => Answer::Local(i32::MAX),
        14 => Answer::Lasting(99),
        15 => Answer::Broadcast,
        16 => Answer::Multicast,
        _ => return None,
    })
}

/// One thread's machine, and what it has under way.
struct Worker {
    engine: ScanEngine,
    flying: Vec<ProbeOrder>,
}

impl Worker {
    fn send(&mut self, plan: &Plan, hosts: u64, most: usize, now: i64) {
        for _ in 0..200 {
            let Some(order) = self.engine.next(now) else { break };
            assert!(order.host < hosts && plan.ports.contains(&order.port));
            assert!(self.flying.iter().all(|each| each.token != order.token));
            self.flying.push(order);
            assert!(self.flying.len() <= most, "{} probes of {most} are under way", self.flying.len());
        }
    }

    fn expire(&mut self, now: i64) {
        let mut expired = Vec::new();
        self.engine.expire(now, &mut expired);
        for token in expired {
            // Else it was answered after it had been given up, and before that was told.
            if let Some(place) = self.flying.iter().position(|order| order.token == token) {
                self.flying.swap_remove(place);
            }
        }
    }
}

pub fn run(data: &[u8]) {
    let script = &mut Script::new(data);
    let hosts = if script.byte().is_multiple_of(16) { script.between(1, 1500) } else { 1 + script.number(1) % 5 };
    let ports = 1 + if hosts > 100 { script.one_of(2) } else { script.one_of(30) };
    let plan = plan(script, hosts, ports);
    let threads = plan.threads;
    let mut workers: Vec<Worker> = (0..threads)
        .map(|thread| Worker { engine: ScanEngine::new(plan.clone(), hosts, thread), flying: Vec::new() })
        .collect();
    // The threads share the ports of a single host, and of many hosts each knows how much there is in all.
    let totals = workers.iter().map(|worker| worker.engine.total());
    let total: u64 = if hosts == 1 { totals.sum() } else { totals.max().unwrap_or(0) };
    let mut seen = HashSet::new();
    let (mut now, mut idle) = (0, 0);
    for _ in 0..STEPS {
        let mad = !script.over();
        for at in 0..threads {
            let most = plan.descriptors.div_ceil(threads).max(1);
            let worker = &mut workers[at];
            worker.engine.reserved = if mad && script.byte().is_multiple_of(16) { script.one_of(4) } else { 0 };
            worker.send(&plan, hosts, most, now);
            for _ in 0..if mad { script.one_of(6) } else { 64 } {
                if worker.flying.is_empty() {
                    break;
                }
                let place = if mad { script.one_of(worker.flying.len()) } else { 0 };
                let order = worker.flying[place];
                let case = if mad { script.byte() } else { (order.port as u8 ^ order.repeat as u8) % 6 };
                let Some(what) = answer(case) else { continue };
                worker.flying.swap_remove(place);
                worker.engine.answer(order.token, what, now);
                if mad && script.byte().is_multiple_of(8) {
                    // Once more, and for one that never was.
                    worker.engine.answer(order.token, what, now);
                    worker.engine.answer(script.number(8), Answer::Refused, now);
                }
            }
            worker.expire(now);
            for number in worker.engine.take_doubtful() {
                assert!(number <= hosts / 2);
                let there = [None, Some(true), Some(false)][script.one_of(3)];
                worker.engine.neighbour(number, there, now);
            }
            for outcome in worker.engine.take_outcomes() {
                assert!(seen.insert((outcome.host, outcome.port)), "decided twice: {outcome:?}");
                assert!(outcome.rtt >= -1);
            }
            worker.engine.take_events();
            assert!(worker.engine.tally().decided() <= worker.engine.total());
            let news = worker.engine.take_news();
            for (other, worker) in workers.iter_mut().enumerate() {
                for each in news.iter().filter(|_| other != at) {
                    worker.engine.learn(*each);
                }
            }
        }
        if workers.iter().all(|worker| worker.engine.finished()) {
            assert_eq!(seen.len() as u64, total);
            return;
        }
        if mad {
            now += if script.byte().is_multiple_of(8) {
                script.between(0, 1 << 45) as i64
            } else {
                MS / 10 * script.number(1) as i64
            };
        } else if workers.iter().any(|worker| !worker.flying.is_empty()) {
            now += MS;
        } else {
            // Nothing is under way: there must be a time to wait for, or something to send.
            let wake =
                workers.iter().filter(|worker| !worker.engine.finished()).map(|worker| worker.engine.wakeup(now));
            let wake = wake.map(|wake| wake.unwrap_or(now)).min().unwrap_or(now);
            if wake <= now {
                let before: usize = seen.len();
                let begun: u64 = workers.iter().map(|worker| worker.engine.tally().probes).sum();
                for worker in &mut workers {
                    worker.send(&plan, hosts, plan.descriptors.max(1), now);
                    worker.expire(now);
                }
                let after: u64 = workers.iter().map(|worker| worker.engine.tally().probes).sum();
                let decided: u64 = workers.iter().map(|worker| worker.engine.tally().decided()).sum();
                // What was given up has to be taken, and a look into the neighbour table, before there is something.
                idle = if after > begun || decided > before as u64 { 0 } else { idle + 1 };
                assert!(idle < 8, "nothing under way, nothing to wait for: {decided} of {total}");
            } else {
                now = wake;
            }
        }
        if now > LONG {
            return;
        }
    }
    panic!("a scan without end");
}
