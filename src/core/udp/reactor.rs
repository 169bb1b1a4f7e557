//! The loop of a UDP server, one turn at a time: send the replies, wait, receive.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::Socket;

use super::{Line, Options, Shared};
use crate::core::os::datagrams::{Arrival, BATCH, Inbox, Outgoing};

/// What a queued datagram costs the system at least; with it, bytes read tell when a whole queue has been.
const OVERHEAD: usize = 512;

/// A socket and an inbox: the whole of a UDP server but its handler.
pub struct Reactor {
    line: Line,
    inbox: Inbox,
    /// Once the end has begun: the bytes that may have been queued by then and are still to be read.
    left: Option<usize>,
    /// Whether the last batch emptied the queue, so that a receive without a wait before it would mostly find nothing.
    dry: bool,
}

impl Reactor {
    /// Takes over a bound socket; [`Reactor::echo`] puts `prefix` before what came.
    pub fn new(socket: Socket, options: Options, prefix: &[u8]) -> io::Result<Self> {
        let inbox = Inbox::new(options.max_datagram, prefix)?;
        Ok(Self { line: Line::new(socket, options)?, inbox, left: None, dry: false })
    }

    /// What other threads hold of it.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(self.line.shared())
    }

    /// Sends `replies` to the datagrams of the last turn, in their order, and waits for the next ones; false is the end.
    /// There are none where some of the replies were refused.
    pub fn turn<R: AsRef<[u8]>>(&mut self, replies: &[Option<R>]) -> bool {
        let out: Vec<_> = self
            .inbox
            .arrivals()
            .iter()
            .zip(replies)
            .filter_map(|(arrival, reply)| reply.as_ref().map(|reply| outgoing(arrival, reply.as_ref())))
            .collect();
        self.line.send(&out);
        if self.line.refused() {
            // Whoever made the replies hears of it now, and not when the next datagram comes.
            self.inbox.clear();
            return true;
        }
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
    #[must_use]
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
                self.inbox.clear();
                return false;
            }
            if self.dry && !ending {
                self.dry = false;
                self.line.wait(None);
                continue;
            }
            let weight = self.line.receive(&mut self.inbox);
            self.dry = self.inbox.arrivals().len() < BATCH;
            if ending {
                let Some(weight) = weight else { return false };
                // What was queued when the end began is answered; what keeps coming is not, or there would be no end.
                let left = self.left.unwrap_or_else(|| self.line.queue_limit());
                self.left = Some(left.saturating_sub(weight));
            }
            if !self.inbox.arrivals().is_empty() {
                return true;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);
    const OPTIONS: Options = Options { max_datagram: 2048, answer_low_ports: false, wildcard: false };

    fn bound() -> (Socket, SocketAddr) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        (socket.into(), address)
    }

    #[test]
    fn a_turn_answers_and_gives_the_next_batch() {
        let (socket, address) = bound();
        let mut reactor = Reactor::new(socket, OPTIONS, b"").unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client.set_read_timeout(Some(LIMIT)).unwrap();
        for number in 0..=BATCH {
            client.send_to(&[number as u8], address).unwrap();
        }
        assert!(reactor.turn::<&[u8]>(&[]));
        let batch: Vec<_> = reactor.batch().map(|(_, data)| data.to_vec()).collect();
        assert_eq!(batch, (0..BATCH).map(|number| vec![number as u8]).collect::<Vec<_>>());
        assert!(reactor.turn(&[None, Some(b"second")]));
        assert_eq!(reactor.batch().len(), 1);
        let mut reply = [0; 100];
        let length = client.recv(&mut reply).unwrap();
        assert_eq!(&reply[..length], b"second");
        reactor.shared().end(Some(Duration::ZERO));
        assert!(!reactor.turn(&[Some(b"last")]));
        let length = client.recv(&mut reply).unwrap();
        assert_eq!(&reply[..length], b"last");
        let counts = reactor.shared().counts();
        assert_eq!((counts.messages, counts.bytes_in, counts.bytes_out), (BATCH as u64 + 1, BATCH as u64 + 1, 10));
        assert_eq!((counts.drained, counts.aborted), (1, 0));
    }

    #[test]
    fn a_reply_too_long_is_told_at_once_and_the_others_leave() {
        let (socket, address) = bound();
        let mut reactor = Reactor::new(socket, OPTIONS, b"").unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for _ in 0..3 {
            client.send_to(b"?", address).unwrap();
        }
        assert!(reactor.turn::<&[u8]>(&[]));
        assert_eq!(reactor.batch().len(), 3);
        assert!(reactor.turn(&[Some(vec![1]), Some(vec![0; 65508]), Some(vec![3])]));
        assert_eq!(reactor.batch().len(), 0);
        assert_eq!(reactor.take_refused(), [(client.local_addr().unwrap(), 65508)]);
        let mut reply = [0; 10];
        for expected in [1, 3] {
            assert_eq!(client.recv(&mut reply).unwrap(), 1);
            assert_eq!(reply[0], expected);
        }
        assert_eq!(reactor.shared().counts().too_long, 1);
    }
}
