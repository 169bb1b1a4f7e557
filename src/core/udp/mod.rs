//! UDP servers: datagram in, reply out.
//!
//! `line` is a socket with its patience, `reactor` the loop around it that somebody else turns, [`echo`] one that a thread of
//! its own turns, and `shared` what other threads hold of it: counters, the end, and the bell.

pub mod echo;
mod line;
mod reactor;
mod shared;

pub use line::Line;
pub use reactor::Reactor;
pub use shared::{Counts, Shared};

/// What a loop needs to know besides its socket.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most bytes of a datagram that are kept; what is longer is cut and marked.
    pub max_datagram: usize,
    /// Whether datagrams from source ports below 1024 are taken.
    pub answer_low_ports: bool,
    /// Whether to ask which address a datagram was sent to, so that the reply leaves from there.
    pub wildcard: bool,
}
