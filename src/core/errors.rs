//! The one error type of the core.

use std::fmt;
use std::io;

use super::memory::NoMemory;

/// What can go wrong in the core, in the shape in which it reaches the user.
#[derive(Debug)]
pub enum Error {
    /// The operating system refused; carries its errno.
    Io(io::Error),
    /// An argument makes no sense; says what was given and what was expected.
    Value(String),
    /// The call is wrong in the present state.
    State(String),
    /// There is no room for what was asked for.
    Memory,
    /// Our own fault: a thread panicked, with these words.
    Panic(String),
}

/// The result of everything in the core that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Value(text) | Self::State(text) => f.write_str(text),
            Self::Memory => NoMemory.fmt(f),
            Self::Panic(text) => write!(f, "a native thread panicked: {text}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<NoMemory> for Error {
    fn from(_: NoMemory) -> Self {
        Self::Memory
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
