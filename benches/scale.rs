//! The scan machine on a network on paper: how long a scan of any size takes, how many probes, and how much memory.
//!
//! `cargo bench --no-default-features --bench scale -- [CASE...] [--option value...]`; `--help` says the rest. Nothing is
//! sent: hosts, round trips, loss and the clock are computed, and the machine is the one that real scans use.

#![allow(clippy::cast_precision_loss)] // fractions, and figures for people

#[path = "scale/case.rs"]
mod case;
#[path = "scale/measure.rs"]
mod measure;
#[path = "scale/network.rs"]
mod network;
#[path = "scale/simulation.rs"]
mod simulation;

use std::env;
use std::process::{Command, ExitCode};

use case::Case;

/// Says that this process was started for one case by another that prints the names of the fields.
const CHILD: &str = "--child";

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    // `cargo bench` says --bench; `cargo test`, which does not, gets the small case as a test of all this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        arguments = vec!["64k".into()];
    }
    let child = arguments.iter().any(|argument| argument == CHILD);
    arguments.retain(|argument| argument != "--bench" && argument != CHILD);
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{}", case::help());
        return ExitCode::SUCCESS;
    }
    let result = Case::parse(&arguments).and_then(|(cases, options)| {
        if !child {
            println!("{}", simulation::HEADER);
        }
        match cases.as_slice() {
            [case] => simulation::run(case).map(|report| println!("{report}")),
            several => run_each(several, &options),
        }
    });
    if let Err(message) = result {
        eprintln!("scale: {message}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Run each case in a process of its own, so that the peak of memory is its own too.
fn run_each(cases: &[Case], options: &[String]) -> Result<(), String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    for case in cases {
        let mut child = Command::new(&program);
        child.args(["--bench", CHILD, case.name]).args(options);
        let status = child.status().map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("{} failed", case.name));
        }
    }
    Ok(())
}
