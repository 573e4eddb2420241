//! The line to the coordinator: asks for a place, compares clocks, gives signs of life.

use std::{sync::Arc, time::Duration};

use client::Clock;
use protocol::{
    CoordinatorMessage, Goodbye, HEARTBEAT_EVERY, Heartbeat, Hello, Limit, Peer, PeerError,
    Refusal, TimePing, Welcome, Wire, WorkerId,
};
use tokio::{sync::watch, time::Instant};

use crate::{
    Gate, Standing, WorkerEnd,
    clock_sync::{ClockOffset, ClockSample, best_of},
    start::Leave,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Questions of which the best is believed.
const CLOCK_QUESTIONS: usize = 16;
/// How long to wait for a connection before asking again.
const NOT_YET: Duration = Duration::from_millis(50);
/// How often the clocks are compared again.
const COMPARE_EVERY: Duration = Duration::from_secs(30);
/// How long a worker that leaves waits, beyond its grace, for its goodbye and its last delta to be taken.
const LAST_WORDS: Duration = Duration::from_secs(15);
/// Why a worker leaves that was told to.
pub(crate) const GOODBYE: &str = "it was told to leave";
/// Between a sign of life and one that asks for more rounds.
const RARELY: Duration = Duration::from_millis(20);
/// A pause of half a second that took longer than this: the process was stopped.
const STOPPED_NS: u64 = 1_500_000_000;
/// Time for a heartbeat there and one back.
const GRACE_NS: u64 = 2_000_000_000;

/// Why there is no place, and will be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// For this reason.
    Refused(Refusal),
    /// The coordinator has led its last run.
    Dismissed,
}

impl NoPlace {
    fn for_good(reason: impl Into<String>) -> Self {
        Self::Refused(Refusal::for_good(reason))
    }
}

/// What was heard of the coordinator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The last change of owners.
    pub(crate) epoch: u64,
    /// Which coordinator of the run it is.
    pub(crate) term: u64,
}

/// What the line shares with the rest of the worker.
pub(crate) struct Link {
    pub(crate) door: Peer<CoordinatorMessage>,
    pub(crate) clock: watch::Sender<Option<ClockOffset>>,
    pub(crate) in_flight: watch::Receiver<u64>,
    /// What was heard of the coordinator.
    pub(crate) heard: watch::Receiver<Heard>,
    pub(crate) gate: Arc<Gate>,
    /// Whether this worker was told to leave.
    pub(crate) leave: watch::Receiver<Option<Leave>>,
    /// Whether the last delta is acknowledged; its senders are the worker's actors, and end with them.
    pub(crate) complete: watch::Receiver<bool>,
}

impl Link {
    /// Compares the clocks, then asks for a place until it is given or refused for good.
    pub(crate) async fn register(&self, hello: Hello) -> Result<WorkerId, NoPlace> {
        let nobody = WorkerId { ordinal: u32::MAX, incarnation: hello.incarnation };
        // Without a comparison no start and no lease means anything.
        while self.clock.borrow().is_none() {
            if self.compare_clocks(nobody).await == Err(PeerError::Gone) {
                return Err(NoPlace::for_good("the coordinator has ended"));
            }
            if self.clock.borrow().is_none() {
                tokio::time::sleep(NOT_YET).await;
            }
        }
        let (mut told, mut compared) = (String::new(), Instant::now());
        loop {
            // Between two runs it may wait for long, and clocks drift.
            if compared.elapsed() >= COMPARE_EVERY {
                let _ = self.compare_clocks(nobody).await;
                compared = Instant::now();
            }
            let ask = |reply| CoordinatorMessage::Register(Wire::new(hello.clone()), reply);
            let wait = match self.door.ask(ask, ANSWER).await {
                Ok(Wire(Ok(Welcome::Accepted { ordinal } | Welcome::Spare { ordinal }))) => {
                    return Ok(WorkerId { ordinal, incarnation: hello.incarnation });
                }
                Ok(Wire(Ok(Welcome::Refused(refusal)))) => match refusal.retry_after {
                    Some(wait) => {
                        if wait >= HEARTBEAT_EVERY && told != refusal.reason {
                            tracing::warn!(reason = refusal.reason, "no place yet: asking again");
                            told = refusal.reason;
                        }
                        wait
                    }
                    None => return Err(NoPlace::Refused(refusal)),
                },
                Ok(Wire(Ok(Welcome::Dismissed))) => return Err(NoPlace::Dismissed),
                Ok(Wire(Err(error))) => return Err(NoPlace::for_good(error.to_string())),
                Err(PeerError::Gone) => {
                    return Err(NoPlace::for_good("the coordinator has ended"));
                }
                Err(PeerError::NoAnswer(_) | PeerError::Dropped | PeerError::NotConnected) => {
                    HEARTBEAT_EVERY
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Signs of life and clock comparisons, until the coordinator or this worker's own actors are gone. A
    /// slow comparison holds up no sign of life.
    pub(crate) async fn keep_alive(
        self,
        worker: WorkerId,
        ended_early: watch::Sender<Option<WorkerEnd>>,
    ) {
        let mut ended = self.complete.clone();
        tokio::select! {
            () = self.lease_is_over() => {
                let _ = ended_early.send(Some(WorkerEnd::Orphaned));
            }
            () = self.leaves_idle(worker) => {
                let _ = ended_early.send(Some(WorkerEnd::Left));
            }
            () = self.beat_on(worker) => {}
            () = self.compare_on(worker) => {}
            _ = ended.wait_for(|complete| *complete) => {}
        }
    }

    async fn beat_on(&self, worker: WorkerId) {
        let mut beats = tokio::time::interval(HEARTBEAT_EVERY);
        let mut last = Instant::now();
        let mut term = self.heard.borrow().term;
        loop {
            tokio::select! {
                _ = beats.tick() => {}
                // It grants nothing before it has heard what we hold.
                () = self.successor_of(term) => term = self.heard.borrow().term,
                // Not earlier than a while after the last one, however fast the rounds are.
                () = self.gate.half_used() => tokio::time::sleep_until(last + RARELY).await,
            }
            last = Instant::now();
            match self.beat(worker) {
                // Without a connection the lease runs out, or the next connection comes in time.
                Ok(()) | Err(PeerError::NotConnected) => {}
                Err(PeerError::Gone | PeerError::NoAnswer(_) | PeerError::Dropped) => return,
            }
        }
    }

    /// Returns when a later coordinator than this one was heard.
    async fn successor_of(&self, term: u64) {
        if self.heard.clone().wait_for(|heard| heard.term > term).await.is_err() {
            // The worker ends.
            std::future::pending::<()>().await;
        }
    }

    /// Returns when this worker has been without a lease for too long. One that was itself stopped meanwhile
    /// has a grace to hear of its coordinator first.
    async fn lease_is_over(&self) {
        let (mut looked_ns, mut patient_until_ns) = (Clock::boottime_ns(), 0);
        loop {
            tokio::time::sleep(HEARTBEAT_EVERY).await;
            let now_ns = Clock::boottime_ns();
            if now_ns.saturating_sub(looked_ns) > STOPPED_NS {
                patient_until_ns = now_ns + GRACE_NS;
            }
            looked_ns = now_ns;
            let over = Standing::by(&self.gate, now_ns) == Standing::Over;
            if over && now_ns >= patient_until_ns.max(self.drained_ns()) {
                return;
            }
        }
    }

    /// Who leaves has no lease any more, and drains: until when it may, on CLOCK_BOOTTIME.
    fn drained_ns(&self) -> u64 {
        let told = *self.leave.borrow();
        let until = |leave: Leave| {
            let grace_ns = u64::try_from((leave.grace + LAST_WORDS).as_nanos()).unwrap_or(u64::MAX);
            leave.asked_ns.saturating_add(grace_ns)
        };
        told.map_or(0, until)
    }

    /// Returns when this worker was told to leave before anything was granted to it: nobody has to be waited
    /// for. Later, the goodbye follows the next grant.
    async fn leaves_idle(&self, worker: WorkerId) {
        let mut told = self.leave.clone();
        let is_told = told.wait_for(Option::is_some).await.is_ok();
        if !is_told || self.gate.until_boottime_ns() > 0 {
            return std::future::pending().await;
        }
        self.gate.shut();
        let (limit, reason) = (Limit::Due(Duration::ZERO), GOODBYE.to_owned());
        let goodbye = Goodbye { worker, limit, reason };
        let _ = self.door.send(CoordinatorMessage::Goodbye(Wire::new(goodbye)));
    }

    async fn compare_on(&self, worker: WorkerId) {
        loop {
            tokio::time::sleep(COMPARE_EVERY).await;
            let _ = self.compare_clocks(worker).await;
        }
    }

    fn beat(&self, worker: WorkerId) -> Result<(), PeerError> {
        let known = *self.clock.borrow();
        let now_ns = Clock::boottime_ns();
        // Before the rounds are read: what is granted after this term was heard is of this term.
        let heard = *self.heard.borrow();
        let heartbeat = Heartbeat {
            worker,
            in_flight: *self.in_flight.borrow(),
            clock_offset_ns: known.map_or(0, |clock| clock.offset_ns),
            clock_error_ns: known.map_or(u64::MAX, |clock| clock.error_at(now_ns)),
            epoch: heard.epoch,
            rounds_begun: self.gate.rounds_begun(),
            rounds_granted: self.gate.rounds_granted(),
            term: heard.term,
        };
        self.door.send(CoordinatorMessage::Heartbeat(Wire::new(heartbeat)))
    }

    /// # Errors
    /// Nobody answered: why the last question was not.
    async fn compare_clocks(&self, worker: WorkerId) -> Result<(), PeerError> {
        let mut samples = Vec::with_capacity(CLOCK_QUESTIONS);
        let mut unanswered = None;
        for _ in 0..CLOCK_QUESTIONS {
            let asked_ns = Clock::boottime_ns();
            let ask = |reply| CoordinatorMessage::Time(Wire::new(TimePing { worker }), reply);
            match self.door.ask(ask, ANSWER).await {
                Ok(Wire(Ok(pong))) => samples.push(ClockSample {
                    asked_ns,
                    answered_ns: Clock::boottime_ns(),
                    coordinator_ns: pong.coordinator_ns,
                }),
                Ok(Wire(Err(error))) => {
                    tracing::warn!(%error, "the coordinator's time is unreadable");
                }
                Err(error) => {
                    unanswered = Some(error);
                    break;
                }
            }
        }
        if let Some(best) = best_of(&samples) {
            let _ = self.clock.send(Some(best));
        }
        unanswered.filter(|_| samples.is_empty()).map_or(Ok(()), Err)
    }
}
