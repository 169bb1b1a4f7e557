//! Chat: a room of clients who all see the same lines in the same order. `hub` decides who hears what, `replica` the same
//! for a `room` that many nodes share, `porter` who may come in, `history` has the last lines; `service` moves the bytes.

mod commands;
mod history;
pub mod hub;
pub mod porter;
mod queues;
mod replica;
pub mod room;
pub mod rules;
pub mod service;
pub mod shared;
mod text;
