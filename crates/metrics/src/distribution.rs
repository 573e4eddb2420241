//! A histogram that can be merged, with the exact figures that a histogram cannot give.
//!
//! Percentiles come from an HDR histogram, because it is the only form in which a hundred workers' samples add up to
//! what one recorder would hold. Mean, standard deviation, minimum and maximum travel beside it exactly, so that they
//! carry no bucket error. A sample outside the bounds is kept at the nearest bucket, so that percentiles stay in order,
//! and counted, so that it shows.

mod buckets;
mod codec;

pub(crate) use buckets::{highest_of, place_of};
pub use codec::{DecodeError, EncodedDistribution, Encoder};

use std::fmt;
use std::time::Duration;

use buckets::{Buckets, highest_in_bucket};

use crate::metric::Kind;
use crate::sparse::SparseHistogram;

/// Significant digits of every histogram: a bucket is at most 0.1 % wide.
const DIGITS: u8 = 3;

/// The bounds of a kind's histogram, in its own unit: fixed for the whole project, or nothing could be merged.
///
/// `lowest` is the smallest value inside; HDR holds 0 as well, which is inside for latencies (shown as < 1 µs) and
/// counted as below for counts and rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    lowest: u64,
    highest: u64,
}

impl Bounds {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Latency => Self { lowest: 0, highest: 3_600_000_000 },
            Kind::Count => Self { lowest: 1, highest: 10_000_000 },
            Kind::Rate => Self { lowest: 1, highest: 1_000_000_000 },
        }
    }
}

/// Two distributions that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The kinds differ, and with them bounds and units.
    #[error("a histogram of {theirs:?} cannot be merged into one of {ours:?}")]
    Kind {
        /// Kind of the target.
        ours: Kind,
        /// Kind of the source.
        theirs: Kind,
    },
    /// Same kind, other bounds or digits: the source was made by another version.
    #[error("histogram bounds or digits differ: {ours} against {theirs}")]
    Bounds {
        /// `low..high, digits` of the target.
        ours: String,
        /// The same of the source.
        theirs: String,
    },
}

/// All samples of one metric.
#[derive(Clone, PartialEq)]
pub struct Distribution {
    kind: Kind,
    buckets: Buckets,
    exact: Exact,
}

/// What a file holds of a distribution beside its buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExactFigures {
    /// Sum of all samples.
    pub sum: Option<u64>,
    /// Smallest sample.
    pub min: Option<u64>,
    /// Largest sample.
    pub max: Option<u64>,
    /// Samples under the kind's range.
    pub below: u64,
    /// Samples over it.
    pub above: u64,
}

/// What is known exactly. The two sums are `None` once they no longer fit, and stay so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exact {
    sum: Option<u64>,
    sum_of_squares: Option<u128>,
    min: Option<u64>,
    max: Option<u64>,
    below: u64,
    above: u64,
}

impl Exact {
    const EMPTY: Self =
        Self { sum: Some(0), sum_of_squares: Some(0), min: None, max: None, below: 0, above: 0 };

    fn record(&mut self, value: u64, n: u64, bounds: Bounds) {
        let square = u128::from(value) * u128::from(value);
        let (sum, squares) = (value.checked_mul(n), square.checked_mul(u128::from(n)));
        self.sum = self.sum.zip(sum).and_then(|(a, b)| a.checked_add(b));
        self.sum_of_squares = self.sum_of_squares.zip(squares).and_then(|(a, b)| a.checked_add(b));
        self.min = Some(self.min.map_or(value, |min| min.min(value)));
        self.max = Some(self.max.map_or(value, |max| max.max(value)));
        if value < bounds.lowest {
            self.below = self.below.saturating_add(n);
        } else if value > bounds.highest {
            self.above = self.above.saturating_add(n);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.sum = self.sum.zip(other.sum).and_then(|(a, b)| a.checked_add(b));
        self.sum_of_squares =
            self.sum_of_squares.zip(other.sum_of_squares).and_then(|(a, b)| a.checked_add(b));
        self.min = [self.min, other.min].into_iter().flatten().min();
        self.max = self.max.max(other.max);
        self.below = self.below.saturating_add(other.below);
        self.above = self.above.saturating_add(other.above);
    }
}

impl Distribution {
    /// An empty distribution, to be recorded into. This is the only place that allocates (about 190 KiB for a latency);
    /// recording never does.
    pub fn new(kind: Kind) -> Self {
        Self { kind, buckets: Buckets::dense(kind), exact: Exact::EMPTY }
    }

    /// An empty distribution, to be merged into: it takes memory as it grows.
    pub fn collecting(kind: Kind) -> Self {
        Self { kind, buckets: Buckets::Listed(SparseHistogram::default()), exact: Exact::EMPTY }
    }

    /// The same samples, to be merged into: small where they lie in few buckets.
    #[must_use]
    pub fn to_collect(&self) -> Self {
        Self { kind: self.kind, buckets: self.buckets.to_collect(), exact: self.exact.clone() }
    }

    /// One that a file holds as occupied buckets with the exact figures beside them. The squares are not in files, so
    /// there is no standard deviation.
    pub fn from_buckets(
        kind: Kind,
        buckets: impl IntoIterator<Item = (u64, u64)>,
        figures: ExactFigures,
    ) -> Self {
        let mut distribution = Self::new(kind);
        buckets.into_iter().for_each(|(value, count)| distribution.record_n(value, count));
        let ExactFigures { sum, min, max, below, above } = figures;
        distribution.exact = Exact { sum, sum_of_squares: None, min, max, below, above };
        distribution
    }

    /// Its kind, and so the unit of its integers.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Records one sample in the kind's unit: µs, tokens or thousandths per second.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Records the same sample `n` times.
    pub fn record_n(&mut self, value: u64, n: u64) {
        if n == 0 {
            return;
        }
        let bounds = Bounds::of(self.kind);
        self.buckets.record_n(self.kind, value.min(bounds.highest), n);
        self.exact.record(value, n, bounds);
    }

    /// Records a duration in whole microseconds, nanoseconds truncated.
    pub fn record_duration(&mut self, duration: Duration) {
        self.record(whole_micros(duration));
    }

    /// Adds all samples of `other`. Kind, bounds and digits are compared first: HDR would accept a coarser target
    /// silently.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        if self.kind != other.kind {
            return Err(MergeError::Kind { ours: self.kind, theirs: other.kind });
        }
        if self.shape() != other.shape() {
            let (ours, theirs) = (shape_words(self.shape()), shape_words(other.shape()));
            return Err(MergeError::Bounds { ours, theirs });
        }
        self.buckets.add(self.kind, &other.buckets);
        self.exact.merge(&other.exact);
        Ok(())
    }

    fn shape(&self) -> (u64, u64, u8) {
        self.buckets.shape(self.kind)
    }

    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.buckets.clear();
        self.exact = Exact::EMPTY;
    }

    /// Number of samples, those out of range included.
    pub fn count(&self) -> u64 {
        self.buckets.count()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The sum of all samples, in the kind's unit; `None` when it does not fit.
    pub fn sum(&self) -> Option<u64> {
        self.exact.sum
    }

    /// The sum of the samples' squares; `None` when it does not fit.
    pub fn sum_of_squares(&self) -> Option<u128> {
        self.exact.sum_of_squares
    }

    /// Smallest sample, exact.
    pub fn min(&self) -> Option<u64> {
        self.exact.min
    }

    /// Largest sample, exact.
    pub fn max(&self) -> Option<u64> {
        self.exact.max
    }

    /// Samples under the kind's range (a count or rate of 0).
    pub fn below(&self) -> u64 {
        self.exact.below
    }

    /// Samples over the kind's range; they count as its upper bound in percentiles.
    pub fn above(&self) -> u64 {
        self.exact.above
    }

    /// Arithmetic mean, exact but for the last division.
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then_some(())?;
        Some(self.exact.sum? as f64 / self.count() as f64)
    }

    /// Standard deviation with n − 1; `None` under two samples.
    ///
    /// n·Σx² − (Σx)² is computed in integers, where it cannot cancel; only if it does not fit are floats used.
    pub fn stddev(&self) -> Option<f64> {
        let count = self.count();
        if count < 2 {
            return None;
        }
        let (sum, squares) = (u128::from(self.exact.sum?), self.exact.sum_of_squares?);
        let exact = squares
            .checked_mul(u128::from(count))
            .zip(sum.checked_mul(sum))
            .map(|(left, right)| left.saturating_sub(right) as f64);
        let scaled = exact
            .unwrap_or_else(|| (squares as f64 * count as f64 - sum as f64 * sum as f64).max(0.0));
        Some((scaled / count as f64 / (count - 1) as f64).sqrt())
    }

    /// The value at quantile `q` (0 to 1): the ⌈q·n⌉-th smallest sample, within max(1 unit, 0.1 %) of the exact order
    /// statistic; never outside the exact minimum and maximum. `None` without samples.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        self.value_at_rank(rank(self.count(), q))
    }

    /// The `rank`-th smallest sample, counted from 1, as exactly as [`Self::quantile`] has it. `None` without samples.
    pub fn value_at_rank(&self, rank: u64) -> Option<u64> {
        let (min, max) = self.exact.min.zip(self.exact.max)?;
        Some(value_at_rank(self.buckets(), rank)?.clamp(min, max))
    }

    /// The values at ascending quantiles, in one pass: what [`Self::quantile`] gives for each.
    pub fn quantiles(&self, ascending: &[f64]) -> Vec<u64> {
        let Some((min, max)) = self.exact.min.zip(self.exact.max) else { return Vec::new() };
        let mut wanted = ascending.iter().map(|&q| rank(self.count(), q)).peekable();
        let (mut seen, mut values) = (0_u64, Vec::with_capacity(ascending.len()));
        for (value, count) in self.buckets() {
            seen = seen.saturating_add(count);
            while wanted.next_if(|&rank| rank <= seen).is_some() {
                values.push(value.clamp(min, max));
            }
        }
        values
    }

    /// How many samples are above `value`, exact to the bucket that holds it.
    pub fn count_above(&self, value: u64) -> u64 {
        self.buckets().filter(|&(upper, _)| upper > self.bucket_of(value)).map(|(_, n)| n).sum()
    }

    /// How many samples are at or under each of these ascending bounds, in one pass: what is not
    /// [above](Self::count_above) it.
    pub fn cumulative(&self, bounds: &[u64]) -> Vec<u64> {
        let (mut seen, mut counts) = (0_u64, Vec::with_capacity(bounds.len()));
        let mut buckets = self.buckets().peekable();
        for &bound in bounds {
            let last = self.bucket_of(bound);
            while let Some((_, n)) = buckets.next_if(|&(upper, _)| upper <= last) {
                seen = seen.saturating_add(n);
            }
            counts.push(seen);
        }
        counts
    }

    fn bucket_of(&self, value: u64) -> u64 {
        highest_in_bucket(value.min(Bounds::of(self.kind).highest))
    }

    /// The occupied buckets in ascending order: the largest value that falls into the bucket, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.buckets.iter()
    }
}

/// A duration in whole microseconds, truncated; what does not fit is far out of every range.
pub(crate) fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The value of the bucket that holds the ⌈q·count⌉-th smallest sample, from ascending (value, count) buckets.
pub(crate) fn quantile_of(
    buckets: impl Iterator<Item = (u64, u64)>,
    count: u64,
    q: f64,
) -> Option<u64> {
    value_at_rank(buckets, rank(count, q))
}

fn value_at_rank(buckets: impl Iterator<Item = (u64, u64)>, rank: u64) -> Option<u64> {
    let mut seen = 0_u64;
    let mut last = None;
    for (value, n) in buckets {
        seen = seen.saturating_add(n);
        last = Some(value);
        if seen >= rank {
            break;
        }
    }
    last
}

/// ⌈q·n⌉ within 1..=n. The product is nudged down by a relative 1e-12 first: 0.95 × 20 must be rank 19 even where the
/// nearest float to 0.95 makes it 19.000000000000004.
pub(crate) fn rank(count: u64, q: f64) -> u64 {
    let product = q.clamp(0.0, 1.0) * count as f64;
    let rank = (product - product * 1e-12).ceil() as u64;
    rank.clamp(1, count.max(1))
}

fn shape_words((low, high, digits): (u64, u64, u8)) -> String {
    format!("{low}..{high}, {digits} digits")
}

impl fmt::Debug for Distribution {
    /// The exact figures only: the buckets would be twenty thousand numbers.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Distribution")
            .field("kind", &self.kind)
            .field("count", &self.count())
            .field("exact", &self.exact)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
