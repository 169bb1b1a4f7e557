//! One connection of a reactor: its socket and machine, what waits to be written, and what the system said last.

use std::io::{self, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use mio::net::TcpStream;

use super::connection::{Closed, Connection, NEVER};
use super::control::Counters;
use super::proxies::ProxyHeader;
use crate::core::memory::{NoMemory, append};
use crate::core::os::waiting;

/// An output buffer larger than this is given back when it is empty.
const KEPT_OUTPUT: usize = 16 * 1024;

/// One accepted connection; `T` is what the service keeps for it.
#[expect(clippy::struct_excessive_bools, reason = "what the system said, each apart from the others")]
pub struct Link<T> {
    /// Tells it from others that had or will have its key.
    pub token: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What decides.
    pub machine: Connection,
    /// What the service keeps.
    pub state: T,
    /// The service waits for room.
    pub held: bool,
    /// What a proxy is yet to say.
    pub(super) header: Option<Box<ProxyHeader>>,
    pub(super) stream: TcpStream,
    out: Vec<u8>,
    // How much of `out` is written already.
    written: usize,
    // The earliest timer set.
    pub(super) armed: u64,
    // Readiness is told once and remembered.
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) hung_up: bool,
    // Stands in a list to be served.
    pub(super) listed: bool,
    pub(super) touched: bool,
}

/// What came of a read.
pub enum Taken {
    /// So many bytes.
    Bytes(usize),
    /// The peer will send no more.
    End,
    /// Nothing yet.
    Nothing,
}

impl<T: Default> Link<T> {
    pub(super) fn new(token: u64, peer: SocketAddr, machine: Connection, stream: TcpStream) -> Self {
        Self {
            token,
            peer,
            machine,
            state: T::default(),
            held: false,
            header: None,
            stream,
            out: Vec::new(),
            written: 0,
            armed: NEVER,
            readable: false,
            writable: true,
            hung_up: false,
            listed: false,
            touched: false,
        }
    }
}

impl<T> Link<T> {
    /// Whether it waits to be read in the next turn.
    #[must_use]
    pub fn behind(&self) -> bool {
        self.listed && self.machine.room() > 0
    }

    /// Remember what the system says.
    pub(super) fn note(&mut self, event: &mio::event::Event) {
        self.hung_up |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.hung_up;
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// Write `data` as far as the socket takes it, and keep the rest; it fails where there is no memory for that.
    pub(super) fn send(&mut self, data: &[u8], counters: &Counters, now: u64) -> Result<(), NoMemory> {
        self.machine.queue(data.len(), now);
        // Where nothing waits before it: most answers go out without being copied.
        let sent = if self.machine.queued() == data.len() { self.write(data, counters, now) } else { 0 };
        append(&mut self.out, &data[sent..])
    }

    /// Add `data` to what waits; it fails where there is no memory for it.
    pub(super) fn queue(&mut self, data: &[u8], now: u64) -> Result<(), NoMemory> {
        self.machine.queue(data.len(), now);
        append(&mut self.out, data)
    }

    /// Write what waits, as far as machine and socket allow.
    pub(super) fn flush(&mut self, counters: &Counters, now: u64) {
        let out = mem::take(&mut self.out);
        self.written += self.write(&out[self.written..], counters, now);
        self.out = out;
        if self.written == self.out.len() {
            self.written = 0;
            if self.out.capacity() > KEPT_OUTPUT {
                self.out = Vec::new();
            } else {
                self.out.clear();
            }
        } else if self.written > self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Write as far as machine and socket allow, and give how much that was; `data` is all that the machine knows of.
    fn write(&mut self, data: &[u8], counters: &Counters, now: u64) -> usize {
        let mut sent = 0;
        while self.writable {
            let size = self.machine.allowance();
            if size == 0 {
                break;
            }
            match self.stream.write(&data[sent..sent + size]) {
                Ok(count) => {
                    sent += count;
                    counters.bytes_out.fetch_add(count as u64, Relaxed);
                    self.machine.wrote(count, now);
                    self.writable = count == size || !waiting::SHORT_IS_ALL;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.machine.abort(Closed::Lost, now);
                    break;
                }
            }
        }
        sent
    }

    /// Read as much as the machine has room for, at most one `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8], counters: &Counters, now: u64) -> Taken {
        let room = self.machine.room().min(buffer.len());
        if room == 0 || !self.readable {
            return Taken::Nothing;
        }
        match self.stream.read(&mut buffer[..room]) {
            Ok(0) => {
                self.readable = false;
                Taken::End
            }
            Ok(count) => {
                // A short read has emptied the socket, unless the end is in sight, which is told only once.
                if waiting::SHORT_IS_ALL && count < room && !self.hung_up {
                    self.readable = false;
                }
                counters.bytes_in.fetch_add(count as u64, Relaxed);
                Taken::Bytes(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Taken::Nothing,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Taken::Nothing
            }
            Err(_) => {
                self.readable = false;
                self.machine.abort(Closed::Lost, now);
                Taken::Nothing
            }
        }
    }
}
