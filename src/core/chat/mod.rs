//! Chat: a room of clients who all see the same lines in the same order. `hub` decides, `service` moves the bytes.

mod commands;
pub mod hub;
mod queues;
pub mod rules;
pub mod service;
pub mod shared;
mod text;
