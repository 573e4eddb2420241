//! The books of the whole run: every part merged once.
//!
//! A worker's parts are numbered without a gap. The ledger takes exactly the next one; one that it has
//! is acknowledged again and changes nothing, a newer one is dropped unacknowledged and comes again. The
//! parts of an interval wait aside until its marked one; then histograms and books are merged together.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use metrics::{
    Books, Distribution, FailureSample, Interval, MergeError, Metric, Scope, Series, StopReason,
};
use protocol::{
    Assembly, Change, ClassCovers, Covers, Delta, IntervalEnd, Loss, LossCause, Part, PartError,
    SAMPLES_OF_A_CLASS, StageEnd, WorkerId,
};
use workload::Shard;

use crate::{Ownership, StageEnds};

/// What a part's number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// The next one: write it down, then merge it.
    Next,
    /// Known: acknowledge again what is durable.
    Repeated,
    /// An earlier one is missing: drop it without a word.
    Ahead,
    /// Its worker was never admitted, or is closed: refused for ever.
    Refused,
}

/// What one incarnation of a worker has said.
#[derive(Debug)]
pub struct Account {
    accepted: u64,
    assembly: Assembly,
    open: bool,
    /// Its books by stage and class.
    pub books: BTreeMap<Scope, Books>,
    /// Its own lag, apart from the others'.
    pub generator_lag: Distribution,
    /// What its requests waited for their first token.
    pub ttft: Distribution,
    /// The second before which everything is told.
    pub covered_to: u32,
    /// The seconds that it has answered for, of each class that it named.
    answered: BTreeMap<(u32, u32), Covers>,
    /// Requests written and not finished at its last delta.
    pub in_flight: u64,
    /// CPU time of its lanes.
    pub cpu: std::time::Duration,
    /// Actual start minus the agreed one.
    pub start_skew: Option<std::time::Duration>,
    /// Whether its receive stamps were the kernel's.
    pub kernel_stamps: bool,
    /// Its books are complete.
    pub complete: bool,
    /// Deltas merged.
    pub deltas: u64,
}

impl Account {
    fn new(assembly: Assembly) -> Self {
        Self {
            accepted: 0,
            assembly,
            open: true,
            books: BTreeMap::new(),
            generator_lag: Distribution::collecting(Metric::GeneratorLag.kind()),
            ttft: Distribution::collecting(Metric::Ttft.kind()),
            covered_to: 0,
            answered: BTreeMap::new(),
            in_flight: 0,
            cpu: std::time::Duration::ZERO,
            start_skew: None,
            kernel_stamps: true,
            complete: false,
            deltas: 0,
        }
    }

    fn merge(&mut self, delta: &Delta) -> Result<(), MergeError> {
        for (scope, record) in &delta.interval.scopes {
            self.books.entry(*scope).or_default().merge(&record.books);
            if let Some(lag) = record.distributions.get(&Metric::GeneratorLag) {
                self.generator_lag.merge(lag)?;
            }
            if let Some(ttft) = record.distributions.get(&Metric::Ttft) {
                self.ttft.merge(ttft)?;
            }
        }
        self.covered_to = delta.covers.map_or(self.covered_to, |covers| covers.to);
        for ClassCovers { class, covers } in &delta.classes {
            self.answered.entry(key(*class)).or_insert(*covers).to = covers.to;
        }
        self.in_flight = delta.in_flight;
        self.cpu = delta.cpu;
        self.start_skew = self.start_skew.or(delta.start_skew);
        self.kernel_stamps &= delta.kernel_stamps;
        self.complete |= delta.last;
        self.deltas += 1;
        Ok(())
    }
}

impl Account {
    /// The seconds of a class that it has answered for; `None` if it never named it.
    #[must_use]
    pub fn answered(&self, class: Shard) -> Option<Covers> {
        self.answered.get(&key(class)).copied()
    }

    /// A class is answered for second by second, without a gap and never twice.
    fn goes_on(&self, named: &ClassCovers) -> bool {
        let known = self.answered(named.class);
        let next = known.is_none_or(|known| known.to == named.covers.from);
        next && named.covers.from < named.covers.to
    }
}

/// The order of classes in a map.
fn key(class: Shard) -> (u32, u32) {
    (class.count.get(), class.rank)
}

/// Everything merged so far.
#[derive(Debug, Default)]
pub struct Ledger {
    stages: u16,
    /// 0 means 1.
    cells: u16,
    accounts: BTreeMap<WorkerId, Account>,
    /// From Arm on.
    ownership: Option<Ownership>,
    total: Interval,
    series: Series,
    /// Deltas by the second that they reach to, until every worker has reported that far.
    ahead: BTreeMap<u32, Interval>,
    told_to: u32,
    /// Stretches that everybody has reported, for who reads them one by one.
    kept: Option<VecDeque<(Range<u32>, Interval)>>,
    samples: BTreeMap<metrics::FailureClass, Vec<FailureSample>>,
    stage_ends: StageEnds,
}

impl Ledger {
    /// Of a run with so many stages and one class: parts that name others are refused.
    #[must_use]
    pub fn of(stages: u16) -> Self {
        Self { stages, ..Self::default() }
    }

    /// Rules of their own have ended these stages.
    pub fn end_stages(&mut self, ends: &[StageEnd], reason: &StopReason) {
        self.stage_ends.take(ends, reason);
    }

    /// The stages that rules of their own have ended.
    #[must_use]
    pub fn stage_ends(&self) -> &StageEnds {
        &self.stage_ends
    }

    /// The same with so many classes (`Plan::cells`).
    #[must_use]
    pub fn with_cells(self, cells: u16) -> Self {
        Self { cells, ..self }
    }

    /// Keeps each stretch that everybody has reported until [`Self::take_stretch`] takes it.
    #[must_use]
    pub fn keeping_stretches(self) -> Self {
        Self { kept: Some(VecDeque::new()), ..self }
    }

    /// The next stretch that every live worker has reported, merged: those of the series, with all that was recorded.
    pub fn take_stretch(&mut self) -> Option<(Range<u32>, Interval)> {
        self.kept.as_mut()?.pop_front()
    }

    /// What was reported for seconds that had been told before; nothing else is left once all accounts are closed.
    pub fn take_rest(&mut self) -> Option<(Range<u32>, Interval)> {
        let mut rest = Interval::default();
        for interval in std::mem::take(&mut self.ahead).into_values() {
            // Bounds were compared when these were merged into the total.
            let _ = rest.merge(&interval);
        }
        (!rest.is_empty()).then(|| (self.told_to..self.told_to + 1, rest))
    }

    /// Opens a worker's account.
    pub fn admit(&mut self, worker: WorkerId) {
        let assembly = Assembly::new(self.stages, self.cells.max(1));
        self.accounts.entry(worker).or_insert_with(|| Account::new(assembly));
    }

    /// Closes it for ever: an unfinished interval is dropped, later parts are refused.
    pub fn close(&mut self, worker: WorkerId) {
        if let Some(account) = self.accounts.get_mut(&worker) {
            account.open = false;
            account.assembly = Assembly::new(self.stages, self.cells.max(1));
        }
        self.tell_series(self.reported_to());
    }

    /// The fleet is armed: this is who owns what.
    pub fn own(&mut self, ownership: Ownership) {
        self.ownership = Some(ownership);
    }

    /// Takes a loss and what changes by it, as they stand in the journal. The lost one's account is
    /// closed; who left may still say what became of what it sent.
    pub fn change_owners(&mut self, loss: Option<&Loss>, change: Option<&Change>) {
        if let Some(ownership) = &mut self.ownership {
            ownership.apply(loss, change);
        }
        for loss in loss.into_iter().filter(|loss| loss.cause != LossCause::Left) {
            self.close(loss.worker);
        }
    }

    /// Who owns what; `None` before Arm.
    #[must_use]
    pub fn ownership(&self) -> Option<&Ownership> {
        self.ownership.as_ref()
    }

    /// Closes every account: the run is over.
    pub fn close_all(&mut self) {
        self.accounts.values_mut().for_each(|account| account.open = false);
        self.tell_series(self.reported_to());
    }

    /// Looks at a part's number; changes nothing.
    #[must_use]
    pub fn judge(&self, part: &Part) -> Acceptance {
        let Some(account) = self.accounts.get(&part.worker).filter(|account| account.open) else {
            return Acceptance::Refused;
        };
        match part.sequence.cmp(&(account.accepted + 1)) {
            std::cmp::Ordering::Less => Acceptance::Repeated,
            std::cmp::Ordering::Equal => Acceptance::Next,
            std::cmp::Ordering::Greater => Acceptance::Ahead,
        }
    }

    /// Merges a part that was judged [`Acceptance::Next`]; the delta that it completed.
    ///
    /// # Errors
    /// Undecodable or ill-bounded histograms: nothing is merged and the number is not taken.
    pub fn merge(&mut self, part: &Part) -> Result<Option<Delta>, PartError> {
        self.refuse_foreign(part.worker, part.end.as_ref())?;
        let Some(account) = self.accounts.get_mut(&part.worker) else { return Ok(None) };
        let delta = account.assembly.take(part)?;
        account.accepted = part.sequence;
        let Some(delta) = delta else { return Ok(None) };
        account.merge(&delta)?;
        let reached = account.covered_to;
        self.total.merge(&delta.interval)?;
        self.ahead.entry(reached).or_default().merge(&delta.interval)?;
        self.tell_series(self.reported_to());
        for sample in &delta.samples {
            let known = self.samples.entry(sample.class).or_default();
            if known.len() < SAMPLES_OF_A_CLASS && known.iter().all(|k| k.detail != sample.detail) {
                known.push(sample.clone());
            }
        }
        Ok(Some(delta))
    }

    /// Each second of each class is answered for by its owner, once.
    fn refuse_foreign(&self, worker: WorkerId, end: Option<&IntervalEnd>) -> Result<(), PartError> {
        let (Some(account), Some(end)) = (self.accounts.get(&worker), end) else { return Ok(()) };
        let foreign = |named: &&ClassCovers| {
            let owned = self.ownership.as_ref().is_some_and(|ownership| {
                let mut tenures = ownership.tenures().iter();
                tenures.any(|tenure| {
                    (tenure.owner, tenure.class) == (worker, named.class)
                        && tenure.from_second <= named.covers.from
                })
            });
            !owned || !account.goes_on(named)
        };
        end.classes.iter().find(foreign).map_or(Ok(()), |named| {
            Err(PartError::NotOwned {
                from: named.covers.from,
                to: named.covers.to,
                rank: named.class.rank,
                count: named.class.count.get(),
            })
        })
    }

    /// The second before which every worker that still reports has reported.
    fn reported_to(&self) -> u32 {
        let reporting = self.accounts.values().filter(|account| account.open && !account.complete);
        let slowest = reporting.map(|account| account.covered_to).min();
        slowest.unwrap_or_else(|| self.ahead.keys().next_back().copied().unwrap_or_default())
    }

    /// Makes points of the seconds that everybody has reported; one is wider than a second where a
    /// worker's delta was.
    fn tell_series(&mut self, to: u32) {
        let later = self.ahead.split_off(&to.saturating_add(1));
        let reached = std::mem::replace(&mut self.ahead, later);
        let mut held = Interval::default();
        for (second, interval) in reached {
            // Bounds were compared when these were merged into the total.
            let _ = held.merge(&interval);
            if second > self.told_to {
                self.tell(second, std::mem::take(&mut held));
            }
        }
        if !held.is_empty() {
            // Told with the next second: its own has been told already.
            self.ahead.insert(self.told_to, held);
        }
    }

    /// Everything up to `second` is told.
    fn tell(&mut self, second: u32, stretch: Interval) {
        let seconds = self.told_to..second;
        self.told_to = second;
        self.series.push(seconds.clone(), &stretch);
        if let Some(kept) = &mut self.kept {
            kept.push_back((seconds, stretch));
        }
    }

    /// The run over time: a point for each second that every live worker has reported.
    #[must_use]
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The last second that every live worker has reported.
    #[must_use]
    pub fn last_second(&self) -> Option<u32> {
        self.told_to.checked_sub(1)
    }

    /// The last number taken from a worker.
    #[must_use]
    pub fn accepted(&self, worker: WorkerId) -> u64 {
        self.accounts.get(&worker).map_or(0, |account| account.accepted)
    }

    /// All histograms, books and counters, over all workers.
    #[must_use]
    pub fn total(&self) -> &Interval {
        &self.total
    }

    /// What each incarnation has said.
    #[must_use]
    pub fn accounts(&self) -> &BTreeMap<WorkerId, Account> {
        &self.accounts
    }

    /// A few failures in words, by class.
    pub fn samples(&self) -> impl Iterator<Item = &FailureSample> {
        self.samples.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use metrics::{ScopeRecord, SecondCounts};
    use proptest::prelude::*;
    use protocol::{Limit, split};

    use super::*;

    fn worker(ordinal: u32) -> WorkerId {
        WorkerId { ordinal, incarnation: u64::from(ordinal) + 1 }
    }

    /// What one worker recorded in second `second`: one completed request for each value.
    fn delta(second: u32, values: &[u64]) -> Delta {
        let mut record = ScopeRecord::default();
        for value in values {
            record.books.due += 1;
            record.books.completed += 1;
            let ttft = || Distribution::collecting(Metric::Ttft.kind());
            record.distributions.entry(Metric::Ttft).or_insert_with(ttft).record(*value);
        }
        let mut interval = Interval::default();
        interval.scopes.insert(Scope::default(), record);
        let counts = SecondCounts { completed: values.len() as u64, ..SecondCounts::default() };
        interval.seconds.insert(second, counts);
        let covers = Some(Covers { from: second, to: second + 1 });
        Delta { covers, interval, ..Delta::default() }
    }

    fn admitted(workers: u32) -> Ledger {
        let mut ledger = Ledger::of(1);
        (0..workers).for_each(|ordinal| ledger.admit(worker(ordinal)));
        ledger
    }

    /// A worker's whole stream of parts, one delta a second.
    fn parts(ordinal: u32, seconds: &[Vec<u64>]) -> Vec<Part> {
        let mut all: Vec<Part> = Vec::new();
        for (second, values) in (0..).zip(seconds) {
            let first = all.len() as u64 + 1;
            all.extend(split(worker(ordinal), first, delta(second, values)));
        }
        all
    }

    #[test]
    fn only_the_next_number_is_taken() {
        let mut ledger = admitted(1);
        let parts = parts(0, &[vec![5], vec![6], vec![7]]);
        assert_eq!(ledger.judge(&parts[1]), Acceptance::Ahead);
        assert_eq!(ledger.judge(&parts[0]), Acceptance::Next);
        ledger.merge(&parts[0]).unwrap();
        assert_eq!(ledger.judge(&parts[0]), Acceptance::Repeated);
        assert_eq!(ledger.judge(&parts[1]), Acceptance::Next);
        assert_eq!(ledger.judge(&parts[2]), Acceptance::Ahead);
    }

    #[test]
    fn strangers_and_closed_workers_are_refused_for_ever() {
        let mut ledger = admitted(1);
        let parts = parts(0, &[vec![5], vec![6]]);
        let stranger = Part { worker: worker(9), ..parts[0].clone() };
        assert_eq!(ledger.judge(&stranger), Acceptance::Refused);
        ledger.merge(&parts[0]).unwrap();
        ledger.close(worker(0));
        assert_eq!(ledger.judge(&parts[1]), Acceptance::Refused);
        assert_eq!(ledger.total().books().completed, 1);
    }

    #[test]
    fn a_point_of_the_series_waits_for_the_slowest_worker() {
        let mut ledger = admitted(2);
        let (quick, slow) =
            (parts(0, &[vec![1], vec![2], vec![3]]), parts(1, &[vec![4], vec![5], vec![6]]));
        for part in &quick {
            ledger.merge(part).unwrap();
        }
        let points = |ledger: &Ledger| ledger.series().points(&ledger.total().seconds).len();
        let counted = |ledger: &Ledger| {
            let points = ledger.series().points(&ledger.total().seconds);
            points
                .iter()
                .filter_map(|point| point.percentiles.get(&Metric::Ttft))
                .map(|p| p.count)
                .sum::<u64>()
        };
        assert_eq!(counted(&ledger), 0);
        ledger.merge(&slow[0]).unwrap();
        assert_eq!(counted(&ledger), 2);
        ledger.close(worker(1));
        assert_eq!((points(&ledger), counted(&ledger)), (3, 4));
    }

    #[test]
    fn each_second_of_a_class_is_answered_for_by_its_owner_and_once() {
        let mut ledger = admitted(2);
        ledger.own(Ownership::at_arm(&[worker(0), worker(1)]).unwrap());
        let mut classes = Shard::split(NonZeroU32::new(2).unwrap());
        let (own, foreign) = (classes.next().unwrap(), classes.next().unwrap());
        let mut say = |sequence, class, from, to| {
            let classes = vec![ClassCovers { class, covers: Covers { from, to } }];
            let said = Delta { classes, ..delta(from, &[5]) };
            ledger.merge(&split(worker(0), sequence, said)[0])
        };
        assert!(matches!(say(1, foreign, 0, 1), Err(PartError::NotOwned { rank: 1, .. })));
        assert!(say(1, own, 0, 2).is_ok());
        for (from, to) in [(1, 3), (3, 4), (2, 2)] {
            assert!(matches!(say(2, own, from, to), Err(PartError::NotOwned { .. })), "{from}");
        }
        assert!(say(2, own, 2, 3).is_ok());
        assert_eq!(ledger.total().books().completed, 2, "what was refused was not merged");
    }

    #[test]
    fn who_left_may_still_report_and_who_is_lost_may_not() {
        for (cause, judged) in
            [(LossCause::Left, Acceptance::Next), (LossCause::Silent, Acceptance::Refused)]
        {
            let mut ledger = admitted(2);
            ledger.own(Ownership::at_arm(&[worker(0), worker(1)]).unwrap());
            let (limit, noticed_at) = (Limit::Due(Duration::ZERO), Duration::ZERO);
            ledger.change_owners(Some(&Loss { worker: worker(0), limit, noticed_at, cause }), None);
            assert_eq!(ledger.judge(&parts(0, &[vec![5]])[0]), judged);
        }
    }

    proptest! {
        /// Any interleaving, with parts lost, repeated and out of order, as long as each worker sends again
        /// what was not accepted.
        #[test]
        fn whatever_the_order_each_part_is_merged_once(
            recorded in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(1_u64..3_600_000_000, 0..6), 1..5), 1..5),
            tries in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..60),
        ) {
            let streams: Vec<_> = (0..).zip(&recorded).map(|(w, seconds)| parts(w, seconds)).collect();
            let mut ledger = admitted(u32::try_from(streams.len()).unwrap());
            let offer = |part: &Part, ledger: &mut Ledger| {
                if ledger.judge(part) == Acceptance::Next {
                    ledger.merge(part).unwrap();
                }
            };
            for (stream, part) in tries {
                let stream = stream.get(&streams);
                offer(part.get(stream), &mut ledger);
            }
            for part in streams.iter().flatten() {
                offer(part, &mut ledger);
            }
            let mut whole = Interval::default();
            for (second, values) in recorded.iter().flat_map(|seconds| (0..).zip(seconds)) {
                whole.merge(&delta(second, values).interval).unwrap();
            }
            prop_assert_eq!(ledger.total(), &whole);
        }
    }
}
