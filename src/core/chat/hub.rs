//! The chat hub as a machine: who is there, what everybody is sent, who has to go. Holds no socket and reads no clock.
//!
//! It is the twin of `oxisock.pure.chat.hub`, which says what a driver has to do and when, and makes the same trace.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::mem;

use crate::core::time::NEVER;
use crate::core::timers::Timers;

use super::history::History;
use super::queues::{Client, Lists};
use super::room::Room;
use super::rules::Rules;
use super::text::{blank, clean, clean_bytes};

const SECOND: u64 = 1_000_000_000;
/// An empty queue larger than this is given back.
const KEPT_OUTPUT: usize = 2048;

/// A client to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Who.
    pub client: u64,
    /// What to send last.
    pub last: Vec<u8>,
    /// Cut it off at once instead.
    pub cut: bool,
}

/// What happened: kind, nick, text.
pub type Event = (&'static str, String, String);

/// One of those who are there.
#[derive(Clone, Debug)]
pub struct Member {
    /// The number that the driver gave it.
    pub client: u64,
    /// What it is called.
    pub nick: String,
    /// When it joined.
    pub joined: u64,
    /// How many bytes wait for it.
    pub queued: usize,
    /// How many lines it missed.
    pub skipped: u64,
}

/// The room: members, history, limits.
pub struct Hub {
    pub(super) rules: Rules,
    // Their numbers grow, so this is also the order of joining.
    pub(super) clients: BTreeMap<u64, Client>,
    // In lower case.
    pub(super) nicks: HashMap<String, u64>,
    guests: u64,
    pub(super) history: History,
    pub(super) timers: Timers,
    pub(super) lists: Lists,
    pub(super) closes: Vec<Close>,
    events: Vec<Event>,
    closing: bool,
    timeouts: u64,
    // Scratch space for the line that is being delivered.
    line: String,
    // What is known of the other nodes, if there are any.
    pub(super) room: Option<Room>,
}

impl Hub {
    /// An empty room.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            room: rules.shared.then(Room::default),
            rules,
            clients: BTreeMap::new(),
            nicks: HashMap::new(),
            guests: 0,
            history: History::default(),
            timers: Timers::default(),
            lists: Lists::default(),
            closes: Vec::new(),
            events: Vec::new(),
            closing: false,
            timeouts: 0,
            line: String::new(),
        }
    }

    /// Whether nobody else can join.
    #[must_use]
    pub fn full(&self) -> bool {
        let arriving = self.room.as_ref().map_or(0, Room::arriving);
        self.closing || self.clients.len() + arriving >= self.rules.max_clients
    }

    /// Somebody has come, from `place` if it matters; false if there is no room.
    pub fn joined(&mut self, id: u64, now: u64, place: &str) -> bool {
        if self.full() {
            return false;
        }
        if let Some(room) = &mut self.room {
            room.joined(id, now, place);
            return true;
        }
        self.guests += 1;
        let nick = format!("guest-{}", self.guests);
        self.clients.insert(id, Client::new(nick.clone(), now));
        self.nicks.insert(nick.clone(), id);
        if self.rules.idle_timeout != NEVER {
            self.timers.set(now + self.rules.idle_timeout, id);
        }
        self.greet(id, &nick);
        true
    }

    /// Tell a newcomer what he is called and what was said, and the others that he has come.
    pub(super) fn greet(&mut self, id: u64, nick: &str) {
        let welcome = format!("* welcome to {}, you are {nick}\n", self.rules.name);
        self.tell(id, welcome.as_bytes());
        if let Some(client) = self.clients.get_mut(&id) {
            // Half a queue is left for what comes.
            for line in self.history.last(self.rules.queue_limit / 2) {
                self.lists.deliver(id, client, line, &self.rules);
            }
        }
        self.event("join", nick, "");
        self.everybody(format_args!("* {nick} joined\n"), Some(id));
    }

    /// A line came in, without its end.
    pub fn line(&mut self, id: u64, line: &[u8], now: u64) {
        if let Some(room) = &mut self.room
            && room.defers(id, Some(line), now, self.rules.queue_limit)
        {
            return;
        }
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.last = now;
        let text = clean_bytes(line);
        if !blank(&text) && self.allowed(id, now) {
            match text.strip_prefix('/') {
                None => self.say(id, &text),
                Some(said) if said.starts_with('/') => self.say(id, said),
                Some(command) => {
                    let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
                    self.obey(id, word, rest.trim_matches(' '));
                }
            }
        }
    }

    /// A line came that was over the limit, and is lost.
    pub fn too_long(&mut self, id: u64, now: u64) {
        if let Some(room) = &mut self.room
            && room.defers(id, None, now, self.rules.queue_limit)
        {
            return;
        }
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.last = now;
        if self.allowed(id, now) {
            self.tell(id, b"! line too long\n");
        }
    }

    /// A client has closed its end, or the connection is lost.
    pub fn left(&mut self, id: u64, lost: bool) {
        if let Some(room) = &mut self.room
            && room.turned_back(id, lost)
        {
            return;
        }
        if self.clients.contains_key(&id) {
            self.remove(id, if lost { "lost" } else { "quit" }, "");
        }
    }

    /// Time has passed: part with one who was silent for too long, if so; there may be more at `deadline`.
    pub fn tick(&mut self, now: u64) {
        while let Some((_, id)) = self.timers.take(now) {
            let Some(client) = self.clients.get(&id) else {
                continue;
            };
            let due = client.last + self.rules.idle_timeout;
            if due > now {
                self.timers.set(due, id);
            } else {
                self.tell(id, b"! you have been idle for too long\n");
                self.remove(id, "idle", "");
                self.timeouts += 1;
                return;
            }
        }
    }

    /// The driver has `size` bytes that it could not send; true to be told when there are fewer.
    pub fn backlog(&mut self, id: u64, size: usize) -> bool {
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        client.backlog = size;
        if client.missed > 0 && size + client.out.len() <= self.rules.queue_limit / 2 {
            let missed = mem::take(&mut client.missed);
            let line = format!("* {missed} lines skipped\n");
            self.lists.deliver(id, client, line.as_bytes(), &self.rules);
        }
        client.missed > 0
    }

    /// Say something to everybody on behalf of the server.
    pub fn broadcast(&mut self, text: &str) {
        let text = clean(Cow::Borrowed(text));
        if self.room.is_some() {
            return self.propose("cast", 0, "", &text);
        }
        self.everybody(format_args!("* {text}\n"), None);
        self.remember();
    }

    /// Part with a client; false if nobody is called so.
    pub fn kick(&mut self, nick: &str, reason: &str) -> bool {
        if self.room.is_some() {
            return self.propose_kick(nick, reason);
        }
        let Some(id) = self.find(nick) else {
            return false;
        };
        let reason = clean(Cow::Borrowed(reason));
        let line = format!("! {}\n", because("you were kicked", &reason));
        self.tell(id, line.as_bytes());
        self.remove(id, "kicked", &reason);
        true
    }

    /// The server is closing: say so to everybody, and part with them. Nobody can join any more.
    pub fn close(&mut self) {
        self.closing = true;
        if self.room.is_some() {
            self.part_with_all();
            return self.propose("close", 0, "", "");
        }
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        for id in ids {
            if let Some(client) = self.clients.get_mut(&id) {
                client.doomed = false; // now it makes no difference
                self.lists.append(id, client, b"* server is closing\n");
            }
            self.forget(id, "closing", "");
        }
        self.lists.doomed.clear();
    }

    /// Those whose queue is over the limit: unless it can be sent now, they miss what comes next.
    pub fn take_pressed(&mut self) -> Vec<u64> {
        let pressed = mem::take(&mut self.lists.pressed);
        self.unlist(pressed, |client| client.pressed = false)
    }

    /// Whether `take_pressed` or `take_closes` has something to give.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        !(self.lists.pressed.is_empty() && self.lists.doomed.is_empty() && self.closes.is_empty())
    }

    /// Those to be closed; of those who are too slow at most one, so that its news cannot be too much for another.
    pub fn take_closes(&mut self) -> Vec<Close> {
        while let Some(id) = self.lists.doomed.pop_front() {
            if self.clients.contains_key(&id) {
                self.remove(id, "too slow", "");
                break;
            }
        }
        mem::take(&mut self.closes)
    }

    /// Those who have something to take, and maybe some that have left since.
    pub fn take_dirty(&mut self) -> Vec<u64> {
        let dirty = mem::take(&mut self.lists.dirty);
        self.unlist(dirty, |client| client.dirty = false)
    }

    fn unlist(&mut self, ids: Vec<u64>, note: impl Fn(&mut Client)) -> Vec<u64> {
        for id in &ids {
            if let Some(client) = self.clients.get_mut(id) {
                note(client);
            }
        }
        ids
    }

    /// Hand what is to be sent to a client to `send`, which gives how many bytes of it, and of what came before, wait.
    ///
    /// True if the client misses lines meanwhile, so that `backlog` wants to be told.
    pub fn send_with(&mut self, id: u64, send: impl FnOnce(&[u8]) -> usize) -> bool {
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        client.backlog = send(&client.out);
        if client.out.capacity() > KEPT_OUTPUT {
            client.out = Vec::new();
        } else {
            client.out.clear();
        }
        client.missed > 0
    }

    /// What happened.
    pub fn take_events(&mut self) -> Vec<Event> {
        mem::take(&mut self.events)
    }

    /// The time at which `tick` has something to judge.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        self.timers.next()
    }

    /// How many were silent for too long.
    #[must_use]
    pub fn timeouts(&self) -> u64 {
        self.timeouts
    }

    /// Those who are there, in order of joining.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let member = |(id, client): (&u64, &Client)| Member {
            client: *id,
            nick: client.nick.clone(),
            joined: client.joined,
            queued: client.backlog + client.out.len(),
            skipped: client.skipped,
        };
        self.clients.iter().map(member).collect()
    }

    /// Take a token; false, with a warning once a second, if there is none.
    fn allowed(&mut self, id: u64, now: u64) -> bool {
        let interval = self.rules.interval;
        let Some(client) = self.clients.get_mut(&id) else {
            return false;
        };
        if interval == 0 {
            return true;
        }
        let tat = client.tat.max(now);
        if tat - now <= (self.rules.burst - 1).saturating_mul(interval) {
            client.tat = tat.saturating_add(interval);
            return true;
        }
        if client.warned.is_none_or(|warned| now - warned >= SECOND) {
            client.warned = Some(now);
            self.tell(id, b"! slow down\n");
        }
        false
    }

    /// Append a line to the queues of all but one; this loop is what a chat spends its time in.
    pub(super) fn everybody(&mut self, line: std::fmt::Arguments<'_>, but: Option<u64>) {
        self.line.clear();
        // Writing to a string does not fail.
        let _ = self.line.write_fmt(line);
        let (lists, rules, bytes) = (&mut self.lists, &self.rules, self.line.as_bytes());
        for (id, client) in &mut self.clients {
            if but != Some(*id) {
                lists.deliver(*id, client, bytes, rules);
            }
        }
    }

    /// Take this as the line that was just delivered.
    pub(super) fn write(&mut self, line: String) {
        self.line = line;
    }

    /// Keep the line that was just delivered for those who come later.
    pub(super) fn remember(&mut self) {
        self.history.keep(&self.line, self.rules.history);
    }

    pub(super) fn tell(&mut self, id: u64, line: &[u8]) {
        if let Some(client) = self.clients.get_mut(&id) {
            self.lists.deliver(id, client, line, &self.rules);
        }
    }

    pub(super) fn remove(&mut self, id: u64, reason: &str, text: &str) {
        if self.room.is_some() {
            return self.propose_leaving(id, reason, text);
        }
        let nick = self.forget(id, reason, text);
        self.everybody(format_args!("* {nick} left ({})\n", because(reason, text)), None);
    }

    fn forget(&mut self, id: u64, reason: &str, text: &str) -> String {
        let Some(client) = self.clients.remove(&id) else {
            return String::new();
        };
        self.forget_timers();
        self.nicks.remove(&client.nick.to_ascii_lowercase());
        self.closes.push(Close { client: id, last: client.out, cut: reason == "too slow" });
        self.event("leave", &client.nick, &because(reason, text));
        client.nick
    }

    /// Forget the timers of members who have left, once they are most.
    pub(super) fn forget_timers(&mut self) {
        let clients = &self.clients;
        self.timers.tidy(clients.len(), |_, id| clients.contains_key(&id));
    }

    pub(super) fn find(&self, nick: &str) -> Option<u64> {
        self.nicks.get(&nick.to_ascii_lowercase()).copied()
    }

    pub(super) fn nick_of(&self, id: u64) -> String {
        self.clients.get(&id).map(|client| client.nick.clone()).unwrap_or_default()
    }

    pub(super) fn event(&mut self, kind: &'static str, nick: &str, text: &str) {
        if self.rules.events {
            self.events.push((kind, nick.to_owned(), text.to_owned()));
        }
    }
}

pub(super) fn because<'a>(reason: &'a str, text: &str) -> Cow<'a, str> {
    if text.is_empty() { Cow::Borrowed(reason) } else { Cow::Owned(format!("{reason}: {text}")) }
}
