//! The lanes and the recorder of an assigned run, started below the actor.

use std::{
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
};

use client::ClientOptions;
use protocol::{Assigned, WorkerId, WorkerMessage};
use ractor::{Actor, ActorProcessingErr, ActorRef, thread_local::ThreadLocalActor};
use workload::{Drive, Plan, PromptSource, Shard};

use super::{WorkerState, records};
use crate::{
    Lease,
    bodies::Bodies,
    client_actor::{ClientActor, LaneArguments},
    crew::{Cap, Crew},
    listener::{Told, UnixStart},
    recorder_actor::{Recorder, RecorderArguments},
    records::Records,
};

/// Lanes of a worker, unless the plan says otherwise.
const MOST_LANES: u16 = 8;

/// What an assigned run is made of.
pub(super) struct Hired {
    /// What is answered to the plan.
    pub(super) assigned: Assigned,
    pub(super) id: WorkerId,
    pub(super) plan: Arc<Plan>,
    /// None: a spare.
    pub(super) shard: Option<Shard>,
    pub(super) lanes: NonZeroU32,
    pub(super) options: ClientOptions,
    pub(super) prompts: Arc<PromptSource>,
}

impl WorkerState {
    /// One lane a processor but one, which the control runtime keeps; never more lanes than slots. A
    /// lane carries some 100,000 events a second, so few machines need more than [`MOST_LANES`].
    pub(super) fn lanes(&self, plan: &Plan, shard: Option<Shard>) -> NonZeroU32 {
        let spare = self.arguments.processors.saturating_sub(1).min(MOST_LANES);
        let lanes = plan.client.lanes.or(NonZeroU16::new(spare)).map_or(1, NonZeroU16::get);
        // A spare may come to have any share.
        let units = shard.map_or(u32::MAX, |shard| match plan.drive {
            Drive::Closed { slots, .. } => shard.share(slots.get()),
            Drive::Open { cap: Some(cap), .. } => shard.share(cap.get()),
            Drive::Open { cap: None, .. } => u32::MAX,
        });
        NonZeroU32::new(u32::from(lanes).min(units)).unwrap_or(NonZeroU32::MIN)
    }

    pub(super) async fn hire(
        &self,
        me: &ActorRef<WorkerMessage>,
        hired: Hired,
    ) -> Result<Crew, ActorProcessingErr> {
        let Hired { assigned, id, plan, shard, lanes: count, options, prompts } = hired;
        let bodies = Bodies::start(&plan, prompts)?;
        let cap = Cap::of(&plan, shard);
        let spool = self.spool(&plan);
        let started = UnixStart::default();
        let mut takers = records::takers(&plan, id, spool.as_ref());
        let listener = self.arguments.listener.as_ref();
        takers.extend(listener.and_then(|told| Told::of(told, &plan, id.ordinal, &started)));
        let records = Records::start(takers)?;
        let mut lanes = Vec::with_capacity(count.get() as usize);
        for lane in 0..count.get() {
            let arguments = LaneArguments {
                plan: Arc::clone(&plan),
                shard: shard.map(|shard| shard.lane(lane, count)),
                gate: Arc::clone(&self.arguments.gate),
                bodies: bodies.clone(),
                permits: cap.as_ref().map(|cap| Arc::clone(&cap.permits)),
                options: options.clone(),
                place: usize::try_from(lane).unwrap_or(usize::MAX),
                records: records.clone(),
            };
            let spawner = self.arguments.threads.another().await?;
            let (actor, _) =
                ClientActor::spawn_linked(None, arguments, me.get_cell(), spawner).await?;
            lanes.push(actor);
        }
        let lease = Lease::new(id, shard, Arc::clone(&self.arguments.gate));
        let arguments = RecorderArguments {
            worker: id,
            door: self.arguments.door.clone(),
            lanes: lanes.clone(),
            claims: lease.claims().clone(),
            in_flight: self.arguments.in_flight.clone(),
            complete: self.arguments.complete.clone(),
            records,
        };
        let (recorder, _) = Actor::spawn_linked(None, Recorder, arguments, me.get_cell()).await?;
        let closed_loop = matches!(plan.drive, Drive::Closed { .. });
        let crew = Crew {
            id,
            assigned,
            armed: None,
            lanes,
            recorder,
            lease,
            cap,
            clock: None,
            closed_loop,
            spool,
            started,
            leaves_at: None,
        };
        Ok(crew)
    }
}
