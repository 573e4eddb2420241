//! Files as other tools write them, and their files read: so that what already reads those reads ours.
//!
//! Nothing is invented. Their names stand for our figures by the table at the end of METRICS.md; what was not measured,
//! or what too few samples support, is null or left out, as the format permits. Field lists: FORMATS.md §3 to §6.

mod as_run;
mod asked;
mod foreign;
mod inference_perf;
mod llm_d;
mod llmperf;
mod vllm;
mod window;

pub use asked::{Asked, AskedLength, AskedStage, LengthForm, TextSource};
pub use foreign::{ForeignRun, Loaded, load, load_foreign};

use crate::directory::ReportError;
use crate::records::RecordsFile;
use crate::stored::StoredRun;

/// A tool whose files we write and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// ray-project's llmperf: one summary.
    Llmperf,
    /// `vllm bench serve`: one result.
    Vllm,
    /// inference-perf: a summary, and a file a stage.
    InferencePerf,
    /// llm-d's benchmark report 0.2.1: a file a stage.
    LlmD,
}

impl Tool {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Llmperf, Self::Vllm, Self::InferencePerf, Self::LlmD];

    /// As in `--compat`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llmperf => "llmperf",
            Self::Vllm => "vllm",
            Self::InferencePerf => "inference-perf",
            Self::LlmD => "llm-d",
        }
    }
}

/// One file of another tool's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// Its name, as that tool calls it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What was made, and what that tool writes and we cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The files.
    pub files: Vec<ExportedFile>,
    /// Files that are made from the records as they are written.
    pub of_records: Vec<RecordsFile>,
    /// What is not in them, a line each.
    pub left_out: Vec<String>,
}

/// A run in another tool's files.
///
/// # Errors
/// A file cannot be put in its format: never seen.
pub fn export(run: &StoredRun, asked: &Asked, tool: Tool) -> Result<Export, ReportError> {
    let mut export = match tool {
        Tool::Llmperf => llmperf::export(run, asked),
        Tool::Vllm => vllm::export(run, asked),
        Tool::InferencePerf => inference_perf::export(run, asked),
        Tool::LlmD => llm_d::export(run, asked),
    }?;
    let unmeasured: Vec<&str> = run
        .result
        .stages
        .iter()
        .filter(|stage| !stage.headline)
        .map(|stage| stage.name.as_str())
        .collect();
    if !unmeasured.is_empty() {
        let names = unmeasured.join(", ");
        export.left_out.push(format!("stages that are no part of the headline: {names}"));
    }
    Ok(export)
}

/// The stages of the headline, numbered from 0, as tools know them that have neither warm-up nor ramp.
fn measured_stages(run: &StoredRun) -> impl Iterator<Item = (usize, &metrics::StageResult)> {
    run.result.stages.iter().filter(|stage| stage.headline).enumerate()
}

/// Text of a value, with a line end as files have.
fn json_text(value: &serde_json::Value) -> Result<String, ReportError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| ReportError::Render { what: "the export", error: error.to_string() })?;
    Ok(text + "\n")
}
