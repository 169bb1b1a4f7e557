//! The path: how fast the hosts of a network may be asked, as far as [`super::witnesses`] tell.

use super::Plan;
use super::host::{FLOOR, MS, Phase};
use super::witnesses::{Over, Witnesses};

/// So many probes that nobody has answered need no canaries.
const FREE: usize = 64;
/// The pace may be behind by so much.
const SLACK: i64 = 2 * MS;
const SLOWEST: i64 = MS;
/// So many canaries may tell what a pace is like, and twice as many whether a slower one is better.
const SAMPLES: i64 = 32;
/// So many do.
const MOST_SAMPLES: i64 = 128;
/// Where nobody is asked any more of whom nothing is heard, these must do.
const FEW_SAMPLES: i64 = 2;
/// Fewer lost canaries say nothing.
const FEW_LOSSES: i64 = 4;
/// Per mille, beyond the loss that is there at any pace: what is too much, what is where the pace is slower already, and
/// what is not.
const MARGIN: i64 = 200;
const SLOWED_MARGIN: i64 = 100;
const LITTLE: i64 = 60;
/// Per mille and 32 canaries: the loss of chance follows the lowest quarter of what is lost.
const CHANCE_UP: i64 = 4;
const CHANCE_DOWN: i64 = 12;
/// Per mille: such loss is no chance, unless it is there at a far slower pace, too.
const MUCH: i64 = 600;
/// Per mille: where so much more comes through at a slower pace, there is too much at the other.
const BETTER: i64 = 120;
const FAR_SLOWER: i64 = 4;
/// Per mille: no review slows down to less of the pace before.
const LEAST: i64 = 125;
/// After so many reviews without much loss, canaries are seldom.
const SURE: i64 = 4;
const SELDOM: i64 = 10;
/// So many reviews until the next step up; twice as many each time that was too much.
const HOLD: i64 = 4;
const LONGEST_HOLD: i64 = 64;

/// What the way to the hosts of a scan bears.
///
/// When more canaries get lost than chance explains, hosts are asked more slowly: at the pace at which probes came
/// through. Where that does not help, the loss is chance, and the pace is what it was before.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) followed: bool,
    pub(super) witnesses: Witnesses,
    /// Between two probes, 0 for any.
    interval: i64,
    /// The next one leaves no sooner.
    pub(super) next_send: i64,
    /// Nor does the next canary.
    next_canary: i64,
    /// So much waited for answers once that canaries are asked.
    is_quiet: bool,
    /// There was a review.
    reviewed: bool,
    /// What was asked since then may have been lost: that led to a slower pace.
    pub(super) doubted_since: i64,
    /// Since the last review: probes of the whole scan until then, how long there were none, canaries.
    sent_before: i64,
    idle: i64,
    answers: i64,
    losses: i64,
    /// For so many probes they stand, those of them that were lost, and the sum of their squares.
    watched: i64,
    lost: i64,
    squares: i64,
    /// When it was last found that more than a little was lost.
    lossy_at: i64,
    /// When the first canary left that was lost, -1 for none. Before it is known what the path bears, all from the
    /// beginning is in doubt.
    lost_since: i64,
    reviewed_at: i64,
    last_asked: i64,
    last_unheard: i64,
    /// When the pace was; canaries that left before say nothing of it.
    changed_at: i64,
    /// Before it was slowed down for the last time.
    before: Option<Before>,
    /// Before the first of several times in a row.
    first: Option<Before>,
    /// The least time between two probes where it was not limited.
    unlimited: i64,
    /// Loss, per mille, that is there at any pace.
    chance: i64,
    /// Reviews in a row without much loss.
    calm: i64,
    hold: i64,
    /// So many steps up in a row were not too much.
    steps: u32,
}

/// What was before the pace was slowed down.
#[derive(Debug, Clone, Copy)]
struct Before {
    /// What came through, per mille, and how many canaries told that.
    share: i64,
    samples: i64,
    interval: i64,
    /// The time between two probes as they left.
    pace: i64,
}

impl Path {
    pub(super) fn new(plan: &Plan, alone: bool) -> Self {
        let followed = plan.adaptive && !alone;
        Self {
            followed,
            witnesses: Witnesses::new(plan.timeout),
            interval: 0,
            next_send: 0,
            next_canary: if followed { 0 } else { i64::MAX },
            is_quiet: false,
            reviewed: false,
            doubted_since: -1,
            sent_before: 0,
            idle: 0,
            answers: 0,
            losses: 0,
            watched: 0,
            lost: 0,
            squares: 0,
            lossy_at: -1,
            lost_since: 0,
            reviewed_at: 0,
            last_asked: 0,
            last_unheard: 0,
            changed_at: 0,
            before: None,
            first: None,
            unlimited: 0,
            chance: 0,
            calm: 0,
            hold: HOLD,
            steps: 0,
        }
    }

    /// The host and port of a canary that is to leave now; so many probes wait for answers.
    pub(super) fn due(&mut self, now: i64, waiting: usize) -> Option<(u64, u16)> {
        if now < self.next_canary {
            return None;
        }
        self.is_quiet |= waiting >= FREE;
        if !self.witnesses.may_be_asked() || !self.is_quiet {
            return None;
        }
        let sure = self.interval == 0 && self.calm >= SURE;
        let due = self.witnesses.due(now, self.interval, if sure { SELDOM } else { 1 });
        self.next_canary = self.witnesses.next;
        due
    }

    /// A host was asked.
    pub(super) fn asked(&mut self, now: i64, phase: Phase) {
        if now - self.last_asked > SLACK {
            self.idle += (now - self.last_asked - SLACK.max(self.interval)).max(0);
        }
        self.last_asked = now;
        if phase != Phase::Heard {
            self.witnesses.unwatched += 1;
            self.last_unheard = now;
        }
        if self.interval > 0 {
            self.witnesses.unwatched += i64::from(phase == Phase::Heard);
            self.next_send = self.next_send.max(now - SLACK) + self.interval;
        }
    }

    /// Count a canary whose time is over; those that left at another pace say nothing of this one.
    pub(super) fn count(&mut self, over: &Over) {
        if !over.tells || over.sent_at < self.changed_at {
            return;
        }
        self.watched += over.probes;
        self.squares += over.probes * over.probes;
        if over.unanswered {
            self.losses += 1;
            self.lost += over.probes;
            if self.lost_since < 0 {
                self.lost_since = over.sent_at;
            }
        } else {
            self.answers += 1;
        }
    }

    /// Follow what canaries say, after so many probes of the scan; say whether it was slowed down.
    pub(super) fn review(&mut self, now: i64, sent: u64) -> bool {
        if self.interval > 0 && self.witnesses.is_empty() {
            self.release(); // they have died, and nobody would ever say that it may go faster
        }
        if !self.knows_enough(now) {
            return false;
        }
        let loss = self.loss();
        let too_much = self.is_surely_too_much() || self.is_all_that_will_tell(now);
        self.reviewed = true;
        let pace = self.pace(sent as i64);
        if self.interval == 0 {
            self.unlimited = if self.unlimited > 0 { pace.min(self.unlimited) } else { pace };
        }
        if loss > LITTLE && self.losses >= FEW_LOSSES {
            self.lossy_at = now;
        }
        let slowed = too_much && !self.is_chance(1000 - loss, pace);
        // A little more than chance may be the beginning of what is too much in the end.
        let doubted = !too_much && loss > self.chance + LITTLE;
        if slowed {
            self.slow_down(now, pace);
        } else {
            if too_much {
                self.chance = loss;
                self.changed_at = now;
            } else {
                // With little loss a review needs few canaries. If all reviews counted the same, chance would seem too
                // low.
                let (up, down) = (CHANCE_UP * self.samples() / SAMPLES, CHANCE_DOWN * self.samples() / SAMPLES);
                self.chance = (self.chance + up).min(loss).max(self.chance - down);
                self.follow(loss);
            }
            (self.before, self.first) = (None, None);
        }
        (self.answers, self.losses) = (0, 0);
        (self.watched, self.lost, self.squares) = (0, 0, 0);
        if !doubted && (self.lost_since != 0 || slowed || self.calm >= SURE) {
            self.lost_since = -1;
        }
        (self.sent_before, self.idle) = (sent as i64, 0);
        (self.reviewed_at, self.last_asked) = (now, now);
        slowed
    }

    /// When it will have been asked for long enough in vain that few canaries must do, if these tell of loss.
    ///
    /// Until then, no host ends of which nothing is heard.
    pub(super) fn idle_at(&self) -> Option<i64> {
        let doubtful = self.samples() >= FEW_SAMPLES && (!self.reviewed || self.is_surely_too_much());
        doubtful.then_some(self.last_unheard + FLOOR)
    }

    /// Whether it is not yet known if too much was sent, so that no host may end of which nothing is heard.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.idle_at().is_some() || !self.reviewed && self.witnesses.deadline().is_some()
    }

    /// Whether more than a little was lost since then.
    pub(super) fn has_lost_since(&self, time: i64) -> bool {
        self.lossy_at > time
    }

    /// Whether the loss is too much even less one standard deviation: so few canaries do not slow down a scan by chance.
    ///
    /// It is asked at every turn of the driver, and the doubt costs more than the loss.
    fn is_surely_too_much(&self) -> bool {
        let loss = self.loss();
        self.is_too_much(loss) && self.is_too_much(loss - self.doubt() / 2)
    }

    /// Whether too much is lost as far as few canaries tell, where no more of them will come.
    ///
    /// That is so in the first review if every host was asked by then. Hosts would end after it, so the loss is believed
    /// even if it might be chance.
    fn is_all_that_will_tell(&self, now: i64) -> bool {
        let may_be_last = !self.reviewed && self.is_idle(now);
        may_be_last && self.losses >= FEW_LOSSES && self.is_too_much(self.loss())
    }

    /// Whether nobody has been asked for a while of whom nothing is heard, and no canary is under way.
    fn is_idle(&self, now: i64) -> bool {
        self.witnesses.deadline().is_none() && now - self.last_unheard >= FLOOR
    }

    fn samples(&self) -> i64 {
        self.answers + self.losses
    }

    fn loss(&self) -> i64 {
        1000 * self.lost / self.watched.max(1)
    }

    /// By how much the loss may be off by chance, per mille: twice its standard deviation.
    fn doubt(&self) -> i64 {
        let samples = (self.watched * self.watched / self.squares.max(1)).max(1); // if all stood for as many
        let share = (self.loss() * samples + 1000) / (samples + 2);
        2 * (share * (1000 - share) / samples).isqrt()
    }

    fn is_too_much(&self, loss: i64) -> bool {
        loss > self.chance + if self.interval > 0 { SLOWED_MARGIN } else { MARGIN }
    }

    fn knows_enough(&self, now: i64) -> bool {
        let samples = self.samples();
        let needed = if self.before.is_none() { SAMPLES } else { 2 * SAMPLES };
        if samples >= MOST_SAMPLES {
            return true;
        }
        if samples >= needed / 2 {
            let (loss, doubt) = (self.loss(), self.doubt());
            if self.is_too_much(loss - doubt) || samples >= needed && !self.is_too_much(loss + doubt) {
                return true;
            }
        }
        samples >= FEW_SAMPLES && self.is_idle(now)
    }

    /// Whether as much is lost although less was sent; if so, return to the pace before.
    fn is_chance(&mut self, share: i64, pace: i64) -> bool {
        if self.samples() < SAMPLES / 2 {
            return false; // so few may be alike by chance
        }
        let at_once = self
            .before
            .filter(|before| before.samples >= SAMPLES && share > 1000 - MUCH && !is_better(share, before.share));
        let far_slower = self.first.filter(|first| is_chance_far_slower(share, pace, first));
        let Some(before) = at_once.or(far_slower) else { return false };
        self.interval = before.interval;
        self.hold = HOLD.max(self.hold / 2);
        true
    }

    /// The time between two probes since the last review, without the pauses between them.
    fn pace(&self, sent: i64) -> i64 {
        let took = self.last_asked - self.reviewed_at - self.idle;
        took.div_euclid((sent - self.sent_before).max(1)).max(1)
    }

    fn slow_down(&mut self, now: i64, pace: i64) {
        let samples = self.samples();
        // Few canaries know less: as if of two more one came back.
        let share = ((1000 - self.loss()) * samples + 500 * 2) / (samples + 2);
        // Where less was sent than might have been, the pace seems slower than it was.
        let fastest = if self.interval > 0 { self.interval } else { self.unlimited };
        let pace = pace.clamp(fastest, 2 * fastest);
        let before = Before { share, samples, interval: self.interval, pace };
        if self.first.is_none() {
            self.first = Some(before);
            self.hold = LONGEST_HOLD.min(2 * self.hold);
        }
        self.before = Some(before);
        self.interval = SLOWEST.min(pace * 10_000 / (9 * share.max(LEAST)));
        (self.next_send, self.changed_at) = (now, now);
        (self.calm, self.steps) = (0, 0);
        self.doubted_since = self.lost_since - FLOOR;
    }

    fn follow(&mut self, loss: i64) {
        self.calm = if loss <= self.chance + LITTLE + self.doubt() { self.calm + 1 } else { 0 };
        if self.interval > 0 && self.calm >= self.hold {
            self.calm = 0;
            self.interval = self.interval * 8 / (8 + (1 << self.steps).min(8));
            self.steps = 3.min(self.steps + 1);
            if self.interval <= self.unlimited {
                self.release();
            }
        }
    }

    fn release(&mut self) {
        (self.interval, self.next_send) = (0, 0);
        (self.before, self.first) = (None, None);
    }
}

fn is_chance_far_slower(share: i64, pace: i64, first: &Before) -> bool {
    let slower = pace / first.pace;
    if slower < FAR_SLOWER || share >= 2 * first.share || is_better(share, first.share) {
        return false;
    }
    share > 1000 - MUCH || slower >= FAR_SLOWER * FAR_SLOWER
}

/// Whether more comes through than before, by so much that the pace makes the difference.
fn is_better(share: i64, before: i64) -> bool {
    share >= i64::midpoint(before, 1000).min(before + BETTER)
}
