//! The native chat server: the hub on a reactor, on a thread that never touches Python.

use std::collections::VecDeque;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, sync_channel};

use memchr::memchr;

use super::hub::{Close, Hub, Member};
use super::porter::Porter;
use super::room::{Entry, Resident};
use super::rules::Rules;
use super::shared::{Command, Shared};
use crate::core::errors::Result;
use crate::core::framing::{Codec, Decoder, Frames};
use crate::core::memory;
use crate::core::os::addresses::{self, network_of};
use crate::core::os::bell::Rope;
use crate::core::serving::connection::Closed;
use crate::core::serving::control::Control;
use crate::core::serving::links::{Closing, Links};
use crate::core::serving::reactor::Reactor;
use crate::core::serving::running::Running;
use crate::core::serving::service::{Plan, Service};
use crate::core::time::NEVER;

/// A line of more bytes is looked at only where there are so many times as many for what becomes of it.
const LONG: usize = 64 << 10;
const TIMES: usize = 12;
/// Who is to go and does not read gets this long.
const PATIENCE: u64 = 5_000_000_000;

/// What is kept for a connection.
#[derive(Default)]
struct State {
    joined: u64,
    // Where its stream is, once something came in.
    decoder: Option<Box<Decoder>>,
}

/// The service: carries lines to the hub, and what the hub wants to the connections.
struct Chat {
    hub: Hub,
    // Whether the room is on other nodes too.
    shares: bool,
    porter: Porter,
    codec: Codec,
    control: Arc<Control>,
    shared: Arc<Shared>,
    // Those who are to go, and until when they may take.
    leaving: VecDeque<(u64, u64)>,
    // Those whose connection is gone, for the hub to hear of one by one.
    gone: Vec<u64>,
    // And from where and when they came, for the porter.
    parted: Vec<(u128, u64)>,
    // When who came from where, of whom it is not known yet whether they have gone again.
    unheard: VecDeque<(u64, u64, u128)>,
    timeouts: u64,
    // Scratch space.
    frames: Frames,
}

impl Chat {
    /// Send what waits for a client; one who is hard `pressed` is not judged by what the system said a while ago.
    fn flush(&mut self, links: &mut Links<State>, token: u64, pressed: bool, now: u64) {
        let Some(key) = links.key_of(token) else {
            return;
        };
        let misses = self.hub.send_with(token, |out| {
            links.send(key, out, now);
            if pressed {
                links.retry(key, now);
            }
            links.get_mut(key).map_or(0, |link| link.machine.queued())
        });
        let Some(link) = links.get_mut(key) else {
            return;
        };
        if link.machine.closed() != Closed::Open {
            links.touch(key);
        } else if misses {
            let queued = link.machine.queued();
            link.held = self.hub.backlog(token, queued);
        }
    }

    /// Do what the hub wants before it is told of anything else.
    fn see_to(&mut self, links: &mut Links<State>, now: u64) {
        while self.hub.is_urgent() {
            for token in self.hub.take_pressed() {
                self.flush(links, token, true, now);
            }
            for close in self.hub.take_closes() {
                self.part(links, &close, now);
            }
        }
    }

    fn part(&mut self, links: &mut Links<State>, close: &Close, now: u64) {
        let Some(key) = links.key_of(close.client) else {
            return;
        };
        links.send(key, &close.last, now);
        if let Some(link) = links.get_mut(key) {
            link.held = false;
            if close.cut {
                link.machine.abort(Closed::Cut, now);
            } else {
                link.machine.finish(now);
                self.leaving.push_back((now + PATIENCE, close.client));
            }
        }
        links.touch(key);
    }

    fn obey(&mut self, links: &mut Links<State>, command: Command, now: u64) {
        match command {
            Command::Members(answer) => {
                let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
                let place = |member: Member| {
                    let key = links.key_of(member.client);
                    let peer = key.and_then(|key| links.get_mut(key)).map_or(nowhere, |link| link.peer);
                    (member, peer)
                };
                // Whoever asked may have given up.
                let _ = answer.send(self.hub.members().into_iter().map(place).collect());
            }
            Command::Broadcast(text) => self.hub.broadcast(&text),
            Command::Kick(nick, reason, answer) => {
                let _ = answer.send(self.hub.kick(&nick, &reason));
            }
            Command::Entries(entries, answer) => {
                for entry in &entries {
                    self.hub.entry(entry);
                    self.see_to(links, now);
                }
                let _ = answer.send(());
            }
            Command::Residents(answer) => {
                let _ = answer.send(self.hub.residents());
            }
        }
        self.see_to(links, now);
    }

    fn judge_timers(&mut self, links: &mut Links<State>, now: u64, heard: u64) {
        while self.hub.deadline() <= heard {
            self.hub.tick(heard);
            let timeouts = self.hub.timeouts();
            self.control.counters.timeouts.fetch_add(timeouts - self.timeouts, Relaxed);
            self.timeouts = timeouts;
            self.see_to(links, now);
        }
        while let Some((due, token)) = self.leaving.front().copied() {
            if due > now {
                break;
            }
            self.leaving.pop_front();
            if let Some(key) = links.key_of(token)
                && let Some(link) = links.get_mut(key)
            {
                link.machine.abort(Closed::Cut, now);
                links.touch(key);
            }
        }
    }
}

impl Service for Chat {
    type State = State;
    // Those who say much do not keep the others waiting.
    const CHUNK: usize = 4 * 1024;
    const PATIENCE: u64 = 10_000_000;

    fn opened(&mut self, links: &mut Links<State>, key: usize, now: u64) {
        if let Some(link) = links.get_mut(key) {
            let token = link.token;
            link.state.joined = now;
            let network = network_of(link.peer.ip());
            self.porter.came(network);
            self.unheard.push_back((now, token, network));
            let place = if self.shares {
                format!("{} {}", addresses::host(link.peer), link.peer.port())
            } else {
                String::new()
            };
            if !self.hub.joined(token, now, &place) {
                link.machine.finish(now);
            }
        }
        self.see_to(links, now);
    }

    fn refusal(&self, peer: SocketAddr, now: u64) -> Option<&'static [u8]> {
        if self.hub.full() {
            return Some(b"! server is full\n");
        }
        (!self.porter.admits(network_of(peer.ip()), now)).then_some(b"! slow down\n")
    }

    fn received(&mut self, links: &mut Links<State>, key: usize, data: &[u8], now: u64) {
        let Some(link) = links.get_mut(key) else {
            return;
        };
        let token = link.token;
        let state = link.state.decoder.take();
        let mut decoder = state.unwrap_or_else(|| Box::new(Decoder::new(Arc::clone(&self.codec), true)));
        let (mut rest, mut said) = (data, 0);
        // Line by line, so that a line that is too long is told of in its place.
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (piece, tail) = rest.split_at(end);
            rest = tail;
            let skipped = decoder.skipped_count();
            // Lines fail for want of memory only.
            if decoder.feed(piece, &mut self.frames).is_err() {
                links.exhausted(key, now);
                break;
            }
            if let Some((held, span)) = self.frames.first.take() {
                let words = &held[span.start..span.end];
                // What becomes of a line takes some times its size, and nobody asks whether that can be had.
                if words.len() > LONG && memory::with_capacity::<u8>(words.len().saturating_mul(TIMES)).is_err() {
                    links.exhausted(key, now);
                    break;
                }
                self.hub.line(token, words, now);
            } else if let Some(span) = self.frames.spans.pop() {
                self.hub.line(token, &piece[span.start..span.end], now);
            } else if decoder.skipped_count() > skipped {
                decoder.take_skipped();
                self.control.counters.frame_errors.fetch_add(1, Relaxed);
                self.hub.too_long(token, now);
            } else {
                continue;
            }
            said += 1;
            self.see_to(links, now);
        }
        self.control.counters.messages.fetch_add(said, Relaxed);
        if let Some(link) = links.get_mut(key) {
            link.state.decoder = Some(decoder);
        }
    }

    fn ended(&mut self, links: &mut Links<State>, key: usize, now: u64) {
        if let Some(link) = links.get_mut(key) {
            let token = link.token;
            self.hub.left(token, false);
            self.see_to(links, now);
        }
        if let Some(link) = links.get_mut(key) {
            link.machine.ended(now);
        }
    }

    fn relieved(&mut self, links: &mut Links<State>, key: usize, _: u64) {
        if let Some(link) = links.get_mut(key) {
            let queued = link.machine.queued();
            link.held = self.hub.backlog(link.token, queued);
        }
    }

    fn closed(&mut self, link: Closing<State>) {
        self.gone.push(link.token);
        self.parted.push((network_of(link.peer.ip()), link.state.joined));
    }

    fn before_newcomers(&mut self, links: &mut Links<State>, now: u64, heard: u64) {
        for (network, joined) in self.parted.drain(..) {
            self.porter.left(network, joined, now);
        }
        while let Some((came, token, network)) = self.unheard.front().copied() {
            let key = links.key_of(token);
            if came >= heard || key.and_then(|key| links.get_mut(key)).is_some_and(|link| link.behind()) {
                return;
            }
            self.unheard.pop_front();
            self.porter.heard(network);
        }
    }

    fn turned(&mut self, links: &mut Links<State>, now: u64, heard: u64) {
        for command in self.shared.take_commands() {
            self.obey(links, command, now);
        }
        self.judge_timers(links, now, heard);
        for token in mem::take(&mut self.gone) {
            self.hub.left(token, true);
            self.see_to(links, now);
        }
        loop {
            let dirty = self.hub.take_dirty();
            if dirty.is_empty() {
                break;
            }
            for token in dirty {
                self.flush(links, token, false, now);
            }
            self.see_to(links, now);
        }
        let events = self.hub.take_events();
        if !events.is_empty() {
            self.shared.put(events);
        }
        let appends = self.hub.take_appends();
        if !appends.is_empty() {
            self.shared.append(appends);
        }
    }

    fn newcomers(&self) -> u64 {
        self.porter.most()
    }

    fn stopping(&mut self, links: &mut Links<State>, now: u64) {
        self.hub.close();
        self.see_to(links, now);
        self.shared.put(self.hub.take_events());
        self.shared.append(self.hub.take_appends());
    }

    fn deadline(&self) -> u64 {
        self.hub.deadline().min(self.leaving.front().map_or(NEVER, |(due, _)| *due))
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// The reactor of a chat server, on a thread of its own.
pub struct ChatReactor {
    /// Its thread.
    pub running: Running,
    /// How others talk to it.
    pub shared: Arc<Shared>,
}

impl ChatReactor {
    /// Begin to chat on a listener that does not block; `codec` cuts lines.
    ///
    /// The rope is pulled when there is something to append to the log of a shared room.
    pub fn start(listener: TcpListener, plan: Plan, codec: &Codec, rules: &Rules, rope: Option<Rope>) -> Result<Self> {
        let shared = Arc::new(Shared::new(rope));
        let chat = |control: &Arc<Control>| Chat {
            hub: Hub::new(rules.clone()),
            shares: rules.shared,
            porter: Porter::new(rules.interval, rules.burst),
            codec: Arc::clone(codec),
            control: Arc::clone(control),
            shared: Arc::clone(&shared),
            leaving: VecDeque::new(),
            gone: Vec::new(),
            parted: Vec::new(),
            unheard: VecDeque::new(),
            timeouts: 0,
            frames: Frames::default(),
        };
        let (control, loops) = Reactor::several(listener, plan, 1, None, chat)?;
        Ok(Self { running: Running::start(|_| "oxisock-chat".into(), &control, loops)?, shared })
    }

    /// Who is there, and where, in order of joining.
    #[must_use]
    pub fn members(&self) -> Vec<(Member, SocketAddr)> {
        let (answer, answered) = sync_channel(1);
        self.ask(Command::Members(answer));
        received(&answered)
    }

    /// Say something to everybody.
    pub fn broadcast(&self, text: String) {
        self.ask(Command::Broadcast(text));
    }

    /// Part with a client; false if nobody is called so.
    #[must_use]
    pub fn kick(&self, nick: String, reason: String) -> bool {
        let (answer, answered) = sync_channel(1);
        self.ask(Command::Kick(nick, reason, answer));
        received(&answered)
    }

    /// Apply entries of the log of a shared room; returns when that is done.
    pub fn entries(&self, entries: Vec<Entry>) {
        let (answer, answered) = sync_channel(1);
        self.ask(Command::Entries(entries, answer));
        received(&answered);
    }

    /// Who is in the shared room.
    #[must_use]
    pub fn residents(&self) -> Vec<Resident> {
        let (answer, answered) = sync_channel(1);
        self.ask(Command::Residents(answer));
        received(&answered)
    }

    fn ask(&self, command: Command) {
        self.shared.ask(command);
        for mailbox in &self.running.control.mailboxes {
            mailbox.wake();
        }
    }
}

/// The answer, or nothing from a loop that has ended.
fn received<T: Default>(answered: &Receiver<T>) -> T {
    answered.recv().unwrap_or_default()
}
