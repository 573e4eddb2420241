//! The `tokenstorm` command: what do the users of an LLM inference service feel, at this load?

mod calibrate;
mod calibration;
mod cli;
mod exit;
mod interrupt;
mod limits;
mod plan;
mod progress;
mod run;
mod settings;
mod simulate;
mod target;

use std::io::Write;

use clap::Parser;

use crate::{
    cli::{Cli, Verb},
    exit::Exit,
};

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
        Verb::Run(arguments) => run::run(arguments),
        Verb::Plan(arguments) => plan::plan(arguments),
        Verb::Calibrate(arguments) => calibrate::calibrate(arguments),
        Verb::Simulate(arguments) => simulate::simulate(arguments).map(|()| Exit::Ok),
    };
    ended.unwrap_or_else(exit::explain).into()
}
