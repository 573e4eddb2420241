//! The command line.

use std::io::IsTerminal;

use clap::{Parser, Subcommand};

use crate::{
    calibrate::CalibrateArgs, certs::CertsArgs, compare::CompareArgs, coordinate::CoordinatorArgs,
    import::ImportArgs, plan::PlanArgs, recover::RecoverArgs, report::ReportArgs,
    results::ResultsArgs, run::RunArgs, simulate::SimulateArgs, told, work::WorkerArgs,
};

/// Measures what users of an LLM inference service feel, at a given load.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Measure an endpoint from this machine
    Run(RunArgs),
    /// Measure an endpoint from many machines: lead the run that workers offer
    Coordinator(CoordinatorArgs),
    /// Offer a share of a coordinator's run from this machine
    Worker(WorkerArgs),
    /// Show what a run would offer, and send nothing
    Plan(PlanArgs),
    /// Measure in half a minute what this machine can offer, on loopback; `plan` counts workers with it
    Calibrate(CalibrateArgs),
    /// Start an inference service to measure: streaming, queueing, faults, ground truth
    Simulate(SimulateArgs),
    /// Show what a results directory holds: a page, PDF, Markdown, JSON, CSV, or files of other tools
    Report(ReportArgs),
    /// Tell whether runs differ beyond chance, and fail a pipeline by a rule
    Compare(CompareArgs),
    /// List, show, pack or remove the runs of a folder
    Results(ResultsArgs),
    /// Report what is left of a run whose coordinator died
    Recover(RecoverArgs),
    /// Make the certificates and the cookie of a fleet
    Certs(CertsArgs),
    /// Write a configuration from settings of inference-perf, GuideLLM or vllm bench serve
    Import(ImportArgs),
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 surroundings failed or internal error, 2 bad configuration or path, 3 objective missed \
or rule broken, 4 run INVALID, 5 every request failed, 6 target not ready, 130 interrupted (the report is still written).";

/// Warnings and errors to stderr; `TOKENSTORM_LOG=debug` for more. Frames of the cluster are never logged:
/// they would hold payloads. What the cluster library says of sessions that come and go is said by ours in words.
pub(crate) fn log_to_stderr() {
    let chosen = std::env::var("TOKENSTORM_LOG").unwrap_or_else(|_| "warn".to_owned());
    let filter =
        tracing_subscriber::EnvFilter::new(format!("{chosen},ractor=warn,ractor_cluster=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| told::Log)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
