//! Settings of other load generators, read into a configuration of ours.
//!
//! A translation that leaves something out in silence measures something else under the same name. So a source's
//! values are *taken* from it one by one, and whatever is left at the end is told, with the reason where one is
//! known. What is written is held against our own table of keys while it is written. Field names are those of the
//! tools' own files: inference-perf (`load`, `api`, `server`, `data`, …), GuideLLM (scenarios, and the command line) and
//! `vllm bench serve` (its command line, the suites of its benchmarks, and its benchmark of conversations).

mod command_line;
mod guidellm;
mod inference_perf;
mod source;
mod suite;
mod vllm;
mod vllm_turns;
mod written;

use std::fmt;

use serde_json::{Map, Value};

use crate::config::KEYS;
use source::Source;
use written::Written;

/// Whose settings they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsFormat {
    /// A configuration of inference-perf (YAML).
    InferencePerf,
    /// A scenario of GuideLLM (JSON or YAML), or a `guidellm benchmark` command.
    GuideLlm,
    /// A `vllm bench serve` command, its options as a map, a suite of tests with `client_parameters`, or what
    /// `benchmark_serving_multi_turn.py` is given.
    VllmBenchServe,
}

impl SettingsFormat {
    /// All.
    pub const ALL: [Self; 3] = [Self::InferencePerf, Self::GuideLlm, Self::VllmBenchServe];

    /// The name in flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::InferencePerf => "inference-perf",
            Self::GuideLlm => "guidellm",
            Self::VllmBenchServe => "vllm",
        }
    }
}

/// One setting that could not be carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where it stands in the source.
    pub path: String,
    /// Why, and what to do instead.
    pub reason: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path, self.reason)
    }
}

/// A translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// What it was read as.
    pub format: SettingsFormat,
    /// Our configuration, each line with where it comes from.
    pub yaml: String,
    /// What is not in it.
    pub lost: Vec<Lost>,
}

/// Settings that cannot be translated at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Neither YAML nor JSON, nor a command that is known.
    #[error("it is neither YAML nor a known command: {0}")]
    Syntax(String),
    /// Our own.
    #[error("it is a configuration of tokenstorm already: give it to `run --config`")]
    Ours,
    /// Nobody's.
    #[error(
        "it is not known whose settings these are: say so with `--from inference-perf`, `guidellm` or `vllm`"
    )]
    Unknown,
    /// Several tests, of which one has to be chosen.
    #[error("it holds {} tests: choose one with `--test`: {}", .0.len(), .0.join(", "))]
    Several(Vec<String>),
    /// No test of that name.
    #[error("it has no test `{wanted}`; there are: {}", .known.join(", "))]
    NoSuchTest {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Not laid out as the tool lays it out.
    #[error("{0}")]
    Layout(String),
}

/// Translates the text of a file. Without a format it is found out; `test` chooses one of a suite.
///
/// # Errors
/// Nothing of it can be used; a part that cannot is in [`Imported::lost`].
pub fn import(
    text: &str,
    format: Option<SettingsFormat>,
    test: Option<&str>,
) -> Result<Imported, ImportError> {
    if let Some(command) = command_line::find(text)? {
        let format = command.format;
        return Ok(translated(format, command.options, Vec::new()));
    }
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|error| ImportError::Syntax(first_line(&error.without_snippet().to_string())))?;
    let format = match format {
        None if is_ours(&value) => return Err(ImportError::Ours),
        None => recognised(&value).ok_or(ImportError::Unknown)?,
        Some(format) => format,
    };
    match format {
        SettingsFormat::VllmBenchServe => {
            let chosen = suite::chosen(value, test)?;
            Ok(translated(format, chosen.options, chosen.lost))
        }
        SettingsFormat::InferencePerf | SettingsFormat::GuideLlm => {
            Ok(translated(format, object(value)?, Vec::new()))
        }
    }
}

fn translated(format: SettingsFormat, root: Map<String, Value>, before: Vec<Lost>) -> Imported {
    let mut written = Written::default();
    let mut lost = before;
    lost.extend(match format {
        SettingsFormat::InferencePerf => inference_perf::translate(Source::new(root), &mut written),
        SettingsFormat::GuideLlm => guidellm::translate(Source::underscored(root), &mut written),
        SettingsFormat::VllmBenchServe if vllm_turns::is_one(&root) => {
            vllm_turns::translate(Source::underscored(root), &mut written)
        }
        SettingsFormat::VllmBenchServe => vllm::translate(Source::underscored(root), &mut written),
    });
    let yaml = written.yaml(format.name());
    lost.extend(written.into_refused());
    Imported { format, yaml, lost }
}

/// Whether it is a configuration of tokenstorm: by a section of ours with a key of ours. inference-perf has some of their
/// names with other keys, and GuideLLM's `target` is no section.
fn is_ours(value: &Value) -> bool {
    const SHARED: [&str; 2] = ["load", "metrics"];
    let is_key = |section: &str, name: &str| {
        let below = |path: &str| path.strip_prefix(section)?.strip_prefix('.').map(str::to_owned);
        KEYS.iter().filter_map(|key| below(key.path)).any(|key| key.split('.').next() == Some(name))
    };
    value.as_object().into_iter().flatten().any(|(section, inner)| {
        let keys = inner.as_object().into_iter().flat_map(Map::keys);
        !SHARED.contains(&section.as_str()) && keys.into_iter().any(|name| is_key(section, name))
    })
}

/// Whose settings a file holds, by the names that only one of them has.
fn recognised(value: &Value) -> Option<SettingsFormat> {
    if suite::is_one(value) {
        return Some(SettingsFormat::VllmBenchServe);
    }
    let map = value.as_object()?;
    let has =
        |names: &[&str]| map.keys().any(|key| names.contains(&key.replace('-', "_").as_str()));
    if has(&["spec", "rate_type", "profile", "max_seconds", "backend_type", "request_type", "args"])
        || (has(&["target"]) && has(&["data"]))
    {
        Some(SettingsFormat::GuideLlm)
    } else if has(&["dataset_name", "num_prompts", "request_rate", "random_input_len"])
        || vllm_turns::is_one(map)
    {
        Some(SettingsFormat::VllmBenchServe)
    } else {
        has(&["load", "server", "data"]).then_some(SettingsFormat::InferencePerf)
    }
}

fn object(value: Value) -> Result<Map<String, Value>, ImportError> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(ImportError::Layout("it holds no map of settings".to_owned())),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
