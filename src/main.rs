//! The `tokenstorm` command: what do the users of an LLM inference service feel, at this load?

mod asked;
mod benchmark;
mod calibrate;
mod calibration;
mod capacity;
mod certs;
mod cli;
mod compare;
mod coordinate;
mod crew;
mod exit;
mod figures;
mod fleet_secrets;
mod hold;
mod import;
mod interrupt;
mod judge;
mod known;
mod labels;
mod limits;
mod local_workers;
mod many;
mod observers;
mod pack;
mod plan;
mod prepare;
mod progress;
mod randomness;
mod records;
mod recover;
mod repeat;
mod report;
mod request_spans;
mod results;
mod run;
mod screen;
mod server_metrics;
mod settings;
mod simulate;
mod site;
mod sweep;
mod target;
mod telemetry;
mod told;
mod work;

use std::io::Write;

use clap::Parser;

use crate::{
    cli::{Cli, Verb},
    exit::Exit,
};

/// The static build's allocator: musl's own has one lock for all threads, and lanes would wait for each other in it.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// To stdout; a reader who has seen enough (`| head`) is no error.
fn say(text: &str) -> std::io::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    cli::log_to_stderr();
    let ended = match cli.verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Coordinator(arguments) => coordinate::coordinate(&arguments),
        Verb::Worker(arguments) => work::work(&arguments),
        Verb::Plan(arguments) => plan::plan(arguments),
        Verb::Calibrate(arguments) => calibrate::calibrate(arguments),
        Verb::Simulate(arguments) => simulate::simulate(arguments).map(|()| Exit::Ok),
        Verb::Report(arguments) => report::report(&arguments),
        Verb::Compare(arguments) => compare::compare(&arguments),
        Verb::Results(arguments) => results::results(&arguments),
        Verb::Recover(arguments) => recover::recover(&arguments),
        Verb::Certs(arguments) => certs::certs(&arguments),
        Verb::Import(arguments) => import::import(&arguments),
    };
    ended.unwrap_or_else(exit::explain).into()
}
