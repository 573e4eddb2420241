//! Starts a worker and waits for its end.

use std::sync::Arc;

use client::Credentials;
use protocol::{CoordinatorMessage, Hello, PROTOCOL_VERSION, Peer, Refusal, worker_group};
use ractor::{Actor, ActorRef};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    Gate,
    link::Link,
    worker_actor::{WorkerActor, WorkerArguments},
};

/// What a worker needs to know.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// The place it claims, `None` to be given one.
    pub ordinal: Option<u32>,
    /// Random for each process.
    pub incarnation: u64,
    /// Host or pod name.
    pub host: String,
    /// Processors that it may use.
    pub processors: u16,
    /// This build; the coordinator refuses another one than its own.
    pub build: String,
    /// From this process's own environment or files; they are in no message, log or report.
    pub credentials: Credentials,
}

/// Why a worker did not take part.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// An actor could not be started.
    #[error("the worker could not start: {0}")]
    Start(#[from] ractor::SpawnErr),
    /// The coordinator gave no place.
    #[error("the coordinator refused this worker: {0}")]
    Refused(Refusal),
}

/// A worker that has its place.
pub struct Worker {
    actor: ActorRef<protocol::WorkerMessage>,
    alive: JoinHandle<()>,
    complete: watch::Receiver<bool>,
}

impl Worker {
    /// Registers at a coordinator's door.
    ///
    /// # Errors
    /// The coordinator refuses for good, or is gone.
    pub async fn start(
        options: WorkerOptions,
        door: Peer<CoordinatorMessage>,
    ) -> Result<Self, WorkerError> {
        let WorkerOptions { ordinal, incarnation, host, processors, build, credentials } = options;
        let (clock_compared, clock_known) = watch::channel(None);
        let (in_flight, in_flight_known) = watch::channel(0);
        let (completed, complete) = watch::channel(false);
        let (epoch, epoch_known) = watch::channel(0);
        let gate = Arc::new(Gate::default());
        let arguments = WorkerArguments {
            incarnation,
            processors,
            credentials,
            door: door.clone(),
            clock: clock_known,
            in_flight,
            complete: completed,
            gate: Arc::clone(&gate),
            epoch,
        };
        let (actor, _) = Actor::spawn(None, WorkerActor, arguments).await?;
        ractor::pg::join(worker_group(incarnation), vec![actor.get_cell()]);
        let link = Link {
            door,
            clock: clock_compared,
            in_flight: in_flight_known,
            complete: complete.clone(),
            epoch: epoch_known,
            gate,
        };
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            build,
            ordinal,
            incarnation,
            host,
            processors,
            epoch: 0,
        };
        let id = link.register(hello).await.map_err(WorkerError::Refused)?;
        let alive = tokio::spawn(link.keep_alive(id));
        Ok(Self { actor, alive, complete })
    }

    /// Waits until the last delta is on the coordinator's disk, or the actor has ended.
    pub async fn complete(mut self) {
        let _ = self.complete.wait_for(|complete| *complete).await;
        self.alive.abort();
        self.actor.stop(None);
    }
}
