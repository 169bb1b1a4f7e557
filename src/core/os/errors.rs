//! What the operating system's errors and sockets mean, in one place for all platforms.

use std::io;

use super::scan::Answer;

/// Whether a fault of this machine passes: out of descriptors, buffers or ports, so that the probe is put back.
#[must_use]
pub fn is_transient(code: i32) -> bool {
    #[cfg(unix)]
    let passing =
        [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL, libc::EAGAIN, libc::EADDRINUSE];
    #[cfg(not(unix))]
    let passing = [10024, 10055, 10049, 10035, 10048]; // WSAEMFILE, WSAENOBUFS, ...
    passing.contains(&code)
}

/// What the error of a connection attempt under way says of the other side.
#[must_use]
pub fn answer_of(error: &io::Error) -> Answer {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, PermissionDenied, TimedOut,
    };
    match error.kind() {
        ConnectionRefused | ConnectionReset => Answer::Refused,
        // ICMPv6 "administratively prohibited" arrives as EACCES.
        HostUnreachable | PermissionDenied => Answer::HostUnreachable,
        NetworkUnreachable => Answer::NetUnreachable,
        TimedOut => Answer::NoResponse,
        _ => {
            let code = errno(error);
            #[cfg(unix)]
            {
                if code == libc::EHOSTDOWN {
                    return Answer::HostUnreachable;
                }
                if code == libc::ENOPROTOOPT {
                    return Answer::ProtoUnreachable;
                }
                #[cfg(target_os = "linux")]
                if code == libc::ENONET {
                    return Answer::HostUnreachable;
                }
            }
            Answer::Local(code)
        }
    }
}

/// The errno of an error, EIO where there is none.
#[must_use]
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(5)
}

/// Whether a non-blocking connect has begun rather than failed.
#[must_use]
pub fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::EINPROGRESS) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock && cfg!(not(unix))
}
