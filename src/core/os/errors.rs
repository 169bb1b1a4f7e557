//! What the system's error numbers mean.

use std::io;

pub use libc::{ECONNREFUSED, ECONNRESET, ENETUNREACH, ENOMEM, ETIMEDOUT};

/// The number of an error, EIO where it has none.
#[must_use]
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn is_one_of(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Whether a fault of this machine passes: out of descriptors, buffers or ports, so that what failed is tried again.
#[must_use]
pub fn is_transient(code: i32) -> bool {
    let passing =
        [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL, libc::EAGAIN, libc::EADDRINUSE];
    passing.contains(&code)
}

/// Whether descriptors have run out.
#[must_use]
pub fn out_of_descriptors(error: &io::Error) -> bool {
    is_one_of(error, &[libc::EMFILE, libc::ENFILE])
}

/// Whether the system has no memory for what is to be sent.
#[must_use]
pub fn out_of_buffers(error: &io::Error) -> bool {
    is_one_of(error, &[libc::ENOBUFS, libc::ENOMEM])
}

/// Whether a datagram is longer than any can be.
#[must_use]
pub fn is_too_long(error: &io::Error) -> bool {
    is_one_of(error, &[libc::EMSGSIZE])
}

/// Whether an error of accept concerns the newcomer alone.
#[must_use]
pub fn newcomer_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Whether the network says that nobody is there, or no way.
#[must_use]
pub fn from_the_network(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable)
}

/// Whether a connect that does not wait has begun, rather than failed.
#[must_use]
pub fn is_under_way(error: &io::Error) -> bool {
    is_one_of(error, &[libc::EINPROGRESS])
}

/// Whether a connect that was begun before has no verdict yet.
#[must_use]
pub fn is_still_under_way(error: &io::Error) -> bool {
    is_one_of(error, &[libc::EALREADY, libc::EINPROGRESS])
}

/// Whether a connect that was begun before has succeeded.
#[must_use]
pub fn is_connected(error: &io::Error) -> bool {
    is_one_of(error, &[libc::EISCONN])
}

/// Whether a router says that the host is down or not there, in numbers for which the standard library has no kind.
#[must_use]
pub fn is_host_down(error: &io::Error) -> bool {
    #[cfg(target_os = "linux")]
    if is_one_of(error, &[libc::ENONET]) {
        return true;
    }
    is_one_of(error, &[libc::EHOSTDOWN])
}

/// Whether a router says something odd of a packet: source route failed, parameter problem, fragmentation needed.
#[must_use]
pub fn from_a_router(error: &io::Error) -> bool {
    is_one_of(error, &[libc::EOPNOTSUPP, libc::EPROTO, libc::EMSGSIZE])
}

/// Whether this machine has no address, or no source port, to connect from.
#[must_use]
pub fn is_address_missing(error: &io::Error) -> bool {
    is_one_of(error, &[libc::EADDRNOTAVAIL])
}

/// Whether this machine knows no way to an address: no route, or one that swallows packets (EINVAL).
#[must_use]
pub fn is_route_missing(error: &io::Error) -> bool {
    is_one_of(error, &[libc::ENETUNREACH, libc::EINVAL])
}

/// Whether the other side says that it does not speak the protocol.
#[must_use]
pub fn is_protocol_missing(error: &io::Error) -> bool {
    is_one_of(error, &[libc::ENOPROTOOPT])
}
