//! Functions over bytes, one for each machine: whatever the bytes say happens, what must hold is asserted.
//!
//! cargo-fuzz calls them for hours (`make fuzz`); `cargo test` calls them with the corpus, in seconds (`tests/replay.rs`).

pub mod connection;
pub mod framing;
pub mod hub;
pub mod load;
pub mod scan;
mod script;
