//! What the reactors of one server share with each other and with whoever watches them from another thread.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use mio::net::TcpStream;
use mio::{Registry, Waker};

use super::journal::Journal;
use super::reactor::WAKE;
use super::service::Plan;
use super::shares::Shares;
use crate::core::latch::lock;
use crate::core::os::addresses::{network_of, number_of};
use crate::core::os::inherited::Inherited;
use crate::core::time::{Clock, NEVER};

/// The counters of a server; `closed` is read before `accepted`, so that active is never negative.
#[derive(Default)]
pub struct Counters {
    /// Connections taken from the backlog, less those shed.
    pub accepted: AtomicU64,
    /// Connections that have ended.
    pub closed: AtomicU64,
    /// Newcomers turned away for want of descriptors.
    pub shed: AtomicU64,
    /// Newcomers turned away by a rule.
    pub rejected: AtomicU64,
    /// Messages handled.
    pub messages: AtomicU64,
    /// Bytes read.
    pub bytes_in: AtomicU64,
    /// Bytes written.
    pub bytes_out: AtomicU64,
    /// Handlers that failed.
    pub handler_errors: AtomicU64,
    /// Connections that broke the framing.
    pub frame_errors: AtomicU64,
    /// Connections that a timer ended.
    pub timeouts: AtomicU64,
    /// Connections that were lost before a handshake was done.
    pub handshake_errors: AtomicU64,
    /// Connections that are over, but whose last bytes are on their way.
    pub lingering: AtomicU64,
    /// Connections that ended in a stop with nothing owed to them.
    pub drained: AtomicU64,
    /// Connections that a stop cut.
    pub aborted: AtomicU64,
}

/// The counters at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections taken from the backlog, less those shed: those active and those closed.
    pub accepted: u64,
    /// Connections that are there.
    pub active: u64,
    /// Connections that have ended.
    pub closed: u64,
    /// Newcomers turned away for want of descriptors.
    pub shed: u64,
    /// Newcomers turned away by a rule.
    pub rejected: u64,
    /// Messages handled.
    pub messages: u64,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Handlers that failed.
    pub handler_errors: u64,
    /// Connections that broke the framing.
    pub frame_errors: u64,
    /// Connections that a timer ended.
    pub timeouts: u64,
    /// Connections that were lost before a handshake was done.
    pub handshake_errors: u64,
}

/// A connection on its way from the reactor that accepted it to the one that serves it.
pub struct Newcomer {
    /// How many were accepted before it.
    pub number: u64,
    /// Its socket.
    pub stream: TcpStream,
    /// Where it comes from.
    pub peer: SocketAddr,
}

/// One reactor, as others see it.
pub struct Mailbox {
    // None once the reactor has ended.
    waker: Mutex<Option<Waker>>,
    newcomers: Mutex<VecDeque<Newcomer>>,
}

impl Mailbox {
    /// A mailbox whose reactor polls with `registry`.
    pub fn new(registry: &Registry) -> io::Result<Self> {
        Ok(Self { waker: Mutex::new(Some(Waker::new(registry, WAKE)?)), newcomers: Mutex::default() })
    }

    /// End the reactor's wait.
    pub fn wake(&self) {
        if let Some(waker) = &*lock(&self.waker) {
            // It fails only where the wake-ups before it have not been read yet.
            let _ = waker.wake();
        }
    }

    /// The reactor has ended and cannot be woken any more.
    pub fn close(&self) {
        lock(&self.waker).take();
    }

    /// Hand a connection over.
    pub fn put(&self, newcomer: Newcomer) {
        lock(&self.newcomers).push_back(newcomer);
        self.wake();
    }

    /// Take the connections handed over.
    pub fn take(&self) -> VecDeque<Newcomer> {
        std::mem::take(&mut lock(&self.newcomers))
    }
}

/// What all reactors of a server, and those who stop it, share.
pub struct Control {
    /// The counters.
    pub counters: Counters,
    /// What happened to connections, where somebody watches.
    pub journal: Journal,
    /// The reactors; the first accepts.
    pub mailboxes: Vec<Mailbox>,
    clock: Clock,
    stop_at: AtomicU64,
    /// The first reactor has stopped listening and hands nobody over any more.
    pub hung_up: AtomicBool,
    /// The first reactor is not accepting, for want of room.
    pub full: AtomicBool,
    /// A forked child holds duplicates of the sockets: shut them down before closing.
    pub shut_first: AtomicBool,
    listener: Inherited,
    // None where there is no limit for an address.
    shares: Option<Mutex<Shares>>,
    proxies: Vec<(u128, u128)>,
}

impl Control {
    /// The shared part of reactors with these mailboxes, of which the first owns `listener`.
    #[must_use]
    pub fn new(mailboxes: Vec<Mailbox>, listener: Inherited, plan: &Plan) -> Self {
        Self {
            counters: Counters::default(),
            journal: Journal::default(),
            mailboxes,
            clock: Clock::start(),
            stop_at: AtomicU64::new(u64::MAX),
            hung_up: AtomicBool::new(false),
            full: AtomicBool::new(false),
            shut_first: AtomicBool::new(false),
            listener,
            proxies: plan.proxies.clone(),
            shares: (plan.max_per_address != NEVER).then(|| Mutex::new(Shares::new(plan.max_per_address))),
        }
    }

    /// The time, in nanoseconds since the server was made.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Stop listening and end within `drain` nanoseconds, or sooner if that was said before.
    pub fn begin_stop(&self, drain: u64) {
        let at = self.now().saturating_add(drain).min(NEVER);
        self.stop_at.fetch_min(at, SeqCst);
        for mailbox in &self.mailboxes {
            mailbox.wake();
        }
    }

    /// Count a connection, unless its address has as many as it may: then count that, and say no.
    #[must_use]
    pub fn admit(&self, peer: SocketAddr) -> bool {
        let admitted = self.shares.as_ref().is_none_or(|shares| lock(shares).take(network_of(peer.ip())));
        if !admitted {
            self.counters.rejected.fetch_add(1, Relaxed);
        }
        admitted
    }

    /// Whether a connection from there begins with a PROXY header; it is yet to be admitted after that.
    #[must_use]
    pub fn is_proxy(&self, peer: SocketAddr) -> bool {
        let number = number_of(peer.ip());
        self.proxies.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// A connection that was let in is gone.
    pub fn left(&self, peer: SocketAddr) {
        if let Some(shares) = &self.shares {
            lock(shares).give_back(network_of(peer.ip()));
        }
    }

    /// When the server is to end, if it is to stop.
    #[must_use]
    pub fn stop_at(&self) -> Option<u64> {
        let at = self.stop_at.load(SeqCst);
        (at != u64::MAX).then_some(at)
    }

    /// The listener is closed: tell the others, who may end now.
    pub fn hang_up(&self) {
        self.hung_up.store(true, SeqCst);
        for mailbox in self.mailboxes.iter().skip(1) {
            mailbox.wake();
        }
    }

    /// From now on, shut sockets down before closing them: a forked child holds duplicates.
    pub fn forked(&self) {
        self.shut_first.store(true, Relaxed);
    }

    /// Let go of the listener: this is a forked child, which must not hold its parent's port.
    pub fn abandon(&self) {
        self.listener.let_go();
    }

    /// What was counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let c = &self.counters;
        let closed = c.closed.load(SeqCst);
        let accepted = c.accepted.load(SeqCst);
        Stats {
            accepted,
            active: accepted - closed,
            closed,
            shed: c.shed.load(Relaxed),
            rejected: c.rejected.load(Relaxed),
            messages: c.messages.load(Relaxed),
            bytes_in: c.bytes_in.load(Relaxed),
            bytes_out: c.bytes_out.load(Relaxed),
            handler_errors: c.handler_errors.load(Relaxed),
            frame_errors: c.frame_errors.load(Relaxed),
            timeouts: c.timeouts.load(Relaxed),
            handshake_errors: c.handshake_errors.load(Relaxed),
        }
    }

    /// The connections drained and aborted by the stop; those that a busy loop is yet to cut are among the latter.
    #[must_use]
    pub fn outcome(&self) -> (u64, u64) {
        let c = &self.counters;
        let counters = [&c.drained, &c.aborted, &c.closed, &c.accepted];
        let read = || counters.map(|counter| counter.load(SeqCst));
        let mut found = read();
        // Until nothing moved while they were read, so that nobody is counted twice; not for ever.
        for _ in 0..1000 {
            let again = read();
            if again == found {
                break;
            }
            found = again;
        }
        let [drained, aborted, closed, accepted] = found;
        (drained, aborted + accepted.saturating_sub(closed))
    }
}
