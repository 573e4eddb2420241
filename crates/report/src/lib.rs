//! The results directory, its files, and what a person reads: on a terminal, in a browser, on paper.
//!
//! Everything here presents a finished [`metrics::RunResult`] (or, before a run, a plan) and computes no figure: a number
//! that is wrong in a report is wrong in `metrics`, where it can be checked, or it is a matter of format and is wrong here.
//! A directory is read back into that same type, so that a report of last year's run and of one that has just ended are
//! made by the same code: files → [`StoredRun`] → document (tables and charts) → page, Markdown, PDF, pictures.

#![deny(missing_docs, unused_results)]

mod capacity;
mod chart;
mod checksums;
mod compare;
mod compat;
mod csv_table;
mod directory;
mod document;
mod figures;
mod hdr_log;
mod html;
mod markdown;
mod metrics_json;
mod objective;
mod pdf;
mod plan;
mod plot;
mod records;
mod records_json;
mod server_json;
mod stored;
mod summary_json;
mod sweep;
mod terminal;

pub use capacity::{
    CapacityByWorkers, CapacityOfCount, CapacityView, TriedLevel, TriedRun,
    capacity_by_workers_html, capacity_by_workers_json, capacity_by_workers_plot,
    capacity_by_workers_text, capacity_html, capacity_json, capacity_plot, capacity_text,
};
pub use checksums::altered;
pub use compare::{
    ComparedSide, ComparisonView, ConfigurationDifference, Rule, RuleError, RuleOutcome,
    RuleResult, comparison_html, comparison_json, comparison_markdown, comparison_text,
    figure_named,
};
pub use compat::{
    Asked, AskedLength, AskedStage, Export, ExportedFile, ForeignRun, LengthForm, Loaded,
    TextSource, Tool, export, load, load_foreign,
};
pub use csv_table::csv;
pub use directory::{ReportError, ResultsDirectory, write_file, write_streamed};
pub use hdr_log::hdr_log;
pub use html::{LivePage, html, live_page};
pub use markdown::markdown;
pub use metrics_json::metrics_json;
pub use objective::objective;
pub use pdf::pdf;
pub use plan::{
    InOut, PlanView, PlannedClass, PlannedCost, PlannedCurve, PlannedLengths, PlannedLevel,
    PlannedLoad, PlannedPause, PlannedPrefix, PlannedPrefixSize, PlannedPrompts, PlannedRecords,
    PlannedRules, PlannedService, PlannedSessions, PlannedShare, PlannedStage, PlannedStagger,
    PlannedTarget, PlannedTokens, plan_json, plan_png,
};
pub use plot::{Plot, plots};
pub use records::{RecordFiles, RecordsFile, each_record, records_file};
pub use stored::{
    Located, Many, ReadError, RunEntry, StoredRun, entries, is_of_a_run, is_of_many, locate,
    many_entries, runs_below,
};
pub use summary_json::summary_json;
pub use sweep::{
    SweepView, SweptRun, sweep_csv, sweep_html, sweep_json, sweep_markdown, sweep_plots, sweep_text,
};
pub use terminal::{
    DEFAULT_WIDTH, Palette, RunLine, Selection, draw_screen, list, plan_text, progress_line, table,
    table_of,
};
