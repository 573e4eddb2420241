//! The occupied buckets, in one of two forms that say the same.
//!
//! A dense histogram records in a few nanoseconds, takes 190 KiB, and has twenty thousand counts to walk when it is added to another.
//! What a worker tells of a second touches some tens of buckets, and the ledger of a large fleet adds up tens of thousands of
//! those a second. So what arrives is a list, and stays one until it is long.

use std::borrow::Cow;

use hdrhistogram::Histogram;

use super::{Bounds, DIGITS};
use crate::metric::Kind;
use crate::sparse::SparseHistogram;

/// Buckets of a list, 12 bytes each. A longer one is no smaller than a quarter of a dense histogram, and slower.
const LONGEST_LIST: usize = 4_096;
/// Three digits need 2,048 buckets of width 1; from there on each power of two has half as many.
const HALF_BITS: u32 = 10;

/// See the module's documentation.
#[derive(Clone)]
pub(super) enum Buckets {
    /// To be recorded into.
    Dense(Histogram<u64>),
    /// To be added to others.
    Listed(SparseHistogram),
}

impl Buckets {
    /// Without samples, all memory taken.
    pub(super) fn dense(kind: Kind) -> Self {
        Self::Dense(empty(kind))
    }

    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Dense(histogram) => histogram.len(),
            Self::Listed(list) => list.count(),
        }
    }

    /// Lowest and highest value and the digits.
    pub(super) fn shape(&self, kind: Kind) -> (u64, u64, u8) {
        match self {
            Self::Dense(histogram) => (histogram.low(), histogram.high(), histogram.sigfig()),
            Self::Listed(_) => (1, Bounds::of(kind).highest, DIGITS),
        }
    }

    /// Records a value that is not above the highest.
    #[inline]
    pub(super) fn record_n(&mut self, kind: Kind, value: u64, n: u64) {
        match self {
            Self::Dense(histogram) => histogram.saturating_record_n(value, n),
            Self::Listed(_) => self.record_into_list(kind, value, n),
        }
    }

    /// Whoever records once is likely to go on.
    #[cold]
    fn record_into_list(&mut self, kind: Kind, value: u64, n: u64) {
        let mut histogram = self.dense_form(kind).into_owned();
        histogram.saturating_record_n(value, n);
        *self = Self::Dense(histogram);
    }

    /// Adds all of `other`, whose shape is this one's.
    pub(super) fn add(&mut self, kind: Kind, other: &Self) {
        match (&mut *self, other) {
            (Self::Dense(ours), Self::Dense(theirs)) => {
                ours.add(theirs).expect("equal bounds always fit");
            }
            (Self::Dense(ours), Self::Listed(theirs)) => record_all(ours, theirs),
            (Self::Listed(ours), theirs) => {
                if let Some(list) = theirs.short_list(LONGEST_LIST.saturating_sub(ours.len())) {
                    ours.merge(&list);
                    return;
                }
                let mut sum = Self::Dense(self.dense_form(kind).into_owned());
                sum.add(kind, other);
                *self = sum;
            }
        }
    }

    /// The same to be added to, as a list unless that would be long.
    pub(super) fn to_collect(&self) -> Self {
        self.short_list(LONGEST_LIST)
            .map_or_else(|| self.clone(), |list| Self::Listed(list.into_owned()))
    }

    /// As a list, if it has no more than `most` buckets.
    fn short_list(&self, most: usize) -> Option<Cow<'_, SparseHistogram>> {
        match self {
            Self::Listed(list) => (list.len() <= most).then_some(Cow::Borrowed(list)),
            Self::Dense(_) => {
                let mut list = SparseHistogram::default();
                for (value, n) in self.iter() {
                    if list.len() == most {
                        return None;
                    }
                    list.push(value, n);
                }
                Some(Cow::Owned(list))
            }
        }
    }

    /// Forgets all samples; memory that was taken is kept.
    pub(super) fn clear(&mut self) {
        match self {
            Self::Dense(histogram) => histogram.reset(),
            Self::Listed(list) => *list = SparseHistogram::default(),
        }
    }

    /// Ascending: the largest value that falls into the bucket, and its count.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let (dense, listed) = match self {
            Self::Dense(histogram) => (Some(histogram), None),
            Self::Listed(list) => (None, Some(list)),
        };
        let dense = dense.into_iter().flat_map(|histogram| {
            histogram
                .iter_recorded()
                .map(|step| (highest_in_bucket(step.value_iterated_to()), step.count_at_value()))
        });
        dense.chain(listed.into_iter().flat_map(SparseHistogram::buckets))
    }

    /// As a histogram of the library's.
    pub(super) fn dense_form(&self, kind: Kind) -> Cow<'_, Histogram<u64>> {
        match self {
            Self::Dense(histogram) => Cow::Borrowed(histogram),
            Self::Listed(list) => {
                let mut histogram = empty(kind);
                record_all(&mut histogram, list);
                Cow::Owned(histogram)
            }
        }
    }
}

impl PartialEq for Buckets {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dense(ours), Self::Dense(theirs)) => ours == theirs,
            (Self::Dense(_) | Self::Listed(_), _) => self.iter().eq(other.iter()),
        }
    }
}

/// The library's histogram of a kind, without samples.
pub(super) fn empty(kind: Kind) -> Histogram<u64> {
    Histogram::new_with_bounds(1, Bounds::of(kind).highest, DIGITS)
        .expect("the bounds are constants that HDR accepts")
}

fn record_all(histogram: &mut Histogram<u64>, list: &SparseHistogram) {
    let highest = histogram.high();
    // The last bucket may end beyond the bounds.
    list.buckets().for_each(|(value, n)| histogram.saturating_record_n(value.min(highest), n));
}

/// The largest value of the bucket that holds `value`: HDR keeps its first eleven bits.
pub(super) fn highest_in_bucket(value: u64) -> u64 {
    let bits = u64::BITS - value.leading_zeros();
    value | low_bits(bits.saturating_sub(HALF_BITS + 1))
}

/// The place of the bucket that holds `value` in the list of all.
pub(crate) fn place_of(value: u64) -> u64 {
    let bits = u64::BITS - value.leading_zeros();
    let width = bits.saturating_sub(HALF_BITS + 1);
    (u64::from(width) << HALF_BITS) + (value >> width)
}

/// The largest value of a bucket by its place in the list of all.
pub(crate) fn highest_of(place: u64) -> u64 {
    let half = 1 << HALF_BITS;
    if place < half {
        return place;
    }
    let width = u32::try_from((place >> HALF_BITS) - 1).unwrap_or(u32::MAX).min(u64::BITS - 12);
    let lowest = (half + place % half) << width;
    lowest | low_bits(width)
}

fn low_bits(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 3] = [Kind::Latency, Kind::Count, Kind::Rate];

    #[test]
    fn every_bucket_ends_where_the_library_says() {
        for kind in KINDS {
            let histogram = empty(kind);
            let places = histogram.distinct_values() as u64;
            let highest = Bounds::of(kind).highest;
            let mut next = 0;
            for place in 0..places {
                if next > highest {
                    break;
                }
                assert_eq!(highest_of(place), histogram.highest_equivalent(next), "{place}");
                assert_eq!((place_of(next), place_of(highest_of(place))), (place, place));
                next = highest_of(place) + 1;
            }
            assert!(next > highest, "the last bucket holds the highest value");
        }
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        let value =
            (0_u32..32, any::<u64>()).prop_map(|(bits, n)| (n % (1 << bits)).min(3_600_000_000));
        prop::collection::vec(value, 0..60)
    }

    fn dense(values: &[u64]) -> Buckets {
        let mut buckets = Buckets::dense(Kind::Latency);
        values.iter().for_each(|value| buckets.record_n(Kind::Latency, *value, 1));
        buckets
    }

    fn listed(values: &[u64]) -> Buckets {
        let mut list = SparseHistogram::default();
        for (value, n) in dense(values).iter() {
            list.push(value, n);
        }
        Buckets::Listed(list)
    }

    proptest! {
        #[test]
        fn a_bucket_is_named_as_the_library_names_it(value in 0_u64..3_600_000_000) {
            let histogram = empty(Kind::Latency);
            prop_assert_eq!(highest_in_bucket(value), histogram.highest_equivalent(value));
        }

        #[test]
        fn the_form_makes_no_difference(left in values(), right in values()) {
            let sum = dense(&[left.clone(), right.clone()].concat());
            for mut ours in [dense(&left), listed(&left)] {
                for theirs in [dense(&right), listed(&right)] {
                    prop_assert!(theirs == dense(&right));
                    let mut added = ours.clone();
                    added.add(Kind::Latency, &theirs);
                    prop_assert!(added == sum);
                    prop_assert_eq!(added.count(), sum.count());
                }
                prop_assert!(ours.to_collect() == ours);
                right.iter().for_each(|value| ours.record_n(Kind::Latency, *value, 1));
                prop_assert!(ours == sum);
                prop_assert!(Buckets::Dense(ours.dense_form(Kind::Latency).into_owned()) == sum);
                ours.clear();
                prop_assert!(ours == dense(&[]));
            }
        }
    }

    #[test]
    fn a_long_list_becomes_dense() {
        let all: Vec<_> = (0..3_000).collect();
        let mut list = listed(&all);
        list.add(Kind::Latency, &listed(&all[..1_000]));
        assert!(matches!(list, Buckets::Listed(_)), "the same buckets");
        let others: Vec<_> = (1..3_000).map(|n| n * 1_000).collect();
        list.add(Kind::Latency, &dense(&others));
        assert!(matches!(list, Buckets::Dense(_)));
        assert!(matches!(list.to_collect(), Buckets::Dense(_)));
        assert_eq!(list.count(), 6_999);
    }
}
