//! A load generator for TCP servers: a closed loop of many connections that checks every answer.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::errors::{Error, Result};

const SLICE: Duration = Duration::from_millis(50);
const STALL: Duration = Duration::from_secs(10);

/// What to ask, how often, and what is the right answer.
pub struct TcpLoad {
    /// Whom to ask.
    pub address: SocketAddr,
    /// How many connections ask at once.
    pub connections: usize,
    /// How many messages each has in flight.
    pub depth: usize,
    /// One message, as it stands in the stream.
    pub request: Vec<u8>,
    /// The answer to it.
    pub reply: Vec<u8>,
    /// How many messages in all, rounded up to whole volleys of all connections.
    pub messages: u64,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Messages answered rightly.
    pub messages: u64,
    /// The time from the first message to the last answer.
    pub elapsed: Duration,
    /// The mean time of a volley: from sending `depth` messages to the last of their answers.
    pub latency: Duration,
}

struct Asker {
    stream: TcpStream,
    left: u64,
    sent: usize,
    got: usize,
    asked: Instant,
}

impl TcpLoad {
    /// Run it. `keep_going` is asked about every 50 ms; where it says no, the error is `Interrupted`.
    pub fn run(&self, mut keep_going: impl FnMut() -> bool) -> Result<Report> {
        let volley = self.request.repeat(self.depth);
        let expected = self.reply.repeat(self.depth);
        let volleys = self.messages.div_ceil((self.connections * self.depth) as u64).max(1);
        let mut poll = Poll::new()?;
        let mut askers = Vec::with_capacity(self.connections);
        for key in 0..self.connections {
            let stream = std::net::TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(key), Interest::READABLE | Interest::WRITABLE)?;
            askers.push(Asker { stream, left: volleys, sent: 0, got: 0, asked: Instant::now() });
        }
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        let mut waited = Duration::ZERO;
        let (began, mut looked) = (Instant::now(), Instant::now());
        let mut busy = askers.len();
        for asker in &mut askers {
            asker.asked = Instant::now();
            asker.write(&volley)?;
        }
        while busy > 0 {
            match poll.poll(&mut events, Some(SLICE)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            if looked.elapsed() >= SLICE {
                if !keep_going() {
                    return Err(Error::Io(io::ErrorKind::Interrupted.into()));
                }
                stalled(&events, &mut waited, looked.elapsed())?;
                looked = Instant::now();
            }
            for event in &events {
                let asker = &mut askers[event.token().0];
                if asker.left > 0
                    && asker.turn(&volley, &expected, &mut buffer, event.is_read_closed() || event.is_error())?
                {
                    busy -= 1;
                }
            }
        }
        let elapsed = began.elapsed();
        let messages = volleys * (self.connections * self.depth) as u64;
        // In a closed loop each connection waits all the time.
        let latency = elapsed / u32::try_from(volleys).unwrap_or(u32::MAX);
        Ok(Report { messages, elapsed, latency })
    }
}

/// Fail where no answer has come for long.
fn stalled(events: &Events, waited: &mut Duration, more: Duration) -> Result<()> {
    *waited = if events.is_empty() { *waited + more } else { Duration::ZERO };
    if *waited >= STALL { Err(Error::Io(io::ErrorKind::TimedOut.into())) } else { Ok(()) }
}

impl Asker {
    /// Write and read what can be; true when the last volley is answered.
    fn turn(&mut self, volley: &[u8], expected: &[u8], buffer: &mut [u8], ending: bool) -> Result<bool> {
        self.write(volley)?;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::ConnectionReset.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::Io(error)),
            };
            let end = self.got + count;
            if end > expected.len() || buffer[..count] != expected[self.got..end] {
                return Err(Error::Value("a wrong answer came".to_owned()));
            }
            self.got = end;
            if self.got == expected.len() {
                self.left -= 1;
                if self.left == 0 {
                    return Ok(true);
                }
                (self.got, self.sent) = (0, 0);
                self.write(volley)?;
            }
            // A short read has emptied the socket, unless the end is in sight, which is told only once.
            if count < buffer.len() && !ending {
                return Ok(false);
            }
        }
    }

    fn write(&mut self, volley: &[u8]) -> Result<()> {
        while self.sent < volley.len() {
            match self.stream.write(&volley[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Io(error)),
            }
        }
        Ok(())
    }
}

/// The least that an echo server can do, as a measure for others: no limits, no timers, no end.
pub fn raw_echo_loop(listener: std::net::TcpListener, mut keep_going: impl FnMut() -> bool) -> Result<()> {
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    let door = Token(usize::MAX);
    poll.registry().register(&mut listener, door, Interest::READABLE)?;
    let mut streams: slab::Slab<TcpStream> = slab::Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    while keep_going() {
        match poll.poll(&mut events, Some(SLICE)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for event in &events {
            if event.token() == door {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let entry = streams.vacant_entry();
                    poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE)?;
                    entry.insert(stream);
                }
            } else if let Some(stream) = streams.get_mut(event.token().0) {
                let ended = match stream.read(&mut buffer) {
                    Ok(0) => true,
                    Ok(count) => stream.write_all(&buffer[..count]).is_err(),
                    Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                };
                if ended {
                    streams.remove(event.token().0);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;
    use crate::core::echo::EchoRun;
    use crate::core::reactor::Plan;
    use crate::core::reactor::connection::{Faults, Limits, NEVER};

    fn echo(workers: usize, faults: Option<Faults>) -> (EchoRun, SocketAddr) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let limits = Limits { idle_timeout: NEVER, write_timeout: NEVER, max_buffered: 1 << 20 };
        let plan = Plan { max_connections: 100, limits, nodelay: true, keepalive: false };
        (EchoRun::start(listener.into_raw_fd(), plan, workers, faults).unwrap(), address)
    }

    fn load(address: SocketAddr, reply: &[u8]) -> Result<Report> {
        let request = b"hello".to_vec();
        let load = TcpLoad { address, connections: 8, depth: 3, request, reply: reply.to_vec(), messages: 1000 };
        load.run(|| true)
    }

    #[test]
    fn echo_answers_and_ends() {
        let (run, address) = echo(2, None);
        assert!(load(address, b"hello").unwrap().messages >= 1000);
        run.control.begin_stop(5_000_000_000);
        assert!(run.wait(Duration::from_secs(20)));
        let counters = run.control.counters();
        assert_eq!((counters[0], counters[1], counters[2]), (8, 0, 8));
        assert_eq!(counters[6], counters[7]);
    }

    #[test]
    fn a_wrong_answer_is_noticed() {
        let (_run, address) = echo(1, None);
        assert!(matches!(load(address, b"hallo"), Err(Error::Value(_))));
    }

    #[test]
    fn a_reset_is_an_error() {
        let (_run, address) = echo(1, Some(Faults { reset_after: 100, ..Faults::NONE }));
        assert!(matches!(load(address, b"hello"), Err(Error::Io(_))));
    }

    #[test]
    fn who_is_told_to_stop_stops() {
        let (_run, address) = echo(1, Some(Faults { delay: 20_000_000, ..Faults::NONE }));
        let (request, reply) = (b"hello".to_vec(), b"hello".to_vec());
        let load = TcpLoad { address, connections: 1, depth: 1, request, reply, messages: 1_000_000 };
        assert!(matches!(load.run(|| false), Err(Error::Io(_))));
    }
}
