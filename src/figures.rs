//! The figures of a run that is over: made of what was merged, printed, and written to its directory.
//!
//! They are printed before anything is written, and pages and pictures come last: what a full disk may cost is a file,
//! never a figure.

use anyhow::Context;
use coordinator::Merged;
use metrics::{RecordsKept, RunFacts, RunResult};
use report::{ResultsDirectory, StoredRun};
use workload::{Api, Plan};

use crate::{
    benchmark::BUILD,
    exit::Exit,
    labels::{self, Labels},
    records, say,
};

/// How the figures are printed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Format {
    /// Print the summary as JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// One of many runs, whose figures are printed together.
    #[arg(skip)]
    pub(crate) quiet: bool,
}

/// The result, with the facts that only the command knows.
pub(crate) fn result_of(plan: &Plan, id: String, merged: &Merged) -> anyhow::Result<RunResult> {
    let facts = RunFacts {
        id,
        name: plan.name.clone(),
        model: plan.target.model.clone().unwrap_or_default(),
        endpoint: plan.target.url.clone(),
        api: match plan.target.api {
            Api::Chat => "chat",
            Api::Completions => "completions",
        }
        .to_owned(),
        streamed: plan.target.stream,
        seed: plan.seed,
        prompt_salt: plan.prompt_salt.to_string(),
        tokenstorm_version: BUILD.to_owned(),
        ..RunFacts::default()
    };
    let mut result = RunResult::build(merged.record(plan, facts))?;
    records::describe(&mut result, plan, merged.records.as_ref());
    Ok(result)
}

/// Prints first: whatever the disk says, the figures have been seen.
pub(crate) fn present(
    result: &RunResult,
    directory: &ResultsDirectory,
    collect: &[String],
    format: Format,
) -> anyhow::Result<Exit> {
    print(result, collect, format)?;
    directory.write_result(result).with_context(|| {
        let path = directory.path().display();
        format!("the figures stand on stdout; with room again, `tokenstorm recover {path}` makes files of what the journal holds")
    })?;
    write_reports(result, directory, format)?;
    Ok(Exit::of(result))
}

/// Labels, note and machine: nothing that was measured.
pub(crate) fn describe(result: &mut RunResult, labels: &Labels) {
    result.facts.labels = labels.by_name();
    result.facts.note = labels.note.clone();
    result.facts.environment = labels::environment();
}

/// The page and the pictures, after the load: what fails here is told, and costs no figure.
fn write_reports(
    result: &RunResult,
    directory: &ResultsDirectory,
    format: Format,
) -> anyhow::Result<()> {
    let run = StoredRun::of(directory.path(), result.clone(), Vec::new());
    let written = directory.write_reports(&run);
    if let Err(error) = &written {
        eprintln!(
            "warning: {error}; the figures are there, and `tokenstorm report` makes the page anew"
        );
    }
    if format.json || format.quiet {
        return Ok(());
    }
    let path = directory.path().display();
    say(&format!("Results: {path}"))?;
    if let Some(told) = &result.telemetry
        && told.spans_sent > 0
        && let Some(endpoint) = &told.endpoint
    {
        say(&format!("Trace:   {} at {endpoint}", told.trace_id))?;
    }
    if written.is_ok() {
        say(&format!("Report:  {path}/report.html, pictures in {path}/plots"))?;
    }
    if let Some(file) = report::records_file(directory.path()) {
        let records = result.records.as_ref().map_or(0, RecordsKept::gathered);
        let folder = file.parent().unwrap_or(directory.path()).display();
        say(&format!("Records: {folder}, {records} requests as JSON lines and as a table"))?;
    }
    Ok(())
}

pub(crate) fn print(result: &RunResult, collect: &[String], format: Format) -> anyhow::Result<()> {
    if format.quiet {
        return Ok(());
    }
    if format.json {
        return Ok(say(&report::summary_json(result)?)?);
    }
    let width = terminal_size::terminal_size().map(|(width, _)| width.0);
    let rows = report::Selection::of(collect);
    Ok(say(&report::table_of(result, width.unwrap_or(report::DEFAULT_WIDTH), &rows))?)
}
