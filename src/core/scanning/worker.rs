//! One thread of a scan: connects, polls, reads banners, and reports to its `ScanEngine`.

use std::io::{self, Read};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{SockAddr, Socket};

use super::connections::Connections;
use super::engine::{ProbeOrder, ScanEngine};
use super::shared::Shared;
use super::{Addresses, Answer, Outcome, Plan, State};
use crate::core::os::errors::{
    ENETUNREACH, errno, is_address_missing, is_connected, is_route_missing, is_still_under_way, is_under_way,
};
use crate::core::os::{neighbours, streams, waiting};
use crate::core::time::Clock;

/// The poll token of the cancelling call.
pub(super) const WAKER: Token = Token(usize::MAX);
/// Added to the poll tokens of sockets that wait for a banner.
const BANNER: usize = 1 << (usize::BITS - 2);
/// Probes between two looks at what has come in, so that round trips are not measured late.
const BATCH: usize = 64;
const BANNER_SIZE: usize = 256;
/// A thread looks at least this often whether the scan was cancelled.
const SLICE: i64 = 50_000_000;
/// Answers in a row that came late before a second connect is no longer tried, and for how many probes.
const LATE: u32 = 8;
const REST: u32 = 256;

#[derive(Debug)]
struct Reading {
    stream: TcpStream,
    outcome: Outcome,
    banner: Vec<u8>,
    deadline: i64,
}

/// A thread's sockets.
#[derive(Debug)]
pub(super) struct Worker {
    engine: ScanEngine,
    addresses: Addresses,
    poll: Poll,
    clock: Clock,
    /// When the clock was last read: an answer that comes at once tells the time for the next probe too.
    time: i64,
    /// When the poll was last left: all that had come by then was seen.
    looked: i64,
    banner: i64,
    connections: Connections,
    reading: Slab<Reading>,
    found: Vec<Outcome>,
    /// A socket that was refused, to be used again, by IP version.
    spare: [Option<Socket>; 2],
    late: u32,
    rest: u32,
}

impl Worker {
    pub(super) fn new(engine: ScanEngine, addresses: Addresses, plan: &Plan, poll: Poll, clock: Clock) -> Self {
        Self {
            engine,
            addresses,
            poll,
            clock,
            time: 0,
            looked: 0,
            banner: plan.banner,
            connections: Connections::default(),
            reading: Slab::new(),
            found: Vec::new(),
            spare: [None, None],
            late: 0,
            rest: 0,
        }
    }

    /// Scan until everything is decided or the scan is cancelled.
    pub(super) fn run(mut self, shared: &Shared, thread: usize) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut expired = Vec::new();
        let mut how = Ok(());
        while how.is_ok() && !(shared.cancelled() || self.engine.finished() && self.reading.is_empty()) {
            for news in shared.hear(thread) {
                self.engine.learn(news);
            }
            how = self.turn(&mut events, &mut expired);
            shared.tell(thread, &self.engine.take_news());
            self.report(shared, thread);
        }
        // Open all the same, with as much of a banner as there was.
        for reading in std::mem::take(&mut self.reading) {
            self.finish_banner(reading.1);
        }
        self.report(shared, thread);
        how
    }

    fn report(&mut self, shared: &Shared, thread: usize) {
        self.found.extend(self.engine.take_outcomes());
        shared.publish(thread, std::mem::take(&mut self.found), self.engine.take_events(), self.engine.tally());
    }

    fn now(&mut self) -> i64 {
        self.time = self.clock.now() as i64;
        self.time
    }

    fn turn(&mut self, events: &mut Events, expired: &mut Vec<u64>) -> io::Result<()> {
        let mut sent = 0;
        self.now();
        while sent < BATCH
            && let Some(order) = self.engine.next(self.time)
        {
            self.send(order);
            sent += 1;
        }
        if sent == BATCH && self.connections.is_idle() && self.reading.is_empty() {
            // Every answer came at once: there is nothing to wait for, and only the timers of the answered to clear away.
            expired.clear();
            self.engine.expire(self.time, expired);
            self.look_up();
            return Ok(());
        }
        let now = self.now();
        self.found.extend(self.engine.take_outcomes());
        let busy = sent == BATCH || !self.found.is_empty() || self.engine.finished();
        let mut wake = if busy { now } else { now + SLICE };
        wake = self.engine.wakeup(now).map_or(wake, |time| time.min(wake));
        for (_, reading) in &self.reading {
            wake = wake.min(reading.deadline);
        }
        let mut wait = Duration::from_nanos((wake - now).max(0) as u64);
        let mut entered = now;
        loop {
            if waiting::select(&mut self.poll, events, Some(wait))? {
                break; // interrupted by a signal
            }
            // Where it waited, nothing had come before.
            let left = self.now();
            self.engine.looked = Some(self.looked + left - entered);
            self.looked = left;
            for event in events.iter() {
                self.ready(event);
            }
            // A full list may not have been all of it, and nothing that is in may be taken for silence.
            if events.iter().count() < 1024 {
                break;
            }
            wait = Duration::ZERO;
            entered = self.now();
        }
        self.engine.looked = None;
        expired.clear();
        self.engine.expire(now, expired);
        for &token in expired.iter() {
            self.connections.give_up(token);
        }
        self.look_up();
        let over: Vec<usize> =
            self.reading.iter().filter(|(_, reading)| reading.deadline <= now).map(|(key, _)| key).collect();
        for key in over {
            let reading = self.reading.remove(key);
            self.finish_banner(reading);
        }
        Ok(())
    }

    /// Tell the machine whether somebody answers for the hosts of which it is in doubt.
    fn look_up(&mut self) {
        let doubtful = self.engine.take_doubtful();
        if doubtful.is_empty() {
            return;
        }
        let table = neighbours::known();
        for number in doubtful {
            let address = self.addresses.get(number, 0).ip();
            let now = self.now();
            self.engine.neighbour(number, table.get(&address).copied(), now);
        }
    }

    fn answer(&mut self, order: ProbeOrder, answer: Answer) {
        let now = self.now();
        self.engine.answer(order.token, answer, now);
    }

    fn send(&mut self, order: ProbeOrder) {
        let address = self.addresses.get(order.host, order.port);
        match self.connect(order, address) {
            Ok(()) => {}
            // What connect() itself returns is this machine's own fault, but for systems that refuse at once.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.answer(order, Answer::Refused),
            Err(error) => self.answer(order, local_fault(&error, address)),
        }
    }

    fn connect(&mut self, order: ProbeOrder, address: SocketAddr) -> io::Result<()> {
        let family = usize::from(address.is_ipv6());
        if self.spare[family].is_none()
            && let Some(key) = self.connections.again(address)?
        {
            match self.told_at_once(|worker| worker.connections.ask(key)) {
                None => self.under_way(key, order),
                Some(Answer::SynAck) => self.taken(key, order),
                Some(answer) => {
                    self.connections.rest(key, answer == Answer::Refused);
                    self.answer(order, answer);
                }
            }
            return Ok(());
        }
        let socket = match self.spare[family].take() {
            Some(socket) => socket,
            None => streams::connecting(address)?,
        };
        let target = SockAddr::from(address);
        match socket.connect(&target) {
            Ok(()) => {
                self.connected(order, TcpStream::from_std(socket.into()));
                return Ok(());
            }
            Err(error) if is_under_way(&error) => {}
            Err(error) => return Err(error),
        }
        match self.told_at_once(|_| socket.connect(&target)) {
            None => {
                let stream = TcpStream::from_std(socket.into());
                let key = self.connections.watch(self.poll.registry(), address, stream)?;
                self.under_way(key, order);
            }
            Some(Answer::SynAck) => self.connected(order, TcpStream::from_std(socket.into())),
            Some(answer) => {
                self.answer(order, answer);
                if answer == Answer::Refused {
                    self.spare[family] = Some(socket);
                }
            }
        }
        Ok(())
    }

    fn under_way(&mut self, key: usize, order: ProbeOrder) {
        self.connections.assign(key, order);
        self.now();
    }

    fn taken(&mut self, key: usize, order: ProbeOrder) {
        let stream = self.connections.take(self.poll.registry(), key);
        self.connected(order, stream);
    }

    /// What a second `connect()` says, where that is worth trying; None where the first one is still under way.
    ///
    /// On Linux it fetches the first one's verdict, and a refused socket can connect again: two system calls per closed
    /// port, where the answer is that quick.
    fn told_at_once(&mut self, connect: impl FnOnce(&Self) -> io::Result<()>) -> Option<Answer> {
        if !self.asks_twice() {
            return None;
        }
        match connect(self) {
            Err(error) if is_still_under_way(&error) => {
                self.came_late();
                return None;
            }
            Err(error) if !is_connected(&error) => {
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    self.late = 0;
                }
                return Some(Answer::of(&error));
            }
            Ok(()) | Err(_) => {}
        }
        self.late = 0;
        Some(Answer::SynAck)
    }

    /// Whether a second `connect()` is worth trying: given up for a while where answers keep coming late.
    fn asks_twice(&mut self) -> bool {
        self.rest = self.rest.saturating_sub(1);
        cfg!(target_os = "linux") && self.rest == 0
    }

    fn came_late(&mut self) {
        self.late += 1;
        if self.late >= LATE {
            self.late = LATE - 1;
            self.rest = REST;
        }
    }

    fn ready(&mut self, event: &Event) {
        let Token(number) = event.token();
        if event.token() == WAKER {
            return;
        }
        if number >= BANNER {
            self.read_banner(number - BANNER);
            return;
        }
        let Some(order) = self.connections.order(number) else { return }; // at rest
        match self.connections.verdict(number) {
            Ok(false) => {} // a stray event: still under way
            Ok(true) => self.taken(number, order),
            Err(error) => {
                if error.kind() == io::ErrorKind::ConnectionRefused {
                    self.connections.refused(number);
                } else {
                    self.connections.rest(number, false);
                }
                self.answer(order, Answer::of(&error));
            }
        }
    }

    fn connected(&mut self, order: ProbeOrder, mut stream: TcpStream) {
        let now = self.now();
        // A probe whose own source port is the target meets itself: TCP's simultaneous open (RFC 9293, 3.5).
        let itself = match (stream.local_addr(), stream.peer_addr()) {
            (Ok(mine), Ok(theirs)) => mine == theirs,
            _ => false, // reset since: it did answer
        };
        self.found.extend(self.engine.take_outcomes());
        self.engine.answer(order.token, if itself { Answer::SelfConnect } else { Answer::SynAck }, now);
        let mut outcomes = self.engine.take_outcomes();
        let its_own = outcomes.iter().position(|outcome| {
            outcome.state == State::Open && (outcome.host, outcome.port) == (order.host, order.port)
        });
        if let Some(place) = its_own
            && self.banner > 0
        {
            let entry = self.reading.vacant_entry();
            let token = Token(BANNER + entry.key());
            if self.poll.registry().register(&mut stream, token, Interest::READABLE).is_ok() {
                let outcome = outcomes.swap_remove(place);
                entry.insert(Reading { stream, outcome, banner: Vec::new(), deadline: now + self.banner });
                self.engine.reserved += 1;
            }
        }
        self.found.extend(outcomes);
    }

    fn read_banner(&mut self, key: usize) {
        let Some(reading) = self.reading.get_mut(key) else { return };
        let mut buffer = [0; BANNER_SIZE];
        loop {
            let room = BANNER_SIZE - reading.banner.len();
            match reading.stream.read(&mut buffer[..room]) {
                Ok(0) => break,
                Ok(count) => {
                    reading.banner.extend_from_slice(&buffer[..count]);
                    if reading.banner.ends_with(b"\n") || reading.banner.len() == BANNER_SIZE {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let reading = self.reading.remove(key);
        self.finish_banner(reading);
    }

    fn finish_banner(&mut self, reading: Reading) {
        self.engine.reserved -= 1;
        let banner = (!reading.banner.is_empty()).then_some(reading.banner);
        self.found.push(Outcome { banner, ..reading.outcome });
    }
}

/// What the machine is to be told of an error of `connect()` itself; where TCP is unclear, UDP tells.
fn local_fault(error: &io::Error, address: SocketAddr) -> Answer {
    let code = errno(error);
    if !(is_address_missing(error) || is_route_missing(error)) {
        return Answer::Local(code);
    }
    let datagrams = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" });
    match datagrams.and_then(|socket| socket.connect(address)) {
        // No address of that family, rather than no free source port.
        Err(same) if is_address_missing(error) && is_address_missing(&same) => Answer::Lasting(code),
        _ if is_address_missing(error) => Answer::Local(code),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Answer::Broadcast,
        Ok(()) => Answer::Multicast,
        Err(_) => Answer::Local(ENETUNREACH),
    }
}
