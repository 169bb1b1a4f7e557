//! What a system calls a socket by: a descriptor, or on Windows a handle of its own kind.

#[cfg(unix)]
pub use std::os::fd::{AsFd as AsHandle, OwnedFd as Owned};
#[cfg(windows)]
pub use std::os::windows::io::{AsSocket as AsHandle, OwnedSocket as Owned};

/// The number of a handle, for the calls of this folder; it is open for as long as its owner is borrowed there.
#[cfg(unix)]
pub(super) fn number(handle: &impl AsHandle) -> std::os::fd::RawFd {
    use std::os::fd::AsRawFd;
    handle.as_fd().as_raw_fd()
}

/// The number of a handle, for the calls of this folder; it is open for as long as its owner is borrowed there.
#[cfg(windows)]
pub(super) fn number(handle: &impl AsHandle) -> usize {
    use std::os::windows::io::AsRawSocket;
    handle.as_socket().as_raw_socket() as usize
}

/// Take over a socket that somebody gives away, by its number; None where the number can be none.
///
/// # Safety
/// The number must be that of an open socket, which nobody else closes.
#[cfg(unix)]
#[must_use]
pub unsafe fn take_over(number: i64) -> Option<Owned> {
    use std::os::fd::FromRawFd;
    let number = i32::try_from(number).ok().filter(|number| *number >= 0)?;
    // SAFETY: the caller vouches for it, and it is not negative.
    Some(unsafe { Owned::from_raw_fd(number) })
}

/// Take over a socket that somebody gives away, by its number; None where the number can be none.
///
/// # Safety
/// The number must be that of an open socket, which nobody else closes.
#[cfg(windows)]
#[must_use]
pub unsafe fn take_over(number: i64) -> Option<Owned> {
    use std::os::windows::io::FromRawSocket;
    // INVALID_SOCKET is all ones, so -1.
    let number = u64::try_from(number).ok()?.try_into().ok()?;
    // SAFETY: the caller vouches for it, and it is not INVALID_SOCKET.
    Some(unsafe { Owned::from_raw_socket(number) })
}
