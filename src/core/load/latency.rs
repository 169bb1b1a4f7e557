//! How long answers took: a histogram of high dynamic range, three digits exact from nanoseconds to an hour.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::core::errors::{Error, Result};

const HIGHEST: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// Times, and how often each occurred.
pub struct Latency(Histogram<u64>);

/// What a histogram comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many times were recorded.
    pub count: u64,
    /// The shortest.
    pub min: Duration,
    /// Their mean.
    pub mean: Duration,
    /// What 50, 75, 90, 95, 99 and 99.9 of 100 stay within.
    pub percentiles: [Duration; 6],
    /// The longest.
    pub max: Duration,
}

/// Of which shares of the times [`Summary::percentiles`] tells.
pub const QUANTILES: [f64; 6] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999];

impl Latency {
    /// A histogram with nothing in it.
    pub fn new() -> Result<Self> {
        let histogram = Histogram::new_with_bounds(1, HIGHEST, DIGITS);
        histogram.map(Self).map_err(|error| Error::State(format!("no histogram: {error}")))
    }

    /// Note that `count` answers took so many nanoseconds; what is over an hour counts as one.
    pub fn record(&mut self, nanoseconds: u64, count: u64) {
        self.0.saturating_record_n(nanoseconds, count);
    }

    /// What it comes to so far; None where nothing was recorded.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        if self.0.is_empty() {
            return None;
        }
        let max = self.0.max();
        // A bucket ends behind the values in it.
        let at = |quantile| Duration::from_nanos(self.0.value_at_quantile(quantile).min(max));
        Some(Summary {
            count: self.0.len(),
            min: Duration::from_nanos(self.0.min()),
            mean: Duration::from_nanos(self.0.mean() as u64),
            percentiles: QUANTILES.map(at),
            max: Duration::from_nanos(max),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_times() {
        let mut latency = Latency::new().unwrap();
        assert_eq!(latency.summary(), None);
        for milliseconds in 1..=1000 {
            latency.record(milliseconds * 1_000_000, 1);
        }
        let summary = latency.summary().unwrap();
        assert_eq!(summary.count, 1000);
        let near = |time: Duration, milliseconds: f64| (time.as_secs_f64() * 1e3 / milliseconds - 1.0).abs() < 0.002;
        assert!(near(summary.min, 1.0) && near(summary.mean, 500.5) && near(summary.max, 1000.0));
        for (time, milliseconds) in summary.percentiles.into_iter().zip([500.0, 750.0, 900.0, 950.0, 990.0, 999.0]) {
            assert!(near(time, milliseconds), "{time:?} for {milliseconds} ms");
        }
    }

    #[test]
    fn what_takes_for_ever_counts_as_the_longest() {
        let mut latency = Latency::new().unwrap();
        latency.record(u64::MAX, 3);
        assert_eq!(latency.summary().unwrap().count, 3);
        assert!(latency.summary().unwrap().max >= Duration::from_secs(3599));
    }
}
