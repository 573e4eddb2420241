//! Splits arrivals over workers by striding, not by dividing the rate.
//!
//! Dividing a Poisson rate gives each worker its own random stream, so adding a worker changes the
//! traffic. Striding one seeded schedule keeps the union identical for any worker count: the worker
//! of rank *i* among *n* owns every number k ≡ i (mod n), and inside it lane *j* of *m* owns every
//! k ≡ i + n·j (mod n·m), which partitions the worker's class.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// One residue class of the numbers of arrivals, slots or sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// Which class: 0 … `count` − 1.
    pub rank: u32,
    /// Into how many classes the numbers are split.
    pub count: NonZeroU32,
}

impl Shard {
    /// The shard that owns everything.
    pub const WHOLE: Self = Self { rank: 0, count: NonZeroU32::MIN };

    /// The shard of `rank` among `count`; `None` if there is no such rank.
    pub fn new(rank: u32, count: NonZeroU32) -> Option<Self> {
        (rank < count.get()).then_some(Self { rank, count })
    }

    /// Does this shard own the arrival (or slot, or session) with this number?
    pub fn owns(self, number: u64) -> bool {
        number % u64::from(self.count.get()) == u64::from(self.rank)
    }

    /// All shards of a split into `count`.
    pub fn split(count: NonZeroU32) -> impl Iterator<Item = Self> {
        (0..count.get()).map(move |rank| Self { rank, count })
    }

    /// Lane `lane` of `lanes` inside this shard: rank i + n·j of n·m.
    ///
    /// # Panics
    /// If `lane` is not below `lanes`, or if n·m does not fit 32 bits: both are mistakes of the
    /// caller, who counts lanes in tens.
    pub fn lane(self, lane: u32, lanes: NonZeroU32) -> Self {
        assert!(lane < lanes.get(), "lane {lane} of {lanes}");
        let count = self.count.checked_mul(lanes).expect("workers times lanes fit 32 bits");
        Self { rank: self.rank + self.count.get() * lane, count }
    }

    /// This shard's part of something countable that is dealt out like slots (a cap on requests in
    /// flight): how many of the numbers 0 … `total` − 1 it owns.
    pub fn share(self, total: u32) -> u32 {
        let beyond = total.saturating_sub(self.rank);
        beyond.div_ceil(self.count.get())
    }

    /// The slots of a closed loop of `total` slots that this shard owns, in order.
    pub fn slots(self, total: u32) -> impl Iterator<Item = u32> + Send {
        (self.rank..total).step_by(usize::try_from(self.count.get()).unwrap_or(usize::MAX))
    }

    /// The smallest owned number that is at least `number`; `None` where 64 bits end.
    pub fn next_owned(self, number: u64) -> Option<u64> {
        let count = u64::from(self.count.get());
        let ahead = (u64::from(self.rank) + count - number % count) % count;
        number.checked_add(ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shard(rank: u32, count: u32) -> Shard {
        Shard::new(rank, NonZeroU32::new(count).unwrap()).unwrap()
    }

    #[test]
    fn a_rank_beyond_the_count_is_no_shard() {
        assert_eq!(Shard::new(3, NonZeroU32::new(3).unwrap()), None);
    }

    #[test]
    fn ten_slots_over_four_ranks() {
        // 0 4 8 | 1 5 9 | 2 6 | 3 7
        let shares: Vec<u32> = (0..4).map(|rank| shard(rank, 4).share(10)).collect();
        assert_eq!(shares, [3, 3, 2, 2]);
        assert_eq!(shard(1, 4).slots(10).collect::<Vec<_>>(), [1, 5, 9]);
        assert_eq!(shard(3, 4).share(2), 0);
    }

    proptest! {
        #[test]
        fn every_number_has_exactly_one_owner(workers in 1u32..64, number in any::<u64>()) {
            let count = NonZeroU32::new(workers).unwrap();
            prop_assert_eq!(Shard::split(count).filter(|shard| shard.owns(number)).count(), 1);
        }

        #[test]
        fn lanes_partition_their_workers_class(workers in 1u32..20, lanes in 1u32..20, number in any::<u64>()) {
            let lane_count = NonZeroU32::new(lanes).unwrap();
            for worker in Shard::split(NonZeroU32::new(workers).unwrap()) {
                let owners = (0..lanes).filter(|lane| worker.lane(*lane, lane_count).owns(number)).count();
                prop_assert_eq!(owners, usize::from(worker.owns(number)));
            }
        }

        #[test]
        fn shares_sum_to_the_whole(workers in 1u32..64, total in 0u32..5000) {
            let count = NonZeroU32::new(workers).unwrap();
            prop_assert_eq!(Shard::split(count).map(|shard| shard.share(total)).sum::<u32>(), total);
            for shard in Shard::split(count) {
                prop_assert_eq!(u32::try_from(shard.slots(total).count()).unwrap(), shard.share(total));
            }
        }

        #[test]
        fn the_next_owned_number_is_owned_and_nearest(workers in 1u32..64, rank in 0u32..64, number in 0u64..1_000_000) {
            let shard = shard(rank % workers, workers);
            let next = shard.next_owned(number).unwrap();
            prop_assert!(shard.owns(next) && next >= number && next - number < u64::from(workers));
        }
    }
}
