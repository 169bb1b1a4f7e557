//! The TCP load: many connections on one thread, each saying its part of the schedule and checking what it hears.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{Course, Driver, Fault, Progress, Script, Talk, Terms};
use crate::core::errors::Result;
use crate::core::memory::{with_capacity, zeros};
use crate::core::os::errors::{ECONNREFUSED, ETIMEDOUT};
use crate::core::os::waiting;

/// So many connections are being opened at a time: more would overflow the queues of servers.
const OPENING: usize = 128;
/// A server may take so many nanoseconds for each connection to let it in, which is no part of the latency of messages;
/// and so many it is given at most.
const LETTING_IN: u64 = 200_000;
const LONGEST_LEAD: u64 = 1_000_000_000;
/// Silent connections are looked for so often, in nanoseconds.
const SWEEP: u64 = 20_000_000;
const NO_LANE: usize = usize::MAX;
const BUFFER: usize = 256 << 10;

/// What to do.
pub struct Plan {
    /// Whom to ask.
    pub address: SocketAddr,
    /// How many connections ask at once.
    pub connections: usize,
    /// What to say, and what to hear.
    pub script: Script,
    /// How much of it, and for how long.
    pub terms: Terms,
}

enum State {
    Opening { since: u64 },
    Open,
    Gone,
}

struct Link {
    /// None where there is no connection, not yet or no more.
    stream: Option<TcpStream>,
    state: State,
    talk: Talk,
    /// Which part of the schedule is its own; given when all connections are open.
    lane: usize,
}

/// A load under way.
pub struct TcpLoad {
    plan: Plan,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    links: Vec<Link>,
    opening: usize,
    opened: usize,
    alive: usize,
    /// The links with a part of the schedule, in order.
    lanes: Vec<usize>,
    course: Course,
}

impl TcpLoad {
    /// Prepare it; nothing is connected yet.
    pub fn new(plan: Plan) -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: zeros(BUFFER)?,
            links: with_capacity(plan.connections)?,
            opening: 0,
            opened: 0,
            alive: 0,
            lanes: Vec::new(),
            course: Course::new(plan.terms, SWEEP)?,
            plan,
        })
    }

    /// Begin connections until enough are under way.
    fn open_more(&mut self, now: u64) {
        while self.opening < OPENING && self.links.len() < self.plan.connections {
            let key = self.links.len();
            let opened = TcpStream::connect(self.plan.address).and_then(|mut stream| {
                self.poll.registry().register(&mut stream, Token(key), Interest::READABLE | Interest::WRITABLE)?;
                Ok(stream)
            });
            let talk = Talk::new(&self.plan.script, key);
            let mut link = Link { stream: None, state: State::Gone, talk, lane: NO_LANE };
            match opened {
                Ok(stream) => {
                    link.stream = Some(stream);
                    link.state = State::Opening { since: now };
                    self.opening += 1;
                }
                Err(error) => {
                    self.course.tally.blame(&error);
                }
            }
            self.links.push(link);
        }
    }

    /// All connections are open or have failed: the clock starts.
    fn begin(&mut self) {
        let is_open = |(key, link): (usize, &Link)| matches!(link.state, State::Open).then_some(key);
        self.lanes = self.links.iter().enumerate().filter_map(is_open).collect();
        for (lane, key) in self.lanes.iter().enumerate() {
            self.links[*key].lane = lane;
        }
        let lead = LETTING_IN.saturating_mul(self.lanes.len() as u64).min(LONGEST_LEAD);
        self.course.begin(self.lanes.len(), lead);
    }

    fn serve(&mut self) {
        // `events` is lent out meanwhile.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let key = event.token().0;
            match self.links[key].state {
                State::Opening { .. } => self.connected(key),
                State::Open => {
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        self.read(key, event.is_read_closed() || event.is_error());
                    } else {
                        self.write(key);
                    }
                }
                State::Gone => {}
            }
        }
        self.events = events;
    }

    /// See what became of a connection being opened.
    fn connected(&mut self, key: usize) {
        let Some(stream) = &self.links[key].stream else { return };
        let error = match stream.take_error() {
            Ok(None) => match (stream.peer_addr(), stream.local_addr()) {
                // A port of this machine that nobody listens on may connect to itself, and would echo.
                (Ok(peer), Ok(local)) if peer == local => io::Error::from_raw_os_error(ECONNREFUSED),
                (Ok(_), _) => {
                    // A connection that is reset already says so at its first read.
                    let _ = stream.set_nodelay(true);
                    self.links[key].state = State::Open;
                    self.opening -= 1;
                    self.opened += 1;
                    self.alive += 1;
                    return;
                }
                (Err(error), _) if error.kind() == io::ErrorKind::NotConnected => return,
                (Err(error), _) => error,
            },
            Ok(Some(error)) | Err(error) => error,
        };
        self.fail_by(key, &error);
    }

    /// Begin what messages may be begun, and write.
    fn say(&mut self, key: usize, now: u64) {
        let link = &mut self.links[key];
        if link.lane == NO_LANE || !matches!(link.state, State::Open) {
            return;
        }
        for _ in 0..self.course.room(link.lane, link.talk.in_flight(), now) {
            let since = self.course.begin_message(link.lane, now);
            link.talk.begin(&self.plan.script, since, now, &mut self.course.tally);
        }
        self.write(key);
    }

    fn write(&mut self, key: usize) {
        loop {
            let link = &mut self.links[key];
            let Some(stream) = &mut link.stream else { return };
            let [first, second] = link.talk.to_write(&self.plan.script);
            if first.is_empty() {
                return;
            }
            let written = if second.is_empty() {
                stream.write(first)
            } else {
                stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])
            };
            match written {
                Ok(count) => link.talk.wrote(&self.plan.script, count, &mut self.course.tally),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail_by(key, &error),
            }
        }
    }

    /// Read what there is, check it, and go on talking.
    fn read(&mut self, key: usize, ending: bool) {
        loop {
            let link = &mut self.links[key];
            let Some(stream) = &mut link.stream else { return };
            let count = match stream.read(&mut self.buffer) {
                Ok(0) => return self.fail(key, Fault::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return self.fail_by(key, &error),
            };
            let now = self.course.now();
            self.course.heard(now);
            if let Err(fault) =
                link.talk.received(&self.plan.script, &self.buffer[..count], now, &mut self.course.tally)
            {
                return self.fail(key, fault);
            }
            self.say(key, now);
            // A short read has emptied the socket, unless the end is in sight, which is told only once.
            if waiting::SHORT_IS_ALL && count < self.buffer.len() && !ending {
                return;
            }
        }
        self.write(key);
    }

    /// A connection has failed.
    fn fail(&mut self, key: usize, fault: Fault) {
        self.end(key);
        self.course.tally.fault(fault);
    }

    fn fail_by(&mut self, key: usize, error: &io::Error) {
        self.end(key);
        self.course.tally.blame(error);
    }

    fn end(&mut self, key: usize) {
        let link = &mut self.links[key];
        match link.state {
            State::Opening { .. } => self.opening -= 1,
            State::Open => self.alive -= 1,
            State::Gone => return,
        }
        link.state = State::Gone;
        link.stream = None;
        link.talk.lose(&mut self.course.tally);
    }
}

impl Driver for TcpLoad {
    fn course(&self) -> &Course {
        &self.course
    }

    fn course_mut(&mut self) -> &mut Course {
        &mut self.course
    }

    fn progress(&self) -> Progress {
        let pending = self.links.iter().map(|link| link.talk.in_flight()).sum();
        self.course.progress(self.opened, self.alive, pending)
    }

    fn open(&mut self, now: u64) {
        self.open_more(now);
        if self.opening == 0 {
            self.begin();
        }
    }

    fn talk(&mut self, lane: usize, now: u64) {
        self.say(self.lanes[lane], now);
    }

    /// Look for connections that have been silent for too long.
    fn sweep(&mut self, now: u64) {
        for key in 0..self.links.len() {
            let silence = match self.links[key].state {
                State::Opening { since } => now.saturating_sub(since),
                State::Open => self.links[key].talk.silence(now),
                State::Gone => continue,
            };
            if silence >= self.course.patience() {
                self.fail(key, Fault::Os(ETIMEDOUT));
            }
        }
    }

    fn finished(&self, now: u64) -> bool {
        let idle = |key: &usize| {
            let link = &self.links[*key];
            !matches!(link.state, State::Open) || self.course.is_idle(link.lane, link.talk.in_flight(), now)
        };
        self.alive == 0 || (self.course.dealt_all(now) && self.lanes.iter().all(idle))
    }

    fn listen(&mut self, limit: Duration) -> Result<bool> {
        let interrupted = if self.plan.terms.rate.is_some() {
            waiting::select_exactly(&mut self.poll, &mut self.events, limit)?
        } else {
            waiting::select(&mut self.poll, &mut self.events, Some(limit))?
        };
        if !interrupted {
            self.serve();
        }
        Ok(interrupted)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Replies, Until};
    use super::*;
    use crate::core::serving::connection::Faults;
    use crate::core::serving::echo;
    use crate::core::serving::running::Running;
    use crate::core::serving::service::Plan as ServerPlan;

    fn echo(workers: usize, faults: Option<Faults>) -> (Running, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let plan = ServerPlan::unlimited();
        (echo::start(listener, plan, workers, faults).unwrap(), address)
    }

    fn plan(address: SocketAddr, reply: &[u8]) -> Plan {
        let requests = [b"hello".to_vec()];
        let script = Script::new(&requests, Replies::Stream(vec![reply.to_vec()])).unwrap();
        let timeout = Duration::from_secs(20);
        let terms = Terms { depth: 3, rate: None, until: Until::Messages(1000), timeout };
        Plan { address, connections: 8, script, terms }
    }

    fn run(plan: Plan) -> TcpLoad {
        let mut load = TcpLoad::new(plan).unwrap();
        while load.step(Duration::from_millis(50)).unwrap() {}
        load
    }

    #[test]
    fn echo_answers_and_ends() {
        let (server, address) = echo(2, None);
        let load = run(plan(address, b"hello"));
        assert_eq!((load.course.tally.sent, load.course.tally.answered, load.course.tally.lost), (1000, 1000, 0));
        assert_eq!((load.progress().opened, load.progress().alive, load.progress().pending), (8, 8, 0));
        drop(load);
        server.control.begin_stop(5_000_000_000);
        assert!(server.wait(Duration::from_secs(20)).unwrap());
        let stats = server.control.stats();
        assert_eq!((stats.accepted, stats.active, stats.closed), (8, 0, 8));
        assert_eq!(stats.bytes_in, stats.bytes_out);
    }

    #[test]
    fn a_rate_sends_all_that_is_due() {
        let (_server, address) = echo(1, None);
        let mut plan = plan(address, b"hello");
        plan.terms = Terms { rate: Some(2_000_000), depth: 200, until: Until::Time(100_000_000), ..plan.terms };
        let load = run(plan);
        assert_eq!((load.course.tally.sent, load.progress().unsent), (200, 0));
        assert_eq!(load.course.tally.answered + load.course.tally.lost, load.course.tally.sent);
        assert_eq!(load.course.tally.lag.summary().unwrap().count, 200);
    }

    #[test]
    fn every_wrong_answer_is_noticed() {
        let (_server, address) = echo(1, None);
        let load = run(plan(address, b"hallo"));
        assert_eq!((load.course.tally.answered, load.course.tally.wrong), (0, 1000));
    }

    #[test]
    fn resets_are_counted_and_end_a_connection() {
        let (_server, address) = echo(1, Some(Faults { reset_after: 100, ..Faults::NONE }));
        let load = run(plan(address, b"hello"));
        assert_eq!(load.course.tally.faults.values().sum::<u64>(), 8);
        assert_eq!((load.progress().opened, load.progress().alive), (8, 0));
        assert_eq!(load.course.tally.answered + load.course.tally.lost, load.course.tally.sent);
    }

    #[test]
    fn silence_is_a_fault() {
        // It listens, and never accepts.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut plan = Plan { connections: 2, ..plan(address, b"hello") };
        plan.terms.timeout = Duration::from_millis(100);
        let load = run(plan);
        assert_eq!(load.course.tally.faults[&Fault::Os(ETIMEDOUT)], 2);
        assert_eq!((load.course.tally.sent, load.course.tally.lost), (6, 6));
    }

    #[test]
    fn nobody_there_is_told_at_once() {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = held.local_addr().unwrap();
        drop(held);
        let load = run(plan(address, b"hello"));
        assert_eq!(load.course.tally.faults[&Fault::Os(ECONNREFUSED)], 8);
        assert_eq!((load.progress().opened, load.course.tally.sent), (0, 0));
    }
}
