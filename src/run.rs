//! `tokenstorm run`: one machine, on the path that carries a fleet.
//!
//! The coordinator and a worker live in this process and speak to each other in the bytes that they
//! would send over a network; ledger and journal are those of a fleet.

use std::{
    convert::Infallible,
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use client::Credentials;
use coordinator::{Coordinator, CoordinatorOptions, Ending, FleetSize, Merged};
use metrics::{RunFacts, RunResult, Warning};
use report::ResultsDirectory;
use serde_json::json;
use tokio::{runtime::Runtime, time::Instant};
use worker::{Worker, WorkerOptions};
use workload::{Api, Config, Content, Plan, Prompt};

use crate::{
    exit::{Exit, Stop},
    interrupt::Interrupts,
    limits::{self, Service},
    progress, say,
    settings::{Loaded, Settings},
    target,
};

/// Threads of the control runtime: actors, snapshots, journal. Lanes have their own.
const CONTROL_THREADS: usize = 2;
/// A local worker answers in well under a millisecond; this leaves room for a busy machine.
const START_AHEAD: Duration = Duration::from_millis(300);
/// A local worker that has not registered by now never will.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Who waits for longer wants to know for what.
const SILENCE: Duration = Duration::from_secs(2);
/// Both sides of this process are one build.
const BUILD: &str = env!("CARGO_PKG_VERSION");

/// What `run` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    settings: Settings,
    /// Where the results directory is made
    #[arg(long, value_name = "DIR", default_value = "results")]
    output: PathBuf,
    /// Do not try the target with one request first
    #[arg(long)]
    no_probe: bool,
    /// Print the summary as JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// What is known before the load starts.
struct Prepared {
    plan: Plan,
    credentials: Credentials,
    warnings: Vec<Warning>,
    probe_requests: u64,
}

/// Runs the benchmark, writes its results, prints them.
pub(crate) fn run(arguments: RunArgs) -> anyhow::Result<Exit> {
    let Loaded { mut config, credentials } = arguments.settings.load()?;
    let simulator = target::start_simulator(&mut config)?;
    let runtime = control_runtime()?;
    let exit = runtime.block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let endpoint = config.text("target.endpoint").unwrap_or("the target").to_owned();
        let prepared = tokio::select! {
            prepared = prepare(&mut config, credentials, &arguments) => prepared?,
            never = tell_of_waiting(&endpoint) => match never {},
            () = interrupts.next() => return Err(interrupted_before_the_load().into()),
        };
        let directory = ResultsDirectory::create(&arguments.output, &prepared.plan.name, now())?;
        let measured = match directory.write_config(&config.to_yaml()) {
            Ok(()) => measure(&prepared, &directory, interrupts).await,
            Err(error) => Err(error.into()),
        };
        match measured {
            Ok(result) => present(&result, &directory, &prepared.plan.collect, &arguments),
            Err(error) => {
                directory.discard()?;
                Err(error)
            }
        }
    });
    // A name lookup or a data set that is still being read holds up nobody.
    runtime.shutdown_background();
    drop(simulator);
    exit
}

/// Prints first: whatever the disk says, the figures have been seen.
fn present(
    result: &RunResult,
    directory: &ResultsDirectory,
    collect: &[String],
    arguments: &RunArgs,
) -> anyhow::Result<Exit> {
    print(result, collect, arguments)?;
    let written = directory.write_result(result);
    written.context("the figures on stdout are all that there is of this run")?;
    if !arguments.json {
        say(&format!("Results: {}", directory.path().display()))?;
    }
    Ok(Exit::of(result))
}

fn control_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
}

/// Says once, after a while, what is being waited for before the load. Never returns.
async fn tell_of_waiting(endpoint: &str) -> Infallible {
    tokio::time::sleep(SILENCE).await;
    eprintln!(
        "waiting for the first answer of {endpoint}, for at most `client.timeouts.request`; Ctrl-C ends it"
    );
    std::future::pending().await
}

fn interrupted_before_the_load() -> Stop {
    Stop::new(Exit::Interrupted, "interrupted before the load: nothing was measured")
}

/// Plan, probe, and what the run decides itself; it is all written to the configuration as run.
async fn prepare(
    config: &mut Config,
    credentials: Credentials,
    arguments: &RunArgs,
) -> anyhow::Result<Prepared> {
    let began = Instant::now();
    let (mut plan, mut warnings) = target::plan(config, &credentials, began).await?;
    let room = limits::check(&plan, Service::of(config));
    warnings.extend(room.map_err(|problems| Stop::bad_configuration(&problems))?);
    let mut probe_requests = 0;
    let mut stagger = Duration::ZERO;
    if arguments.no_probe {
        if plan.needs_ramp_up() {
            warnings.push(Warning::new(
                "no_stagger",
                "without a probe the users of the closed loop start together and may stay in step: \
                 set `load.rampUp` to about one request's time",
            ));
        }
    } else {
        probe_requests = 1;
        warnings.extend(target::check_context(&plan, &credentials, began).await?);
        stagger = plan.ramp_up_for(probe(&plan, &credentials, began).await?);
    }
    if plan.needs_ramp_up() {
        plan = plan.with_ramp_up(stagger);
        config.set("load.rampUp", json!(stagger.as_secs_f64()))?;
    }
    config.set("benchmark.seed", json!(plan.seed))?;
    config.set("benchmark.promptSalt", json!(plan.prompt_salt))?;
    Ok(Prepared { plan, credentials, warnings, probe_requests })
}

/// One real request; its time to first byte. All that is asked since `began` has the time of one request.
async fn probe(plan: &Plan, credentials: &Credentials, began: Instant) -> Result<Duration, Stop> {
    let prompt = Prompt {
        number: 0,
        class: 0,
        content: Content::Text("Hello".to_owned()),
        input_tokens: None,
        output_tokens: Some(1),
    };
    let options = worker::client_options(&plan.client, credentials.clone());
    let model = plan.target.model.as_deref();
    let target = credentials.complete(plan.target.clone());
    let most = plan.client.request_timeout;
    let asked = client::probe(&target, &options, &prompt, model);
    let Ok(seen) = tokio::time::timeout_at(began + most, asked).await else {
        let what = format!("POST {} failed (timeout): no answer within {most:?}", plan.target.url);
        let hint = "raise `client.timeouts.request`, or look why the server does not answer";
        return Err(Stop::new(Exit::TargetNotReady, format!("{what}\n  {hint}")));
    };
    Ok(seen.map_err(|error| Stop::new(Exit::TargetNotReady, error))?.ttfb)
}

async fn measure(
    prepared: &Prepared,
    directory: &ResultsDirectory,
    interrupts: Interrupts,
) -> anyhow::Result<RunResult> {
    let options = CoordinatorOptions {
        plan: prepared.plan.clone(),
        size: FleetSize::exactly(NonZeroU32::MIN),
        inputs: Vec::new(),
        join_timeout: JOIN_TIMEOUT,
        start_ahead: START_AHEAD,
        journal: directory.journal_path(),
        build: BUILD.to_owned(),
    };
    let coordinator = Coordinator::start(options).await?;
    interrupts.end(coordinator.interrupter());
    let watching = tokio::spawn(progress::show(coordinator.progress(), prepared.plan.clone()));
    let worker = Worker::start(this_machine(&prepared.credentials)?, coordinator.door()).await?;
    let merged = coordinator.finished().await?;
    watching.abort();
    match &merged.ending {
        Ending::Refused(reason) => return Err(Stop::new(Exit::BadConfiguration, reason).into()),
        Ending::NotStarted(reason) => return Err(Stop::new(Exit::Internal, reason).into()),
        Ending::Degraded(reason) => eprintln!("the run did not go on to its end: {reason}"),
        Ending::Completed | Ending::Interrupted => {}
    }
    tokio::spawn(worker.complete());
    result(prepared, directory, &merged)
}

fn this_machine(credentials: &Credentials) -> anyhow::Result<WorkerOptions> {
    let mut incarnation = [0; 8];
    getrandom::fill(&mut incarnation).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    let processors = std::thread::available_parallelism()?;
    Ok(WorkerOptions {
        ordinal: Some(0),
        incarnation: u64::from_le_bytes(incarnation),
        host: hostname(),
        processors: u16::try_from(processors.get()).unwrap_or(u16::MAX),
        build: BUILD.to_owned(),
        cache: None,
        credentials: credentials.clone(),
    })
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

fn result(
    prepared: &Prepared,
    directory: &ResultsDirectory,
    merged: &Merged,
) -> anyhow::Result<RunResult> {
    let plan = &prepared.plan;
    let facts = RunFacts {
        id: directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned(),
        name: plan.name.clone(),
        model: plan.target.model.clone().unwrap_or_default(),
        endpoint: plan.target.url.clone(),
        api: match plan.target.api {
            Api::Chat => "chat",
            Api::Completions => "completions",
        }
        .to_owned(),
        streamed: plan.target.stream,
        seed: plan.seed,
        prompt_salt: plan.prompt_salt.to_string(),
        probe_requests: prepared.probe_requests,
        tokenstorm_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..RunFacts::default()
    };
    Ok(RunResult::build(merged.record(plan, facts, prepared.warnings.clone()))?)
}

fn print(result: &RunResult, collect: &[String], arguments: &RunArgs) -> anyhow::Result<()> {
    if arguments.json {
        return Ok(say(&report::summary_json(result)?)?);
    }
    let width = terminal_size::terminal_size().map(|(width, _)| width.0);
    let rows = report::Selection::of(collect);
    Ok(say(&report::table_of(result, width.unwrap_or(report::DEFAULT_WIDTH), &rows))?)
}

/// Unix time in seconds, for the directory's name.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
