//! The line to the coordinator: asks for a place, compares clocks, gives signs of life.

use std::time::Duration;

use client::Clock;
use protocol::{
    CoordinatorMessage, Heartbeat, Hello, Peer, Refusal, TimePing, Welcome, Wire, WorkerId,
    WorkerPhase,
};
use tokio::sync::watch;

use crate::clock_sync::{ClockOffset, ClockSample, best_of};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Questions of which the best is believed.
const CLOCK_QUESTIONS: usize = 16;
/// How often the clocks are compared again.
const COMPARE_EVERY: Duration = Duration::from_secs(30);
/// How often a sign of life is given.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);

/// What the line shares with the rest of the worker.
pub(crate) struct Link {
    pub(crate) door: Peer<CoordinatorMessage>,
    pub(crate) ordinal: watch::Sender<Option<u32>>,
    pub(crate) clock: watch::Sender<Option<ClockOffset>>,
    pub(crate) in_flight: watch::Receiver<u64>,
}

impl Link {
    /// Compares the clocks, then asks for a place until it is given or refused for good.
    pub(crate) async fn register(&self, hello: Hello) -> Result<WorkerId, Refusal> {
        let nobody = WorkerId { ordinal: u32::MAX, incarnation: hello.incarnation };
        self.compare_clocks(nobody).await;
        loop {
            let ask = |reply| CoordinatorMessage::Register(Wire::new(hello.clone()), reply);
            let wait = match self.door.ask(ask, ANSWER).await {
                Ok(Wire(Ok(Welcome::Accepted { ordinal }))) => {
                    let _ = self.ordinal.send(Some(ordinal));
                    return Ok(WorkerId { ordinal, incarnation: hello.incarnation });
                }
                Ok(Wire(Ok(Welcome::Refused(refusal)))) => match refusal.retry_after {
                    Some(wait) => wait,
                    None => return Err(refusal),
                },
                Ok(Wire(Err(error))) => return Err(Refusal::for_good(error.to_string())),
                Err(protocol::PeerError::Gone) => {
                    return Err(Refusal::for_good("the coordinator has ended"));
                }
                Err(protocol::PeerError::NoAnswer(_)) => HEARTBEAT_EVERY,
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Signs of life and clock comparisons, until the coordinator is gone.
    pub(crate) async fn keep_alive(self, worker: WorkerId) {
        let mut beats = tokio::time::interval(HEARTBEAT_EVERY);
        let mut comparisons = tokio::time::interval(COMPARE_EVERY);
        comparisons.reset();
        loop {
            tokio::select! {
                _ = beats.tick() => if self.beat(worker).is_err() { return },
                _ = comparisons.tick() => self.compare_clocks(worker).await,
            }
        }
    }

    fn beat(&self, worker: WorkerId) -> Result<(), protocol::PeerError> {
        let known = *self.clock.borrow();
        let heartbeat = Heartbeat {
            worker,
            phase: WorkerPhase::Running,
            in_flight: *self.in_flight.borrow(),
            clock_offset_ns: known.map_or(0, |clock| clock.offset_ns),
            clock_error_ns: known.map_or(u64::MAX, |clock| clock.error_ns),
        };
        self.door.send(CoordinatorMessage::Heartbeat(Wire::new(heartbeat)))
    }

    async fn compare_clocks(&self, worker: WorkerId) {
        let mut samples = Vec::with_capacity(CLOCK_QUESTIONS);
        for _ in 0..CLOCK_QUESTIONS {
            let asked_ns = Clock::monotonic_ns();
            let ask = |reply| CoordinatorMessage::Time(Wire::new(TimePing { worker }), reply);
            if let Ok(Wire(Ok(pong))) = self.door.ask(ask, ANSWER).await {
                let coordinator_ns = pong.coordinator_ns;
                samples.push(ClockSample {
                    asked_ns,
                    answered_ns: Clock::monotonic_ns(),
                    coordinator_ns,
                });
            }
        }
        if let Some(best) = best_of(&samples) {
            let _ = self.clock.send(Some(best));
        }
    }
}
