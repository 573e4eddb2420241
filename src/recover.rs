//! `tokenstorm recover`: what a journal holds, for a run whose coordinator died and that nobody went on with.
//!
//! The books are settled as the coordinator itself would have: what its workers reported is there, what they may
//! have sent since is `lost`, and what nobody was permitted to send has no owner.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use coordinator::{Merged, Recovered};
use metrics::{RunFacts, RunOverTime, RunResult};
use protocol::{PROTOCOL_VERSION, read_journal};
use report::ResultsDirectory;
use workload::Plan;

use crate::{
    benchmark::{name_of, schedule_copy},
    exit::{Exit, Stop},
    figures::{Format, present, print, result_of},
};

/// What `recover` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RecoverArgs {
    /// The results directory of the run
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    format: Format,
}

/// Prints the table of what the journal holds, and writes the files that are missing.
pub(crate) fn recover(arguments: &RecoverArgs) -> anyhow::Result<Exit> {
    let directory = ResultsDirectory::open(arguments.directory.clone());
    let Recorded { plan, result } = recorded(&directory)?;
    // One without the other is what a full disk left.
    if ["summary.json", "metrics.json"].iter().all(|name| directory.path().join(name).exists()) {
        print(&result, &plan.collect, arguments.format)?;
        eprintln!("summary.json is there already and stays as it is");
        return Ok(Exit::of(&result));
    }
    present(&result, &directory, &plan.collect, arguments.format)
}

/// What a journal alone says of its run.
struct Recorded {
    plan: Plan,
    result: RunResult,
}

/// The answer of a run that has no other file than its journal.
pub(crate) fn result_of_journal(directory: &Path) -> anyhow::Result<RunResult> {
    Ok(recorded(&ResultsDirectory::open(directory.to_owned()))?.result)
}

/// What a journal holds over time, for a comparison.
pub(crate) fn over_time_of_journal(directory: &Path) -> anyhow::Result<RunOverTime> {
    let Concluded { plan, merged, .. } = concluded(&ResultsDirectory::open(directory.to_owned()))?;
    Ok(merged.record(&plan, RunFacts::default()).into())
}

/// A run whose books are closed.
struct Concluded {
    plan: Plan,
    merged: Merged,
    /// That of the latest thing that the journal tells of.
    ended_at_unix_ns: i64,
}

fn recorded(directory: &ResultsDirectory) -> anyhow::Result<Recorded> {
    let Concluded { plan, merged, ended_at_unix_ns } = concluded(directory)?;
    let id = name_of(&std::path::absolute(directory.path())?);
    let mut result = result_of(&plan, id, &merged)?;
    result.facts.ended_at_unix_ns = ended_at_unix_ns;
    Ok(Recorded { plan, result })
}

fn concluded(directory: &ResultsDirectory) -> anyhow::Result<Concluded> {
    let journal = directory.journal_path();
    let file = File::open(&journal).map_err(|error| unusable(&journal, error))?;
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(unusable(&journal, "its run still goes on").into());
        }
        Err(TryLockError::Error(error)) => return Err(unusable(&journal, error).into()),
    }
    let mut recovered = read(&journal)?;
    if let Some(plan) = &mut recovered.plan {
        read_schedule(plan, directory)?;
    }
    let lasted = i64::try_from(recovered.last_told().as_nanos()).unwrap_or(i64::MAX);
    let (plan, merged) = recovered
        .conclude()
        .ok_or_else(|| unusable(&journal, "its run had not begun: there is nothing to report"))?;
    let started = merged.start_unix_ns.unwrap_or_default();
    Ok(Concluded { plan, merged, ended_at_unix_ns: started.saturating_add(lasted) })
}

/// The plan of a journal whose run is gone on with.
pub(crate) fn plan_of(journal: &Path) -> anyhow::Result<Plan> {
    let plan = read(journal)?.plan;
    let mut plan = *plan.ok_or_else(|| no_journal(journal))?;
    plan.read_schedule().map_err(|problems| Stop::bad_configuration(&problems))?;
    Ok(plan)
}

/// The rows of a plan that goes by a file: from the run's own copy, where there is one.
fn read_schedule(plan: &mut Plan, directory: &ResultsDirectory) -> Result<(), Stop> {
    let Some(schedule) = &plan.schedule else { return Ok(()) };
    let copy = schedule_copy(directory, &schedule.path);
    let read = if copy.exists() { plan.read_schedule_from(&copy) } else { plan.read_schedule() };
    read.map_err(|problems| Stop::bad_configuration(&problems))
}

fn read(journal: &Path) -> anyhow::Result<Recovered> {
    let mut recovered = Recovered::default();
    let tail = read_journal(journal, |record| recovered.take(record));
    let tail = tail.map_err(|error| Stop::new(Exit::BadConfiguration, error))?;
    if recovered.plan.is_none() {
        return Err(no_journal(journal).into());
    }
    if recovered.protocol != PROTOCOL_VERSION {
        let (theirs, ours) = (recovered.protocol, PROTOCOL_VERSION);
        let line = format!("it is of protocol {theirs}, and this program speaks {ours}");
        return Err(unusable(journal, line).into());
    }
    if let Some(tail) = tail {
        let bytes = tail.torn_bytes;
        eprintln!("the last {bytes} bytes of the journal are no whole record and are left out");
    }
    Ok(recovered)
}

fn no_journal(journal: &Path) -> Stop {
    unusable(journal, "it is no journal of a run")
}

fn unusable(journal: &Path, reason: impl std::fmt::Display) -> Stop {
    Stop::new(Exit::BadConfiguration, format!("{}: {reason}", journal.display()))
}
