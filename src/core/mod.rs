//! Everything that does not know Python: machines (decisions) and drivers (sockets).

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
