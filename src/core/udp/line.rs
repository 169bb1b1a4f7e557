//! A UDP socket with the patience it needs: it waits, asks again, counts what the network says, and gives up in time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::reactor::weight;
use super::shared::{add, take};
use super::{Options, Shared};
use crate::core::os::bell::{Bell, Waited, wait};
use crate::core::os::datagrams::{self, BATCH, Inbox, Outgoing, is_of_this_machine};
use crate::core::os::errors::{from_the_network, is_too_long, out_of_buffers};
use crate::core::os::inherited::{Claim, claim};
use crate::core::os::spinning::Spin;

/// How long replies wait for room in the system before they are given up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait where nothing tells when to go on: no buffers, or an error that stays.
const PAUSE: Duration = Duration::from_millis(2);
/// How often a reply is tried before an error is its own: the system reports an ICMP error with whatever call comes next.
const TRIES: u32 = 4;

/// A socket, its readiness, and the bell that other threads ring.
pub struct Line {
    // Dropped before what it is about.
    _claim: Claim,
    socket: Socket,
    bell: Bell,
    spin: Spin,
    shared: Arc<Shared>,
    options: Options,
    // Where it is bound.
    address: Option<SocketAddr>,
    errors_in_a_row: u32,
    refused: Vec<(SocketAddr, usize)>,
}

impl Line {
    /// Takes over a bound socket.
    pub fn new(socket: Socket, options: Options) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        datagrams::prepare(&socket, options.wildcard)?;
        let address = socket.local_addr()?.as_socket();
        let (bell, rope) = Bell::new()?;
        let (claim, inherited) = claim(&socket);
        let shared = Arc::new(Shared::new(rope, inherited));
        Ok(Self {
            _claim: claim,
            socket,
            bell,
            spin: Spin::here(),
            shared,
            options,
            address,
            errors_in_a_row: 0,
            refused: Vec::new(),
        })
    }

    /// What other threads hold of it.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The bytes that the system queues at most for this socket.
    #[must_use]
    pub fn queue_limit(&self) -> usize {
        self.socket.recv_buffer_size().unwrap_or(1 << 20)
    }

    /// Whether any reply of the last [`Line::send`] was too long.
    #[must_use]
    pub fn refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// The replies too long for a datagram since this was last called: to whom, and how long.
    pub fn take_refused(&mut self) -> Vec<(SocketAddr, usize)> {
        std::mem::take(&mut self.refused)
    }

    /// Takes what is there, less what is ignored, without waiting; gives what it took from the queue, None for nothing.
    pub fn receive(&mut self, inbox: &mut Inbox) -> Option<usize> {
        inbox.clear();
        if let Err(error) = datagrams::receive(&self.socket, inbox) {
            inbox.clear();
            return match error.kind() {
                io::ErrorKind::WouldBlock => None,
                io::ErrorKind::Interrupted => Some(0),
                _ => {
                    self.note(&error);
                    Some(weight(&[]))
                }
            };
        }
        self.errors_in_a_row = 0;
        let tally = &self.shared.tally;
        let weight = weight(inbox.arrivals());
        let before = inbox.arrivals().len();
        let lowest = if self.options.answer_low_ports { 0 } else { 1024 };
        let address = self.address;
        inbox.retain(|arrival| arrival.peer.port() >= lowest && !is_from(address, arrival.peer));
        add(&tally.ignored, before - inbox.arrivals().len());
        add(&tally.messages, inbox.arrivals().len());
        add(&tally.bytes_in, inbox.arrivals().iter().map(|arrival| arrival.len).sum());
        Some(weight)
    }

    /// Waits until something is there to read, the bell rings, or `limit` is over.
    pub fn wait(&mut self, limit: Option<Duration>) {
        let (socket, bell) = (Some((&self.socket, false)), Some(&self.bell));
        let mut last = Ok(Waited { failed: false, found: false });
        let result = self.spin.wait(limit, |limit| {
            let waited = wait(socket, bell, limit)?;
            last = Ok(waited);
            Ok(waited.found)
        });
        self.heed(result.and(last));
    }

    /// Waits for something to read (false), room to write (true), or only the bell (None).
    fn wait_for(&mut self, writable: Option<bool>, limit: Option<Duration>) {
        let socket = writable.map(|writable| (&self.socket, writable));
        let waited = wait(socket, Some(&self.bell), limit);
        self.heed(waited);
    }

    fn heed(&mut self, waited: io::Result<Waited>) {
        match waited {
            Ok(Waited { failed: true, .. }) => add(&self.shared.tally.icmp_errors, datagrams::reap(&self.socket)),
            Ok(Waited { failed: false, .. }) => {}
            Err(error) => self.note(&error),
        }
    }

    /// Sends all, or as many as the system, the peers and the end allow; whatever does not leave is counted.
    pub fn send(&mut self, mut out: &[Outgoing<'_>]) {
        self.refused.clear();
        let shared = Arc::clone(&self.shared);
        let tally = &shared.tally;
        let mut tries = 0;
        let mut since = None;
        while let Some(first) = out.first() {
            tally.unsent.store(out.len() as u64, Ordering::Relaxed);
            let batch = &out[..out.len().min(BATCH)];
            // Counted before they leave, or a peer could have its answer before the counters show it.
            let counter = if shared.ending() { Some(&tally.drained) } else { None };
            account(&tally.bytes_out, counter, batch, add);
            let result = datagrams::send(&self.socket, batch);
            let sent = *result.as_ref().unwrap_or(&0);
            account(&tally.bytes_out, counter, &batch[sent..], take);
            out = &out[sent..];
            let Err(error) = result else {
                (tries, since) = (0, None);
                continue;
            };
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    if !self.wait_for_room(out, &mut since, false) {
                        return;
                    }
                }
                _ if out_of_buffers(&error) => {
                    if !self.wait_for_room(out, &mut since, true) {
                        return;
                    }
                }
                _ => {
                    tries += 1;
                    let fresh = datagrams::reap(&self.socket);
                    add(&tally.icmp_errors, fresh);
                    if tries < TRIES {
                        continue;
                    }
                    if is_too_long(&error) {
                        add(&tally.too_long, 1);
                        self.refused.push((first.peer, first.data.len()));
                    } else {
                        add(&tally.icmp_errors, 1);
                    }
                    out = &out[1..];
                    tries = 0;
                }
            }
        }
        tally.unsent.store(0, Ordering::Relaxed);
    }

    /// Waits for room to send; says whether to try again. What is given up is counted here.
    fn wait_for_room(&mut self, out: &[Outgoing<'_>], since: &mut Option<Instant>, blindly: bool) -> bool {
        let waited = since.get_or_insert_with(Instant::now).elapsed();
        if self.shared.expired() {
            return false; // they are counted where they are looked at
        }
        if waited >= PATIENCE {
            add(&self.shared.tally.timeouts, out.len());
            self.shared.tally.unsent.store(0, Ordering::Relaxed);
            return false;
        }
        let mut limit = PATIENCE.saturating_sub(waited);
        if let Some(remaining) = self.shared.remaining() {
            limit = limit.min(remaining);
        }
        if blindly {
            self.wait_for(None, Some(limit.min(PAUSE)));
        } else {
            self.wait_for(Some(true), Some(limit));
        }
        true
    }

    /// Counts an error that belongs to no reply, and slows down where it does not pass.
    fn note(&mut self, error: &io::Error) {
        let reaped = datagrams::reap(&self.socket);
        let told = usize::from(!datagrams::REAPS && from_the_network(error));
        add(&self.shared.tally.icmp_errors, reaped + told);
        self.errors_in_a_row += 1;
        if self.errors_in_a_row > 32 {
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.unhang_bell();
    }
}

/// Whether a datagram comes from the socket at `address` itself: a forged one, which it would answer for ever.
fn is_from(address: Option<SocketAddr>, peer: SocketAddr) -> bool {
    address.is_some_and(|own| {
        own.port() == peer.port() && (own.ip() == peer.ip() || own.ip().is_unspecified() && is_of_this_machine(peer))
    })
}

fn account(
    bytes: &AtomicU64,
    replies: Option<&AtomicU64>,
    batch: &[Outgoing<'_>],
    operation: impl Fn(&AtomicU64, usize),
) {
    operation(bytes, batch.iter().map(|one| one.data.len()).sum());
    if let Some(replies) = replies {
        operation(replies, batch.len());
    }
}
