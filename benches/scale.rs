//! The scan machine on a network on paper: how long a scan of any size takes, how many probes, and how much memory.
//!
//! `cargo bench --no-default-features --bench scale -- [CASE...] [--option value...]`; `--help` says the rest. Nothing is
//! sent: hosts, round trips, loss and the clock are computed, and the machine is the one that real scans use.

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

use case::{CASES, Case};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // `cargo bench` says --bench; `cargo test`, which does not, gets the small case as a test of all this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return finish(Case::parse(&["64k".into()]).and_then(|(cases, _)| run_here(&cases)));
    }
    let arguments: Vec<String> = arguments.into_iter().filter(|argument| argument != "--bench").collect();
    if arguments.iter().any(|argument| argument == "--help") {
        print!("{}", case::help());
        return ExitCode::SUCCESS;
    }
    finish(Case::parse(&arguments).and_then(|(cases, options)| {
        if cases.len() == 1 {
            return run_here(&cases);
        }
        // Each in a process of its own, so that the peak of memory is its own too.
        println!("{}", simulation::HEADER);
        let program = env::current_exe().map_err(|error| error.to_string())?;
        for case in &cases {
            let mut child = Command::new(&program);
            child.args(["--bench", "--no-header", case.name]).args(&options);
            let status = child.status().map_err(|error| error.to_string())?;
            if !status.success() {
                return Err(format!("{} failed", case.name));
            }
        }
        Ok(())
    }))
}

fn run_here(cases: &[Case]) -> Result<(), String> {
    for case in cases {
        let report = simulation::run(case)?;
        if case.header {
            println!("{}", simulation::HEADER);
        }
        println!("{report}");
    }
    Ok(())
}

fn finish(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("scale: {message}; the cases are: {}", CASES.map(|case| case.name).join(" "));
            ExitCode::FAILURE
        }
    }
}
