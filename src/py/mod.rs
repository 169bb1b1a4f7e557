//! The bindings: thin, by concept, with no socket of their own.

pub mod arguments;
pub mod buffer;
pub mod ceilings;
pub mod chat;
pub mod errors;
pub mod framing;
pub mod interpreters;
pub mod load;
pub mod scanning;
pub mod serving;
pub mod signals;
pub mod udp;

use crate::core::errors::{Error, Result};
use crate::core::os::handles::{Owned, take_over};

/// Take over a socket that Python gives away: from here on it is closed once, by whoever owns it.
///
/// # Safety
/// The number must be that of an open socket, which nobody else closes: what `socket.detach()` gave.
unsafe fn owned(descriptor: i64) -> Result<Owned> {
    // SAFETY: the caller vouches for it.
    let socket = unsafe { take_over(descriptor) };
    socket.ok_or_else(|| Error::Value(format!("{descriptor} is no descriptor")))
}
