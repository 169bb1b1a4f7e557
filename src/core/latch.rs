//! "This thread has ended, and how": a guard for the thread, a wait for the others, and its panic as an error.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::errors::{Error, Result};

/// Take a lock; one whose data is plain values stays usable whatever happened to a thread that held it.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Do `work` and give its panic, should it come to that, as an error.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What a panic leaves half done is not used any more, or is plain values behind `lock`.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// What a thread panicked with, as an error.
#[must_use]
pub fn panicked(panic: &(dyn Any + Send)) -> Error {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::Panic(words.unwrap_or("no word of why").to_owned())
}

/// Threads that were begun together, and what they leave (`T`) for those who wait for them.
#[derive(Debug)]
pub struct Latch<T = ()> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// Where the threads exist: a forked child has none of them.
    process: u32,
}

#[derive(Debug)]
struct State<T> {
    running: usize,
    failure: Option<Error>,
    left: T,
}

impl<T: Send + 'static> Latch<T> {
    /// One for threads that begin with this to add to.
    pub fn new(left: T) -> Self {
        let state = State { running: 0, failure: None, left };
        Self { state: Mutex::new(state), changed: Condvar::new(), process: std::process::id() }
    }

    /// Begin a thread. What `work` owns is gone by the time that others hear of its end.
    pub fn spawn(self: &Arc<Self>, name: String, work: impl FnOnce() -> Result<()> + Send + 'static) -> io::Result<()> {
        // Dropped with the closure where no thread can be had.
        let guard = Guard::new(self);
        thread::Builder::new().name(name).spawn(move || guard.end(caught(work)))?;
        Ok(())
    }

    /// Look at what the threads leave, or change it; who waits is told only by `tell`.
    pub fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut lock(&self.state).left)
    }

    /// Have those who wait look again.
    pub fn tell(&self) {
        self.changed.notify_all();
    }

    /// Wait at most `limit` for the end of all threads; say whether it came. How one failed is told once, as an error.
    pub fn wait(&self, limit: Duration) -> Result<bool> {
        let (ended, ()) = self.wait_for(limit, |_| false, |_| ())?;
        Ok(ended)
    }

    /// Wait until all threads have ended, however they did; in a forked child there is nobody to wait for.
    pub fn join(&self) {
        if self.process == std::process::id() {
            let running = |state: &mut State<T>| state.running > 0;
            let _ended = self.changed.wait_while(lock(&self.state), running).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wait at most `limit` until something is `there` or all threads have ended, and `take` what there is.
    ///
    /// Says also whether they have ended. How one failed is told once, as an error, when nothing is there any more.
    pub fn wait_for<R>(
        &self,
        limit: Duration,
        mut there: impl FnMut(&T) -> bool,
        take: impl FnOnce(&mut T) -> R,
    ) -> Result<(bool, R)> {
        let pending = |state: &mut State<T>| state.running > 0 && !there(&state.left);
        let waited = self.changed.wait_timeout_while(lock(&self.state), limit, pending);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.running == 0
            && !there(&state.left)
            && let Some(failure) = state.failure.take()
        {
            return Err(failure);
        }
        Ok((state.running == 0, take(&mut state.left)))
    }
}

impl<T: Default + Send + 'static> Default for Latch<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// Counts a thread as running while it lives.
struct Guard<T>(Arc<Latch<T>>);

impl<T> Guard<T> {
    fn new(latch: &Arc<Latch<T>>) -> Self {
        lock(&latch.state).running += 1;
        Self(Arc::clone(latch))
    }

    fn end(self, how: Result<()>) {
        if let Err(failure) = how {
            lock(&self.0.state).failure.get_or_insert(failure);
        }
    }
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        lock(&self.0.state).running -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn it_waits_for_all_and_no_longer() {
        let latch = Arc::new(Latch::<()>::default());
        assert!(latch.wait(Duration::ZERO).unwrap());
        let (say, hear) = channel::<()>();
        latch
            .spawn("waits".into(), move || {
                let _ = hear.recv();
                Ok(())
            })
            .unwrap();
        latch.spawn("ends".into(), || Ok(())).unwrap();
        assert!(!latch.wait(Duration::from_millis(10)).unwrap());
        drop(say);
        assert!(latch.wait(LIMIT).unwrap());
    }

    #[test]
    fn a_panic_is_an_error_and_told_once() {
        let latch = Arc::new(Latch::<()>::default());
        let owned = Arc::new(0);
        let theirs = Arc::clone(&owned);
        latch
            .spawn("panics".into(), move || {
                assert_eq!(*theirs, 1, "{} is {}", "this", "on purpose");
                Ok(())
            })
            .unwrap();
        let error = latch.wait(LIMIT).unwrap_err();
        let words = error.to_string();
        assert!(words.starts_with("a native thread panicked: ") && words.contains("this is on purpose"), "{words}");
        assert_eq!(Arc::strong_count(&owned), 1);
        assert!(latch.wait(LIMIT).unwrap());
    }

    #[test]
    fn the_first_failure_is_told_after_all_that_was_left() {
        let latch = Arc::new(Latch::new(vec![1]));
        latch.spawn("fails".into(), || Err(Error::Io(io::ErrorKind::NotFound.into()))).unwrap();
        let there = |left: &Vec<i32>| !left.is_empty();
        assert_eq!(latch.wait_for(LIMIT, there, std::mem::take).unwrap().1, [1]);
        assert!(matches!(latch.wait_for(LIMIT, there, std::mem::take), Err(Error::Io(_))));
        assert!(latch.wait_for(LIMIT, there, std::mem::take).unwrap().0);
    }
}
