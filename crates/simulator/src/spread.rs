//! Many durations in small space: a histogram, and what is exact beside it.
//!
//! Microseconds, 1 µs to 1 h, three digits: the precision that the measuring side uses, so that a
//! difference between the two is never the histogram's.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const LONGEST_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// Statistics of durations, in microseconds; `None` where there is no sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Samples.
    pub count: u64,
    /// Exact mean.
    pub mean: Option<f64>,
    /// Exact minimum.
    pub min: Option<u64>,
    /// Exact maximum.
    pub max: Option<u64>,
    /// Percentiles, to 0.1 % or 1 µs.
    pub p50: Option<u64>,
    /// 90th.
    pub p90: Option<u64>,
    /// 95th.
    pub p95: Option<u64>,
    /// 99th.
    pub p99: Option<u64>,
    /// 99.9th.
    pub p99_9: Option<u64>,
}

/// Collects durations for a [`Spread`].
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    histogram_us: Histogram<u64>,
    sum_ns: u128,
    min: Duration,
    max: Duration,
}

impl Samples {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        Self {
            histogram_us: histogram.expect("the bounds are constants that the histogram accepts"),
            sum_ns: 0,
            min: Duration::MAX,
            max: Duration::ZERO,
        }
    }

    pub(crate) fn record(&mut self, span: Duration) {
        self.histogram_us.saturating_record(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        self.sum_ns += span.as_nanos();
        self.min = self.min.min(span);
        self.max = self.max.max(span);
    }

    pub(crate) fn spread(&self) -> Spread {
        let count = self.histogram_us.len();
        if count == 0 {
            return Spread::default();
        }
        let max = u64::try_from(self.max.as_micros()).unwrap_or(u64::MAX);
        let min = u64::try_from(self.min.as_micros()).unwrap_or(u64::MAX);
        // A bucket's upper end may lie above everything that was recorded.
        let quantile = |quantile: f64| Some(self.histogram_us.value_at_quantile(quantile).min(max));
        Spread {
            count,
            mean: Some(self.sum_ns as f64 / count as f64 / 1e3),
            min: Some(min),
            max: Some(max),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p95: quantile(0.95),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_milliseconds_have_the_percentiles_one_expects() {
        let mut samples = Samples::new();
        (1..=100).for_each(|ms| samples.record(Duration::from_millis(ms)));
        let spread = samples.spread();
        assert_eq!((spread.count, spread.min, spread.max), (100, Some(1_000), Some(100_000)));
        assert_eq!(spread.mean, Some(50_500.0));
        let near = |value: Option<u64>, us: u64| value.unwrap().abs_diff(us) <= us / 1_000 + 1;
        assert!(
            near(spread.p50, 50_000) && near(spread.p90, 90_000) && near(spread.p99, 99_000),
            "{spread:?}"
        );
        assert_eq!(spread.p99_9, Some(100_000), "never above the maximum");
    }

    #[test]
    fn without_samples_there_is_no_figure() {
        assert_eq!(Samples::new().spread(), Spread::default());
    }

    #[test]
    fn nanoseconds_are_truncated_and_long_times_kept_in_the_last_bucket() {
        let mut samples = Samples::new();
        samples.record(Duration::from_nanos(900));
        samples.record(Duration::from_secs(7_200));
        assert_eq!((samples.spread().min, samples.spread().count), (Some(0), 2));
    }
}
