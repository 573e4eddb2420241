//! The ledger actor: journal first, merge, acknowledge what is on disk.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use metrics::{Interval, Live};
use protocol::{Acknowledge, Part, Peer, Record, WorkerId, WorkerMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef, Message, RpcReplyPort};
use tokio::{sync::watch, time::Instant};
use workload::Plan;

use crate::{
    Acceptance, Ledger, Ownership, Progress,
    journal_writer::{Durable, JournalWriteError, JournalWriter},
    observer::{Fleet, Observer},
    supervisor::SupervisorMessage,
};

/// How often observers get a new view.
const VIEW_EVERY: Duration = Duration::from_secs(1);

/// What the ledger actor is told. Local: these never leave the process.
pub(crate) enum LedgerMessage {
    /// A worker was admitted and is found here.
    Joined(WorkerId, Peer<WorkerMessage>),
    /// A part has arrived.
    Part(Part),
    /// The journal has grown on disk, or has failed.
    Durable(Durable),
    /// The fleet is armed: who owns what.
    Own(Ownership),
    /// A record for the journal that the books may have to follow (a loss, with what changes by it);
    /// answered with its number.
    Decide(Box<Record>, RpcReplyPort<Result<u64, String>>),
    /// A record of the supervisor's; answered with its number.
    Append(Box<Record>, RpcReplyPort<Result<u64, String>>),
    /// Where the run is, for observers.
    Fleet(Box<Fleet>),
    /// Time for a new view.
    View,
    /// The run is over: hands out the books.
    Close(RpcReplyPort<Ledger>),
}

impl Message for LedgerMessage {}

/// See the module's documentation.
pub(crate) struct LedgerActor;

/// What it starts with.
pub(crate) struct LedgerArguments {
    /// Empty, or as a journal has it.
    pub(crate) ledger: Ledger,
    pub(crate) journal: JournalWriter,
    pub(crate) supervisor: ActorRef<SupervisorMessage>,
    pub(crate) views: Views,
    pub(crate) expected: usize,
    pub(crate) plan: Arc<Plan>,
}

/// Where observers look.
pub(crate) struct Views {
    /// Replaced as soon as the run has come further.
    pub(crate) progress: watch::Sender<Progress>,
    /// Replaced then too, and once a second.
    pub(crate) live: watch::Sender<Arc<Live>>,
}

/// A part that is in the journal's queue and not yet known to be on disk.
struct Pending {
    record: u64,
    worker: WorkerId,
    sequence: u64,
    last: bool,
}

/// The actor's own.
pub(crate) struct LedgerState {
    journal: JournalWriter,
    supervisor: ActorRef<SupervisorMessage>,
    views: Views,
    observer: Observer,
    plan: Arc<Plan>,
    /// A rule that ends the load has spoken.
    stopped: bool,
    /// Stages in which a rule has spoken: each is told once.
    spoken: BTreeSet<u16>,
    ledger: Ledger,
    recent: Interval,
    peers: BTreeMap<WorkerId, Peer<WorkerMessage>>,
    pending: VecDeque<Pending>,
    durable: BTreeMap<WorkerId, u64>,
}

impl Actor for LedgerActor {
    type Msg = LedgerMessage;
    type State = LedgerState;
    type Arguments = LedgerArguments;

    async fn pre_start(
        &self,
        me: ActorRef<Self::Msg>,
        arguments: LedgerArguments,
    ) -> Result<LedgerState, ActorProcessingErr> {
        let LedgerArguments { ledger, journal, supervisor, views, expected, plan } = arguments;
        let accounts = ledger.accounts().keys();
        let durable = accounts.map(|worker| (*worker, ledger.accepted(*worker))).collect();
        let observer = Observer::new(Arc::clone(&plan), expected, &ledger);
        follow_journal(me.clone(), journal.durable());
        drop(me.send_interval(VIEW_EVERY, || LedgerMessage::View));
        Ok(LedgerState {
            journal,
            supervisor,
            views,
            observer,
            plan,
            stopped: false,
            spoken: BTreeSet::new(),
            ledger,
            recent: Interval::default(),
            peers: BTreeMap::new(),
            pending: VecDeque::new(),
            durable,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: LedgerMessage,
        state: &mut LedgerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LedgerMessage::Joined(worker, peer) => {
                state.ledger.admit(worker);
                state.peers.insert(worker, peer);
            }
            LedgerMessage::Part(part) => state.take(&part)?,
            LedgerMessage::Durable(durable) => state.acknowledge(durable)?,
            LedgerMessage::Own(ownership) => state.ledger.own(ownership),
            LedgerMessage::Decide(record, reply) => {
                let written = state.journal.append(&record).map_err(|e| e.to_string());
                match *record {
                    Record::Ownership { loss, change } => {
                        state.ledger.change_owners(loss.as_ref(), change.as_ref());
                    }
                    Record::StageStopped { ends, reason } => {
                        state.ledger.end_stages(&ends, &reason);
                    }
                    _ => {}
                }
                let _ = reply.send(written);
            }
            LedgerMessage::Append(record, reply) => {
                let _ = reply.send(state.journal.append(&record).map_err(|e| e.to_string()));
            }
            LedgerMessage::Fleet(fleet) => state.meet(*fleet),
            LedgerMessage::View => {
                state.view();
                state.obey_rules()?;
            }
            LedgerMessage::Close(reply) => {
                state.ledger.close_all();
                state.view();
                let _ = reply.send(std::mem::take(&mut state.ledger));
                me.stop(None);
            }
        }
        Ok(())
    }
}

/// Turns the journal's growth into messages, until it or the actor ends.
fn follow_journal(ledger: ActorRef<LedgerMessage>, mut durable: watch::Receiver<Durable>) {
    tokio::spawn(async move {
        while durable.changed().await.is_ok() {
            let reached = durable.borrow_and_update().clone();
            if ledger.cast(LedgerMessage::Durable(reached)).is_err() {
                return;
            }
        }
    });
}

impl LedgerState {
    fn take(&mut self, part: &Part) -> Result<(), ActorProcessingErr> {
        match self.ledger.judge(part) {
            Acceptance::Next => self.accept(part),
            Acceptance::Repeated => {
                self.say_durable(part.worker);
                Ok(())
            }
            Acceptance::Ahead => Ok(()),
            Acceptance::Refused => {
                tracing::warn!(worker = %part.worker, "a part of a closed worker was refused");
                Ok(())
            }
        }
    }

    /// A part that cannot be written is left unacknowledged: the worker keeps it. One that cannot be merged
    /// will never be: its worker is lost.
    fn accept(&mut self, part: &Part) -> Result<(), ActorProcessingErr> {
        let record = match self.journal.append(&Record::Part(part.clone())) {
            Ok(record) => record,
            Err(error) => {
                let reason = error.to_string();
                return Ok(self.supervisor.cast(SupervisorMessage::JournalFailed(reason))?);
            }
        };
        match self.ledger.merge(part) {
            Ok(Some(delta)) => self.recent.merge(&delta.interval)?,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(worker = %part.worker, %error, "a part is broken; its worker is lost");
                return Ok(self.supervisor.cast(SupervisorMessage::Broken(part.worker))?);
            }
        }
        let last = part.end.as_ref().is_some_and(|end| end.last);
        self.pending.push_back(Pending {
            record,
            worker: part.worker,
            sequence: part.sequence,
            last,
        });
        Ok(())
    }

    fn acknowledge(&mut self, durable: Durable) -> Result<(), ActorProcessingErr> {
        let mut grown = BTreeMap::new();
        while self.pending.front().is_some_and(|first| first.record <= durable.records) {
            let Some(pending) = self.pending.pop_front() else { break };
            self.durable.insert(pending.worker, pending.sequence);
            let last = grown.entry(pending.worker).or_insert(false);
            *last |= pending.last;
        }
        for (worker, last) in grown {
            self.say_durable(worker);
            if last {
                self.supervisor.cast(SupervisorMessage::LastDelta(worker))?;
            }
        }
        if let Some(reason) = durable.failed {
            let reason = JournalWriteError::Write(reason).to_string();
            self.supervisor.cast(SupervisorMessage::JournalFailed(reason))?;
        }
        Ok(())
    }

    fn say_durable(&self, worker: WorkerId) {
        let Some((peer, sequence)) = self.peers.get(&worker).zip(self.durable.get(&worker)) else {
            return;
        };
        let acknowledge = Acknowledge { worker, sequence: *sequence };
        if let Err(error) = peer.send(WorkerMessage::Acknowledge(protocol::Wire::new(acknowledge)))
        {
            tracing::debug!(%worker, %error, "an acknowledgement was not sent");
        }
    }

    fn meet(&mut self, fleet: Fleet) {
        self.views.progress.send_modify(|progress| {
            progress.phase = fleet.phase;
            progress.start = fleet.start.or(progress.start);
            progress.workers.0 = fleet.here;
        });
        self.observer.meet(fleet);
        self.show();
    }

    /// What the plan says of an early end, by all that has been told.
    fn obey_rules(&mut self) -> Result<(), ActorProcessingErr> {
        if self.stopped || !self.plan.has_stop_rules() {
            return Ok(());
        }
        let Some(reason) = self.ledger.rule_that_speaks(&self.plan) else { return Ok(()) };
        if !self.spoken.insert(reason.stage) {
            return Ok(());
        }
        self.stopped = self.plan.ended_with(reason.stage).is_none();
        Ok(self.supervisor.cast(SupervisorMessage::RuleSpoke(reason))?)
    }

    fn view(&mut self) {
        self.observer.take(&std::mem::take(&mut self.recent), &self.ledger);
        self.show();
    }

    fn show(&self) {
        let live = self.observer.view(&self.ledger, Instant::now());
        let _ = self.views.live.send_replace(Arc::new(live));
    }
}
