//! The command line.

use clap::{Parser, Subcommand};

use crate::{calibrate::CalibrateArgs, plan::PlanArgs, run::RunArgs, simulate::SimulateArgs};

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
    /// Show what a run would offer, and send nothing
    Plan(PlanArgs),
    /// Measure in half a minute what this machine can offer, on loopback; `plan` counts workers with it
    Calibrate(CalibrateArgs),
    /// Start an inference service to measure: streaming, queueing, faults, ground truth
    Simulate(SimulateArgs),
}

const EXIT_CODES: &str = "Exit codes: 0 ok, 1 internal error, 2 bad configuration, 3 objective missed, \
4 run INVALID, 5 every request failed, 6 target not ready, 130 interrupted (the report is still written).";

/// Warnings and errors to stderr; `TOKENSTORM_LOG=debug` for more. Frames of the cluster are never logged:
/// they would hold payloads.
pub(crate) fn log_to_stderr() {
    let chosen = std::env::var("TOKENSTORM_LOG").unwrap_or_else(|_| "warn".to_owned());
    let filter =
        tracing_subscriber::EnvFilter::new(format!("{chosen},ractor=warn,ractor_cluster=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}
