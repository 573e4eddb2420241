//! The only actor of a worker that the coordinator can reach.

mod hired;
mod records;

use std::{path::PathBuf, sync::Arc, time::Duration};

use client::{ClientOptions, Clock, Credentials};
use protocol::{
    Armed, Assigned, Assignment, CoordinatorHeartbeat, CoordinatorMessage, Over, Peer, Refusal,
    StageEnd, Wire, WorkerId, WorkerMessage,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::{sync::watch, time::Instant};
use workload::{ClientPlan, Plan, PromptSource};

use crate::{
    Gate, WorkerEnd, client_actor::LaneMessage, clock_sync::ClockOffset, crew::Crew,
    inputs::Inputs, lane::Lane, link::Heard, listener::RequestListener,
    recorder_actor::RecorderMessage, start::Leave, threads::LaneThreads,
};
use hired::Hired;

/// See the module's documentation.
pub(crate) struct WorkerActor;

/// What it starts with.
pub(crate) struct WorkerArguments {
    pub(crate) incarnation: u64,
    pub(crate) processors: u16,
    pub(crate) credentials: Credentials,
    pub(crate) door: Peer<CoordinatorMessage>,
    pub(crate) clock: watch::Receiver<Option<ClockOffset>>,
    pub(crate) in_flight: watch::Sender<u64>,
    pub(crate) complete: watch::Sender<bool>,
    /// Where lanes are started.
    pub(crate) threads: LaneThreads,
    /// What the lanes ask before they write.
    pub(crate) gate: Arc<Gate>,
    /// What was heard of the coordinator.
    pub(crate) heard: watch::Sender<Heard>,
    /// Where fetched inputs are kept.
    pub(crate) cache: Option<PathBuf>,
    /// Where records wait until they are gathered; `None`: in the system's folder for temporary files.
    pub(crate) spool: Option<PathBuf>,
    /// Who is told of sampled requests.
    pub(crate) listener: Option<Arc<dyn RequestListener>>,
    /// Since when records wait here without being asked for; `None` where there are none (any more).
    pub(crate) held: watch::Sender<Option<Instant>>,
    /// Told when this worker ends without having completed.
    pub(crate) ended: watch::Sender<Option<WorkerEnd>>,
    /// Whether this worker was told to leave.
    pub(crate) leave: watch::Receiver<Option<Leave>>,
    /// Which run it is, where its coordinator leads many.
    pub(crate) run: watch::Sender<Option<u64>>,
}

/// The actor's own.
pub(crate) struct WorkerState {
    arguments: WorkerArguments,
    crew: Option<Crew>,
    /// The coordinator has ended the run: nothing is started any more.
    ended: bool,
}

impl Actor for WorkerActor {
    type Msg = WorkerMessage;
    type State = WorkerState;
    type Arguments = WorkerArguments;

    async fn pre_start(
        &self,
        _me: ActorRef<Self::Msg>,
        arguments: WorkerArguments,
    ) -> Result<WorkerState, ActorProcessingErr> {
        Ok(WorkerState { arguments, crew: None, ended: false })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: WorkerMessage,
        state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMessage::Assign(Wire(assignment), reply) => {
                let answer = match assignment {
                    Ok(assignment) => state.assign(&me, assignment).await,
                    Err(error) => Err(Refusal::for_good(error.to_string())),
                };
                let _ = reply.send(Wire::new(answer));
            }
            WorkerMessage::Arm(Wire(arm), reply) => {
                let answer = match arm {
                    Ok(arm) => state.arm(arm.start_at_coordinator_ns),
                    Err(error) => Err(Refusal::for_good(error.to_string())),
                };
                let _ = reply.send(Wire::new(answer));
            }
            WorkerMessage::Acknowledge(Wire(Ok(acknowledge))) => {
                state.acknowledged(acknowledge.worker, acknowledge.sequence);
            }
            WorkerMessage::Stop(Wire(Ok(stop))) => {
                state.each_lane(|| LaneMessage::Stop(stop));
            }
            WorkerMessage::Abort(Wire(Ok(abort))) => state.abort(&abort.reason),
            WorkerMessage::Heartbeat(Wire(Ok(heartbeat))) => state.hear(&heartbeat),
            WorkerMessage::Closed(Wire(Ok(closed))) => state.closed(closed.worker),
            WorkerMessage::Over(Wire(Ok(over))) => state.over(over),
            WorkerMessage::Records(Wire(fetch), reply) => state.give_records(fetch, reply),
            WorkerMessage::RecordsTaken(Wire(Ok(taken))) => state.records_are_taken(taken.worker),
            WorkerMessage::Acknowledge(Wire(Err(error)))
            | WorkerMessage::Stop(Wire(Err(error)))
            | WorkerMessage::Abort(Wire(Err(error)))
            | WorkerMessage::Heartbeat(Wire(Err(error)))
            | WorkerMessage::Over(Wire(Err(error)))
            | WorkerMessage::RecordsTaken(Wire(Err(error)))
            | WorkerMessage::Closed(Wire(Err(error))) => {
                tracing::warn!(%error, "a message of the coordinator is unreadable");
            }
        }
        Ok(())
    }

    /// A lane or the recorder that fails is the end of this worker: without its heartbeats the coordinator
    /// counts it as lost.
    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        _state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, error) = event {
            tracing::error!(%error, "a part of this worker failed");
            me.stop(Some(error.to_string()));
        }
        Ok(())
    }
}

impl WorkerState {
    /// Reads the inputs and starts the lanes, idle. Who asks again, because the connection broke that the answer went
    /// by, has the same answer.
    async fn assign(
        &mut self,
        me: &ActorRef<WorkerMessage>,
        assignment: Assignment,
    ) -> Result<Assigned, Refusal> {
        let known = self.crew.as_ref().filter(|crew| crew.id == assignment.worker && !self.ended);
        if let Some(crew) = known {
            return Ok(crew.assigned.clone());
        }
        if self.crew.is_some() || self.ended {
            return Err(Refusal::for_good("this worker has had its run"));
        }
        let Assignment { worker: id, plan, shard, inputs, run } = assignment;
        if id.incarnation != self.arguments.incarnation {
            return Err(Refusal::for_good("this plan is for another incarnation"));
        }
        let _ = self.arguments.run.send(run);
        let arguments = &self.arguments;
        let (door, cache) = (arguments.door.clone(), arguments.cache.clone());
        let mut plan = Inputs { worker: id, door, cache }.localize(*plan, &inputs).await?;
        plan.target = self.arguments.credentials.complete(plan.target);
        let plan = Arc::new(read_schedule(plan).await?);
        let options = client_options(&plan.client, self.arguments.credentials.clone());
        try_client(&plan, &options)?;
        let (prompts, warnings) = open_prompts(Arc::clone(&plan)).await?;
        let tokenizer = Some(prompts.tokenizer_name());
        self.arguments.gate.know_stages(plan.stages.len());
        let lanes = self.lanes(&plan, shard);
        let assigned =
            Assigned { lanes: u16::try_from(lanes.get()).unwrap_or(u16::MAX), tokenizer, warnings };
        let prompts = Arc::new(prompts);
        let hired = Hired { assigned: assigned.clone(), id, plan, shard, lanes, options, prompts };
        let crew = self.hire(me, hired).await;
        self.crew = Some(crew.map_err(|error| Refusal::for_good(error.to_string()))?);
        Ok(assigned)
    }

    /// Converts the agreed instant to our clock and starts the lanes towards it. Asked again, it has the same answer.
    fn arm(&mut self, start_at_coordinator_ns: u64) -> Result<Armed, Refusal> {
        if self.ended {
            return Err(Refusal::for_good("the run has ended"));
        }
        let crew = self.crew.as_mut().ok_or_else(|| Refusal::for_good("no plan to start"))?;
        if let Some((_, armed)) = crew.armed.filter(|(at, _)| *at == start_at_coordinator_ns) {
            return Ok(armed);
        }
        let offset = *self.arguments.clock.borrow();
        let offset = offset.ok_or_else(|| Refusal::for_good("the clocks were not compared"))?;
        let start_ns = offset.to_monotonic(start_at_coordinator_ns, Clock::slept_ns());
        let clock = Clock::start_at(start_ns);
        if clock.until(Duration::ZERO).is_zero() {
            return Err(Refusal::for_good("the start was already over when it was announced"));
        }
        crew.started.fix(&clock);
        for lane in &crew.lanes {
            let start = LaneMessage::Start(clock, crew.recorder.clone());
            lane.cast(start).map_err(|error| Refusal::for_good(error.to_string()))?;
        }
        crew.clock = Some(clock);
        let _ = crew.recorder.cast(RecorderMessage::Begin(clock));
        let armed = Armed { clock_offset_ns: offset.offset_ns, clock_error_ns: offset.error_ns };
        crew.armed = Some((start_at_coordinator_ns, armed));
        Ok(armed)
    }

    fn acknowledged(&self, worker: WorkerId, sequence: u64) {
        if let Some(crew) = self.crew.as_ref().filter(|crew| crew.id == worker) {
            let _ = crew.recorder.cast(RecorderMessage::Acknowledged(sequence));
        }
    }

    /// What the coordinator permits, and what is newly ours.
    fn hear(&mut self, heartbeat: &CoordinatorHeartbeat) {
        let Some(crew) = &mut self.crew else { return };
        let offset = *self.arguments.clock.borrow();
        let now = crew.clock.map_or(Duration::ZERO, |clock| clock.now());
        let gate = &self.arguments.gate;
        let is_news =
            |end: &&StageEnd| gate.stage_end(end.stage).is_none_or(|known| end.at < known);
        let news: Vec<StageEnd> = heartbeat.stage_ends.iter().filter(is_news).copied().collect();
        let taken = crew.lease.hear(heartbeat, offset, now);
        crew.end_stages(&news);
        if !taken.is_empty() {
            tracing::info!(classes = taken.len(), "this worker takes over from a lost one");
            crew.take_over(&taken);
        }
        let heard = Heard { epoch: crew.lease.claims().epoch(), term: crew.lease.term() };
        let _ = self.arguments.heard.send(heard);
        let told_to_leave = *self.arguments.leave.borrow();
        if let (Some(leave), Some(grant)) = (told_to_leave, heartbeat.grant) {
            crew.leave(grant.limit, leave.grace, &self.arguments.door);
        }
    }

    /// The coordinator has counted this incarnation as lost: nothing that it does counts any more.
    fn closed(&mut self, worker: WorkerId) {
        if worker.incarnation != self.arguments.incarnation || self.ended {
            return;
        }
        self.arguments.gate.shut();
        self.abort("this worker was counted as lost");
        let _ = self.arguments.ended.send(Some(WorkerEnd::Closed));
    }

    /// Nobody takes anything from us any more.
    fn over(&mut self, over: Over) {
        if self.ended && self.arguments.ended.borrow().is_some() {
            return;
        }
        self.arguments.gate.shut();
        let reason = over.called_off.as_deref().unwrap_or("the run is over");
        self.abort(reason);
        let end = over.called_off.map_or(WorkerEnd::Over, WorkerEnd::CalledOff);
        let _ = self.arguments.ended.send(Some(end));
    }

    fn abort(&mut self, reason: &str) {
        self.ended = true;
        tracing::info!(reason, "the coordinator ends the run");
        self.each_lane(|| LaneMessage::Cancel);
    }

    fn each_lane(&self, message: impl Fn() -> LaneMessage) {
        for lane in self.crew.iter().flat_map(|crew| &crew.lanes) {
            let _ = lane.cast(message());
        }
    }
}

/// Finds a URL, header or certificate that cannot be used before the lanes do.
fn try_client(plan: &Plan, options: &ClientOptions) -> Result<(), Refusal> {
    let clients = Lane::clients(plan, options, Clock::start_now());
    clients.map(drop).map_err(|error| Refusal::for_good(error.to_string()))
}

/// How the client of a lane, or of a probe, connects.
#[must_use]
pub fn client_options(plan: &ClientPlan, credentials: Credentials) -> ClientOptions {
    ClientOptions {
        connect_timeout: plan.connect_timeout,
        request_timeout: plan.request_timeout,
        ca_file: plan.ca_file.clone(),
        insecure_skip_verify: plan.insecure_skip_verify,
        credentials,
        http: plan.http,
        source_addresses: plan.source_addresses.clone(),
        dns_refresh: plan.dns_refresh,
        turn: 0,
    }
}

/// The rows of a plan that goes by a file, which do not travel with it; off the runtime.
async fn read_schedule(mut plan: Plan) -> Result<Plan, Refusal> {
    let read = tokio::task::spawn_blocking(move || plan.read_schedule().map(|()| plan)).await;
    let read = read.map_err(|error| Refusal::for_good(error.to_string()))?;
    read.map_err(|problems| in_lines(&problems))
}

fn in_lines(problems: &[impl ToString]) -> Refusal {
    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Refusal::for_good(lines.join("\n"))
}

/// Reads data sets and the tokenizer, off the runtime: it may take seconds.
async fn open_prompts(plan: Arc<Plan>) -> Result<(PromptSource, Vec<metrics::Warning>), Refusal> {
    let opened = tokio::task::spawn_blocking(move || PromptSource::open(&plan)).await;
    let opened = opened.map_err(|error| Refusal::for_good(error.to_string()))?;
    opened.map_err(|errors| in_lines(&errors))
}
