//! The native message loop: hands what comes in to the thread that turns it, and sends what that thread answers.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mio::{Events, Poll};

use super::connection::{Closed, NEVER};
use super::control::Control;
use super::links::{Closing, Links};
use super::reactor::{EVENTS, Reactor};
use super::service::{Plan, Service};
use crate::core::framing::{Codec, Decoder, FeedError, Frames, Span};
use crate::core::latch::lock;
use crate::core::memory::{NoMemory, append};
use crate::core::os::spinning::Spin;
use crate::core::os::waiting;

/// An arena larger than this is given back after its batch.
const KEPT_ARENA: usize = 4 << 20;
const KEPT_SPANS: usize = 64 << 10;
/// With so many messages it is the handlers' turn: those who asked first would wait while more are read.
const BATCH: usize = 4096;
/// And with so many bytes, which have to be somewhere until they are handled.
const BATCH_BYTES: usize = 1 << 20;

/// What came in on a connection.
pub enum Input {
    /// Bytes: from here to there in the batch's arena.
    Bytes(usize, usize),
    /// The end of them.
    End,
    /// Nothing new, but there is room for answers that had to wait.
    Relief,
    /// Messages.
    Messages {
        /// The one that had begun in an earlier chunk, and where in these bytes it stands.
        first: Option<(Vec<u8>, Span)>,
        /// The others: from here to there in the batch's spans.
        spans: Range<usize>,
        /// What ends them.
        error: Option<FeedError>,
    },
    /// The connection is gone, and with it whatever was kept for it.
    Gone,
}

/// One connection's part of a batch.
pub struct Delivery {
    /// The connection.
    pub token: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// How many bytes of answers there is room for.
    pub room: usize,
    /// What came in.
    pub input: Input,
}

/// What came in on all connections.
#[derive(Default)]
pub struct Batch {
    /// By connection, each at most once.
    pub deliveries: Vec<Delivery>,
    /// Where their bytes are.
    pub arena: Vec<u8>,
    /// Where in the arena their messages are.
    pub spans: Vec<Span>,
    /// The bytes in the arena, and those of messages that had begun earlier.
    weight: usize,
}

impl Batch {
    /// Keep a copy of the messages at `spans` of a chunk: its buffer serves other connections next.
    fn keep(&mut self, data: &[u8], spans: &[Span]) -> Result<(), NoMemory> {
        if let (Some(low), Some(high)) = (spans.first(), spans.last()) {
            let (low, base) = (low.start, self.arena.len());
            self.spans.try_reserve(spans.len())?;
            append(&mut self.arena, &data[low..high.end])?;
            self.spans.extend(spans.iter().map(|s| Span { start: s.start - low + base, end: s.end - low + base }));
        }
        Ok(())
    }
}

/// What becomes of a connection with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// All is answered.
    Answered,
    /// The rest waits until there is room.
    Held,
    /// All is answered and the connection is to close.
    Finish,
}

/// So many messages are cut from what was read, before those are handled.
const MOST: usize = 1024;

/// What is kept for a connection.
#[derive(Default)]
struct State {
    // Where its stream is, once something came in.
    decoder: Option<Box<Decoder>>,
    // What was read and not cut yet, from `at` on.
    rest: Vec<u8>,
    at: usize,
    // Whoever calls handlers holds messages back.
    holds: bool,
}

/// The service: collects what came in, one delivery of each connection at a time.
struct Messages {
    // Without one, whoever turns does the framing.
    codec: Option<Codec>,
    // How long a TLS handshake may take, where whoever turns speaks TLS.
    handshake: Option<u64>,
    batch: Batch,
    // Tokens, and what their sockets took.
    gone: Vec<(u64, u64)>,
    // Scratch space.
    frames: Frames,
}

impl Messages {
    fn deliver(&mut self, links: &mut Links<State>, key: usize, input: Input, now: u64) {
        let room = links.room_for_answers(key);
        if let Some(link) = links.get_mut(key) {
            link.machine.deliver(now);
            let (token, peer) = (link.token, link.peer);
            self.batch.deliveries.push(Delivery { token, peer, room, input });
        }
    }

    /// Cut a chunk into messages, as many as are delivered at once; give how much of it that takes.
    fn cut(&mut self, links: &mut Links<State>, key: usize, data: &[u8], codec: &Codec, now: u64) -> usize {
        let Some(link) = links.get_mut(key) else {
            return data.len();
        };
        let decoder = link.state.decoder.get_or_insert_with(|| Box::new(Decoder::new(Arc::clone(codec), false)));
        let (taken, mut error) = match decoder.feed_some(data, &mut self.frames, MOST) {
            // Nothing is read after the end.
            Err(FeedError::Ended) => return data.len(),
            Ok(taken) => (taken, None),
            Err(error) => (data.len(), Some(error)),
        };
        let first = self.frames.first.take();
        if first.is_none() && self.frames.spans.is_empty() && error.is_none() {
            return taken;
        }
        link.machine.active(now);
        let batch = &mut self.batch;
        batch.weight += taken + first.as_ref().map_or(0, |(held, _)| held.len());
        let begin = batch.spans.len();
        if batch.keep(data, &self.frames.spans).is_err() {
            decoder.lose();
            error = Some(FeedError::Memory);
        }
        self.frames.spans.clear();
        let spans = begin..self.batch.spans.len();
        self.deliver(links, key, Input::Messages { first, spans, error }, now);
        taken
    }

    /// Cut more of what was read earlier; where that completes no message, the connection is read again.
    fn cut_rest(&mut self, links: &mut Links<State>, key: usize, now: u64) {
        let (Some(codec), Some(link)) = (self.codec.clone(), links.get_mut(key)) else {
            return;
        };
        let (rest, at) = (mem::take(&mut link.state.rest), link.state.at);
        let before = self.batch.deliveries.len();
        let taken = self.cut(links, key, &rest[at..], &codec, now);
        let Some(link) = links.get_mut(key) else {
            return;
        };
        if at + taken < rest.len() {
            (link.state.rest, link.state.at) = (rest, at + taken);
        }
        if self.batch.deliveries.len() == before {
            link.machine.answered(0, now);
            links.touch(key);
        }
    }

    fn finish(&mut self, links: &mut Links<State>, key: usize, now: u64) {
        let last = links.get_mut(key).and_then(|link| link.state.decoder.as_mut()).map(|decoder| decoder.eof());
        let (first, error) = match last {
            Some(Ok(Some(frame))) => {
                let end = frame.len();
                (Some((frame, Span { start: 0, end })), None)
            }
            Some(Err(error)) => (None, Some(error)),
            _ => return,
        };
        let at = self.batch.spans.len();
        self.deliver(links, key, Input::Messages { first, spans: at..at, error }, now);
    }
}

impl Service for Messages {
    type State = State;

    fn received(&mut self, links: &mut Links<State>, key: usize, data: &[u8], now: u64) {
        if let Some(codec) = self.codec.clone() {
            let taken = self.cut(links, key, data, &codec, now);
            if let Some(link) = links.get_mut(key)
                && taken < data.len()
            {
                link.state.at = 0;
                if append(&mut link.state.rest, &data[taken..]).is_err() {
                    links.exhausted(key, now);
                }
            }
        } else {
            let start = self.batch.arena.len();
            self.batch.weight += data.len();
            match append(&mut self.batch.arena, data) {
                Ok(()) => self.deliver(links, key, Input::Bytes(start, start + data.len()), now),
                Err(NoMemory) => links.exhausted(key, now),
            }
        }
    }

    fn ended(&mut self, links: &mut Links<State>, key: usize, now: u64) {
        if self.codec.is_some() {
            self.finish(links, key, now);
        } else {
            self.deliver(links, key, Input::End, now);
        }
        if let Some(link) = links.get_mut(key) {
            link.machine.ended(now);
        }
    }

    fn relieved(&mut self, links: &mut Links<State>, key: usize, now: u64) {
        match links.get_mut(key) {
            Some(link) if !link.state.holds && self.codec.is_some() => self.cut_rest(links, key, now),
            Some(link) => {
                link.state.holds = false;
                self.deliver(links, key, Input::Relief, now);
            }
            None => {}
        }
    }

    fn opened(&mut self, links: &mut Links<State>, key: usize, now: u64) {
        if let Some(timeout) = self.handshake
            && let Some(link) = links.get_mut(key)
        {
            link.machine.require_by(now.saturating_add(timeout).min(NEVER), Closed::Idle, now);
            link.machine.owe_farewell(now);
        }
    }

    fn parting(&mut self, links: &mut Links<State>, key: usize, now: u64) {
        self.deliver(links, key, Input::Relief, now);
    }

    fn closed(&mut self, link: Closing<State>) {
        if self.codec.is_none() {
            self.gone.push((link.token, link.written));
        } else if link.state.holds {
            self.forget(link.token, link.peer);
        }
    }

    fn full(&self) -> bool {
        self.batch.spans.len() >= BATCH || self.batch.weight >= BATCH_BYTES
    }
}

impl Messages {
    /// Whether there is something for who turns: those who have gone too, for whom it keeps something.
    fn has_news(&self) -> bool {
        !(self.batch.deliveries.is_empty() && self.gone.is_empty())
    }

    fn forget(&mut self, token: u64, peer: SocketAddr) {
        self.batch.deliveries.push(Delivery { token, peer, room: 0, input: Input::Gone });
    }
}

/// The loop of a message server. One thread turns it at a time; the rest may be called from any thread.
pub struct MessageReactor {
    /// What the reactor shares with who watches it.
    pub control: Arc<Control>,
    core: Mutex<Reactor<Messages>>,
    // None once it has ended.
    poll: Mutex<Option<(Poll, Events, Spin)>>,
}

impl MessageReactor {
    /// The loop on a listener that does not block.
    pub fn new(listener: TcpListener, plan: Plan, codec: Option<Codec>) -> io::Result<Self> {
        let handshake = plan.secure.then_some(plan.handshake_timeout);
        let service = |_: &_| Messages {
            codec: codec.clone(),
            handshake,
            batch: Batch::default(),
            gone: Vec::new(),
            frames: Frames::default(),
        };
        let (control, mut loops) = Reactor::several(listener, plan, 1, None, service)?;
        let (poll, reactor) = loops.swap_remove(0);
        let poll = Mutex::new(Some((poll, Events::with_capacity(EVENTS), Spin::here())));
        Ok(Self { control, core: Mutex::new(reactor), poll })
    }

    /// Wait for input, if so, and give it; `None` when the server has ended.
    pub fn turn(&self, wait: bool) -> io::Result<Option<Batch>> {
        let mut waiting = lock(&self.poll);
        let Some((poll, events, spin)) = &mut *waiting else {
            return Ok(None);
        };
        loop {
            let timeout = {
                let mut core = self.core();
                match core.prepare() {
                    None if core.service.batch.deliveries.is_empty() => None,
                    timeout if wait && !core.service.has_news() => timeout,
                    // Others have their turn with what is left of earlier input.
                    Some(_) => Some(Some(Duration::ZERO)),
                    None => {
                        core.sleeping_until = 0;
                        return Ok(Some(mem::take(&mut core.service.batch)));
                    }
                }
            };
            let Some(timeout) = timeout else {
                *waiting = None;
                return Ok(None);
            };
            if waiting::select_soon(poll, events, timeout, spin)? {
                continue;
            }
            let mut core = self.core();
            core.process(events);
            if !wait || core.service.has_news() {
                return Ok(Some(mem::take(&mut core.service.batch)));
            }
        }
    }

    /// What has to come first on a connection, a handshake, has come.
    pub fn begun(&self, token: u64) {
        let mut core = self.core();
        let now = self.control.now();
        if let Some(link) = core.links.key_of(token).and_then(|key| core.links.get_mut(key)) {
            link.machine.begin(now);
        }
    }

    /// Give a batch's memory back for the next one.
    pub fn recycle(&self, mut batch: Batch) {
        batch.deliveries.clear();
        batch.arena.clear();
        batch.arena.shrink_to(KEPT_ARENA);
        batch.spans.clear();
        batch.spans.shrink_to(KEPT_SPANS);
        batch.weight = 0;
        let mut core = self.core();
        let next = &mut core.service.batch;
        if next.deliveries.is_empty() {
            *next = batch;
        }
    }

    /// Send answers, as far as that goes at once: what is sent, to how many messages, and what is to become of the connection.
    pub fn answer(&self, answers: &[(u64, &[u8], u64, Action)]) {
        let mut core = self.core();
        let now = self.control.now();
        // Before they leave, or a peer could have its answer before the counters show it.
        let handled = answers.iter().map(|(_, _, messages, _)| messages).sum();
        self.control.counters.messages.fetch_add(handled, Relaxed);
        for &(token, output, messages, action) in answers {
            let links = &mut core.links;
            let Some(key) = links.key_of(token) else {
                // It closed meanwhile, and the answer may have left something to forget.
                if core.service.codec.is_none() {
                    core.service.gone.push((token, 0));
                } else if action == Action::Held {
                    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
                    core.service.forget(token, nowhere);
                }
                continue;
            };
            links.send(key, output, now);
            links.touch(key);
            if let Some(link) = links.get_mut(key) {
                let holds = action == Action::Held;
                if holds || (action == Action::Answered && !link.state.rest.is_empty()) {
                    link.machine.active(now);
                    link.held = true;
                    link.state.holds = holds;
                } else {
                    if action == Action::Finish {
                        link.machine.finish(now);
                    }
                    link.machine.answered(messages, now);
                }
            }
        }
    }

    /// Send what was queued while another thread turns.
    pub fn send(&self) {
        let mut core = self.core();
        let now = self.control.now();
        core.settle_touched(now);
        if core.must_wake() || !core.service.batch.deliveries.is_empty() {
            core.wake();
        }
    }

    /// How many bytes the socket of a connection took; `None` where it has closed.
    #[must_use]
    pub fn written(&self, token: u64) -> Option<u64> {
        let mut core = self.core();
        let key = core.links.key_of(token)?;
        core.links.get_mut(key).map(|link| link.machine.written())
    }

    /// The tokens of the connections that closed since the last call, and how many bytes their sockets took.
    #[must_use]
    pub fn take_closed(&self) -> Vec<(u64, u64)> {
        mem::take(&mut self.core().service.gone)
    }

    fn core(&self) -> MutexGuard<'_, Reactor<Messages>> {
        lock(&self.core)
    }
}
