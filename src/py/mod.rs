//! The bindings: thin, by concept, with no socket of their own.

pub mod buffer;
pub mod chat;
pub mod chat_load;
pub mod errors;
pub mod framing;
pub mod load;
pub mod raw_loop;
pub mod reactor_run;
pub mod scan;
pub mod servers;
pub mod signals;
pub mod udp;
