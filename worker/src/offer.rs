//! The two ways of offering load, and the drain after them.
//!
//! Open loop: the schedule decides when a request starts, whatever the server's state. Closed loop: a
//! slot asks again when it was answered. Both are a function of (plan, seed, shard) and the clock.

use std::{collections::VecDeque, rc::Rc, sync::Arc, time::Duration};

use client::Pacer;
use metrics::{NotSent, Scope};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use workload::{Arrival, Arrivals, Drive};

use crate::{
    bodies::{Bodies, Ordered},
    booking::{Booking, Due},
    lane::Lane,
    request::request,
};

/// Bodies that an open loop orders ahead: half a second at 500 requests a second and lane.
const AHEAD: usize = 256;

/// Offers the lane's share of the plan and follows it to its end.
pub(crate) async fn offer(lane: &Rc<Lane>, pacer: &mut impl Pacer) {
    let mut requests = JoinSet::new();
    match lane.plan.drive {
        Drive::Open { .. } => open_loop(lane, pacer, &mut requests).await,
        Drive::Closed { slots, .. } => start_slots(lane, slots.get(), pacer, &mut requests).await,
    }
    drain(lane, requests).await;
}

/// Starts each arrival at its instant. Nothing here waits for an answer; only a cap holds back.
async fn open_loop(lane: &Rc<Lane>, pacer: &mut impl Pacer, requests: &mut JoinSet<()>) {
    let ahead = Ahead::new(lane.plan.arrivals(lane.shard), lane.bodies.clone());
    let mut held_until = Duration::ZERO;
    for (arrival, body) in ahead {
        if !reach(lane, pacer, arrival.due).await {
            return;
        }
        while requests.try_join_next().is_some() {}
        let scope = Scope { stage: arrival.stage, class: arrival.class };
        let due = Due { scope, scheduled: arrival.due, permitted: arrival.due };
        let mut booking = Booking::open(Rc::clone(lane), due);
        let permit = match permit(lane, &mut booking, &arrival, &mut held_until).await {
            Ok(permit) => permit,
            Err(Unsent::HeldBack) => {
                booking.never_permitted();
                continue;
            }
            Err(Unsent::Late) => {
                booking.not_sent(NotSent::StageEnded);
                continue;
            }
        };
        let lane = Rc::clone(lane);
        requests.spawn_local(async move {
            request(&lane, booking, body, arrival.stage, permit).await;
        });
    }
}

/// Waits for an instant; `false` when the run was stopped before it.
async fn reach(lane: &Lane, pacer: &mut impl Pacer, due: Duration) -> bool {
    loop {
        if !lane.ending.offers(due) {
            return false;
        }
        tokio::select! {
            biased;
            () = pacer.until(due) => return lane.ending.offers(due),
            () = lane.ending.changed() => {}
        }
    }
}

/// The stage ended before the request could start.
enum Unsent {
    /// The cap held it back.
    HeldBack,
    /// This loop came to it too late.
    Late,
}

/// A permit under the cap. An arrival that was due while an earlier one was being held back was held
/// back too, even if a permit is free by the time the loop gets to it.
async fn permit(
    lane: &Lane,
    booking: &mut Booking,
    arrival: &Arrival,
    held_until: &mut Duration,
) -> Result<Option<OwnedSemaphorePermit>, Unsent> {
    let end = lane.stage_end(arrival.stage);
    let behind = arrival.due < *held_until;
    if end.is_some_and(|end| lane.clock.now() >= end) {
        return Err(if behind { Unsent::HeldBack } else { Unsent::Late });
    }
    let Some(permits) = &lane.permits else { return Ok(None) };
    if let Ok(free) = Arc::clone(permits).try_acquire_owned() {
        if behind {
            booking.permit(lane.clock.now());
        }
        return Ok(Some(free));
    }
    let freed = wait_for_permit(lane, permits, end).await;
    *held_until = lane.clock.now();
    if freed.is_some() {
        booking.permit(*held_until);
    }
    freed.map(Some).ok_or(Unsent::HeldBack)
}

/// `None` when the stage ends or the run is stopped first.
async fn wait_for_permit(
    lane: &Lane,
    permits: &Arc<Semaphore>,
    end: Option<Duration>,
) -> Option<OwnedSemaphorePermit> {
    let ended = async {
        match end {
            Some(end) => tokio::time::sleep(lane.clock.until(end)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        permit = Arc::clone(permits).acquire_owned() => permit.ok(),
        () = ended => None,
        () = lane.ending.changed() => None,
    }
}

/// Starts each slot of a closed loop at its instant.
async fn start_slots(
    lane: &Rc<Lane>,
    slots: u32,
    pacer: &mut impl Pacer,
    requests: &mut JoinSet<()>,
) {
    let mut starts: Vec<_> = lane
        .shard
        .slots(slots)
        .filter_map(|slot| Some((lane.plan.slot_start(slot)?, slot)))
        .collect();
    starts.sort_unstable();
    for (start, slot) in starts {
        let first = lane.plan.closed_request(slot, 0).map(|number| lane.bodies.order(number));
        if !reach(lane, pacer, start).await {
            return;
        }
        requests.spawn_local(closed_loop(Rc::clone(lane), slot, start, first));
    }
}

/// One slot: asks, is answered, asks again. Its next body is ordered while it waits for an answer.
async fn closed_loop(lane: Rc<Lane>, slot: u32, start: Duration, mut next: Option<Ordered>) {
    let mut scheduled = start;
    let mut round = 0;
    while let Some(body) = next.take() {
        let Some(stage) = lane.plan.stage_at(scheduled) else { return };
        if !lane.ending.offers(scheduled) {
            return;
        }
        round += 1;
        next = lane.plan.closed_request(slot, round).map(|number| lane.bodies.order(number));
        let due = Due { scope: Scope { stage, class: 0 }, scheduled, permitted: scheduled };
        let booking = Booking::open(Rc::clone(&lane), due);
        request(&lane, booking, body, stage, None).await;
        scheduled = lane.clock.now();
    }
}

/// Follows what is open until it has ended or the drain's time is over; then gives up the rest.
async fn drain(lane: &Lane, mut requests: JoinSet<()>) {
    loop {
        let limit = drain_limit(lane);
        let deadline = async {
            match limit {
                Some(limit) => tokio::time::sleep(lane.clock.until(limit)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            joined = requests.join_next() => if joined.is_none() { return },
            () = deadline => break,
            () = lane.ending.changed() => {}
        }
    }
    lane.ending.give_up();
    requests.shutdown().await;
}

fn drain_limit(lane: &Lane) -> Option<Duration> {
    let planned = lane.plan.end().map(|end| end + lane.plan.drain);
    match (planned, lane.ending.drained_by()) {
        (Some(planned), Some(early)) => Some(planned.min(early)),
        (planned, early) => planned.or(early),
    }
}

/// A lane's arrivals with their bodies, ordered ahead.
struct Ahead {
    arrivals: Arrivals,
    bodies: Bodies,
    queue: VecDeque<(Arrival, Ordered)>,
}

impl Ahead {
    fn new(arrivals: Arrivals, bodies: Bodies) -> Self {
        Self { arrivals, bodies, queue: VecDeque::with_capacity(AHEAD) }
    }
}

impl Iterator for Ahead {
    type Item = (Arrival, Ordered);

    fn next(&mut self) -> Option<Self::Item> {
        while self.queue.len() < AHEAD {
            let Some(arrival) = self.arrivals.next() else { break };
            self.queue.push_back((arrival, self.bodies.order(arrival.number)));
        }
        self.queue.pop_front()
    }
}
