//! UDP: datagram in, reply out, in batches where the system has them.
//!
//! [`Inbox`] holds what one batch brought, [`Line`] is a socket with its patience, [`Turner`] is both together: a loop
//! that somebody else turns. `linux` and `portable` are the same four functions, with and without batches.

pub mod echo;
mod inbox;
mod line;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
pub mod load;

#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
#[cfg_attr(test, allow(dead_code, reason = "on Linux only its own tests use it"))]
mod portable;
pub mod raw_loop;
mod tally;
mod turner;
mod wait;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::FromRawFd;

#[cfg(any(target_os = "linux", target_os = "android"))]
use linux as system;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use portable as system;

use socket2::Socket;

use crate::core::errors::{Error, Result};

pub use inbox::{Arrival, Inbox};
pub use line::Line;
pub use tally::{Counts, Shared};
pub use turner::Turner;

/// The most datagrams that one turn takes or one system call moves.
pub const BATCH: usize = 64;

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

/// Takes over the descriptor of a bound socket.
pub fn adopt(fd: i64) -> Result<Socket> {
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0);
    let fd = fd.ok_or_else(|| Error::Value("fd is no descriptor".to_owned()))?;
    // SAFETY: the caller gives the descriptor away; it is not negative, and a wrong one fails at its first use.
    Ok(unsafe { Socket::from_raw_fd(fd) })
}

/// Closes a descriptor that a forked child inherited, behind the back of its owner, whose thread does not exist here.
pub fn abandon(fd: i64) {
    if let Ok(fd) = i32::try_from(fd) {
        // SAFETY: in the child nothing uses or closes this descriptor any more: its owner is never dropped.
        unsafe { libc::close(fd) };
    }
}
