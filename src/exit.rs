//! Exit codes, and the errors that choose one.

use std::process::ExitCode;

use metrics::{Outcome, RunResult, Status};

/// How the command ends. Where several hold: interrupted, internal, configuration, target, every
/// request failed, invalid, objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The answer can be used.
    Ok,
    /// The surroundings failed (no coordinator, no workers in time, a disk that is full), or there is a fault of ours:
    /// another try may succeed.
    Internal,
    /// Nothing was sent: the configuration or its inputs are unusable.
    BadConfiguration,
    /// An objective was missed, or a rule of a comparison broken.
    SloMissed,
    /// The numbers cannot be trusted.
    Invalid,
    /// No request completed.
    EveryRequestFailed,
    /// The probe found the target not ready.
    TargetNotReady,
    /// By the user; the report is written.
    Interrupted,
}

impl Exit {
    /// Of two the one that counts.
    pub(crate) fn gravest(self, other: Self) -> Self {
        const BY_WEIGHT: [Exit; 8] = [
            Exit::Interrupted,
            Exit::Internal,
            Exit::BadConfiguration,
            Exit::TargetNotReady,
            Exit::EveryRequestFailed,
            Exit::Invalid,
            Exit::SloMissed,
            Exit::Ok,
        ];
        BY_WEIGHT.into_iter().find(|exit| *exit == self || *exit == other).unwrap_or(self)
    }

    /// What a result says.
    pub(crate) fn of(result: &RunResult) -> Self {
        let books = &result.books;
        if result.facts.interrupted {
            Self::Interrupted
        } else if books.completed == 0 && books.failed_total() > 0 {
            Self::EveryRequestFailed
        } else if result.verdict.status == Status::Invalid {
            Self::Invalid
        } else if missed(result) {
            Self::SloMissed
        } else {
            Self::Ok
        }
    }
}

/// Whether the run missed an objective, or a stage or a class one of its own.
fn missed(result: &RunResult) -> bool {
    let of_classes = result.classes.iter().flat_map(|class| &class.window.slos);
    let of_stages = result.stages.iter().flat_map(|stage| &stage.own_slos);
    result
        .overall
        .slos
        .iter()
        .chain(of_stages)
        .chain(of_classes)
        .any(|slo| slo.outcome == Outcome::Missed)
}

impl Exit {
    /// The number that the process ends with.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Internal => 1,
            Self::BadConfiguration => 2,
            Self::SloMissed => 3,
            Self::Invalid => 4,
            Self::EveryRequestFailed => 5,
            Self::TargetNotReady => 6,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// An error that knows its exit code: one clear line a problem.
#[derive(Debug, thiserror::Error)]
#[error("{}", .lines.join("\n"))]
pub(crate) struct Stop {
    exit: Exit,
    lines: Vec<String>,
    may_pass: bool,
}

impl Stop {
    /// One problem a line.
    pub(crate) fn new(exit: Exit, problem: impl ToString) -> Self {
        let lines = problem.to_string().lines().map(str::to_owned).collect();
        Self { exit, lines, may_pass: false }
    }

    /// A run whose workers were not ready: the same run may start another time.
    pub(crate) fn not_started(reason: impl ToString) -> Self {
        Self { may_pass: true, ..Self::new(Exit::Internal, reason) }
    }

    /// Whether another try makes sense.
    pub(crate) fn may_pass(&self) -> bool {
        self.may_pass
    }

    /// How the command would end.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// All problems of a configuration at once.
    pub(crate) fn bad_configuration<E: ToString>(problems: &[E]) -> Self {
        let lines = problems.iter().map(ToString::to_string).collect();
        Self { exit: Exit::BadConfiguration, lines, may_pass: false }
    }
}

/// Prints what went wrong to stderr; the exit code it stands for.
pub(crate) fn explain(error: anyhow::Error) -> Exit {
    match error.downcast::<Stop>() {
        Ok(stop) => {
            for line in &stop.lines {
                eprintln!("error: {line}");
            }
            stop.exit
        }
        Err(error) => {
            eprintln!("error: {}", words(&error));
            Exit::Internal
        }
    }
}

/// An error with its causes, each told once: some errors have their cause in their own words already.
fn words(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |told, cause| {
        if told.contains(&cause) { told } else { format!("{told}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let full = || std::io::Error::other("the disk is full");
        let error = Err::<(), _>(full()).context("cannot write a.json").unwrap_err();
        assert_eq!(words(&error), "cannot write a.json: the disk is full");
        let error = Err::<(), _>(full()).context("cannot write: the disk is full").unwrap_err();
        assert_eq!(words(&error), "cannot write: the disk is full");
    }
}
