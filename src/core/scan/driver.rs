//! The scanner's hands: threads with sockets and a poll each, carrying out what `ScanEngine` decides.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Poll, Waker};

use super::engine::{News, ScanEngine};
use super::worker::{WAKER, Worker};
use super::{Addresses, Outcome, Plan, Tally, TraceEvent};
use crate::core::errors::Result;

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
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
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

    fn leave(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
        let _results = lock(&self.results);
        self.arrived.notify_all();
    }
}

/// Counts a thread as running for as long as it lives, however it ends.
struct Presence(Arc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// One scan under way, on threads of its own that never meet Python.
#[derive(Debug)]
pub struct ScanRun {
    shared: Arc<Shared>,
    wakers: Mutex<Vec<Waker>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ScanRun {
    /// Begin to scan.
    pub fn start(plan: &Plan) -> Result<Self> {
        let addresses = Addresses::new(plan.ranges.clone());
        let count = plan.threads.max(1);
        let shared = Arc::new(Shared {
            results: Mutex::new(Results { tallies: vec![Tally::default(); count], ..Results::default() }),
            arrived: Condvar::new(),
            cancelled: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            mailboxes: (0..count).map(|_| Mutex::new(Vec::new())).collect(),
        });
        let start = Instant::now();
        let run = Self { shared: Arc::clone(&shared), wakers: Mutex::default(), threads: Mutex::default() };
        let mut workers = Vec::new();
        for thread in 0..count {
            let poll = Poll::new()?;
            lock(&run.wakers).push(Waker::new(poll.registry(), WAKER)?);
            let engine = ScanEngine::new(plan.clone(), addresses.count(), thread);
            workers.push(Worker::new(engine, addresses.clone(), plan, poll, start));
        }
        for (thread, worker) in workers.into_iter().enumerate() {
            let theirs = Arc::clone(&shared);
            shared.running.fetch_add(1, Ordering::AcqRel);
            let presence = Presence(Arc::clone(&shared));
            // Where a thread cannot be had, dropping `run` ends those that could.
            let handle = std::thread::Builder::new().name(format!("oxisock-scan-{thread}")).spawn(move || {
                let _presence = presence; // dropped last: by then the worker has closed its sockets
                let mut worker = worker;
                worker.run(&theirs, thread);
            })?;
            lock(&run.threads).push(handle);
        }
        Ok(run)
    }

    /// Wait at most `timeout` for outcomes, and take those there are.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Vec<Outcome> {
        let deadline = Instant::now() + timeout;
        let mut results = lock(&self.shared.results);
        while results.outcomes.is_empty() && self.running() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            results = self.shared.arrived.wait_timeout(results, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut results.outcomes)
    }

    fn running(&self) -> bool {
        self.shared.running.load(Ordering::Acquire) > 0
    }

    /// The totals so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.shared.results).tallies.iter().fold(Tally::default(), Tally::plus)
    }

    /// Whether the threads have ended and every outcome was taken.
    #[must_use]
    pub fn done(&self) -> bool {
        !self.running() && lock(&self.shared.results).outcomes.is_empty()
    }

    /// The events so far, in order of time.
    #[must_use]
    pub fn trace(&self) -> Vec<TraceEvent> {
        let mut events = lock(&self.shared.results).events.clone();
        events.sort_by_key(|event| event.time);
        events
    }

    /// End the scan; on return every descriptor is back.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        let wakers = std::mem::take(&mut *lock(&self.wakers));
        for waker in &wakers {
            // A thread that cannot be woken looks by itself within a twentieth of a second.
            let _ = waker.wake();
        }
        for thread in lock(&self.threads).drain(..) {
            // A thread that panicked has closed its sockets while unwinding.
            let _ = thread.join();
        }
    }
}

impl Drop for ScanRun {
    fn drop(&mut self) {
        self.cancel();
    }
}
