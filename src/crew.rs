//! Who offers the load: a worker in this process, worker processes that this one starts, or whoever dials.
//!
//! All are given the same plan by the same coordinator; what differs is how they come to its door, and how
//! long that may take. Of many runs each has a worker or worker processes of its own here; workers elsewhere stay for all.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroU32,
    time::Duration,
};

use client::Credentials;
use coordinator::{Coordinator, FleetSize, ListenError, Phase, Progress, Protection};
use protocol::{Cookie, Input};
use tokio::sync::watch;
use worker::{Worker, WorkerOptions};
use workload::{Plan, PromptSource};

use crate::{
    benchmark::BUILD,
    exit::{Exit, Stop},
    fleet_secrets::Secrets,
    local_workers::{Inherited, LocalWorkers, Share},
    prepare::Origin,
    randomness,
    site::{Runs, Site, Way},
    telemetry::WorkersTelemetry,
    told,
    work::cache_folder,
};

/// A local worker answers in well under a millisecond; this leaves room for a busy machine.
const START_AHEAD: Duration = Duration::from_millis(300);
/// Over a network, with many to tell.
const START_AHEAD_OF_A_FLEET: Duration = Duration::from_secs(2);
/// A local worker that has not registered by now never will.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// In a later run of many the fleet is here, or on its way from the last one. Who is missing then is waited for no longer
/// than this, if the run can begin without it; it may come to the next.
const REJOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Coming and going at the beginning of a later run is told of only if it takes longer.
const UNTOLD: Duration = Duration::from_secs(2);

/// See the module's documentation.
#[derive(Clone)]
pub(crate) enum Crew {
    /// One worker, in this process.
    ThisProcess,
    /// Each a process of this machine.
    OwnProcesses(OwnProcesses),
    /// Workers anywhere, who dial.
    Dialling(Gathering),
}

/// Processes that this one starts.
#[derive(Clone)]
pub(crate) struct OwnProcesses {
    count: NonZeroU32,
    /// The machine is divided among as many, of which not all are needed for each run.
    divided_by: NonZeroU32,
    /// Theirs alone.
    cookie: String,
}

/// Where and how long workers are waited for.
#[derive(Clone, Debug)]
pub(crate) struct Gathering {
    pub(crate) listen: SocketAddr,
    pub(crate) secrets: Secrets,
    pub(crate) size: FleetSize,
    pub(crate) join_timeout: Duration,
}

/// The workers of a run, as far as this process holds them.
pub(crate) enum Hands {
    /// In this process.
    Embedded(Box<Worker>),
    /// Beyond a listener.
    Connected(Connected),
}

/// A way in for workers, and the processes beyond it that are ours.
pub(crate) struct Connected {
    way: Way,
    /// Whoever dials stays for the next run.
    stays: bool,
    processes: Option<LocalWorkers>,
}

impl Crew {
    /// So many processes of this machine.
    pub(crate) fn of_processes(count: NonZeroU32) -> anyhow::Result<Self> {
        let cookie = randomness::secret()?;
        Ok(Self::OwnProcesses(OwnProcesses { count, divided_by: count, cookie }))
    }

    /// This crew, if `most` workers can be had of it; one process becomes as many.
    ///
    /// # Errors
    /// There are not as many, or the fleet may begin with fewer than are expected.
    pub(crate) fn with_at_least(&self, most: NonZeroU32) -> anyhow::Result<Self> {
        match self {
            Self::ThisProcess => Self::of_processes(most),
            Self::OwnProcesses(own) if own.count < most => {
                Err(too_few(most, "--workers", own.count).into())
            }
            Self::OwnProcesses(_) => Ok(self.clone()),
            Self::Dialling(Gathering { size, .. }) if size.minimum < size.expected => {
                let line = "--worker-counts measures with exactly so many workers: leave out --min-workers";
                Err(Stop::new(Exit::BadConfiguration, line).into())
            }
            Self::Dialling(Gathering { size, .. }) if size.expected < most => {
                Err(too_few(most, "--expect-workers", size.expected).into())
            }
            Self::Dialling(_) => Ok(self.clone()),
        }
    }

    /// As many of it as `count` own the load, and the others are spares. Each worker is as strong as in the whole.
    pub(crate) fn part(&self, count: NonZeroU32) -> Self {
        match self {
            Self::ThisProcess => Self::ThisProcess,
            Self::OwnProcesses(own) => Self::OwnProcesses(OwnProcesses { count, ..own.clone() }),
            Self::Dialling(gathering) => {
                let whole = gathering.size;
                let others = whole.expected.get().saturating_sub(count.get());
                let spares = whole.spares.saturating_add(others);
                let size = FleetSize { spares, ..FleetSize::exactly(count) };
                Self::Dialling(Gathering { size, ..gathering.clone() })
            }
        }
    }

    /// Finds what makes it impossible, before anything is asked of the target.
    pub(crate) async fn check(&self, site: &Site) -> Result<(), Stop> {
        match self {
            Self::ThisProcess | Self::OwnProcesses(_) => Ok(()),
            Self::Dialling(_) if site.is_open().await => Ok(()),
            Self::Dialling(gathering) => gathering.check(),
        }
    }

    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::ThisProcess | Self::OwnProcesses(_) => Origin::Here,
            Self::Dialling(_) => Origin::Elsewhere,
        }
    }

    pub(crate) fn size(&self) -> FleetSize {
        match self {
            Self::ThisProcess => FleetSize::exactly(NonZeroU32::MIN),
            Self::OwnProcesses(own) => FleetSize::exactly(own.count),
            Self::Dialling(gathering) => gathering.size,
        }
    }

    /// How long workers may take to come to a run that cannot begin without them.
    pub(crate) fn whole_join_timeout(&self) -> Duration {
        match self {
            Self::ThisProcess | Self::OwnProcesses(_) => JOIN_TIMEOUT,
            Self::Dialling(gathering) => gathering.join_timeout,
        }
    }

    /// How long all of them are waited for, before a run.
    pub(crate) async fn join_timeout(&self, site: &Site) -> Duration {
        let (whole, size) = (self.whole_join_timeout(), self.size());
        let is_later = site.is_open().await;
        let may_begin_without = size.minimum < size.expected;
        if is_later && may_begin_without { REJOIN_TIMEOUT.min(whole) } else { whole }
    }

    pub(crate) fn start_ahead(&self) -> Duration {
        match self {
            Self::ThisProcess => START_AHEAD,
            Self::OwnProcesses(_) | Self::Dialling(_) => START_AHEAD_OF_A_FLEET,
        }
    }

    /// What tells workers that more runs may follow: those that are started for each run end with it.
    pub(crate) fn run_of_many(&self, site: &Site) -> anyhow::Result<Option<u64>> {
        match (self, site.runs()) {
            (Self::Dialling(_), Runs::Many) => randomness::number().map(Some),
            (Self::Dialling(_), Runs::One) | (Self::ThisProcess | Self::OwnProcesses(_), _) => {
                Ok(None)
            }
        }
    }

    /// The files that the prompts are made of, for workers on machines without them.
    pub(crate) async fn inputs(&self, plan: &Plan) -> anyhow::Result<Vec<Input>> {
        match self {
            Self::ThisProcess | Self::OwnProcesses(_) => Ok(Vec::new()),
            Self::Dialling(_) => inputs_of(plan.clone()).await,
        }
    }

    /// Brings the workers to the coordinator's door, or opens it for them.
    pub(crate) async fn gather(
        &self,
        coordinator: &Coordinator,
        credentials: &Credentials,
        telemetry: &WorkersTelemetry<'_>,
        site: &Site,
    ) -> anyhow::Result<Hands> {
        match self {
            Self::ThisProcess => {
                let listener = telemetry.listener.clone();
                let options = this_machine(Some(0), credentials.clone())?;
                let options = WorkerOptions { listener, ..options };
                let worker = Worker::start(options, coordinator.door()).await?;
                Ok(Hands::Embedded(Box::new(worker)))
            }
            Self::OwnProcesses(OwnProcesses { count, divided_by, cookie }) => {
                let secrets = Secrets::of_this_machine(Cookie::new(cookie)?);
                let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
                let way = site.let_in(coordinator, any_port, secrets).await?;
                let share = Share { count: *count, divided_by: *divided_by };
                let inherited = Inherited {
                    cookie: cookie.clone(),
                    credentials: credentials.clone(),
                    telemetry: telemetry.source.clone(),
                };
                let processes = LocalWorkers::start(share, way.address, &inherited)?;
                let processes = Some(processes);
                Ok(Hands::Connected(Connected { way, stays: false, processes }))
            }
            Self::Dialling(gathering) => {
                Ok(Hands::Connected(gathering.open(coordinator, site).await?))
            }
        }
    }
}

fn too_few(most: NonZeroU32, flag: &str, there_are: NonZeroU32) -> Stop {
    let line = format!("--worker-counts asks for {most} workers, and {flag} is {there_are}");
    Stop::new(Exit::BadConfiguration, line)
}

impl Gathering {
    /// Whether this address may be and can be listened at.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        let bad = |problem: String| Stop::new(Exit::BadConfiguration, problem);
        if self.secrets.protection == Protection::Lacking && !self.listen.ip().is_loopback() {
            return Err(bad(ListenError::Unprotected(self.listen).to_string()));
        }
        TcpListener::bind(self.listen)
            .map(drop)
            .map_err(|error| bad(format!("cannot listen on {}: {error}", self.listen)))
    }

    /// Lets workers in from now on, and tells of their coming.
    pub(crate) async fn open(
        &self,
        coordinator: &Coordinator,
        site: &Site,
    ) -> anyhow::Result<Connected> {
        let way = site.let_in(coordinator, self.listen, self.secrets.clone()).await?;
        if way.is_new {
            told::tell(format_args!("listening on {}", way.address));
        }
        let untold = if way.is_new { Duration::ZERO } else { UNTOLD };
        tokio::spawn(tell_of_arrivals(coordinator.progress(), untold));
        Ok(Connected { way, stays: site.runs() == Runs::Many, processes: None })
    }
}

impl Connected {
    /// The run is over.
    pub(crate) async fn release(self) {
        if !self.stays {
            self.way.clear().await;
        }
        if let Some(processes) = self.processes {
            processes.end().await;
        }
    }
}

impl Hands {
    /// The run is over: lets them hear it, and ends those that are ours.
    pub(crate) async fn release(self) {
        match self {
            Self::Embedded(worker) => drop(tokio::spawn(worker.complete())),
            Self::Connected(connected) => connected.release().await,
        }
    }
}

/// Each file with its hash, read off the runtime: it may have gigabytes.
pub(crate) async fn inputs_of(plan: Plan) -> anyhow::Result<Vec<Input>> {
    let schedule = plan.schedule.as_ref().and_then(|schedule| schedule.input.clone());
    let opened = tokio::task::spawn_blocking(move || PromptSource::open(&plan)).await?;
    let (prompts, _) = opened.map_err(|problems| Stop::bad_configuration(&problems))?;
    let files = prompts.inputs().into_iter().chain(schedule);
    let input = |file: workload::InputFile| Input {
        path: file.path,
        bytes: file.bytes,
        sha256: file.sha256,
    };
    Ok(files.map(input).collect())
}

/// A worker of this machine, a new incarnation each time.
pub(crate) fn this_machine(
    ordinal: Option<u32>,
    credentials: Credentials,
) -> anyhow::Result<WorkerOptions> {
    let processors = std::thread::available_parallelism()?;
    Ok(WorkerOptions {
        ordinal,
        incarnation: randomness::number()?,
        host: hostname(),
        processors: u16::try_from(processors.get()).unwrap_or(u16::MAX),
        build: BUILD.to_owned(),
        cache: None,
        spool: cache_folder(),
        credentials,
        listener: None,
        last_run: None,
    })
}

pub(crate) fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

/// A line whenever somebody came or went, until the fleet is complete; none if that takes no longer than `untold`.
async fn tell_of_arrivals(mut views: watch::Receiver<Progress>, untold: Duration) {
    let has_begun = |view: &Progress| view.phase != Phase::Forming;
    if !untold.is_zero() && tokio::time::timeout(untold, views.wait_for(has_begun)).await.is_ok() {
        return;
    }
    let mut told = None;
    loop {
        let (phase, (here, expected)) = {
            let view = views.borrow_and_update();
            (view.phase, view.workers)
        };
        match phase {
            Phase::Forming if told != Some(here) => {
                told::tell(format_args!("{here} of {expected} workers are here"));
                told = Some(here);
            }
            Phase::Forming => {}
            Phase::Assigning | Phase::Armed | Phase::Running => {
                told::tell(format_args!("{here} workers are here: the run begins"));
                return;
            }
            Phase::Draining | Phase::Final | Phase::Aborted => return,
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}
