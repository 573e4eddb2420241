//! What a journal says of its run: for the coordinator that goes on with it, and for the one who only reads.
//!
//! The records are folded in the order in which they were written, by the same ledger and the same table of
//! owners that wrote them, so that both stand as they stood.

use std::time::Duration;

use metrics::StopReason;
use protocol::{Assigned, Limit, Record, WorkerId};
use workload::Plan;

use crate::{
    Acceptance, Ledger, Member, Ownership, Preparation, Reach, Reading, Role, Standing, Terms,
    lease::FIRST_CEILING, limit_of_predecessor,
};

/// A worker of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Enrolled {
    /// Which one.
    pub id: WorkerId,
    /// Its host or pod name.
    pub host: String,
    /// The clocks at its start; `None` if it never accepted one.
    pub at_arm: Option<Reading>,
    /// The last comparison of clocks.
    pub latest: Option<Reading>,
    /// What it said about its inputs.
    pub assigned: Option<Assigned>,
    /// Closed loop: the most rounds that can have been granted to it.
    pub rounds: u64,
}

/// The start, as it was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// On the clock of the coordinator that agreed on it.
    pub coordinator_ns: u64,
    /// As Unix time, nanoseconds.
    pub unix_ns: i64,
}

/// A run as its journal has it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// What was run; `None` in a journal without a whole first record.
    pub plan: Option<Box<Plan>>,
    /// [`protocol::PROTOCOL_VERSION`] of its writer.
    pub protocol: u32,
    /// Those who own classes by rank, then spares as they came.
    pub workers: Vec<Enrolled>,
    /// Run time zero.
    pub start: Option<Start>,
    /// Load was stopped early, at this run time.
    pub stopped_at: Option<Duration>,
    /// The rule that did it; `None` where somebody else did.
    pub stop_reason: Option<StopReason>,
    /// The books were closed.
    pub ended: bool,
    /// How many coordinators took it over.
    pub resumed: u32,
    /// When the last of them did.
    pub resumed_at_unix_ns: Option<i64>,
    /// Everything that was merged.
    pub ledger: Ledger,
    /// What was found before the load.
    pub prepared: Preparation,
    /// Workers of the roster, before spares.
    ranks: usize,
    /// Parts that the ledger did not take: none in a journal of our own.
    pub refused_parts: u64,
}

impl Recovered {
    /// Folds one record in.
    pub fn take(&mut self, record: Record) {
        match record {
            Record::Plan { protocol, plan, .. } => {
                self.protocol = protocol;
                let stages = u16::try_from(plan.stages.len()).unwrap_or(u16::MAX);
                self.ledger = Ledger::of(stages).with_cells(plan.cells());
                self.plan = Some(plan);
            }
            Record::Roster(workers) => {
                self.ranks = workers.len();
                workers.into_iter().for_each(|(worker, host)| self.enrol(worker, host));
            }
            Record::Spare { worker, host } => self.enrol(worker, host),
            Record::ClockOffset { worker, offset_ns, error_ns } => {
                self.compare(worker, Reading { offset_ns, error_ns });
            }
            Record::Arm { start_at_coordinator_ns: coordinator_ns, start_unix_ns: unix_ns } => {
                self.start = Some(Start { coordinator_ns, unix_ns });
                if let Some(ownership) = self.owners_at_arm() {
                    self.ledger.own(ownership);
                }
            }
            Record::Part(part) => {
                let next = self.ledger.judge(&part) == Acceptance::Next;
                if !next || self.ledger.merge(&part).is_err() {
                    self.refused_parts += 1;
                }
            }
            Record::Ownership { loss, change } => {
                self.ledger.change_owners(loss.as_ref(), change.as_ref());
            }
            Record::Stop { at } => self.stopped_at = Some(at),
            Record::StoppedByRule { at, reason } => {
                self.stopped_at = Some(at);
                self.stop_reason = Some(reason);
            }
            Record::StageStopped { ends, reason } => self.ledger.end_stages(&ends, &reason),
            Record::Resumed { at_unix_ns, .. } => {
                self.resumed += 1;
                self.resumed_at_unix_ns = Some(at_unix_ns);
            }
            Record::Prepared { probe_requests, warnings } => {
                self.prepared = Preparation { probe_requests, warnings };
            }
            Record::Rounds { worker, below } => {
                if let Some(known) = self.known(worker) {
                    known.rounds = known.rounds.max(below);
                }
            }
            Record::Assigned { worker, assigned } => {
                if let Some(known) = self.known(worker) {
                    known.assigned = Some(assigned);
                }
            }
            Record::End => self.ended = true,
        }
    }

    /// The run time of the latest thing that the journal tells of: seconds that a worker has answered for, a loss, or a
    /// coordinator that took over. It is in the records, so that a copy of the journal says the same.
    #[must_use]
    pub fn last_told(&self) -> Duration {
        let told = self.ledger.accounts().values().map(|account| account.covered_to).max();
        let told = Duration::from_secs(told.unwrap_or_default().into());
        let table = self.ledger.ownership();
        let losses = self.workers.iter().filter_map(|one| table?.loss(one.id));
        let resumed = self.resumed_at_unix_ns.zip(self.start).and_then(|(at, start)| {
            let since = u64::try_from(at.saturating_sub(start.unix_ns)).ok()?;
            Some(Duration::from_nanos(since))
        });
        losses.map(|loss| loss.noticed_at).chain(resumed).fold(told, Duration::max)
    }

    /// Those who may still be at work: armed, and neither lost nor complete. With each the most that the
    /// coordinators before can have granted to it, `run_time` being that at which this one started. Of the
    /// rounds of a closed loop the journal has a ceiling; how many it holds each worker tells.
    pub fn at_work(
        &self,
        terms: Terms,
        run_time: Duration,
    ) -> impl Iterator<Item = (WorkerId, Reading, Limit)> {
        let armed = self.workers.iter().filter_map(|one| Some((one, one.at_arm?)));
        let open = armed.filter(|(one, _)| {
            let complete = self.ledger.accounts().get(&one.id).is_some_and(|a| a.complete);
            let lost = self.ledger.ownership().is_some_and(|table| table.loss(one.id).is_some());
            !complete && !lost
        });
        open.map(move |(one, at_arm)| {
            let due = limit_of_predecessor(terms, run_time, one.latest.unwrap_or(at_arm), run_time);
            let limit = match terms.reach {
                Reach::Due => Limit::Due(due),
                Reach::Rounds => Limit::Round(one.rounds),
                Reach::AnyRound => Limit::Round(u64::MAX),
            };
            (one.id, at_arm, limit)
        })
    }

    /// The fleet as it stands.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let owns = |id| {
            self.ledger
                .ownership()
                .is_some_and(|table| table.tenures().iter().any(|t| t.owner == id))
        };
        let member = |one: &Enrolled| Member {
            id: one.id,
            host: one.host.clone(),
            role: if owns(one.id) { Role::Owner } else { Role::Spare },
            standing: self.standing(one),
            assigned: one.assigned.clone(),
            clock: one.latest.map(|reading| (reading.offset_ns, reading.error_ns)),
        };
        self.workers.iter().map(member).collect()
    }

    fn standing(&self, one: &Enrolled) -> Standing {
        let account = self.ledger.accounts().get(&one.id);
        let loss = self.ledger.ownership().and_then(|table| table.loss(one.id));
        match (account, loss) {
            (Some(account), _) if account.complete => Standing::Complete,
            (_, Some(_)) => Standing::Lost,
            // A spare that never had its start is not at work.
            (_, None) if one.at_arm.is_none() => Standing::Lost,
            (_, None) => Standing::Armed,
        }
    }

    fn enrol(&mut self, id: WorkerId, host: String) {
        self.ledger.admit(id);
        if self.workers.iter().all(|known| known.id != id) {
            let (at_arm, latest, assigned) = (None, None, None);
            let rounds = FIRST_CEILING;
            self.workers.push(Enrolled { id, host, at_arm, latest, assigned, rounds });
        }
    }

    fn known(&mut self, worker: WorkerId) -> Option<&mut Enrolled> {
        self.workers.iter_mut().find(|known| known.id == worker)
    }

    fn compare(&mut self, worker: WorkerId, reading: Reading) {
        if let Some(known) = self.known(worker) {
            known.at_arm.get_or_insert(reading);
            known.latest = Some(reading);
        }
    }

    fn owners_at_arm(&self) -> Option<Ownership> {
        let ranks: Vec<_> = self.workers.iter().take(self.ranks).map(|one| one.id).collect();
        Ownership::at_arm(&ranks)
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Books, Interval, Scope, ScopeRecord};
    use protocol::{Change, Delta, Loss, LossCause, Move, PROTOCOL_VERSION, split};
    use workload::{Config, PlanInputs, Shard, Sources};

    use super::*;

    const FIRST: WorkerId = WorkerId { ordinal: 0, incarnation: 10 };
    const SECOND: WorkerId = WorkerId { ordinal: 1, incarnation: 11 };
    const SPARE: WorkerId = WorkerId { ordinal: 2, incarnation: 12 };

    fn plan() -> Box<Plan> {
        let sets = ["target.endpoint=http://t/v1", "target.model=m", "load.rate=5"];
        let sets = sets.map(str::to_owned).to_vec();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        Box::new(Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0)
    }

    fn part(worker: WorkerId, sequence: u64, last: bool) -> Record {
        let books = Books { due: 2, completed: 2, ..Books::default() };
        let mut interval = Interval::default();
        interval.scopes.insert(Scope::default(), ScopeRecord { books, ..ScopeRecord::default() });
        let delta = Delta { interval, last, ..Delta::default() };
        Record::Part(split(worker, sequence, delta).remove(0))
    }

    fn offset(worker: WorkerId, offset_ns: i64) -> Record {
        Record::ClockOffset { worker, offset_ns, error_ns: 5 }
    }

    fn recovered(more: Vec<Record>) -> Recovered {
        let mut recovered = Recovered::default();
        let first = [
            Record::Plan { protocol: PROTOCOL_VERSION, plan: plan(), created_unix_ns: 0 },
            Record::Roster(vec![(FIRST, "a".to_owned()), (SECOND, "b".to_owned())]),
            Record::Arm { start_at_coordinator_ns: 7, start_unix_ns: 8 },
            offset(FIRST, 100),
            offset(SECOND, 200),
            Record::Spare { worker: SPARE, host: "c".to_owned() },
            offset(SPARE, 300),
        ];
        first.into_iter().chain(more).for_each(|record| recovered.take(record));
        recovered
    }

    #[test]
    fn the_clocks_at_the_start_are_the_first_ones_that_were_read() {
        let recovered = recovered(vec![offset(FIRST, 150)]);
        let offsets =
            |one: &Enrolled| (one.at_arm.map(|r| r.offset_ns), one.latest.map(|r| r.offset_ns));
        assert_eq!(offsets(&recovered.workers[0]), (Some(100), Some(150)));
        assert_eq!(recovered.start, Some(Start { coordinator_ns: 7, unix_ns: 8 }));
        assert_eq!(recovered.ledger.ownership().unwrap().tenures().len(), 2);
    }

    #[test]
    fn parts_after_a_loss_are_not_taken_and_owners_stand_as_they_were_written() {
        let class = Shard::split(std::num::NonZeroU32::new(2).unwrap()).nth(1).unwrap();
        let moves = vec![Move { class, from: SECOND, to: SPARE, first_round: 0 }];
        let change = Change { epoch: 1, from_second: 9, moves };
        let (limit, noticed_at) = (Limit::Due(Duration::from_secs(8)), Duration::from_secs(7));
        let loss = Loss { worker: SECOND, limit, noticed_at, cause: LossCause::Silent };
        let recovered = recovered(vec![
            part(SECOND, 1, false),
            Record::Ownership { loss: Some(loss), change: Some(change) },
            part(SECOND, 2, false),
        ]);
        assert_eq!((recovered.ledger.total().books().due, recovered.refused_parts), (2, 1));
        let table = recovered.ledger.ownership().unwrap();
        assert_eq!(table.of_arrival(1, Duration::from_secs(9)).unwrap().owner, SPARE);
    }

    #[test]
    fn what_was_granted_follows_from_the_journal_once_nobody_can_be_waiting() {
        let start_ns = 8_000_000_000;
        let unix_ns = |run_time_s: i64| start_ns + run_time_s * 1_000_000_000;
        let started = Record::Arm { start_at_coordinator_ns: 7, start_unix_ns: start_ns };
        let (limit, noticed_at) = (Limit::Due(Duration::from_secs(8)), Duration::from_secs(7));
        let loss = Loss { worker: SECOND, limit, noticed_at, cause: LossCause::Silent };
        let lost = Record::Ownership { loss: Some(loss), change: None };
        let resumed = Record::Resumed { at_unix_ns: unix_ns(20), epoch: 0 };
        let told = |more: Vec<Record>| recovered(more).last_told().as_secs();
        assert_eq!(told(vec![]), 0);
        assert_eq!(told(vec![started.clone(), lost.clone()]), 7);
        assert_eq!(told(vec![started.clone(), lost.clone(), resumed.clone()]), 20);
        let seconds = Duration::from_secs;
        let recovered = recovered(vec![started, lost, resumed]);
        assert_eq!(recovered.granted_until(seconds(44)), seconds(44), "workers may wait for it");
        assert_eq!(recovered.granted_until(seconds(3_000)), Duration::from_millis(24_500));
    }

    #[test]
    fn at_work_are_those_who_are_neither_lost_nor_complete() {
        let (limit, noticed_at) = (Limit::Due(Duration::from_secs(8)), Duration::from_secs(7));
        let loss = Loss { worker: SECOND, limit, noticed_at, cause: LossCause::Silent };
        let recovered = recovered(vec![
            part(FIRST, 1, true),
            Record::Ownership { loss: Some(loss), change: None },
        ]);
        let terms = Terms { length: protocol::LEASE, reach: Reach::Due };
        let at_work: Vec<_> = recovered.at_work(terms, Duration::from_secs(20)).collect();
        // 20 + 2.5 s, 5 ns of error, 500 ppm of the 20 s for which the clocks may have drifted.
        let limit = Limit::Due(Duration::from_nanos(22_510_000_005));
        assert_eq!(at_work, [(SPARE, Reading { offset_ns: 300, error_ns: 5 }, limit)]);
    }
}
