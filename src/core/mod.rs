//! Everything that does not know Python: machines (decisions) and drivers (sockets).

pub mod errors;
pub mod udp;
