//! The bindings: thin, by concept, with no socket of their own.

pub mod arguments;
pub mod buffer;
pub mod ceilings;
pub mod chat;
pub mod errors;
pub mod framing;
pub mod load;
pub mod scanning;
pub mod serving;
pub mod signals;
pub mod udp;

use std::os::fd::{FromRawFd, OwnedFd};

use crate::core::errors::{Error, Result};

/// Take over a descriptor that Python gives away: from here on it is closed once, by whoever owns it.
fn owned(descriptor: i64) -> Result<OwnedFd> {
    let number = i32::try_from(descriptor).ok().filter(|number| *number >= 0);
    let number = number.ok_or_else(|| Error::Value(format!("{descriptor} is no descriptor")))?;
    // SAFETY: what the faces pass is what `socket.detach()` gave: open, and of nobody else; it is not negative.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
