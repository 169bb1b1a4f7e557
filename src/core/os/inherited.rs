//! Descriptors that a forked child inherits, while the threads that own them exist in the parent alone.
//!
//! Windows has no fork: there nobody is to let go of anything, and the number is kept for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use super::handles::{AsHandle, number};

const NONE: i64 = -1;

/// What the owner of a descriptor keeps beside it, and drops before it.
pub struct Claim(Arc<AtomicI64>);

/// What a forked child lets go of the descriptor by.
#[derive(Clone)]
pub struct Inherited(Arc<AtomicI64>);

/// Make both for a descriptor; its owner is to drop the claim first.
#[must_use]
pub fn claim(descriptor: &impl AsHandle) -> (Claim, Inherited) {
    // A descriptor has 32 bits; a handle is only kept.
    #[allow(clippy::cast_lossless, reason = "handles of Windows are no i32")]
    let number = Arc::new(AtomicI64::new(number(descriptor) as i64));
    (Claim(Arc::clone(&number)), Inherited(number))
}

impl Drop for Claim {
    /// From here on the number may become somebody else's.
    fn drop(&mut self) {
        self.0.store(NONE, SeqCst);
    }
}

impl Inherited {
    /// Put /dev/null in the place of the descriptor, unless its owner had given it up by the time of the fork.
    ///
    /// The number stays taken, for the owner, which the child has too, may still be dropped there.
    pub fn let_go(&self) {
        let number = self.0.swap(NONE, SeqCst);
        if number != NONE {
            replace(number);
        }
    }
}

#[cfg(unix)]
fn replace(number: i64) {
    use std::os::fd::AsRawFd;
    if let Ok(null) = std::fs::File::open("/dev/null") {
        // SAFETY: the claim stands, so the number is that of an open descriptor of ours; dup2 replaces it atomically.
        unsafe { libc::dup2(null.as_raw_fd(), number as i32) };
    }
}

/// Nobody calls it: there is no fork.
#[cfg(windows)]
fn replace(_: i64) {}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_claimed_is_let_go_once() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let (_claim, inherited) = claim(&one);
        inherited.let_go();
        inherited.let_go();
        assert_eq!(other.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(one.write(b"into the void").unwrap_or(0), 0);
    }

    #[test]
    fn what_was_given_up_is_left_alone() {
        let (one, other) = UnixStream::pair().unwrap();
        let (claim, inherited) = claim(&one);
        drop(claim);
        inherited.let_go();
        (&other).write_all(b"x").unwrap();
        assert_eq!((&one).read(&mut [0; 2]).unwrap(), 1);
    }
}
