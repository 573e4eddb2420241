//! A results directory, read back into the value that a run handed over.
//!
//! Every report, export and comparison begins with [`StoredRun`], so a figure is read in one place and is the same in all
//! of them. Its result has the type of a fresh one: what presents a run that has just ended presents one of last year.
//! What a file lacks is said in `gaps` and shown as absent, never guessed.

mod metrics_file;
mod node;
mod objectives;
mod place;
mod summary_file;

pub use place::{
    Located, Many, RunEntry, entries, is_of_a_run, is_of_many, locate, many_entries, runs_below,
};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use metrics::RunResult;
use serde_json::Value;

use crate::directory::{CONFIG_FILE, METRICS_FILE, SERVER_FILE, SUMMARY_FILE};
use crate::server_json;
use crate::summary_json::SCHEMA_VERSION;
use node::{Gaps, Node};

/// A results directory that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Neither a run nor a folder of runs.
    #[error(
        "{0} holds no run: there is neither a summary.json nor a journal, here or one folder below"
    )]
    NoRun(PathBuf),
    /// The directory of a sweep or a search, or a folder of them.
    #[error("{}", of_many(.folder, *.runs, .newest.as_deref()))]
    OfMany {
        /// What was named.
        folder: PathBuf,
        /// How many runs lie in it.
        runs: usize,
        /// The newest of them.
        newest: Option<PathBuf>,
    },
    /// There is nothing of that name.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file instead of a folder.
    #[error("{0} is a file: name the results directory that it is in")]
    File(PathBuf),
    /// The run did not reach its end: there is only a journal.
    #[error("{0} holds a journal and no summary.json: its run goes on or was cut off")]
    Unfinished(PathBuf),
    /// Not JSON.
    #[error("{path} is no JSON, it may have been cut off: {source}")]
    Json {
        /// Which file.
        path: PathBuf,
        /// Where it broke.
        source: serde_json::Error,
    },
    /// Written by a later version.
    #[error("{path} is of schema {theirs}, this program reads {ours}: use a newer tokenstorm")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        theirs: u64,
        /// Ours.
        ours: u32,
    },
    /// A file that nobody we know writes.
    #[error(
        "{0} is neither a results directory nor a file of llmperf, vllm, inference-perf or llm-d"
    )]
    Unrecognised(PathBuf),
    /// JSON that is not what it should be.
    #[error("{path} is no summary of tokenstorm: it has no {missing}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What every summary has.
        missing: String,
    },
}

fn of_many(folder: &Path, runs: usize, newest: Option<&Path>) -> String {
    let shown = folder.display();
    match newest {
        Some(newest) => format!(
            "{shown} holds no run itself, but {runs} of a sweep or a search: name one of them, such as {}; `results ls` lists them",
            newest.display()
        ),
        None => format!("{shown} is of a sweep or a search that has left no run yet"),
    }
}

/// One run as its directory holds it.
#[derive(Debug, Clone)]
pub struct StoredRun {
    /// Where it is.
    pub directory: PathBuf,
    /// The answer.
    pub result: RunResult,
    /// `config.yaml`, as run: credentials were never in it.
    pub config: Option<String>,
    /// What is missing and so not shown, a line each.
    pub gaps: Vec<String>,
}

impl StoredRun {
    /// A run that has just ended, or that was made from its journal.
    pub fn of(directory: &Path, result: RunResult, gaps: Vec<String>) -> Self {
        let mut run = Self { directory: directory.to_owned(), result, config: None, gaps };
        run.read_config();
        run
    }

    /// Reads a directory that `locate` found.
    ///
    /// # Errors
    /// There is no summary.json that can be read. Everything else that is missing is a line in `gaps`.
    pub fn read(directory: &Path) -> Result<Self, ReadError> {
        let (mut result, mut lines) = read_summary(directory)?;
        lines.extend(read_metrics(directory, &mut result));
        lines.extend(read_server(directory, &mut result));
        let mut run = Self { directory: directory.to_owned(), result, config: None, gaps: lines };
        run.read_config();
        Ok(run)
    }

    /// The summary alone, for lists: without the run over time and the distributions, which are most of the reading.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_summary(directory: &Path) -> Result<Self, ReadError> {
        let (result, gaps) = read_summary(directory)?;
        Ok(Self { directory: directory.to_owned(), result, config: None, gaps })
    }

    fn read_config(&mut self) {
        match fs::read_to_string(self.directory.join(CONFIG_FILE)) {
            Ok(text) => self.config = Some(text),
            Err(error) => self
                .gaps
                .push(format!("{CONFIG_FILE} cannot be read ({error}): no configuration is shown")),
        }
    }
}

/// The journal's name in a results directory.
pub(crate) const JOURNAL_FILE: &str = "journal";

fn read_summary(directory: &Path) -> Result<(RunResult, Vec<String>), ReadError> {
    let path = directory.join(SUMMARY_FILE);
    if !path.exists() && directory.join(JOURNAL_FILE).exists() {
        return Err(ReadError::Unfinished(directory.to_owned()));
    }
    let value = json(&path)?;
    let gaps = Gaps::default();
    let result = summary_file::result(&Node::root(&value, &gaps));
    match gaps.essential() {
        Some(missing) => Err(ReadError::Foreign { path, missing }),
        None => Ok((result, Vec::from_iter(gaps.lines(SUMMARY_FILE)))),
    }
}

/// Adds what metrics.json holds; a line for what it does not.
fn read_metrics(directory: &Path, result: &mut RunResult) -> Vec<String> {
    let value = match json(&directory.join(METRICS_FILE)) {
        Ok(value) => value,
        Err(error) => {
            let lost = "the run over time and the distributions are not shown";
            return vec![format!("{error}: {lost}")];
        }
    };
    let gaps = Gaps::default();
    let missing = metrics_file::add(&Node::root(&value, &gaps), result);
    let mut lines = Vec::from_iter(gaps.lines(METRICS_FILE));
    lines.extend(missing);
    lines
}

/// Adds what the server said of itself; most runs have no such file.
fn read_server(directory: &Path, result: &mut RunResult) -> Option<String> {
    let path = directory.join(SERVER_FILE);
    if !path.exists() {
        return None;
    }
    let problem = match json(&path).map(|value| server_json::read(&value)) {
        Ok(Some(server)) => {
            result.server = server;
            return None;
        }
        Ok(None) => format!("{} is not what it should be", path.display()),
        Err(error) => error.to_string(),
    };
    Some(format!("{problem}: the server's own metrics are not shown"))
}

fn json(path: &Path) -> Result<Value, ReadError> {
    let text = fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let value: Value = serde_json::from_slice(&text)
        .map_err(|source| ReadError::Json { path: path.to_owned(), source })?;
    match value["schemaVersion"].as_u64() {
        Some(theirs) if theirs > u64::from(SCHEMA_VERSION) => {
            Err(ReadError::Newer { path: path.to_owned(), theirs, ours: SCHEMA_VERSION })
        }
        Some(_) => Ok(value),
        None => {
            let missing = "`schemaVersion`".to_owned();
            Err(ReadError::Foreign { path: path.to_owned(), missing })
        }
    }
}

#[cfg(test)]
mod tests;
