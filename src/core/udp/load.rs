//! Load for a UDP server: so many datagrams, so many at a time, and every answer checked.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::wait::wait;
use super::{BATCH, Inbox, Outgoing, system};

/// How many such silences in a row end the load.
const SILENCES: u32 = 10;
const RECEIVE_BUFFER: usize = 4 << 20;
/// The bytes of a payload that number it.
pub const NUMBER: usize = 8;

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// Datagrams in all.
    pub amount: u64,
    /// Datagrams under way at a time.
    pub window: usize,
    /// Bytes of each, at least [`NUMBER`].
    pub size: usize,
    /// How long nothing may be heard before what is under way counts as lost.
    pub patience: Duration,
    /// What must come before each in its answer.
    pub prefix: Vec<u8>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Result {
    /// Datagrams that left.
    pub sent: u64,
    /// Those that were answered rightly.
    pub answered: u64,
    /// Answers that were none, or came twice.
    pub wrong: u64,
}

/// Load under way.
pub struct Load {
    plan: Plan,
    socket: Socket,
    inbox: Inbox,
    payloads: Vec<u8>,
    in_flight: usize,
    seen: Vec<u64>,
    heard: Instant,
    silences: u32,
    result: Result,
}

impl Load {
    /// Opens the socket; nothing is sent yet.
    pub fn new(plan: Plan) -> io::Result<Self> {
        let (domain, any): (_, SocketAddr) = match plan.target {
            SocketAddr::V4(_) => (Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into()),
            SocketAddr::V6(_) => (Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into()),
        };
        let socket = Socket::new(domain, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&SockAddr::from(any))?;
        system::prepare(&socket, false)?;
        let payloads = (0..plan.size * BATCH).map(|i| (i % plan.size) as u8).collect();
        let seen = vec![0; (plan.amount as usize).div_ceil(64)];
        Ok(Self {
            inbox: Inbox::new(plan.size + plan.prefix.len() + 1, b""),
            plan,
            socket,
            payloads,
            in_flight: 0,
            seen,
            heard: Instant::now(),
            silences: 0,
            result: Result::default(),
        })
    }

    /// Goes on for about `slice`; false is the end.
    pub fn step(&mut self, slice: Duration) -> io::Result<bool> {
        let start = Instant::now();
        while start.elapsed() < slice {
            self.send()?;
            if self.in_flight == 0 && self.result.sent == self.plan.amount {
                return Ok(false);
            }
            self.inbox.arrivals.clear();
            match system::receive(&self.socket, &mut self.inbox) {
                Ok(()) => self.check(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait(slice)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    system::reap(&self.socket);
                    return Err(error);
                }
            }
            if self.silences == SILENCES {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What came of it so far.
    #[must_use]
    pub fn result(&self) -> Result {
        self.result
    }

    fn send(&mut self) -> io::Result<()> {
        let Plan { target: peer, amount, window, size, .. } = self.plan;
        while self.in_flight < window && self.result.sent < amount {
            let left = (amount - self.result.sent).min((window - self.in_flight).min(BATCH) as u64) as usize;
            for (number, payload) in (self.result.sent..).zip(self.payloads.chunks_exact_mut(size).take(left)) {
                payload[..NUMBER].copy_from_slice(&number.to_le_bytes());
            }
            let out: Vec<_> =
                self.payloads.chunks_exact(size).take(left).map(|data| Outgoing { peer, local: None, data }).collect();
            match system::send(&self.socket, &out) {
                Ok(sent) => {
                    self.in_flight += sent;
                    self.result.sent += sent as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn check(&mut self) {
        let Plan { target, size, ref prefix, .. } = self.plan;
        self.heard = Instant::now();
        self.silences = 0;
        for arrival in self.inbox.arrivals() {
            let data = self.inbox.data(arrival);
            let payload = data.strip_prefix(prefix.as_slice()).filter(|payload| payload.len() == size);
            let number = payload
                .filter(|payload| arrival.peer == target && payload[NUMBER..] == self.payloads[NUMBER..size])
                .and_then(|payload| payload.first_chunk())
                .map(|number| u64::from_le_bytes(*number))
                .filter(|number| *number < self.result.sent);
            let fresh = number.is_some_and(|number| {
                let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
                let fresh = self.seen[word] & bit == 0;
                self.seen[word] |= bit;
                fresh
            });
            let counter = if fresh { &mut self.result.answered } else { &mut self.result.wrong };
            *counter += 1;
            // One that was given up may still come.
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    fn wait(&mut self, limit: Duration) -> io::Result<()> {
        wait(Some((&self.socket, false)), None, Some(limit.min(self.plan.patience)))?;
        if self.heard.elapsed() >= self.plan.patience {
            self.in_flight = 0;
            self.heard = Instant::now();
            self.silences += 1;
        }
        Ok(())
    }
}
