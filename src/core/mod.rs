//! Everything that does not know Python: machines (decisions) and drivers (sockets).
//!
//! [`scanning`], [`framing`], [`serving`], [`udp`], [`chat`] and [`load`] are the concepts, [`ceilings`] the raw loops that
//! `bench` compares with, [`os`] what differs between systems. They share `latch` (threads that have ended, and how),
//! `timers`, `time` and `splitmix` (of machines), `memory` (had or refused) and `errors`.

pub mod ceilings;
pub mod chat;
pub mod errors;
pub mod framing;
pub mod latch;
pub mod load;
pub mod memory;
pub mod os;
pub mod scanning;
pub mod serving;
pub mod splitmix;
pub mod time;
pub mod timers;
pub mod udp;
