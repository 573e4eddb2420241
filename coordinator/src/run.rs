//! The phases of a run, as a pure state machine.
//!
//! `Forming → Assigning → Armed → Running → Draining → Final`, or `Aborted` from any of them. Each event
//! has one function, and each function lists every phase: a late or repeated message changes nothing,
//! and a new phase does not compile until somebody has said what it means everywhere.

mod joining;
mod losses;

use std::time::Duration;

pub use metrics::Phase;
use protocol::{Assigned, Hello, Refusal, Welcome, WorkerId};
use workload::{OnWorkerLoss, Shard};

use crate::{
    Roster,
    roster::{FleetSize, Standing},
};

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker asks for a place.
    Registered(Hello),
    /// The fleet is still incomplete at the deadline.
    JoinDeadline,
    /// A worker has read its inputs, or refuses the plan.
    Assigned(WorkerId, Result<Assigned, Refusal>),
    /// A worker will start at the agreed instant, or refuses.
    Armed(WorkerId, Result<(), Refusal>),
    /// Another coordinator's run goes on here.
    Resumed,
    /// The agreed instant has come.
    Started,
    /// The plan has nothing due any more.
    LoadEnded,
    /// A worker's last delta is on disk.
    LastDelta(WorkerId),
    /// A worker has been unheard for too long, or what it said cannot be.
    Lost(WorkerId),
    /// A worker leaves in order; its last delta follows.
    Left(WorkerId),
    /// Workers took over from a lost one: their ends are waited for too.
    Inherited(Vec<WorkerId>),
    /// A rule ends the load at this run time.
    RuleSpoke(Duration),
    /// The user asked for an end; run time, `None` before the start.
    Interrupted(Option<Duration>),
    /// The journal cannot be written any more; run time, `None` before the start.
    JournalFailed(Option<Duration>, String),
    /// Workers had their time to drain and are not complete.
    DrainDeadline,
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Answer a registration.
    Welcome(Welcome),
    /// Send these workers the plan and their shard; a spare has none.
    Assign(Vec<(WorkerId, Option<Shard>)>),
    /// Fix the start if it is not fixed, write it down, tell these workers.
    Arm(Vec<WorkerId>),
    /// Everybody who owns some of the load has accepted the start: grant leases.
    Grant,
    /// Nothing due at or after this run time is offered; open streams get the grace.
    Stop {
        /// Run time.
        at: Duration,
    },
    /// Cancel everything now; the workers still ship what they recorded.
    Cancel(String),
    /// Close the books.
    Finish(Ending),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Completed,
    /// By the user; what was due until then is in the books.
    Interrupted,
    /// Without what it needs to go on; what was recorded is kept and marked.
    Degraded(String),
    /// A worker cannot run this plan; no load was offered.
    Refused(String),
    /// Before any load was offered.
    NotStarted(String),
}

/// A run's phase and fleet.
#[derive(Debug)]
pub struct Run {
    phase: Phase,
    roster: Roster,
    on_loss: OnWorkerLoss,
    ending: Ending,
    began: bool,
}

impl Run {
    /// A run that waits for workers of one build.
    #[must_use]
    pub fn new(size: FleetSize, on_loss: OnWorkerLoss, build: String) -> Self {
        Self {
            phase: Phase::Forming,
            roster: Roster::new(size, build),
            on_loss,
            ending: Ending::Completed,
            began: false,
        }
    }

    /// A run that another coordinator began: the load goes on, unless it was `stopped`, and the result is marked.
    #[must_use]
    pub fn resumed(roster: Roster, on_loss: OnWorkerLoss, stopped: Option<Duration>) -> Self {
        let ending = Ending::Degraded("another coordinator had to take over".to_owned());
        let phase = if stopped.is_some() { Phase::Draining } else { Phase::Running };
        Self { phase, roster, on_loss, ending, began: true }
    }

    /// One run of many: see [`protocol::Assignment::run`].
    #[must_use]
    pub fn of_many(mut self, run: Option<u64>) -> Self {
        self.roster = self.roster.of_run(run);
        self
    }

    /// Whether load was offered at all.
    #[must_use]
    pub fn began(&self) -> bool {
        self.began
    }

    /// Where the run is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The fleet.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Whether a worker's last delta is on disk.
    #[must_use]
    pub fn is_complete(&self, worker: WorkerId) -> bool {
        self.roster.at(Standing::Complete).contains(&worker)
    }

    /// Takes a worker's clock reading; whether it is a new one of a worker that has its start (a repeated one
    /// has only a grown error).
    pub fn clock(&mut self, worker: WorkerId, offset_ns: i64, error_ns: u64) -> bool {
        let Some(member) = self.roster.member_mut(worker) else { return false };
        let is_new = member.clock.is_none_or(|(known, _)| known != offset_ns);
        if is_new {
            member.clock = Some((offset_ns, error_ns));
        }
        is_new && member.standing == Standing::Armed
    }

    /// Takes an event; says what to do, in order.
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Registered(hello) => self.registered(&hello),
            Event::JoinDeadline => self.join_deadline(),
            Event::Assigned(worker, answer) => self.assigned(worker, answer),
            Event::Armed(worker, answer) => self.armed(worker, answer),
            Event::Resumed => self.finish_if_all_ended(),
            Event::Started => self.started(),
            Event::LoadEnded => self.load_ended(),
            Event::LastDelta(worker) => self.complete(worker),
            Event::Lost(worker) => self.lost(worker),
            Event::Left(worker) => self.left(worker),
            Event::Inherited(heirs) => self.inherited(&heirs),
            Event::RuleSpoke(at) => self.rule_spoke(at),
            Event::Interrupted(at) => self.interrupted(at),
            Event::JournalFailed(at, error) => self.journal_failed(at, error),
            Event::DrainDeadline => self.drain_deadline(),
        }
    }

    fn started(&mut self) -> Vec<Command> {
        match self.phase {
            Phase::Armed if self.roster.all(Standing::Armed) => {
                self.phase = Phase::Running;
                self.began = true;
                self.finish_if_all_ended()
            }
            Phase::Armed => {
                let why = "not every worker answered before the start".to_owned();
                self.abort(Ending::NotStarted(why))
            }
            Phase::Forming
            | Phase::Assigning
            | Phase::Running
            | Phase::Draining
            | Phase::Final
            | Phase::Aborted => Vec::new(),
        }
    }

    fn load_ended(&mut self) -> Vec<Command> {
        match self.phase {
            Phase::Running => self.phase = Phase::Draining,
            Phase::Forming
            | Phase::Assigning
            | Phase::Armed
            | Phase::Draining
            | Phase::Final
            | Phase::Aborted => {}
        }
        Vec::new()
    }

    /// A run that ends by its own rule ends as planned. Who has not started, or ends already, needs no rule.
    fn rule_spoke(&mut self, at: Duration) -> Vec<Command> {
        match self.phase {
            Phase::Running => {
                self.phase = Phase::Draining;
                vec![Command::Stop { at }]
            }
            Phase::Forming
            | Phase::Assigning
            | Phase::Armed
            | Phase::Draining
            | Phase::Final
            | Phase::Aborted => Vec::new(),
        }
    }

    fn interrupted(&mut self, at: Option<Duration>) -> Vec<Command> {
        match (self.phase, at) {
            (Phase::Forming | Phase::Assigning | Phase::Armed, _) | (Phase::Running, None) => {
                self.abort(Ending::Interrupted)
            }
            (Phase::Running, Some(at)) => {
                self.phase = Phase::Draining;
                self.ending = Ending::Interrupted;
                vec![Command::Stop { at }]
            }
            (Phase::Draining, _) => {
                self.phase = Phase::Aborted;
                self.ending = Ending::Interrupted;
                vec![Command::Cancel("interrupted".to_owned())]
            }
            (Phase::Final | Phase::Aborted, _) => Vec::new(),
        }
    }

    fn journal_failed(&mut self, at: Option<Duration>, error: String) -> Vec<Command> {
        match self.phase {
            Phase::Forming | Phase::Assigning | Phase::Armed => {
                self.abort(Ending::NotStarted(error))
            }
            Phase::Running | Phase::Draining | Phase::Aborted => {
                let stop = (self.phase == Phase::Running).then_some(at).flatten();
                self.phase = Phase::Final;
                if self.ending != Ending::Interrupted {
                    self.ending = Ending::Degraded(error.clone());
                }
                let mut commands = vec![Command::Cancel(error)];
                commands.extend(stop.map(|at| Command::Stop { at }));
                commands.push(Command::Finish(self.ending.clone()));
                commands
            }
            Phase::Final => Vec::new(),
        }
    }

    fn drain_deadline(&mut self) -> Vec<Command> {
        match self.phase {
            Phase::Running | Phase::Draining | Phase::Aborted => {
                self.phase = Phase::Final;
                if self.ending == Ending::Completed {
                    self.ending =
                        Ending::Degraded("a worker did not finish its drain in time".to_owned());
                }
                vec![Command::Finish(self.ending.clone())]
            }
            Phase::Forming | Phase::Assigning | Phase::Armed | Phase::Final => Vec::new(),
        }
    }

    /// Before the start nothing was recorded: the run is over at once.
    fn abort(&mut self, ending: Ending) -> Vec<Command> {
        self.phase = Phase::Final;
        self.ending = ending.clone();
        let reason = match &ending {
            Ending::Refused(reason) | Ending::NotStarted(reason) | Ending::Degraded(reason) => {
                reason
            }
            Ending::Interrupted | Ending::Completed => "interrupted before the start",
        };
        vec![Command::Cancel(reason.to_owned()), Command::Finish(ending)]
    }

    fn finish_if_all_ended(&mut self) -> Vec<Command> {
        if !self.roster.all(Standing::Complete) {
            return Vec::new();
        }
        self.phase = Phase::Final;
        vec![Command::Finish(self.ending.clone())]
    }
}

fn refuse(refusal: Refusal) -> Vec<Command> {
    vec![Command::Welcome(Welcome::Refused(refusal))]
}

#[cfg(test)]
mod tests;
