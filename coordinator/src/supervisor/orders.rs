//! How the supervisor carries out what [`crate::Run`] decided.
//!
//! Calls to workers run in tasks of their own and come back as messages; every one has a deadline.

use std::{ops::RangeInclusive, time::Duration};

use metrics::{NotSent, StopReason};
use protocol::{
    Abort, Arm, Armed, Assigned, Assignment, Over, Peer, PeerError, Record, Refusal, StageEnd,
    Stop, Wire, WorkerId, WorkerMessage,
};
use ractor::{ActorProcessingErr, ActorRef, ActorStatus, BytesConvertable, RpcReplyPort};
use tokio::time::Instant;
use workload::{Plan, Shard};

use super::{Finished, SupervisorMessage, SupervisorState};
use crate::{
    Command, Ending, Event, clock::Now, journal_writer::JournalWriter, ledger_actor::LedgerMessage,
};

/// How long a worker may take to read its inputs (a tokenizer, an index of a large data set).
const ASSIGN_DEADLINE: Duration = Duration::from_secs(120);
/// How long a worker may take to accept the start.
const ARM_DEADLINE: Duration = Duration::from_secs(2);
/// Between two questions to one whose connection broke.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Time for cancelled streams' books to arrive, and for a drain to end after its own deadline.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl SupervisorState {
    pub(super) async fn carry_out(&mut self, command: Command) -> Result<(), ActorProcessingErr> {
        match command {
            Command::Welcome(_) => {}
            Command::Assign(shards) => self.assign(shards).await?,
            Command::Arm(workers) => self.arm(workers).await?,
            Command::Grant => self.grant(),
            Command::Stop { at } => self.stop(at).await?,
            Command::Cancel(reason) => self.cancel(&reason),
            Command::Finish(ending) => self.finish(ending).await?,
        }
        Ok(())
    }

    /// Writes down who has which rank, and who is a spare; then sends everybody the plan.
    async fn assign(
        &mut self,
        shards: Vec<(WorkerId, Option<Shard>)>,
    ) -> Result<(), ActorProcessingErr> {
        let host = |worker| {
            let member = self.run.roster().members().find(|member| member.id == worker);
            (worker, member.map_or_else(String::new, |member| member.host.clone()))
        };
        let (ranks, spares): (Vec<_>, Vec<_>) =
            shards.iter().partition(|(_, shard)| shard.is_some());
        let ranks: Vec<_> = ranks.into_iter().map(|(worker, _)| host(worker)).collect();
        let mut records: Vec<Record> = Vec::new();
        if !ranks.is_empty() {
            self.membership.own(&ranks.iter().map(|(worker, _)| *worker).collect::<Vec<_>>());
            let any_round = self.membership.grants_any_round();
            let unlimited = ranks.iter().filter(|_| any_round);
            let unlimited =
                unlimited.map(|(worker, _)| Record::Rounds { worker: *worker, below: u64::MAX });
            let unlimited: Vec<_> = unlimited.collect();
            records.push(Record::Roster(ranks));
            records.extend(unlimited);
        }
        records.extend(spares.into_iter().map(|(worker, _)| {
            let (worker, host) = host(worker);
            Record::Spare { worker, host }
        }));
        for record in records {
            self.append(record).await?;
        }
        for (worker, shard) in shards {
            let Some(peer) = self.peers.get(&worker).cloned() else { continue };
            let plan = Box::new(Plan::clone(&self.plan));
            let inputs = self.inputs.files().to_vec();
            let run = self.run.roster().run();
            let assignment = Assignment { worker, plan, shard, inputs, run };
            let me = self.me.clone();
            tokio::spawn(async move {
                let assign = |reply| WorkerMessage::Assign(Wire::new(assignment.clone()), reply);
                let answer: Result<Assigned, Refusal> =
                    ask(&peer, &me, assign, ASSIGN_DEADLINE).await;
                let _ = me.cast(SupervisorMessage::Assigned(worker, answer));
            });
        }
        Ok(())
    }

    /// Writes the start down before anybody is told of it; again, where the disk took too long over it.
    async fn fix_start(&mut self) -> Result<(Instant, u64), ActorProcessingErr> {
        loop {
            let (now, ahead_ns) = (Now::read(), nanoseconds(self.start_ahead));
            let start = now.instant + self.start_ahead;
            let start_at_coordinator_ns = now.coordinator_ns + ahead_ns;
            let start_unix_ns = now.unix_ns + i64::try_from(ahead_ns).unwrap_or(0);
            self.start = Some(start);
            self.start_unix_ns = Some(start_unix_ns);
            self.append(Record::Arm { start_at_coordinator_ns, start_unix_ns }).await?;
            if start.saturating_duration_since(Instant::now()) >= self.start_ahead / 2 {
                return Ok((start, start_at_coordinator_ns));
            }
            self.start_ahead *= 2;
        }
    }

    async fn arm(&mut self, workers: Vec<WorkerId>) -> Result<(), ActorProcessingErr> {
        let start_at_coordinator_ns = match self.start_at_coordinator_ns {
            Some(fixed) => fixed,
            None => self.first_arm().await?,
        };
        for worker in workers {
            let Some(peer) = self.peers.get(&worker).cloned() else { continue };
            let me = self.me.clone();
            let arm = Arm { start_at_coordinator_ns };
            tokio::spawn(async move {
                let arm = |reply| WorkerMessage::Arm(Wire::new(arm), reply);
                let answer: Result<Armed, Refusal> = ask(&peer, &me, arm, ARM_DEADLINE).await;
                let _ = me.cast(SupervisorMessage::Armed(worker, answer));
            });
        }
        Ok(())
    }

    /// Who owns what is fixed with the start.
    async fn first_arm(&mut self) -> Result<u64, ActorProcessingErr> {
        if let Some(ownership) = self.membership.ownership() {
            self.ledger.cast(LedgerMessage::Own(ownership.clone()))?;
        }
        let (start, start_at_coordinator_ns) = self.fix_start().await?;
        self.start_at_coordinator_ns = Some(start_at_coordinator_ns);
        self.at(start, Event::Started);
        self.time_the_end(start);
        Ok(start_at_coordinator_ns)
    }

    pub(super) fn time_the_end(&self, start: Instant) {
        if let Some(end) = self.plan.end() {
            self.at(start + end, Event::LoadEnded);
            self.drain_until(start + end + self.plan.drain);
        }
    }

    /// Everybody is armed: the first leases go out before the start.
    fn grant(&mut self) {
        if let Some(start_ns) = self.start_at_coordinator_ns {
            self.membership.open(start_ns);
            self.beat();
        }
    }

    /// A rule ends the load, unless something has ended it already or it ends by itself before that.
    pub(super) async fn rule_spoke(
        &mut self,
        reason: StopReason,
    ) -> Result<(), ActorProcessingErr> {
        let Some(at) = self.membership.earliest_end(self.clock.now_ns()) else { return Ok(()) };
        let over = self.plan.end().is_some_and(|end| end <= at);
        if over || self.stopped_at.is_some() || self.stop_reason.is_some() {
            return Ok(());
        }
        if let Some(stages) = self.plan.ended_with(reason.stage) {
            return self.end_stages(stages, at, reason).await;
        }
        tracing::warn!(%reason, ?at, "a rule ends the load");
        self.stop_reason = Some(reason);
        self.happen(Event::RuleSpoke(at)).await
    }

    /// A rule of its own ends a stage; the load goes on with the next one, when that was planned to begin.
    async fn end_stages(
        &mut self,
        stages: RangeInclusive<u16>,
        at: Duration,
        reason: StopReason,
    ) -> Result<(), ActorProcessingErr> {
        let planned = |stage: u16| self.plan.stages.get(usize::from(stage))?.end;
        if planned(*stages.end()).is_some_and(|end| end <= at) {
            return Ok(());
        }
        tracing::warn!(%reason, ?at, "a rule ends its stage");
        let ends: Vec<_> = stages.map(|stage| StageEnd { stage, at }).collect();
        self.membership.hold_load(at);
        let then = SupervisorMessage::StageStopWritten(at, ends.clone());
        self.write_down(Record::StageStopped { ends, reason }, Some(then)).await
    }

    async fn stop(&mut self, at: Duration) -> Result<(), ActorProcessingErr> {
        // From now on, whoever hears of it or not.
        self.membership.end_load(at);
        let Some(reason) = self.stop_reason.clone() else {
            // Told first: a slow disk must not keep the load going.
            self.tell_stop(at);
            return self.write_down(Record::Stop { at }, None).await;
        };
        // On disk first: it has time, and who resumes must know it.
        let then = SupervisorMessage::StopWritten(at);
        self.write_down(Record::StoppedByRule { at, reason }, Some(then)).await
    }

    pub(super) fn tell_stop(&mut self, at: Duration) {
        self.stopped_at = Some(at);
        for worker in self.peers.keys() {
            self.stop_again(*worker);
        }
        if let Some(start) = self.start {
            self.drain_until(start + at + self.plan.drain);
        }
    }

    /// A stop may have been lost with a connection or with the coordinator that gave it; it changes nothing
    /// where it is known.
    pub(super) fn stop_again(&self, worker: WorkerId) {
        if let Some(at) = self.stopped_at {
            let reason = match self.stop_reason {
                Some(_) => NotSent::Stopped,
                None => NotSent::Interrupted,
            };
            let stop = Stop { at, grace: self.plan.drain, reason };
            self.tell(worker, WorkerMessage::Stop(Wire::new(stop)));
        }
    }

    fn cancel(&self, reason: &str) {
        for peer in self.peers.values() {
            let abort = Abort { reason: reason.to_owned() };
            let _ = peer.send(WorkerMessage::Abort(Wire::new(abort)));
        }
        self.drain_until(Instant::now());
    }

    pub(super) fn drain_until(&self, deadline: Instant) {
        self.at(deadline + LAST_WORDS, Event::DrainDeadline);
    }

    fn at(&self, instant: Instant, event: Event) {
        let me = self.me.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(instant).await;
            let _ = me.cast(SupervisorMessage::Happened(event));
        });
    }

    async fn finish(&mut self, ending: Ending) -> Result<(), ActorProcessingErr> {
        let open = if self.run.began() {
            self.membership.abandon(self.clock.now_ns())
        } else {
            Vec::new()
        };
        for lost in open {
            // A journal that fails is told by the last record.
            let _ = ractor::call!(self.ledger, LedgerMessage::Decide, Box::new(lost))?;
        }
        let ending = match (self.append_unchecked(Record::End).await, ending) {
            (Err(reason), Ending::Completed) => Ending::Degraded(reason),
            (Ok(()) | Err(_), ending) => ending,
        };
        self.tell_the_end(&ending);
        let ledger = ractor::call!(self.ledger, LedgerMessage::Close)?;
        let finished = Finished {
            ending,
            ledger,
            roster: self.run.roster().clone(),
            start_unix_ns: self.start_unix_ns,
            stop_reason: self.stop_reason.clone(),
            stopped_at: if self.run.began() { self.stopped_at } else { Some(Duration::ZERO) },
        };
        let gathers = self.end_gathering();
        if let Some(waiting) = self.finished.take() {
            let _ = waiting.send(finished);
        }
        if !gathers {
            self.me.stop(None);
        }
        Ok(())
    }

    /// Who has had its last word knows by it that it may end; the others wait.
    fn tell_the_end(&self, ending: &Ending) {
        let called_off = match ending {
            Ending::Refused(reason) | Ending::NotStarted(reason) => Some(reason.clone()),
            Ending::Interrupted if !self.run.began() => Some("interrupted".to_owned()),
            Ending::Completed | Ending::Interrupted | Ending::Degraded(_) => None,
        };
        for worker in self.peers.keys().filter(|worker| !self.run.is_complete(**worker)) {
            let over = Over { called_off: called_off.clone() };
            self.tell(*worker, WorkerMessage::Over(Wire::new(over)));
        }
    }

    /// Returns once the record is on disk; a journal that fails is an event, not an error.
    pub(super) async fn append(&mut self, record: Record) -> Result<(), ActorProcessingErr> {
        if let Err(reason) = self.append_unchecked(record).await {
            self.me.cast(SupervisorMessage::JournalFailed(reason))?;
        }
        Ok(())
    }

    async fn append_unchecked(&self, record: Record) -> Result<(), String> {
        let record = Box::new(record);
        let number = ractor::call!(self.ledger, LedgerMessage::Append, record)
            .map_err(|error| error.to_string())??;
        JournalWriter::wait_for(self.durable.clone(), number).await.map_err(|e| e.to_string())
    }
}

/// A worker whose connection broke dials again, and has the same answer then: it is asked until the deadline, or until
/// the run has ended without it.
async fn ask<T: Send + 'static>(
    peer: &Peer<WorkerMessage>,
    me: &ActorRef<SupervisorMessage>,
    question: impl Fn(RpcReplyPort<Wire<Result<T, Refusal>>>) -> WorkerMessage,
    deadline: Duration,
) -> Result<T, Refusal>
where
    Wire<Result<T, Refusal>>: BytesConvertable,
{
    let end = Instant::now() + deadline;
    loop {
        let answer = peer.ask(&question, end.saturating_duration_since(Instant::now())).await;
        let is_away = matches!(answer, Err(PeerError::Dropped | PeerError::NotConnected));
        let is_waited_for = me.get_status() <= ActorStatus::Running;
        if !is_away || !is_waited_for || Instant::now() + ASK_AGAIN >= end {
            return answered(answer);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Silence and unreadable answers are refusals too.
fn answered<T>(
    answer: Result<Wire<Result<T, Refusal>>, protocol::PeerError>,
) -> Result<T, Refusal> {
    match answer {
        Ok(Wire(Ok(answer))) => answer,
        Ok(Wire(Err(error))) => {
            Err(Refusal::for_good(format!("its answer is unreadable: {error}")))
        }
        Err(error) => Err(Refusal::for_good(error.to_string())),
    }
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
