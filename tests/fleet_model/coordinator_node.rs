//! A coordinator of the model: the fleet's own membership, ledger and recovery, on a disk that takes its time.

use std::collections::VecDeque;
use std::time::Duration;

use coordinator::{
    Acceptance, Heard, LOOK_EVERY, Ledger, Membership, Reading, Recovered, StartInstant, Terms,
};
use metrics::{StopReason, StopRule};
use protocol::{Part, Record, StageEnd, WorkerId};
use workload::Plan;

use crate::dice::Dice;
use crate::worker_node::{Down, DriftingClock, Up};
use crate::world::MS;

/// What waits for the disk.
enum Waiting {
    Acknowledge(WorkerId, u64, bool),
    Change(u64),
    Rounds(WorkerId, u64),
    Stop(Duration),
    StageStop(Duration, Vec<StageEnd>),
}

/// The journal, as the disk has it: only a prefix is sure to survive.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) records: Vec<Record>,
    pub(crate) durable: usize,
    syncing: Option<(u64, usize)>,
}

pub(crate) struct CoordinatorNode {
    pub(crate) paused_until: u64,
    pub(crate) clock: DriftingClock,
    pub(crate) membership: Membership,
    pub(crate) ledger: Ledger,
    /// A rule has ended the load, or is about to: not told before it is on disk.
    stops_at: Option<Duration>,
    /// As everybody may know it.
    pub(crate) stopped_at: Option<Duration>,
    waiting: VecDeque<(usize, Waiting)>,
    next_look: u64,
}

impl CoordinatorNode {
    /// Armed: everybody has acknowledged the start.
    pub(crate) fn armed(
        plan: &Plan,
        clock: DriftingClock,
        ranks: &[(WorkerId, Reading)],
        spares: &[(WorkerId, Reading)],
        start_ns: u64,
        now: u64,
        disk: &mut Disk,
    ) -> Self {
        let ids: Vec<_> = ranks.iter().map(|(worker, _)| *worker).collect();
        disk.records.push(Record::Plan {
            protocol: protocol::PROTOCOL_VERSION,
            plan: Box::new(plan.clone()),
            created_unix_ns: 0,
        });
        disk.records.push(Record::Roster(ids.iter().map(|id| (*id, String::new())).collect()));
        disk.records.push(Record::Arm { start_at_coordinator_ns: start_ns, start_unix_ns: 0 });
        let mut membership = Membership::new(plan.on_worker_loss, Terms::of(plan), clock.at(now));
        membership.own(&ids);
        let mut ledger = Ledger::of(u16::try_from(plan.stages.len()).expect("few stages"))
            .with_cells(plan.cells());
        for (worker, reading) in ranks.iter().chain(spares) {
            membership.admit(*worker, clock.at(now));
            membership.armed(*worker, *reading);
            ledger.admit(*worker);
        }
        for (worker, _) in spares {
            disk.records.push(Record::Spare { worker: *worker, host: String::new() });
        }
        for (worker, reading) in ranks.iter().chain(spares) {
            let Reading { offset_ns, error_ns } = *reading;
            disk.records.push(Record::ClockOffset { worker: *worker, offset_ns, error_ns });
        }
        ledger.own(membership.ownership().expect("armed").clone());
        disk.durable = disk.records.len();
        membership.open(start_ns);
        Self {
            paused_until: 0,
            clock,
            membership,
            ledger,
            stops_at: None,
            stopped_at: None,
            waiting: VecDeque::new(),
            next_look: now,
        }
    }

    /// From what survived.
    pub(crate) fn resumed(clock: DriftingClock, now: u64, disk: &mut Disk) -> Self {
        let mut recovered = Recovered::default();
        disk.records.iter().cloned().for_each(|record| recovered.take(record));
        assert_eq!(
            recovered.refused_parts, 0,
            "a journal of our own has only parts that were taken"
        );
        let plan = recovered.plan.clone().expect("it is the first record");
        let start_ns = recovered.start.expect("armed").coordinator_ns;
        let now_ns = clock.at(now);
        let run_time = std::time::Duration::from_nanos(now_ns.saturating_sub(start_ns));
        let terms = Terms::of(&plan);
        let workers: Vec<_> = recovered.at_work(terms, run_time).collect();
        let term = u64::from(recovered.resumed) + 1;
        let ledger = recovered.ledger;
        let ownership = ledger.ownership().expect("armed").clone();
        let epoch = ownership.epoch();
        let start = StartInstant { agreed_ns: start_ns, own_ns: start_ns };
        let mut membership = Membership::resumed(
            plan.on_worker_loss,
            terms,
            term,
            ownership,
            start,
            workers,
            now_ns,
        );
        membership.end_stages(Duration::MAX, &ledger.stage_ends().to_tell());
        recovered.stopped_at.into_iter().for_each(|at| membership.end_load(at));
        disk.records.push(Record::Resumed { at_unix_ns: 0, epoch });
        Self {
            paused_until: 0,
            clock,
            membership,
            ledger,
            stops_at: recovered.stopped_at,
            stopped_at: recovered.stopped_at,
            waiting: VecDeque::new(),
            next_look: now,
        }
    }

    fn append(&mut self, disk: &mut Disk, record: Record, waiting: Option<Waiting>) {
        disk.records.push(record);
        self.waiting.extend(waiting.map(|waiting| (disk.records.len(), waiting)));
    }

    /// A worker comes while the run goes on: a spare, with the start behind it.
    pub(crate) fn enrol(&mut self, worker: WorkerId, reading: Reading, now: u64, disk: &mut Disk) {
        self.append(disk, Record::Spare { worker, host: String::new() }, None);
        let Reading { offset_ns, error_ns } = reading;
        self.append(disk, Record::ClockOffset { worker, offset_ns, error_ns }, None);
        self.ledger.admit(worker);
        self.membership.admit(worker, self.clock.at(now));
        self.membership.armed(worker, reading);
    }

    pub(crate) fn hear(&mut self, message: Up, now: u64, disk: &mut Disk) -> Vec<(WorkerId, Down)> {
        let now_ns = self.clock.at(now);
        match message {
            Up::Heartbeat(heartbeat) => match self.membership.heard(&heartbeat, now_ns) {
                Heard::Here => {
                    let ceiling = self.membership.next_ceiling(heartbeat.worker);
                    self.write_ceilings(ceiling.map(|below| (heartbeat.worker, below)), disk);
                    let stop = self.stopped_at.map(|at| (heartbeat.worker, Down::Stop(at)));
                    let answer = self.membership.answer(heartbeat.worker, now_ns);
                    let answer = answer.map(|beat| (beat.worker, Down::Heartbeat(beat)));
                    stop.into_iter().chain(answer).collect()
                }
                Heard::Leaving => Vec::new(),
                Heard::Closed => {
                    let accounts = self.ledger.accounts();
                    let complete = accounts.get(&heartbeat.worker).is_some_and(|one| one.complete);
                    if complete { Vec::new() } else { vec![(heartbeat.worker, Down::Closed)] }
                }
            },
            Up::Part(part) => self.take(&part, now_ns, disk),
            Up::Goodbye(goodbye) => {
                let record = self.membership.depart(goodbye.worker, Some(&goodbye), now_ns);
                record.into_iter().for_each(|record| self.decide(record, disk));
                Vec::new()
            }
        }
    }

    fn take(&mut self, part: &Part, now_ns: u64, disk: &mut Disk) -> Vec<(WorkerId, Down)> {
        match self.ledger.judge(part) {
            Acceptance::Next => {
                if let Err(error) = self.ledger.merge(part) {
                    // A worker of ours never says what cannot be: the model would hide a fault.
                    panic!("{} at {now_ns}: {error}", part.worker);
                }
                let last = part.end.as_ref().is_some_and(|end| end.last);
                let waiting = Waiting::Acknowledge(part.worker, part.sequence, last);
                self.append(disk, Record::Part(part.clone()), Some(waiting));
                Vec::new()
            }
            Acceptance::Repeated => {
                let unsure = self.waiting.iter().filter_map(|(_, waiting)| match waiting {
                    Waiting::Acknowledge(worker, sequence, _) if *worker == part.worker => {
                        Some(*sequence)
                    }
                    _ => None,
                });
                let durable = unsure.min().map_or(self.ledger.accepted(part.worker), |one| one - 1);
                vec![(part.worker, Down::Acknowledge(durable))]
            }
            Acceptance::Ahead | Acceptance::Refused => Vec::new(),
        }
    }

    fn write_ceilings(
        &mut self,
        ceilings: impl IntoIterator<Item = (WorkerId, u64)>,
        disk: &mut Disk,
    ) {
        for (worker, below) in ceilings {
            let record = Record::Rounds { worker, below };
            self.append(disk, record, Some(Waiting::Rounds(worker, below)));
        }
    }

    fn decide(&mut self, record: Record, disk: &mut Disk) {
        let Record::Ownership { loss, change } = &record else { panic!("{record:?}") };
        self.ledger.change_owners(loss.as_ref(), change.as_ref());
        let waiting = change.as_ref().map(|change| Waiting::Change(change.epoch));
        self.append(disk, record, waiting);
    }

    /// A rule of the plan speaks, whatever its reason; as the supervisor takes it.
    pub(crate) fn rule_speaks(&mut self, plan: &Plan, now: u64, disk: &mut Disk) {
        let now_ns = self.clock.at(now);
        let Some(at) = self.membership.earliest_end(now_ns) else { return };
        let run_time = self.membership.run_time(now_ns).unwrap_or_default();
        let over = plan.end().is_none_or(|end| end <= at) || self.stops_at.is_some();
        let Some(stage) = plan.stage_at(run_time).filter(|_| !over && !run_time.is_zero()) else {
            return;
        };
        let (rule, figure, limit) = (StopRule::ErrorRate, 1.0, 0.5);
        let reason = StopReason { rule, stage, from_second: 0, to_second: 1, figure, limit };
        let Some(stages) = plan.ended_with(stage) else {
            self.stops_at = Some(at);
            self.membership.end_load(at);
            let record = Record::StoppedByRule { at, reason };
            return self.append(disk, record, Some(Waiting::Stop(at)));
        };
        let planned = plan.stages[usize::from(*stages.end())].end;
        if self.ledger.stage_ends().of(stage).is_some() || planned.is_some_and(|end| end <= at) {
            return;
        }
        let ends: Vec<_> = stages.map(|stage| StageEnd { stage, at }).collect();
        self.membership.hold_load(at);
        self.ledger.end_stages(&ends, &reason);
        let then = Waiting::StageStop(at, ends.clone());
        self.append(disk, Record::StageStopped { ends, reason }, Some(then));
    }

    /// A worker is put out.
    pub(crate) fn condemn(&mut self, worker: WorkerId, now: u64, disk: &mut Disk) {
        let record = self.membership.depart(worker, None, self.clock.at(now));
        record.into_iter().for_each(|record| self.decide(record, disk));
    }

    /// Looks, and hears from the disk.
    pub(crate) fn step(
        &mut self,
        dice: &mut Dice,
        now: u64,
        disk: &mut Disk,
    ) -> Vec<(WorkerId, Down)> {
        let mut said = self.follow(dice, now, disk);
        if now < self.next_look {
            return said;
        }
        self.next_look = now + u64::try_from(LOOK_EVERY.as_nanos()).expect("short");
        let look = self.membership.look(self.clock.at(now));
        look.records.into_iter().for_each(|record| self.decide(record, disk));
        self.write_ceilings(look.ceilings, disk);
        said.extend(look.heartbeats.into_iter().map(|beat| (beat.worker, Down::Heartbeat(beat))));
        said
    }

    fn follow(&mut self, dice: &mut Dice, now: u64, disk: &mut Disk) -> Vec<(WorkerId, Down)> {
        match disk.syncing {
            Some((until, records)) if now >= until => {
                disk.durable = records;
                disk.syncing = None;
            }
            None if disk.records.len() > disk.durable => {
                let slow =
                    if dice.once_in(20) { dice.between(500, 4_000) } else { dice.between(1, 100) };
                disk.syncing = Some((now + slow * MS, disk.records.len()));
            }
            Some(_) | None => {}
        }
        let mut said = Vec::new();
        while self.waiting.front().is_some_and(|(record, _)| *record <= disk.durable) {
            match self.waiting.pop_front() {
                Some((_, Waiting::Acknowledge(worker, sequence, last))) => {
                    said.push((worker, Down::Acknowledge(sequence)));
                    if last {
                        self.membership.complete(worker);
                    }
                }
                Some((_, Waiting::Change(epoch))) => self.membership.written(epoch),
                Some((_, Waiting::Rounds(worker, below))) => {
                    self.membership.raise_ceiling(worker, below);
                }
                Some((_, Waiting::Stop(at))) => self.stopped_at = Some(at),
                Some((_, Waiting::StageStop(at, ends))) => self.membership.end_stages(at, &ends),
                None => {}
            }
        }
        said
    }
}

impl Disk {
    pub(crate) fn has_unsure_change(&self) -> bool {
        let mut unsure = self.records[self.durable..].iter();
        unsure.any(|record| matches!(record, Record::Ownership { change: Some(_), .. }))
    }

    /// The machine stops: what was not synced may be there or not, and then nothing after it.
    pub(crate) fn crash(&mut self, dice: &mut Dice) {
        let unsure = self.records.len() - self.durable;
        let kept = dice.between(0, unsure as u64 + 1);
        self.records.truncate(self.durable + usize::try_from(kept).expect("small"));
        self.durable = self.records.len();
        self.syncing = None;
    }
}
