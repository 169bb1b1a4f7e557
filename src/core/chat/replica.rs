//! The hub of a room that many nodes share: it proposes what its clients want, and applies what it reads in the log.
//!
//! It is the twin of `oxisock.pure.chat.replica`, which lists the kinds of entries, and makes the same trace.

use std::mem;

use super::hub::{Close, Hub, because};
use super::queues::Client;
use super::room::{Append, Early, Entry, Resident};
use super::text::{clean, is_guest, is_nick};
use crate::core::time::NEVER;

const CLOSING: &[u8] = b"* server is closing\n";

impl Hub {
    /// Apply an entry of the log, or what the driver has to say of it.
    pub fn entry(&mut self, entry: &Entry) {
        let Some(room) = &mut self.room else {
            return;
        };
        let text = clean((&*entry.text).into());
        let client = entry.client;
        match &*entry.kind {
            "join" | "member" => self.come(entry, &text),
            "nick" => self.call(entry),
            "say" => self.show(entry, &text),
            "msg" => self.pass_on(entry, &text),
            "leave" => self.go(entry, &text),
            "kick" => {
                if room.node == entry.node && self.clients.contains_key(&client) {
                    room.leaving.insert(client); // he knows why
                    self.tell(client, format!("! {}\n", because("you were kicked", &text)).as_bytes());
                }
                self.go(entry, &because("kicked", &text));
            }
            "cast" => {
                self.everybody(format_args!("* {text}\n"), None);
                self.remember();
            }
            "past" => {
                self.write(if entry.nick.is_empty() {
                    format!("* {text}\n")
                } else {
                    format!("[{}] {text}\n", entry.nick)
                });
                self.remember();
            }
            "entered" => room.node.clone_from(&entry.node),
            "reset" => {
                room.clear();
                self.history.clear();
            }
            "ready" => {
                let stays = |id: &u64| room.place_of(&room.node, *id).is_some();
                let gone: Vec<u64> = self.clients.keys().copied().filter(|id| !stays(id)).collect();
                for id in gone {
                    self.part_as_lost(id);
                }
            }
            "missing" => self.everybody(format_args!("* lines may be missing\n"), None),
            "refused" => self.refuse(client, &entry.nick, &text),
            "fenced" => {
                self.part_with_all();
                if let Some(room) = &mut self.room {
                    room.clear();
                    room.appends.clear();
                    room.propose("fenced", 0, "", "");
                }
            }
            _ => {}
        }
    }

    /// What is proposed. After "fenced" nothing before it holds; "close" is the last.
    pub fn take_appends(&mut self) -> Vec<Append> {
        self.room.as_mut().map(|room| mem::take(&mut room.appends)).unwrap_or_default()
    }

    /// Those who are in the room, in order of joining.
    #[must_use]
    pub fn residents(&self) -> Vec<Resident> {
        let Some(room) = &self.room else {
            return Vec::new();
        };
        let found = |resident: &Resident| {
            let mine = (resident.node == room.node).then(|| self.clients.get(&resident.client)).flatten();
            let mut resident = resident.clone();
            if let Some(client) = mine {
                (resident.queued, resident.skipped) = (client.backlog + client.out.len(), client.skipped);
            }
            resident
        };
        room.residents.values().map(found).collect()
    }

    pub(super) fn propose(&mut self, kind: &'static str, client: u64, nick: &str, text: &str) {
        if let Some(room) = &mut self.room {
            room.propose(kind, client, nick, text);
        }
    }

    /// Propose that a client is called so.
    pub(super) fn propose_nick(&mut self, id: u64, nick: &str) {
        if !is_nick(nick) {
            self.tell(id, b"! bad nick: 1 to 24 letters, digits, _ and -\n");
        } else if is_guest(nick) {
            self.tell(id, b"! bad nick: guest-N is given, not chosen\n");
        } else {
            self.propose("nick", id, nick, "");
        }
    }

    /// Propose a line in private.
    pub(super) fn propose_whisper(&mut self, id: u64, nick: &str, text: &str) {
        if is_nick(nick) {
            self.propose("msg", id, nick, text);
        } else {
            self.tell(id, format!("! nobody is called {nick}\n").as_bytes());
        }
    }

    /// Propose that a client leaves; one who cannot hear of it is parted with at once.
    pub(super) fn propose_leaving(&mut self, id: u64, reason: &str, text: &str) {
        if let Some(room) = &mut self.room
            && room.leaving.insert(id)
        {
            room.propose("leave", id, "", &because(reason, text));
        }
        if matches!(reason, "lost" | "too slow") {
            self.part(id, reason == "too slow");
        }
    }

    /// Propose that somebody goes; false if nobody is called so.
    pub(super) fn propose_kick(&mut self, nick: &str, reason: &str) -> bool {
        let Some(room) = &mut self.room else {
            return false;
        };
        let found = room.find(nick).is_some();
        if found {
            room.propose("kick", 0, nick, &clean(reason.into()));
        }
        found
    }

    /// Those who are called something in the room.
    pub(super) fn names(&self) -> Vec<&str> {
        match &self.room {
            Some(room) => room.residents.values().map(|resident| &*resident.nick).collect(),
            None => self.clients.values().map(|client| &*client.nick).collect(),
        }
    }

    fn is_mine(&self, node: &str, client: u64) -> bool {
        self.room.as_ref().is_some_and(|room| room.node == node) && self.clients.contains_key(&client)
    }

    fn come(&mut self, entry: &Entry, text: &str) {
        let (nick, client) = (&entry.nick, entry.client);
        let Some(room) = &mut self.room else {
            return;
        };
        let key = nick.to_ascii_lowercase();
        if !is_nick(nick) || room.place_of(&entry.node, client).is_some() || room.called.contains_key(&key) {
            return;
        }
        room.arrivals += 1;
        let resident = Resident {
            nick: nick.clone(),
            place: text.to_owned(),
            when: entry.when,
            queued: 0,
            skipped: 0,
            node: entry.node.clone(),
            client,
        };
        room.residents.insert(room.arrivals, resident);
        room.places.entry(entry.node.clone()).or_default().insert(client, room.arrivals);
        room.called.insert(key, room.arrivals);
        let arrived = if room.node == entry.node { room.arriving.remove(&client) } else { None };
        if let Some(arrival) = arrived {
            self.welcome(client, nick, arrival.since);
            for kept in arrival.early {
                match kept {
                    Early::Line(line, then) => self.line(client, &line, then),
                    Early::TooLong(then) => self.too_long(client, then),
                    Early::TooMuch => self.tell(client, b"! not delivered\n"),
                    Early::End => self.left(client, false),
                }
            }
        } else if self.is_mine(&entry.node, client) {
            let old = self.nick_of(client);
            if old != *nick {
                self.rename_mine(&entry.node, client, nick);
                self.everybody(format_args!("* {old} is now {nick}\n"), None);
            }
        } else if entry.kind == "join" {
            self.event("join", nick, "");
            self.everybody(format_args!("* {nick} joined\n"), None);
        }
    }

    fn welcome(&mut self, client: u64, nick: &str, since: u64) {
        self.clients.insert(client, Client::new(nick.to_owned(), since));
        if self.rules.idle_timeout != NEVER {
            self.timers.set(since + self.rules.idle_timeout, client);
        }
        self.greet(client, nick);
    }

    fn rename_mine(&mut self, node: &str, client: u64, nick: &str) {
        if self.is_mine(node, client)
            && let Some(mine) = self.clients.get_mut(&client)
        {
            nick.clone_into(&mut mine.nick);
        }
    }

    fn call(&mut self, entry: &Entry) {
        let (nick, key) = (&entry.nick, entry.nick.to_ascii_lowercase());
        let Some(room) = &mut self.room else {
            return;
        };
        let Some(place) = room.place_of(&entry.node, entry.client) else {
            return;
        };
        let Some(resident) = room.residents.get_mut(&place).filter(|_| is_nick(nick)) else {
            return;
        };
        if resident.nick == *nick {
            if self.is_mine(&entry.node, entry.client) {
                self.tell(entry.client, format!("! you are {nick} already\n").as_bytes());
            }
        } else if room.called.get(&key).is_none_or(|other| *other == place) {
            let old = mem::replace(&mut resident.nick, nick.clone());
            room.called.remove(&old.to_ascii_lowercase());
            room.called.insert(key, place);
            self.rename_mine(&entry.node, entry.client, nick);
            self.event("nick", &old, nick);
            self.everybody(format_args!("* {old} is now {nick}\n"), None);
        }
    }

    /// What one in the room is called.
    fn called(&self, entry: &Entry) -> Option<String> {
        let room = self.room.as_ref()?;
        let place = room.place_of(&entry.node, entry.client)?;
        Some(room.residents.get(&place)?.nick.clone())
    }

    fn show(&mut self, entry: &Entry, text: &str) {
        let Some(nick) = self.called(entry) else {
            return;
        };
        self.event("message", &nick, text);
        let mine = self.is_mine(&entry.node, entry.client);
        let but = (mine && !self.rules.echo).then_some(entry.client);
        self.everybody(format_args!("[{nick}] {text}\n"), but);
        self.remember();
    }

    fn pass_on(&mut self, entry: &Entry, text: &str) {
        let Some(nick) = self.called(entry) else {
            return;
        };
        let Some(room) = &self.room else {
            return;
        };
        let mine = self.is_mine(&entry.node, entry.client);
        let found = room.find(&entry.nick).and_then(|place| room.residents.get(&place));
        let Some((node, other, name)) = found.map(|found| (&found.node, found.client, &found.nick)) else {
            if mine {
                self.tell(entry.client, format!("! nobody is called {}\n", entry.nick).as_bytes());
            }
            return;
        };
        let his = self.is_mine(node, other);
        if !(mine || his) {
            return;
        }
        let same = *node == entry.node && other == entry.client;
        let line = format!("[{nick} -> {name}] {text}\n");
        self.event("private", &nick, text);
        if his {
            self.tell(other, line.as_bytes());
        }
        if mine && !same {
            self.tell(entry.client, line.as_bytes());
        }
    }

    fn go(&mut self, entry: &Entry, why: &str) {
        let Some(room) = &mut self.room else {
            return;
        };
        let Some(places) = room.places.get_mut(&entry.node) else {
            return;
        };
        let Some(place) = places.remove(&entry.client) else {
            return;
        };
        if places.is_empty() {
            room.places.remove(&entry.node);
        }
        let Some(resident) = room.residents.remove(&place) else {
            return;
        };
        room.called.remove(&resident.nick.to_ascii_lowercase());
        if self.is_mine(&entry.node, entry.client) {
            self.part_as_lost(entry.client);
        }
        self.event("leave", &resident.nick, why);
        self.everybody(format_args!("* {} left ({why})\n", resident.nick), None);
    }

    fn refuse(&mut self, client: u64, kind: &str, text: &str) {
        let line = format!("! {text}\n");
        if !self.clients.contains_key(&client) {
            if kind == "join"
                && let Some(room) = &mut self.room
                && room.arriving.remove(&client).is_some()
            {
                self.closes.push(Close { client, last: line.into_bytes(), cut: false });
            }
        } else if kind == "leave" {
            self.part(client, false);
        } else {
            self.tell(client, line.as_bytes());
        }
    }

    fn part(&mut self, client: u64, cut: bool) {
        if let Some(room) = &mut self.room {
            room.leaving.remove(&client);
        }
        if let Some(member) = self.clients.remove(&client) {
            self.forget_timers();
            self.closes.push(Close { client, last: member.out, cut });
        }
    }

    /// Part with one whom the log has not, and tell him, unless he wanted to go.
    fn part_as_lost(&mut self, id: u64) {
        if let Some(room) = &self.room
            && !room.leaving.contains(&id)
            && let Some(client) = self.clients.get_mut(&id)
        {
            self.lists.append(id, client, CLOSING);
        }
        self.part(id, false);
    }

    /// Part with all clients of this node, and with those on their way in.
    pub(super) fn part_with_all(&mut self) {
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        for id in ids {
            if let Some(client) = self.clients.get_mut(&id) {
                self.lists.append(id, client, CLOSING);
                let nick = client.nick.clone();
                self.event("leave", &nick, "closing");
            }
            self.part(id, false);
        }
        if let Some(room) = &mut self.room {
            for client in mem::take(&mut room.arriving).into_keys() {
                self.closes.push(Close { client, last: CLOSING.to_vec(), cut: false });
            }
        }
        self.lists.doomed.clear();
    }
}
