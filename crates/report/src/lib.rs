//! The results directory, its files, and what a person reads on a terminal.
//!
//! Everything here presents a finished [`metrics::RunResult`] (or, before a run, a plan) and computes no figure: a number
//! that is wrong in a report is wrong in `metrics`, where it can be checked, or it is a matter of format and is wrong here.

#![deny(missing_docs, unused_results)]

mod directory;
mod metrics_json;
mod plan;
mod summary_json;
mod terminal;

pub use directory::{ReportError, ResultsDirectory};
pub use metrics_json::metrics_json;
pub use plan::{
    InOut, PlanView, PlannedLengths, PlannedLevel, PlannedLoad, PlannedPause, PlannedPrompts,
    PlannedShare, PlannedStage, PlannedStagger, PlannedTarget, PlannedTokens, plan_json,
};
pub use summary_json::summary_json;
pub use terminal::{
    DEFAULT_WIDTH, ProgressView, Selection, plan_text, progress_line, table, table_of,
};
