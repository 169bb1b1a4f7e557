//! What a hub knows of a room that many nodes share: who is in it, who is on his way in, and what is proposed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::core::memory;

/// What is proposed: kind, client, nick, text.
pub type Append = (&'static str, u64, String, String);

/// An entry of the log, or what the driver has to say of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub kind: String,
    /// The node that it came from.
    pub node: String,
    /// That node's client.
    pub client: u64,
    /// What somebody is called.
    pub nick: String,
    /// What was said.
    pub text: String,
    /// In milliseconds since 1970.
    pub when: u64,
}

/// One who is in the room, on whichever node.
#[derive(Clone, Debug)]
pub struct Resident {
    /// What it is called.
    pub nick: String,
    /// Host and port.
    pub place: String,
    /// When it joined, in milliseconds since 1970.
    pub when: u64,
    /// How many bytes wait for it, and how many lines it missed, where it is a client of this node.
    pub queued: usize,
    /// See above.
    pub skipped: u64,
    /// The node that it is on.
    pub node: String,
    pub(super) client: u64,
}

/// What comes before the welcome.
pub(super) enum Early {
    Line(Box<[u8]>, u64),
    TooLong(u64),
    TooMuch,
    End,
}

/// A client whose joining is not in the log yet.
pub(super) struct Arrival {
    pub(super) since: u64,
    /// What it has sent meanwhile.
    pub(super) early: Vec<Early>,
    /// Of what is kept.
    size: usize,
}

impl Arrival {
    fn keep(&mut self, what: Early) {
        self.size += 16 + if let Early::Line(line, _) = &what { line.len() } else { 0 };
        self.early.push(what);
    }
}

/// What a hub knows of the shared room.
#[derive(Default)]
pub(super) struct Room {
    pub(super) node: String,
    // In order of joining.
    pub(super) residents: BTreeMap<u64, Resident>,
    pub(super) places: HashMap<String, HashMap<u64, u64>>,
    pub(super) called: HashMap<String, u64>,
    pub(super) arrivals: u64,
    pub(super) arriving: BTreeMap<u64, Arrival>,
    pub(super) leaving: BTreeSet<u64>,
    pub(super) appends: Vec<Append>,
}

impl Room {
    pub(super) fn place_of(&self, node: &str, client: u64) -> Option<u64> {
        self.places.get(node)?.get(&client).copied()
    }

    pub(super) fn find(&self, nick: &str) -> Option<u64> {
        self.called.get(&nick.to_ascii_lowercase()).copied()
    }

    pub(super) fn clear(&mut self) {
        self.residents.clear();
        self.places.clear();
        self.called.clear();
    }

    pub(super) fn propose(&mut self, kind: &'static str, client: u64, nick: &str, text: &str) {
        self.appends.push((kind, client, nick.to_owned(), text.to_owned()));
    }

    /// How many are on their way in.
    pub(super) fn arriving(&self) -> usize {
        self.arriving.len()
    }

    /// Somebody has come from `place`.
    pub(super) fn joined(&mut self, client: u64, now: u64, place: &str) {
        self.arriving.insert(client, Arrival { since: now, early: Vec::new(), size: 0 });
        self.propose("join", client, "", place);
    }

    /// Whether a line is none that is heard now: it is kept until the welcome, or its client is leaving.
    pub(super) fn defers(&mut self, client: u64, line: Option<&[u8]>, now: u64, limit: usize) -> bool {
        let Some(arrival) = self.arriving.get_mut(&client) else {
            return self.leaving.contains(&client);
        };
        let fits = arrival.size + line.map_or(0, <[u8]>::len) <= limit;
        // What there is no memory for is too much as well.
        let kept = match (fits, line) {
            (true, Some(line)) => memory::copy(line).map_or(Early::TooMuch, |line| Early::Line(line.into(), now)),
            (true, None) => Early::TooLong(now),
            (false, _) => Early::TooMuch,
        };
        if !matches!((&kept, arrival.early.last()), (Early::TooMuch, Some(Early::TooMuch))) {
            arrival.keep(kept);
        }
        true
    }

    /// Whether somebody who has left, or is to be heard no more, was on his way in.
    pub(super) fn turned_back(&mut self, client: u64, lost: bool) -> bool {
        let Some(arrival) = self.arriving.get_mut(&client) else {
            return false;
        };
        if lost {
            self.arriving.remove(&client);
            self.propose("leave", client, "", "lost");
        } else {
            arrival.keep(Early::End);
        }
        true
    }
}
