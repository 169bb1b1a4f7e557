//! Replays the corpus of `fuzz/` through the functions that cargo-fuzz calls, in seconds.

#![allow(clippy::pedantic, clippy::expect_used)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

/// Call a target with every input of its corpus, and with beginnings of it; there must be some.
fn replay(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&corpus).expect("the corpus is there").flatten() {
        let input = fs::read(entry.path()).expect("an input can be read");
        eprintln!("{}", entry.path().display()); // shown where it fails
        target(&input);
        target(&input[..input.len() / 2]);
        count += 1;
    }
    assert!(count > 0, "{} is empty", corpus.display());
}

#[test]
fn framing() {
    replay("framing", fuzz::framing::run);
}

#[test]
fn connection() {
    replay("connection", fuzz::connection::run);
}

#[test]
fn hub() {
    replay("hub", fuzz::hub::run);
}

#[test]
fn scan() {
    replay("scan", fuzz::scan::run);
}

#[test]
fn load() {
    replay("load", fuzz::load::run);
}
