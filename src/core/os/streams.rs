//! The system calls of a TCP server that the standard library and mio do not offer safely.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
#[cfg(windows)]
use quick::give_up_when_refused;
use socket2::{Domain, SockRef, Socket, Type};

/// What takes a descriptor, to have one in reserve.
#[cfg(unix)]
pub type Spare = std::fs::File;
/// What takes a handle of a socket, to have one in reserve.
#[cfg(windows)]
pub type Spare = Socket;

/// A descriptor to have in reserve, if there is one to be had.
#[cfg(unix)]
#[must_use]
pub fn spare() -> Option<Spare> {
    Spare::open("/dev/null").ok()
}

/// A handle of a socket to have in reserve, if there is one to be had.
#[cfg(windows)]
#[must_use]
pub fn spare() -> Option<Spare> {
    Socket::new(Domain::IPV4, Type::STREAM, None).ok()
}

/// A socket to connect to this address with, without waiting.
pub fn connecting(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    #[cfg(windows)]
    give_up_when_refused(&socket);
    Ok(socket)
}

/// Windows asks again, twice and half a second apart, where a port has refused; a scan asks again by itself.
#[cfg(windows)]
mod quick {
    use std::ptr::{from_ref, null_mut};

    use socket2::Socket;
    use windows_sys::Win32::Networking::WinSock::{
        SIO_TCP_INITIAL_RTO, TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS, TCP_INITIAL_RTO_PARAMETERS, WSAIoctl,
    };

    use crate::core::os::handles::number;

    /// Have the first refusal tell. Systems before Windows 10 do not know the request, and are as slow as before.
    pub fn give_up_when_refused(socket: &Socket) {
        let wish = TCP_INITIAL_RTO_PARAMETERS {
            // As it is (TCP_INITIAL_RTO_UNSPECIFIED_RTT).
            Rtt: u16::MAX,
            // The field has the lower half of the constant.
            MaxSynRetransmissions: TCP_INITIAL_RTO_NO_SYN_RETRANSMISSIONS as u8,
        };
        let mut unused = 0;
        // SAFETY: the request reads a live structure of the size that it is told, and writes a live number.
        unsafe {
            WSAIoctl(
                number(socket),
                SIO_TCP_INITIAL_RTO,
                from_ref(&wish).cast(),
                size_of::<TCP_INITIAL_RTO_PARAMETERS>() as u32,
                null_mut(),
                0,
                &raw mut unused,
                null_mut(),
                None,
            )
        };
    }
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

/// How many bytes (and the end of the stream as one, which the system does not count) the peer's system has not taken.
#[cfg(any(target_os = "macos", target_os = "ios"))]
fn unacknowledged(stream: &TcpStream) -> i32 {
    use std::os::fd::AsRawFd;
    let (mut count, mut size): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    let (level, option) = (libc::SOL_SOCKET, libc::SO_NWRITE);
    // SAFETY: the descriptor is open, and the option writes one int to where it is told, and its size.
    let done = unsafe { libc::getsockopt(stream.as_raw_fd(), level, option, (&raw mut count).cast(), &raw mut size) };
    if done == 0 && count > 0 { count.saturating_add(1) } else { 0 }
}

/// How many bytes (and the end of the stream as one, which the system does not count) the peer's system has not taken.
#[cfg(target_os = "freebsd")]
fn unacknowledged(stream: &TcpStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the request writes one int to where it is told.
    let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::FIONWRITE, &raw mut count) };
    if done == 0 && count > 0 { count.saturating_add(1) } else { 0 }
}

/// Nobody knows: all of it, so that a socket lingers until the peer ends too, or its time is over.
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd"
)))]
fn unacknowledged(_: &TcpStream) -> i32 {
    i32::MAX
}
