//! Waiting for one socket and a bell that other threads ring.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::errors::out_of_buffers;
use super::waiting::wait_for;

/// How often a bell is rung where the system has no memory for that, and after which time again.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// What the waiting thread hears; a wait that hears it makes it silent again.
pub struct Bell(UnixStream);

/// What rings a [`Bell`], from any thread.
pub struct Rope(UnixStream);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// The socket has an error to tell.
    pub failed: bool,
}

impl Bell {
    /// Hangs a bell.
    pub fn new() -> io::Result<(Self, Rope)> {
        let (bell, rope) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rope.set_nonblocking(true)?;
        Ok((Self(bell), Rope(rope)))
    }

    fn hush(&self) {
        let mut rings = [0; 64];
        while matches!((&self.0).read(&mut rings), Ok(count) if count > 0) {}
    }
}

impl Rope {
    /// Rings.
    pub fn pull(&self) {
        for _ in 0..TRIES {
            match (&self.0).write(b"!") {
                // The system has no memory for it, at the moment.
                Err(error) if out_of_buffers(&error) => thread::sleep(PAUSE),
                // Else it fails only where there is no room for another ring, and then it rings already.
                _ => return,
            }
        }
    }
}

/// Waits until the socket is readable (or, with true, writable), the bell rings, or `limit` is over; None is no limit.
pub fn wait(socket: Option<(&Socket, bool)>, bell: Option<&Bell>, limit: Option<Duration>) -> io::Result<Waited> {
    // Negative descriptors are passed over.
    let mut watched = [
        libc::pollfd { fd: bell.map_or(-1, |bell| bell.0.as_raw_fd()), events: libc::POLLIN, revents: 0 },
        libc::pollfd { fd: -1, events: 0, revents: 0 },
    ];
    if let Some((socket, writable)) = socket {
        watched[1].fd = socket.as_raw_fd();
        watched[1].events = if writable { libc::POLLOUT } else { libc::POLLIN };
    }
    wait_for(&mut watched, limit)?;
    if let Some(bell) = bell
        && watched[0].revents != 0
    {
        bell.hush();
    }
    Ok(Waited { failed: watched[1].revents & libc::POLLERR != 0 })
}
