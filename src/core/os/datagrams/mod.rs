//! Datagrams through the system, in batches where it has them.
//!
//! `linux` and `portable` are the same four functions, with and without batches; `inbox` holds what one batch brought.

mod inbox;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
#[cfg_attr(test, allow(dead_code, reason = "on Linux only its own tests use it"))]
mod portable;

use std::net::{IpAddr, SocketAddr, UdpSocket};

pub use inbox::{Arrival, Inbox};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use linux::{REAPS, prepare, reap, receive, send};
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub use portable::{REAPS, prepare, reap, receive, send};

/// Whether an address is one of this machine: only such a one can be bound to.
#[must_use]
pub fn is_of_this_machine(mut address: SocketAddr) -> bool {
    address.set_port(0);
    UdpSocket::bind(address).is_ok()
}

/// The most datagrams that one system call moves.
pub const BATCH: usize = 64;

/// The address of this machine that a datagram was sent to, and the interface it came in by (0 for unknown).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Never a group or broadcast address: it can be a source.
    pub address: IpAddr,
    /// The system's number of the interface.
    pub interface: u32,
}

/// One datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Where to.
    pub peer: SocketAddr,
    /// Where from; None leaves it to the system.
    pub local: Option<Local>,
    /// What.
    pub data: &'a [u8],
}
