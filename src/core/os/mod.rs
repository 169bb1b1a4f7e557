//! What differs between systems, each call once; descriptors are owned or borrowed, never bare numbers.

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
