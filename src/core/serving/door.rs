//! The listener of a server, and what it takes to survive without descriptors.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};

use super::reactor::LISTENER;
use crate::core::os::errors::{newcomer_gone, out_of_descriptors};
use crate::core::os::inherited::Claim;
use crate::core::os::streams::{Spare, spare};

/// The pause before accepting again when there is no descriptor even to turn people away.
const BACK_OFF: u64 = 50_000_000;

/// Who was at the door.
pub(super) enum Knock {
    /// A newcomer.
    Newcomer(TcpStream, SocketAddr),
    /// Somebody who was turned away with the spare descriptor.
    Shed,
    /// Nobody, or nobody any more.
    Nobody,
}

/// The listener.
pub(super) struct Door {
    // Dropped before what it is about.
    _claim: Claim,
    listener: TcpListener,
    spare: Option<Spare>,
    // Somebody may be waiting.
    ready: bool,
    // Not before this time.
    again: u64,
}

impl Door {
    pub(super) fn new(listener: StdListener, claim: Claim, registry: &Registry) -> io::Result<Self> {
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { _claim: claim, listener, spare: spare(), ready: true, again: 0 })
    }

    /// The system says that somebody is waiting.
    pub(super) fn knocked(&mut self) {
        self.ready = true;
    }

    /// When to accept, if somebody may be waiting; the past is at once.
    pub(super) fn due(&self) -> Option<u64> {
        self.ready.then_some(self.again)
    }

    /// Accept whoever is first, once `due`.
    pub(super) fn accept(&mut self, now: u64) -> Knock {
        match self.listener.accept() {
            Ok((stream, peer)) => Knock::Newcomer(stream, peer),
            Err(error) => self.failed(&error, now),
        }
    }

    fn failed(&mut self, error: &io::Error, now: u64) -> Knock {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.ready = false;
        } else if !newcomer_gone(error) {
            if out_of_descriptors(error)
                && let Some(knock) = self.turn_away()
            {
                return knock;
            }
            self.again = now + BACK_OFF;
        }
        Knock::Nobody
    }

    /// Turn one newcomer away with the spare descriptor; `None` if not even that is possible.
    fn turn_away(&mut self) -> Option<Knock> {
        // What is dropped here is the spare, so that there is a descriptor for the newcomer.
        drop(self.spare.take().or_else(spare)?);
        // The newcomer's descriptor is closed here already, so that the spare can be had again.
        let knock = match self.listener.accept().map(drop) {
            Ok(()) => Some(Knock::Shed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.ready = false;
                Some(Knock::Nobody)
            }
            Err(error) => newcomer_gone(&error).then_some(Knock::Nobody),
        };
        self.spare = spare();
        knock
    }
}
