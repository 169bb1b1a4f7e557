//! The scanner's hands: threads with sockets and a poll each, carrying out what `ScanEngine` decides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::{Poll, Waker};

use super::engine::ScanEngine;
use super::shared::Shared;
use super::worker::{WAKER, Worker};
use super::{Addresses, Outcome, Plan, Tally, TraceEvent};
use crate::core::errors::Result;
use crate::core::latch::{caught, lock};
use crate::core::time::Clock;

/// Nanoseconds between two probes that one thread keeps easily.
const SLOW: i64 = 20_000;

/// One scan under way, on threads of its own that never meet Python.
#[derive(Debug)]
pub struct ScanRun {
    shared: Arc<Shared>,
    wakers: Mutex<Vec<Waker>>,
}

impl ScanRun {
    /// Begin to scan.
    pub fn start(plan: &Plan) -> Result<Self> {
        let addresses = Addresses::new(plan.ranges.clone());
        // A low rate needs no second thread, and one alone keeps it best; hosts are not cut where there are many.
        let slow = plan.interval > SLOW;
        let alone = addresses.count() == 1 && !plan.of_many;
        let most = if alone { usize::MAX } else { addresses.count() as usize };
        let count = if slow { 1 } else { plan.threads.clamp(1, most.max(1)) };
        let plan = &Plan { threads: count, ..plan.clone() };
        let clock = Clock::start();
        let run = Self { shared: Arc::new(Shared::new(count)), wakers: Mutex::default() };
        let mut workers = Vec::new();
        for thread in 0..count {
            let poll = Poll::new()?;
            lock(&run.wakers).push(Waker::new(poll.registry(), WAKER)?);
            let engine = ScanEngine::new(plan.clone(), addresses.count(), thread);
            workers.push(Worker::new(engine, addresses.clone(), plan, poll, clock));
        }
        // Where a thread cannot be had, dropping `run` ends those that could.
        for (thread, worker) in workers.into_iter().enumerate() {
            run.spawn(thread, move |shared| Ok(worker.run(shared, thread)?))?;
        }
        Ok(run)
    }

    /// Begin a thread; where it fails, the others end: its share of the ports would never be decided.
    fn spawn(&self, thread: usize, work: impl FnOnce(&Shared) -> Result<()> + Send + 'static) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let whole = move || caught(|| work(&shared)).inspect_err(|_| shared.cancel());
        Ok(self.shared.latch.spawn(format!("oxisock-scan-{thread}"), whole)?)
    }

    /// Wait at most `timeout` for outcomes, and take those there are; None where there may be some later.
    ///
    /// How a thread failed is told once, as an error.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Vec<Outcome>>> {
        self.shared.wait(timeout)
    }

    /// The totals so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.tally()
    }

    /// Whether the threads have ended and every outcome was taken; how a thread failed is told once, as an error.
    pub fn done(&self) -> Result<bool> {
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
        self.shared.latch.join();
    }
}

impl Drop for ScanRun {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_one_thread_ends_the_scan_and_is_told() {
        let run = ScanRun { shared: Arc::new(Shared::new(2)), wakers: Mutex::default() };
        run.spawn(0, |shared| {
            while !shared.cancelled() {
                std::thread::yield_now();
            }
            Ok(())
        })
        .unwrap();
        assert!(!run.done().unwrap());
        run.spawn(1, |_| panic!("on purpose")).unwrap();
        let error = run.wait(Duration::from_secs(20)).unwrap_err();
        assert!(error.to_string().contains("on purpose"), "{error}");
        assert!(run.done().unwrap());
        run.cancel();
    }
}
