//! `tokenstorm calibrate`: what this machine can offer, found before somebody else's service is loaded.
//!
//! The measured path is not imitated: this command runs `tokenstorm run` on loopback, with a coordinator, a
//! worker and a lane, against a simulator of its own that answers at once, or paced. What is kept is the CPU
//! time of the lane, so that a simulator which is the slower of the two does not make the lane look slow.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};
use simulator::{Simulator, SimulatorConfig};

use crate::calibration::{Calibration, STREAM_TOKENS_PER_S, processors};
use crate::exit::{Exit, Stop};
use crate::say;

const WARMUP_S: u64 = 1;
const MEASURED_S: u64 = 4;
const SATURATING_STREAMS: u64 = 64;
const PACED_STREAMS: u64 = 1_000;
const PACED_ITL_MS: f64 = 50.0;
/// Descriptors of a process beside its streams.
const OTHER_DESCRIPTORS: u64 = 200;

/// What `calibrate` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CalibrateArgs {
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// One closed loop.
struct Trial {
    what: &'static str,
    ttft_ms: f64,
    itl_ms: f64,
    streams: u64,
    tokens: u64,
    ramp_up_s: f64,
}

/// What a trial's result says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Figures {
    requests_per_s: f64,
    events_per_s: f64,
    requests: f64,
    events: f64,
    cpu_s: f64,
}

/// Measures, prints, and keeps the figures for `plan`.
pub(crate) fn calibrate(arguments: CalibrateArgs) -> anyhow::Result<Exit> {
    let limit =
        simulator::raise_descriptor_limit().context("cannot raise the limit on open files")?;
    let streams = PACED_STREAMS.min(limit.saturating_sub(OTHER_DESCRIPTORS).max(1));
    let requests = Trial::at_once("requests of one token", 1).run()?;
    let saturated = Trial::at_once("answers of 64 tokens", 64).run()?;
    let paced = Trial::paced(streams).run()?;
    let calibration = Calibration {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        processors: processors(),
        measured_at_unix_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
        cpu_us_per_request: requests.cpu_s * 1e6 / requests.requests,
        cpu_us_per_event: paced.cpu_s * 1e6 / paced.events,
        measured: json!({
            "oneTokenRequests": requests.to_json(),
            "saturated": saturated.to_json(),
            "paced": paced.to_json(),
            "pacedStreams": streams,
        }),
    };
    if arguments.json {
        say(&format!("{:#}", calibration.to_json()))?;
    } else {
        say(&table(&calibration, requests, saturated, paced, streams))?;
    }
    let path = calibration.save().context("cannot keep the calibration for `tokenstorm plan`")?;
    eprintln!("kept for `tokenstorm plan` in {}", path.display());
    Ok(Exit::Ok)
}

impl Trial {
    /// Answers without delay: whoever is slower, the lane or the simulator, is full.
    fn at_once(what: &'static str, tokens: u64) -> Self {
        let (ttft_ms, itl_ms) = (0.0, 0.0);
        Self { what, ttft_ms, itl_ms, streams: SATURATING_STREAMS, tokens, ramp_up_s: 0.1 }
    }

    /// Each token at its own time, so that each is a read of its own; that is the dear and usual way. The
    /// ramp-up is out of step with the ITL, or the tokens of many streams would be due together.
    fn paced(streams: u64) -> Self {
        let ramp_up_s = 0.618 / 32.0 * PACED_ITL_MS / 1e3 * streams as f64;
        let what = "paced streams";
        Self { what, ttft_ms: 50.0, itl_ms: PACED_ITL_MS, streams, tokens: 40, ramp_up_s }
    }

    fn run(&self) -> anyhow::Result<Figures> {
        eprintln!("measuring {} …", self.what);
        let config = SimulatorConfig {
            fixed: true,
            ttft_ms: self.ttft_ms,
            itl_ms: self.itl_ms,
            ..SimulatorConfig::default()
        };
        let running = Simulator::start(config)?;
        let folder = Folder::new()?;
        let output = self.command(&running.base_url(), &folder)?.output()?;
        let summary: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        let figures = summary.as_ref().and_then(Figures::of);
        figures.ok_or_else(|| {
            let told = String::from_utf8_lossy(&output.stderr);
            let last =
                told.lines().rev().find(|line| !line.is_empty()).unwrap_or("nothing was said");
            let line = format!("the run of {} measured nothing: {last}", self.what);
            Stop::new(Exit::Internal, line).into()
        })
    }

    /// This program again, with nothing inherited that could change what it does.
    fn command(&self, url: &str, folder: &Folder) -> anyhow::Result<Command> {
        let settings = [
            ("client.lanes", 1.0),
            ("load.concurrency", self.streams as f64),
            ("load.rampUp", self.ramp_up_s),
            ("prompts.inputLength.mean", 16.0),
            ("prompts.inputLength.stddev", 0.0),
            ("prompts.outputLength.mean", self.tokens as f64),
            ("prompts.outputLength.stddev", 0.0),
            ("benchmark.warmup", WARMUP_S as f64),
            ("benchmark.duration", MEASURED_S as f64),
            ("benchmark.drain", 5.0),
        ];
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(program);
        command.args(["run", "--no-probe", "--json", "--model", "simulated", "--endpoint", url]);
        command.arg("--output").arg(&folder.0).env_clear().stdin(Stdio::null());
        for (key, value) in settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        Ok(command)
    }
}

impl Figures {
    /// From a summary; `None` where nothing was measured.
    fn of(summary: &Value) -> Option<Self> {
        let number = |path: &str| summary.pointer(path)?.as_f64();
        let stages = summary.get("stages")?.as_array()?;
        let all = |path: &str| {
            stages.iter().map(|stage| stage.pointer(path)?.as_f64()).sum::<Option<f64>>()
        };
        let figures = Self {
            requests_per_s: number("/overall/rates/throughput")?,
            events_per_s: number("/overall/rates/tokensPerSecond")?,
            requests: number("/books/completed")?,
            // The first event of each answer, and one after each gap.
            events: all("/notes/gaps")? + all("/metrics/ttft/count")?,
            cpu_s: number("/workers/0/cpuSeconds")?,
        };
        let is_measured = figures.requests > 0.0 && figures.events > 0.0 && figures.cpu_s > 0.0;
        is_measured.then_some(figures)
    }

    fn to_json(self) -> Value {
        json!({
            "requestsPerSecond": self.requests_per_s,
            "eventsPerSecond": self.events_per_s,
            "cpuUsPerEvent": self.cpu_s * 1e6 / self.events,
        })
    }
}

/// Results that nobody keeps.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path =
            std::env::temp_dir().join(format!("tokenstorm-calibrate-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, "temporary results stay in {}", self.0.display());
        }
    }
}

fn table(
    calibration: &Calibration,
    requests: Figures,
    saturated: Figures,
    paced: Figures,
    streams: u64,
) -> String {
    let row = |what: &str, measured: f64, by_cpu: f64| {
        format!("{what:<44}{measured:>12.0}{by_cpu:>16.0}")
    };
    let each = |figures: Figures| figures.events / figures.cpu_s;
    let streams_row = format!("streams of {STREAM_TOKENS_PER_S} tokens a second");
    let mut lines = vec![
        format!("{:<44}{:>12}{:>16}", "one lane of this machine", "measured", "fills its core"),
        row(
            "requests a second, of one token",
            requests.requests_per_s,
            1e6 / calibration.cpu_us_per_request,
        ),
        row("events a second, many to a read", saturated.events_per_s, each(saturated)),
        row(
            "events a second, each a read of its own",
            paced.events_per_s,
            calibration.events_per_s(),
        ),
        row(&streams_row, streams as f64, calibration.streams() as f64),
    ];
    lines.push(
        "Measured: as far as the simulator on loopback went. Fills its core: by the lane's CPU time; plan for half of it."
            .to_owned(),
    );
    if calibration.processors < 2 {
        lines.push(
            "There is one processor for both sides: the figures are lower than the lane's own."
                .to_owned(),
        );
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_all_stages_and_never_of_nothing() {
        let stage = |gaps: u64, first: u64| json!({"notes": {"gaps": gaps}, "metrics": {"ttft": {"count": first}}});
        let mut summary = json!({
            "overall": {"rates": {"throughput": 2.0, "tokensPerSecond": 8.0}},
            "books": {"completed": 3},
            "stages": [stage(6, 2), stage(3, 1)],
            "workers": [{"cpuSeconds": 0.000_024}],
        });
        let figures = Figures::of(&summary).unwrap();
        assert_eq!((figures.events, figures.requests), (12.0, 3.0));
        assert_eq!(figures.to_json()["cpuUsPerEvent"], json!(2.0));
        summary["workers"][0]["cpuSeconds"] = json!(0.0);
        assert_eq!(Figures::of(&summary), None);
        assert_eq!(Figures::of(&json!({})), None);
    }
}
