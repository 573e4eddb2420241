//! The answer of a run: what the coordinator hands to the report.
//!
//! It is a pure function of what the ledger merged. Nothing here is sampled, cut or rounded: presentation decides that,
//! and every figure can be computed again from the journal.

mod build;
mod figure;

pub use build::RunRecord;
pub(crate) use build::held_back;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::books::{Books, FailureSample};
use crate::distribution::Distribution;
use crate::interval::Notes;
use crate::metric::Metric;
use crate::record::RecordsKept;
use crate::recorder::StageWindow;
use crate::series::SeriesPoint;
use crate::server::ServerMetrics;
use crate::slo::{SloResult, Slos};
use crate::steady::SteadyState;
use crate::stop::StopReason;
use crate::summary::Summary;
use crate::telemetry::TelemetryOut;
use crate::verdict::Verdict;
use crate::warning::Warning;

/// What ran.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunFacts {
    /// Unique name of the run.
    pub id: String,
    /// `benchmark.name`.
    pub name: String,
    /// Wall clock at the run's start, nanoseconds since 1970.
    pub started_at_unix_ns: i64,
    /// Wall clock at its end.
    pub ended_at_unix_ns: i64,
    /// The model asked for.
    pub model: String,
    /// The URL, without credentials.
    pub endpoint: String,
    /// `chat` or `completions`.
    pub api: String,
    /// Whether answers were streamed.
    pub streamed: bool,
    /// Seed of due times, lengths and classes.
    pub seed: u64,
    /// Seed of the synthetic text.
    pub prompt_salt: String,
    /// Workers that took part.
    pub workers: u32,
    /// Lanes of all workers.
    pub lanes: u32,
    /// Where output tokens were counted: `usage`, `tokenizer`, `events`.
    pub token_source: String,
    /// The tokenizer that made synthetic prompts.
    pub tokenizer: Option<String>,
    /// Where arrivals were stamped: `kernel`, `user_space` or `mixed`.
    pub stamps: String,
    /// Requests sent before the load to see whether the target is ready; they are in no book.
    pub probe_requests: u64,
    /// Our version.
    pub tokenstorm_version: String,
    /// Ended by an interrupt.
    pub interrupted: bool,
    /// The journal could not be written to its end.
    pub degraded: bool,
    /// What the user calls the run by, such as `gpu` = `h100`.
    pub labels: BTreeMap<String, String>,
    /// What the user wants to remember of it.
    pub note: Option<String>,
    /// What the coordinator ran on, such as `kernel` = `6.1.0`.
    pub environment: BTreeMap<String, String>,
}

/// One stage as it was planned, or as it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StageDescription {
    /// `warmup`, `ramp`, `hold` or the user's name.
    pub name: String,
    /// Whether it belongs to the headline: neither warm-up nor ramp.
    pub headline: bool,
    /// Its window. Where the stage did not last until its planned end, the caller says so: an interrupt's instant, or
    /// `None` where the number of requests ended it, and the window then ends at the last completion.
    pub window: StageWindow,
    /// What its own figures must reach, beside what the run must.
    pub slos: Slos,
    /// Why it ended before its time, if a rule of its own ended it.
    pub stopped: Option<StoppedEarly>,
}

/// A traffic class, or a target, as planned.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupDescription {
    /// Its name.
    pub name: String,
    /// Its share of the requests, 0 to 1.
    pub share: f64,
    /// The `class` of the scopes that are its own.
    pub cells: Vec<u16>,
    /// What its own figures must reach.
    pub slos: Slos,
}

/// Rates per second; each `None` where the window has no length.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// Requests due.
    pub offered: Option<f64>,
    /// Requests sent.
    pub achieved: Option<f64>,
    /// Requests completed.
    pub throughput: Option<f64>,
    /// Output tokens arrived.
    pub tokens_per_second: Option<f64>,
    /// Input tokens sent, of completed requests.
    pub input_tokens_per_second: Option<f64>,
    /// Both.
    pub total_tokens_per_second: Option<f64>,
    /// failed / (completed + failed), 0 to 1, of the requests due in the window.
    pub error_rate: Option<f64>,
    /// Requests completed within every limit set to a request; `None` without such limits.
    pub goodput: Option<f64>,
    /// Share of the started requests due in the window that completed within them, 0 to 1; `None` without such limits.
    pub slo_attainment: Option<f64>,
    /// Prompt tokens that the prefix cache held / all prompt tokens, 0 to 1, as the server's usage says; `None` where no
    /// answer of the run said.
    pub cache_hit_ratio: Option<f64>,
}

/// The figures of a window: a stage, or the headline.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowResult {
    /// First instant.
    pub start: Duration,
    /// First instant outside.
    pub end: Duration,
    /// What the rates are divided by: the length, or the sum of the stages' lengths.
    pub measured: Duration,
    /// By own instants inside the window.
    pub rates: Rates,
    /// Of the requests due in the window. Every metric is there; absent ones say why.
    pub metrics: BTreeMap<Metric, Summary>,
    /// Peculiarities of the requests due in the window.
    pub notes: Notes,
    /// Share of TTFTs above three seconds, 0 to 1.
    pub ttft_over_3s: Option<f64>,
    /// The run's objectives, held against this window.
    pub slos: Vec<SloResult>,
}

/// One stage.
#[derive(Debug, Clone, PartialEq)]
pub struct StageResult {
    /// Its name.
    pub name: String,
    /// Its place in the plan.
    pub index: u16,
    /// Whether it is in the headline.
    pub headline: bool,
    /// Of the requests due in it.
    pub books: Books,
    /// Its figures.
    pub window: WindowResult,
    /// Its own objectives, held against its figures; those of the run are in its window.
    pub own_slos: Vec<SloResult>,
    /// Why it ended before its time, if a rule of its own ended it.
    pub stopped: Option<StoppedEarly>,
    /// All its samples.
    pub distributions: BTreeMap<Metric, Distribution>,
}

/// A traffic class, or a target: a part of the requests, over all stages.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupResult {
    /// Its name.
    pub name: String,
    /// Its share of the requests as planned, 0 to 1.
    pub share: f64,
    /// Of the whole run, so that all groups sum to the run's.
    pub books: Books,
    /// Its figures in the headline's window.
    pub window: WindowResult,
    /// All its samples of the headline.
    pub distributions: BTreeMap<Metric, Distribution>,
}

/// A worker that did not reach the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerLost {
    /// When it was declared lost.
    pub at: Duration,
    /// From when on others sent its share; `None` if nobody did.
    pub taken_over_at: Option<Duration>,
    /// See [`crate::Lost`].
    pub in_flight_at_last_snapshot: u64,
    /// See [`crate::Lost`].
    pub due_after_last_snapshot: u64,
    /// Due before somebody else sent its share, and nobody's.
    pub without_owner: u64,
}

/// One worker, or one incarnation of it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkerResult {
    /// Its number in the fleet.
    pub ordinal: u32,
    /// Where it ran.
    pub host: String,
    /// Which life of that ordinal.
    pub incarnation: u64,
    /// Its own account.
    pub books: Books,
    /// Its part of all that was due, 0 to 1; `None` where nothing was.
    pub share: Option<f64>,
    /// Median of its own lateness.
    pub generator_lag_p50_us: Option<u64>,
    /// 99th percentile of its own lateness.
    pub generator_lag_p99_us: Option<u64>,
    /// Its greatest lateness.
    pub generator_lag_max_us: Option<u64>,
    /// Median of its requests' TTFT, to be compared with the others'.
    pub ttft_p50_us: Option<u64>,
    /// Deltas that it sent and that were merged.
    pub snapshots: u64,
    /// Its measured start against the named instant.
    pub start_skew_us: i64,
    /// Its clock against the coordinator's.
    pub clock_offset_us: i64,
    /// How exactly that is known.
    pub clock_error_us: u64,
    /// CPU time it used.
    pub cpu_seconds: Option<f64>,
    /// If it did not reach the end.
    pub lost: Option<WorkerLost>,
}

/// A rule ended the load, or a stage of it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoppedEarly {
    /// Nothing due at or after this run time was offered; of a stage, nothing of it.
    pub at: Duration,
    /// Which rule, and with which figures.
    pub reason: StopReason,
}

/// What became of conversations, over the whole run: begun = completed + cut + lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Those whose first turn was begun, as far as workers told of it.
    pub begun: u64,
    /// Answered to the last turn.
    pub completed: u64,
    /// Ended before it by a turn without an answer, or by the end of the load.
    pub cut: u64,
    /// Open when their worker was lost.
    pub lost: u64,
    /// Turns of those cut and lost that were never due, as far as workers told of them.
    pub turns_not_reached: u64,
}

impl Sessions {
    /// From what was noted, and from how many turns other than first ones were due.
    pub fn of(notes: &Notes, later_due: u64) -> Self {
        let ended = notes.sessions_completed + notes.sessions_cut;
        Self {
            begun: notes.sessions_begun,
            completed: notes.sessions_completed,
            cut: notes.sessions_cut,
            lost: notes.sessions_begun.saturating_sub(ended),
            turns_not_reached: notes.later_turns.saturating_sub(later_due),
        }
    }
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RunResult {
    /// What ran.
    pub facts: RunFacts,
    /// Whether to trust it.
    pub verdict: Verdict,
    /// Doubts and hints.
    pub warnings: Vec<Warning>,
    /// A few failures of each class in words.
    pub failures: Vec<FailureSample>,
    /// The whole run's account, warm-up and ramp included.
    pub books: Books,
    /// The headline: the stages that are neither warm-up nor ramp, merged.
    pub overall: WindowResult,
    /// Every stage.
    pub stages: Vec<StageResult>,
    /// Every traffic class; none where there is one kind of requests.
    pub classes: Vec<GroupResult>,
    /// Every target; none where there is one.
    pub targets: Vec<GroupResult>,
    /// Every turn of sessions, the last with all that follow; none where requests stand alone.
    pub turns: Vec<GroupResult>,
    /// What became of the sessions; `None` where requests stand alone.
    pub sessions: Option<Sessions>,
    /// Every worker.
    pub workers: Vec<WorkerResult>,
    /// The run over time.
    pub seconds: Vec<SeriesPoint>,
    /// Why the load ended before its plan did, if a rule ended it.
    pub stopped: Option<StoppedEarly>,
    /// The part of the headline in which the service was in a steady state, if it was.
    pub steady: SteadyState,
    /// What the service said of itself meanwhile.
    pub server: ServerMetrics,
    /// What was kept of single requests, if anything was to be.
    pub records: Option<RecordsKept>,
    /// What others were told of the run; `None` where nobody was.
    pub telemetry: Option<TelemetryOut>,
}
