//! The supervisor: carries events to [`Run`] and its commands out.
//!
//! It decides nothing. Calls to workers run in tasks of their own and come back as messages, so that a
//! silent worker never holds up the others.

mod members;
mod message;
mod orders;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use metrics::StopReason;
use protocol::{
    Armed, Assigned, Closed, CoordinatorMessage, Heartbeat, Hello, Peer, Record, Refusal, Welcome,
    Wire, WorkerId, WorkerMessage, worker_group,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};
use workload::Plan;

use crate::{
    Command, CoordinatorClock, Ending, Event, Heard, Inputs, LOOK_EVERY, Ledger, Membership,
    Reading, Roster, Run,
    door::{Door, Rooms},
    gathering::Gather,
    journal_writer::{Durable, JournalWriter},
    ledger_actor::{LedgerActor, LedgerArguments, LedgerMessage, Views},
    observer::Fleet,
};

pub(crate) use message::SupervisorMessage;

/// A stop names an instant this far ahead, so that every lane hears of it in time.
const STOP_AHEAD: Duration = Duration::from_millis(100);

/// What a supervisor starts with.
pub(crate) struct SupervisorArguments {
    pub(crate) plan: Arc<Plan>,
    pub(crate) inputs: Arc<Inputs>,
    pub(crate) run: Run,
    pub(crate) ledger: Ledger,
    pub(crate) membership: Membership,
    /// Of a run that another coordinator began.
    pub(crate) resumed: Option<Resumed>,
    pub(crate) clock: CoordinatorClock,
    pub(crate) journal: JournalWriter,
    pub(crate) views: Views,
    /// Workers wanted.
    pub(crate) expected: usize,
    pub(crate) join_timeout: Duration,
    pub(crate) start_ahead: Duration,
    pub(crate) open: oneshot::Sender<ActorRef<CoordinatorMessage>>,
    pub(crate) finished: oneshot::Sender<Finished>,
}

/// The start and end that another coordinator has fixed.
#[derive(Clone, Debug)]
pub(crate) struct Resumed {
    /// On our own clock.
    pub(crate) start_ns: u64,
    pub(crate) start_unix_ns: i64,
    pub(crate) stopped_at: Option<Duration>,
    pub(crate) stop_reason: Option<StopReason>,
}

/// What is left when the run is over.
pub(crate) struct Finished {
    pub(crate) ending: Ending,
    pub(crate) ledger: Ledger,
    pub(crate) roster: Roster,
    pub(crate) start_unix_ns: Option<i64>,
    pub(crate) stopped_at: Option<Duration>,
    pub(crate) stop_reason: Option<StopReason>,
}

/// See the module's documentation.
pub(crate) struct Supervisor;

/// The actor's own.
pub(crate) struct SupervisorState {
    me: ActorRef<SupervisorMessage>,
    plan: Arc<Plan>,
    inputs: Arc<Inputs>,
    run: Run,
    membership: Membership,
    clock: CoordinatorClock,
    durable: watch::Receiver<Durable>,
    start_ahead: Duration,
    ledger: ActorRef<LedgerMessage>,
    peers: BTreeMap<WorkerId, Peer<WorkerMessage>>,
    start: Option<Instant>,
    start_at_coordinator_ns: Option<u64>,
    start_unix_ns: Option<i64>,
    stopped_at: Option<Duration>,
    /// Who said goodbye: they answer for what they have in flight, and send nothing more.
    left: BTreeSet<WorkerId>,
    /// The rule that ends the load.
    stop_reason: Option<StopReason>,
    finished: Option<oneshot::Sender<Finished>>,
    /// Who gathers records, if somebody does.
    gather: Option<Gather>,
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
        let ledger_arguments = LedgerArguments {
            ledger: arguments.ledger,
            journal: arguments.journal,
            supervisor: me.clone(),
            views: arguments.views,
            expected: arguments.expected,
            plan: Arc::clone(&arguments.plan),
        };
        let (ledger, _) =
            Actor::spawn_linked(None, LedgerActor, ledger_arguments, me.get_cell()).await?;
        let rooms = Rooms {
            supervisor: me.clone(),
            ledger: ledger.clone(),
            clock: arguments.clock,
            inputs: Arc::clone(&arguments.inputs),
        };
        let (door, _) = Actor::spawn_linked(None, Door, rooms, me.get_cell()).await?;
        let _ = arguments.open.send(door);
        let too_late = || SupervisorMessage::Happened(Event::JoinDeadline);
        drop(me.send_after(arguments.join_timeout, too_late));
        drop(me.send_interval(LOOK_EVERY, || SupervisorMessage::Watch));
        let mut state = SupervisorState {
            membership: arguments.membership,
            me,
            plan: arguments.plan,
            inputs: arguments.inputs,
            run: arguments.run,
            clock: arguments.clock,
            durable,
            start_ahead: arguments.start_ahead,
            ledger,
            peers: BTreeMap::new(),
            start: None,
            start_at_coordinator_ns: None,
            start_unix_ns: None,
            stopped_at: None,
            left: BTreeSet::new(),
            stop_reason: None,
            finished: Some(arguments.finished),
            gather: None,
        };
        if let Some(resumed) = arguments.resumed {
            state.go_on(resumed)?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        _me: ActorRef<Self::Msg>,
        message: SupervisorMessage,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        if state.finished.is_none() {
            return state.after_the_end(message);
        }
        match message {
            SupervisorMessage::Register(hello, reply) => state.register(hello, reply).await?,
            SupervisorMessage::Heartbeat(heartbeat) => state.hear(&heartbeat).await?,
            SupervisorMessage::Goodbye(goodbye) => {
                tracing::warn!(worker = %goodbye.worker, reason = goodbye.reason, "a worker leaves");
                let worker = goodbye.worker;
                let _first = state.left.insert(worker);
                state.depart(worker, Some(&goodbye), Event::Left(worker)).await?;
            }
            SupervisorMessage::Broken(worker) => {
                state.depart(worker, None, Event::Lost(worker)).await?;
            }
            SupervisorMessage::Written(epoch) => {
                state.membership.written(epoch);
                state.beat();
            }
            SupervisorMessage::RoundsWritten(worker, below) => state.raise(worker, below),
            SupervisorMessage::Happened(event) => state.happen(event).await?,
            SupervisorMessage::Assigned(worker, answer) => state.assigned(worker, answer).await?,
            SupervisorMessage::Armed(worker, answer) => state.armed(worker, answer).await?,
            SupervisorMessage::LastDelta(worker) => {
                state.membership.complete(worker);
                state.gather_from(worker);
                state.happen(Event::LastDelta(worker)).await?;
            }
            SupervisorMessage::RuleSpoke(reason) => state.rule_spoke(reason).await?,
            SupervisorMessage::StopWritten(at) => state.tell_stop(at),
            SupervisorMessage::StageStopWritten(at, ends) => {
                state.membership.end_stages(at, &ends);
                state.beat();
            }
            SupervisorMessage::JournalFailed(reason) => {
                state.happen(Event::JournalFailed(state.run_time(), reason)).await?;
            }
            SupervisorMessage::Interrupt => {
                let at = state.run_time().map(|now| now + STOP_AHEAD);
                state.happen(Event::Interrupted(at)).await?;
            }
            SupervisorMessage::Watch => state.look().await?,
            SupervisorMessage::Opened => state.membership.expect_heirs(),
            SupervisorMessage::Gather(gather) => state.gather_by(gather),
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
        let peer = Peer::of_group(worker_group(hello.incarnation));
        if !peer.is_connected() {
            let refusal = Refusal {
                reason: "your actor is not visible here yet".to_owned(),
                retry_after: Some(Duration::from_millis(200)),
            };
            let _ = reply.send(Wire::new(Welcome::Refused(refusal)));
            return Ok(());
        }
        let (incarnation, host) = (hello.incarnation, hello.host.clone());
        let mut reply = Some(reply);
        for command in self.run.on(Event::Registered(hello)) {
            let Command::Welcome(welcome) = command else {
                self.carry_out(command).await?;
                continue;
            };
            match welcome {
                Welcome::Accepted { ordinal } | Welcome::Spare { ordinal } => {
                    self.join(WorkerId { ordinal, incarnation }, peer.clone())?;
                }
                Welcome::Refused(Refusal { ref reason, retry_after: None }) => {
                    tracing::warn!(host, reason, "a worker was refused");
                }
                Welcome::Refused(_) | Welcome::Dismissed => {}
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
        self.membership.admit(worker, self.clock.now_ns());
        self.ledger.cast(LedgerMessage::Joined(worker, peer))?;
        self.show()
    }

    async fn hear(&mut self, heartbeat: &Heartbeat) -> Result<(), ActorProcessingErr> {
        let worker = heartbeat.worker;
        match self.membership.heard(heartbeat, self.clock.now_ns()) {
            Heard::Here => {
                self.stop_again(worker);
                if let Some(beat) = self.membership.answer(worker, self.clock.now_ns()) {
                    self.tell(worker, WorkerMessage::Heartbeat(Wire::new(beat)));
                }
                if let Some(below) = self.membership.next_ceiling(worker) {
                    self.write_ceiling(worker, below).await?;
                }
                let (offset_ns, error_ns) = (heartbeat.clock_offset_ns, heartbeat.clock_error_ns);
                if self.run.clock(worker, offset_ns, error_ns) && self.run.began() {
                    let record = Record::ClockOffset { worker, offset_ns, error_ns };
                    self.write_down(record, None).await?;
                }
            }
            Heard::Leaving => {}
            Heard::Closed if self.run.is_complete(worker) => {}
            Heard::Closed => self.tell(worker, WorkerMessage::Closed(Wire::new(Closed { worker }))),
        }
        Ok(())
    }

    /// Sends without an answer; who is gone is missed by its silence.
    fn tell(&self, worker: WorkerId, message: WorkerMessage) {
        let Some(peer) = self.peers.get(&worker) else { return };
        if let Err(error) = peer.send(message) {
            tracing::debug!(%worker, %error, "a message was not sent");
        }
    }

    async fn happen(&mut self, event: Event) -> Result<(), ActorProcessingErr> {
        for command in self.run.on(event) {
            self.carry_out(command).await?;
        }
        if self.finished.is_none() { Ok(()) } else { self.show() }
    }

    async fn assigned(
        &mut self,
        worker: WorkerId,
        answer: Result<Assigned, Refusal>,
    ) -> Result<(), ActorProcessingErr> {
        if let Ok(assigned) = &answer {
            let assigned = assigned.clone();
            self.write_down(Record::Assigned { worker, assigned }, None).await?;
        }
        self.happen(Event::Assigned(worker, answer)).await
    }

    async fn armed(
        &mut self,
        worker: WorkerId,
        answer: Result<Armed, Refusal>,
    ) -> Result<(), ActorProcessingErr> {
        if let Ok(Armed { clock_offset_ns: offset_ns, clock_error_ns: error_ns }) = answer {
            let _ = self.run.clock(worker, offset_ns, error_ns);
            self.membership.armed(worker, Reading { offset_ns, error_ns });
            self.write_down(Record::ClockOffset { worker, offset_ns, error_ns }, None).await?;
        }
        self.happen(Event::Armed(worker, answer.map(|_| ()))).await
    }

    fn show(&self) -> Result<(), ActorProcessingErr> {
        let roster = self.run.roster();
        let fleet = Fleet {
            phase: self.run.phase(),
            start: self.start,
            stopped_at: self.stopped_at,
            here: roster.heard_but(&self.left),
            members: roster.members().cloned().collect(),
        };
        Ok(self.ledger.cast(LedgerMessage::Fleet(Box::new(fleet)))?)
    }

    /// `None` before the start.
    fn run_time(&self) -> Option<Duration> {
        Instant::now().checked_duration_since(self.start?)
    }
}
