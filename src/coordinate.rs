//! `tokenstorm coordinator`: a run, or the many of a sweep or a search, offered by workers on other machines.
//!
//! Around the load it does what `run` does. With `--resume` it goes on with a run whose coordinator died: its
//! workers wait for ten seconds, so there is no probe and nothing to settle, only the journal to read.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use coordinator::{Coordinator, CoordinatorError, FleetSize};
use report::ResultsDirectory;

use crate::{
    benchmark::{BUILD, BenchmarkArgs, benchmark, name_of, offered},
    crew::{Crew, Gathering, inputs_of},
    exit::{Exit, Stop},
    figures::{describe, present, result_of},
    fleet_secrets::SecretArgs,
    hold,
    interrupt::Interrupts,
    observers::Observers,
    records, recover,
    repeat::Repeats,
    settings::length,
    site::{Runs, Site},
    telemetry::Telling,
};

/// What a run that is gone on with has in its journal, and nobody can change any more.
const KNOWN_OF_THE_JOURNAL: [&str; 19] = [
    "config",
    "endpoint",
    "model",
    "concurrency",
    "rate",
    "duration",
    "requests",
    "prompts",
    "sets",
    "sweep",
    "output",
    "no_probe",
    "wait_for_target",
    "find_capacity",
    "worker_counts",
    "resume_sweep",
    "expect_workers",
    "min_workers",
    "spares",
];

/// What `coordinator` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CoordinatorArgs {
    /// Where workers dial; beyond a loopback address only with certificates and a cookie
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4697")]
    listen: String,
    /// As many workers own the load
    #[arg(long, value_name = "N", required_unless_present = "resume")]
    expect_workers: Option<NonZeroU32>,
    /// With as many the run starts when the time to join is over [default: all that are expected]
    #[arg(long, value_name = "M")]
    min_workers: Option<NonZeroU32>,
    /// As many more are kept for the loss of one
    #[arg(long, value_name = "K", default_value_t = 0)]
    spares: u32,
    /// How long workers are waited for
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = length)]
    join_timeout: Duration,
    /// Go on with the run of this results directory, whose coordinator has died, as its journal says
    #[arg(long, value_name = "DIR", conflicts_with_all = KNOWN_OF_THE_JOURNAL)]
    resume: Option<PathBuf>,
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    benchmark: BenchmarkArgs,
}

/// Runs the benchmark with a fleet.
pub(crate) fn coordinate(arguments: &CoordinatorArgs) -> anyhow::Result<Exit> {
    let gathering = arguments.gathering()?;
    match &arguments.resume {
        Some(directory) => resume(directory, &gathering, &arguments.benchmark),
        None => {
            let crew = Crew::Dialling(gathering);
            benchmark(&arguments.benchmark, &crew, &mut Repeats::none())
        }
    }
}

impl CoordinatorArgs {
    fn gathering(&self) -> anyhow::Result<Gathering> {
        let expected = self.expect_workers.unwrap_or(NonZeroU32::MIN);
        let minimum = self.min_workers.unwrap_or(expected);
        if minimum > expected {
            let line =
                format!("--min-workers {minimum} is more than --expect-workers {expected} are");
            return Err(Stop::new(Exit::BadConfiguration, line).into());
        }
        Ok(Gathering {
            listen: address(&self.listen)?,
            secrets: self.secrets.load()?,
            size: FleetSize { expected, minimum, spares: self.spares },
            join_timeout: self.join_timeout,
        })
    }
}

fn address(text: &str) -> Result<SocketAddr, Stop> {
    let bad = |reason: String| {
        Stop::new(Exit::BadConfiguration, format!("--listen {text} is no ADDRESS:PORT: {reason}"))
    };
    let mut found = text.to_socket_addrs().map_err(|error| bad(error.to_string()))?;
    found.next().ok_or_else(|| bad("it has no address".to_owned()))
}

fn resume(
    directory: &Path,
    gathering: &Gathering,
    arguments: &BenchmarkArgs,
) -> anyhow::Result<Exit> {
    let directory = ResultsDirectory::open(directory.to_owned());
    let site = Site::new(Runs::One)?;
    let exit = site.block_on(async {
        let interrupts = Interrupts::listen()?;
        gathering.check()?;
        let observers = Observers::open(&arguments.observers).await?;
        let told = arguments.telemetry.source(None, arguments.settings.otel()?).settings()?;
        let plan = recover::plan_of(&directory.journal_path())?;
        // Only who comes anew needs the files, and the others do not wait for long.
        let inputs = inputs_of(plan.clone()).await.unwrap_or_default();
        let coordinator =
            Coordinator::resume(&directory.journal_path(), BUILD.to_owned(), inputs).await;
        let mut coordinator = coordinator.map_err(in_words)?;
        records::gather(&mut coordinator, &plan, directory.path())?;
        let listening = interrupts.end(coordinator.interrupter());
        let watching = observers.follow(&coordinator);
        let id = name_of(directory.path());
        let mut telling = Telling::start(told.as_ref(), &plan, &id, None);
        telling.follow(&coordinator);
        let offered_by = async {
            let connected = gathering.open(&coordinator, &site).await?;
            anyhow::Ok((connected, coordinator.finished().await?))
        };
        let over = offered_by.await;
        watching.end().await;
        let (connected, merged) = over?;
        let exit = match offered(&merged.ending) {
            Ok(()) => {
                let mut result = result_of(&plan, name_of(directory.path()), &merged)?;
                describe(&mut result, &arguments.labels);
                telling.finish(&mut result).await;
                present(&result, &directory, &plan.collect, arguments.format)
            }
            Err(stop) => Err(stop.into()),
        };
        connected.release().await;
        drop(listening);
        let exit = hold::until_fetched(exit, directory.path(), arguments.hold_results).await;
        observers.close().await;
        exit
    });
    site.close();
    exit
}

/// What the user can do something about is no fault of ours.
fn in_words(error: CoordinatorError) -> anyhow::Error {
    match error {
        CoordinatorError::Journal(_)
        | CoordinatorError::NotBegun
        | CoordinatorError::Over
        | CoordinatorError::Schedule(_) => Stop::new(Exit::BadConfiguration, error).into(),
        CoordinatorError::Start(_) | CoordinatorError::Failed => error.into(),
    }
}
