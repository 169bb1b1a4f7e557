//! What differs between systems, each call once; descriptors are owned or borrowed, never bare numbers.
//!
//! `handles`: what a socket is called by; `inherited`: descriptors of a forked child; `errors` and `addresses`: numbers and
//! words; `streams` and [`datagrams`]: calls on sockets; `neighbours`: who answers on a link; `waiting`, with a `bell` or
//! `spinning` before it: until something happens.

pub mod addresses;
pub mod bell;
pub mod datagrams;
pub mod errors;
pub mod handles;
pub mod inherited;
pub mod neighbours;
pub mod spinning;
pub mod streams;
pub mod waiting;
