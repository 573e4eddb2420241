//! Starts a worker and waits for its end.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use client::{Clock, Credentials};
use protocol::{
    Abort, CoordinatorMessage, Hello, PROTOCOL_VERSION, Peer, Refusal, Wire, WorkerMessage,
    worker_group,
};
use ractor::{Actor, ActorRef};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{
    Gate, RequestListener,
    link::{Heard, Link, NoPlace},
    threads::LaneThreads,
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
    /// Where inputs that are fetched from the coordinator are kept; `None`: they must be here.
    pub cache: Option<PathBuf>,
    /// Where records wait until the coordinator has them; `None`: in the system's folder for temporary files.
    pub spool: Option<PathBuf>,
    /// From this process's own environment or files; they are in no message, log or report.
    pub credentials: Credentials,
    /// Who is told of sampled requests, off the lanes.
    pub listener: Option<Arc<dyn RequestListener>>,
    /// The last of a coordinator's many runs in which this process has had its part: see [`protocol::Hello::last_run`].
    pub last_run: Option<u64>,
}

/// Why a worker did not take part.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// An actor could not be started.
    #[error("the worker could not start: {0}")]
    Start(#[from] ractor::SpawnErr),
    /// A thread could not be started.
    #[error("the worker could not start a thread: {0}")]
    Thread(#[from] io::Error),
    /// The coordinator gave no place.
    #[error("the coordinator refused this worker: {0}")]
    Refused(Refusal),
    /// The coordinator has led the last of its runs.
    #[error("the coordinator has led its last run")]
    Dismissed,
}

impl From<NoPlace> for WorkerError {
    fn from(none: NoPlace) -> Self {
        match none {
            NoPlace::Refused(refusal) => Self::Refused(refusal),
            NoPlace::Dismissed => Self::Dismissed,
        }
    }
}

/// A worker that has its place; its lanes and streams end when this is dropped.
pub struct Worker {
    actor: ActorRef<WorkerMessage>,
    alive: JoinHandle<()>,
    complete: watch::Receiver<bool>,
    ended: watch::Receiver<Option<WorkerEnd>>,
    leave: watch::Sender<Option<Leave>>,
    run: watch::Receiver<Option<u64>>,
    /// Since when records wait here without being asked for, if some do.
    held: watch::Receiver<Option<Instant>>,
}

/// A worker was told to leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leave {
    /// When, on CLOCK_BOOTTIME.
    pub(crate) asked_ns: u64,
    /// How long its open streams may take after it offers nothing any more.
    pub(crate) grace: Duration,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// Its last delta is on the coordinator's disk.
    Complete,
    /// The coordinator closed the books without a last delta of it: it was a spare, or too late.
    Over,
    /// No load was offered, for this reason.
    CalledOff(String),
    /// It was told to leave before it was part of the load.
    Left,
    /// The coordinator counts it as lost: as a new incarnation it may come back.
    Closed,
    /// It was without a coordinator for too long.
    Orphaned,
    /// A part of it failed; the log says which.
    Failed,
}

/// Time for cancelled streams to close.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long records wait for a coordinator that does not ask for them.
const RECORDS_PATIENCE: Duration = Duration::from_secs(60);

impl Worker {
    /// Registers at a coordinator's door. Its lanes have the priority of the thread that calls this.
    ///
    /// # Errors
    /// The coordinator refuses for good, or is gone.
    pub async fn start(
        options: WorkerOptions,
        door: Peer<CoordinatorMessage>,
    ) -> Result<Self, WorkerError> {
        let WorkerOptions {
            ordinal,
            incarnation,
            host,
            processors,
            build,
            cache,
            spool,
            credentials,
            listener,
            last_run,
        } = options;
        let (run, run_known) = watch::channel(None);
        let (held, held_seen) = watch::channel(None);
        let (clock_compared, clock_known) = watch::channel(None);
        let (in_flight, in_flight_known) = watch::channel(0);
        let (completed, complete) = watch::channel(false);
        let (heard, heard_known) = watch::channel(Heard::default());
        let (ended, ended_known) = watch::channel(None);
        let (leave, told_to_leave) = watch::channel(None);
        let gate = Arc::new(Gate::default());
        let arguments = WorkerArguments {
            incarnation,
            processors,
            credentials,
            door: door.clone(),
            clock: clock_known,
            in_flight,
            complete: completed,
            threads: LaneThreads::start()?,
            gate: Arc::clone(&gate),
            heard,
            cache,
            spool,
            listener,
            held,
            ended: ended.clone(),
            leave: told_to_leave.clone(),
            run,
        };
        let (actor, _) = Actor::spawn(None, WorkerActor, arguments).await?;
        ractor::pg::join(worker_group(incarnation), vec![actor.get_cell()]);
        let link = Link {
            door,
            clock: clock_compared,
            in_flight: in_flight_known,
            complete: complete.clone(),
            heard: heard_known,
            gate,
            leave: told_to_leave,
        };
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            build,
            ordinal,
            incarnation,
            host,
            processors,
            epoch: 0,
            last_run,
        };
        let id = link.register(hello).await?;
        let alive = tokio::spawn(link.keep_alive(id, ended));
        Ok(Self {
            actor,
            alive,
            complete,
            ended: ended_known,
            leave,
            run: run_known,
            held: held_seen,
        })
    }

    /// Which of its coordinator's many runs this worker has a part in, once it has its plan: see
    /// [`protocol::Assignment::run`].
    pub fn run(&self) -> watch::Receiver<Option<u64>> {
        self.run.clone()
    }

    /// Tells this worker to leave in order, from anywhere: it says goodbye, naming the instant (or round) up to
    /// which it still offers its share, gives its open streams `grace` beyond it, and ships its last delta;
    /// [`Self::complete`] then returns. Others go on with its share. Needs some 2.5 s and the grace.
    pub fn leaver(&self) -> impl Fn(Duration) + Send + Sync + use<> {
        let leave = self.leave.clone();
        move |grace| {
            let asked_ns = Clock::boottime_ns();
            leave.send_if_modified(|known| {
                let is_new = known.is_none();
                known.get_or_insert(Leave { asked_ns, grace });
                is_new
            });
        }
    }

    /// Waits for its end, and until its records were taken; streams that are still open then are cancelled.
    pub async fn complete(mut self) -> WorkerEnd {
        let end = tokio::select! {
            biased;
            done = self.complete.wait_for(|complete| *complete) => match done {
                Ok(_) => WorkerEnd::Complete,
                Err(_) => WorkerEnd::Failed,
            },
            early = self.ended.wait_for(Option::is_some) => {
                early.ok().and_then(|end| end.clone()).unwrap_or(WorkerEnd::Failed)
            }
        };
        if end == WorkerEnd::Complete {
            self.until_records_are_taken().await;
        }
        if end == WorkerEnd::Orphaned {
            let reason = "no word of the coordinator for too long".to_owned();
            let _ = self.actor.cast(WorkerMessage::Abort(Wire::new(Abort { reason })));
        }
        match end {
            // Nothing was sent, or all has ended.
            WorkerEnd::Complete | WorkerEnd::CalledOff(_) => {}
            WorkerEnd::Over
            | WorkerEnd::Left
            | WorkerEnd::Closed
            | WorkerEnd::Orphaned
            | WorkerEnd::Failed => tokio::time::sleep(LAST_WORDS).await,
        }
        end
    }

    async fn until_records_are_taken(&mut self) {
        let begun = Instant::now();
        loop {
            let Some(asked) = *self.held.borrow_and_update() else { return };
            let patience = tokio::time::sleep_until(asked.max(begun) + RECORDS_PATIENCE);
            tokio::select! {
                changed = self.held.changed() => if changed.is_err() { return },
                () = patience => {
                    tracing::warn!("nobody asks for the records that wait here: they are dropped");
                    return;
                }
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.alive.abort();
        self.actor.stop(None);
    }
}
