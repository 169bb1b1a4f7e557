//! Waiting for sockets, to the microsecond where that is asked for, and through signals.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::{Events, Poll};

/// Wait for the events of a selector, at most `limit` (None: no limit); true where a signal came instead.
pub fn select(poll: &mut Poll, events: &mut Events, limit: Option<Duration>) -> io::Result<bool> {
    match poll.poll(events, limit) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(true)
        }
        other => other.map(|()| false),
    }
}

/// As `select`, but the wait ends exactly: selectors end theirs on whole milliseconds. It costs a system call more.
pub fn select_exactly(poll: &mut Poll, events: &mut Events, limit: Duration) -> io::Result<bool> {
    let limit = sleep_on(poll, limit)?;
    select(poll, events, Some(limit))
}

/// Wait for the selector as for any descriptor, which can be done exactly; what is left is to ask it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn sleep_on(poll: &Poll, limit: Duration) -> io::Result<Duration> {
    if !limit.is_zero() {
        let mut watched = [libc::pollfd { fd: poll.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        wait_for(&mut watched, Some(limit))?;
    }
    Ok(Duration::ZERO)
}

/// Other selectors are exact.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sleep_on(_: &Poll, limit: Duration) -> io::Result<Duration> {
    Ok(limit)
}

/// Sockets to be waited for, by their place in a list.
///
/// By poll, not by a selector: a socket that is registered somewhere wakes that with every datagram that comes or
/// leaves, which a loop that is busy anyway pays for and has no use of.
pub struct Watched(Vec<libc::pollfd>);

/// What a wait found of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// There is something to receive, or an error, which receiving tells.
    pub readable: bool,
    /// There is room to send, for which was waited; it is waited for no longer.
    pub writable: bool,
}

impl Watched {
    /// Watch whether these have something to receive; they are to live as long.
    pub fn new<'a, S: AsFd + 'a>(sockets: impl Iterator<Item = &'a S>) -> Self {
        let watch = |socket: &S| libc::pollfd { fd: socket.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        Self(sockets.map(watch).collect())
    }

    /// Wait also for room to send on this one.
    pub fn want_room(&mut self, place: usize) {
        self.0[place].events |= libc::POLLOUT;
    }

    /// Wait for this one no longer.
    pub fn forget(&mut self, place: usize) {
        self.0[place].fd = -1;
    }

    /// Wait until one of them has something, a signal comes, or `limit` is over.
    pub fn wait(&mut self, limit: Duration) -> io::Result<()> {
        wait_for(&mut self.0, Some(limit)).map(drop)
    }

    /// What the last wait found of this one.
    pub fn found(&mut self, place: usize) -> Found {
        let watched = &mut self.0[place];
        let writable = watched.revents & libc::POLLOUT != 0;
        if writable {
            watched.events &= !libc::POLLOUT;
        }
        Found { readable: watched.revents & (libc::POLLIN | libc::POLLERR) != 0, writable }
    }
}

/// Wait until a descriptor is ready or `limit` (None: none) is over; false where it ended without, or by a signal.
pub(super) fn wait_for(watched: &mut [libc::pollfd], limit: Option<Duration>) -> io::Result<bool> {
    let count = poll_once(watched, limit);
    if count >= 0 {
        return Ok(count > 0);
    }
    let error = io::Error::last_os_error();
    if error.kind() != io::ErrorKind::Interrupted {
        return Err(error);
    }
    // A call that failed leaves these as they were.
    for each in watched {
        each.revents = 0;
    }
    Ok(false)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn poll_once(watched: &mut [libc::pollfd], limit: Option<Duration>) -> i32 {
    let limit = limit.map(|limit| libc::timespec {
        // Longer than the system can count is for ever.
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointer and the count are those of a live slice; the time is live or null, and there is no mask.
    unsafe { libc::ppoll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, limit, std::ptr::null()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn poll_once(watched: &mut [libc::pollfd], limit: Option<Duration>) -> i32 {
    // Rounded up, or the end of a wait would be spent in a hundred waits of no time at all.
    let limit = limit.map_or(-1, |limit| limit.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32);
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
