//! The chat hub with a driver that sends as much as the bytes say: nicks are unique, lines whole and clean, queues bounded.

use std::collections::{BTreeMap, BTreeSet};

use oxisock::core::chat::hub::Hub;
use oxisock::core::chat::rules::Rules;
use oxisock::core::time::NEVER;

use super::script::Script;

const LONG: u64 = 1 << 60;
const MS: u64 = 1_000_000;

/// One client as its socket sees it.
#[derive(Default)]
struct Client {
    received: Vec<u8>,
    waiting: usize,
    gone: bool,
}

struct Driver {
    hub: Hub,
    clients: BTreeMap<u64, Client>,
    longest: usize,
}

impl Driver {
    /// Send what waits for a client; its socket takes at most `takes`.
    fn flush(&mut self, id: u64, takes: usize) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.gone {
            return;
        }
        let misses = self.hub.send_with(id, |out| {
            client.received.extend_from_slice(out);
            client.waiting = (client.waiting + out.len()).saturating_sub(takes);
            client.waiting
        });
        if misses {
            self.hub.backlog(id, client.waiting);
        }
    }

    /// Do what the hub wants before it is told of anything else.
    fn see_to(&mut self, script: &mut Script<'_>) {
        for _ in 0..10_000 {
            if !self.hub.is_urgent() {
                return;
            }
            for id in self.hub.take_pressed() {
                let takes = script.between(0, 4000) as usize;
                self.flush(id, takes);
            }
            for close in self.hub.take_closes() {
                let client = self.clients.get_mut(&close.client).expect("only who has joined is closed");
                assert!(!std::mem::replace(&mut client.gone, true), "closed twice");
                client.received.extend_from_slice(&close.last);
            }
        }
        panic!("the hub never rests");
    }

    fn check(&self, rules: &Rules) {
        let members = self.hub.members();
        assert!(members.len() <= rules.max_clients);
        let nicks: BTreeSet<String> = members.iter().map(|member| member.nick.to_ascii_lowercase()).collect();
        assert_eq!(nicks.len(), members.len(), "two of a name");
        let here: Vec<u64> = self.clients.iter().filter(|(_, client)| !client.gone).map(|(id, _)| *id).collect();
        assert_eq!(members.iter().map(|member| member.client).collect::<Vec<_>>(), here);
        for member in members {
            assert!((1..=24).contains(&member.nick.len()));
            assert!(member.nick.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
            let most = rules.queue_limit + self.longest;
            assert!(member.queued <= most, "{} bytes wait, of {most}", member.queued);
        }
    }
}

fn rules(script: &mut Script<'_>) -> Rules {
    Rules {
        name: "fuzz".into(),
        max_clients: 1 + script.one_of(5),
        history: script.one_of(4),
        queue_limit: script.between(1, 4000) as usize,
        drop: script.yes(),
        interval: if script.yes() { 0 } else { script.between(0, LONG) },
        burst: script.between(1, (1 << 31) - 1),
        idle_timeout: if script.yes() { NEVER } else { script.between(1, LONG) },
        echo: script.yes(),
        events: script.yes(),
        shared: false,
    }
}

pub fn run(data: &[u8]) {
    let script = &mut Script::new(data);
    let rules = rules(script);
    let mut driver = Driver { hub: Hub::new(rules.clone()), clients: BTreeMap::new(), longest: 0 };
    let (mut now, mut comers, mut closing) = (0, 0u64, false);
    while !script.over() && now < LONG {
        now += if script.byte().is_multiple_of(8) { script.between(0, LONG) } else { MS * script.number(1) };
        let who = 1 + script.one_of(comers as usize + 1) as u64;
        // A line is said in at most three bytes for each of its own, with two nicks and some words around it; or it is
        // the answer to /who, or to /help.
        driver.longest = driver.longest.max(400 + 30 * rules.max_clients);
        match script.one_of(12) {
            0 | 1 => {
                comers += 1;
                let room = driver.hub.members().len() < rules.max_clients && !closing;
                assert_eq!(driver.hub.full(), !room);
                if driver.hub.joined(comers, now, "") {
                    assert!(room);
                    driver.clients.insert(comers, Client::default());
                }
            }
            2..=6 => {
                let words: &[u8] = [b"".as_slice(), b"/nick ", b"/msg ", b"/me ", b"/who", b"/quit ", b"/help", b"//"]
                    [script.one_of(8)];
                let size = script.one_of(80);
                let text = script.bytes(size).iter().copied().filter(|byte| *byte != b'\n');
                let line: Vec<u8> = words.iter().copied().chain(text).collect();
                driver.longest = driver.longest.max(3 * line.len() + 80);
                driver.hub.line(who, &line, now);
            }
            7 => driver.hub.too_long(who, now),
            8 => {
                // The connection has ended, before the hub hears of it.
                driver.hub.left(who, script.yes());
            }
            9 => {
                if script.yes() && driver.hub.deadline() < LONG {
                    now = now.max(driver.hub.deadline());
                }
                for _ in 0..1000 {
                    if driver.hub.deadline() > now {
                        break;
                    }
                    driver.hub.tick(now);
                    driver.see_to(script);
                }
                assert!(driver.hub.deadline() > now, "the time is judged for ever");
            }
            10 => match script.one_of(4) {
                0 => {
                    let size = script.one_of(80);
                    let text = String::from_utf8_lossy(script.bytes(size)).into_owned();
                    driver.longest = driver.longest.max(3 * text.len() + 80);
                    driver.hub.broadcast(&text);
                }
                1 => {
                    let nick = driver.hub.members().first().map_or(String::new(), |member| member.nick.clone());
                    let text = String::from_utf8_lossy(script.bytes(9)).into_owned();
                    assert_eq!(driver.hub.kick(&nick, &text), !nick.is_empty());
                }
                2 if script.byte() == 7 => {
                    driver.hub.close();
                    closing = true;
                }
                _ => drop(driver.hub.take_events()),
            },
            _ => {
                for id in driver.hub.take_dirty() {
                    let takes = script.between(0, 4000) as usize;
                    driver.flush(id, takes);
                }
                if let Some(client) = driver.clients.get_mut(&who).filter(|client| !client.gone) {
                    client.waiting /= 2;
                    driver.hub.backlog(who, client.waiting);
                }
            }
        }
        driver.see_to(script);
        driver.check(&rules);
    }
    for id in driver.hub.take_dirty() {
        driver.flush(id, usize::MAX);
    }
    for client in driver.clients.values() {
        let text = std::str::from_utf8(&client.received).expect("only UTF-8 is said");
        assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text:?}");
        let odd = |c: char| {
            (c.is_control() && c != '\n')
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        assert!(!text.contains(odd), "a character that does things: {text:?}");
        assert!(
            text.lines().all(|line| line.starts_with("* ") || line.starts_with("! ") || line.starts_with('[')),
            "{text:?}"
        );
    }
}
