//! What an open loop will start next, with the bodies on order.

use std::{collections::VecDeque, iter::Peekable, rc::Rc, sync::Arc};

use workload::{Arrival, Arrivals, Plan};

use crate::{bodies::Ordered, claims::Claim, lane::Lane};

/// Bodies that an open loop orders ahead: half a second at 500 requests a second and lane.
const AHEAD: usize = 256;

/// A lane's arrivals with their bodies, ordered ahead; without one where the arrival's stage is over or
/// the run is stopped, so that a backlog costs the builder nothing.
pub(crate) struct Ahead {
    lane: Rc<Lane>,
    arrivals: Peekable<Arrivals>,
    queue: VecDeque<(Arrival, Option<Ordered>)>,
}

/// The arrivals of a claim. Those before its instant are passed over off the lane's thread: an hour of a schedule
/// takes a while.
async fn arrivals_from(plan: &Arc<Plan>, claim: Claim) -> Peekable<Arrivals> {
    let mut arrivals = plan.arrivals(claim.class).peekable();
    if claim.from.is_zero() {
        return arrivals;
    }
    let passed = tokio::task::spawn_blocking(move || {
        while arrivals.next_if(|arrival| arrival.due < claim.from).is_some() {}
        arrivals
    });
    passed.await.expect("the runtime outlives its lane, and an iterator does not panic")
}

impl Ahead {
    /// Orders the first bodies.
    pub(crate) async fn new(lane: Rc<Lane>, claim: Claim) -> Self {
        let arrivals = arrivals_from(&lane.plan, claim).await;
        let mut ahead = Self { lane, arrivals, queue: VecDeque::with_capacity(AHEAD) };
        ahead.fill();
        ahead
    }

    /// The next arrival; the place that it leaves is filled.
    pub(crate) fn next(&mut self) -> Option<(Arrival, Option<Ordered>)> {
        let next = self.queue.pop_front();
        self.fill();
        next
    }

    fn fill(&mut self) {
        let now = self.lane.clock.now();
        while self.queue.len() < AHEAD {
            let Some(arrival) = self.arrivals.next() else { return };
            let over = self.lane.stage_end(arrival.stage).is_some_and(|end| now >= end);
            let offered =
                self.lane.early_end.offers(arrival.due) && self.lane.still_offers(&arrival);
            let wanted = !over && offered;
            let body = wanted.then(|| self.lane.bodies.order(arrival.number));
            self.queue.push_back((arrival, body));
        }
    }

    /// All arrivals that were not taken, to the end of the schedule.
    pub(crate) fn into_arrivals(self) -> impl Iterator<Item = Arrival> {
        self.queue.into_iter().map(|(arrival, _)| arrival).chain(self.arrivals)
    }
}
