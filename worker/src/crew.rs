//! The actors of an assigned run, and how they leave or take over.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use client::Clock;
use metrics::NotSent;
use protocol::{
    Armed, Assigned, CoordinatorMessage, Goodbye, Limit, Peer, StageEnd, Stop, Wire, WorkerId,
};
use ractor::ActorRef;
use tokio::sync::Semaphore;
use workload::{Drive, Plan, Shard};

use crate::{
    Claim, Lease, client_actor::LaneMessage, link::GOODBYE, listener::UnixStart,
    recorder_actor::RecorderMessage, records::Spool,
};

/// The actors of an assigned run.
pub(crate) struct Crew {
    pub(crate) id: WorkerId,
    /// What was answered to its plan.
    pub(crate) assigned: Assigned,
    /// The start that it has accepted, on the coordinator's clock, and what was answered.
    pub(crate) armed: Option<(u64, Armed)>,
    pub(crate) lanes: Vec<ActorRef<LaneMessage>>,
    pub(crate) recorder: ActorRef<RecorderMessage>,
    pub(crate) lease: Lease,
    pub(crate) cap: Option<Cap>,
    /// Run time, once the start is known.
    pub(crate) clock: Option<Clock>,
    /// Closed loop: limited by rounds.
    pub(crate) closed_loop: bool,
    /// Where records of single requests wait to be gathered, if any are kept.
    pub(crate) spool: Option<Arc<Spool>>,
    /// Run time zero on the wall clock.
    pub(crate) started: UnixStart,
    /// What its goodbye names, once it leaves.
    pub(crate) leaves_at: Option<Limit>,
}

/// The worker's share of a cap on requests in flight.
pub(crate) struct Cap {
    pub(crate) total: u32,
    pub(crate) permits: Arc<Semaphore>,
}

impl Cap {
    pub(crate) fn of(plan: &Plan, shard: Option<Shard>) -> Option<Self> {
        let Drive::Open { cap: Some(cap), .. } = plan.drive else { return None };
        let own = shard.map_or(0, |shard| shard.share(cap.get()));
        Some(Self { total: cap.get(), permits: Arc::new(Semaphore::new(own as usize)) })
    }
}

/// How far before the end of its grant a worker that leaves ends: by then the lease has not run out either.
const BEFORE_THE_GRANT_ENDS: Duration = Duration::from_millis(100);

impl Crew {
    /// Offers on up to an instant that the grant just heard still covers, so that others can take over
    /// without a gap; then only follows what is open. Said again for as long as grants come: the goodbye was lost.
    pub(crate) fn leave(
        &mut self,
        granted: Limit,
        grace: Duration,
        door: &Peer<CoordinatorMessage>,
    ) {
        let limit = match self.leaves_at {
            Some(limit) => limit,
            None => self.stop_for_others(granted, grace),
        };
        self.leaves_at = Some(limit);
        let goodbye = Goodbye { worker: self.id, limit, reason: GOODBYE.to_owned() };
        if let Err(error) = door.send(CoordinatorMessage::Goodbye(Wire::new(goodbye))) {
            tracing::debug!(%error, "the goodbye was not sent");
        }
    }

    fn stop_for_others(&self, granted: Limit, grace: Duration) -> Limit {
        let now = self.clock.map_or(Duration::ZERO, |clock| clock.now());
        let gate = self.lease.gate();
        let (at, limit) = match granted {
            Limit::Due(due) if !self.closed_loop => {
                let last = due.saturating_sub(BEFORE_THE_GRANT_ENDS);
                let at = Duration::from_secs(last.as_secs());
                gate.leave_at(Limit::Due(at));
                (at, Limit::Due(at))
            }
            // The others begin at their next whole second but one; until then slots that are behind catch up.
            Limit::Due(_) | Limit::Round(_) => {
                (Duration::from_secs(now.as_secs() + 2), gate.leave_rounds())
            }
        };
        tracing::info!(?limit, "this worker leaves");
        for lane in &self.lanes {
            let stop = Stop { at, grace, reason: NotSent::Interrupted };
            let _ = lane.cast(LaneMessage::Stop(stop));
        }
        limit
    }

    /// Tells each lane which stages rules have ended.
    pub(crate) fn end_stages(&self, ends: &[StageEnd]) {
        for (lane, end) in
            self.lanes.iter().flat_map(|lane| ends.iter().map(move |end| (lane, *end)))
        {
            let _ = lane.cast(LaneMessage::StageEnded(end));
        }
    }

    /// Gives each lane its part of what is newly ours, with the part of the cap that belongs to it.
    pub(crate) fn take_over(&self, claims: &[Claim]) {
        // The recorder first: it answers for the seconds of a class from the first of them on.
        let _ = self.recorder.cast(RecorderMessage::Owned(self.lease.claims().clone()));
        let Some(count) = u32::try_from(self.lanes.len()).ok().and_then(NonZeroU32::new) else {
            return;
        };
        for claim in claims {
            if let Some(cap) = &self.cap {
                cap.permits.add_permits(claim.class.share(cap.total) as usize);
            }
            for (lane, actor) in (0..).zip(&self.lanes) {
                let _ = actor.cast(LaneMessage::Claim(claim.lane(lane, count)));
            }
        }
    }
}
