//! What the system's error numbers mean.

use std::io;

pub use codes::{ECONNREFUSED, ECONNRESET, ENETUNREACH, ENOMEM, ETIMEDOUT};

/// The numbers of POSIX.
#[cfg(unix)]
mod codes {
    pub use libc::{
        EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EALREADY, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EINPROGRESS, EINVAL, EIO,
        EISCONN, EMFILE, EMSGSIZE, ENETUNREACH, ENFILE, ENOBUFS, ENOMEM, ENOPROTOOPT, EOPNOTSUPP, EPROTO, ETIMEDOUT,
    };

    /// Of a connect that does not wait and has begun.
    pub const BEGUN: i32 = EINPROGRESS;
    /// A packet was dropped on its way: its time to live was over.
    pub const RESET_NETWORK: i32 = libc::ENETRESET;
    /// This machine's routes swallow what is sent there.
    pub const NO_WAY: &[i32] = &[ENETUNREACH, EINVAL];
    /// A router says something odd.
    pub const ODD: &[i32] = &[EOPNOTSUPP, EPROTO, EMSGSIZE];
}

/// The numbers of Winsock, which are also what Python's `errno` has there under these names.
#[cfg(windows)]
mod codes {
    pub use windows_sys::Win32::Networking::WinSock::{
        WSA_NOT_ENOUGH_MEMORY as ENOMEM, WSAEADDRINUSE as EADDRINUSE, WSAEADDRNOTAVAIL as EADDRNOTAVAIL,
        WSAEALREADY as EALREADY, WSAECONNREFUSED as ECONNREFUSED, WSAECONNRESET as ECONNRESET,
        WSAEHOSTDOWN as EHOSTDOWN, WSAEINVAL as EINVAL, WSAEISCONN as EISCONN, WSAEMFILE as EMFILE,
        WSAEMSGSIZE as EMSGSIZE, WSAENETRESET as RESET_NETWORK, WSAENETUNREACH as ENETUNREACH, WSAENOBUFS as ENOBUFS,
        WSAENOPROTOOPT as ENOPROTOOPT, WSAEOPNOTSUPP, WSAETIMEDOUT as ETIMEDOUT, WSAEWOULDBLOCK as EAGAIN,
        WSASYSCALLFAILURE as EIO,
    };

    /// A process has a limit of its own, the system none.
    pub const ENFILE: i32 = EMFILE;
    /// A connect that does not wait says that it would have to.
    pub const BEGUN: i32 = EAGAIN;
    /// EINVAL says nothing of routes here.
    pub const NO_WAY: &[i32] = &[ENETUNREACH];
    /// There is no EPROTO.
    pub const ODD: &[i32] = &[WSAEOPNOTSUPP, EMSGSIZE];
}

/// The number of an error, EIO where it has none.
#[must_use]
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(codes::EIO)
}

fn is_one_of(error: &io::Error, codes: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Whether a fault of this machine passes: out of descriptors, buffers or ports, so that what failed is tried again.
#[must_use]
pub fn is_transient(code: i32) -> bool {
    use codes::{EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    [EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAGAIN, EADDRINUSE].contains(&code)
}

/// Whether descriptors have run out.
#[must_use]
pub fn out_of_descriptors(error: &io::Error) -> bool {
    is_one_of(error, &[codes::EMFILE, codes::ENFILE])
}

/// Whether the system has no memory for what is to be sent.
#[must_use]
pub fn out_of_buffers(error: &io::Error) -> bool {
    is_one_of(error, &[codes::ENOBUFS, codes::ENOMEM])
}

/// Whether a datagram is longer than any can be.
#[must_use]
pub fn is_too_long(error: &io::Error) -> bool {
    is_one_of(error, &[codes::EMSGSIZE])
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
        || is_one_of(error, &[codes::RESET_NETWORK])
}

/// What a call on a UDP socket failed with: Windows calls a port where nobody listens a reset, others a refusal.
#[must_use]
pub fn of_a_datagram(error: io::Error) -> io::Error {
    if cfg!(windows) && error.kind() == io::ErrorKind::ConnectionReset {
        return io::Error::from_raw_os_error(ECONNREFUSED);
    }
    error
}

/// Whether a connect that does not wait has begun, rather than failed.
#[must_use]
pub fn is_under_way(error: &io::Error) -> bool {
    is_one_of(error, &[codes::BEGUN])
}

/// Whether a connect that was begun before has no verdict yet.
#[must_use]
pub fn is_still_under_way(error: &io::Error) -> bool {
    is_one_of(error, &[codes::EALREADY, codes::BEGUN])
}

/// Whether a connect that was begun before has succeeded.
#[must_use]
pub fn is_connected(error: &io::Error) -> bool {
    is_one_of(error, &[codes::EISCONN])
}

/// Whether what the connect of a used socket says may mean the connect before.
#[must_use]
pub fn is_about_before(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
        || is_one_of(error, &[codes::EALREADY, codes::EISCONN, codes::EINVAL])
}

/// Whether a router says that the host is down or not there, in numbers for which the standard library has no kind.
#[must_use]
pub fn is_host_down(error: &io::Error) -> bool {
    #[cfg(target_os = "linux")]
    if is_one_of(error, &[libc::ENONET]) {
        return true;
    }
    is_one_of(error, &[codes::EHOSTDOWN])
}

/// Whether a router says something odd of a packet: source route failed, parameter problem, fragmentation needed.
#[must_use]
pub fn from_a_router(error: &io::Error) -> bool {
    is_one_of(error, codes::ODD)
}

/// Whether this machine has no address, or no source port, to connect from.
#[must_use]
pub fn is_address_missing(error: &io::Error) -> bool {
    is_one_of(error, &[codes::EADDRNOTAVAIL])
}

/// Whether this machine knows no way to an address: no route, or on Unix one that swallows packets (EINVAL).
#[must_use]
pub fn is_route_missing(error: &io::Error) -> bool {
    is_one_of(error, codes::NO_WAY)
}

/// Whether the other side says that it does not speak the protocol.
#[must_use]
pub fn is_protocol_missing(error: &io::Error) -> bool {
    is_one_of(error, &[codes::ENOPROTOOPT])
}
