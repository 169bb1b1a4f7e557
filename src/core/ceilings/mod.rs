//! What the system itself allows: raw loops without limits, timers or ends, that `bench` compares with.

pub mod chat;
pub mod connect;
pub mod datagrams;
pub mod echo;
mod streams;
