//! What a run will do, proved to be possible.
//!
//! A [`Plan`] is made from a [`Config`](crate::Config) in one step that reports every problem at
//! once; after it nothing validates again. It is also what travels to the workers: it holds no
//! credential, no schedule (that is computed from it) and nothing whose encoding needs names, so that
//! a compact binary codec carries it.

mod build;
mod classes;
mod context;
mod drive;
mod endpoint;
mod error;
mod length_keys;
mod lengths;
mod load;
mod prefixes;
mod prompt_plan;
mod records;
mod schedule_file;
mod sessions;
mod slos;
mod stage_list;
mod stage_rules;
mod stages;
mod stop_rules;
mod telemetry;
mod token_scale;
mod told_once;
mod windows;

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleFile;

pub use build::PlanInputs;
pub(crate) use classes::Mix;
pub use classes::{Cell, TrafficClass, WeightedTarget};
pub use error::{LengthProblem, PlanError};
pub(crate) use lengths::log_parameters;
pub use lengths::{Component, Counted, LengthPlan, LengthShape, OutputLengths};
pub use load::{
    ArrivalProcess, CapPolicy, Drive, Offered, OwnRules, Pause, RampUp, Stage, StageKind, ThinkTime,
};
pub use prefixes::{PrefixLevel, PrefixSize};
pub use records::{RecordPlan, Sampling};
pub use sessions::SessionPlan;
pub(crate) use sessions::stream_of;

/// A validated run. Instants are offsets from the run's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The run's name, as in `benchmark.name`.
    pub name: String,
    /// Fixes due times, lengths and classes.
    pub seed: u64,
    /// Fixes the text of synthetic prompts.
    pub prompt_salt: u64,
    /// Where requests go and how they are asked.
    pub target: Target,
    /// In order of time, without gaps; at least one; only the last may be without an end.
    pub stages: Vec<Stage>,
    /// Who decides when a request starts.
    pub drive: Drive,
    /// The rows by which an open loop goes, where a file has them.
    pub schedule: Option<ScheduleFile>,
    /// Only numbers below this are sent.
    pub requests: Option<u64>,
    /// What is asked.
    pub prompts: PromptPlan,
    /// How a worker sends.
    pub client: ClientPlan,
    /// How long open requests are followed after the last stage's end.
    pub drain: Duration,
    /// Rows that the table shows, by the names of the metrics; empty: the usual ones.
    pub collect: Vec<String>,
    /// What becomes of a lost worker's share.
    pub on_worker_loss: OnWorkerLoss,
    /// What an answer must have to count as completed.
    pub required: RequiredOfAnswers,
    /// What the figures must reach, and each single request.
    pub slos: metrics::Slos,
    /// What ends the load early.
    pub stop_when: metrics::StopRules,
    /// Kinds of requests; none: all are of one kind, `prompts` and `target`.
    pub classes: Vec<TrafficClass>,
    /// Services that share the load; none: `target` alone. `target` has the first one's address.
    pub targets: Vec<WeightedTarget>,
    /// Conversations of several turns; none: each request stands alone.
    pub sessions: Option<SessionPlan>,
    /// Which requests are recorded one by one; none: only what they come to.
    pub records: Option<RecordPlan>,
    /// What requests say of themselves in traces.
    pub telemetry: TelemetryPlan,
}

/// What requests say of themselves in traces. Where that is sent to is each process's own affair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TelemetryPlan {
    /// Each request carries its name, as `traceparent`.
    pub trace_context: bool,
    /// Share of the requests that are sampled: those have a span, and ask the server for one.
    pub sample: f64,
}

/// Where requests go and how they are asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The complete URL that is posted to.
    pub url: String,
    /// The shape of body and answer.
    pub api: Api,
    /// Whether the answer is asked for as a stream of events.
    pub stream: bool,
    /// The model's name in the body, where one is known.
    pub model: Option<String>,
    /// Whether somebody chose that model: it then stands in recorded bodies too, in place of theirs.
    pub model_is_chosen: bool,
    /// Headers to add; none of them is a credential.
    pub headers: Vec<(String, String)>,
    /// A JSON object merged over each body.
    pub extra_body: Option<String>,
    /// Asks for exactly as many tokens as were ordered (`ignore_eos: true`).
    pub ignore_eos: bool,
    /// Asks for at least as many tokens as were ordered (`min_tokens` = `max_tokens`).
    pub min_tokens: bool,
}

/// The API that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptPlan {
    /// Where the text comes from.
    pub kind: PromptKind,
    /// What synthetic text is made of.
    pub text: TextMaterial,
    /// Sent as token ids, not as text.
    pub as_token_ids: bool,
    /// Tokens that the server counts for each one of the tokenizer's; lengths of synthetic prompts are made by it.
    pub token_scale: f64,
    /// Lengths of synthetic prompts, in tokens.
    pub input_length: LengthPlan,
    /// How many tokens are ordered.
    pub output_length: OutputLengths,
    /// Share of each prompt that is one common prefix, 0 to 1.
    pub prefix_ratio: f64,
    /// Shared beginnings in groups, the outermost level first; none beside a `prefix_ratio`.
    pub prefixes: Vec<PrefixLevel>,
    /// Records of a data set with more tokens than this are skipped.
    pub max_input_tokens: Option<NonZeroU32>,
    /// Counts tokens.
    pub tokenizer: TokenizerChoice,
    /// Whether the text of a data set is made different from run to run.
    pub salt: SaltPlacement,
    /// Whether the records of a data set are permuted by the seed.
    pub shuffle: bool,
}

/// Where a prompt's text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromptKind {
    /// Made of words, exact in tokens.
    Synthetic,
    /// Records of a file.
    File {
        /// The file.
        path: PathBuf,
        /// How its records are laid out.
        format: FileFormat,
    },
    /// Conversations of a ShareGPT file.
    ShareGpt {
        /// The file.
        path: PathBuf,
    },
}

/// What synthetic text is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextMaterial {
    /// Plain words of the tokenizer's vocabulary.
    Words,
    /// Lines of Shakespeare's sonnets.
    Sonnets,
}

/// How the records of a prompt file are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileFormat {
    /// `.txt`: a prompt a line.
    Text,
    /// `.jsonl`: a JSON object a line.
    JsonLines,
    /// `.json`: a list.
    JsonList,
    /// `.csv` with a column `prompt`.
    Csv,
}

/// What counts tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenizerChoice {
    /// The one inside the program.
    Bundled,
    /// A `tokenizer.json`.
    File(PathBuf),
}

/// Whether the text of a data set is made different from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaltPlacement {
    /// Sent unaltered.
    None,
    /// Something that depends on salt and number stands before it.
    Prepend,
}

/// How a worker sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientPlan {
    /// Threads that send and measure; `None`: the worker chooses.
    pub lanes: Option<NonZeroU16>,
    /// Bound on DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Bound on a whole request.
    pub request_timeout: Duration,
    /// Certificates to trust beside the system's (PEM).
    pub ca_file: Option<PathBuf>,
    /// Accepts any certificate.
    pub insecure_skip_verify: bool,
    /// Each lane stays on one processor.
    pub pin_lanes: bool,
    /// How requests share connections.
    pub http: HttpVersion,
    /// Local addresses that connections begin at, in turn; empty: the kernel chooses.
    pub source_addresses: Vec<IpAddr>,
    /// How long an answer of the name service is used.
    pub dns_refresh: Duration,
}

/// How requests share connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// One request at a time has a connection of its own.
    Http1,
    /// Requests of a lane take its connections in turn.
    Http2 {
        /// Connections of each lane.
        connections: NonZeroU16,
    },
}

/// What becomes of a lost worker's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnWorkerLoss {
    /// Others take it over.
    Takeover,
    /// The run goes on without it.
    Continue,
    /// The run ends.
    Abort,
}

/// What an answer must have to count as completed; without it, it fails as `validation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequiredOfAnswers {
    /// As many tokens as were ordered.
    pub length: bool,
}

impl Plan {
    /// End of the last stage; `None` where only `requests` end the run.
    pub fn end(&self) -> Option<Duration> {
        self.stages.last().and_then(|stage| stage.end)
    }

    /// The stage in which something due at `at` belongs; `None` after the last one's end.
    pub fn stage_at(&self, at: Duration) -> Option<u16> {
        let index = self.stages.iter().position(|stage| stage.holds(at))?;
        u16::try_from(index).ok()
    }

    /// Does this stage count for the headline? Warm-up and ramp do not.
    pub fn headline(&self, stage: u16) -> bool {
        self.stages.get(usize::from(stage)).is_some_and(|stage| stage.kind == StageKind::Hold)
    }

    /// The time that is measured: from the end of the warm-up to the end, or to the cool-down.
    pub fn duration(&self) -> Option<Duration> {
        let is_measured =
            |stage: &&Stage| !matches!(stage.kind, StageKind::Warmup | StageKind::Cooldown);
        let first = self.stages.iter().find(is_measured)?;
        let last = self.stages.iter().rfind(is_measured)?;
        Some(last.end?.saturating_sub(first.start))
    }

    /// Must the coordinator still fix the stagger of the start ([`Plan::with_ramp_up`])?
    pub fn needs_ramp_up(&self) -> bool {
        matches!(self.drive, Drive::Closed { ramp_up_source: RampUp::Open, .. })
    }

    /// The stagger for a target that takes about `request` for a request: as long, so that the slots are out of step, and
    /// at most a tenth of the run, as long as that is foreseen to be.
    pub fn ramp_up_for(&self, request: Duration) -> Duration {
        let request = request.as_secs_f64();
        let by_time = self.duration().map(|duration| duration.as_secs_f64());
        let by_number = self.rounds().map(|rounds| rounds * request);
        let run = by_time.into_iter().chain(by_number).fold(f64::MAX, f64::min);
        Duration::try_from_secs_f64(request.min(run / 10.0)).unwrap_or(Duration::ZERO)
    }

    /// Requests of a slot, where their number ends a closed loop.
    fn rounds(&self) -> Option<f64> {
        let Drive::Closed { slots, .. } = self.drive else { return None };
        Some(self.requests? as f64 / f64::from(slots.get()))
    }

    /// The same plan with the stagger of a closed loop's start fixed; an open loop has none, and a
    /// configured one stays.
    #[must_use]
    pub fn with_ramp_up(mut self, stagger: Duration) -> Self {
        if let Drive::Closed { ramp_up, ramp_up_source, .. } = &mut self.drive
            && *ramp_up_source == RampUp::Open
        {
            *ramp_up = stagger;
            *ramp_up_source = RampUp::Probed;
        }
        self
    }

    /// Tokens that a request orders on average; the default, or the bound where it is lower, where the data
    /// set says.
    pub fn mean_output_tokens(&self) -> f64 {
        self.averaged(|prompts| prompts.output_length.mean())
    }
}

#[cfg(test)]
mod tests;
