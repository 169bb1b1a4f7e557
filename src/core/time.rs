//! How time is counted: nanoseconds as integers, from a clock that starts when what it serves does.

use std::time::{Duration, Instant};

/// A time that does not come; as a limit, no limit.
pub const NEVER: u64 = i64::MAX as u64;

/// What machines are told the time from.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock at 0.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since its start.
    #[inline]
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// A duration in nanoseconds; what is longer than 584 years is cut to that.
#[must_use]
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
