//! Load for servers: as fast as they answer or at a constant rate, every answer checked, latencies in a histogram.
//!
//! `schedule` says when a message is to be sent, `talk` what one connection says of the `script` and what it may hear,
//! `ledger` the same for `datagrams`, which may be lost, `tally` and `latency` what came of it all: none of them has a socket
//! or a clock. [`tcp`] and [`udp`] move the bytes, as drivers of the `course` that they share. [`chat`] is a load of its own.

pub mod chat;
pub mod course;
pub mod datagrams;
pub mod latency;
pub mod ledger;
pub mod schedule;
pub mod script;
pub mod talk;
pub mod tally;
pub mod tcp;
pub mod udp;

pub use course::{Course, Driver, Terms};
pub use datagrams::{Answer, Datagrams};
pub use latency::Latency;
pub use ledger::Ledger;
pub use schedule::{Schedule, Until};
pub use script::{Replies, Script};
pub use talk::Talk;
pub use tally::{Fault, Progress, Tally, Wrong};
