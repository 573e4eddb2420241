//! Who is in the run and what each is permitted: leases and owners, moved by one clock.
//!
//! Every half second it looks for silence, decides who takes over, and says what goes out to whom. What it
//! decides is a record for the journal first: a change of owners is told only once it is on disk
//! ([`Membership::written`]), because a coordinator that resumes must know everything that anybody was told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use protocol::{
    Change, CoordinatorHeartbeat, Goodbye, Heartbeat, Limit, Loss, LossCause, Record, StageEnd,
    WorkerId,
};
use workload::OnWorkerLoss;

use crate::{
    Heirs, Leases, Ownership, Reading, StartInstant, Terms,
    ownership::{AHEAD, whole_second},
};

/// What one look gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// For the journal, in this order, before anything else is done about it.
    pub records: Vec<Record>,
    /// To be sent now.
    pub heartbeats: Vec<CoordinatorHeartbeat>,
    /// Closed loop: workers whose grants need a higher ceiling on disk soon. For the journal, and then for
    /// [`Membership::raise_ceiling`].
    pub ceilings: Vec<(WorkerId, u64)>,
}

/// What a sign of life is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has its place.
    Here,
    /// It has said goodbye, and may still report.
    Leaving,
    /// It has no place (any more), and is to be told so.
    Closed,
}

/// One worker that is in the run.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The last change that it was heard to know.
    epoch: u64,
    /// It has its inputs and the start, so a class can be given to it.
    armed: bool,
}

/// See the module's documentation. Instants are nanoseconds of the coordinator's clock.
#[derive(Clone, Debug)]
pub struct Membership {
    on_loss: OnWorkerLoss,
    leases: Leases,
    ownership: Option<Ownership>,
    places: BTreeMap<WorkerId, Place>,
    /// The last change that is on disk.
    written: u64,
    /// Which coordinator of the run this is.
    term: u64,
    /// Stages that rules have ended, as it is on disk.
    stage_ends: Vec<StageEnd>,
}

impl Membership {
    /// Of a run that has not begun.
    #[must_use]
    pub fn new(on_loss: OnWorkerLoss, terms: Terms, now_ns: u64) -> Self {
        let leases = Leases::new(terms, now_ns);
        Self {
            on_loss,
            leases,
            ownership: None,
            places: BTreeMap::new(),
            written: 0,
            term: 0,
            stage_ends: Vec::new(),
        }
    }

    /// Of a run that other coordinators, `term` of them, began: its owners, and its start. `workers` are
    /// those who are neither lost nor complete, with the clocks as they were at their start and the most
    /// that can have been granted to them.
    #[must_use]
    pub fn resumed(
        on_loss: OnWorkerLoss,
        terms: Terms,
        term: u64,
        ownership: Ownership,
        start: StartInstant,
        workers: impl IntoIterator<Item = (WorkerId, Reading, Limit)>,
        now_ns: u64,
    ) -> Self {
        let mut membership = Self::new(on_loss, terms, now_ns);
        membership.written = ownership.epoch();
        membership.term = term;
        membership.leases.remember(ownership.losses().map(|loss| loss.limit));
        membership.ownership = Some(ownership);
        for (worker, at_arm, limit) in workers {
            membership.leases.admit_again(worker, at_arm, limit, now_ns);
            membership.places.insert(worker, Place { epoch: 0, armed: true });
        }
        membership.leases.go_on(start);
        membership
    }

    /// A worker has a place; its silence counts from now on.
    pub fn admit(&mut self, worker: WorkerId, now_ns: u64) {
        self.leases.admit(worker, now_ns);
        self.places.entry(worker).or_insert(Place { epoch: 0, armed: false });
    }

    /// The start is fixed: the worker of each rank owns the class of that rank.
    pub fn own(&mut self, ranks: &[WorkerId]) {
        self.ownership = Ownership::at_arm(ranks);
    }

    /// A worker, or a spare, has accepted the start.
    pub fn armed(&mut self, worker: WorkerId, reading: Reading) {
        if let Some(place) = self.places.get_mut(&worker) {
            place.armed = true;
            self.leases.armed(worker, reading);
        }
    }

    /// Everybody who owns a class has accepted the start, which is at `start_ns`.
    pub fn open(&mut self, start_ns: u64) {
        self.leases.open(start_ns);
    }

    /// A sign of life.
    pub fn heard(&mut self, heartbeat: &Heartbeat, now_ns: u64) -> Heard {
        let Some(place) = self.places.get_mut(&heartbeat.worker) else {
            let table = self.ownership.as_ref();
            let loss = table.and_then(|table| table.loss(heartbeat.worker));
            let left = loss.is_some_and(|loss| loss.cause == LossCause::Left);
            return if left { Heard::Leaving } else { Heard::Closed };
        };
        place.epoch = place.epoch.max(heartbeat.epoch);
        let Heartbeat { clock_offset_ns: offset_ns, clock_error_ns: error_ns, .. } = *heartbeat;
        let reading = (error_ns < u64::MAX).then_some(Reading { offset_ns, error_ns });
        // Else a grant of the coordinator before us may still come to it.
        if heartbeat.term == self.term {
            self.leases.holds_rounds(heartbeat.worker, heartbeat.rounds_granted);
        }
        self.leases.heard(heartbeat.worker, reading, heartbeat.rounds_begun, now_ns);
        Heard::Here
    }

    /// Looks for silence, gives away what nobody owns, and makes the heartbeats that leave now. To be called
    /// every [`crate::LOOK_EVERY`].
    pub fn look(&mut self, now_ns: u64) -> Look {
        let lost = self.leases.look(now_ns);
        let closed: Vec<_> =
            lost.into_iter().filter_map(|one| Some((one, self.close(one)?))).collect();
        let mut records: Vec<Record> = closed
            .into_iter()
            .map(|(worker, limit)| self.lose(worker, limit, LossCause::Silent, now_ns))
            .collect();
        records.extend(self.adopt(now_ns));
        let heartbeats = self.heartbeats(now_ns);
        let leases = &mut self.leases;
        let ceilings =
            self.places.keys().filter_map(|one| Some((*one, leases.next_ceiling(*one)?)));
        Look { records, heartbeats, ceilings: ceilings.collect() }
    }

    /// A worker leaves by its own limit, or what it reported cannot be right; `None` if it had no place.
    pub fn depart(
        &mut self,
        worker: WorkerId,
        goodbye: Option<&Goodbye>,
        now_ns: u64,
    ) -> Option<Record> {
        let granted = self.close(worker)?;
        let (limit, cause) = match goodbye {
            // Its own, even where it is beyond what was granted: up to there it still answers.
            Some(goodbye) => (of_its_kind(goodbye.limit, granted), LossCause::Left),
            None => (granted, LossCause::Broken),
        };
        Some(self.lose(worker, limit, cause, now_ns))
    }

    /// Its last delta is on disk: it needs no lease and takes nothing over.
    pub fn complete(&mut self, worker: WorkerId) {
        let _ = self.close(worker);
    }

    /// The books are about to be closed: owners without a last delta by now are lost, with all that was granted to them,
    /// because what they sent since they reported last is in no other book. Nobody goes on.
    pub fn abandon(&mut self, now_ns: u64) -> Vec<Record> {
        let noticed_at = self.run_time(now_ns).unwrap_or_default();
        let Some(table) = &self.ownership else { return Vec::new() };
        let owns = |worker: &WorkerId| table.tenures().iter().any(|one| one.owner == *worker);
        let owners: Vec<_> = self.places.keys().copied().filter(owns).collect();
        let lost = owners.into_iter().filter_map(|worker| {
            let loss =
                Loss { worker, limit: self.close(worker)?, noticed_at, cause: LossCause::Silent };
            self.ownership.as_mut()?.apply(Some(&loss), None);
            Some(Record::Ownership { loss: Some(loss), change: None })
        });
        lost.collect()
    }

    /// Changes up to this one are on disk and may be told.
    pub fn written(&mut self, epoch: u64) {
        self.written = self.written.max(epoch);
    }

    /// Heartbeats that leave now, outside of the rhythm: when the start is accepted, when a change is on
    /// disk, when a closed loop is at its limit.
    pub fn heartbeats(&mut self, now_ns: u64) -> Vec<CoordinatorHeartbeat> {
        let workers: Vec<_> = self.places.keys().copied().collect();
        workers.into_iter().filter_map(|worker| self.heartbeat(worker, now_ns)).collect()
    }

    /// The one to this worker; `None` if it has no place.
    pub fn heartbeat(&mut self, worker: WorkerId, now_ns: u64) -> Option<CoordinatorHeartbeat> {
        let place = self.places.get(&worker)?;
        let unheard = self.ownership.as_ref().map(|table| table.unheard(worker, place.epoch));
        let mut changes: Vec<Change> = unheard.unwrap_or_default();
        changes.retain(|change| change.epoch <= self.written);
        let grant = self.leases.grant(worker, now_ns);
        let stage_ends = self.stage_ends.clone();
        Some(CoordinatorHeartbeat { worker, grant, changes, term: self.term, stage_ends })
    }

    /// What a sign of life is answered with at once: a fast closed loop does not wait for the rhythm, nor does one whose
    /// coordinator has changed.
    pub fn answer(&mut self, worker: WorkerId, now_ns: u64) -> Option<CoordinatorHeartbeat> {
        let waits = self.leases.wants_rounds(worker) || self.leases.is_untold(worker);
        if waits { self.heartbeat(worker, now_ns) } else { None }
    }

    /// As of [`Look::ceilings`], for a worker that was just heard: a fast closed loop does not wait for the rhythm.
    pub fn next_ceiling(&mut self, worker: WorkerId) -> Option<u64> {
        self.leases.next_ceiling(worker)
    }

    /// A ceiling is on disk: what it permits may be granted.
    pub fn raise_ceiling(&mut self, worker: WorkerId, below: u64) {
        self.leases.raise_ceiling(worker, below);
    }

    /// Closed loop: whether nothing is held back, because nobody can take over.
    #[must_use]
    pub fn grants_any_round(&self) -> bool {
        self.leases.grants_any_round()
    }

    /// Somebody may come who could take over.
    pub fn expect_heirs(&mut self) {
        match self.on_loss {
            OnWorkerLoss::Takeover => self.leases.limit_rounds(),
            OnWorkerLoss::Continue | OnWorkerLoss::Abort => {}
        }
    }

    /// The first instant at which the load can be ended so that nobody sends anything beyond it, whatever it hears: a
    /// whole second, at least 1 s ahead, and not before anything that was granted. `None` before the start.
    #[must_use]
    pub fn earliest_end(&self, now_ns: u64) -> Option<Duration> {
        let ahead = self.run_time(now_ns)? + AHEAD;
        let second = whole_second(ahead.max(self.leases.furthest_due()));
        Some(Duration::from_secs(second.into()))
    }

    /// The load ends at this run time: nothing beyond it is granted from now on.
    pub fn end_load(&mut self, at: Duration) {
        self.leases.end_load(at);
    }

    /// Stages are about to end at this run time: nothing beyond it is granted until that is on disk
    /// ([`Self::end_stages`]), so that nobody has permission beyond an end that it may not hear of.
    pub fn hold_load(&mut self, at: Duration) {
        self.leases.hold(at);
    }

    /// The end of these stages, held since it was decided, is on disk: it rides with every grant from now on.
    pub fn end_stages(&mut self, at: Duration, ends: &[StageEnd]) {
        self.leases.release(at);
        self.stage_ends.extend(ends);
    }

    /// Whether a worker has a place.
    #[must_use]
    pub fn holds(&self, worker: WorkerId) -> bool {
        self.places.contains_key(&worker)
    }

    /// The table as decided, which may be ahead of the disk.
    #[must_use]
    pub fn ownership(&self) -> Option<&Ownership> {
        self.ownership.as_ref()
    }

    /// Run time on our own clock.
    #[must_use]
    pub fn run_time(&self, now_ns: u64) -> Option<Duration> {
        self.leases.run_time(now_ns)
    }

    fn close(&mut self, worker: WorkerId) -> Option<Limit> {
        self.places.remove(&worker)?;
        self.leases.close(worker)
    }

    fn lose(&mut self, worker: WorkerId, limit: Limit, cause: LossCause, now_ns: u64) -> Record {
        let noticed_at = self.run_time(now_ns).unwrap_or_default();
        let loss = Loss { worker, limit, noticed_at, cause };
        let change = self.succession(Some(&loss), now_ns);
        if let Some(ownership) = &mut self.ownership {
            ownership.apply(Some(&loss), change.as_ref());
        }
        Record::Ownership { loss: Some(loss), change }
    }

    /// What was left without an owner goes to somebody as soon as there is one.
    fn adopt(&mut self, now_ns: u64) -> Option<Record> {
        if !self.ownership.as_ref()?.has_orphans() {
            return None;
        }
        let change = self.succession(None, now_ns)?;
        self.ownership.as_mut()?.apply(None, Some(&change));
        Some(Record::Ownership { loss: None, change: Some(change) })
    }

    fn succession(&self, loss: Option<&Loss>, now_ns: u64) -> Option<Change> {
        match self.on_loss {
            OnWorkerLoss::Takeover => {}
            OnWorkerLoss::Continue | OnWorkerLoss::Abort => return None,
        }
        let table = self.ownership.as_ref()?;
        table.succession(loss, &self.heirs(table, now_ns), self.run_time(now_ns)?)
    }

    /// Those who are armed and were heard lately: a spare if there is one, else all.
    fn heirs(&self, table: &Ownership, now_ns: u64) -> Heirs {
        let armed = self.places.iter().filter(|(_, place)| place.armed).map(|(worker, _)| *worker);
        let able: Vec<_> = armed.filter(|worker| self.leases.is_heard(*worker, now_ns)).collect();
        let busy: BTreeSet<_> =
            table.tenures().iter().filter(|t| t.until_second.is_none()).map(|t| t.owner).collect();
        match able.iter().find(|worker| !busy.contains(worker)) {
            Some(spare) => Heirs::Spare(*spare),
            None => Heirs::Survivors(able),
        }
    }
}

/// A limit by which this load is not limited says nothing of it: then what was granted holds.
fn of_its_kind(named: Limit, granted: Limit) -> Limit {
    match (named, granted) {
        (Limit::Due(_), Limit::Due(_)) | (Limit::Round(_), Limit::Round(_)) => named,
        (Limit::Due(_), Limit::Round(_)) | (Limit::Round(_), Limit::Due(_)) => granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: WorkerId = WorkerId { ordinal: 0, incarnation: 10 };
    const SECOND: WorkerId = WorkerId { ordinal: 1, incarnation: 11 };
    const SPARE: WorkerId = WorkerId { ordinal: 2, incarnation: 12 };
    const MS: u64 = 1_000_000;
    const START: u64 = 1_000 * MS;

    fn heartbeat(worker: WorkerId, epoch: u64) -> Heartbeat {
        Heartbeat {
            worker,
            in_flight: 0,
            clock_offset_ns: 0,
            clock_error_ns: 0,
            epoch,
            rounds_begun: 0,
            rounds_granted: 0,
            term: 0,
        }
    }

    /// Two workers and a spare if asked for, armed, heard and looked for until 5 s of run time.
    fn running(on_loss: OnWorkerLoss, spare: bool) -> Membership {
        let terms = Terms { length: protocol::LEASE, reach: crate::Reach::Due };
        let mut membership = Membership::new(on_loss, terms, 0);
        for worker in [FIRST, SECOND].into_iter().chain(spare.then_some(SPARE)) {
            membership.admit(worker, 0);
        }
        membership.own(&[FIRST, SECOND]);
        for worker in [FIRST, SECOND, SPARE] {
            membership.armed(worker, Reading::default());
        }
        membership.open(START);
        pass(&mut membership, &[FIRST, SECOND, SPARE], 0, 6_000);
        membership
    }

    /// Half seconds in which these workers are heard; what was decided.
    fn pass(
        membership: &mut Membership,
        heard: &[WorkerId],
        from_ms: u64,
        to_ms: u64,
    ) -> Vec<Record> {
        let mut records = Vec::new();
        for at_ms in (from_ms..to_ms).step_by(500) {
            for worker in heard {
                membership.heard(&heartbeat(*worker, 0), at_ms * MS);
            }
            records.extend(membership.look(at_ms * MS).records);
        }
        records
    }

    fn change(records: &[Record]) -> Option<Change> {
        match records {
            [Record::Ownership { change, .. }] => change.clone(),
            _ => None,
        }
    }

    #[test]
    fn a_lost_workers_class_goes_to_the_spare_and_is_told_when_it_is_on_disk() {
        let mut membership = running(OnWorkerLoss::Takeover, true);
        let records = pass(&mut membership, &[FIRST, SPARE], 6_000, 9_500);
        let change = change(&records).unwrap();
        assert_eq!((change.moves.len(), change.moves[0].to), (1, SPARE));
        let told = |membership: &mut Membership, worker| {
            membership.heartbeat(worker, 9_500 * MS).map(|beat| beat.changes.len())
        };
        assert_eq!(told(&mut membership, SPARE), Some(0));
        membership.written(change.epoch);
        assert_eq!(told(&mut membership, SPARE), Some(1));
        membership.heard(&heartbeat(SPARE, 1), 9_500 * MS);
        assert_eq!(told(&mut membership, SPARE), Some(0), "it was heard to know it");
        assert_eq!(told(&mut membership, SECOND), None);
        assert_eq!(membership.heard(&heartbeat(SECOND, 0), 9_600 * MS), Heard::Closed);
    }

    #[test]
    fn without_a_spare_the_survivors_take_over_and_with_continue_nobody_does() {
        let mut membership = running(OnWorkerLoss::Takeover, false);
        let records = pass(&mut membership, &[FIRST], 6_000, 9_500);
        assert_eq!(change(&records).unwrap().moves[0].to, FIRST);
        let mut membership = running(OnWorkerLoss::Continue, true);
        let records = pass(&mut membership, &[FIRST, SPARE], 6_000, 20_000);
        assert!(matches!(&records[..], [Record::Ownership { loss: Some(_), change: None }]));
    }

    #[test]
    fn the_load_ends_where_nobody_holds_a_grant_any_more_and_gets_none() {
        let mut membership = running(OnWorkerLoss::Takeover, false);
        // Granted last at 5.5 s of the clock, 4.5 s of run time, for 2.5 s.
        let at = membership.earliest_end(6_000 * MS).unwrap();
        assert_eq!(at, Duration::from_secs(7));
        membership.end_load(at);
        membership.end_load(Duration::from_secs(60));
        membership.heard(&heartbeat(FIRST, 0), 8_000 * MS);
        let grant = membership.heartbeat(FIRST, 8_000 * MS).unwrap().grant.unwrap();
        assert_eq!(grant.limit, Limit::Due(at), "9.5 s otherwise");
    }

    #[test]
    fn while_a_stages_end_is_not_on_disk_nothing_beyond_it_is_granted_and_then_it_rides_with_the_grant()
     {
        let mut membership = running(OnWorkerLoss::Takeover, false);
        let at = membership.earliest_end(6_000 * MS).unwrap();
        membership.hold_load(at);
        membership.heard(&heartbeat(FIRST, 0), 8_000 * MS);
        let beat = membership.heartbeat(FIRST, 8_000 * MS).unwrap();
        assert_eq!((beat.grant.unwrap().limit, beat.stage_ends), (Limit::Due(at), vec![]));
        let ends = vec![StageEnd { stage: 0, at }];
        membership.end_stages(at, &ends);
        let beat = membership.heartbeat(FIRST, 8_000 * MS).unwrap();
        assert!(beat.grant.unwrap().limit > Limit::Due(at));
        assert_eq!(beat.stage_ends, ends);
    }

    #[test]
    fn who_was_put_out_may_still_use_what_it_was_granted() {
        let mut membership = running(OnWorkerLoss::Takeover, false);
        let with_all = membership.earliest_end(5_600 * MS).unwrap();
        let _lost = membership.depart(FIRST, None, 5_600 * MS);
        let _lost = membership.depart(SECOND, None, 5_600 * MS);
        assert_eq!(membership.earliest_end(5_600 * MS), Some(with_all));
    }

    #[test]
    fn a_class_that_nobody_could_take_goes_to_the_first_who_comes() {
        let mut membership = running(OnWorkerLoss::Takeover, false);
        let records = pass(&mut membership, &[], 6_000, 9_500);
        assert_eq!(records.len(), 2);
        membership.admit(SPARE, 9_500 * MS);
        assert!(membership.look(9_500 * MS).records.is_empty(), "not armed yet");
        membership.armed(SPARE, Reading::default());
        let change = change(&pass(&mut membership, &[SPARE], 10_000, 10_500)).unwrap();
        assert_eq!(change.moves.iter().map(|one| one.to).collect::<Vec<_>>(), [SPARE, SPARE]);
        assert!(change.from_second >= 10);
    }

    #[test]
    fn who_says_goodbye_names_its_own_limit() {
        let mut membership = running(OnWorkerLoss::Takeover, true);
        let limit = Limit::Due(Duration::from_millis(5_100));
        let goodbye = Goodbye { worker: SECOND, limit, reason: "stopped".to_owned() };
        let record = membership.depart(SECOND, Some(&goodbye), 6_000 * MS).unwrap();
        let Record::Ownership { loss: Some(loss), change: Some(change) } = record else {
            panic!("{record:?}")
        };
        assert_eq!((loss.limit, loss.cause, change.from_second), (limit, LossCause::Left, 6));
        assert_eq!(membership.depart(SECOND, Some(&goodbye), 6_000 * MS), None);
        assert_eq!(membership.heard(&heartbeat(SECOND, 0), 6_000 * MS), Heard::Leaving);
    }

    #[test]
    fn a_complete_worker_is_neither_missed_nor_an_heir() {
        let mut membership = running(OnWorkerLoss::Takeover, false);
        membership.complete(FIRST);
        let records = pass(&mut membership, &[], 6_000, 20_000);
        assert!(matches!(&records[..], [Record::Ownership { loss: Some(_), change: None }]));
    }

    #[test]
    fn an_owner_without_a_last_delta_is_lost_when_the_books_are_closed_and_a_spare_is_not() {
        let mut membership = running(OnWorkerLoss::Takeover, true);
        membership.complete(FIRST);
        let records = membership.abandon(6_000 * MS);
        let [Record::Ownership { loss: Some(loss), change: None }] = records[..] else {
            panic!("{records:?}")
        };
        // Granted at 5.5 s, which is 4.5 s of run time, for 2.5 s.
        assert_eq!((loss.worker, loss.limit), (SECOND, Limit::Due(Duration::from_secs(7))));
        assert_eq!(membership.abandon(6_000 * MS), Vec::new());
    }

    #[test]
    fn a_goodbye_by_an_instant_says_nothing_of_rounds() {
        let (due, round) = (Limit::Due(Duration::ZERO), Limit::Round(7));
        assert_eq!((of_its_kind(due, round), of_its_kind(round, due)), (round, due));
        assert_eq!(of_its_kind(Limit::Round(3), round), Limit::Round(3));
    }
}
