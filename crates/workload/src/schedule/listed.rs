//! A schedule that is given row by row, in a file: when each request is due, and how long it is.
//!
//! The plan carries the file's path; the rows are read by whoever needs them, on each machine from a file
//! with the same hash, and row k is request k. Rows are kept as columns: 16 bytes each, so that a trace of
//! ten million requests fits where it is walked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use metrics::Warning;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::trace;
use crate::plan::Plan;
use crate::prompts::InputFile;

/// Tokens of a hash block in a Mooncake trace.
pub const BLOCK_TOKENS: u32 = 512;

/// A file of rows, as a plan names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduleFile {
    /// The file.
    pub path: PathBuf,
    /// How its rows are laid out.
    pub format: ScheduleFormat,
    /// Instants are multiplied by this.
    pub time_scale: f64,
    /// The rows, once they are read; they do not travel.
    #[serde(skip)]
    pub rows: Option<Arc<Rows>>,
    /// The file as it was read.
    #[serde(skip)]
    pub input: Option<InputFile>,
}

/// How the rows of a schedule or trace are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScheduleFormat {
    /// CSV with `scheduled_offset_s,input_tokens,output_tokens`.
    Csv,
    /// Mooncake's JSON lines: `timestamp` in milliseconds, `input_length`, `output_length`, `hash_ids`.
    Mooncake,
    /// Azure's LLM inference traces: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Azure,
    /// BurstGPT: `Timestamp` in seconds, `Request tokens`, `Response tokens`.
    BurstGpt,
}

/// A line of a schedule that cannot be used, or the whole file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {what}", path.display(), line.map_or_else(String::new, |line| format!(":{line}")))]
pub struct ScheduleProblem {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` for the whole.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Rows as columns, in order of time. A length of 0 is one that the file does not tell.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Rows {
    pub(super) due_ns: Vec<u64>,
    pub(super) input_tokens: Vec<u32>,
    pub(super) output_tokens: Vec<u32>,
    /// Where each row's blocks end in `blocks`; empty where no row has any.
    pub(super) block_ends: Vec<u64>,
    pub(super) blocks: Vec<u64>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} rows", self.len())
    }
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> u64 {
        self.due_ns.len() as u64
    }

    /// Has it none?
    pub fn is_empty(&self) -> bool {
        self.due_ns.is_empty()
    }

    /// When row `index` is due, in nanoseconds since the schedule's start.
    pub(crate) fn due_ns(&self, index: u64) -> Option<u64> {
        self.due_ns.get(usize::try_from(index).ok()?).copied()
    }

    /// How many rows are due before that.
    pub(crate) fn before(&self, end_ns: u64) -> u64 {
        self.due_ns.partition_point(|due| *due < end_ns) as u64
    }

    /// Input tokens of request `number`, where the file tells them.
    pub fn input_tokens(&self, number: u64) -> Option<u32> {
        told(&self.input_tokens, number)
    }

    /// Output tokens of request `number`, where the file tells them.
    pub fn output_tokens(&self, number: u64) -> Option<u32> {
        told(&self.output_tokens, number)
    }

    /// The prefix blocks of request `number`: equal numbers at the start mean an equal text.
    pub fn blocks(&self, number: u64) -> &[u64] {
        let row = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(end) = self.block_ends.get(row) else { return &[] };
        let start = row.checked_sub(1).map_or(0, |before| self.block_ends[before]);
        &self.blocks[start as usize..*end as usize]
    }

    /// Do all rows tell their lengths?
    pub fn tell_lengths(&self) -> bool {
        let all = |tokens: &[u32]| tokens.iter().all(|tokens| *tokens > 0);
        all(&self.input_tokens) && all(&self.output_tokens)
    }
}

fn told(tokens: &[u32], number: u64) -> Option<u32> {
    let row = usize::try_from(number).ok()?;
    tokens.get(row).copied().filter(|tokens| *tokens > 0)
}

impl ScheduleFile {
    /// Reads the rows, once; later calls change nothing.
    ///
    /// # Errors
    /// The file cannot be read, or its lines cannot be used: the first ten of them, and how many more.
    pub fn read(&mut self) -> Result<Vec<Warning>, Vec<ScheduleProblem>> {
        if self.rows.is_some() {
            return Ok(Vec::new());
        }
        let path = &self.path;
        let unreadable = |error: std::io::Error| {
            let what = format!("cannot be read: {error}");
            vec![ScheduleProblem { path: path.clone(), line: None, what }]
        };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let (rows, warnings) = trace::read(path, &bytes, self.format, self.time_scale)?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        self.input = Some(InputFile { path: path.clone(), bytes: bytes.len() as u64, sha256 });
        self.rows = Some(Arc::new(rows));
        Ok(warnings)
    }
}

impl Plan {
    /// Reads the rows of a plan that goes by a file, where they were not read yet: a plan that came over the
    /// wire or from a journal has none.
    ///
    /// # Errors
    /// As [`ScheduleFile::read`].
    pub fn read_schedule(&mut self) -> Result<(), Vec<ScheduleProblem>> {
        match &mut self.schedule {
            Some(file) => file.read().map(drop),
            None => Ok(()),
        }
    }

    /// Reads the rows from a copy of the file, where the file itself is not to be had any more.
    ///
    /// # Errors
    /// As [`ScheduleFile::read`], of the copy.
    pub fn read_schedule_from(&mut self, copy: &Path) -> Result<(), Vec<ScheduleProblem>> {
        if let Some(file) = &mut self.schedule {
            file.path = copy.to_owned();
        }
        self.read_schedule()
    }

    /// The rows by which this plan goes.
    pub fn rows(&self) -> Option<&Arc<Rows>> {
        self.schedule.as_ref()?.rows.as_ref()
    }
}
