//! The system calls of a TCP server that the standard library and mio do not offer safely.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, SockRef, Socket, Type};

/// A descriptor to have in reserve, if there is one to be had.
#[must_use]
pub fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// A socket to connect to this address with, without waiting.
pub fn connecting(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
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

/// Discard some of what has come in; say whether more than `unsent` bytes of ours have not arrived at the peer.
pub fn still_sending(stream: &mut TcpStream, unsent: i32) -> bool {
    let mut waste = [0; 16 * 1024];
    // The peer may send for as long as it likes, but not on our time.
    for _ in 0..4 {
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
