//! How fast a host is asked: its window, and the distance between probes where loss is of our making.

use super::{Host, MS, SMALL_WINDOW};

const MIN_WINDOW: usize = 4;
const REVIEW_SAMPLES: i64 = 16;
/// Per mille: random loss that is believed without having been measured at a small window.
const PRIOR_LOSS: i64 = 400;
/// Between two probes to a host whose answers are limited.
const SLOWEST: i64 = 5 * MS;

impl Host {
    /// Count an answer that came after `lost` lost probes, and widen the window.
    pub fn answered(&mut self, small: bool, lost: u32, limit: usize) {
        let lost = i64::from(lost);
        self.answers += 1;
        self.drops += lost;
        if small {
            self.small_answers += 1;
            self.small_drops += lost;
        } else {
            self.large_answers += 1;
            self.large_drops += lost;
        }
        if self.window < limit {
            self.growth += 1;
            if self.window < self.threshold || self.growth >= 8 {
                self.growth = 0;
                self.window += 1;
            }
        }
    }

    /// Widen the window where a canary came back and no more than a quarter was lost: by an eighth, or by less once it
    /// was found too wide.
    ///
    /// Silent ports earn no growth, so a mostly silent host would be asked at its first window to the end. What is sent at
    /// a small window is not reviewed, so there the pace of a host that was slowed down recovers here; not where it
    /// refuses, for it may limit that.
    pub fn vouched(&mut self, limit: usize) {
        if self.window <= SMALL_WINDOW && self.closed_ports.is_empty() {
            self.interval -= (self.interval + 15) / 16;
        }
        if 4 * self.large_drops <= self.large_answers + self.large_drops {
            let part = if self.window < self.threshold { 8 } else { 64 };
            self.window = limit.min(self.window + self.window / part);
        }
    }

    /// Count a lost probe to a port that is known to answer.
    pub fn lost(&mut self, small: bool) {
        self.drops += 1;
        if small {
            self.small_drops += 1;
        } else {
            self.large_drops += 1;
        }
    }

    /// A probe that was counted as lost was answered late.
    pub fn was_late(&mut self, small: bool) {
        let drops = if small { &mut self.small_drops } else { &mut self.large_drops };
        *drops = (*drops - 1).max(0);
        self.drops = (self.drops - 1).max(0);
    }

    /// Halve the window where loss exceeds what was seen at small windows, at most once per timeout.
    ///
    /// Loss of our own making may come from a limit on answers or connections per second, which no window meets well:
    /// so the host is also asked no more than a quarter faster than it answers, and faster again when loss ends. Few samples
    /// say how much too fast it was only roughly, so the pace falls to a third at the least.
    pub fn review(&mut self, now: i64) {
        let total = self.large_answers + self.large_drops;
        if now < self.next_review || total < REVIEW_SAMPLES {
            return;
        }
        let (mut base, small) = (PRIOR_LOSS, self.small_answers + self.small_drops);
        if small >= REVIEW_SAMPLES {
            base = (1000 * self.small_drops / small).min(PRIOR_LOSS);
            base += base / 2 + 50;
        }
        if 1000 * self.large_drops / total > base {
            self.window = (self.window / 2).max(MIN_WINDOW);
            self.threshold = self.window;
            let answered = self.asked_since * self.large_answers.max(total / 4).max(1) / total;
            let pace = self.busy * 4 / (5 * answered.max(1));
            self.interval = self.interval.max(pace.min(SLOWEST));
        } else {
            let part = if self.large_drops > 0 { 8 } else { 4 };
            self.interval -= (self.interval + part - 1) / part;
        }
        self.large_answers = 0;
        self.large_drops = 0;
        self.asked_since = 0;
        self.busy = 0;
        self.next_review = now + self.timeout;
    }
}
