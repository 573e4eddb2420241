//! What a worker says when it ends, and with which exit code.

use worker::{Happening, Leaving, Worker, WorkerError};

use crate::exit::{Exit, Stop};

/// Whether a worker has its place, as its career knows it.
///
/// # Errors
/// It could not start at all.
pub(super) fn of_registration(
    registered: Result<Worker, WorkerError>,
) -> Result<(Option<Worker>, Happening), Stop> {
    match registered {
        Ok(worker) => Ok((Some(worker), Happening::Placed)),
        Err(WorkerError::Refused(refusal)) => Ok((None, Happening::Refused(refusal.to_string()))),
        Err(WorkerError::Dismissed) => Ok((None, Happening::Dismissed)),
        Err(error @ (WorkerError::Start(_) | WorkerError::Thread(_))) => {
            Err(Stop::new(Exit::Internal, error))
        }
    }
}

/// The last words to the user, who reads them on stderr.
pub(super) fn exit(leaving: Leaving, coordinator: &str) -> anyhow::Result<Exit> {
    let (exit, line) = match leaving {
        Leaving::Done => return Ok(Exit::Ok),
        Leaving::RunOver => return well("the run is over"),
        Leaving::LastRunOver => return well("the last run is over"),
        Leaving::CalledOff(reason) => (Exit::Internal, format!("no load was offered: {reason}")),
        Leaving::Refused(reason) => {
            (Exit::BadConfiguration, format!("the coordinator refused this worker: {reason}"))
        }
        Leaving::NoPlace(limit) => (
            Exit::Internal,
            format!("the coordinator at {coordinator} gave no place within {limit:?}"),
        ),
        Leaving::NeverCameBack(limit) => (
            Exit::Internal,
            format!(
                "no word of the coordinator at {coordinator} for {limit:?}, between two of its runs"
            ),
        ),
        Leaving::Orphaned => {
            (Exit::Internal, format!("no word of the coordinator at {coordinator} for too long"))
        }
        Leaving::Failed => {
            (Exit::Internal, "a part of this worker failed; the lines above say which".to_owned())
        }
        Leaving::LeftInOrder => {
            (Exit::Interrupted, "interrupted: it has left its run in order".to_owned())
        }
        Leaving::Interrupted => {
            (Exit::Interrupted, "interrupted: this worker is gone without a word".to_owned())
        }
        Leaving::InterruptedBetweenRuns => {
            (Exit::Interrupted, "interrupted between two runs: it had no part in either".to_owned())
        }
    };
    Err(Stop::new(exit, line).into())
}

fn well(line: &str) -> anyhow::Result<Exit> {
    eprintln!("{line}");
    Ok(Exit::Ok)
}
