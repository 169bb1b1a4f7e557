//! Everything that does not know Python: machines (decisions) and drivers (sockets).

pub mod chat;
pub mod echo;
pub mod errors;
pub mod framing;
pub mod load;
pub mod messages;
pub mod net;
pub mod raw_loop;
pub mod reactor;
pub mod scan;
pub mod udp;
