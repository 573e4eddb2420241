//! `tokenstorm run`: one machine, on the path that carries a fleet.
//!
//! The coordinator and a worker live in this process and speak to each other in the bytes that they
//! would send over a network; ledger and journal are those of a fleet. With `--workers` the workers are
//! processes of their own, and the network is loopback.

use std::num::NonZeroU32;

use crate::{
    benchmark::{BenchmarkArgs, benchmark},
    crew::Crew,
    exit::Exit,
    repeat::Repeats,
};

/// What `run` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    benchmark: BenchmarkArgs,
    /// Offer the load from so many worker processes on this machine, to try out a fleet
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroU32>,
    /// Run it so many times, one after the other: `compare` takes the group as one side
    #[arg(long, value_name = "N", default_value_t = NonZeroU32::MIN, conflicts_with = "hold_results")]
    repeat: NonZeroU32,
}

/// Runs the benchmark, writes its results, prints them.
pub(crate) fn run(arguments: &RunArgs) -> anyhow::Result<Exit> {
    let crew = match arguments.workers {
        None => Crew::ThisProcess,
        Some(count) => Crew::of_processes(count)?,
    };
    Repeats::of(arguments.repeat).run(|repeats| benchmark(&arguments.benchmark, &crew, repeats))
}
