//! Somebody of this process who is told of sampled requests when they are over: telemetry.
//!
//! A listener is given records by the thread that takes them, so it may take its time: what comes meanwhile waits, and
//! what has no room is dropped and counted. Which requests are sampled is the plan's, the same for every worker.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use client::Clock;
use metrics::RequestRecord;
use workload::{Plan, Sampling};

use crate::records::RecordTaker;

/// Whose requests they are.
#[derive(Clone, Copy, Debug)]
pub struct RequestsOf<'a> {
    /// The run's plan.
    pub plan: &'a Plan,
    /// The worker's place in the fleet.
    pub worker: u32,
    /// The wall clock at run time zero, by this machine: nanoseconds of the Unix epoch.
    pub started_unix_ns: u64,
}

/// See the module's documentation.
pub trait RequestListener: fmt::Debug + Send + Sync {
    /// A sampled request is over, be it that it was never sent.
    fn ended(&self, record: &RequestRecord, of: &RequestsOf<'_>);
    /// No more will come; so many requests at most were not told of.
    fn closed(&self, dropped: u64);
}

/// Run time zero on the wall clock, once it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnixStart(Arc<OnceLock<u64>>);

impl UnixStart {
    /// Run time zero is agreed on. The wall clock is read once: a request's instants keep their distances.
    pub(crate) fn fix(&self, clock: &Clock) {
        let start = clock.monotonic_at(std::time::Duration::ZERO);
        let (wall, now) = (Clock::realtime_ns(), Clock::monotonic_ns());
        let _ = self.0.set(wall.saturating_add(start).saturating_sub(now));
    }
}

/// Passes records on to a listener.
pub(crate) struct Told {
    listener: Arc<dyn RequestListener>,
    plan: Arc<Plan>,
    worker: u32,
    started: UnixStart,
}

impl Told {
    /// `None` where the plan samples nobody.
    pub(crate) fn of(
        listener: &Arc<dyn RequestListener>,
        plan: &Arc<Plan>,
        worker: u32,
        started: &UnixStart,
    ) -> Option<Box<dyn RecordTaker>> {
        let (listener, plan) = (Arc::clone(listener), Arc::clone(plan));
        let samples = plan.telemetry.sample > 0.0;
        samples.then(|| -> Box<dyn RecordTaker> {
            Box::new(Self { listener, plan, worker, started: started.clone() })
        })
    }
}

impl RecordTaker for Told {
    fn sampling(&self) -> Sampling {
        Sampling::new(self.plan.seed, self.plan.telemetry.sample)
    }

    fn take(&mut self, record: &RequestRecord) {
        // Nothing is over before the start is known.
        let Some(started_unix_ns) = self.started.0.get().copied() else { return };
        let of = RequestsOf { plan: &self.plan, worker: self.worker, started_unix_ns };
        self.listener.ended(record, &of);
    }

    fn close(&mut self, dropped: u64) {
        self.listener.closed(dropped);
    }
}
