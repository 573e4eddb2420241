//! The phases of a run, as a pure state machine.
//!
//! `Forming → Assigning → Armed → Running → Draining → Final`, or `Aborted` from any of them. Each event
//! has one function, and each function lists every phase: a late or repeated message changes nothing,
//! and a new phase does not compile until somebody has said what it means everywhere.

use std::{num::NonZeroU32, time::Duration};

use protocol::{Assigned, Hello, Refusal, Welcome, WorkerId};
use workload::Shard;

use crate::{Roster, roster::Standing};

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for workers.
    Forming,
    /// Waiting for each to read its inputs.
    Assigning,
    /// The start is agreed on and has not come.
    Armed,
    /// Load is offered.
    Running,
    /// Load has ended or was stopped; open streams are followed.
    Draining,
    /// Every worker's last delta is on disk, or the worker is lost.
    Final,
    /// Ended before its time; what was recorded is kept.
    Aborted,
}

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
    /// The agreed instant has come.
    Started,
    /// The plan has nothing due any more.
    LoadEnded,
    /// A worker's last delta is on disk.
    LastDelta(WorkerId),
    /// A worker has been unheard for too long, or its actor has ended.
    Lost(WorkerId),
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
    /// Send each worker the plan and its shard.
    Assign(Vec<(WorkerId, Shard)>),
    /// Fix the start, write it down, tell everybody.
    Arm(Vec<WorkerId>),
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
    ending: Ending,
    began: bool,
}

impl Run {
    /// A run that waits for `expected` workers of one build.
    #[must_use]
    pub fn new(expected: NonZeroU32, build: String) -> Self {
        Self {
            phase: Phase::Forming,
            roster: Roster::new(expected, build),
            ending: Ending::Completed,
            began: false,
        }
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

    /// Takes a worker's clock reading.
    pub fn clock(&mut self, worker: WorkerId, offset_ns: i64, error_ns: u64) {
        if let Some(member) = self.roster.member_mut(worker) {
            member.clock = Some((offset_ns, error_ns));
        }
    }

    /// Takes an event; says what to do, in order.
    pub fn on(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Registered(hello) => self.registered(&hello),
            Event::JoinDeadline => self.join_deadline(),
            Event::Assigned(worker, answer) => self.assigned(worker, answer),
            Event::Armed(worker, answer) => self.armed(worker, answer),
            Event::Started => self.started(),
            Event::LoadEnded => self.load_ended(),
            Event::LastDelta(worker) => self.ended(worker, Standing::Complete),
            Event::Lost(worker) => self.ended(worker, Standing::Lost),
            Event::Interrupted(at) => self.interrupted(at),
            Event::JournalFailed(at, error) => self.journal_failed(at, error),
            Event::DrainDeadline => self.drain_deadline(),
        }
    }

    fn registered(&mut self, hello: &Hello) -> Vec<Command> {
        match self.phase {
            Phase::Forming => match self.roster.admit(hello) {
                Ok(ordinal) => self.welcomed(ordinal),
                Err(refusal) => vec![Command::Welcome(Welcome::Refused(refusal))],
            },
            Phase::Assigning | Phase::Armed | Phase::Running => refuse("the run has begun"),
            Phase::Draining | Phase::Final | Phase::Aborted => refuse("the run is over"),
        }
    }

    fn welcomed(&mut self, ordinal: u32) -> Vec<Command> {
        let mut commands = vec![Command::Welcome(Welcome::Accepted { ordinal })];
        if self.roster.is_full() {
            self.phase = Phase::Assigning;
            commands.push(Command::Assign(self.roster.shards()));
        }
        commands
    }

    fn join_deadline(&mut self) -> Vec<Command> {
        match self.phase {
            Phase::Forming => {
                let here = self.roster.len();
                self.abort(Ending::NotStarted(format!(
                    "only {here} of the expected workers came in time"
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

    fn assigned(&mut self, worker: WorkerId, answer: Result<Assigned, Refusal>) -> Vec<Command> {
        match (self.phase, answer) {
            (Phase::Assigning, Err(refusal)) => {
                let alone = self.roster.len() == 1;
                let whose = if alone { String::new() } else { format!("{worker}: ") };
                self.abort(Ending::Refused(format!("{whose}{refusal}")))
            }
            (Phase::Assigning, Ok(assigned)) => {
                if !self.roster.advance(worker, Standing::Assigned) {
                    return Vec::new();
                }
                if let Some(member) = self.roster.member_mut(worker) {
                    member.assigned = Some(assigned);
                }
                if !self.roster.all(Standing::Assigned) {
                    return Vec::new();
                }
                self.phase = Phase::Armed;
                vec![Command::Arm(self.roster.members().map(|member| member.id).collect())]
            }
            (
                Phase::Forming
                | Phase::Armed
                | Phase::Running
                | Phase::Draining
                | Phase::Final
                | Phase::Aborted,
                Ok(_) | Err(_),
            ) => Vec::new(),
        }
    }

    fn armed(&mut self, worker: WorkerId, answer: Result<(), Refusal>) -> Vec<Command> {
        match (self.phase, answer) {
            (Phase::Armed | Phase::Running, Ok(())) => {
                let _ = self.roster.advance(worker, Standing::Armed);
                Vec::new()
            }
            (Phase::Armed | Phase::Running, Err(refusal)) => {
                self.abort(Ending::NotStarted(format!("{worker} did not start: {refusal}")))
            }
            (
                Phase::Forming | Phase::Assigning | Phase::Draining | Phase::Final | Phase::Aborted,
                Ok(()) | Err(_),
            ) => Vec::new(),
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

    /// A worker may be done before this process's own timer has said that the run began.
    fn ended(&mut self, worker: WorkerId, standing: Standing) -> Vec<Command> {
        match self.phase {
            Phase::Forming | Phase::Assigning | Phase::Armed => {
                if self.roster.advance_open(worker, standing) && standing == Standing::Lost {
                    let why = format!("{worker} was lost before the start");
                    return self.abort(Ending::NotStarted(why));
                }
                Vec::new()
            }
            Phase::Running | Phase::Draining | Phase::Aborted => {
                if !self.roster.advance_open(worker, standing) {
                    return Vec::new();
                }
                if standing == Standing::Lost && self.ending == Ending::Completed {
                    self.ending = Ending::Degraded(format!("{worker} was lost"));
                }
                self.finish_if_all_ended()
            }
            Phase::Final => Vec::new(),
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

fn refuse(reason: &str) -> Vec<Command> {
    vec![Command::Welcome(Welcome::Refused(Refusal::for_good(reason)))]
}

#[cfg(test)]
mod tests {
    use protocol::PROTOCOL_VERSION;

    use super::*;

    const FIRST: WorkerId = WorkerId { ordinal: 0, incarnation: 100 };
    const SECOND: WorkerId = WorkerId { ordinal: 1, incarnation: 101 };

    fn hello(id: WorkerId) -> Event {
        Event::Registered(Hello {
            protocol: PROTOCOL_VERSION,
            build: "b".to_owned(),
            ordinal: Some(id.ordinal),
            incarnation: id.incarnation,
            host: "h".to_owned(),
            processors: 2,
            epoch: 0,
        })
    }

    fn ready() -> Result<Assigned, Refusal> {
        Ok(Assigned { lanes: 1, tokenizer: None, warnings: Vec::new() })
    }

    fn run_of(expected: u32) -> Run {
        Run::new(NonZeroU32::new(expected).unwrap(), "b".to_owned())
    }

    /// Two workers, brought as far as a phase.
    fn run_in(phase: Phase) -> Run {
        let mut run = run_of(2);
        let script = [
            (Phase::Assigning, vec![hello(FIRST), hello(SECOND)]),
            (Phase::Armed, vec![Event::Assigned(FIRST, ready()), Event::Assigned(SECOND, ready())]),
            (
                Phase::Running,
                vec![Event::Armed(FIRST, Ok(())), Event::Armed(SECOND, Ok(())), Event::Started],
            ),
            (Phase::Draining, vec![Event::Interrupted(Some(Duration::from_secs(3)))]),
            (Phase::Aborted, vec![Event::Interrupted(Some(Duration::from_secs(4)))]),
            (Phase::Final, vec![Event::LastDelta(FIRST), Event::LastDelta(SECOND)]),
        ];
        for (reached, events) in script {
            if run.phase() == phase {
                break;
            }
            for event in events {
                run.on(event);
            }
            assert_eq!(run.phase(), reached);
        }
        run
    }

    const PHASES: [Phase; 7] = [
        Phase::Forming,
        Phase::Assigning,
        Phase::Armed,
        Phase::Running,
        Phase::Draining,
        Phase::Aborted,
        Phase::Final,
    ];

    #[test]
    fn a_run_goes_its_way_and_each_command_comes_once() {
        let mut run = run_of(2);
        assert_eq!(run.on(hello(FIRST)), [Command::Welcome(Welcome::Accepted { ordinal: 0 })]);
        let full = run.on(hello(SECOND));
        assert!(
            matches!(&full[..], [Command::Welcome(_), Command::Assign(shards)] if shards.len() == 2)
        );
        assert!(run.on(Event::Assigned(FIRST, ready())).is_empty());
        assert_eq!(run.on(Event::Assigned(SECOND, ready())), [Command::Arm(vec![FIRST, SECOND])]);
        for worker in [FIRST, SECOND] {
            assert!(run.on(Event::Armed(worker, Ok(()))).is_empty());
        }
        assert!(run.on(Event::Started).is_empty());
        assert!(run.on(Event::LastDelta(FIRST)).is_empty());
        assert_eq!(run.on(Event::LastDelta(SECOND)), [Command::Finish(Ending::Completed)]);
    }

    #[test]
    fn repeated_messages_change_nothing() {
        for (phase, event) in [
            (Phase::Assigning, Event::Assigned(FIRST, ready())),
            (Phase::Armed, Event::Armed(FIRST, Ok(()))),
            (Phase::Running, Event::LastDelta(FIRST)),
            (Phase::Running, Event::Started),
            (Phase::Final, Event::LastDelta(FIRST)),
        ] {
            let mut run = run_in(phase);
            run.on(event.clone());
            let before = format!("{run:?}");
            assert!(run.on(event.clone()).is_empty(), "{event:?} in {phase:?}");
            assert_eq!(format!("{run:?}"), before);
        }
    }

    #[test]
    fn a_late_message_of_an_earlier_phase_changes_nothing() {
        for event in [Event::JoinDeadline, Event::Assigned(FIRST, ready()), Event::Started] {
            let mut run = run_in(Phase::Draining);
            let before = format!("{run:?}");
            assert!(run.on(event).is_empty());
            assert_eq!(format!("{run:?}"), before);
        }
    }

    #[test]
    fn an_unknown_worker_changes_nothing_in_any_phase() {
        let stranger = WorkerId { ordinal: 0, incarnation: 1 };
        for phase in PHASES {
            for event in [Event::LastDelta(stranger), Event::Lost(stranger)] {
                assert!(run_in(phase).on(event).is_empty(), "{phase:?}");
            }
        }
    }

    #[test]
    fn who_comes_too_late_is_told_so() {
        for phase in PHASES.into_iter().skip(1) {
            let stranger = WorkerId { ordinal: 7, incarnation: 7 };
            let commands = run_in(phase).on(hello(stranger));
            assert!(matches!(&commands[..], [Command::Welcome(Welcome::Refused(_))]), "{phase:?}");
        }
    }

    #[test]
    fn an_incomplete_fleet_ends_at_the_deadline() {
        let mut run = run_of(2);
        run.on(hello(FIRST));
        let commands = run.on(Event::JoinDeadline);
        assert!(
            matches!(commands.last(), Some(Command::Finish(Ending::NotStarted(why))) if why.contains("only 1"))
        );
    }

    #[test]
    fn a_worker_that_refuses_the_plan_ends_the_run_with_its_words() {
        let mut run = run_in(Phase::Assigning);
        let refusal = Refusal::for_good("no such file: prompts.jsonl");
        let commands = run.on(Event::Assigned(SECOND, Err(refusal)));
        assert!(
            matches!(commands.last(), Some(Command::Finish(Ending::Refused(why))) if why.contains("prompts.jsonl"))
        );
    }

    #[test]
    fn a_silent_worker_at_the_start_ends_the_run() {
        let mut run = run_in(Phase::Armed);
        run.on(Event::Armed(FIRST, Ok(())));
        assert!(matches!(
            run.on(Event::Started).last(),
            Some(Command::Finish(Ending::NotStarted(_)))
        ));
    }

    #[test]
    fn the_first_interrupt_drains_and_the_second_cancels() {
        let mut run = run_in(Phase::Running);
        let at = Duration::from_secs(9);
        assert_eq!(run.on(Event::Interrupted(Some(at))), [Command::Stop { at }]);
        assert!(matches!(&run.on(Event::Interrupted(Some(at)))[..], [Command::Cancel(_)]));
        assert!(run.on(Event::Interrupted(Some(at))).is_empty());
        run.on(Event::LastDelta(FIRST));
        let commands = run.on(Event::LastDelta(SECOND));
        assert_eq!(commands, [Command::Finish(Ending::Interrupted)]);
    }

    #[test]
    fn an_interrupt_before_the_start_ends_the_run_as_interrupted() {
        for phase in [Phase::Forming, Phase::Assigning, Phase::Armed] {
            let commands = run_in(phase).on(Event::Interrupted(None));
            assert_eq!(commands.last(), Some(&Command::Finish(Ending::Interrupted)), "{phase:?}");
        }
    }

    #[test]
    fn a_lost_worker_is_not_waited_for_and_marks_the_run() {
        let mut run = run_in(Phase::Running);
        assert!(run.on(Event::Lost(FIRST)).is_empty());
        let commands = run.on(Event::LastDelta(SECOND));
        assert!(
            matches!(&commands[..], [Command::Finish(Ending::Degraded(why))] if why.contains("worker 0"))
        );
    }

    #[test]
    fn a_worker_that_is_done_before_the_timer_rings_is_not_forgotten() {
        let mut run = run_in(Phase::Armed);
        for worker in [FIRST, SECOND] {
            run.on(Event::Armed(worker, Ok(())));
            assert!(run.on(Event::LastDelta(worker)).is_empty());
        }
        assert_eq!(run.on(Event::Started), [Command::Finish(Ending::Completed)]);
    }

    #[test]
    fn a_journal_that_fails_while_an_interrupted_run_drains_does_not_hide_the_interrupt() {
        let mut run = run_in(Phase::Draining);
        let commands = run.on(Event::JournalFailed(None, "disk full".to_owned()));
        assert_eq!(commands.last(), Some(&Command::Finish(Ending::Interrupted)));
    }

    #[test]
    fn the_planned_end_is_a_drain() {
        let mut run = run_in(Phase::Running);
        assert!(run.on(Event::LoadEnded).is_empty());
        assert_eq!(run.phase(), Phase::Draining);
    }

    #[test]
    fn a_journal_that_fails_ends_the_run_with_what_is_merged() {
        let mut run = run_in(Phase::Running);
        let commands =
            run.on(Event::JournalFailed(Some(Duration::from_secs(5)), "disk full".to_owned()));
        assert_eq!(
            commands.last(),
            Some(&Command::Finish(Ending::Degraded("disk full".to_owned())))
        );
        assert!(run.on(Event::DrainDeadline).is_empty());
    }

    #[test]
    fn who_does_not_finish_its_drain_is_not_waited_for_for_ever() {
        let mut run = run_in(Phase::Running);
        run.on(Event::LastDelta(FIRST));
        assert!(matches!(
            &run.on(Event::DrainDeadline)[..],
            [Command::Finish(Ending::Degraded(_))]
        ));
    }
}
