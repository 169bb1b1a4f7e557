//! Witnesses: ports that answer, which are asked again and again while other hosts say nothing.
//!
//! Nobody answers for most addresses of a network, so their silence does not tell that a line on the way drops what is
//! too much. What becomes of the witnesses' canaries does; [`super::path`] follows it.

use std::collections::VecDeque;

use super::host::{FLOOR, MS, scattered};

const MOST: usize = 64;
/// Between two canaries on average, and not evenly: a full queue drops at even times.
const APART: i64 = 2 * MS;
/// Between two to one port. Open ones are asked less often, since that is a nuisance.
const CLOSED_APART: i64 = 6 * MS;
const OPEN_APART: i64 = 25 * MS;
/// So many connections to an open port, and the rest comes slowly.
const OPEN_OFTEN: u32 = 256;
const OPEN_SELDOM: i64 = 100 * MS;
/// Among so many probes a canary finds its place by chance, or among as many as left between the two before it, so that
/// a burst is seen from its beginning to its end; where the pace is slow, among those of so long, but for a few.
const AMONG: i64 = 64;
const AMONG_MOST: i64 = 4096;
const AMONG_FEW: i64 = 4;
const AMONG_TIME: i64 = 8 * MS;
/// So many canaries in a row without an answer, for so many timeouts: this witness has died.
const DEAD_AFTER: u32 = 12;
const DEAD_TIMEOUTS: i64 = 2;
/// Per mille, beyond twice what most lose: what a witness loses so often says nothing of the path.
const WORSE: i64 = 300;
/// So many probes, so that there is room for their squares.
const STANDS_FOR_MOST: i64 = 1 << 30;

#[derive(Debug)]
struct Witness {
    host: u64,
    port: u16,
    closed: bool,
    timeout: i64,
    heard_at: i64,
    /// Smoothed, per mille.
    loss: i64,
    losses_in_row: u32,
    /// So often it was asked.
    asked: u32,
    /// It is asked no sooner.
    next: i64,
}

/// A canary, until its time is over.
#[derive(Debug, Clone, Copy)]
struct Canary {
    token: u64,
    host: u64,
    /// For so many other probes it stands.
    probes: i64,
    sent_at: i64,
    deadline: i64,
    /// Whether it was answered; false is a word of somebody else, none nothing so far.
    answered: Option<bool>,
}

/// A canary whose time is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Over {
    pub(super) token: u64,
    pub(super) host: u64,
    pub(super) sent_at: i64,
    /// For so many others it stands.
    pub(super) probes: i64,
    /// Nothing came of it, so it is still under way.
    pub(super) unanswered: bool,
    /// It says something of the path.
    pub(super) tells: bool,
}

/// Whom canaries ask, and what has become of those that left.
#[derive(Debug)]
pub(super) struct Witnesses {
    /// What a probe is given at the most.
    longest: i64,
    all: Vec<Witness>,
    /// Probes since the last canary.
    pub(super) unwatched: i64,
    /// So many of them were before the latest one.
    stands_for: i64,
    /// So many other probes leave before the next canary, and some of them when it is due: one that always left first
    /// after a pause would find every queue empty.
    apart: i64,
    is_placed: bool,
    /// The next canary leaves no sooner.
    pub(super) next: i64,
    turn: i64,
    /// As they left. Only when the time of all that left together is over is it known how many of them were lost.
    canaries: VecDeque<Canary>,
}

impl Witnesses {
    pub(super) fn new(timeout: i64) -> Self {
        Self {
            longest: timeout,
            all: Vec::new(),
            unwatched: 0,
            stands_for: 0,
            apart: 0,
            is_placed: false,
            next: 0,
            turn: 0,
            canaries: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Note that a port answers.
    pub(super) fn heard(&mut self, host: u64, port: u16, closed: bool, timeout: i64, now: i64) {
        if let Some(known) = self.all.iter_mut().find(|witness| witness.host == host) {
            if closed && !known.closed {
                (known.port, known.closed) = (port, closed);
            }
            return;
        }
        if self.all.len() == MOST {
            return; // those that are known stay: their canaries are under way
        }
        let heard_at = now;
        self.all.push(Witness { host, port, closed, timeout, heard_at, loss: 0, losses_in_row: 0, asked: 0, next: 0 });
    }

    /// Whether so many other probes have left that a canary may.
    pub(super) fn may_be_asked(&self) -> bool {
        self.unwatched > self.apart
    }

    /// The host and port of a canary that is to leave now.
    ///
    /// Other probes leave at this interval, 0 for any. Canaries leave `seldom` times less often than they may.
    pub(super) fn due(&mut self, now: i64, interval: i64, seldom: i64) -> Option<(u64, u16)> {
        if self.all.is_empty() {
            return None;
        }
        if !self.is_placed {
            self.is_placed = true;
            let reach = if interval > 0 { (AMONG_TIME / interval).clamp(AMONG_FEW, AMONG) } else { AMONG };
            let reach = reach.max(self.stands_for.min(AMONG_MOST));
            self.apart = self.unwatched + scattered(self.turn, reach as usize) as i64;
            return None;
        }
        let count = self.all.len();
        let first = scattered(self.turn, count);
        for step in 0..count {
            let witness = &mut self.all[(first + step) % count];
            if now < witness.next {
                continue;
            }
            witness.asked += 1;
            let often = witness.asked < OPEN_OFTEN;
            witness.next = now
                + match witness.closed {
                    true => CLOSED_APART,
                    false if often => OPEN_APART,
                    false => OPEN_SELDOM,
                };
            self.turn += 1;
            (self.stands_for, self.unwatched) = (self.unwatched.min(STANDS_FOR_MOST), 0);
            (self.apart, self.is_placed) = (0, false);
            let apart = APART * seldom;
            self.next = now + apart / 2 + scattered(self.turn, apart as usize) as i64;
            return Some((witness.host, witness.port));
        }
        self.next = self.all.iter().map(|witness| witness.next).min()?.max(now + APART);
        None
    }

    /// A canary leaves.
    pub(super) fn left(&mut self, token: u64, host: u64, now: i64) {
        let timeout = self.all.iter().find(|witness| witness.host == host).map_or(FLOOR, |witness| witness.timeout);
        let last = self.canaries.back().map_or(0, |canary| canary.deadline);
        let deadline = last.max(now + timeout);
        self.canaries.push_back(Canary {
            token,
            host,
            probes: self.stands_for,
            sent_at: now,
            deadline,
            answered: None,
        });
    }

    /// An answer to a canary has come, or a word of somebody else; say of which host.
    pub(super) fn ended(&mut self, token: u64, answered: bool, now: i64) -> Option<u64> {
        let canary = self.canaries.iter_mut().find(|canary| canary.token == token)?;
        canary.answered = Some(answered);
        let (host, wanted) = (canary.host, FLOOR.max(3 * (now - canary.sent_at)));
        if answered && let Some(witness) = self.all.iter_mut().find(|witness| witness.host == host) {
            witness.heard_at = now;
            witness.timeout += (wanted - witness.timeout) >> 2;
        }
        Some(host)
    }

    /// When the time of the next canary is over.
    pub(super) fn deadline(&self) -> Option<i64> {
        self.canaries.front().map(|canary| canary.deadline)
    }

    /// Take the next canary whose time is over.
    ///
    /// It says nothing of the path if its witness loses far more than most: that is the witness's own doing.
    pub(super) fn over(&mut self, now: i64) -> Option<Over> {
        let canary = *self.canaries.front().filter(|canary| canary.deadline <= now)?;
        self.canaries.pop_front();
        let Canary { token, host, probes, sent_at, answered, .. } = canary;
        let unanswered = answered.is_none();
        let mut tells = false;
        if let Some(place) = self.all.iter().position(|witness| witness.host == host)
            && answered != Some(false)
        {
            let mut losses: Vec<i64> = self.all.iter().map(|witness| witness.loss).collect();
            losses.sort_unstable();
            let witness = &mut self.all[place];
            tells = witness.loss <= 2 * losses[(losses.len() - 1) / 2] + WORSE;
            witness.loss += ((if unanswered { 1000 } else { 0 }) - witness.loss) >> 3;
            witness.losses_in_row = if unanswered { witness.losses_in_row + 1 } else { 0 };
            let silent_for = now - witness.heard_at;
            if witness.losses_in_row >= DEAD_AFTER && silent_for >= DEAD_TIMEOUTS * self.longest {
                self.all.remove(place);
            }
        }
        Some(Over { token, host, sent_at, probes, unanswered, tells })
    }
}
