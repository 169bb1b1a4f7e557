//! The loop of a UDP server, one turn at a time: send the replies, wait, receive.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::Socket;

use super::{Arrival, Inbox, Line, Options, Outgoing, Shared};

/// What a queued datagram costs the system at least; with it, bytes read tell when a whole queue has been.
const OVERHEAD: usize = 512;

/// A socket and an inbox: the whole of a UDP server but its handler.
pub struct Turner {
    line: Line,
    inbox: Inbox,
    /// Once the end has begun: the bytes that may have been queued by then and are still to be read.
    left: Option<usize>,
}

impl Turner {
    /// Takes over a bound socket; [`Turner::echo`] puts `prefix` before what came.
    pub fn new(socket: Socket, options: Options, prefix: &[u8]) -> io::Result<Self> {
        let inbox = Inbox::new(options.max_datagram, prefix);
        Ok(Self { line: Line::new(socket, options)?, inbox, left: None })
    }

    /// What other threads hold of it.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(self.line.shared())
    }

    /// Sends `replies` to the datagrams of the last turn, in their order, and waits for the next ones; false is the end.
    pub fn turn<R: AsRef<[u8]>>(&mut self, replies: &[Option<R>]) -> bool {
        let out: Vec<_> = self
            .inbox
            .arrivals()
            .iter()
            .zip(replies)
            .filter_map(|(arrival, reply)| reply.as_ref().map(|reply| outgoing(arrival, reply.as_ref())))
            .collect();
        self.line.send(&out);
        self.receive()
    }

    /// A turn that sends every datagram of the last one back, after the prefix.
    pub fn echo(&mut self) -> bool {
        let inbox = &self.inbox;
        let out: Vec<_> = inbox.arrivals().iter().map(|arrival| outgoing(arrival, inbox.prefixed(arrival))).collect();
        self.line.send(&out);
        self.receive()
    }

    /// The datagrams of this turn, each with its bytes.
    pub fn batch(&self) -> impl ExactSizeIterator<Item = (&Arrival, &[u8])> {
        self.inbox.arrivals().iter().map(|arrival| (arrival, self.inbox.data(arrival)))
    }

    /// The replies of this turn that no datagram can hold: to whom, and how long.
    pub fn take_refused(&mut self) -> Vec<(SocketAddr, usize)> {
        self.line.take_refused()
    }

    fn receive(&mut self) -> bool {
        loop {
            let ending = self.line.shared().ending();
            if ending && (self.line.shared().expired() || self.left == Some(0)) {
                self.inbox.arrivals.clear();
                return false;
            }
            let weight = self.line.receive(&mut self.inbox);
            if ending {
                let Some(weight) = weight else { return false };
                // What was queued when the end began is answered; what keeps coming is not, or there would be no end.
                let left = self.left.unwrap_or_else(|| self.line.queue_limit());
                self.left = Some(left.saturating_sub(weight));
            }
            if !self.inbox.arrivals().is_empty() {
                return true;
            }
            if weight.is_none() {
                self.line.wait(None);
            }
        }
    }
}

fn outgoing<'a>(arrival: &Arrival, data: &'a [u8]) -> Outgoing<'a> {
    Outgoing { peer: arrival.peer, local: arrival.local, data }
}

/// What a batch took from the system's queue, in bytes.
pub(super) fn weight(arrivals: &[Arrival]) -> usize {
    arrivals.iter().map(|arrival| arrival.len + OVERHEAD).sum::<usize>().max(OVERHEAD)
}
