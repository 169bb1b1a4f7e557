//! What the threads of a scan share with each other and with its owner: results, news, and how many still run.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::engine::News;
use super::{Outcome, Tally, TraceEvent};

/// What the threads of a scan and its owner share.
#[derive(Debug)]
pub(super) struct Shared {
    results: Mutex<Results>,
    arrived: Condvar,
    cancelled: AtomicBool,
    running: AtomicUsize,
    mailboxes: Vec<Mutex<Vec<News>>>,
}

#[derive(Debug, Default)]
struct Results {
    outcomes: Vec<Outcome>,
    events: Vec<TraceEvent>,
    tallies: Vec<Tally>,
}

/// A lock whose data is plain values stays usable whatever happened to a thread that held it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What `count` threads share.
    pub(super) fn new(count: usize) -> Self {
        Self {
            results: Mutex::new(Results { tallies: vec![Tally::default(); count], ..Results::default() }),
            arrived: Condvar::new(),
            cancelled: AtomicBool::new(false),
            running: AtomicUsize::new(0),
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
        let mut results = lock(&self.results);
        results.tallies[thread] = tally;
        results.events.extend(events);
        if !outcomes.is_empty() {
            results.outcomes.extend(outcomes);
            self.arrived.notify_all();
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

    /// Wait at most `timeout` for outcomes, and take those there are.
    pub(super) fn wait(&self, timeout: Duration) -> Vec<Outcome> {
        let deadline = Instant::now() + timeout;
        let mut results = lock(&self.results);
        while results.outcomes.is_empty() && self.running() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            results = self.arrived.wait_timeout(results, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut results.outcomes)
    }

    fn running(&self) -> bool {
        self.running.load(Ordering::Acquire) > 0
    }

    /// The totals so far.
    pub(super) fn tally(&self) -> Tally {
        lock(&self.results).tallies.iter().fold(Tally::default(), Tally::plus)
    }

    /// Whether the threads have ended and every outcome was taken.
    pub(super) fn done(&self) -> bool {
        !self.running() && lock(&self.results).outcomes.is_empty()
    }

    /// The events so far, in order of time.
    pub(super) fn trace(&self) -> Vec<TraceEvent> {
        let mut events = lock(&self.results).events.clone();
        events.sort_by_key(|event| event.time);
        events
    }

    fn leave(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        let _results = lock(&self.results);
        self.arrived.notify_all();
    }
}

/// Counts a thread as running for as long as it lives, however it ends.
pub(super) struct Presence(Arc<Shared>);

impl Presence {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(shared))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.leave();
    }
}
