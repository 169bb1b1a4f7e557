//! The native echo server: what comes in goes out again, on threads that never touch Python.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::Poll;

use super::reactor::connection::Faults;
use super::reactor::control::Control;
use super::reactor::links::{Closing, Links};
use super::reactor::{Plan, Reactor, Service, adopt_listener, mailbox};

/// The service: every byte is a message of its own and its own answer.
struct Echo;

impl Service for Echo {
    type State = ();

    fn received(&mut self, links: &mut Links<()>, key: usize, data: &[u8], now: u64) {
        let Some(link) = links.get_mut(key) else {
            return;
        };
        link.machine.active(now);
        if !link.machine.swallow() {
            links.send(key, data, now);
        }
    }

    fn ended(&mut self, links: &mut Links<()>, key: usize, now: u64) {
        if let Some(link) = links.get_mut(key) {
            link.machine.ended(now);
        }
    }

    fn relieved(&mut self, _: &mut Links<()>, _: usize, _: u64) {}

    fn closed(&mut self, _: Closing<()>) {}
}

/// How many loops still run; told by each when it ends, however it does.
#[derive(Default)]
struct Alive {
    count: Mutex<usize>,
    changed: Condvar,
}

struct Leaving(Arc<Alive>);

impl Drop for Leaving {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_all();
    }
}

/// An echo server under way.
pub struct EchoRun {
    /// What its reactors share.
    pub control: Arc<Control>,
    alive: Arc<Alive>,
}

impl EchoRun {
    /// Begin to echo on the listening descriptor `listener`, which is taken over, with `workers` threads.
    pub fn start(listener: i32, plan: Plan, workers: usize, faults: Option<Faults>) -> io::Result<Self> {
        let mut door = Some(adopt_listener(listener));
        let polls: Vec<Poll> = (0..workers).map(|_| Poll::new()).collect::<io::Result<_>>()?;
        let mailboxes = polls.iter().map(mailbox).collect::<io::Result<_>>()?;
        let control = Arc::new(Control::new(mailboxes, listener));
        let alive = Arc::new(Alive::default());
        let run = Self { control: Arc::clone(&control), alive: Arc::clone(&alive) };
        for (index, poll) in polls.into_iter().enumerate() {
            let registry = poll.registry().try_clone()?;
            let door = door.take();
            let reactor = Reactor::new(registry, Arc::clone(&control), index, door, plan, faults, Echo)?;
            *alive.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            let leaving = Leaving(Arc::clone(&alive));
            thread::Builder::new().name(format!("oxisock-echo-{index}")).spawn(move || {
                let _leaving = leaving;
                reactor.run(poll);
            })?;
        }
        Ok(run)
    }

    /// Wait at most `timeout`; say whether it has ended.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut count = self.alive.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (count, _) = self.alive.changed.wait_timeout(count, left).unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

impl Drop for EchoRun {
    fn drop(&mut self) {
        self.control.begin_stop(0);
    }
}
