//! The UDP load: numbered datagrams from many sockets, each answered, wrong, late, twice, or lost.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::ledger::Verdict;
use super::{Course, Datagrams, Driver, Fault, Ledger, Progress, Terms};
use crate::core::errors::Result;
use crate::core::memory::{with_capacity, zeros};
use crate::core::os::datagrams::{self, BATCH, Inbox, Outgoing};
use crate::core::os::errors::{errno, is_transient};
use crate::core::os::waiting::Watched;

const RECEIVE_BUFFER: usize = 4 << 20;
/// Lost datagrams are looked for so often, in nanoseconds.
const SWEEP: u64 = 5_000_000;

/// What to do.
pub struct Plan {
    /// Where to.
    pub target: SocketAddr,
    /// How many sockets send.
    pub sockets: usize,
    /// What to send.
    pub datagrams: Datagrams,
    /// How much of it, and for how long.
    pub terms: Terms,
}

struct Line {
    socket: Socket,
    ledger: Ledger,
    dead: bool,
    /// The system had no room for the next datagram.
    blocked: bool,
}

/// A load under way.
pub struct UdpLoad {
    plan: Plan,
    lines: Vec<Line>,
    watched: Watched,
    /// The lines from which something may be received.
    ready: Vec<usize>,
    inbox: Inbox,
    payloads: Vec<u8>,
    course: Course,
}

impl UdpLoad {
    /// Open the sockets; nothing is sent yet.
    pub fn new(plan: Plan) -> Result<Self> {
        let mut course = Course::new(plan.terms, SWEEP)?;
        let mut lines = with_capacity(plan.sockets)?;
        for _ in 0..plan.sockets {
            match open(plan.target) {
                Ok(socket) => lines.push(Line { socket, ledger: Ledger::default(), dead: false, blocked: false }),
                Err(error) if is_transient(errno(&error)) => {
                    course.tally.blame(&error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self {
            watched: Watched::new(lines.iter().map(|line| &line.socket)),
            ready: Vec::new(),
            inbox: Inbox::new(plan.datagrams.answer_size() + 1, b"")?,
            payloads: zeros(plan.datagrams.size() * BATCH)?,
            lines,
            course,
            plan,
        })
    }

    fn send(&mut self, key: usize) {
        let size = self.plan.datagrams.size();
        loop {
            let now = self.course.now();
            let line = &mut self.lines[key];
            let count = self.course.room(key, line.ledger.in_flight(), now).min(BATCH as u64) as usize;
            if count == 0 || line.dead || line.blocked {
                return;
            }
            for (number, payload) in (line.ledger.next()..).zip(self.payloads.chunks_exact_mut(size).take(count)) {
                self.plan.datagrams.write(key, number, payload);
            }
            let peer = self.plan.target;
            let out: Vec<_> =
                self.payloads.chunks_exact(size).take(count).map(|data| Outgoing { peer, local: None, data }).collect();
            match datagrams::send(&line.socket, &out) {
                Ok(sent) => {
                    for _ in 0..sent {
                        let since = self.course.begin_message(key, now);
                        line.ledger.sent(since, now);
                    }
                    self.course.tally.sent += sent as u64;
                    self.course.tally.bytes_sent += (sent * size) as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    line.blocked = true;
                    self.watched.want_room(key);
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
        self.inbox.clear();
        match datagrams::receive(&self.lines[key].socket, &mut self.inbox) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) => {
                self.failed(key, &error);
                return false;
            }
        }
        let now = self.course.now();
        let Self { plan, inbox, course, lines, .. } = self;
        let tally = &mut course.tally;
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
                Verdict::Unknown => {
                    tally.keep_wrong(data, None);
                    tally.wrong += 1;
                }
            }
        }
        self.course.heard(now);
        self.course.mark(key);
        true
    }

    /// Sending or receiving failed: by the network's word, or for a fault of this machine.
    fn failed(&mut self, key: usize, error: &io::Error) {
        if !self.course.tally.blame(error) {
            // The sweep tries again.
            return;
        }
        // One call tells of the last error; the queue has all of them.
        for _ in 1..datagrams::reap(&self.lines[key].socket) {
            self.course.tally.fault(Fault::Os(errno(error)));
        }
        // Nobody is there, as where a connection is refused; a server that answered before may come back.
        if !self.lines[key].ledger.heard() {
            self.close(key);
        }
    }

    fn close(&mut self, key: usize) {
        let line = &mut self.lines[key];
        line.dead = true;
        self.course.tally.lost += line.ledger.expire(u64::MAX, 0);
        self.watched.forget(key);
    }
}

impl Driver for UdpLoad {
    fn course(&self) -> &Course {
        &self.course
    }

    fn course_mut(&mut self) -> &mut Course {
        &mut self.course
    }

    fn progress(&self) -> Progress {
        let alive = self.lines.iter().filter(|line| !line.dead).count();
        let pending = self.lines.iter().map(|line| line.ledger.in_flight()).sum();
        self.course.progress(self.lines.len(), alive, pending)
    }

    /// All sockets are.
    fn open(&mut self, _: u64) {
        self.course.begin(self.lines.len(), 0);
    }

    fn talk(&mut self, lane: usize, _: u64) {
        self.send(lane);
    }

    /// Give up what was not answered in time, and try again where the system had no room.
    fn sweep(&mut self, now: u64) {
        for (key, line) in self.lines.iter_mut().enumerate() {
            self.course.tally.lost += line.ledger.expire(now, self.course.patience());
            self.course.mark(key);
        }
    }

    fn finished(&self, now: u64) -> bool {
        let idle = |(key, line): (usize, &Line)| line.dead || self.course.is_idle(key, line.ledger.in_flight(), now);
        self.lines.iter().all(|line| line.dead)
            || (self.course.dealt_all(now) && self.lines.iter().enumerate().all(idle))
    }

    fn listen(&mut self, limit: Duration) -> Result<bool> {
        if self.ready.is_empty() {
            self.watched.wait(limit)?;
            for key in 0..self.lines.len() {
                let found = self.watched.found(key);
                if found.writable {
                    self.lines[key].blocked = false;
                    self.course.mark(key);
                }
                if found.readable {
                    self.ready.push(key);
                }
            }
        }
        self.receive_all();
        Ok(false)
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
    datagrams::prepare(&socket, false)?;
    Ok(socket)
}

/// Whether an answer comes from where it was asked; a zone is told by the system even where none was given.
fn same(from: SocketAddr, target: SocketAddr) -> bool {
    (from.ip(), from.port()) == (target.ip(), target.port())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Answer, Until};
    use super::*;
    use crate::core::os::errors::ECONNREFUSED;
    use crate::core::udp::Options;
    use crate::core::udp::echo::Echo;

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
        let terms = Terms { depth: 32, rate: None, until: Until::Messages(amount), timeout: LIMIT };
        Plan { target, sockets: 1, datagrams, terms }
    }

    fn run(plan: Plan) -> UdpLoad {
        let mut load = UdpLoad::new(plan).unwrap();
        while load.step(Duration::from_millis(100)).unwrap() {}
        load
    }

    fn serve(prefix: &[u8]) -> (Echo, SocketAddr) {
        let (socket, target) = bound();
        (Echo::start(socket, OPTIONS, prefix).unwrap(), target)
    }

    #[test]
    fn an_echo_under_load_answers_everything() {
        let (echo, target) = serve(b"ACK: ");
        let load = run(plan(target, 20_000));
        assert_eq!((load.course.tally.sent, load.course.tally.answered, load.course.tally.wrong), (20_000, 20_000, 0));
        assert_eq!(echo.shared().counts().messages, 20_000);
        let mut many = Plan { sockets: 5, ..plan(target, 1000) };
        many.terms.depth = 1;
        let many = run(many);
        assert_eq!((many.course.tally.sent, many.course.tally.answered), (1000, 1000));
        let mut steady = Plan { sockets: 5, ..plan(target, 0) };
        steady.terms = Terms { rate: Some(1_000_000), until: Until::Time(100_000_000), ..steady.terms };
        let steady = run(steady);
        assert_eq!((steady.course.tally.sent, steady.progress().unsent), (100, 0));
        assert_eq!(steady.course.tally.answered + steady.course.tally.lost, steady.course.tally.sent);
        echo.shared().end(None);
        assert!(echo.wait(LIMIT).unwrap());
    }

    #[test]
    fn load_on_the_wrong_prefix_is_all_wrong() {
        let (echo, target) = serve(b"NAK: ");
        let mut wrong = plan(target, 3);
        wrong.terms.timeout = Duration::from_millis(200);
        let load = run(wrong);
        assert_eq!((load.course.tally.answered, load.course.tally.wrong, load.course.tally.lost), (0, 3, 3));
        echo.shared().end(Some(Duration::ZERO));
        assert!(echo.wait(LIMIT).unwrap());
    }

    #[test]
    #[cfg_attr(
        not(any(target_os = "linux", target_os = "android", windows)),
        ignore = "such systems tell of it only sockets that are connected"
    )]
    fn a_port_where_nobody_is_ends_it() {
        let (socket, target) = bound();
        drop(socket);
        let load = run(Plan { sockets: 3, ..plan(target, 300) });
        assert_eq!((load.progress().alive, load.course.tally.answered), (0, 0));
        assert!(load.course.tally.faults[&Fault::Os(ECONNREFUSED)] >= 3);
        assert_eq!(load.course.tally.lost, load.course.tally.sent);
    }
}
