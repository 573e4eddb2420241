//! The recorder: one flush a second, numbered, kept until it is on the coordinator's disk.

use std::time::Duration;

use client::Clock;
use metrics::Interval;
use protocol::{CoordinatorMessage, Covers, Delta, Part, Peer, Wire, WorkerId, flush_delay};
use ractor::{Actor, ActorProcessingErr, ActorRef, Message};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    claims::Claims,
    client_actor::{LaneMessage, LaneReport},
    outbox::Outbox,
    records::Records,
};

/// Silence of the coordinator after which unacknowledged parts are sent again.
const RESEND_AFTER: Duration = Duration::from_secs(2);

/// What the recorder is told. Local: these never leave the process.
pub(crate) enum RecorderMessage {
    /// Run time zero is known.
    Begin(Clock),
    /// A whole second of run time is over.
    Tick(u32),
    /// A lane has nothing open any more.
    LaneFinished,
    /// Parts are on the coordinator's disk.
    Acknowledged(u64),
    /// What this worker owns from now on.
    Owned(Claims),
}

impl Message for RecorderMessage {}

/// See the module's documentation.
pub(crate) struct Recorder;

/// What it starts with.
pub(crate) struct RecorderArguments {
    pub(crate) worker: WorkerId,
    pub(crate) door: Peer<CoordinatorMessage>,
    pub(crate) lanes: Vec<ActorRef<LaneMessage>>,
    pub(crate) claims: Claims,
    pub(crate) in_flight: watch::Sender<u64>,
    pub(crate) complete: watch::Sender<bool>,
    /// Where records of single requests go, if any are kept.
    pub(crate) records: Option<Records>,
}

/// The actor's own.
pub(crate) struct RecorderState {
    door: Peer<CoordinatorMessage>,
    lanes: Vec<FlushedLane>,
    finished: usize,
    outbox: Outbox,
    delay: Duration,
    clock: Option<Clock>,
    claims: Claims,
    covered_to: u32,
    heard: Instant,
    over: bool,
    in_flight: watch::Sender<u64>,
    complete: watch::Sender<bool>,
    records: Option<Records>,
}

/// A lane and an interval whose memory it gets back at the next flush.
struct FlushedLane {
    actor: ActorRef<LaneMessage>,
    spent: Interval,
}

impl Actor for Recorder {
    type Msg = RecorderMessage;
    type State = RecorderState;
    type Arguments = RecorderArguments;

    async fn pre_start(
        &self,
        _me: ActorRef<Self::Msg>,
        arguments: RecorderArguments,
    ) -> Result<RecorderState, ActorProcessingErr> {
        let lanes = arguments.lanes.into_iter();
        Ok(RecorderState {
            door: arguments.door,
            lanes: lanes.map(|actor| FlushedLane { actor, spent: Interval::default() }).collect(),
            finished: 0,
            outbox: Outbox::new(arguments.worker),
            delay: flush_delay(arguments.worker.ordinal),
            clock: None,
            claims: arguments.claims,
            covered_to: 0,
            heard: Instant::now(),
            over: false,
            in_flight: arguments.in_flight,
            complete: arguments.complete,
            records: arguments.records,
        })
    }

    async fn handle(
        &self,
        me: ActorRef<Self::Msg>,
        message: RecorderMessage,
        state: &mut RecorderState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RecorderMessage::Begin(clock) => {
                state.clock = Some(clock);
                tick_every_second(me, clock, state.delay);
            }
            RecorderMessage::Tick(second) => {
                state.flush(second).await?;
                state.send_again();
            }
            RecorderMessage::LaneFinished => state.lane_finished().await?,
            RecorderMessage::Acknowledged(sequence) => state.acknowledged(sequence),
            RecorderMessage::Owned(claims) => state.claims = claims,
        }
        Ok(())
    }
}

/// Casts the end of each whole second of run time, `delay` after it, until the actor ends.
fn tick_every_second(recorder: ActorRef<RecorderMessage>, clock: Clock, delay: Duration) {
    tokio::spawn(async move {
        let first = Instant::now() + clock.until(Duration::from_secs(1) + delay);
        let mut ticks = tokio::time::interval_at(first, Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let second = u32::try_from(clock.now().as_secs()).unwrap_or(u32::MAX);
            if recorder.cast(RecorderMessage::Tick(second)).is_err() {
                return;
            }
        }
    });
}

impl RecorderState {
    /// Swaps every lane's histograms and sends what they hold.
    async fn flush(&mut self, second: u32) -> Result<(), ActorProcessingErr> {
        if self.over {
            return Ok(());
        }
        let mut delta = Delta { kernel_stamps: true, last: true, ..Delta::default() };
        for lane in &mut self.lanes {
            let spent = std::mem::take(&mut lane.spent);
            let report = ractor::call!(lane.actor, LaneMessage::Flush, spent)?;
            lane.spent = absorb(&mut delta, report)?;
        }
        delta.covers =
            (second > self.covered_to).then_some(Covers { from: self.covered_to, to: second });
        delta.classes = delta.covers.map(|covers| self.claims.covers(covers)).unwrap_or_default();
        self.covered_to = self.covered_to.max(second);
        self.over = delta.last;
        if let Some(records) = self.records.as_ref().filter(|_| delta.last) {
            records.close();
        }
        let _ = self.in_flight.send(delta.in_flight);
        let parts = self.outbox.offer(delta)?;
        self.send(&parts);
        Ok(())
    }

    /// The last lane's end is not waited out to the full second.
    async fn lane_finished(&mut self) -> Result<(), ActorProcessingErr> {
        self.finished += 1;
        if self.finished < self.lanes.len() {
            return Ok(());
        }
        let second = self.clock.map_or(0, |clock| clock.now().as_secs() + 1);
        self.flush(u32::try_from(second).unwrap_or(u32::MAX)).await
    }

    fn acknowledged(&mut self, sequence: u64) {
        self.heard = Instant::now();
        let parts = self.outbox.acknowledge(sequence);
        self.send(&parts);
        if self.outbox.is_complete() {
            let _ = self.complete.send(true);
        }
    }

    /// What was sent and not acknowledged goes out again, byte for byte, after a silence.
    fn send_again(&mut self) {
        if self.heard.elapsed() < RESEND_AFTER {
            return;
        }
        let parts: Vec<Part> = self.outbox.unacknowledged().cloned().collect();
        if !parts.is_empty() {
            self.heard = Instant::now();
            self.send(&parts);
        }
    }

    fn send(&self, parts: &[Part]) {
        for part in parts {
            if let Err(error) =
                self.door.send(CoordinatorMessage::Snapshot(Wire::new(part.clone())))
            {
                tracing::debug!(sequence = part.sequence, %error, "a part was not sent and is kept");
            }
        }
    }
}

/// Adds a lane's report to the delta; gives back the interval's memory, emptied.
fn absorb(delta: &mut Delta, report: LaneReport) -> Result<Interval, ActorProcessingErr> {
    let LaneReport { mut interval, samples, cpu, in_flight, kernel_stamps, began, finished } =
        report;
    delta.in_flight += in_flight;
    delta.interval.merge(&interval)?;
    delta.add_samples(samples);
    delta.cpu += cpu;
    delta.kernel_stamps &= kernel_stamps;
    delta.last &= finished;
    delta.start_skew = delta.start_skew.max(began);
    interval.clear();
    Ok(interval)
}
