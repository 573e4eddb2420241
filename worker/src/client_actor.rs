//! The actor of one lane: it owns the thread's schedule, connections and histograms.
//!
//! It lives on an OS thread with a current-thread runtime and is spoken to a few times a run: start,
//! stop, and one flush a second that swaps the histograms out.

use std::{rc::Rc, sync::Arc, time::Duration};

use client::{Client, ClientOptions, Clock, TimerfdPacer};
use metrics::{FailureSample, Interval, Notes, Scope};
use protocol::{StageEnd, Stop};
use ractor::{ActorProcessingErr, ActorRef, Message, RpcReplyPort, thread_local::ThreadLocalActor};
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
};
use workload::{Plan, Shard};

use crate::{
    bodies::Bodies,
    claims::Claim,
    gate::Gate,
    health::{CoreTime, seat, watch_loop},
    lane::{EarlyEnd, Lane},
    offer::{Load, offer},
    recorder_actor::RecorderMessage,
    records::{RecordTap, Records},
};

/// Over less than this a share of a core says nothing.
const SHORTEST_CPU_SPAN: Duration = Duration::from_millis(100);

/// What a lane is told. Local: these never leave the process.
pub(crate) enum LaneMessage {
    /// Run time zero is known: wait for it and offer.
    Start(Clock, ActorRef<RecorderMessage>),
    /// Swap the histograms; the interval is an emptied one whose memory is used again.
    Flush(Interval, RpcReplyPort<LaneReport>),
    /// The lane's part of a class that this worker takes over.
    Claim(Claim),
    /// Nothing due at or after the instant is offered; then the grace.
    Stop(Stop),
    /// A rule has ended this stage.
    StageEnded(StageEnd),
    /// Give everything up now.
    Cancel,
}

impl Message for LaneMessage {}

/// What a lane recorded since its last flush.
pub(crate) struct LaneReport {
    pub(crate) interval: Interval,
    pub(crate) samples: Vec<FailureSample>,
    pub(crate) cpu: Duration,
    pub(crate) in_flight: u64,
    pub(crate) kernel_stamps: bool,
    pub(crate) began: Option<Duration>,
    pub(crate) finished: bool,
}

/// What a lane is made of.
pub(crate) struct LaneArguments {
    pub(crate) plan: Arc<Plan>,
    /// The lane's part of the worker's own class; a spare has none.
    pub(crate) shard: Option<Shard>,
    /// What the coordinator permits.
    pub(crate) gate: Arc<Gate>,
    pub(crate) bodies: Bodies,
    pub(crate) permits: Option<Arc<Semaphore>>,
    pub(crate) options: ClientOptions,
    /// Number of the lane in its worker.
    pub(crate) place: usize,
    /// Where records of single requests go, if any are kept.
    pub(crate) records: Option<Records>,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct ClientActor;

/// The actor's own; not `Send`, and it never leaves the thread.
pub(crate) struct LaneState {
    arguments: LaneArguments,
    running: Option<Running>,
}

struct Running {
    lane: Rc<Lane>,
    claims: mpsc::UnboundedSender<Claim>,
    offering: JoinHandle<()>,
    watching: JoinHandle<()>,
    flushed_core: CoreTime,
    flushed_at: Duration,
    /// The second whose connections have been counted: lanes' counts add up, so each tells a second once.
    counted_second: Option<u32>,
}

impl ThreadLocalActor for ClientActor {
    type Msg = LaneMessage;
    type State = LaneState;
    type Arguments = LaneArguments;

    async fn pre_start(
        &self,
        _me: ActorRef<Self::Msg>,
        arguments: LaneArguments,
    ) -> Result<LaneState, ActorProcessingErr> {
        seat(arguments.place, arguments.plan.client.pin_lanes)?;
        Ok(LaneState { arguments, running: None })
    }

    async fn handle(
        &self,
        _me: ActorRef<Self::Msg>,
        message: LaneMessage,
        state: &mut LaneState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LaneMessage::Start(clock, recorder) => state.start(clock, recorder)?,
            LaneMessage::Flush(spent, reply) => {
                let _ = reply.send(state.flush(spent));
            }
            LaneMessage::Claim(claim) => {
                if let Some(running) = &state.running {
                    let _ = running.claims.send(claim);
                }
            }
            LaneMessage::Stop(stop) => state.tell(|lane| {
                lane.recorder.borrow_mut().end_at(stop.at);
                lane.early_end.stop(stop.at, stop.grace, stop.reason);
            }),
            LaneMessage::StageEnded(end) => state.tell(|lane| lane.end_stage(end.stage, end.at)),
            LaneMessage::Cancel => state.tell(|lane| lane.early_end.cancel(lane.clock.now())),
        }
        Ok(())
    }
}

/// However its actor ends: one that is ended with its worker is not asked. The thread lives as long as a task of it does,
/// and with the thread the bodies, and a worker may have many runs.
impl Drop for Running {
    fn drop(&mut self) {
        self.offering.abort();
        self.watching.abort();
    }
}

impl LaneState {
    fn start(
        &mut self,
        clock: Clock,
        recorder: ActorRef<RecorderMessage>,
    ) -> Result<(), ActorProcessingErr> {
        if self.running.is_some() {
            return Ok(());
        }
        let LaneArguments { plan, shard, gate, bodies, permits, options, place, records } =
            &self.arguments;
        let number = u16::try_from(*place).unwrap_or(u16::MAX);
        // Lanes of all workers begin at different places of the lists of addresses.
        let turn = shard.map_or(*place, |shard| shard.rank as usize);
        let options = ClientOptions { turn, ..options.clone() };
        let lane = Rc::new(Lane {
            clients: Lane::clients(plan, &options, clock)?,
            recorder: Lane::recorder(plan),
            plan: Arc::clone(plan),
            clock,
            bodies: bodies.clone(),
            permits: permits.clone(),
            gate: Arc::clone(gate),
            early_end: EarlyEnd::default(),
            in_flight: 0.into(),
            kernel_stamps: true.into(),
            began: None.into(),
            samples: Vec::new().into(),
            records: records.as_ref().map(|records| records.tap(number)),
        });
        for stage in 0..u16::try_from(plan.stages.len()).unwrap_or(u16::MAX) {
            gate.stage_end(stage).into_iter().for_each(|at| lane.end_stage(stage, at));
        }
        let watching =
            tokio::task::spawn_local(watch_loop(Rc::clone(&lane), TimerfdPacer::new(clock)?));
        let (claims, claimed) = mpsc::unbounded_channel();
        let own = shard.map(|class| Claim { class, from: Duration::ZERO, first_round: 0 });
        let offering = tokio::task::spawn_local(run(Rc::clone(&lane), own, claimed, recorder));
        let (flushed_core, flushed_at) = (CoreTime::of_this_thread(), clock.now());
        self.running = Some(Running {
            lane,
            claims,
            offering,
            watching,
            flushed_core,
            flushed_at,
            counted_second: None,
        });
        Ok(())
    }

    fn tell(&self, tell: impl FnOnce(&Lane)) {
        if let Some(running) = &self.running {
            tell(&running.lane);
        }
    }

    fn flush(&mut self, spent: Interval) -> LaneReport {
        match &mut self.running {
            Some(running) => running.flush(spent),
            None => LaneReport::nothing(),
        }
    }
}

impl LaneReport {
    /// Of a lane that has not started yet.
    fn nothing() -> Self {
        Self {
            interval: Interval::default(),
            samples: Vec::new(),
            cpu: Duration::ZERO,
            in_flight: 0,
            kernel_stamps: true,
            began: None,
            finished: false,
        }
    }
}

impl Running {
    fn flush(&mut self, spent: Interval) -> LaneReport {
        let now = self.lane.clock.now();
        self.note_core(now);
        let finished = self.offering.is_finished();
        let lane = &self.lane;
        lane.records.iter().for_each(RecordTap::flush);
        let second = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        if self.counted_second.replace(second) != Some(second) {
            let idle: usize = lane.clients.iter().map(Client::idle_connections).sum();
            let open = lane.in_flight.get() + idle as u64;
            lane.recorder.borrow_mut().connections(second, open);
        }
        lane.recorder.borrow_mut().close_before(second.saturating_add(u32::from(finished)));
        let scope = Scope { stage: lane.plan.stage_at(now).unwrap_or_default(), class: 0 };
        // All of a lane read the same clocks: a step of one is a step of all, and counted once.
        let steps: Vec<_> = lane.clients.iter().filter_map(Client::refresh_stamps).collect();
        if !steps.is_empty() {
            let step = Notes { clock_steps: 1, ..Notes::default() };
            lane.recorder.borrow_mut().note(scope, &step);
        }
        LaneReport {
            interval: lane.recorder.borrow_mut().swap(spent),
            samples: std::mem::take(&mut lane.samples.borrow_mut()),
            cpu: self.flushed_core.used,
            in_flight: lane.in_flight.get(),
            kernel_stamps: lane.kernel_stamps.get(),
            began: lane.began.get(),
            finished,
        }
    }

    /// Books the lane's share of a core since its last flush, and its wait for one, under the second that it mostly lay in.
    fn note_core(&mut self, now: Duration) {
        let core = CoreTime::of_this_thread();
        let span = now.saturating_sub(self.flushed_at);
        let middle = self.flushed_at + span / 2;
        if span >= SHORTEST_CPU_SPAN {
            let second = u32::try_from(middle.as_secs()).unwrap_or(u32::MAX);
            let (used, waited) = core.permilles_since(self.flushed_core, span);
            self.lane.recorder.borrow_mut().lane_core(second, used, waited);
        }
        (self.flushed_core, self.flushed_at) = (core, now);
    }
}

/// Offers the lane's share from run time zero on, and what it takes over; tells the recorder when nothing
/// is open any more and nothing can come.
async fn run(
    lane: Rc<Lane>,
    own: Option<Claim>,
    mut claims: mpsc::UnboundedReceiver<Claim>,
    recorder: ActorRef<RecorderMessage>,
) {
    let mut shares = JoinSet::new();
    // A run that a number of requests ends is over for a lane that has done its own.
    let mut done = false;
    if let Some(own) = own {
        shares.spawn_local(share(Rc::clone(&lane), own));
    }
    while !(done && shares.is_empty()) {
        tokio::select! {
            biased;
            Some(claim) = claims.recv() => {
                shares.spawn_local(share(Rc::clone(&lane), claim));
            }
            Some(_) = shares.join_next() => done = lane.plan.requests.is_some(),
            () = lane.nothing_can_come(), if shares.is_empty() => break,
        }
    }
    let _ = recorder.cast(RecorderMessage::LaneFinished);
}

/// The lane's part of one class, to its end.
async fn share(lane: Rc<Lane>, claim: Claim) {
    let load = Load::prepare(&lane, claim).await;
    let mut pacer = match TimerfdPacer::new(lane.clock) {
        Ok(pacer) => pacer,
        Err(error) => return tracing::error!(%error, "no timer: this share is not offered"),
    };
    client::Pacer::until(&mut pacer, claim.from).await;
    if lane.began.get().is_none() {
        lane.began.set(Some(lane.clock.now().saturating_sub(claim.from)));
    }
    offer(&lane, load, &mut pacer).await;
}
