//! What is simulated: named cases, and the options that change them.

use std::fmt::Write;
use std::str::FromStr;

/// One scan of one network.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// How it is called on the command line.
    pub name: &'static str,
    /// How many hosts are scanned.
    pub hosts: u64,
    /// How many ports of each.
    pub ports: u16,
    /// The fraction of hosts that are there; the others are silent.
    pub up: f64,
    /// The fraction of a host's ports that accept.
    pub open: f64,
    /// The fraction of a host's ports that refuse; the rest is silent.
    pub refused: f64,
    /// The fraction of packets lost, each way.
    pub loss: f64,
    /// The most probes in flight.
    pub concurrency: usize,
    /// Probes per second, 0 for no limit.
    pub rate: u64,
    /// Seconds that a probe waits.
    pub timeout: f64,
    /// The least number of repeats.
    pub retries: u32,
    /// How many machines share the work.
    pub shards: u64,
    /// Chooses the order of the scan and everything about the network.
    pub seed: u64,
}

const SLASH_8: Case = Case {
    name: "8",
    hosts: 1 << 24,
    ports: 1,
    up: 0.01,
    open: 0.5,
    refused: 0.5,
    loss: 0.0,
    concurrency: 4096,
    rate: 0,
    timeout: 1.0,
    retries: 1,
    shards: 1,
    seed: 1,
};

/// The cases that run where none is named.
pub const CASES: [Case; 9] = [
    Case { name: "host", hosts: 1, ports: 65535, up: 1.0, open: 0.0, refused: 0.0, ..SLASH_8 },
    Case { name: "host-open", hosts: 1, ports: 65535, up: 1.0, open: 0.0001, refused: 0.0, ..SLASH_8 },
    Case { name: "1k-top100", hosts: 1024, ports: 100, up: 0.5, open: 0.03, refused: 0.77, ..SLASH_8 },
    Case { name: "64k", hosts: 1 << 16, ..SLASH_8 },
    SLASH_8,
    Case { name: "8-loss", loss: 0.01, ..SLASH_8 },
    Case { name: "8-rate", rate: 1000, ..SLASH_8 },
    Case { name: "8-fast", concurrency: 20_000, timeout: 0.5, ..SLASH_8 },
    Case { name: "8-shards", shards: 4, ..SLASH_8 },
];

impl Case {
    /// Read the cases that are named, all where none is, with the options applied; and those options.
    pub fn parse(arguments: &[String]) -> Result<(Vec<Self>, Vec<String>), String> {
        let mut cases = Vec::new();
        let mut options = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument.starts_with("--") {
                let value = rest.next().ok_or_else(|| format!("{argument} takes a value"))?;
                options.extend([argument.clone(), value.clone()]);
            } else {
                let named = CASES.into_iter().find(|case| case.name == argument);
                cases.push(named.ok_or_else(|| format!("there is no case {argument:?}: --help lists them"))?);
            }
        }
        if cases.is_empty() {
            cases.extend(CASES);
        }
        for case in &mut cases {
            case.apply(&options)?;
        }
        Ok((cases, options))
    }

    fn apply(&mut self, options: &[String]) -> Result<(), String> {
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            let value = rest.next().map_or("", String::as_str);
            let understood = match option.as_str() {
                "--hosts" => set(&mut self.hosts, value),
                "--ports" => set(&mut self.ports, value),
                "--up" => set(&mut self.up, value),
                "--open" => set(&mut self.open, value),
                "--refused" => set(&mut self.refused, value),
                "--loss" => set(&mut self.loss, value),
                "--concurrency" => set(&mut self.concurrency, value),
                "--rate" => set(&mut self.rate, value),
                "--timeout" => set(&mut self.timeout, value),
                "--retries" => set(&mut self.retries, value),
                "--shards" => set(&mut self.shards, value),
                "--seed" => set(&mut self.seed, value),
                _ => return Err(format!("there is no option {option}: --help lists them")),
            };
            if !understood {
                return Err(format!("{option} cannot be {value:?}"));
            }
        }
        let fractions = [self.up, self.open, self.refused, self.open + self.refused, self.loss];
        if !fractions.iter().all(|fraction| (0.0..=1.0).contains(fraction)) {
            return Err("fractions are between 0 and 1, and open and refused together too".into());
        }
        if self.hosts == 0 || self.hosts > 1 << 32 {
            return Err("hosts are 1 to 4294967296".into());
        }
        if self.ports == 0 || self.shards == 0 || self.concurrency == 0 || !(0.001..=3600.0).contains(&self.timeout) {
            return Err("ports, shards and concurrency are at least 1, and timeout 0.001 to 3600 seconds".into());
        }
        Ok(())
    }
}

fn set<T: FromStr>(place: &mut T, value: &str) -> bool {
    value.parse().map(|value| *place = value).is_ok()
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from(
        "Scan simulated networks with the real machine, and check what it finds.\n\n\
         cargo bench --no-default-features --bench scale -- [CASE...] [--option value...]\n\n\
         Options: --hosts --ports --up --open --refused --loss (fractions) --concurrency --rate (probes per second)\n\
         --timeout (seconds) --retries --shards --seed\n\nCases, all where none is named:\n",
    );
    for case in CASES {
        let Case { name, hosts, ports, up, open, refused, loss, concurrency, rate, timeout, shards, .. } = case;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {name:<12} --hosts {hosts} --ports {ports} --up {up} --open {open:.6} --refused {refused} --loss {loss} \
             --concurrency {concurrency} --rate {rate} --timeout {timeout} --shards {shards}"
        );
    }
    text
}
