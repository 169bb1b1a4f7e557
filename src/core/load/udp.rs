//! Load for a UDP server: numbered datagrams from many sockets, each answered, wrong, late, twice, or lost.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{BATCH, Inbox, Outgoing, system};
use crate::core::errors::Result;
use crate::core::load::ledger::Verdict;
use crate::core::load::wait::{Punctual, wait_for};
use crate::core::load::{Datagrams, Fault, Ledger, Progress, Schedule, Tally, Until};
use crate::core::net::{errno, is_transient};

const RECEIVE_BUFFER: usize = 4 << 20;
/// Lost datagrams are looked for so often, in nanoseconds.
const SWEEP: u64 = 5_000_000;
/// So many messages are dealt before the sockets are looked after again.
const DEAL: usize = 16 * 1024;

/// What to do.
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// How many sockets send.
    pub sockets: usize,
    /// How many datagrams each may have under way.
    pub depth: u64,
    /// What to send.
    pub datagrams: Datagrams,
    /// Datagrams in 1,000 seconds, all sockets together; None is a closed loop.
    pub rate: Option<u64>,
    /// When to stop.
    pub until: Until,
    /// How long an answer may take before the datagram counts as lost.
    pub timeout: Duration,
}

struct Line {
    socket: Socket,
    ledger: Ledger,
    dead: bool,
    /// The system had no room for the next datagram.
    blocked: bool,
    dirty: bool,
}

/// A load under way.
pub struct UdpLoad {
    plan: Plan,
    lines: Vec<Line>,
    watched: Vec<libc::pollfd>,
    /// The lines from which something may be received, and those that may have something to send.
    ready: Vec<usize>,
    dirty: Vec<usize>,
    inbox: Inbox,
    payloads: Vec<u8>,
    schedule: Schedule,
    tally: Tally,
    began: Instant,
    swept: u64,
    last_answer: u64,
    over: Option<u64>,
}

impl UdpLoad {
    /// Open the sockets; nothing is sent yet.
    pub fn new(plan: Plan) -> Result<Self> {
        let mut tally = Tally::new()?;
        let mut lines = Vec::with_capacity(plan.sockets);
        for _ in 0..plan.sockets {
            match open(plan.target) {
                Ok(socket) => {
                    lines.push(Line { socket, ledger: Ledger::default(), dead: false, blocked: false, dirty: true });
                }
                Err(error) if is_transient(errno(&error)) => tally.lacked(errno(&error)),
                Err(error) => return Err(error.into()),
            }
        }
        let watch = |line: &Line| libc::pollfd { fd: line.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        Ok(Self {
            watched: lines.iter().map(watch).collect(),
            ready: Vec::new(),
            dirty: (0..lines.len()).collect(),
            inbox: Inbox::new(plan.datagrams.answer_size() + 1, b""),
            payloads: vec![0; plan.datagrams.size() * BATCH],
            schedule: Schedule::new(plan.rate, plan.until, lines.len()),
            lines,
            tally,
            began: Instant::now(),
            swept: 0,
            last_answer: 0,
            over: None,
            plan,
        })
    }

    /// Go on for about `slice`, or until a signal comes; false is the end.
    pub fn step(&mut self, slice: Duration) -> Result<bool> {
        let _punctual = self.plan.rate.map(|_| Punctual::now());
        let end = self.now() + slice.as_nanos() as u64;
        loop {
            let now = self.now();
            if self.over.is_some() {
                return Ok(false);
            }
            if now >= end {
                return Ok(true);
            }
            self.deal(now);
            self.send_all();
            self.schedule.close(now);
            if now.saturating_sub(self.swept) >= SWEEP {
                self.sweep(now);
            }
            if self.finished(now) {
                self.over = Some(now);
            } else if self.ready.is_empty() {
                self.wait(end)?;
            }
            self.receive_all();
        }
    }

    /// What came of it so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let now = self.over.unwrap_or_else(|| self.now());
        let sending = match self.plan.until {
            Until::Time(end) => now.min(end),
            Until::Messages(_) => now,
        };
        let elapsed = match self.plan.until {
            _ if self.over.is_none() => now,
            Until::Time(_) => self.last_answer.max(sending),
            Until::Messages(_) => self.last_answer.max(1),
        };
        Progress {
            begun: true,
            opened: self.lines.len(),
            alive: self.lines.iter().filter(|line| !line.dead).count(),
            pending: self.lines.iter().map(|line| line.ledger.in_flight()).sum(),
            unsent: self.schedule.unsent(),
            sending: Duration::from_nanos(sending),
            elapsed: Duration::from_nanos(elapsed),
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn deal(&mut self, now: u64) {
        for _ in 0..DEAL {
            let Some((lane, due)) = self.schedule.deal(now) else { break };
            self.tally.lag.record(now - due, 1);
            self.mark(lane);
        }
    }

    /// Note that a line may have something to send.
    fn mark(&mut self, key: usize) {
        if !self.lines[key].dirty {
            self.lines[key].dirty = true;
            self.dirty.push(key);
        }
    }

    fn send_all(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            self.lines[key].dirty = false;
            self.send(key);
        }
        self.dirty = dirty;
    }

    fn send(&mut self, key: usize) {
        let size = self.plan.datagrams.size();
        loop {
            let now = self.now();
            let line = &mut self.lines[key];
            let room = self.plan.depth.saturating_sub(line.ledger.in_flight());
            let count = room.min(self.schedule.ready(key, now)).min(BATCH as u64) as usize;
            if count == 0 || line.dead || line.blocked {
                return;
            }
            for (number, payload) in (line.ledger.next()..).zip(self.payloads.chunks_exact_mut(size).take(count)) {
                self.plan.datagrams.write(key, number, payload);
            }
            let peer = self.plan.target;
            let out: Vec<_> =
                self.payloads.chunks_exact(size).take(count).map(|data| Outgoing { peer, local: None, data }).collect();
            match system::send(&line.socket, &out) {
                Ok(sent) => {
                    for _ in 0..sent {
                        let since = self.schedule.begin(key, now);
                        line.ledger.sent(since, now);
                    }
                    self.tally.sent += sent as u64;
                    self.tally.bytes_sent += (sent * size) as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    line.blocked = true;
                    self.watched[key].events |= libc::POLLOUT;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.failed(key, &error),
            }
        }
    }

    fn receive_all(&mut self) {
        // Where there is but one, it is asked until it has nothing; of several, waiting tells who has more.
        let alone = self.lines.len() == 1;
        let mut ready = std::mem::take(&mut self.ready);
        ready.retain(|key| self.receive(*key) && alone);
        self.ready = ready;
    }

    /// Take a batch; false where nothing is left.
    fn receive(&mut self, key: usize) -> bool {
        self.inbox.arrivals.clear();
        match system::receive(&self.lines[key].socket, &mut self.inbox) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) => {
                self.failed(key, &error);
                return false;
            }
        }
        let now = self.now();
        let Self { plan, inbox, tally, lines, .. } = self;
        for arrival in inbox.arrivals() {
            let data = inbox.data(arrival);
            tally.bytes_received += data.len() as u64;
            let number = plan.datagrams.read(key, data).filter(|_| same(arrival.peer, plan.target));
            match number.map_or(Verdict::Unknown, |number| lines[key].ledger.answer(number)) {
                Verdict::Answered(since) => {
                    tally.answered += 1;
                    tally.latency.record(now.saturating_sub(since), 1);
                }
                Verdict::Late => tally.late += 1,
                Verdict::Duplicate => tally.duplicates += 1,
                Verdict::Unknown => tally.wrong += 1,
            }
        }
        self.last_answer = now;
        self.mark(key);
        true
    }

    /// Give up what was not answered in time, and try again where the system had no room.
    fn sweep(&mut self, now: u64) {
        self.swept = now;
        let timeout = self.plan.timeout.as_nanos() as u64;
        for key in 0..self.lines.len() {
            let line = &mut self.lines[key];
            self.tally.lost += line.ledger.expire(now, timeout);
            self.mark(key);
        }
    }

    fn finished(&self, now: u64) -> bool {
        let idle = |(key, line): (usize, &Line)| {
            line.dead || (line.ledger.in_flight() == 0 && self.schedule.ready(key, now) == 0)
        };
        self.lines.iter().all(|line| line.dead) || (self.schedule.over(now) && self.lines.iter().enumerate().all(idle))
    }

    fn wait(&mut self, end: u64) -> Result<()> {
        let now = self.now();
        let next = self.schedule.next_due().map_or(u64::MAX, |due| due.saturating_sub(now));
        let limit = next.min(SWEEP).min(end.saturating_sub(now));
        wait_for(&mut self.watched, Duration::from_nanos(limit))?;
        for key in 0..self.lines.len() {
            let found = self.watched[key].revents;
            if found & libc::POLLOUT != 0 {
                self.lines[key].blocked = false;
                self.watched[key].events &= !libc::POLLOUT;
                self.mark(key);
            }
            // An error is told by receiving, too.
            if found & (libc::POLLIN | libc::POLLERR) != 0 {
                self.ready.push(key);
            }
        }
        Ok(())
    }

    /// Sending or receiving failed: by the network's word, or for a fault of this machine.
    fn failed(&mut self, key: usize, error: &io::Error) {
        let code = errno(error);
        if is_transient(code) {
            // The sweep tries again.
            self.tally.lacked(code);
            return;
        }
        // One call tells of the last error; the queue has all of them.
        for _ in 0..system::reap(&self.lines[key].socket).max(1) {
            self.tally.fault(Fault::Os(code));
        }
        // Nobody is there, as where a connection is refused; a server that answered before may come back.
        if !self.lines[key].ledger.heard() {
            self.close(key);
        }
    }

    fn close(&mut self, key: usize) {
        let line = &mut self.lines[key];
        line.dead = true;
        self.tally.lost += line.ledger.expire(u64::MAX, 0);
        self.watched[key].fd = -1;
    }
}

fn open(target: SocketAddr) -> io::Result<Socket> {
    let (domain, any): (_, SocketAddr) = match target {
        SocketAddr::V4(_) => (Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into()),
        SocketAddr::V6(_) => (Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into()),
    };
    let socket = Socket::new(domain, Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&SockAddr::from(any))?;
    system::prepare(&socket, false)?;
    Ok(socket)
}

/// Whether an answer comes from where it was asked; a zone is told by the system even where none was given.
fn same(from: SocketAddr, target: SocketAddr) -> bool {
    (from.ip(), from.port()) == (target.ip(), target.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::echo::Echo;
    use super::super::{Options, adopt};
    use super::*;
    use crate::core::load::Answer;

    const LIMIT: Duration = Duration::from_secs(20);
    const OPTIONS: Options = Options { max_datagram: 65535, answer_low_ports: false, wildcard: false };

    fn bound() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.bind(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    fn plan(target: SocketAddr, amount: u64) -> Plan {
        let datagrams = Datagrams::new(64, b"the quick brown fox", b"ACK: ".to_vec(), Answer::Echo).unwrap();
        let until = Until::Messages(amount);
        Plan { target, sockets: 1, depth: 32, datagrams, rate: None, until, timeout: LIMIT }
    }

    fn run(plan: Plan) -> UdpLoad {
        let mut load = UdpLoad::new(plan).unwrap();
        while load.step(Duration::from_millis(100)).unwrap() {}
        load
    }

    fn serve(prefix: &[u8]) -> (Echo, SocketAddr) {
        let (socket, target) = bound();
        (
            Echo::start(adopt(i64::from(std::os::fd::IntoRawFd::into_raw_fd(socket))).unwrap(), OPTIONS, prefix)
                .unwrap(),
            target,
        )
    }

    #[test]
    fn an_echo_under_load_answers_everything() {
        let (echo, target) = serve(b"ACK: ");
        let load = run(plan(target, 20_000));
        assert_eq!((load.tally().sent, load.tally().answered, load.tally().wrong), (20_000, 20_000, 0));
        assert_eq!(echo.shared().counts().messages, 20_000);
        let many = run(Plan { sockets: 5, depth: 1, ..plan(target, 1000) });
        assert_eq!((many.tally().sent, many.tally().answered), (1000, 1000));
        let rate = Some(1_000_000);
        let steady = run(Plan { sockets: 5, rate, until: Until::Time(100_000_000), ..plan(target, 0) });
        assert_eq!((steady.tally().sent, steady.progress().unsent), (100, 0));
        assert_eq!(steady.tally().answered + steady.tally().lost, steady.tally().sent);
        echo.shared().end(None);
        assert!(echo.wait(LIMIT));
    }

    #[test]
    fn load_on_the_wrong_prefix_is_all_wrong() {
        let (echo, target) = serve(b"NAK: ");
        let load = run(Plan { timeout: Duration::from_millis(200), ..plan(target, 3) });
        assert_eq!((load.tally().answered, load.tally().wrong, load.tally().lost), (0, 3, 3));
        echo.shared().end(Some(Duration::ZERO));
        assert!(echo.wait(LIMIT));
    }

    #[test]
    fn a_port_where_nobody_is_ends_it() {
        let (socket, target) = bound();
        drop(socket);
        let load = run(Plan { sockets: 3, ..plan(target, 300) });
        assert_eq!((load.progress().alive, load.tally().answered), (0, 0));
        assert!(load.tally().faults[&Fault::Os(libc::ECONNREFUSED)] >= 3);
        assert_eq!(load.tally().lost, load.tally().sent);
    }
}
