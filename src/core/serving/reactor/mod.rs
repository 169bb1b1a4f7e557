//! The native reactor: one mio loop that accepts, reads and writes, and lets connection machines decide.
//!
//! A [`Service`] says what becomes of the bytes. The loop comes in two halves, so that whoever
//! turns it can wait between them without holding a lock: [`Reactor::prepare`], a poll, [`Reactor::process`].
//! How connections come in stands in `newcomers`.

mod newcomers;

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::core::memory::zeros;
use crate::core::os::inherited::claim;
use crate::core::os::spinning::Spin;
use crate::core::os::waiting;
use crate::core::serving::connection::{Closed, Faults, NEVER};
use crate::core::serving::control::{Control, Mailbox};
use crate::core::serving::door::Door;
use crate::core::serving::journal::What;
use crate::core::serving::link::Taken;
use crate::core::serving::links::Links;
use crate::core::serving::service::{Plan, Service};

pub(super) const LISTENER: Token = Token(usize::MAX - 1);
pub(super) const WAKE: Token = Token(usize::MAX);
/// How many events one poll gives.
pub const EVENTS: usize = 1024;

/// One loop.
pub struct Reactor<S: Service> {
    /// The connections.
    pub links: Links<S::State>,
    /// What becomes of their bytes.
    pub service: S,
    control: Arc<Control>,
    index: usize,
    door: Option<Door>,
    // By this one, for all that share the listener.
    accepted: u64,
    plan: Plan,
    buffer: Box<[u8]>,
    // Keys to serve in this turn, and in the next one.
    active: Vec<usize>,
    again: Vec<usize>,
    draining: bool,
    ended: bool,
    // What came in before this time is dealt with at the end of the turn.
    heard: u64,
    /// When the thread that polls will wake by itself; 0 while nobody polls.
    pub sleeping_until: u64,
}

/// Loops, each with what it polls with.
pub type Loops<S> = Vec<(Poll, Reactor<S>)>;

impl<S: Service> Reactor<S> {
    /// So many reactors that share a listener, of which the first accepts, each with its poll; and what they share.
    pub fn several(
        listener: StdListener,
        plan: Plan,
        count: usize,
        faults: Option<Faults>,
        service: impl Fn(&Arc<Control>) -> S,
    ) -> io::Result<(Arc<Control>, Loops<S>)> {
        let polls: Vec<Poll> = (0..count).map(|_| Poll::new()).collect::<io::Result<_>>()?;
        let mailboxes = polls.iter().map(|poll| Mailbox::new(poll.registry())).collect::<io::Result<_>>()?;
        let (claim, inherited) = claim(&listener);
        let control = Arc::new(Control::new(mailboxes, inherited, &plan));
        let mut entrance = Some((listener, claim));
        let mut loops = Vec::with_capacity(count);
        for (index, poll) in polls.into_iter().enumerate() {
            let registry = poll.registry().try_clone()?;
            let entrance = entrance.take();
            let door = entrance.map(|(listener, claim)| Door::new(listener, claim, &registry)).transpose()?;
            let links = Links::new(registry, &plan, faults, Arc::clone(&control));
            let reactor = Self {
                links,
                service: service(&control),
                control: Arc::clone(&control),
                index,
                door,
                accepted: 0,
                plan: plan.clone(),
                buffer: zeros(S::CHUNK)?.into_boxed_slice(),
                active: Vec::new(),
                again: Vec::new(),
                draining: false,
                ended: false,
                heard: 0,
                sleeping_until: 0,
            };
            loops.push((poll, reactor));
        }
        Ok((control, loops))
    }

    /// Turn until the end, on a thread of its own.
    pub fn run(mut self, mut poll: Poll) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut spin = Spin::here();
        while let Some(timeout) = self.prepare() {
            if !waiting::select_soon(&mut poll, &mut events, timeout, &mut spin)? {
                self.process(&events);
            }
        }
        Ok(())
    }

    /// Begin or end a stop, send what was queued, and give how long to wait (`None` within: no limit); `None` at the end.
    pub fn prepare(&mut self) -> Option<Option<Duration>> {
        let now = self.control.now();
        self.settle_touched(now);
        let stop_at = self.control.stop_at();
        if let Some(stop_at) = stop_at {
            if !self.draining {
                self.draining = true;
                if self.door.take().is_some() {
                    self.control.hang_up();
                }
                self.service.stopping(&mut self.links, now);
                for key in self.links.keys() {
                    if let Some(link) = self.links.get_mut(key) {
                        link.machine.finish(now);
                    }
                    self.settle(key, now);
                }
            }
            if now >= stop_at {
                for key in self.links.keys() {
                    if let Some(link) = self.links.get_mut(key) {
                        link.machine.abort(Closed::Cut, now);
                    }
                    self.settle(key, now);
                }
            }
            // The first hangs up before the others may end: nobody is handed to a loop that has ended.
            if self.control.hung_up.load(SeqCst) && self.links.is_empty() {
                let newcomers = self.control.mailboxes[self.index].take();
                self.links.look_after_lingering(now);
                if newcomers.is_empty() && (now >= stop_at || self.links.lingering.len() == 0) {
                    self.links.end();
                    self.control.mailboxes[self.index].close();
                    self.ended = true;
                    return None;
                }
                self.welcome(newcomers, now);
            }
        }
        let mut until = self.links.next_timer().min(stop_at.unwrap_or(NEVER)).min(self.service.deadline());
        until = until.min(self.links.lingering.due());
        if !self.again.is_empty() {
            until = 0;
        }
        if let Some(due) = self.door.as_ref().and_then(Door::due) {
            if due > now {
                until = until.min(due);
            } else if self.has_room() {
                until = 0;
            } else {
                self.control.full.store(true, SeqCst);
                // Somebody may have left between the question and the answer.
                if self.has_room() {
                    until = 0;
                }
            }
        }
        self.heard = now;
        self.sleeping_until = until.max(1);
        if until == NEVER {
            return Some(None);
        }
        // A millisecond is the least that the system counts: rounding up spares a busy wait, and costs nobody.
        let left = until.saturating_sub(now).div_ceil(1_000_000);
        Some(Some(Duration::from_millis(left)))
    }

    /// Deal with what a poll gave.
    pub fn process(&mut self, events: &Events) {
        let now = self.control.now();
        self.sleeping_until = 0;
        let mut active = std::mem::take(&mut self.active);
        active.append(&mut self.again);
        for event in events {
            match event.token() {
                LISTENER => {
                    if let Some(door) = &mut self.door {
                        door.knocked();
                    }
                }
                WAKE => {}
                Token(key) => {
                    if self.links.note(key, event) {
                        self.list(key, &mut active);
                    }
                }
            }
        }
        let mut served = 0;
        for key in &active {
            if self.service.full() {
                break;
            }
            if S::PATIENCE != NEVER && served > 0 && self.control.now() - now > S::PATIENCE {
                break;
            }
            served += 1;
            if let Some(link) = self.links.get_mut(*key) {
                link.listed = false;
            }
            self.serve(*key, now);
        }
        // Those who are left come first in the next turn.
        let listed = std::mem::take(&mut self.again);
        self.again.extend(active.drain(..).skip(served).chain(listed));
        self.active = active;
        self.settle_touched(now);
        if self.index > 0 {
            let newcomers = self.control.mailboxes[self.index].take();
            self.welcome(newcomers, now);
        }
        self.service.before_newcomers(&mut self.links, now, self.heard);
        self.accept(now);
        if self.links.lingering.due() <= now && self.links.look_after_lingering(now) {
            self.made_room();
        }
        // After what is ready, and by the time before it was asked for: lag of this loop, or a pause of the whole
        // process, is not the peer's silence.
        while let Some(key) = self.links.expire(self.heard, now) {
            self.flush(key, now);
            self.settle(key, now);
        }
        loop {
            self.service.turned(&mut self.links, now, self.heard);
            if !self.links.touches() {
                break;
            }
            self.settle_touched(now);
        }
    }

    /// Flush and settle those that were touched; also to be called by who queued something while nobody polls.
    pub fn settle_touched(&mut self, now: u64) {
        while let Some(key) = self.links.next_touched() {
            self.flush(key, now);
            self.settle(key, now);
        }
    }

    /// Whether a poll under way has to end, because of what happened meanwhile.
    #[must_use]
    pub fn must_wake(&self) -> bool {
        self.sleeping_until > 0
            && (!self.again.is_empty() || self.draining || self.links.next_timer() < self.sleeping_until)
    }

    /// End a poll under way.
    pub fn wake(&self) {
        self.control.mailboxes[self.index].wake();
    }

    fn list(&mut self, key: usize, list: &mut Vec<usize>) {
        if let Some(link) = self.links.get_mut(key)
            && !link.listed
        {
            link.listed = true;
            list.push(key);
        }
    }

    fn serve(&mut self, key: usize, now: u64) {
        self.flush(key, now);
        match self.links.read(key, &mut self.buffer, now) {
            Taken::Bytes(count) => {
                let begin = self.introduce(key, count, now);
                if begin < count {
                    self.note(key, What::Received(count - begin));
                    self.service.received(&mut self.links, key, &self.buffer[begin..count], now);
                }
            }
            Taken::End => match self.links.get_mut(key) {
                Some(link) if link.header.is_some() => link.machine.abort(Closed::Broken, now),
                _ => self.service.ended(&mut self.links, key, now),
            },
            Taken::Nothing => {}
        }
        self.settle(key, now);
    }

    fn flush(&mut self, key: usize, now: u64) {
        self.links.flush(key, now);
        if let Some(link) = self.links.get_mut(key)
            && link.held
            && !link.machine.paused()
            && link.machine.closed() == Closed::Open
        {
            link.held = false;
            self.service.relieved(&mut self.links, key, now);
        }
    }

    /// Do what the machine wants after something happened: close, go on reading, set a timer.
    fn settle(&mut self, key: usize, now: u64) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let closed = link.machine.closed();
        if closed != Closed::Open {
            self.close(key, closed, now);
            return;
        }
        if link.machine.parts() {
            self.service.parting(&mut self.links, key, now);
            self.links.arm(key);
            return;
        }
        if link.readable && !link.listed && link.machine.room() > 0 {
            link.listed = true;
            self.again.push(key);
        }
        self.links.arm(key);
    }

    /// Count the end of a connection and then close it: whoever sees the end finds it counted.
    fn close(&mut self, key: usize, reason: Closed, now: u64) {
        let counters = &self.control.counters;
        if matches!(reason, Closed::Idle | Closed::Stalled) {
            counters.timeouts.fetch_add(1, Relaxed);
        }
        if reason == Closed::Broken {
            counters.frame_errors.fetch_add(1, Relaxed);
        }
        if reason == Closed::Lost
            && let Some(link) = self.links.get_mut(key)
            // What has to come first is the header, and after that a handshake.
            && link.header.is_none()
            && link.machine.expecting()
        {
            counters.handshake_errors.fetch_add(1, Relaxed);
        }
        if self.draining {
            let end = if reason == Closed::Done { &counters.drained } else { &counters.aborted };
            end.fetch_add(1, SeqCst);
        }
        match reason {
            Closed::Refused => counters.accepted.fetch_sub(1, SeqCst),
            _ => counters.closed.fetch_add(1, SeqCst),
        };
        let shut_first = self.control.shut_first.load(Relaxed);
        if let Some(link) = self.links.remove(key, shut_first, now) {
            if link.opened || reason == Closed::Broken {
                self.control.journal.note(link.peer, What::Closed(reason));
            }
            if link.opened {
                self.control.left(link.peer);
                self.service.closed(link);
            }
        }
        self.made_room();
    }

    fn note(&mut self, key: usize, what: What) {
        if let Some(link) = self.links.get_mut(key) {
            self.control.journal.note(link.peer, what);
        }
    }

    fn made_room(&self) {
        if self.control.full.swap(false, SeqCst) {
            self.control.mailboxes[0].wake();
        }
    }
}

impl<S: Service> Drop for Reactor<S> {
    /// A loop that ends in another way than by a stop takes the others with it, and what is on its way to it is gone.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mailbox = &self.control.mailboxes[self.index];
        mailbox.close();
        let lost = self.links.len() + mailbox.take().len();
        self.control.counters.closed.fetch_add(lost as u64, SeqCst);
        self.control.begin_stop(0);
        if self.index == 0 {
            self.door = None;
            self.control.hang_up();
        }
    }
}
