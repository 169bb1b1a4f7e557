//! Chat: a room of clients who all see the same lines in the same order. `hub` decides, `service` moves the bytes.

pub mod hub;
pub mod load;
pub mod service;
pub mod shared;
mod text;
