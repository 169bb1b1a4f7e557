//! What a client can say in a chat: text, and commands.

use std::mem;

use super::hub::Hub;
use super::text::{is_guest, is_nick};

const HELP: &str = "* /nick NAME, /who, /msg NICK TEXT, /me ACTION, /ping, /quit [TEXT], /help; //x says /x\n";

impl Hub {
    pub(super) fn obey(&mut self, id: u64, word: &str, rest: &str) {
        match word {
            "nick" => self.rename(id, rest),
            "who" => {
                let names = self.names();
                let line = format!("* {} online: {}\n", names.len(), names.join(", "));
                self.tell(id, line.as_bytes());
            }
            "msg" => self.whisper(id, rest),
            "me" if rest.is_empty() => self.tell(id, b"! usage: /me ACTION\n"),
            "me" => self.say(id, &format!("~ {rest}")),
            "ping" => self.tell(id, b"* pong\n"),
            "quit" => self.remove(id, "quit", rest),
            "help" => self.tell(id, HELP.as_bytes()),
            _ => self.tell(id, b"! unknown command\n"),
        }
    }

    fn rename(&mut self, id: u64, nick: &str) {
        if self.room.is_some() {
            return self.propose_nick(id, nick);
        }
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let key = nick.to_ascii_lowercase();
        if !is_nick(nick) {
            self.tell(id, b"! bad nick: 1 to 24 letters, digits, _ and -\n");
        } else if is_guest(nick) {
            self.tell(id, b"! bad nick: guest-N is given, not chosen\n");
        } else if nick == client.nick {
            self.tell(id, format!("! you are {nick} already\n").as_bytes());
        } else if self.nicks.get(&key).is_some_and(|other| *other != id) {
            self.tell(id, format!("! {nick} is taken\n").as_bytes());
        } else {
            let old = mem::replace(&mut client.nick, nick.to_owned());
            self.nicks.remove(&old.to_ascii_lowercase());
            self.nicks.insert(key, id);
            self.event("nick", &old, nick);
            self.everybody(format_args!("* {old} is now {nick}\n"), None);
        }
    }

    fn whisper(&mut self, id: u64, rest: &str) {
        let (nick, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let text = text.trim_start_matches(' ');
        if text.is_empty() {
            self.tell(id, b"! usage: /msg NICK TEXT\n");
            return;
        }
        if self.room.is_some() {
            return self.propose_whisper(id, nick, text);
        }
        let Some(other) = self.find(nick) else {
            self.tell(id, format!("! nobody is called {nick}\n").as_bytes());
            return;
        };
        let sender = self.nick_of(id);
        let line = format!("[{sender} -> {}] {text}\n", self.nick_of(other));
        self.event("private", &sender, text);
        self.tell(other, line.as_bytes());
        if other != id {
            self.tell(id, line.as_bytes());
        }
    }

    pub(super) fn say(&mut self, id: u64, text: &str) {
        if self.room.is_some() {
            return self.propose("say", id, "", text);
        }
        let nick = self.nick_of(id);
        self.event("message", &nick, text);
        let but = (!self.rules.echo).then_some(id);
        self.everybody(format_args!("[{nick}] {text}\n"), but);
        self.remember();
    }
}
