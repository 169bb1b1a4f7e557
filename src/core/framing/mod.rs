//! Framing: codecs that cut a stream of bytes into frames, and the decoder that keeps what is between two chunks.
//!
//! `counted` walks from header to header, which `headers` reads; `delimited` goes from terminator to terminator; `decoder`
//! is one stream through either.

pub mod counted;
pub mod decoder;
pub mod delimited;
pub mod headers;

use std::fmt;
use std::sync::Arc;

use crate::core::memory::{self, NoMemory, Room};

pub use decoder::{Decoder, FeedError, FrameError, Frames, Skipped};

/// A body of up to this many times the limit is discarded by count where bad frames are skipped.
pub const SKIP_FACTOR: u64 = 16;

/// A codec with its parameters.
pub type Codec = Arc<dyn Machine>;

/// Where in some bytes a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// What is wrong with a frame, by kind of exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Longer than the limit.
    TooLong,
    /// Not of this codec.
    Corrupt,
    /// Cut off by the end of the stream.
    Incomplete,
}

/// What is wrong with a frame, in detail; both engines use the same words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A declared body over the limit: both sizes.
    Over(i128, u64),
    /// No terminator within the limit.
    Unterminated(u64),
    /// More digits than any legal length has, and the limit.
    Digits(usize, u64),
    /// A length below zero.
    Negative(i128),
    /// A frame shorter than what is to be stripped: both sizes.
    Short(u64, u64),
    /// A varint that does not fit into 64 bits.
    Varint,
    /// A byte that is no digit.
    Digit(u8),
    /// A decimal length that begins with a zero and goes on.
    LeadingZero,
    /// Another byte than the trailer, and the trailer.
    Trailer(u8, u8),
    /// The stream ended so many bytes into a frame.
    Ended(usize),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Over(body, limit) => {
                write!(f, "a frame of {body} bytes, over the limit of {limit}")
            }
            Self::Unterminated(limit) => write!(f, "a frame over the limit of {limit} bytes"),
            Self::Digits(digits, limit) => {
                write!(f, "a length of more than {digits} digits, over the limit of {limit}")
            }
            Self::Negative(length) => write!(f, "a negative length, {length}"),
            Self::Short(size, strip) => {
                write!(f, "a frame of {size} bytes, of which the first {strip} are to be stripped")
            }
            Self::Varint => f.write_str("a varint over 2**64 - 1"),
            Self::Digit(byte) => write!(f, "byte 0x{byte:02x} in a decimal length"),
            Self::LeadingZero => f.write_str("a decimal length with a leading zero"),
            Self::Trailer(byte, trailer) => {
                write!(f, "byte 0x{byte:02x} where 0x{trailer:02x} belongs")
            }
            Self::Ended(held) => write!(f, "the stream ended within a frame, after {held} of its bytes"),
        }
    }
}

/// What is wrong with the frame at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of exception.
    pub kind: Kind,
    /// The details.
    pub reason: Reason,
    /// The length of body that the stream declared.
    pub declared: Option<i128>,
    /// Whether decoding can go on after the frame; for counted codecs, its size on the wire.
    pub discard: Option<u64>,
}

impl Fault {
    /// A frame that nothing leads past.
    #[must_use]
    pub fn corrupt(reason: Reason, declared: Option<i128>) -> Self {
        Self { kind: Kind::Corrupt, reason, declared, discard: None }
    }

    /// A frame that the stream's end cut off after `held` bytes.
    #[must_use]
    pub fn incomplete(held: usize, declared: Option<i128>) -> Self {
        Self { kind: Kind::Incomplete, reason: Reason::Ended(held), declared, discard: None }
    }
}

/// What more bytes made of a frame that had begun.
pub enum Step {
    /// Still not all of it.
    More,
    /// The frame, in the held bytes.
    Frame(Span),
    /// A bad frame, whose beginning is in the held bytes.
    Bad(Fault),
}

/// How far a frame was discarded.
pub enum Passed {
    /// All of the bytes belong to it, and more to come.
    All,
    /// It ends at this position.
    To(usize),
    /// It proved corrupt.
    Bad(Fault),
}

/// What is left of a frame that is being discarded.
#[derive(Default)]
pub struct Passing {
    /// Bytes still to come, where they are counted.
    pub left: u64,
    /// What may be the beginning of its terminator.
    pub retained: Vec<u8>,
}

/// Why a payload was not framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrapError {
    /// No frame can hold it; says why.
    Unfit(String),
    /// There is no memory for the frame.
    Memory,
}

impl From<String> for WrapError {
    fn from(words: String) -> Self {
        Self::Unfit(words)
    }
}

impl From<NoMemory> for WrapError {
    fn from(_: NoMemory) -> Self {
        Self::Memory
    }
}

/// One codec: how frames stand in bytes.
pub trait Machine: Send + Sync {
    /// The longest body, in bytes.
    fn limit(&self) -> u64;
    /// Find the whole frames in `data` from `at` on; give where that ended, and what is wrong there.
    fn scan(
        &self,
        data: &[u8],
        at: usize,
        spans: &mut Vec<Span>,
        most: usize,
    ) -> Result<(usize, Option<Fault>), NoMemory>;
    /// Move as much of `more` to the `held` beginning of a frame as belongs to it; give how much that was.
    fn resume(&self, held: &mut Vec<u8>, more: &[u8]) -> Result<(usize, Step), NoMemory>;
    /// Discard what of a bad frame stands in `data`.
    fn pass_over(&self, passing: &mut Passing, data: &[u8], declared: Option<i128>) -> Result<Passed, NoMemory>;
    /// Say whether a stream that ends with `held` has it as its last frame.
    fn finish(&self, held: &[u8]) -> Result<(), Fault>;
    /// How many bytes a payload of this size is when it is framed; refuses a size that no frame has.
    fn framed(&self, payload: usize) -> Result<usize, WrapError>;
    /// Write a payload, framed, of a size that `framed` has accepted; refuses what no frame can hold.
    fn write(&self, payload: &[u8], out: &mut Room<'_>) -> Result<(), WrapError>;
}

/// A payload, framed.
pub fn wrap(machine: &dyn Machine, payload: &[u8]) -> Result<Vec<u8>, WrapError> {
    let size = machine.framed(payload.len())?;
    let mut wire = memory::with_capacity(size)?;
    let mut room = Room::new(&mut wire.spare_capacity_mut()[..size]);
    machine.write(payload, &mut room)?;
    let filled = room.written().len();
    // SAFETY: so many are written.
    unsafe { wire.set_len(filled) };
    Ok(wire)
}
