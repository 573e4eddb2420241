//! A run from its configuration to its results, whoever offers the load.
//!
//! The coordinator is always in this process; its workers are here, in processes that this one starts, or on
//! other machines ([`Crew`]). Plan, probe, directory, progress, table and exit code are the same for all.

use std::{
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use coordinator::{Coordinator, CoordinatorOptions, Ending, Preparation};
use metrics::RunResult;
use report::{ReportError, ResultsDirectory};
use tokio::{runtime::Runtime, time::Instant};
use workload::{Config, Plan};

use crate::{
    capacity,
    crew::{Crew, Hands},
    exit::{Exit, Stop},
    figures::{Format, describe, present, result_of},
    hold,
    interrupt::{Interrupts, Listening},
    known::Known,
    labels::Labels,
    observers::{ObserverArgs, Observers},
    prepare::{self, Prepared, Preparing, Probe},
    records,
    repeat::Repeats,
    server_metrics::ServerSources,
    settings::{Loaded, Settings, length},
    site::{Runs, Site},
    sweep, target,
    telemetry::{Source, TelemetryArgs, Telling},
};

/// Threads of the control runtime: actors, snapshots, journal. Lanes have their own.
const CONTROL_THREADS: usize = 2;
/// Their niceness. What they do is not urgent, what a lane does is: where both want a processor, a lane goes first.
const CONTROL_NICENESS: i32 = 10;
/// One of many runs is begun so often.
const TRIES: u32 = 10;
/// Coordinator and workers are of one build, or the workers are refused.
pub(crate) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// What every verb that measures takes.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchmarkArgs {
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Where the results directory is made
    #[arg(long, value_name = "DIR", default_value = "results")]
    output: PathBuf,
    /// After the run, wait so long for its results to be fetched: see `tokenstorm results pack`
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = length)]
    pub(crate) hold_results: Duration,
    /// Try a target that is not ready again for so long, such as one that is started together with this
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = length, conflicts_with = "no_probe")]
    wait_for_target: Duration,
    /// Do not try the target with one request first
    #[arg(long)]
    no_probe: bool,
    /// Look for the highest rate or concurrency at which the objectives of `slos` hold, by a run a level
    #[arg(long)]
    find_capacity: bool,
    /// With --find-capacity: once with each of so many of the fleet's workers, such as 1,2,4
    #[arg(long, value_name = "N,…", value_delimiter = ',', requires = "find_capacity")]
    pub(crate) worker_counts: Vec<NonZeroU32>,
    /// Go on with the sweep of this directory, by its own config.yaml unless there is a --config: points that have a summary are not run again
    #[arg(long, value_name = "DIR", conflicts_with = "find_capacity")]
    pub(crate) resume_sweep: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) observers: ObserverArgs,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
    #[command(flatten)]
    pub(crate) labels: Labels,
    #[command(flatten)]
    pub(crate) format: Format,
    /// What all runs of this command need to be told only once.
    #[arg(skip)]
    known: Known,
}

/// One run that is over, with its files.
pub(crate) struct RunEnded {
    pub(crate) exit: Exit,
    pub(crate) directory: PathBuf,
}

/// Many runs that are over, with a directory for all.
pub(crate) struct ManyEnded {
    /// What ended them before their time, or the exit code of all.
    pub(crate) ended: anyhow::Result<Exit>,
    pub(crate) directory: PathBuf,
}

/// Runs the benchmark, or the many runs that it asks for; writes their results, prints them.
pub(crate) fn benchmark(
    arguments: &BenchmarkArgs,
    crew: &Crew,
    repeats: &mut Repeats,
) -> anyhow::Result<Exit> {
    let kept = arguments.resume_sweep.as_deref().map(sweep::kept_configuration).transpose()?;
    let loaded = arguments.settings.load_or(kept)?;
    check_output(&arguments.output)?;
    if arguments.find_capacity {
        return of_many(arguments, |site| capacity::find(loaded, arguments, crew, site));
    }
    if let Some(sweep) = sweep::of(&loaded.config)? {
        return of_many(arguments, |site| sweep::run(&sweep, loaded, arguments, crew, site));
    }
    if arguments.resume_sweep.is_some() {
        let line = "--resume-sweep: the configuration that --config names has no sweep; without --config the one that the sweep was begun with is read";
        return Err(Stop::new(Exit::BadConfiguration, line).into());
    }
    let hold = arguments.hold_results;
    let order = Order { output: &arguments.output, format: arguments.format, hold, repeats };
    let site = Site::new(Runs::One)?;
    let ended = run_once(loaded, arguments, crew, &site, order);
    site.close();
    Ok(ended?.exit)
}

/// Whether the results directory can be made, before anybody is asked for anything.
fn check_output(output: &Path) -> Result<(), Stop> {
    let there = output.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let problem = if there.is_dir() {
        let allowed = rustix::fs::access(there, rustix::fs::Access::WRITE_OK);
        allowed.err().map(|error| io::Error::from(error).to_string())
    } else {
        Some("it is no directory".to_owned())
    };
    problem.map_or(Ok(()), |problem| {
        let (output, there) = (output.display(), there.display());
        let line = format!("cannot make a results directory in {output}: {there}: {problem}; choose another one by --output");
        Err(Stop::new(Exit::BadConfiguration, line))
    })
}

/// A directory for results, made before any load.
fn results_directory(output: &Path, name: &str) -> anyhow::Result<ResultsDirectory> {
    ResultsDirectory::create(output, name, now()).map_err(|error| match &error {
        ReportError::Create { source, .. } if source.kind() != io::ErrorKind::StorageFull => {
            Stop::new(Exit::BadConfiguration, error).into()
        }
        _ => error.into(),
    })
}

/// However they end, the workers that wait for another are sent home, and what there is of results can be fetched.
fn of_many(
    arguments: &BenchmarkArgs,
    lead: impl FnOnce(&Site) -> anyhow::Result<ManyEnded>,
) -> anyhow::Result<Exit> {
    let site = Site::new(Runs::Many)?;
    let over = lead(&site);
    site.dismiss();
    let exit = over.and_then(|ManyEnded { ended, directory }| {
        let fetched =
            site.block_on(hold::until_fetched(Ok(Exit::Ok), &directory, arguments.hold_results));
        ended.and_then(|exit| fetched.map(|_| exit))
    });
    site.close();
    exit
}

impl BenchmarkArgs {
    /// One of many runs: its results below `output`, and nothing printed. A worker that is lost before the load has begun
    /// costs nothing but time: as long as workers may still join, it is begun anew.
    pub(crate) fn run_quietly(
        &self,
        loaded: &Loaded,
        output: &Path,
        crew: &Crew,
        site: &Site,
    ) -> anyhow::Result<RunEnded> {
        let format = Format { quiet: true, ..self.format };
        let patience = crew.whole_join_timeout();
        let began = Instant::now();
        let mut tries_left = TRIES;
        loop {
            tries_left -= 1;
            let (hold, repeats) = (Duration::ZERO, &mut Repeats::none());
            let order = Order { output, format, hold, repeats };
            match run_once(loaded.clone(), self, crew, site, order) {
                Err(error)
                    if was_not_started(&error) && tries_left > 0 && began.elapsed() < patience =>
                {
                    eprintln!("begun anew: {error}");
                }
                ended => return ended,
            }
        }
    }

    /// The directory of many runs.
    pub(crate) fn directory_of_many(&self, name: &str, what: &str) -> anyhow::Result<PathBuf> {
        let directory = results_directory(&self.output, &format!("{name}-{what}"))?;
        Ok(directory.path().to_owned())
    }

    fn probe(&self) -> Probe {
        let within = self.wait_for_target;
        if self.no_probe { Probe::None } else { Probe::One { within } }
    }
}

/// What is one run's own among many.
struct Order<'a> {
    output: &'a Path,
    format: Format,
    /// How long its results wait to be fetched.
    hold: Duration,
    repeats: &'a mut Repeats,
}

/// One run, from its configuration to its files.
fn run_once(
    loaded: Loaded,
    arguments: &BenchmarkArgs,
    crew: &Crew,
    site: &Site,
    order: Order<'_>,
) -> anyhow::Result<RunEnded> {
    let Loaded { mut config, credentials, otel } = loaded;
    let source = arguments.telemetry.source(Some(&config), otel);
    let told = source.settings()?;
    let (simulator, served) = target::start_simulator(&mut config, told.as_ref())?.unzip();
    site.block_on(async {
        let mut interrupts = Interrupts::listen()?;
        crew.check(site).await?;
        let observers = Observers::open(&arguments.observers).await?;
        let known = &arguments.known;
        let preparing = Preparing { probe: arguments.probe(), origin: crew.origin(), known };
        let prepared =
            prepare::prepared(&mut config, credentials, preparing, &mut interrupts).await?;
        let collecting = ServerSources::of(&config, &prepared.plan)?.start();
        let directory = results_directory(order.output, &prepared.plan.name)?;
        let kept = keep(&directory, &config, &prepared.plan);
        let id = name_of(directory.path());
        let mut telling = Telling::start(told.as_ref(), &prepared.plan, &id, served.flatten());
        let seen_by = SeenBy { observers: &observers, telling: &mut telling, source: &source };
        let measured = match kept {
            Ok(()) => measure(&prepared, &directory, (crew, site), interrupts, seen_by).await,
            Err(error) => Err(error),
        };
        // It has nobody to answer any more, and nothing more to tell of.
        drop(simulator);
        let ended = match measured {
            Ok(Measured { mut result, hands, listening }) => {
                describe(&mut result, &arguments.labels);
                collecting.finish(&mut result).await;
                telling.finish(&mut result).await;
                order.repeats.label(&name_of(directory.path()), &mut result.facts.labels);
                let exit = present(&result, &directory, &prepared.plan.collect, order.format);
                hands.release().await;
                drop(listening);
                let path = directory.path().to_owned();
                let exit = hold::until_fetched(exit, &path, order.hold).await?;
                Ok(RunEnded { exit, directory: path })
            }
            Err(error) => {
                directory.discard()?;
                Err(error)
            }
        };
        observers.close().await;
        ended
    })
}

/// What a run can be repeated by: its configuration, and the file that it goes by.
fn keep(directory: &ResultsDirectory, config: &Config, plan: &Plan) -> anyhow::Result<()> {
    directory.write_config(&config.to_yaml())?;
    if let Some(schedule) = &plan.schedule {
        let copy = schedule_copy(directory, &schedule.path);
        let copied = std::fs::copy(&schedule.path, &copy);
        let _bytes = copied.with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(())
}

/// Where a run's results have the copy of its schedule.
pub(crate) fn schedule_copy(directory: &ResultsDirectory, schedule: &Path) -> PathBuf {
    directory.path().join("schedule").with_extension(schedule.extension().unwrap_or_default())
}

/// Where everything runs but the lanes, to which it gives way.
pub(crate) fn control_runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .on_thread_start(give_way)
        .enable_all()
        .build()
}

/// Lowers the calling thread's priority (on Linux a thread has its own). Where that is refused, all goes on as before:
/// lags are measured whatever the priorities.
fn give_way() {
    let _ = rustix::process::setpriority_process(None, CONTROL_NICENESS);
}

/// Who looks at a run while it goes on, and who is told of it.
struct SeenBy<'a> {
    observers: &'a Observers,
    telling: &'a mut Telling,
    /// For workers that are processes of their own.
    source: &'a Source,
}

/// A run that is over.
struct Measured {
    result: RunResult,
    hands: Hands,
    /// What listens for signals that would end it.
    listening: Listening,
}

async fn measure(
    prepared: &Prepared,
    directory: &ResultsDirectory,
    (crew, site): (&Crew, &Site),
    interrupts: Interrupts,
    seen_by: SeenBy<'_>,
) -> anyhow::Result<Measured> {
    let plan = &prepared.plan;
    let options = CoordinatorOptions {
        plan: plan.clone(),
        size: crew.size(),
        inputs: crew.inputs(plan).await?,
        join_timeout: crew.join_timeout(site).await,
        start_ahead: crew.start_ahead(),
        journal: directory.journal_path(),
        build: BUILD.to_owned(),
        prepared: Preparation {
            probe_requests: prepared.probe_requests,
            warnings: prepared.warnings.clone(),
        },
        run: crew.run_of_many(site)?,
    };
    let mut coordinator = Coordinator::start(options).await?;
    records::gather(&mut coordinator, plan, directory.path())?;
    let listening = interrupts.end(coordinator.interrupter());
    let watching = seen_by.observers.follow(&coordinator);
    seen_by.telling.follow(&coordinator);
    let telemetry = seen_by.telling.of_workers(seen_by.source);
    let offered_by = async {
        let hands = crew.gather(&coordinator, &prepared.credentials, &telemetry, site).await?;
        anyhow::Ok((hands, coordinator.finished().await?))
    };
    let over = offered_by.await;
    watching.end().await;
    let (hands, merged) = over?;
    if let Err(stop) = offered(&merged.ending) {
        hands.release().await;
        return Err(stop.into());
    }
    let result = result_of(plan, name_of(directory.path()), &merged)?;
    Ok(Measured { result, hands, listening })
}

/// The workers were not ready, and another time they may be.
fn was_not_started(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Stop>().is_some_and(Stop::may_pass)
}

/// Whether any load was; why it ended early goes to stderr.
pub(crate) fn offered(ending: &Ending) -> Result<(), Stop> {
    match ending {
        Ending::Refused(reason) => return Err(Stop::new(Exit::BadConfiguration, reason)),
        Ending::NotStarted(reason) => return Err(Stop::not_started(reason)),
        Ending::Degraded(reason) => eprintln!("the run did not go as planned: {reason}"),
        Ending::Completed | Ending::Interrupted => {}
    }
    Ok(())
}

/// A run is called by its directory.
pub(crate) fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Unix time in seconds, for the directory's name.
fn now() -> i64 {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
