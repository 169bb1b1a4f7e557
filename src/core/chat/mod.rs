//! Chat: a room of clients who all see the same lines in the same order.
//!
//! `hub` decides who hears what by the `rules`, with `commands`, `queues`, the `history` and what `text` lets pass; `replica`
//! does the same for a `room` that many nodes share; `porter` decides who may come in. `service` moves the bytes, and
//! `shared` is what other threads hold of it.

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
