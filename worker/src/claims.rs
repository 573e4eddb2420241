//! What this worker owns of the load: its own class from the start, and those of lost workers from an instant on.
//!
//! A lane takes its part of each claim as it takes its part of the worker's own class, so a claim is all
//! that a lane has to be told of a takeover.

use std::{num::NonZeroU32, time::Duration};

use protocol::{Change, ClassCovers, Covers, Move, WorkerId};
use workload::Shard;

/// One residue class and since when it is ours; it stays ours to the run's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Of arrivals (open loop) or slots (closed loop).
    pub class: Shard,
    /// Run time, a whole second. Open loop: what is due from then on is ours. Closed loop: the slots go
    /// on then.
    pub from: Duration,
    /// Closed loop: the round at which the slots go on; 0 in an open loop and for our own class.
    pub first_round: u64,
}

impl Claim {
    /// The part of it that lane `lane` of `lanes` takes.
    ///
    /// # Panics
    /// As [`Shard::lane`].
    #[must_use]
    pub fn lane(self, lane: u32, lanes: NonZeroU32) -> Self {
        Self { class: self.class.lane(lane, lanes), ..self }
    }

    /// Open loop: is this arrival ours by this claim?
    #[must_use]
    pub fn owns(self, number: u64, due: Duration) -> bool {
        due >= self.from && self.class.owns(number)
    }
}

/// Every claim of this worker, and which changes it has heard.
#[derive(Clone, Debug)]
pub struct Claims {
    worker: WorkerId,
    epoch: u64,
    held: Vec<Claim>,
}

impl Claims {
    /// At Arm: the class that was assigned; a spare has none.
    #[must_use]
    pub fn new(worker: WorkerId, assigned: Option<Shard>) -> Self {
        let own = assigned.map(|class| Claim { class, from: Duration::ZERO, first_round: 0 });
        Self { worker, epoch: 0, held: own.into_iter().collect() }
    }

    /// Takes the changes of a heartbeat at our own run time `now`; the claims that are new, to be given to
    /// the lanes. A change that was heard before, or that leaves out one before it, changes nothing.
    ///
    /// Heard late, a class is taken from our next whole second on: the seconds before belong to nobody.
    pub fn hear(&mut self, changes: &[Change], now: Duration) -> Vec<Claim> {
        let known = self.held.len();
        for change in changes {
            if change.epoch != self.epoch + 1 {
                continue;
            }
            self.epoch = change.epoch;
            let next = Duration::from_secs(now.as_secs() + 1);
            let from = Duration::from_secs(change.from_second.into()).max(next);
            let ours = change.moves.iter().filter(|one| one.to == self.worker);
            self.held.extend(ours.map(|one| Self::claim(one, from)));
        }
        self.held[known..].to_vec()
    }

    fn claim(one: &Move, from: Duration) -> Claim {
        Claim { class: one.class, from, first_round: one.first_round }
    }

    /// The last change heard, for the next heartbeat.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// All claims.
    #[must_use]
    pub fn held(&self) -> &[Claim] {
        &self.held
    }

    /// What a delta over these seconds of our run time answers for, class by class.
    #[must_use]
    pub fn covers(&self, seconds: Covers) -> Vec<ClassCovers> {
        let covered = self.held.iter().filter_map(|claim| {
            let from = u32::try_from(claim.from.as_secs()).unwrap_or(u32::MAX).max(seconds.from);
            let covers = Covers { from, to: seconds.to };
            (from < seconds.to).then_some(ClassCovers { class: claim.class, covers })
        });
        covered.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: WorkerId = WorkerId { ordinal: 1, incarnation: 5 };
    const LOST: WorkerId = WorkerId { ordinal: 0, incarnation: 4 };

    fn shard(rank: u32, count: u32) -> Shard {
        Shard::new(rank, NonZeroU32::new(count).unwrap()).unwrap()
    }

    fn change(epoch: u64, from_second: u32, to: WorkerId) -> Change {
        let moves = vec![Move { class: shard(0, 2), from: LOST, to, first_round: 4 }];
        Change { epoch, from_second, moves }
    }

    #[test]
    fn a_class_is_taken_at_the_stated_second_and_late_at_the_next_whole_one() {
        for (now_ms, from) in [(6_200, 9), (9_000, 10), (12_700, 13)] {
            let mut claims = Claims::new(ME, Some(shard(1, 2)));
            let taken = claims.hear(&[change(1, 9, ME)], Duration::from_millis(now_ms));
            let from = Duration::from_secs(from);
            assert_eq!(taken, [Claim { class: shard(0, 2), from, first_round: 4 }]);
        }
    }

    #[test]
    fn each_change_is_heard_once_and_in_order() {
        let mut claims = Claims::new(ME, None);
        assert!(claims.hear(&[change(2, 9, ME)], Duration::ZERO).is_empty(), "1 is missing");
        assert_eq!(claims.hear(&[change(1, 9, LOST), change(2, 9, ME)], Duration::ZERO).len(), 1);
        assert!(claims.hear(&[change(1, 9, ME), change(2, 9, ME)], Duration::ZERO).is_empty());
        assert_eq!((claims.epoch(), claims.held().len()), (2, 1));
    }

    #[test]
    fn a_delta_names_only_the_seconds_since_a_class_is_ours() {
        let mut claims = Claims::new(ME, Some(shard(1, 2)));
        claims.hear(&[change(1, 9, ME)], Duration::ZERO);
        let named = |from, to| {
            let all = claims.covers(Covers { from, to }).into_iter();
            all.map(|c| (c.class.rank, c.covers.from, c.covers.to)).collect::<Vec<_>>()
        };
        assert_eq!(named(7, 9), [(1, 7, 9)]);
        assert_eq!(named(8, 11), [(1, 8, 11), (0, 9, 11)]);
    }
}
