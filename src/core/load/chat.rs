//! The chat load: one talks, the others listen, and every delivery is checked.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memchr::memchr;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::core::errors::{Error, Result};
use crate::core::memory::with_capacity;
use crate::core::os::waiting;

const SLICE: Duration = Duration::from_millis(50);
const STALL: Duration = Duration::from_secs(10);
/// News and prompts of the servers have passed when nothing comes for so long.
const QUIET: Duration = Duration::from_millis(100);
/// Stands once in every line, after its number, and nowhere in what servers say by themselves.
const MARK: u8 = b'~';
const DIGITS: usize = 8;

/// One talks and the others listen.
pub struct ChatLoad {
    /// Where the chat is.
    pub address: SocketAddr,
    /// How many listen.
    pub listeners: usize,
    /// How many lines are in flight.
    pub depth: u64,
    /// How many lines are said in all.
    pub lines: u64,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct ChatReport {
    /// Lines that arrived, once each and in order, at all listeners together.
    pub deliveries: u64,
    /// The time from the first line to the last delivery.
    pub elapsed: Duration,
    /// From saying a line to one listener's having it: the median, and what 99 of 100 deliveries stay within.
    pub median: Duration,
    /// The 99th of 100.
    pub p99: Duration,
}

struct Listener {
    stream: TcpStream,
    next: u64,
    // What may be the beginning of a number.
    tail: Vec<u8>,
}

impl ChatLoad {
    /// Run it. `keep_going` is asked about every 50 ms; where it says no, the error is `Interrupted`.
    pub fn run(&self, mut keep_going: impl FnMut() -> bool) -> Result<ChatReport> {
        let mut poll = Poll::new()?;
        let mut talker = std::net::TcpStream::connect(self.address)?;
        talker.set_nodelay(true)?;
        let mut listeners = with_capacity(self.listeners)?;
        for key in 0..self.listeners {
            let stream = std::net::TcpStream::connect(self.address)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(key), Interest::READABLE)?;
            listeners.push(Listener { stream, next: 0, tail: Vec::new() });
        }
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        wait_for_quiet(&mut poll, &mut events, &mut listeners, &mut buffer)?;
        drain(&talker, &mut buffer)?;
        let mut said: Vec<Instant> = with_capacity(self.lines as usize)?;
        let total = self.lines.checked_mul(self.listeners as u64).ok_or(Error::Memory)?;
        let mut latencies: Vec<u32> = with_capacity(total as usize)?;
        let (began, mut looked, mut heard) = (Instant::now(), Instant::now(), Instant::now());
        while (latencies.len() as u64) < total {
            let wanted = (latencies.len() as u64 / self.listeners as u64 + self.depth).min(self.lines);
            while (said.len() as u64) < wanted {
                said.push(Instant::now());
                let line = format!("the quick brown fox jumps over the lazy {:08}{}\n", said.len() - 1, MARK as char);
                talker.write_all(line.as_bytes())?;
            }
            waiting::select(&mut poll, &mut events, Some(SLICE))?;
            if looked.elapsed() >= SLICE {
                looked = Instant::now();
                if !keep_going() {
                    return Err(Error::Io(io::ErrorKind::Interrupted.into()));
                }
                if heard.elapsed() >= STALL {
                    return Err(Error::Io(io::ErrorKind::TimedOut.into()));
                }
            }
            for event in &events {
                let arrived = Instant::now();
                heard = arrived;
                listeners[event.token().0].read(&mut buffer, |number| {
                    let said = said.get(number as usize).copied().unwrap_or(arrived);
                    latencies.push(u32::try_from((arrived - said).as_nanos() / 100).unwrap_or(u32::MAX));
                })?;
            }
        }
        let elapsed = began.elapsed();
        latencies.sort_unstable();
        let at =
            |hundredths: usize| Duration::from_nanos(u64::from(latencies[latencies.len() * hundredths / 100]) * 100);
        Ok(ChatReport { deliveries: latencies.len() as u64, elapsed, median: at(50), p99: at(99) })
    }
}

impl Listener {
    /// Read what there is, and tell of the number of each line; they must come in order.
    fn read(&mut self, buffer: &mut [u8], mut tell: impl FnMut(u64)) -> Result<()> {
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(Error::Io(io::ErrorKind::ConnectionReset.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::Io(error)),
            };
            let mut rest = &buffer[..count];
            while let Some(at) = memchr(MARK, rest) {
                let number = if at >= DIGITS {
                    number_of(&rest[at - DIGITS..at])
                } else {
                    self.tail.extend_from_slice(&rest[..at]);
                    number_of(&self.tail[self.tail.len().saturating_sub(DIGITS)..])
                };
                if number != Some(self.next) {
                    return Err(Error::Value(format!("line {} came as {number:?}", self.next)));
                }
                tell(self.next);
                self.next += 1;
                self.tail.clear();
                rest = &rest[at + 1..];
            }
            self.tail.extend_from_slice(&rest[rest.len().saturating_sub(DIGITS)..]);
            // A short read has emptied the socket.
            if waiting::SHORT_IS_ALL && count < buffer.len() {
                return Ok(());
            }
        }
    }
}

/// Let what the server says by itself pass.
fn wait_for_quiet(poll: &mut Poll, events: &mut Events, listeners: &mut [Listener], buffer: &mut [u8]) -> Result<()> {
    let began = Instant::now();
    loop {
        if !waiting::select(poll, events, Some(QUIET))? && events.is_empty() {
            return Ok(());
        }
        if began.elapsed() > STALL {
            return Err(Error::Io(io::ErrorKind::TimedOut.into()));
        }
        for event in events.iter() {
            listeners[event.token().0].read(buffer, |_| ())?;
        }
    }
}

fn number_of(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Read what a server said to the talker, so that closing does not reset the connection.
fn drain(mut talker: &std::net::TcpStream, buffer: &mut [u8]) -> Result<()> {
    talker.set_nonblocking(true)?;
    while matches!(talker.read(buffer), Ok(count) if count > 0) {}
    talker.set_nonblocking(false)?;
    Ok(())
}
