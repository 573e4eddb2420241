//! Starts a coordinator and waits for its books.

use std::{path::PathBuf, sync::Arc, time::Duration};

use protocol::{COORDINATOR_GROUP, CoordinatorMessage, Input, PROTOCOL_VERSION, Peer, Record};
use ractor::{Actor, ActorRef};
use tokio::sync::{oneshot, watch};
use workload::Plan;

use crate::{
    CoordinatorClock, Ending, FleetSize, Inputs, JournalWriteError, Ledger, Progress, Roster, Run,
    clock::unix_now_ns,
    journal_writer::JournalWriter,
    supervisor::{Finished, Supervisor, SupervisorArguments, SupervisorMessage},
};

/// What a coordinator needs to know.
#[derive(Clone, Debug)]
pub struct CoordinatorOptions {
    /// What is run; the same for every worker.
    pub plan: Plan,
    /// Workers to wait for.
    pub size: FleetSize,
    /// The files that the plan's prompts are made of, for workers that do not have them.
    pub inputs: Vec<Input>,
    /// How long to wait for them.
    pub join_timeout: Duration,
    /// How far ahead of its announcement the start lies: more than the slowest answer takes.
    pub start_ahead: Duration,
    /// Where the journal is created; must not exist.
    pub journal: PathBuf,
    /// This build; a worker of another one is refused.
    pub build: String,
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// No journal, no run.
    #[error(transparent)]
    Journal(#[from] JournalWriteError),
    /// An actor could not be started.
    #[error("the coordinator could not start: {0}")]
    Start(#[from] ractor::SpawnErr),
    /// An actor failed: a fault of this program.
    #[error("the coordinator failed; see the log above")]
    Failed,
}

/// A run that is going on.
pub struct Coordinator {
    supervisor: ActorRef<SupervisorMessage>,
    door: ActorRef<CoordinatorMessage>,
    progress: watch::Receiver<Progress>,
    finished: oneshot::Receiver<Finished>,
}

/// What a run leaves: the merged books and who kept them.
#[derive(Debug)]
pub struct Merged {
    /// How it ended.
    pub ending: Ending,
    /// Everything that was merged.
    pub ledger: Ledger,
    /// The fleet.
    pub roster: Roster,
    /// Run time zero as Unix time in nanoseconds; `None` when no load was offered.
    pub start_unix_ns: Option<i64>,
    /// The run time at which the load was stopped early.
    pub stopped_at: Option<Duration>,
}

impl Coordinator {
    /// Opens the journal and the door; workers may register from now on.
    ///
    /// # Errors
    /// The journal cannot be created.
    pub async fn start(options: CoordinatorOptions) -> Result<Self, CoordinatorError> {
        let mut journal = JournalWriter::create(&options.journal)?;
        let plan = Arc::new(options.plan);
        let first = journal.append(&Record::Plan {
            protocol: PROTOCOL_VERSION,
            plan: Box::new(Plan::clone(&plan)),
            created_unix_ns: unix_now_ns(),
        })?;
        JournalWriter::wait_for(journal.durable(), first).await?;
        let expected = options.size.expected.get() as usize;
        let on_loss = plan.on_worker_loss;
        let (views, progress) = watch::channel(Progress::nothing_yet(expected));
        let (finish, finished) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        let arguments = SupervisorArguments {
            plan,
            inputs: Arc::new(Inputs::new(options.inputs)),
            run: Run::new(options.size, on_loss, options.build),
            clock: CoordinatorClock,
            journal,
            progress: views,
            join_timeout: options.join_timeout,
            start_ahead: options.start_ahead,
            open,
            finished: finish,
        };
        let (supervisor, _) = Actor::spawn(None, Supervisor, arguments).await?;
        let door = opened.await.map_err(|_| CoordinatorError::Failed)?;
        Ok(Self { supervisor, door, progress, finished })
    }

    /// Lets workers of other processes in, through this process's node.
    pub fn open_to_the_cluster(&self) {
        ractor::pg::join(COORDINATOR_GROUP.to_owned(), vec![self.door.get_cell()]);
    }

    /// Where workers of this process register.
    #[must_use]
    pub fn door(&self) -> Peer<CoordinatorMessage> {
        Peer::new(self.door.get_cell())
    }

    /// A view of the run, replaced once a second.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Asks for an end: the first time with a drain, the second time at once.
    pub fn interrupter(&self) -> impl Fn() + Send + Sync + use<> {
        let supervisor = self.supervisor.clone();
        move || {
            let _ = supervisor.cast(SupervisorMessage::Interrupt);
        }
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    /// An actor failed.
    pub async fn finished(self) -> Result<Merged, CoordinatorError> {
        let Finished { ending, ledger, roster, start_unix_ns, stopped_at } =
            self.finished.await.map_err(|_| CoordinatorError::Failed)?;
        Ok(Merged { ending, ledger, roster, start_unix_ns, stopped_at })
    }
}
