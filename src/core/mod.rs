//! Everything that does not know Python: machines (decisions) and drivers (sockets).

pub mod errors;
pub mod framing;
pub mod net;
pub mod scan;
pub mod udp;
