//! The system calls of a TCP server that the standard library and mio do not offer safely.

use std::io::{self, Read};
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

/// Take over a listening, non-blocking descriptor.
#[must_use]
pub fn adopt_listener(descriptor: i32) -> TcpListener {
    // SAFETY: the caller hands over a descriptor that it owns and does not use again.
    unsafe { TcpListener::from_raw_fd(descriptor) }
}

/// Put /dev/null in the place of an inherited descriptor, whose owner may still close the number later.
pub fn forget_descriptor(descriptor: i32) {
    use std::os::fd::AsRawFd;
    if let Ok(null) = std::fs::File::open("/dev/null") {
        // SAFETY: both numbers are open descriptors of this process; dup2 replaces the second one atomically.
        unsafe { libc::dup2(null.as_raw_fd(), descriptor) };
    }
}

/// Say whether an error means that descriptors have run out.
#[must_use]
pub fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Say whether an error of accept concerns the newcomer alone.
#[must_use]
pub fn newcomer_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Set what a fresh connection needs; a connection that is reset already says so at its first read.
pub fn prepare(stream: &TcpStream, nodelay: bool, keepalive: bool) {
    if nodelay {
        let _ = stream.set_nodelay(true);
    }
    if keepalive {
        let _ = SockRef::from(stream).set_keepalive(true);
    }
}

/// Make closing a connection a reset: what was owed did not arrive, and an orderly end would look like all of it.
pub fn reset_on_close(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// End a socket of which a forked child holds a duplicate.
pub fn shut_down(stream: &TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

/// Say that nothing more will be sent.
pub fn end_output(stream: &TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

/// Discard what has come in; say whether more than `unsent` bytes of ours have not arrived at the peer.
pub fn still_sending(stream: &mut TcpStream, unsent: i32) -> bool {
    let mut waste = [0; 16 * 1024];
    for _ in 0..1024 {
        match stream.read(&mut waste) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => return false,
        }
    }
    unacknowledged(stream) > unsent
}

/// How many bytes (and the end of the stream as one) the peer's system has not taken.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn unacknowledged(stream: &TcpStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the request writes one int to where it is told.
    let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if done == 0 { count } else { 0 }
}

/// Nobody knows.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn unacknowledged(_: &TcpStream) -> i32 {
    0
}
