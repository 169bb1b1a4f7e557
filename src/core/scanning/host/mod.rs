//! What the scanner knows of one host: its loss, what is still to be asked, its `round_trip`, `pace` and `canaries`.

mod canaries;
mod pace;
mod round_trip;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use super::permutation::{FIRST, PortOrder};

/// A millisecond.
pub const MS: i64 = 1_000_000;
/// A second.
pub const SECOND: i64 = 1000 * MS;
/// No probe is given up sooner than this, unless the user's timeout is shorter.
pub const FLOOR: i64 = 50 * MS;
/// The most repeats that loss can earn a port.
pub const MAX_REPEATS: u32 = 10;
/// At or below this window, loss is taken to be the network's own and not of our making.
pub const SMALL_WINDOW: usize = 64;

/// So many answers and losses tell what the loss is.
const MANY_SAMPLES: i64 = 256;
/// Where a port is silent and at least so many answer, it may well be loss.
const MANY: i64 = 8;
/// So many probes in flight that are not answered at once are no burst yet.
const BURST: usize = 128;
/// Among so many probes at least one finds its place by chance.
const REACH: usize = 64;

/// One question: a port, the how-manieth time, and whether it is a canary (a port known to answer).
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// The port.
    pub port: u16,
    /// 0 for the first time.
    pub repeat: u32,
    /// Asked only to tell silence from loss.
    pub canary: bool,
}

/// What is known of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has come from it yet, and its first ports are asked.
    Unheard,
    /// It answers.
    Heard,
    /// Its first ports were asked in vain.
    Silent,
}

/// A port whose first probe went unanswered in its time.
#[derive(Debug, Default)]
pub struct Question {
    /// Of its probes, in flight or listening, the latest last.
    pub tokens: Vec<u64>,
    /// Asked often enough for now.
    pub benched: bool,
    /// A port of a silent host, asked often enough.
    pub exhausted: bool,
    /// When its latest probe left.
    pub asked_at: i64,
    /// The how-manieth that was.
    pub repeat: u32,
    /// So many of its probes left while the host was taken for dead: their silence says nothing.
    pub wasted: u32,
}

/// The repeats after which a port that answers is missed less than once in 100,000, at this rate of loss.
#[must_use]
pub fn repeats_for_loss(drops: i64, sent: i64) -> u32 {
    if drops == 0 {
        return 0;
    }
    let (mut missed, mut repeats) = (SECOND * drops / sent, 0);
    while missed > SECOND / 100_000 && repeats < MAX_REPEATS {
        missed = missed * drops / sent;
        repeats += 1;
    }
    repeats
}

/// How often a port is asked again that had so many probes wasted, where others are asked again so often.
#[must_use]
pub fn allowed_after(allowed: u32, wasted: u32) -> u32 {
    allowed.max((allowed + wasted).min(MAX_REPEATS))
}

/// A number below `limit` that looks like chance, and is the same in both engines.
pub(super) fn scattered(turn: i64, limit: usize) -> usize {
    ((turn.wrapping_mul(0x9E37_79B1) & 0xFFFF_FFFF) >> 8) as usize % limit
}

/// The state of one host while its ports are asked.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // what is so of it, one by one
pub struct Host {
    /// Its number.
    pub index: u64,
    /// Its ports, in the order in which they are asked.
    pub order: PortOrder,
    /// What is known of it.
    pub phase: Phase,
    /// Something came from it.
    pub up: bool,
    /// This machine could not ask it.
    pub faulty: bool,
    /// Its first ports are counted among those that may be asked of unheard hosts.
    pub pledged: bool,
    /// What it has in common with the hosts of its /24 (IPv6: /64).
    pub network: (bool, u128),
    /// Which neighbour table has it, of those of IPv4 and IPv6; none if it is on no link of this machine.
    pub link: Option<usize>,
    /// Until when the neighbour table may be asking for it, -1 for not at all.
    pub held_until: i64,
    /// When its first probe left, -1 for not yet.
    pub first_sent: i64,
    /// When what was asked before it is heard or silent has had the whole timeout.
    pub first_until: i64,
    /// When it is looked at to be ended, -1 for not at all.
    pub ends_at: i64,
    /// When the neighbour table is asked, -1 for never.
    pub check_at: i64,
    /// The neighbour table is being asked.
    pub checking: bool,
    /// Its first ports are asked once more, since so much got lost.
    pub last_look: bool,
    /// Because of an unreachable: the port, and how soon it came.
    pub rejected: Option<(u16, i64)>,
    /// How long a probe listens while the host is silent.
    pub wait: i64,
    /// How many ports are asked before anything is known of it.
    pub first: u64,
    /// The next position to be drawn.
    pub cursor: u64,
    /// Below this position, ports that are in `decided` are not asked again.
    pub asked_before: u64,
    /// Ports decided before it was up, or not to be asked again.
    pub decided: HashSet<u16>,
    /// Smoothed round trip, -1 before the first sample; the estimator is nmap's.
    pub srtt: i64,
    /// Its variation.
    pub rttvar: i64,
    /// What a first probe gets.
    pub timeout: i64,
    /// The timeout that other threads were told last, 0 for none.
    pub told: i64,
    /// The most probes in flight to it.
    pub window: usize,
    threshold: usize,
    growth: u32,
    next_review: i64,
    asked_since: i64,
    /// How long those took to leave, without the pauses between them.
    busy: i64,
    /// When the latest probe to it left.
    pub last_asked: i64,
    /// Between two probes, 0 for none: set where a host answers only so many a second.
    pub interval: i64,
    /// The next probe leaves no sooner.
    pub next_send: i64,
    small_answers: i64,
    small_drops: i64,
    large_answers: i64,
    large_drops: i64,
    /// How often an unanswered port is asked again.
    pub allowed: u32,
    /// The highest repeat that was ever answered.
    pub highest: u32,
    answers: i64,
    drops: i64,
    /// From when to when its silence said nothing.
    pub doubted: Range<i64>,
    /// Probes without an answer.
    pub silences: i64,
    closed_ports: Vec<u16>,
    open_ports: Vec<u16>,
    turn: usize,
    /// So many other probes leave before the next canary.
    apart: usize,
    canaries_sent: i64,
    canary_losses: u32,
    next_canary: i64,
    last_answer: i64,
    /// It answered once, and no longer does.
    pub dead: bool,
    /// Probes under way, not counting those that only listen.
    pub in_flight: usize,
    /// Probes whose time is over, and whose answers would still be answers.
    pub listening: usize,
    /// Probes that a fault of this machine kept from leaving.
    pub put_back: usize,
    /// Tokens of probes under way, oldest first; answered ones are skipped when met.
    pub sent: VecDeque<u64>,
    /// Tokens of canaries whose time is over, oldest first.
    pub late: VecDeque<u64>,
    /// What is to be asked when the window allows.
    pub waiting: VecDeque<Ask>,
    /// Canaries that wait, too.
    pub canaries: VecDeque<Ask>,
    /// By port.
    pub questions: HashMap<u16, Question>,
    /// (port, repeats) asked often enough for now.
    pub bench: VecDeque<(u16, u32)>,
    /// When its timer is set, -1 for not at all.
    pub armed: i64,
    /// It may not be asked before `next_send`, and its timer is set for that.
    pub waiting_for_pace: bool,
    /// Whether it stands in the queue of hosts that have something to ask.
    pub queued: bool,
    /// No further port of this host is to be drawn.
    pub drawn: bool,
}

impl Host {
    /// A host of which nothing is known yet.
    #[must_use]
    pub fn new(index: u64, order: PortOrder, timeout: i64, retries: u32, limit: usize) -> Self {
        Self {
            index,
            phase: Phase::Unheard,
            up: false,
            faulty: false,
            pledged: false,
            network: (true, 0),
            link: None,
            held_until: -1,
            first_sent: -1,
            first_until: -1,
            ends_at: -1,
            check_at: -1,
            checking: false,
            last_look: false,
            rejected: None,
            wait: timeout,
            first: order.count().min(FIRST),
            cursor: 0,
            asked_before: 0,
            decided: HashSet::new(),
            drawn: order.count() == 0,
            order,
            srtt: -1,
            rttvar: 0,
            timeout,
            told: 0,
            window: (limit / 2).max(1),
            threshold: limit,
            growth: 0,
            next_review: 0,
            asked_since: 0,
            busy: 0,
            last_asked: 0,
            interval: 0,
            next_send: 0,
            small_answers: 0,
            small_drops: 0,
            large_answers: 0,
            large_drops: 0,
            allowed: retries,
            highest: 0,
            answers: 0,
            drops: 0,
            doubted: 0..0,
            silences: 0,
            closed_ports: Vec::new(),
            open_ports: Vec::new(),
            turn: 0,
            apart: 0,
            canaries_sent: 0,
            canary_losses: 0,
            next_canary: 0,
            last_answer: 0,
            dead: false,
            in_flight: 0,
            listening: 0,
            put_back: 0,
            sent: VecDeque::new(),
            late: VecDeque::new(),
            waiting: VecDeque::new(),
            canaries: VecDeque::new(),
            questions: HashMap::new(),
            bench: VecDeque::new(),
            armed: -1,
            waiting_for_pace: false,
            queued: false,
        }
    }

    /// Whether there are ports that may be asked and were not yet.
    #[must_use]
    pub fn to_draw(&self) -> bool {
        let only_first = self.phase == Phase::Unheard || (self.phase == Phase::Silent && self.last_look);
        self.cursor < if only_first { self.first } else { self.order.count() }
    }

    /// Whether there is anything to ask by now.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.canaries.is_empty() || self.to_draw()
    }

    /// Have a port asked once more, and not always at the same distance behind the same others.
    ///
    /// Else the last probes of a burst, which a full queue drops, would be its last each time.
    pub fn again(&mut self, port: u16, repeat: u32) {
        let place = self.waiting.len().saturating_sub(scattered(self.silences, self.reach()));
        self.waiting.insert(place, Ask { port, repeat, canary: false });
    }

    /// Whether a canary leaves before anything else.
    ///
    /// They leave among the others, here and there: those before all others would find every queue empty.
    pub fn canary_is_next(&mut self) -> bool {
        if self.canaries.is_empty() {
            return false;
        }
        if self.apart > 0 && (!self.waiting.is_empty() || self.to_draw()) {
            self.apart -= 1;
            return false;
        }
        self.apart = scattered(self.turn as i64, self.reach());
        true
    }

    /// Among so many probes one finds its place by chance: an eighth of a window, so that its end is seen.
    fn reach(&self) -> usize {
        (self.window / 8).max(REACH)
    }

    /// Whether window and pace allow another probe.
    #[must_use]
    pub fn may_be_asked(&self, now: i64) -> bool {
        self.in_flight < self.window && now >= self.next_send
    }

    /// Note that a probe leaves: the next one keeps its distance.
    pub fn asked(&mut self, now: i64, slack: i64) {
        self.in_flight += 1;
        self.asked_since += 1;
        self.busy += (now - self.last_asked).min(self.interval.max(slack));
        self.last_asked = now;
        let interval = self.interval.max(self.spacing());
        if interval > 0 {
            self.next_send = self.next_send.max(now - slack) + interval;
        }
    }

    /// The time between two probes that spreads a full window over the time that a probe has in it.
    ///
    /// Silence ends for thousands of ports at once. Repeats that left together would overflow a queue on the way, each
    /// time the same ones, while the canaries before them came through. Who answers at once sets the pace by itself.
    fn spacing(&self) -> i64 {
        if self.in_flight <= BURST {
            return 0;
        }
        let spread = match self.phase {
            _ if self.srtt >= 0 => self.timeout,
            // Only an answer can tell that too much is sent, so before the first one it is not all sent at once.
            Phase::Heard => self.timeout / 2,
            _ => FLOOR,
        };
        spread * 3 / (4 * self.window as i64)
    }

    /// Recompute how often an unanswered port is asked again; say whether that became more.
    ///
    /// What is lost in a burst may be all of a port's probes, and little of all that the host was asked. So where few
    /// ports are silent and many answer, those are asked once more than the highest repeat answered `anywhere`.
    ///
    /// Once there are many samples, all that was asked before is asked again only if the loss is surely that much: less two
    /// standard deviations.
    pub fn grant(&mut self, retries: u32, anywhere: u32) -> bool {
        let before = self.allowed;
        // Of few samples one loss says too much: what is silent waits until there are more.
        let samples = self.answers + self.drops;
        let mut wanted = if samples >= self.canaries_needed() { repeats_for_loss(self.drops, samples) } else { 0 };
        if wanted > before && samples > MANY_SAMPLES {
            wanted = before.max(repeats_for_loss(self.drops - 2 * self.drops.isqrt(), samples));
        }
        let few = MANY * self.questions.len() as i64 <= self.answers;
        let highest = if few { self.highest.max(anywhere) } else { self.highest };
        if highest > 0 {
            wanted = wanted.max(highest + 1);
        }
        self.allowed = retries.max(wanted.min(MAX_REPEATS));
        self.allowed > before
    }
}
