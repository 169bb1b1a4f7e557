//! Waiting for sockets, to the microsecond where that is asked for, and through signals.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

use super::handles::{AsHandle, number};
use super::spinning::Spin;

#[cfg(unix)]
pub(super) use libc::{POLLERR as FAILED, POLLIN as READABLE, POLLOUT as WRITABLE, pollfd as Polled};
#[cfg(windows)]
pub(super) use windows_sys::Win32::Networking::WinSock::{
    POLLERR as FAILED, POLLIN as READABLE, POLLOUT as WRITABLE, WSAPOLLFD as Polled,
};

/// Stands for no socket, and is passed over.
#[cfg(unix)]
const NOBODY: i32 = -1;
/// Stands for no socket, and is passed over.
#[cfg(windows)]
const NOBODY: usize = windows_sys::Win32::Networking::WinSock::INVALID_SOCKET;

/// Whether a read or write that moved less than it could says that there is no more to read, or no more room.
///
/// With epoll it does; other selectors of mio tell of a socket again only after a call that would have blocked.
pub const SHORT_IS_ALL: bool = cfg!(any(target_os = "linux", target_os = "android"));

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

/// As `select`, but it is looked for a moment first, where that pays.
pub fn select_soon(poll: &mut Poll, events: &mut Events, limit: Option<Duration>, spin: &mut Spin) -> io::Result<bool> {
    let mut signal = false;
    spin.wait(limit, |limit| {
        signal = select(poll, events, limit)?;
        Ok(!events.is_empty())
    })?;
    Ok(signal)
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
        use std::os::fd::AsRawFd;
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
pub struct Watched(Vec<Polled>);

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
    pub fn new<'a, S: AsHandle + 'a>(sockets: impl Iterator<Item = &'a S>) -> Self {
        Self(sockets.map(|socket| watch(Some(socket), READABLE)).collect())
    }

    /// Wait also for room to send on this one.
    pub fn want_room(&mut self, place: usize) {
        self.0[place].events |= WRITABLE;
    }

    /// Wait for this one no longer.
    pub fn forget(&mut self, place: usize) {
        self.0[place].fd = NOBODY;
    }

    /// Wait until one of them has something, a signal comes, or `limit` is over.
    pub fn wait(&mut self, limit: Duration) -> io::Result<()> {
        wait_for(&mut self.0, Some(limit)).map(drop)
    }

    /// What the last wait found of this one.
    pub fn found(&mut self, place: usize) -> Found {
        let watched = &mut self.0[place];
        let writable = watched.revents & WRITABLE != 0;
        if writable {
            watched.events &= !WRITABLE;
        }
        Found { readable: watched.revents & (READABLE | FAILED) != 0, writable }
    }
}

/// One to be waited for, if there is one.
pub(super) fn watch(socket: Option<&impl AsHandle>, events: i16) -> Polled {
    Polled { fd: socket.map_or(NOBODY, number), events, revents: 0 }
}

/// Wait until a descriptor is ready or `limit` (None: none) is over; false where it ended without, or by a signal.
pub(super) fn wait_for(watched: &mut [Polled], limit: Option<Duration>) -> io::Result<bool> {
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
        // 68 years are for ever, and what a system of 32 bits can count.
        tv_sec: limit.as_secs().min(i32::MAX as u64) as _,
        tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointer and the count are those of a live slice; the time is live or null, and there is no mask.
    unsafe { libc::ppoll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, limit, std::ptr::null()) }
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn poll_once(watched: &mut [Polled], limit: Option<Duration>) -> i32 {
    // SAFETY: the pointer and the count are those of a live slice.
    unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, milliseconds(limit)) }
}

#[cfg(windows)]
fn poll_once(watched: &mut [Polled], limit: Option<Duration>) -> i32 {
    use windows_sys::Win32::Networking::WinSock::WSAPoll;
    // It says of those that are none that they are bad, and fails where there are no others.
    let mut asked: Vec<Polled> = watched.iter().copied().filter(|each| each.fd != NOBODY).collect();
    let count = if asked.is_empty() {
        std::thread::sleep(limit.unwrap_or(Duration::MAX));
        0
    } else {
        // SAFETY: the pointer and the count are those of a live list.
        unsafe { WSAPoll(asked.as_mut_ptr(), asked.len() as u32, milliseconds(limit)) }
    };
    let mut answers = asked.iter();
    for each in watched {
        each.revents = if each.fd == NOBODY { 0 } else { answers.next().map_or(0, |answer| answer.revents) };
    }
    count
}

/// Rounded up, or the end of a wait would be spent in a hundred waits of no time at all; -1 is no limit.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn milliseconds(limit: Option<Duration>) -> i32 {
    limit.map_or(-1, |limit| limit.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32)
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
