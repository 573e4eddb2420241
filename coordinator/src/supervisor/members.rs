//! How the supervisor carries out what [`crate::Membership`] decided.
//!
//! A loss goes to the journal first, with what changes by it; only then is the change told, and at once.
//! The supervisor does not wait for the disk: heartbeats must go out meanwhile.

use std::time::Duration;

use protocol::{Goodbye, Peer, Record, Wire, WorkerId, WorkerMessage, worker_group};
use ractor::ActorProcessingErr;

use super::{Resumed, SupervisorMessage, SupervisorState};
use crate::{Event, Look, clock::Now, journal_writer::JournalWriter, ledger_actor::LedgerMessage};

impl SupervisorState {
    /// Takes up a run that another coordinator began: its workers are spoken to as soon as they have dialled
    /// us, and each has its time to be heard first.
    pub(super) fn go_on(&mut self, resumed: Resumed) -> Result<(), ActorProcessingErr> {
        let now = Now::read();
        let run_ns = now.coordinator_ns.saturating_sub(resumed.start_ns);
        let start = now.instant.checked_sub(Duration::from_nanos(run_ns)).unwrap_or(now.instant);
        self.start = Some(start);
        self.start_at_coordinator_ns = Some(resumed.start_ns);
        self.start_unix_ns = Some(resumed.start_unix_ns);
        self.stopped_at = resumed.stopped_at;
        self.stop_reason = resumed.stop_reason;
        for member in self.run.roster().members() {
            let peer = Peer::of_group(worker_group(member.id.incarnation));
            self.peers.insert(member.id, peer.clone());
            self.ledger.cast(LedgerMessage::Joined(member.id, peer))?;
        }
        self.time_the_end(start);
        if let Some(at) = resumed.stopped_at {
            self.membership.end_load(at);
            self.drain_until(start + at + self.plan.drain);
        }
        Ok(self.me.cast(SupervisorMessage::Happened(Event::Resumed))?)
    }

    /// Half a second has passed.
    pub(super) async fn look(&mut self) -> Result<(), ActorProcessingErr> {
        let Look { records, heartbeats, ceilings } = self.membership.look(self.clock.now_ns());
        for beat in heartbeats {
            self.tell(beat.worker, WorkerMessage::Heartbeat(Wire::new(beat)));
        }
        for record in records {
            self.decide(record, Event::Lost).await?;
        }
        for (worker, below) in ceilings {
            self.write_ceiling(worker, below).await?;
        }
        Ok(())
    }

    /// What is granted beyond a ceiling waits for this.
    pub(super) async fn write_ceiling(
        &mut self,
        worker: WorkerId,
        below: u64,
    ) -> Result<(), ActorProcessingErr> {
        let then = SupervisorMessage::RoundsWritten(worker, below);
        self.write_down(Record::Rounds { worker, below }, Some(then)).await
    }

    /// A ceiling is on disk: who waits for it hears so.
    pub(super) fn raise(&mut self, worker: WorkerId, below: u64) {
        self.membership.raise_ceiling(worker, below);
        if let Some(beat) = self.membership.answer(worker, self.clock.now_ns()) {
            self.tell(worker, WorkerMessage::Heartbeat(Wire::new(beat)));
        }
    }

    /// Heartbeats outside of the rhythm.
    pub(super) fn beat(&mut self) {
        for beat in self.membership.heartbeats(self.clock.now_ns()) {
            self.tell(beat.worker, WorkerMessage::Heartbeat(Wire::new(beat)));
        }
    }

    /// A worker leaves, or is put out.
    pub(super) async fn depart(
        &mut self,
        worker: WorkerId,
        goodbye: Option<&Goodbye>,
        event: Event,
    ) -> Result<(), ActorProcessingErr> {
        let record = self.membership.depart(worker, goodbye, self.clock.now_ns());
        match record {
            Some(record) => self.decide(record, |_| event).await,
            None => Ok(()),
        }
    }

    /// Takes one decision: ledger and journal, then the run's phases.
    async fn decide(
        &mut self,
        record: Record,
        event: impl FnOnce(WorkerId) -> Event,
    ) -> Result<(), ActorProcessingErr> {
        let Record::Ownership { loss, change } = record else { return Ok(()) };
        if let Some(loss) = &loss {
            tracing::warn!(worker = %loss.worker, cause = ?loss.cause, "a worker is lost");
        }
        let heirs = change.iter().flat_map(|change| &change.moves).map(|one| one.to).collect();
        let then = change.as_ref().map(|change| SupervisorMessage::Written(change.epoch));
        self.write_down(Record::Ownership { loss, change }, then).await?;
        if let Some(loss) = loss {
            self.happen(event(loss.worker)).await?;
        }
        self.happen(Event::Inherited(heirs)).await
    }

    /// The ledger takes it at once; `then` is told when it is on disk. A slow disk holds up no heartbeat.
    pub(super) async fn write_down(
        &mut self,
        record: Record,
        then: Option<SupervisorMessage>,
    ) -> Result<(), ActorProcessingErr> {
        let written = ractor::call!(self.ledger, LedgerMessage::Decide, Box::new(record))?;
        let number = match written {
            Ok(number) => number,
            Err(reason) => return Ok(self.me.cast(SupervisorMessage::JournalFailed(reason))?),
        };
        let (me, durable) = (self.me.clone(), self.durable.clone());
        tokio::spawn(async move {
            let message = match (JournalWriter::wait_for(durable, number).await, then) {
                (Ok(()), Some(then)) => then,
                (Ok(()), None) => return,
                (Err(error), _) => SupervisorMessage::JournalFailed(error.to_string()),
            };
            let _ = me.cast(message);
        });
        Ok(())
    }
}
