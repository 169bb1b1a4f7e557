//! Everything that does not know Python: machines (decisions) and drivers (sockets).

pub mod errors;
pub mod net;
pub mod scan;
pub mod udp;
