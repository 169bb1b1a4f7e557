//! The scanner's hands: threads with sockets and a poll each, carrying out what `ScanEngine` decides.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Poll, Waker};

use super::engine::ScanEngine;
use super::shared::{Presence, Shared, lock};
use super::worker::{WAKER, Worker};
use super::{Addresses, Outcome, Plan, Tally, TraceEvent};
use crate::core::errors::Result;

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
        let shared = Arc::new(Shared::new(count));
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
            let presence = Presence::new(&shared);
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
        self.shared.wait(timeout)
    }

    /// The totals so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.tally()
    }

    /// Whether the threads have ended and every outcome was taken.
    #[must_use]
    pub fn done(&self) -> bool {
        self.shared.done()
    }

    /// The events so far, in order of time.
    #[must_use]
    pub fn trace(&self) -> Vec<TraceEvent> {
        self.shared.trace()
    }

    /// End the scan; on return every descriptor is back.
    pub fn cancel(&self) {
        self.shared.cancel();
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
