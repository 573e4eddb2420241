//! What the supervisor does for those who gather records: it names who is complete, and keeps the door open.
//!
//! A worker that sees no door any more takes its coordinator for dead. So the supervisor lives on while records are
//! fetched, and does nothing: the books are closed.

use protocol::{RecordsTaken, Refusal, Welcome, Wire, WorkerId, WorkerMessage};
use ractor::ActorProcessingErr;
use tokio::sync::mpsc;

use super::{SupervisorMessage, SupervisorState};
use crate::{Standing, gathering::Gather};

impl SupervisorState {
    /// Of a run that was taken over some may have been complete before.
    pub(super) fn gather_by(&mut self, gather: Gather) {
        for worker in self.run.roster().at(Standing::Complete) {
            let _ = gather.complete.send(worker);
        }
        self.gather = Some(gather);
    }

    pub(super) fn gather_from(&self, worker: WorkerId) {
        if let Some(gather) = &self.gather {
            let _ = gather.complete.send(worker);
        }
    }

    /// Nobody else will be complete. Whether somebody is still gathering; where nobody does, nobody waits for it.
    pub(super) fn end_gathering(&mut self) -> bool {
        let Some(gather) = &mut self.gather else {
            for worker in self.run.roster().at(Standing::Complete) {
                let taken = RecordsTaken { worker };
                if self.plan.records.is_some() {
                    self.tell(worker, WorkerMessage::RecordsTaken(Wire::new(taken)));
                }
            }
            return false;
        };
        // Closed for its receiver by this: a channel ends with its last sender.
        gather.complete = mpsc::unbounded_channel().0;
        true
    }

    /// Only who comes too late is answered, and a user who waits no longer is heard.
    pub(super) fn after_the_end(
        &mut self,
        message: SupervisorMessage,
    ) -> Result<(), ActorProcessingErr> {
        match (message, &self.gather) {
            (SupervisorMessage::Register(_, reply), _) => {
                let refusal = Refusal::for_good("the run is over");
                let _ = reply.send(Wire::new(Welcome::Refused(refusal)));
            }
            (SupervisorMessage::Interrupt, Some(gather)) => {
                let _ = gather.enough.send(true);
            }
            _ => {}
        }
        Ok(())
    }
}
