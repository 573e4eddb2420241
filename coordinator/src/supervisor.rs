//! The supervisor: carries events to [`Run`] and its commands out.
//!
//! It decides nothing. Calls to workers run in tasks of their own and come back as messages, so that a
//! silent worker never holds up the others.

mod orders;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use protocol::{
    Armed, CoordinatorMessage, Goodbye, Heartbeat, Hello, Peer, Record, Refusal, Welcome, Wire,
    WorkerId, WorkerMessage, worker_group,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, Message, RpcReplyPort, SupervisionEvent};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use workload::Plan;

use crate::{
    Command, CoordinatorClock, Ending, Event, Inputs, Ledger, Progress, Roster, Run,
    door::{Door, Rooms},
    journal_writer::{Durable, JournalWriter},
    ledger_actor::{LedgerActor, LedgerArguments, LedgerMessage},
    silence::{LOOK_EVERY, Silence},
};

/// A stop names an instant this far ahead, so that every lane hears of it in time.
const STOP_AHEAD: Duration = Duration::from_millis(100);

/// What the supervisor is told. Local: these never leave the process.
pub(crate) enum SupervisorMessage {
    /// From the door.
    Register(Hello, RpcReplyPort<Wire<Welcome>>),
    /// From the door.
    Heartbeat(Heartbeat),
    /// From the door.
    Goodbye(Goodbye),
    /// A call to a worker has ended.
    Happened(Event),
    /// The worker's clock as used for its start.
    Armed(WorkerId, Result<Armed, Refusal>),
    /// From the ledger.
    LastDelta(WorkerId),
    /// From the ledger.
    JournalFailed(String),
    /// From the user.
    Interrupt,
    /// Time to look for silence.
    Watch,
}

impl Message for SupervisorMessage {}

/// What a supervisor starts with.
pub(crate) struct SupervisorArguments {
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: Run,
    pub(crate) clock: CoordinatorClock,
    pub(crate) journal: JournalWriter,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) join_timeout: Duration,
    pub(crate) start_ahead: Duration,
    pub(crate) open: oneshot::Sender<ActorRef<CoordinatorMessage>>,
    pub(crate) finished: oneshot::Sender<Finished>,
}

/// What is left when the run is over.
pub(crate) struct Finished {
    pub(crate) ending: Ending,
    pub(crate) ledger: Ledger,
    pub(crate) roster: Roster,
    pub(crate) start_unix_ns: Option<i64>,
    pub(crate) stopped_at: Option<Duration>,
}

/// See the module's documentation.
pub(crate) struct Supervisor;

/// The actor's own.
pub(crate) struct SupervisorState {
    me: ActorRef<SupervisorMessage>,
    plan: Arc<Plan>,
    run: Run,
    clock: CoordinatorClock,
    durable: watch::Receiver<Durable>,
    start_ahead: Duration,
    ledger: ActorRef<LedgerMessage>,
    peers: BTreeMap<WorkerId, Peer<WorkerMessage>>,
    silence: Silence,
    start: Option<Instant>,
    start_unix_ns: Option<i64>,
    stopped_at: Option<Duration>,
    finished: Option<oneshot::Sender<Finished>>,
}

impl Actor for Supervisor {
    type Msg = SupervisorMessage;
    type State = SupervisorState;
    type Arguments = SupervisorArguments;

    /// Starts the ledger and the door below itself, in this order: who comes through the door is served.
    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        arguments: SupervisorArguments,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let durable = arguments.journal.durable();
        let stages = u16::try_from(arguments.plan.stages.len()).unwrap_or(u16::MAX);
        let ledger_arguments = LedgerArguments {
            stages,
            journal: arguments.journal,
            supervisor: me.clone(),
            progress: arguments.progress,
        };
        let (ledger, _) =
            Actor::spawn_linked(None, LedgerActor, ledger_arguments, me.get_cell()).await?;
        let rooms = Rooms {
            supervisor: me.clone(),
            ledger: ledger.clone(),
            clock: arguments.clock,
            inputs: Arc::new(Inputs::default()),
        };
        let (door, _) = Actor::spawn_linked(None, Door, rooms, me.get_cell()).await?;
        let _ = arguments.open.send(door);
        let too_late = || SupervisorMessage::Happened(Event::JoinDeadline);
        drop(me.send_after(arguments.join_timeout, too_late));
        drop(me.send_interval(LOOK_EVERY, || SupervisorMessage::Watch));
        Ok(SupervisorState {
            me,
            plan: arguments.plan,
            run: arguments.run,
            clock: arguments.clock,
            durable,
            start_ahead: arguments.start_ahead,
            ledger,
            peers: BTreeMap::new(),
            silence: Silence::new(Instant::now()),
            start: None,
            start_unix_ns: None,
            stopped_at: None,
            finished: Some(arguments.finished),
        })
    }

    async fn handle(
        &self,
        _me: ActorRef<Self::Msg>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMessage::Register(hello, reply) => state.register(hello, reply).await?,
            SupervisorMessage::Heartbeat(heartbeat) => state.hear(&heartbeat),
            SupervisorMessage::Goodbye(goodbye) => {
                tracing::warn!(worker = %goodbye.worker, reason = goodbye.reason, "a worker leaves");
                state.happen(Event::Lost(goodbye.worker)).await?;
            }
            SupervisorMessage::Happened(event) => state.happen(event).await?,
            SupervisorMessage::Armed(worker, answer) => state.armed(worker, answer).await?,
            SupervisorMessage::LastDelta(worker) => state.happen(Event::LastDelta(worker)).await?,
            SupervisorMessage::JournalFailed(reason) => {
                state.happen(Event::JournalFailed(state.run_time(), reason)).await?;
            }
            SupervisorMessage::Interrupt => {
                let at = state.run_time().map(|now| now + STOP_AHEAD);
                state.happen(Event::Interrupted(at)).await?;
            }
            SupervisorMessage::Watch => state.look_for_silence().await?,
        }
        Ok(())
    }

    /// The ledger ends when it has handed out its books; anything else that ends is a fault of ours.
    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            tracing::error!(%error, "an actor of the coordinator failed");
            state.finished = None;
            me.stop(Some(error.to_string()));
        }
        Ok(())
    }
}

impl SupervisorState {
    async fn register(
        &mut self,
        hello: Hello,
        reply: RpcReplyPort<Wire<Welcome>>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(peer) = Peer::in_group(&worker_group(hello.incarnation)) else {
            let refusal = Refusal {
                reason: "your actor is not visible here yet".to_owned(),
                retry_after: Some(Duration::from_millis(200)),
            };
            let _ = reply.send(Wire::new(Welcome::Refused(refusal)));
            return Ok(());
        };
        let incarnation = hello.incarnation;
        let mut reply = Some(reply);
        for command in self.run.on(Event::Registered(hello)) {
            let Command::Welcome(welcome) = command else {
                self.carry_out(command).await?;
                continue;
            };
            if let Welcome::Accepted { ordinal } = welcome {
                self.join(WorkerId { ordinal, incarnation }, peer.clone())?;
            }
            if let Some(reply) = reply.take() {
                let _ = reply.send(Wire::new(welcome));
            }
        }
        Ok(())
    }

    fn join(
        &mut self,
        worker: WorkerId,
        peer: Peer<WorkerMessage>,
    ) -> Result<(), ActorProcessingErr> {
        self.peers.insert(worker, peer.clone());
        self.silence.heard(worker, Instant::now());
        self.ledger.cast(LedgerMessage::Joined(worker, peer))?;
        self.show()
    }

    fn hear(&mut self, heartbeat: &Heartbeat) {
        self.silence.heard(heartbeat.worker, Instant::now());
        self.run.clock(heartbeat.worker, heartbeat.clock_offset_ns, heartbeat.clock_error_ns);
    }

    async fn happen(&mut self, event: Event) -> Result<(), ActorProcessingErr> {
        if let Event::Lost(worker) = &event {
            self.ledger.cast(LedgerMessage::Lost(*worker))?;
        }
        for command in self.run.on(event) {
            self.carry_out(command).await?;
        }
        if self.finished.is_none() { Ok(()) } else { self.show() }
    }

    async fn armed(
        &mut self,
        worker: WorkerId,
        answer: Result<Armed, Refusal>,
    ) -> Result<(), ActorProcessingErr> {
        if let Ok(Armed { clock_offset_ns: offset_ns, clock_error_ns: error_ns }) = answer {
            self.run.clock(worker, offset_ns, error_ns);
            self.append(Record::ClockOffset { worker, offset_ns, error_ns }).await?;
        }
        self.happen(Event::Armed(worker, answer.map(|_| ()))).await
    }

    fn show(&self) -> Result<(), ActorProcessingErr> {
        let workers = self.run.roster().heard();
        Ok(self.ledger.cast(LedgerMessage::Phase(self.run.phase(), self.start, workers))?)
    }

    async fn look_for_silence(&mut self) -> Result<(), ActorProcessingErr> {
        for worker in self.silence.look(Instant::now()) {
            self.happen(Event::Lost(worker)).await?;
        }
        Ok(())
    }

    /// `None` before the start.
    fn run_time(&self) -> Option<Duration> {
        Instant::now().checked_duration_since(self.start?)
    }
}
