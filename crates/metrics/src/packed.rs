//! A histogram that is kept for long and seldom read: what each second of a run leaves.
//!
//! A list of buckets takes 12 bytes for each. Most lie beside the one before and hold a few samples, so that the distance and
//! the count, each as a number of as few bytes as it needs ([`varint`]), are two or three. Over twenty minutes of a large
//! fleet that is a hundred megabytes instead of half a gigabyte.

use crate::distribution::{highest_of, place_of};
use crate::sparse::SparseHistogram;
use crate::varint;

/// See the module's documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PackedHistogram(Box<[u8]>);

impl PackedHistogram {
    /// The same as a list.
    pub(crate) fn unpacked(&self) -> SparseHistogram {
        let mut list = SparseHistogram::default();
        let (mut rest, mut place) = (&*self.0, 0);
        while let Some((gap, behind)) = varint::take(rest) {
            let Some((count, behind)) = varint::take(behind) else { break };
            rest = behind;
            place += gap;
            list.push(highest_of(place), count);
        }
        list
    }

    /// Adds the samples of `list`.
    pub(crate) fn add(&mut self, list: &SparseHistogram) {
        let mut sum = self.unpacked();
        sum.merge(list);
        *self = Self::from(&sum);
    }
}

impl From<&SparseHistogram> for PackedHistogram {
    fn from(list: &SparseHistogram) -> Self {
        let (mut bytes, mut last) = (Vec::new(), 0);
        for (value, count) in list.buckets() {
            let place = place_of(value);
            varint::put(&mut bytes, place - last);
            varint::put(&mut bytes, count);
            last = place;
        }
        Self(bytes.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::distribution::Distribution;
    use crate::metric::Kind;

    fn list(values: &[(u64, u64)]) -> SparseHistogram {
        let mut distribution = Distribution::new(Kind::Latency);
        values.iter().for_each(|&(value, n)| distribution.record_n(value, n));
        SparseHistogram::from(&distribution)
    }

    #[test]
    fn neighbours_with_a_few_samples_take_two_bytes_each() {
        let values: Vec<_> = (10_000..18_000).step_by(8).map(|value| (value, 3)).collect();
        let list = list(&values);
        assert!(PackedHistogram::from(&list).0.len() <= 2 * values.len() + 1);
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out_again(
            left in prop::collection::vec((0_u64..4_000_000_000, 1_u64..1_000_000_000_000), 0..60),
            right in prop::collection::vec((0_u64..4_000_000_000, 1_u64..1_000), 0..60),
        ) {
            let (left, right) = (list(&left), list(&right));
            let mut packed = PackedHistogram::from(&left);
            prop_assert_eq!(packed.unpacked(), left.clone());
            packed.add(&right);
            let mut sum = left;
            sum.merge(&right);
            prop_assert_eq!(packed.unpacked(), sum);
        }
    }
}
