//! Who owns which part of the load, and since when.
//!
//! A table of tenures: this class of arrivals (or slots) belongs to this worker from this second on. At Arm
//! the worker of rank i owns class i; only a lost worker's classes ever move. They go to a spare if there
//! is one, else they are spread over the survivors: split once, as lanes split a class, and dealt whole
//! when they have been split before, so that the table stays small however many workers die.
//!
//! Pure: what to change is computed here, written to the journal, and then applied; a journal that is read
//! again applies the same changes and gives the same table.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use protocol::{Change, Limit, Loss, Move, WorkerId};
use workload::Shard;

/// A takeover is announced at least this far ahead.
pub(crate) const AHEAD: Duration = Duration::from_secs(1);

/// One owner's time with one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tenure {
    /// What is owned.
    pub class: Shard,
    /// By whom.
    pub owner: WorkerId,
    /// From which second of run time on.
    pub from_second: u32,
    /// Before which it is somebody else's; `None`: to the run's end.
    pub until_second: Option<u32>,
    /// Closed loop: from which round of its slots on.
    pub first_round: u64,
    /// Closed loop: at which round somebody else goes on.
    pub until_round: Option<u64>,
    /// From whom it was taken over.
    pub taken_from: Option<WorkerId>,
}

/// Who may take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heirs {
    /// A worker that has nothing else to do.
    Spare(WorkerId),
    /// All of these. Empty: nobody, until somebody comes.
    Survivors(Vec<WorkerId>),
}

/// The table of owners and how it came to be.
#[derive(Clone, Debug)]
pub struct Ownership {
    roots: NonZeroU32,
    tenures: Vec<Tenure>,
    /// Those who are gone.
    gone: BTreeMap<WorkerId, Loss>,
    changes: Vec<Change>,
}

impl Ownership {
    /// At Arm: the worker of each rank owns the class of that rank. `None` without a worker.
    #[must_use]
    pub fn at_arm(ranks: &[WorkerId]) -> Option<Self> {
        let roots = NonZeroU32::new(u32::try_from(ranks.len()).ok()?)?;
        let first = |(class, owner)| Tenure {
            class,
            owner,
            from_second: 0,
            until_second: None,
            first_round: 0,
            until_round: None,
            taken_from: None,
        };
        let tenures = Shard::split(roots).zip(ranks.iter().copied()).map(first).collect();
        Some(Self { roots, tenures, gone: BTreeMap::new(), changes: Vec::new() })
    }

    /// The last change; 0 at Arm.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.epoch)
    }

    /// All tenures, those that have ended too.
    #[must_use]
    pub fn tenures(&self) -> &[Tenure] {
        &self.tenures
    }

    /// Into how many classes the load was split at Arm.
    #[must_use]
    pub fn roots(&self) -> NonZeroU32 {
        self.roots
    }

    /// How a worker went, if it has gone.
    #[must_use]
    pub fn loss(&self, worker: WorkerId) -> Option<&Loss> {
        self.gone.get(&worker)
    }

    /// When the first class of a lost worker had a new owner; `None` where none has.
    #[must_use]
    pub fn taken_over_at(&self, worker: WorkerId) -> Option<Duration> {
        let heirs = self.tenures.iter().filter(|tenure| tenure.taken_from == Some(worker));
        heirs.map(|tenure| Duration::from_secs(tenure.from_second.into())).min()
    }

    /// The changes that a worker which has heard `epoch` does not know, with its own moves.
    #[must_use]
    pub fn unheard(&self, worker: WorkerId, epoch: u64) -> Vec<Change> {
        let news = self.changes.iter().skip_while(|change| change.epoch <= epoch);
        news.map(|change| change.told_to(worker)).collect()
    }

    /// Whether a class without an owner is waiting for a spare.
    #[must_use]
    pub fn has_orphans(&self) -> bool {
        self.orphans().next().is_some()
    }

    /// The change that gives everything of those who are gone, and of the one lost now, to heirs;
    /// `None` where there is nothing to give. `now` is run time. Nothing is changed yet: see
    /// [`Self::apply`].
    ///
    /// The instant is a whole second, at least 1 s ahead, and not before any limit of the ones who had it:
    /// what they wrote last is due before it.
    #[must_use]
    pub fn succession(&self, loss: Option<&Loss>, heirs: &Heirs, now: Duration) -> Option<Change> {
        let mut after = self.clone();
        after.gone.extend(loss.map(|loss| (loss.worker, *loss)));
        let orphans: Vec<Tenure> = after.orphans().copied().collect();
        let losses = orphans.iter().filter_map(|tenure| after.loss(tenure.owner));
        let due = losses.filter_map(|loss| match loss.limit {
            Limit::Due(due) => Some(due),
            Limit::Round(_) => None,
        });
        let earliest = due.fold(now + AHEAD, Duration::max);
        let moves = after.deal(&orphans, heirs);
        let change = Change { epoch: self.epoch() + 1, from_second: whole_second(earliest), moves };
        (!change.moves.is_empty()).then_some(change)
    }

    /// Those who are gone, each with its limit.
    pub fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.gone.values()
    }

    /// Takes what is on disk: who is gone, and what changes by it. A loss or change that is known changes
    /// nothing.
    pub fn apply(&mut self, loss: Option<&Loss>, change: Option<&Change>) {
        if let Some(loss) = loss {
            self.gone.entry(loss.worker).or_insert(*loss);
        }
        let Some(change) = change.filter(|change| change.epoch == self.epoch() + 1) else { return };
        for one in &change.moves {
            let old = self.tenures.iter_mut().filter(|tenure| tenure.is_held_by(one.from));
            for tenure in old.filter(|tenure| contains(tenure.class, one.class)) {
                tenure.until_second = Some(change.from_second);
                tenure.until_round = Some(one.first_round);
            }
        }
        let ended = |one: &Move| Tenure {
            class: one.class,
            owner: one.to,
            from_second: change.from_second,
            until_second: None,
            first_round: one.first_round,
            until_round: None,
            taken_from: Some(one.from),
        };
        self.tenures.extend(change.moves.iter().map(ended));
        self.changes.push(change.clone());
    }

    /// The tenure that answers for an arrival; every arrival has one.
    #[must_use]
    pub fn of_arrival(&self, number: u64, due: Duration) -> Option<&Tenure> {
        self.tenures.iter().find(|tenure| tenure.class.owns(number) && tenure.holds(due))
    }

    /// Open tenures of those who are gone. Where nobody knows how far one came, nobody can go on.
    fn orphans(&self) -> impl Iterator<Item = &Tenure> {
        let open = self.tenures.iter().filter(|tenure| tenure.until_second.is_none());
        open.filter(|tenure| {
            self.loss(tenure.owner).is_some_and(|loss| loss.limit != Limit::Round(u64::MAX))
        })
    }

    fn deal(&self, orphans: &[Tenure], heirs: &Heirs) -> Vec<Move> {
        let to_one = |tenure: &Tenure, class, to| Move {
            class,
            from: tenure.owner,
            to,
            first_round: self.first_round(tenure),
        };
        let survivors = match heirs {
            Heirs::Spare(spare) => {
                return orphans.iter().map(|tenure| to_one(tenure, tenure.class, *spare)).collect();
            }
            Heirs::Survivors(survivors) => survivors,
        };
        let count = u32::try_from(survivors.len()).ok().and_then(NonZeroU32::new);
        let Some(count) = count else { return Vec::new() };
        let mut loads: Vec<(u64, WorkerId)> =
            survivors.iter().map(|one| (self.load(*one), *one)).collect();
        let mut moves = Vec::new();
        for tenure in orphans {
            if tenure.class.count == self.roots && self.roots.checked_mul(count).is_some() {
                let parts = (0..count.get()).map(|part| tenure.class.lane(part, count));
                moves.extend(parts.zip(survivors).map(|(class, to)| to_one(tenure, class, *to)));
                continue;
            }
            let Some(least) = loads.iter_mut().min() else { continue };
            least.0 += weight(tenure.class);
            moves.push(to_one(tenure, tenure.class, least.1));
        }
        moves
    }

    /// A dead owner that never reached the round at which it should have gone on leaves it to its heir.
    fn first_round(&self, tenure: &Tenure) -> u64 {
        match self.loss(tenure.owner).map(|loss| loss.limit) {
            Some(Limit::Round(round)) => round.max(tenure.first_round),
            Some(Limit::Due(_)) | None => tenure.first_round,
        }
    }

    fn load(&self, worker: WorkerId) -> u64 {
        let held = self.tenures.iter().filter(|tenure| tenure.is_held_by(worker));
        held.map(|tenure| weight(tenure.class)).sum()
    }
}

impl Tenure {
    /// Open loop: is what is due at `due` within it?
    #[must_use]
    pub fn holds(&self, due: Duration) -> bool {
        let second = |second: u32| Duration::from_secs(second.into());
        due >= second(self.from_second) && self.until_second.is_none_or(|until| due < second(until))
    }

    fn is_held_by(&self, worker: WorkerId) -> bool {
        self.owner == worker && self.until_second.is_none()
    }
}

/// Is every number of `part` one of `whole`?
fn contains(whole: Shard, part: Shard) -> bool {
    part.count.get().is_multiple_of(whole.count.get()) && whole.owns(part.rank.into())
}

/// A class's share of the load, in parts of 2^40.
fn weight(class: Shard) -> u64 {
    (1 << 40) / u64::from(class.count.get())
}

pub(crate) fn whole_second(instant: Duration) -> u32 {
    let up = u64::from(instant.subsec_nanos() > 0);
    u32::try_from(instant.as_secs() + up).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::LossCause;

    use super::*;

    fn worker(ordinal: u32) -> WorkerId {
        WorkerId { ordinal, incarnation: u64::from(ordinal) + 100 }
    }

    fn fleet(size: u32) -> Ownership {
        Ownership::at_arm(&(0..size).map(worker).collect::<Vec<_>>()).unwrap()
    }

    fn due_ms(ms: u64) -> Limit {
        Limit::Due(Duration::from_millis(ms))
    }

    fn lose(
        table: &mut Ownership,
        one: u32,
        limit: Limit,
        heirs: &Heirs,
        now_ms: u64,
    ) -> Option<Change> {
        let noticed_at = Duration::from_millis(now_ms);
        let loss = Loss { worker: worker(one), limit, noticed_at, cause: LossCause::Silent };
        let change = table.succession(Some(&loss), heirs, noticed_at);
        table.apply(Some(&loss), change.as_ref());
        change
    }

    #[test]
    fn a_spare_gets_all_of_a_lost_worker_from_a_whole_second_beyond_its_limit() {
        for (now_ms, limit_ms, from) in [(5_000, 4_000, 6), (5_001, 4_000, 7), (5_000, 8_500, 9)] {
            let mut table = fleet(3);
            let spare = Heirs::Spare(worker(7));
            let change = lose(&mut table, 1, due_ms(limit_ms), &spare, now_ms).unwrap();
            assert_eq!((change.epoch, change.from_second, change.moves.len()), (1, from, 1));
            assert_eq!(change.moves[0].to, worker(7));
            let owner = |second| table.of_arrival(4, Duration::from_secs(second)).unwrap().owner;
            assert_eq!((owner(u64::from(from) - 1), owner(from.into())), (worker(1), worker(7)));
        }
    }

    #[test]
    fn survivors_share_a_class_and_then_its_parts_are_dealt_whole() {
        let mut table = fleet(4);
        let heirs = Heirs::Survivors([0, 1, 2].map(worker).to_vec());
        assert_eq!(lose(&mut table, 3, due_ms(0), &heirs, 1_000).unwrap().moves.len(), 3);
        let heirs = Heirs::Survivors([0, 1].map(worker).to_vec());
        let change = lose(&mut table, 2, due_ms(0), &heirs, 9_000).unwrap();
        // Its own class in two, and its third of class 3 whole.
        assert_eq!(change.moves.len(), 3);
        let shares: Vec<_> = [0, 1].map(|one| table.load(worker(one))).to_vec();
        assert_eq!(shares.iter().sum::<u64>() >> 20, (1 << 40 >> 20) - 1, "all but rounding");
    }

    #[test]
    fn without_heirs_a_class_waits_for_one() {
        let mut table = fleet(1);
        assert_eq!(lose(&mut table, 0, due_ms(3_000), &Heirs::Survivors(Vec::new()), 1_000), None);
        assert!(table.has_orphans());
        let spare = Heirs::Spare(worker(5));
        let change = table.succession(None, &spare, Duration::from_secs(20)).unwrap();
        table.apply(None, Some(&change));
        assert_eq!((change.from_second, table.has_orphans()), (21, false));
    }

    #[test]
    fn in_a_closed_loop_the_heir_goes_on_at_the_lost_ones_limit() {
        let mut table = fleet(2);
        let heirs = Heirs::Survivors(vec![worker(0)]);
        let change = lose(&mut table, 1, Limit::Round(12), &heirs, 4_200).unwrap();
        assert_eq!((change.from_second, change.moves[0].first_round), (6, 12));
        assert_eq!(table.tenures()[1].until_round, Some(12));
        // Lost before it could begin: its heir does not fall back behind it.
        let change = lose(&mut table, 0, Limit::Round(5), &Heirs::Spare(worker(9)), 5_000).unwrap();
        assert_eq!(change.moves.iter().map(|one| one.first_round).collect::<Vec<_>>(), [5, 12]);
    }

    #[test]
    fn a_closed_loop_whose_rounds_nobody_knows_is_not_taken_over() {
        let mut table = fleet(2);
        let unknown = Limit::Round(u64::MAX);
        assert_eq!(lose(&mut table, 1, unknown, &Heirs::Spare(worker(2)), 4_000), None);
        assert!(!table.has_orphans());
    }

    #[test]
    fn a_worker_is_told_its_own_moves_of_every_change_that_it_has_not_heard() {
        let mut table = fleet(3);
        let heirs = Heirs::Survivors([0, 1].map(worker).to_vec());
        lose(&mut table, 2, due_ms(0), &heirs, 1_000);
        lose(&mut table, 1, due_ms(0), &Heirs::Spare(worker(8)), 1_000);
        let told = |one, epoch| {
            let all = table.unheard(worker(one), epoch).into_iter();
            all.map(|change| (change.epoch, change.moves.len())).collect::<Vec<_>>()
        };
        assert_eq!(told(0, 0), [(1, 1), (2, 0)]);
        assert_eq!(told(8, 1), [(2, 2)]);
        assert!(told(0, 2).is_empty());
    }

    #[test]
    fn the_same_change_applied_twice_changes_the_table_once() {
        let mut table = fleet(2);
        let change = lose(&mut table, 1, due_ms(0), &Heirs::Spare(worker(3)), 0);
        let before = table.clone();
        table.apply(None, change.as_ref());
        assert_eq!(table.tenures(), before.tenures());
    }

    proptest! {
        /// Workers die in any order, with or without a spare at hand: every arrival at every instant has one
        /// owner, and no owner holds what is due at or after its limit unless nobody took over.
        #[test]
        fn every_arrival_has_exactly_one_owner(
            size in 1_u32..9,
            deaths in proptest::collection::vec((0_u32..12, any::<bool>(), 0_u64..3_000), 0..7),
            asked in proptest::collection::vec((0_u64..5_000, 0_u64..40_000), 1..40),
        ) {
            let mut table = fleet(size);
            let mut live: Vec<u32> = (0..size).collect();
            let (mut now, mut next) = (0, size);
            for (victim, spare, limit_ahead) in deaths {
                now += 2_500;
                let Some(index) = (!live.is_empty()).then(|| victim as usize % live.len()) else { break };
                let dead = live.remove(index);
                let heirs = if spare {
                    live.push(next);
                    next += 1;
                    Heirs::Spare(worker(next - 1))
                } else {
                    Heirs::Survivors(live.iter().map(|one| worker(*one)).collect())
                };
                lose(&mut table, dead, due_ms(now + limit_ahead), &heirs, now);
            }
            for (number, due) in asked {
                let due = Duration::from_millis(due);
                let owners: Vec<_> = table
                    .tenures()
                    .iter()
                    .filter(|tenure| tenure.class.owns(number) && tenure.holds(due))
                    .collect();
                prop_assert_eq!(owners.len(), 1);
                if let Some(Limit::Due(limit)) = table.loss(owners[0].owner).map(|loss| loss.limit) {
                    let until = owners[0].until_second;
                    prop_assert!(until.is_none_or(|until| Duration::from_secs(until.into()) >= limit));
                }
            }
        }
    }
}
