//! What a run does when workers end: complete, lost, or leaving in order.

use protocol::WorkerId;
use workload::OnWorkerLoss;

use super::{Command, Ending, Phase, Run};
use crate::roster::{Role, Standing};

impl Run {
    /// Before the ranks are fixed a loss is an empty place; before the start an owner's ends the run.
    pub(super) fn lost(&mut self, worker: WorkerId) -> Vec<Command> {
        let spare = self.roster.role(worker) == Some(Role::Spare);
        match self.phase {
            Phase::Assigning | Phase::Armed if !spare => {
                if !self.roster.advance_open(worker, Standing::Lost) {
                    return Vec::new();
                }
                self.abort(Ending::NotStarted(format!("{worker} was lost before the start")))
            }
            Phase::Forming | Phase::Assigning | Phase::Armed => {
                let _ = self.roster.advance_open(worker, Standing::Lost);
                Vec::new()
            }
            Phase::Running | Phase::Draining | Phase::Aborted => {
                if !self.roster.advance_open(worker, Standing::Lost) || spare {
                    return Vec::new();
                }
                self.degrade(format!("{worker} was lost"));
                self.end_on_loss(worker)
            }
            Phase::Final => Vec::new(),
        }
    }

    pub(super) fn end_on_loss(&mut self, worker: WorkerId) -> Vec<Command> {
        let mut commands = Vec::new();
        let ends = self.phase != Phase::Aborted && self.on_loss == OnWorkerLoss::Abort;
        if ends {
            self.phase = Phase::Aborted;
            let why = format!("{worker} was lost, and `fleet.onWorkerLoss` is `abort`");
            commands.push(Command::Cancel(why));
        }
        commands.extend(self.finish_if_all_ended());
        commands
    }

    /// Its last delta is waited for, as everybody's.
    pub(super) fn left(&mut self, worker: WorkerId) -> Vec<Command> {
        match self.phase {
            Phase::Forming | Phase::Assigning | Phase::Armed => self.lost(worker),
            Phase::Running | Phase::Draining | Phase::Aborted => {
                if self.roster.role(worker) == Some(Role::Owner) {
                    self.degrade(format!("{worker} left"));
                }
                Vec::new()
            }
            Phase::Final => Vec::new(),
        }
    }

    pub(super) fn inherited(&mut self, heirs: &[WorkerId]) -> Vec<Command> {
        match self.phase {
            Phase::Running | Phase::Draining | Phase::Aborted => {
                heirs.iter().for_each(|heir| self.roster.inherit(*heir));
            }
            Phase::Forming | Phase::Assigning | Phase::Armed | Phase::Final => {}
        }
        Vec::new()
    }

    pub(super) fn degrade(&mut self, reason: String) {
        if self.ending == Ending::Completed {
            self.ending = Ending::Degraded(reason);
        }
    }

    /// A worker may be done before this process's own timer has said that the run began.
    pub(super) fn complete(&mut self, worker: WorkerId) -> Vec<Command> {
        match self.phase {
            Phase::Forming | Phase::Assigning | Phase::Armed => {
                let _ = self.roster.advance_open(worker, Standing::Complete);
                Vec::new()
            }
            Phase::Running | Phase::Draining | Phase::Aborted => {
                if !self.roster.advance_open(worker, Standing::Complete) {
                    return Vec::new();
                }
                self.finish_if_all_ended()
            }
            Phase::Final => Vec::new(),
        }
    }
}
