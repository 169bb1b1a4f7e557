//! Waiting to the microsecond: selectors and `poll` end their waits on whole milliseconds, and threads wake late.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

/// Wait for events; true where a signal came instead. An exact end of the wait costs a system call more.
pub fn wait(poll: &mut Poll, events: &mut Events, limit: Duration, exactly: bool) -> io::Result<bool> {
    let limit = if exactly { sleep_on(poll, limit)? } else { limit };
    match poll.poll(events, Some(limit)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(true)
        }
        other => other.map(|()| false),
    }
}

/// Wait for the selector as for any descriptor, which can be done exactly; what is left is to ask it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn sleep_on(poll: &Poll, limit: Duration) -> io::Result<Duration> {
    use std::os::fd::AsRawFd;
    if !limit.is_zero() {
        let mut watched = [libc::pollfd { fd: poll.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        wait_for(&mut watched, limit)?;
    }
    Ok(Duration::ZERO)
}

/// Other selectors are exact.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sleep_on(_: &Poll, limit: Duration) -> io::Result<Duration> {
    Ok(limit)
}

/// Wait until a descriptor is ready or `limit` is over; gives how many are ready.
pub fn wait_for(watched: &mut [libc::pollfd], limit: Duration) -> io::Result<usize> {
    let count = poll_once(watched, limit);
    usize::try_from(count).or_else(|_| {
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) }
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn poll_once(watched: &mut [libc::pollfd], limit: Duration) -> i32 {
    let limit = libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
    };
    // SAFETY: the pointer and the count are those of a live slice; the time is live, and no signal mask is given.
    unsafe { libc::ppoll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, &raw const limit, std::ptr::null()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn poll_once(watched: &mut [libc::pollfd], limit: Duration) -> i32 {
    let limit = limit.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
    // SAFETY: the pointer and the count are those of a live slice.
    unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, limit) }
}

/// While it lives, this thread is woken on time: Linux lets others sleep 50 microseconds longer.
pub struct Punctual {
    #[cfg(target_os = "linux")]
    slack: libc::c_int,
}

#[cfg(target_os = "linux")]
impl Punctual {
    /// From now on.
    #[must_use]
    pub fn now() -> Self {
        // SAFETY: both requests only read and set a number of this thread.
        unsafe {
            let slack = libc::prctl(libc::PR_GET_TIMERSLACK);
            libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
            Self { slack }
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Punctual {
    fn drop(&mut self) {
        if self.slack > 0 {
            // SAFETY: as above.
            unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, self.slack as libc::c_ulong) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Punctual {
    /// There is nothing to be done.
    #[must_use]
    pub fn now() -> Self {
        Self {}
    }
}
