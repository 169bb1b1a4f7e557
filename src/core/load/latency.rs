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

    /// How many times lie within each of `count` spans, which get longer by one factor from the least time to the
    /// most: where each ends, in nanoseconds, and how many.
    #[must_use]
    pub fn spans(&self, count: u32) -> Vec<(u64, u64)> {
        if self.0.is_empty() || count == 0 {
            return Vec::new();
        }
        let seconds = |nanoseconds: u64| Duration::from_nanos(nanoseconds.max(1)).as_secs_f64();
        let (min, max) = (seconds(self.0.min()), seconds(self.0.max()));
        let ends = (1..=count).map(|number| {
            let share = f64::from(number) / f64::from(count);
            if number == count { self.0.max() } else { (min * (max / min).powf(share) * 1e9) as u64 }
        });
        let mut spans: Vec<(u64, u64)> = ends.map(|end| (end, 0)).collect();
        let last = spans.len() - 1;
        for step in self.0.iter_recorded() {
            let time = step.value_iterated_to();
            let at = spans.iter().position(|(end, _)| time <= *end).unwrap_or(last);
            spans[at].1 += step.count_at_value();
        }
        spans
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
    fn spans_hold_every_time_once() {
        let mut latency = Latency::new().unwrap();
        assert_eq!(latency.spans(8), []);
        for microseconds in 1..=1000 {
            latency.record(microseconds * 1000, 2);
        }
        let spans = latency.spans(8);
        assert_eq!((spans.len(), spans.iter().map(|(_, count)| count).sum::<u64>()), (8, 2000));
        assert!(spans.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let mut one = Latency::new().unwrap();
        one.record(5000, 3);
        assert_eq!(one.spans(4).iter().map(|(_, count)| count).sum::<u64>(), 3);
    }

    #[test]
    fn what_takes_for_ever_counts_as_the_longest() {
        let mut latency = Latency::new().unwrap();
        latency.record(u64::MAX, 3);
        assert_eq!(latency.summary().unwrap().count, 3);
        assert!(latency.summary().unwrap().max >= Duration::from_secs(3599));
    }
}
