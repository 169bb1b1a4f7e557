//! The bindings: thin, by concept, with no socket of their own.
//!
//! `scanning`, `framing`, `serving`, `udp`, `chat`, `load` and `ceilings` are those of `core`. They share `arguments` (read),
//! `buffer` (borrowed), `errors` (raised), `signals` (heeded) and `interpreters` (of which only the main one will do).

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

/// Python's allocator aligns objects to two pointers: to 8 bytes where a pointer has 4, and what
/// asks for more may not stand in one.
macro_rules! fit_into_objects {
    ($($class:ty),+ $(,)?) => {
        $(const _: () = assert!(align_of::<$class>() <= 2 * size_of::<usize>());)+
    };
}

fit_into_objects!(
    chat::ChatReactor,
    chat::Hub,
    chat::Porter,
    framing::Decoder,
    framing::Framer,
    load::LoadRun,
    scanning::ScanEngine,
    scanning::ScanRun,
    serving::Connection,
    serving::EchoReactors,
    serving::MessageReactor,
    serving::ProxyHeader,
    serving::Reactors,
    serving::Shares,
    udp::UdpEchoReactor,
    udp::UdpReactor,
);

/// Take over a socket that Python gives away: from here on it is closed once, by whoever owns it.
///
/// # Safety
/// The number must be that of an open socket, which nobody else closes: what `socket.detach()` gave.
unsafe fn owned(descriptor: i64) -> Result<Owned> {
    // SAFETY: the caller vouches for it.
    let socket = unsafe { take_over(descriptor) };
    socket.ok_or_else(|| Error::Value(format!("{descriptor} is no descriptor")))
}
