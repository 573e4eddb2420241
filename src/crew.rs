//! Who offers the load: a worker in this process, worker processes that this one starts, or whoever dials.
//!
//! All are given the same plan by the same coordinator; what differs is how they come to its door, and how
//! long that may take.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroU32,
    time::Duration,
};

use client::Credentials;
use coordinator::{Coordinator, FleetSize, ListenError, Listener, Phase, Progress, Protection};
use protocol::{Cookie, Input, Node};
use tokio::{sync::watch, time::Instant};
use worker::{Worker, WorkerOptions};
use workload::{Plan, PromptSource};

use crate::{
    benchmark::BUILD,
    exit::{Exit, Stop},
    fleet_secrets::Secrets,
    local_workers::LocalWorkers,
    prepare::Origin,
    randomness, told,
};

/// A local worker answers in well under a millisecond; this leaves room for a busy machine.
const START_AHEAD: Duration = Duration::from_millis(300);
/// Over a network, with many to tell.
const START_AHEAD_OF_A_FLEET: Duration = Duration::from_secs(2);
/// A local worker that has not registered by now never will.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long workers that have had their last word may take to close their connections.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often that is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) enum Crew {
    /// One worker, in this process.
    ThisProcess,
    /// So many, each a process of this machine.
    OwnProcesses(NonZeroU32),
    /// Workers anywhere, who dial.
    Dialling(Gathering),
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

/// A listener, and the processes behind it that are ours.
pub(crate) struct Connected {
    node: Node,
    listener: Listener,
    processes: Option<LocalWorkers>,
}

impl Crew {
    /// Finds what makes it impossible, before anything is asked of the target.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        match self {
            Self::ThisProcess | Self::OwnProcesses(_) => Ok(()),
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
            Self::OwnProcesses(count) => FleetSize::exactly(*count),
            Self::Dialling(gathering) => gathering.size,
        }
    }

    pub(crate) fn join_timeout(&self) -> Duration {
        match self {
            Self::ThisProcess | Self::OwnProcesses(_) => JOIN_TIMEOUT,
            Self::Dialling(gathering) => gathering.join_timeout,
        }
    }

    pub(crate) fn start_ahead(&self) -> Duration {
        match self {
            Self::ThisProcess => START_AHEAD,
            Self::OwnProcesses(_) | Self::Dialling(_) => START_AHEAD_OF_A_FLEET,
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
    ) -> anyhow::Result<Hands> {
        match self {
            Self::ThisProcess => {
                let options = this_machine(Some(0), credentials.clone())?;
                let worker = Worker::start(options, coordinator.door()).await?;
                Ok(Hands::Embedded(Box::new(worker)))
            }
            Self::OwnProcesses(count) => {
                let cookie = randomness::secret()?;
                let secrets = Secrets::of_this_machine(Cookie::new(&cookie)?);
                let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
                let mut connected = Connected::open(coordinator, any_port, secrets).await?;
                let address = connected.listener.address();
                let workers = LocalWorkers::start(*count, address, &cookie, credentials)?;
                connected.processes = Some(workers);
                Ok(Hands::Connected(connected))
            }
            Self::Dialling(gathering) => Ok(Hands::Connected(gathering.open(coordinator).await?)),
        }
    }
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
    pub(crate) async fn open(&self, coordinator: &Coordinator) -> anyhow::Result<Connected> {
        let connected = Connected::open(coordinator, self.listen, self.secrets.clone()).await?;
        told::tell(format_args!("listening on {}", connected.listener.address()));
        tokio::spawn(tell_of_arrivals(coordinator.progress()));
        Ok(connected)
    }
}

impl Connected {
    async fn open(
        coordinator: &Coordinator,
        address: SocketAddr,
        secrets: Secrets,
    ) -> anyhow::Result<Self> {
        let node = Node::start("coordinator", &secrets.cookie).await?;
        coordinator.open_to_the_cluster();
        let Secrets { trust, protection, .. } = secrets;
        let listener = Listener::open(address, node.clone(), trust, protection).await?;
        Ok(Self { node, listener, processes: None })
    }

    /// Those who have had their last word close their connections themselves: ending before would cut it off.
    pub(crate) async fn release(self) {
        let deadline = Instant::now() + FAREWELL;
        while self.node.sessions() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
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
        credentials,
    })
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

/// A line whenever somebody came or went, until the fleet is complete.
async fn tell_of_arrivals(mut views: watch::Receiver<Progress>) {
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
