//! TCP servers: a reactor that accepts, reads and writes, connection machines that decide, and services on top.
//!
//! [`connection`] is the machine of a connection, [`shares`] counts them by address, [`proxies`] reads what a
//! proxy says of them, [`journal`] keeps what happened to them; [`reactor`] the loop, with [`links`] (its connections,
//! each a [`link`]), `door` (its listener) and `lingering` (sockets whose last bytes are on their way); [`control`] is
//! what the loops of a server share, [`running`] their threads; [`service`] says what a service has to know, [`echo`]
//! and [`messages`] are two.

pub mod connection;
pub mod control;
mod door;
pub mod echo;
pub mod journal;
mod lingering;
pub mod link;
pub mod links;
pub mod messages;
pub mod proxies;
pub mod reactor;
pub mod running;
pub mod service;
pub mod shares;
