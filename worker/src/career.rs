//! What a worker process does between its runs: look for a place, work, look for the next one, or leave.
//!
//! A pure state machine; who dials, waits and listens for signals is its caller. Most coordinators lead one run, and the
//! worker ends with its part of it. One that leads many (a sweep, a capacity search) says so with the plan, so nobody
//! has to start workers differently for it: the worker then registers anew for each run and ends when it is told that
//! the last one is over. A coordinator that has died tells nobody, so no wait is without an end: whoever is silent for
//! longer than the worker was told to bear is waited for no more.

use std::time::Duration;

use crate::WorkerEnd;

/// A worker that was counted as lost in the only run comes back, but its run may have ended meanwhile, and its
/// coordinator with it.
const COME_BACK: Duration = Duration::from_secs(15);

/// A worker process's way from its first place to its end.
#[derive(Clone, Debug)]
pub struct Career {
    phase: Phase,
    /// How long the first place may take.
    join: Duration,
    /// How long a coordinator of many runs may be silent between two.
    silence: Duration,
    /// Its coordinator leads many.
    of_many: bool,
    last_run: Option<u64>,
    /// Runs in which it had its part.
    parts: u64,
    /// Why the last run offered no load.
    called_off: Option<String>,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It asks for a place.
    Looking(Wait),
    /// It has one.
    Working,
    /// Its process ends.
    Gone(Leaving),
}

/// How long a place is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// So long in all, whoever answers.
    AtMost(Duration),
    /// As long as the coordinator answers, and for so long when it does not.
    WhileAnswered {
        /// So long without an answer.
        silence: Duration,
    },
}

/// What happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It has a place.
    Placed,
    /// It is refused for good, for this reason.
    Refused(String),
    /// The coordinator has led its last run.
    Dismissed,
    /// What [`Wait`] allows is over.
    WaitOver,
    /// Its part of a run has ended.
    Ended {
        /// How.
        end: WorkerEnd,
        /// Which run of many it was, as its plan said.
        run: Option<u64>,
    },
    /// It was told to end, and has left its run in order.
    LeftInOrder,
    /// It was told to end, and does so at once.
    Told,
}

/// Why its process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It has done its part.
    Done,
    /// The run was over for all, and it had no part, or none that counts.
    RunOver,
    /// The last of many runs is over.
    LastRunOver,
    /// No load was offered, for this reason.
    CalledOff(String),
    /// The coordinator has no place for it, for this reason.
    Refused(String),
    /// There was no place within this time.
    NoPlace(Duration),
    /// A coordinator with more runs to come was silent for this time.
    NeverCameBack(Duration),
    /// It was in the middle of the only run when its coordinator fell silent.
    Orphaned,
    /// A part of it failed.
    Failed,
    /// It was told to end, and has left in order.
    LeftInOrder,
    /// It was told to end while it worked, or while it looked for its first place.
    Interrupted,
    /// It was told to end between two runs: nobody misses it.
    InterruptedBetweenRuns,
}

impl Career {
    /// One that begins: it looks for its first place for as long as `join`, and bears so much `silence` between runs.
    #[must_use]
    pub fn new(join: Duration, silence: Duration) -> Self {
        Self {
            phase: Phase::Looking(Wait::AtMost(join)),
            join,
            silence,
            of_many: false,
            last_run: None,
            parts: 0,
            called_off: None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The run in which it had its last part, for [`crate::WorkerOptions::last_run`].
    #[must_use]
    pub fn last_run(&self) -> Option<u64> {
        self.last_run
    }

    /// Whether it waits for another run after one of many.
    #[must_use]
    pub fn is_between_runs(&self) -> bool {
        self.of_many && matches!(self.phase, Phase::Looking(_))
    }

    /// Takes what happened. Whoever is gone stays so, and what cannot happen in a phase changes nothing.
    pub fn on(&mut self, happening: Happening) {
        let next = match self.phase.clone() {
            Phase::Looking(wait) => self.looking(wait, happening),
            Phase::Working => self.working(happening),
            Phase::Gone(_) => None,
        };
        if let Some(next) = next {
            self.phase = next;
        }
    }

    fn looking(&mut self, wait: Wait, happening: Happening) -> Option<Phase> {
        Some(match happening {
            Happening::Placed => Phase::Working,
            Happening::Refused(reason) => Phase::Gone(Leaving::Refused(reason)),
            Happening::Dismissed => Phase::Gone(self.dismissed()),
            Happening::WaitOver => Phase::Gone(match wait {
                Wait::AtMost(limit) => Leaving::NoPlace(limit),
                Wait::WhileAnswered { silence } => Leaving::NeverCameBack(silence),
            }),
            Happening::Told => Phase::Gone(if self.of_many {
                Leaving::InterruptedBetweenRuns
            } else {
                Leaving::Interrupted
            }),
            Happening::Ended { .. } | Happening::LeftInOrder => return None,
        })
    }

    fn working(&mut self, happening: Happening) -> Option<Phase> {
        Some(match happening {
            Happening::Ended { end, run } => self.ended(end, run),
            Happening::LeftInOrder => Phase::Gone(Leaving::LeftInOrder),
            Happening::Told => Phase::Gone(Leaving::Interrupted),
            Happening::Placed
            | Happening::Refused(_)
            | Happening::Dismissed
            | Happening::WaitOver => return None,
        })
    }

    /// A plan that never came says nothing: whoever leads many once does so to the end.
    fn ended(&mut self, end: WorkerEnd, run: Option<u64>) -> Phase {
        self.of_many |= run.is_some();
        let had_its_part = matches!(end, WorkerEnd::Complete | WorkerEnd::Over);
        if had_its_part {
            self.parts += 1;
            self.called_off = None;
        }
        if had_its_part || matches!(end, WorkerEnd::CalledOff(_)) {
            self.last_run = run.or(self.last_run);
        }
        let leaving = match end {
            WorkerEnd::Complete => Leaving::Done,
            WorkerEnd::Over => Leaving::RunOver,
            WorkerEnd::CalledOff(reason) => {
                self.called_off = Some(reason.clone());
                Leaving::CalledOff(reason)
            }
            WorkerEnd::Orphaned => Leaving::Orphaned,
            WorkerEnd::Closed if self.of_many => return self.looks_for_the_next(),
            WorkerEnd::Closed => return Phase::Looking(Wait::AtMost(self.join.min(COME_BACK))),
            WorkerEnd::Left => return Phase::Gone(Leaving::Done),
            WorkerEnd::Failed => return Phase::Gone(Leaving::Failed),
        };
        if self.of_many { self.looks_for_the_next() } else { Phase::Gone(leaving) }
    }

    fn looks_for_the_next(&self) -> Phase {
        Phase::Looking(Wait::WhileAnswered { silence: self.silence })
    }

    /// Who never had a part says why.
    fn dismissed(&mut self) -> Leaving {
        match self.called_off.take() {
            Some(reason) if self.parts == 0 => Leaving::CalledOff(reason),
            Some(_) | None => Leaving::LastRunOver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOIN: Duration = Duration::from_secs(600);
    const SILENCE: Duration = Duration::from_secs(60);

    fn career(happenings: impl IntoIterator<Item = Happening>) -> Career {
        let mut career = Career::new(JOIN, SILENCE);
        happenings.into_iter().for_each(|happening| career.on(happening));
        career
    }

    fn ended(end: WorkerEnd, run: Option<u64>) -> [Happening; 2] {
        [Happening::Placed, Happening::Ended { end, run }]
    }

    fn leaving(happenings: impl IntoIterator<Item = Happening>) -> Leaving {
        match career(happenings).phase() {
            Phase::Gone(leaving) => leaving.clone(),
            other => panic!("it is not gone: {other:?}"),
        }
    }

    #[test]
    fn a_worker_of_one_run_ends_with_its_part() {
        let first = career([]);
        assert_eq!(first.phase(), &Phase::Looking(Wait::AtMost(JOIN)));
        assert_eq!(leaving(ended(WorkerEnd::Complete, None)), Leaving::Done);
        assert_eq!(leaving(ended(WorkerEnd::Over, None)), Leaving::RunOver);
        assert_eq!(leaving(ended(WorkerEnd::Orphaned, None)), Leaving::Orphaned);
        let why = "a worker was lost before the start".to_owned();
        let called_off = WorkerEnd::CalledOff(why.clone());
        assert_eq!(leaving(ended(called_off, None)), Leaving::CalledOff(why));
    }

    #[test]
    fn a_worker_of_many_waits_for_the_next_run_however_the_last_one_ended() {
        let called_off = WorkerEnd::CalledOff("interrupted".to_owned());
        for end in [
            WorkerEnd::Complete,
            WorkerEnd::Over,
            WorkerEnd::Orphaned,
            WorkerEnd::Closed,
            called_off,
        ] {
            let waiting = career(ended(end.clone(), Some(7)));
            let wait = Phase::Looking(Wait::WhileAnswered { silence: SILENCE });
            assert_eq!(waiting.phase(), &wait, "{end:?}");
            assert!(waiting.is_between_runs());
        }
    }

    #[test]
    fn it_names_the_run_that_it_has_had_and_not_one_in_which_it_may_help_again() {
        let of = |end| career(ended(end, Some(7))).last_run();
        assert_eq!(of(WorkerEnd::Complete), Some(7));
        assert_eq!(of(WorkerEnd::Over), Some(7));
        assert_eq!(of(WorkerEnd::CalledOff(String::new())), Some(7));
        assert_eq!(of(WorkerEnd::Closed), None, "it comes back as a spare of the same run");
        assert_eq!(of(WorkerEnd::Orphaned), None, "its coordinator may resume that run");
    }

    #[test]
    fn what_led_many_once_leads_many_to_the_end() {
        let both = [ended(WorkerEnd::Complete, Some(7)), ended(WorkerEnd::Over, None)].concat();
        let career = career(both);
        assert!(career.is_between_runs(), "it had no plan when the next run was called off");
        assert_eq!(career.last_run(), Some(7));
    }

    #[test]
    fn the_end_of_the_last_run_is_a_good_end_for_whoever_had_a_part() {
        let called_off = || ended(WorkerEnd::CalledOff("no".to_owned()), Some(8));
        let good = ended(WorkerEnd::Complete, Some(7)).into_iter().chain(called_off());
        assert_eq!(leaving(good.chain([Happening::Dismissed])), Leaving::LastRunOver);
        let none = called_off().into_iter().chain([Happening::Dismissed]);
        assert_eq!(leaving(none), Leaving::CalledOff("no".to_owned()));
        assert_eq!(leaving([Happening::Dismissed]), Leaving::LastRunOver, "it came too late");
    }

    #[test]
    fn no_wait_is_without_an_end() {
        assert_eq!(leaving([Happening::WaitOver]), Leaving::NoPlace(JOIN));
        let between = ended(WorkerEnd::Complete, Some(7)).into_iter();
        assert_eq!(leaving(between.chain([Happening::WaitOver])), Leaving::NeverCameBack(SILENCE));
        let lost = ended(WorkerEnd::Closed, None).into_iter();
        assert_eq!(leaving(lost.chain([Happening::WaitOver])), Leaving::NoPlace(COME_BACK));
    }

    #[test]
    fn a_signal_is_told_by_what_it_interrupts() {
        assert_eq!(leaving([Happening::Told]), Leaving::Interrupted);
        assert_eq!(leaving([Happening::Placed, Happening::Told]), Leaving::Interrupted);
        assert_eq!(leaving([Happening::Placed, Happening::LeftInOrder]), Leaving::LeftInOrder);
        let between = ended(WorkerEnd::Complete, Some(7)).into_iter();
        assert_eq!(leaving(between.chain([Happening::Told])), Leaving::InterruptedBetweenRuns);
    }

    #[test]
    fn whoever_is_gone_stays_so_and_what_cannot_happen_changes_nothing() {
        let gone = [Happening::Told, Happening::Placed, Happening::Dismissed];
        assert_eq!(leaving(gone), Leaving::Interrupted);
        let end = Happening::Ended { end: WorkerEnd::Complete, run: None };
        assert_eq!(career([end]).phase(), &Phase::Looking(Wait::AtMost(JOIN)));
        let working = [Happening::Placed, Happening::Dismissed, Happening::WaitOver];
        assert_eq!(career(working).phase(), &Phase::Working);
    }
}
