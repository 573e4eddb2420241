//! A histogram as the list of its occupied buckets: what is kept of each second once it is over.
//!
//! A dense histogram is 190 KiB and a second of one metric touches some hundred of its buckets, so the time series and
//! the intervals of confidence keep this form: 12 bytes a bucket.

use crate::distribution::{Distribution, quantile_of};

/// So many times more buckets here than in what is added: each of those is looked up.
const FEW: usize = 16;

/// Ascending bucket values with their counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SparseHistogram {
    /// The largest value of each bucket. HDR's largest bucket of our bounds ends under 2³².
    values: Vec<u32>,
    counts: Vec<u64>,
}

impl From<&Distribution> for SparseHistogram {
    fn from(distribution: &Distribution) -> Self {
        let buckets = distribution.buckets();
        let (values, counts) =
            buckets.map(|(value, n)| (u32::try_from(value).unwrap_or(u32::MAX), n)).unzip();
        Self { values, counts }
    }
}

impl SparseHistogram {
    /// Ascending (bucket value, count).
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.values.iter().map(|&value| u64::from(value)).zip(self.counts.iter().copied())
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value at quantile `q`, as [`Distribution::quantile`] but bound to the buckets.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        quantile_of(self.buckets(), self.count(), q)
    }

    /// Number of occupied buckets.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds another one: a few buckets in their places, many by a merge of two ascending lists.
    pub fn merge(&mut self, other: &Self) {
        if self.is_empty() {
            self.clone_from(other);
        } else if other.len() * FEW <= self.len() {
            other.buckets().for_each(|(value, n)| self.put(value, n));
        } else {
            self.merge_lists(other);
        }
    }

    fn merge_lists(&mut self, other: &Self) {
        let (ours, mut theirs) = (std::mem::take(self), other.buckets().peekable());
        let most = ours.len() + other.len();
        self.values.reserve_exact(most);
        self.counts.reserve_exact(most);
        for (value, count) in ours.buckets() {
            while let Some((lower, n)) = theirs.next_if(|&(candidate, _)| candidate < value) {
                self.push(lower, n);
            }
            let same = theirs.next_if(|&(candidate, _)| candidate == value);
            self.push(value, count.saturating_add(same.map_or(0, |(_, n)| n)));
        }
        theirs.for_each(|(value, n)| self.push(value, n));
    }

    fn put(&mut self, value: u64, count: u64) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        match self.values.binary_search(&value) {
            Ok(place) => self.counts[place] = self.counts[place].saturating_add(count),
            Err(place) => {
                self.values.insert(place, value);
                self.counts.insert(place, count);
            }
        }
    }

    /// Appends a bucket that is above all that there are.
    pub(crate) fn push(&mut self, value: u64, count: u64) {
        self.values.push(u32::try_from(value).unwrap_or(u32::MAX));
        self.counts.push(count);
    }
}

#[cfg(test)]
impl FromIterator<(u64, u64)> for SparseHistogram {
    /// Of ascending bucket values.
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(buckets: I) -> Self {
        let mut histogram = Self::default();
        buckets.into_iter().for_each(|(value, count)| histogram.push(value, count));
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Kind;
    use proptest::prelude::*;

    fn recorded(values: &[u64]) -> Distribution {
        let mut distribution = Distribution::new(Kind::Latency);
        values.iter().for_each(|&value| distribution.record(value));
        distribution
    }

    proptest! {
        #[test]
        fn merging_sparse_equals_merging_dense(
            left in prop::collection::vec(0_u64..4_000_000_000, 0..60),
            right in prop::collection::vec(0_u64..4_000_000_000, 0..60),
        ) {
            let mut dense = recorded(&left);
            dense.merge(&recorded(&right)).unwrap();
            let mut sparse = SparseHistogram::from(&recorded(&left));
            sparse.merge(&SparseHistogram::from(&recorded(&right)));
            prop_assert_eq!(sparse, SparseHistogram::from(&dense));
        }

        #[test]
        fn a_few_buckets_in_their_places_equal_a_merge_of_lists(
            many in prop::collection::vec(0_u64..4_000_000, 100..200),
            few in prop::collection::vec(0_u64..4_000_000, 0..4),
        ) {
            let (many, few) = (recorded(&many), recorded(&few));
            let mut put = SparseHistogram::from(&many);
            put.merge(&SparseHistogram::from(&few));
            let mut merged = SparseHistogram::from(&many);
            merged.merge_lists(&SparseHistogram::from(&few));
            prop_assert_eq!(put, merged);
        }
    }
}
