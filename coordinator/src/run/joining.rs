//! How a run gets its fleet: registrations, plans, and the start that each accepts.

use protocol::{Assigned, Hello, Refusal, Welcome, WorkerId};

use super::{Command, Ending, Phase, Run, refuse};
use crate::roster::{Role, Standing, wait_for_the_next_run};

impl Run {
    pub(super) fn registered(&mut self, hello: &Hello) -> Vec<Command> {
        match self.phase {
            Phase::Forming | Phase::Assigning | Phase::Armed | Phase::Running => {
                match self.roster.admit(hello) {
                    Ok((welcome, newcomer)) => self.welcomed(welcome, newcomer),
                    Err(refusal) => refuse(refusal),
                }
            }
            Phase::Draining | Phase::Final | Phase::Aborted => refuse(match self.roster.run() {
                Some(_) => wait_for_the_next_run(),
                None => Refusal::for_good("the run is over"),
            }),
        }
    }

    /// Who comes after the ranks were fixed is a spare, and gets its plan at once.
    pub(super) fn welcomed(
        &mut self,
        welcome: Welcome,
        newcomer: Option<WorkerId>,
    ) -> Vec<Command> {
        let mut commands = vec![Command::Welcome(welcome)];
        match (self.phase, newcomer) {
            (Phase::Forming, _) if self.roster.is_full() => {
                self.phase = Phase::Assigning;
                commands.push(Command::Assign(self.roster.fix()));
            }
            (Phase::Assigning | Phase::Armed | Phase::Running, Some(spare)) => {
                commands.push(Command::Assign(vec![(spare, None)]));
            }
            (Phase::Assigning | Phase::Armed | Phase::Running, None)
            | (Phase::Forming | Phase::Draining | Phase::Final | Phase::Aborted, _) => {}
        }
        commands
    }

    pub(super) fn join_deadline(&mut self) -> Vec<Command> {
        match self.phase {
            Phase::Forming if self.roster.is_enough() => {
                self.phase = Phase::Assigning;
                vec![Command::Assign(self.roster.fix())]
            }
            Phase::Forming => {
                let (here, size) = (self.roster.heard(), self.roster.size());
                let (expected, least) = (size.expected, size.minimum);
                self.abort(Ending::NotStarted(format!(
                    "only {here} of {expected} workers came in time, and at least {least} are needed"
                )))
            }
            Phase::Assigning
            | Phase::Armed
            | Phase::Running
            | Phase::Draining
            | Phase::Final
            | Phase::Aborted => Vec::new(),
        }
    }

    pub(super) fn assigned(
        &mut self,
        worker: WorkerId,
        answer: Result<Assigned, Refusal>,
    ) -> Vec<Command> {
        let spare = self.roster.role(worker) == Some(Role::Spare);
        match (self.phase, answer) {
            (Phase::Assigning | Phase::Armed | Phase::Running, Err(_)) if spare => {
                self.lost(worker)
            }
            (Phase::Assigning, Err(refusal)) => {
                let alone = self.roster.len() == 1;
                let whose = if alone { String::new() } else { format!("{worker}: ") };
                self.abort(Ending::Refused(format!("{whose}{refusal}")))
            }
            (Phase::Assigning | Phase::Armed | Phase::Running, Ok(assigned)) => {
                self.ready(worker, assigned)
            }
            (Phase::Armed | Phase::Running, Err(_))
            | (Phase::Forming | Phase::Draining | Phase::Final | Phase::Aborted, _) => Vec::new(),
        }
    }

    /// Owners start together; a spare that is ready later is told the same start.
    pub(super) fn ready(&mut self, worker: WorkerId, assigned: Assigned) -> Vec<Command> {
        if !self.roster.advance(worker, Standing::Assigned) {
            return Vec::new();
        }
        if let Some(member) = self.roster.member_mut(worker) {
            member.assigned = Some(assigned);
        }
        if self.phase != Phase::Assigning {
            return vec![Command::Arm(vec![worker])];
        }
        if !self.roster.all(Standing::Assigned) {
            return Vec::new();
        }
        self.phase = Phase::Armed;
        vec![Command::Arm(self.roster.at(Standing::Assigned))]
    }

    pub(super) fn armed(&mut self, worker: WorkerId, answer: Result<(), Refusal>) -> Vec<Command> {
        let spare = self.roster.role(worker) == Some(Role::Spare);
        match (self.phase, answer) {
            (Phase::Armed | Phase::Running, Ok(())) => {
                let all_before = self.roster.all(Standing::Armed);
                let _ = self.roster.advance(worker, Standing::Armed);
                let all = self.roster.all(Standing::Armed);
                if all && !all_before { vec![Command::Grant] } else { Vec::new() }
            }
            (Phase::Armed | Phase::Running, Err(_)) if spare => self.lost(worker),
            (Phase::Armed | Phase::Running, Err(refusal)) => {
                self.abort(Ending::NotStarted(format!("{worker} did not start: {refusal}")))
            }
            (
                Phase::Forming | Phase::Assigning | Phase::Draining | Phase::Final | Phase::Aborted,
                Ok(()) | Err(_),
            ) => Vec::new(),
        }
    }
}
