//! What the threads of a scan share with each other and with its owner: results, news, and how they ended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::engine::News;
use super::{Outcome, Tally, TraceEvent};
use crate::core::errors::Result;
use crate::core::latch::{Latch, lock};

/// What the threads of a scan and its owner share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The threads themselves, and what they found.
    pub(super) latch: Arc<Latch<Results>>,
    cancelled: AtomicBool,
    mailboxes: Vec<Mutex<Vec<News>>>,
}

/// What the threads of a scan have found.
#[derive(Debug, Default)]
pub(super) struct Results {
    outcomes: Vec<Outcome>,
    events: Vec<TraceEvent>,
    tallies: Vec<Tally>,
}

impl Results {
    fn there(&self) -> bool {
        !self.outcomes.is_empty()
    }
}

impl Shared {
    /// What `count` threads share.
    pub(super) fn new(count: usize) -> Self {
        let results = Results { tallies: vec![Tally::default(); count], ..Results::default() };
        Self {
            latch: Arc::new(Latch::new(results)),
            cancelled: AtomicBool::new(false),
            mailboxes: (0..count).map(|_| Mutex::new(Vec::new())).collect(),
        }
    }

    /// Have the threads end.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Hand over what a thread has found since the last time.
    pub(super) fn publish(&self, thread: usize, outcomes: Vec<Outcome>, events: Vec<TraceEvent>, tally: Tally) {
        let news = !outcomes.is_empty();
        self.latch.with(|results| {
            results.tallies[thread] = tally;
            results.events.extend(events);
            results.outcomes.extend(outcomes);
        });
        if news {
            self.latch.tell();
        }
    }

    /// Tell the other threads what one has learned.
    pub(super) fn tell(&self, thread: usize, news: &[News]) {
        for (number, mailbox) in self.mailboxes.iter().enumerate() {
            if number != thread && !news.is_empty() {
                lock(mailbox).extend_from_slice(news);
            }
        }
    }

    /// What the others have learned since the last call.
    pub(super) fn hear(&self, thread: usize) -> Vec<News> {
        std::mem::take(&mut *lock(&self.mailboxes[thread]))
    }

    /// Wait at most `timeout` for outcomes, and take those there are; None where there may be some later.
    pub(super) fn wait(&self, timeout: Duration) -> Result<Option<Vec<Outcome>>> {
        let take = |results: &mut Results| std::mem::take(&mut results.outcomes);
        let (ended, outcomes) = self.latch.wait_for(timeout, Results::there, take)?;
        Ok((ended || !outcomes.is_empty()).then_some(outcomes))
    }

    /// The totals so far.
    pub(super) fn tally(&self) -> Tally {
        self.latch.with(|results| results.tallies.iter().fold(Tally::default(), Tally::plus))
    }

    /// Whether the threads have ended and every outcome was taken.
    pub(super) fn done(&self) -> Result<bool> {
        let (ended, there) = self.latch.wait_for(Duration::ZERO, Results::there, |results| results.there())?;
        Ok(ended && !there)
    }

    /// The events so far, in order of time.
    pub(super) fn trace(&self) -> Vec<TraceEvent> {
        let mut events = self.latch.with(|results| results.events.clone());
        events.sort_by_key(|event| event.time);
        events
    }
}
