//! Drives the machine through the network, as `worker.rs` drives it through sockets, and checks its verdicts.

use std::fmt;
use std::time::Instant;

use oxisock::core::scanning::engine::ScanEngine;
use oxisock::core::scanning::{Answer, Outcome, Plan, State, Tally};
use oxisock::core::splitmix::mix;

use crate::case::Case;
use crate::measure;
use crate::network::Network;

const SECOND: i64 = 1_000_000_000;
/// Probes between two looks at what has come in, as in `worker.rs`.
const BATCH: usize = 64;
/// Nanoseconds that a probe costs the driver: socket, connect, `epoll_ctl` and close.
const PROBE_COST: i64 = 10_000;
/// Nanoseconds that a look at what has come in takes at least.
const LOOK: i64 = 100_000;

/// How many ports there are of one kind, and a number in which a missing, doubled or foreign one shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Account {
    count: u64,
    print: u64,
}

impl Account {
    fn add(&mut self, host: u64, port: u16) {
        self.count += 1;
        self.print = self.print.wrapping_add(mix(host << 16 | u64::from(port)));
    }
}

/// What one simulated scan took and gave.
#[derive(Debug)]
pub struct Report {
    case: Case,
    /// Of the slowest shard.
    simulated: i64,
    tally: Tally,
    answers: u64,
    found: [Account; 2],
    there: [Account; 2],
    wall: f64,
    cpu: u64,
    peak: u64, // KiB
}

/// Simulate a case with one machine for each shard, one after the other, and check what they found together.
pub fn run(case: &Case) -> Result<Report, String> {
    let mut network = Network::new(case);
    let there = survey(case, &network);
    let (start, cpu) = (Instant::now(), measure::cpu_time());
    let mut found = [Account::default(); 2];
    let mut tally = Tally::default();
    let mut simulated = 0;
    for shard in 0..case.shards {
        let mut engine = ScanEngine::new(plan(case, shard), case.hosts, 0);
        simulated = scan(&mut engine, &mut network, &mut found)?.max(simulated);
        tally = tally.plus(&engine.tally());
    }
    let (wall, cpu) = (start.elapsed().as_secs_f64(), measure::cpu_time() - cpu);
    if tally.decided() != case.hosts * u64::from(case.ports) {
        return Err(format!("{} of {} ports decided", tally.decided(), case.hosts * u64::from(case.ports)));
    }
    if case.loss == 0.0 && found != there {
        return Err(format!("without loss everything is to be found: {found:?} of {there:?}"));
    }
    let answers = network.answers;
    Ok(Report { case: *case, simulated, tally, answers, found, there, wall, cpu, peak: measure::peak_memory() })
}

/// Count what there is to be found: open ports, and closed ones.
fn survey(case: &Case, network: &Network) -> [Account; 2] {
    let mut there = [Account::default(); 2];
    for host in 0..case.hosts {
        for port in 1..=case.ports {
            if let Some(answer) = network.truth(host, port) {
                there[usize::from(answer != Answer::SynAck)].add(host, port);
            }
        }
    }
    there
}

fn plan(case: &Case, shard: u64) -> Plan {
    Plan {
        ranges: Vec::new(),
        ports: (1..=case.ports).collect(),
        first_ports: u64::from(case.ports.min(100)),
        timeout: (case.timeout * SECOND as f64) as i64,
        retries: case.retries,
        adaptive: true,
        concurrency: case.concurrency,
        interval: if case.rate == 0 { 0 } else { (SECOND as u64).div_ceil(case.rate) as i64 },
        threads: 1,
        random: true,
        seed: case.seed,
        shard,
        shards: case.shards,
        banner: 0,
        keep: 1 << State::Open as u8 | 1 << State::Closed as u8,
        trace: false,
        descriptors: case.concurrency * 4,
        skip_silent: false,
        links: Vec::new(),
        first_host: 0,
        of_many: false,
        first_send: 0,
    }
}

/// Scan one share of the network, and give the time that passed in it.
fn scan(engine: &mut ScanEngine, network: &mut Network, found: &mut [Account; 2]) -> Result<i64, String> {
    let mut now = 0;
    let mut expired = Vec::new();
    while !engine.finished() {
        let mut sent = 0;
        while sent < BATCH
            && let Some(probe) = engine.next(now)
        {
            network.send(&probe, now);
            now += PROBE_COST;
            sent += 1;
        }
        if sent < BATCH {
            let wake = [engine.wakeup(now), network.next_arrival()].into_iter().flatten().min();
            now = wake.ok_or("the machine waits for nothing")?.max(now + LOOK);
        }
        while let Some((token, answer)) = network.arrived(now) {
            engine.answer(token, answer, now);
        }
        expired.clear();
        engine.expire(now, &mut expired);
        for outcome in engine.take_outcomes() {
            take(&outcome, network, found)?;
        }
    }
    Ok(now)
}

fn take(outcome: &Outcome, network: &Network, found: &mut [Account; 2]) -> Result<(), String> {
    if network.truth(outcome.host, outcome.port) != Some(outcome.reason) {
        return Err(format!("a wrong verdict: {outcome:?}"));
    }
    found[usize::from(outcome.state != State::Open)].add(outcome.host, outcome.port);
    Ok(())
}

/// The names of a report's fields.
pub const HEADER: &str = "case            hosts  ports  loss  simulated    probes  probes/s  answers    open    found    wall  ns/probe  MiB";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { name, hosts, ports, loss, .. } = self.case;
        let seconds = self.simulated as f64 / SECOND as f64;
        let probes = self.tally.probes;
        let rate = probes as f64 / seconds;
        let found = 100.0 * share(&self.found, &self.there);
        write!(
            f,
            "{name:<11} {hosts:>9} {ports:>6} {:>4}% {seconds:>8.1} s {probes:>9} {rate:>9.0} {:>8} {:>7} {found:>7.3}% \
             {:>5.1} s {:>9.0} {:>4.1}",
            loss * 100.0,
            self.answers,
            self.found[0].count,
            self.wall,
            self.cpu as f64 / probes as f64,
            self.peak as f64 / 1024.0,
        )
    }
}

/// Which part of what is there was found.
fn share(found: &[Account; 2], there: &[Account; 2]) -> f64 {
    let [found, there] = [found, there].map(|kinds| kinds.iter().map(|account| account.count).sum::<u64>());
    if there == 0 { 1.0 } else { found as f64 / there as f64 }
}
