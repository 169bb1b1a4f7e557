//! Waiting for one socket and a bell that other threads ring.

use std::io;
use std::thread;
use std::time::Duration;

use socket2::Socket;

use super::errors::out_of_buffers;
use super::handles::Owned;
use super::waiting::{FAILED, Polled, READABLE, WRITABLE, wait_for, watch};
use wire::Wire;

/// How often a bell is rung where the system has no memory for that, and after which time again.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(1);

/// What the waiting thread hears; a wait that hears it makes it silent again.
pub struct Bell(Wire);

/// What rings a [`Bell`], from any thread.
pub struct Rope(Wire);

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// The socket has an error to tell.
    pub failed: bool,
    /// It ended because there is something, not because the time was over.
    pub found: bool,
}

impl Bell {
    /// Hangs a bell.
    pub fn new() -> io::Result<(Self, Rope)> {
        let (bell, rope) = wire::pair()?;
        Ok((Self(bell), Rope(rope)))
    }

    fn hush(&self) {
        while wire::hush(&self.0) {}
    }
}

/// What rings and is rung by; sockets, for they can be waited for together with others.
#[cfg(unix)]
mod wire {
    use std::io::{self, Read, Write};
    pub use std::os::unix::net::UnixStream as Wire;

    pub fn pair() -> io::Result<(Wire, Wire)> {
        let (bell, rope) = Wire::pair()?;
        bell.set_nonblocking(true)?;
        rope.set_nonblocking(true)?;
        Ok((bell, rope))
    }

    pub fn ring(mut wire: &Wire) -> io::Result<usize> {
        wire.write(b"!")
    }

    /// Whether there may be more rings.
    pub fn hush(mut wire: &Wire) -> bool {
        matches!(wire.read(&mut [0; 64]), Ok(count) if count > 0)
    }
}

/// There are no pairs of sockets: one of UDP that speaks to itself, and hears nobody else.
#[cfg(windows)]
mod wire {
    use std::io;
    use std::net::Ipv4Addr;
    pub use std::net::UdpSocket as Wire;

    pub fn pair() -> io::Result<(Wire, Wire)> {
        let bell = Wire::bind((Ipv4Addr::LOCALHOST, 0))?;
        bell.connect(bell.local_addr()?)?;
        bell.set_nonblocking(true)?;
        let rope = bell.try_clone()?;
        Ok((bell, rope))
    }

    pub fn ring(wire: &Wire) -> io::Result<usize> {
        wire.send(b"!")
    }

    /// Whether there may be more rings.
    pub fn hush(wire: &Wire) -> bool {
        wire.recv(&mut [0; 64]).is_ok()
    }
}

impl From<Owned> for Rope {
    /// One end of a pair of sockets that does not block.
    fn from(descriptor: Owned) -> Self {
        Self(descriptor.into())
    }
}

impl Rope {
    /// Rings.
    pub fn pull(&self) {
        for _ in 0..TRIES {
            match wire::ring(&self.0) {
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
    let mut watched: [Polled; 2] = [
        watch(bell.map(|bell| &bell.0), READABLE),
        watch(
            socket.map(|(socket, _)| socket),
            if socket.is_some_and(|(_, writable)| writable) { WRITABLE } else { READABLE },
        ),
    ];
    let found = wait_for(&mut watched, limit)?;
    if let Some(bell) = bell
        && watched[0].revents != 0
    {
        bell.hush();
    }
    Ok(Waited { failed: watched[1].revents & FAILED != 0, found })
}
