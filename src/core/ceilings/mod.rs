//! What the system itself allows: raw loops without limits, timers or ends, that `bench` compares with.
//!
//! `connect` scans, `echo`, `chat` and `datagrams` serve; `streams` is the loop that the two for TCP share.

pub mod chat;
pub mod connect;
pub mod datagrams;
pub mod echo;
mod streams;
