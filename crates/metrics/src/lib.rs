//! What is measured and how it is merged: timelines, histograms, books, verdict. Pure.
//!
//! Every figure that a run reports is computed here, from values that came in as arguments: no clock is read, nothing
//! is sent, logged or written. So each number can be checked by hand against its definition.

#![deny(missing_docs, unused_results)]

mod books;
mod censoring;
mod comparison;
mod confidence;
mod distribution;
mod drift;
mod interval;
mod live;
mod metric;
mod packed;
mod record;
mod recorder;
mod result;
mod series;
mod server;
mod slo;
mod sparse;
mod steady;
mod stop;
mod summary;
mod telemetry;
mod timeline;
mod trace_context;
mod trend;
mod varint;
mod verdict;
mod warning;

pub use books::{Books, BooksError, FailureClass, FailureSample, Lost, NotSent};
pub use censoring::Censored;
pub use comparison::{
    Basis, Compared, Difference, FAMILY_ERROR, MIN_BLOCKS_TO_COMPARE, Observed, RunOverTime,
    Undecided, compare, is_comparable, usual_figures,
};
pub use confidence::{Interval95, Stretch, intervals95};
pub use distribution::{
    DecodeError, Distribution, EncodedDistribution, Encoder, ExactFigures, MergeError,
};
pub use drift::Drift;
pub use interval::{Interval, Notes, Scope, ScopeRecord, SecondCounts, WindowCounts};
pub use live::{
    LATENCY_BOUNDS_US, LIVE_DISTRIBUTIONS, LIVE_LATENCIES, LIVE_SCHEMA_VERSION, Live, LiveBooks,
    LiveLatencies, LivePercentiles, LivePoint, LiveStage, LiveState, LiveTurn, LiveTurns,
    LiveWorker, Phase, verdict_so_far,
};
pub use metric::{Kind, Metric};
pub use record::{
    Gaps, MOST_GAPS, RecordLine, RecordNames, RecordsKept, RecordsOfWorker, RequestOutcome,
    RequestRecord,
};
pub use recorder::{
    Completion, EventSample, Recorder, SLOW_TTFT, StageWindow, TokenSource, TokenUsage,
};
pub use result::{
    GroupDescription, GroupResult, Rates, RunFacts, RunRecord, RunResult, Sessions,
    StageDescription, StageResult, StoppedEarly, WindowResult, WorkerLost, WorkerResult,
};
pub use series::{MAX_POINTS, PointPercentiles, Series, SeriesPoint};
pub use server::{ServerMetrics, ServerPoint, ServerSeries};
pub use slo::{Bound, Figure, Outcome, RateFigure, RequestLimit, Slo, SloResult, Slos, Statistic};
pub use sparse::SparseHistogram;
pub use steady::{NotSteady, SteadyState, SteadyWindow};
pub use stop::{StopReason, StopRule, StopRules, StopView};
pub use summary::{NullReason, Percentile, Summary};
pub use telemetry::TelemetryOut;
pub use timeline::{ScheduleLag, Timeline};
pub use trace_context::{TRACEPARENT_BYTES, TraceContext};
pub use verdict::{
    Evidence, Reason, Status, Thresholds, Verdict, chunks_are_not_tokens, judge, judge_so_far,
};
pub use warning::Warning;
