//! The two ways of offering load, and the drain after them.
//!
//! Open loop: the schedule decides when a request starts, whatever the server's state. Closed loop: a
//! slot asks again when it was answered. Both are a function of (plan, seed, shard) and the clock.

use std::{panic::AssertUnwindSafe, rc::Rc, sync::Arc, time::Duration};

use client::Pacer;
use futures_util::FutureExt;
use metrics::{NotSent, Scope};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use workload::{Arrival, CapPolicy, Drive};

use crate::{
    ahead::Ahead,
    bodies::Ordered,
    booking::{Booking, Due},
    claims::Claim,
    lane::{Lane, resumed},
    request::{Came, Permission, request},
    session::Session,
};

/// After so many arrivals in a row that were due already, the streams of the others get their turn.
const YIELD_EVERY: u32 = 64;

/// How often a slot without permission looks for one, besides at each grant.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How long a slot rests after a request that found no connection: a closed loop asks again when it was
/// answered, and a server that is gone answers at once.
const REST_WITHOUT_CONNECTION: Duration = Duration::from_millis(100);

/// What a lane will offer by one claim, with its first bodies on order: prepared before it begins.
pub(crate) enum Load {
    /// Arrivals at their instants.
    Open(Ahead),
    /// Slots in the order of their starts.
    Closed(Vec<Slot>),
}

/// A slot of a closed loop, and where it begins.
pub(crate) struct Slot {
    start: Duration,
    slot: u32,
    round: u64,
    first: Ordered,
}

impl Load {
    /// Orders the first bodies. A claim's class is the lane's part of it.
    pub(crate) async fn prepare(lane: &Rc<Lane>, claim: Claim) -> Self {
        match lane.plan.drive {
            Drive::Open { .. } => Self::Open(Ahead::new(Rc::clone(lane), claim).await),
            Drive::Closed { slots, .. } => Self::Closed(slots_by_start(lane, slots.get(), claim)),
        }
    }
}

/// The slots that own a request at all, in the order of their starts. Slots that go on begin together with
/// their class, those that rest when their stage comes.
fn slots_by_start(lane: &Lane, slots: u32, claim: Claim) -> Vec<Slot> {
    let mut starts: Vec<_> = claim
        .class
        .slots(slots)
        .filter_map(|slot| {
            let number = lane.plan.closed_request(slot, claim.first_round)?;
            let start = lane.plan.slot_resumes(slot, claim.from)?;
            let first = lane.bodies.order(number);
            Some(Slot { start, slot, round: claim.first_round, first })
        })
        .collect();
    starts.sort_unstable_by_key(|slot| (slot.start, slot.slot));
    starts
}

/// Offers the lane's part of one claim and follows it to its end.
pub(crate) async fn offer(lane: &Rc<Lane>, load: Load, pacer: &mut impl Pacer) {
    let mut requests = JoinSet::new();
    match load {
        Load::Open(ahead) => open_loop(lane, ahead, pacer, &mut requests).await,
        Load::Closed(slots) => start_slots(lane, slots, pacer, &mut requests).await,
    }
    drain(lane, requests).await;
}

/// Starts each arrival at its instant. Nothing here waits for an answer; only a cap holds back.
async fn open_loop(
    lane: &Rc<Lane>,
    mut ahead: Ahead,
    pacer: &mut impl Pacer,
    requests: &mut JoinSet<()>,
) {
    let mut held_until = Duration::ZERO;
    let mut overdue = 0;
    while let Some((arrival, body)) = ahead.next() {
        // A loop that is behind its schedule never waits, and would be alone on its thread.
        overdue = if lane.clock.now() < arrival.due { 0 } else { overdue + 1 };
        if overdue % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        if !reach(lane, pacer, arrival.due).await {
            return leave(lane, arrival, ahead).await;
        }
        while requests.try_join_next().is_some() {}
        if !lane.still_offers(&arrival) {
            continue;
        }
        let mut booking = Booking::open(Rc::clone(lane), due(&arrival));
        match permit(lane, &mut booking, &arrival, &mut held_until).await {
            Ok(permit) => {
                let body = body.unwrap_or_else(|| lane.bodies.order(arrival.number));
                let lane = Rc::clone(lane);
                let permission = Permission::Due(arrival.stage, arrival.due);
                let session = Session::begin(&lane, arrival.number, due(&arrival).scope);
                begin(requests, async move {
                    let ended = request(&lane, booking, body, arrival.stage, permission).await;
                    if let Some(session) = session {
                        // Apart, so that requests that stand alone need no room for it.
                        Box::pin(session.go_on(permission, ended.turn)).await;
                    }
                    // Of a session too: the cap is on users.
                    drop(permit);
                });
            }
            Err(why) => why.book(booking, lane.early_end.reason()),
        }
    }
}

/// Starts a request here and now, up to its first wait, and gives the rest a task of its own: a new task would first wait
/// behind all the reads that are in the lane's queue. A panic is that request's alone, as it would be in its task.
fn begin(requests: &mut JoinSet<()>, request: impl Future<Output = ()> + 'static) {
    let mut request = Box::pin(request);
    if AssertUnwindSafe(request.as_mut()).catch_unwind().now_or_never().is_none() {
        requests.spawn_local(request);
    }
}

fn due(arrival: &Arrival) -> Due {
    let scope = Scope { stage: arrival.stage, class: arrival.class };
    Due { number: arrival.number, turn: 0, scope, scheduled: arrival.due, permitted: arrival.due }
}

/// Waits for an instant; `false` when the run was stopped before it.
async fn reach(lane: &Lane, pacer: &mut impl Pacer, due: Duration) -> bool {
    loop {
        if !lane.early_end.offers(due) {
            return false;
        }
        tokio::select! {
            biased;
            () = pacer.until(due) => return lane.early_end.offers(due),
            () = lane.precedence().overdue(lane.clock.monotonic_at(due)) => {}
            () = lane.early_end.changed() => {}
        }
    }
}

/// The run was stopped: what was due before and has not been started is booked, so that the schedule's
/// account has no gap.
async fn leave(lane: &Rc<Lane>, first: Arrival, ahead: Ahead) {
    let Some(stop_at) = lane.early_end.stop_at() else { return };
    let left = std::iter::once(first).chain(ahead.into_arrivals());
    let left = left.take_while(|arrival| arrival.due < stop_at);
    for (count, arrival) in (1_u32..).zip(left.filter(|arrival| lane.still_offers(arrival))) {
        Booking::open(Rc::clone(lane), due(&arrival)).not_sent(lane.early_end.reason());
        if count % YIELD_EVERY == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Why an arrival was not started.
enum Unsent {
    /// The cap held it back until its stage was over.
    HeldBack,
    /// This loop came to it after its stage was over.
    Late,
    /// The cap held it back until the run was stopped.
    Stopped,
    /// Nothing permits it, and it is not sent late when something does.
    NoLease,
    /// The cap was used up, and the plan drops such.
    Dropped,
}

impl Unsent {
    fn book(self, booking: Booking, stopped: NotSent) {
        match self {
            Self::HeldBack => booking.never_permitted(),
            Self::Late => booking.not_sent(NotSent::StageEnded),
            Self::Stopped => booking.not_sent(stopped),
            Self::NoLease => booking.not_sent(NotSent::NoLease),
            Self::Dropped => booking.dropped(),
        }
    }
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
    let now = lane.clock.now();
    if end.is_some_and(|end| now >= end) {
        return Err(if behind { Unsent::HeldBack } else { Unsent::Late });
    }
    if !Permission::Due(arrival.stage, arrival.due).is_granted(lane) {
        return Err(Unsent::NoLease);
    }
    let Some(permits) = &lane.permits else { return Ok(None) };
    if behind && lane.early_end.waits_until().is_some_and(|stop| now >= stop) {
        return Err(Unsent::Stopped);
    }
    if let Ok(free) = Arc::clone(permits).try_acquire_owned() {
        if behind {
            booking.permit(now);
        }
        return Ok(Some(free));
    }
    if matches!(lane.plan.drive, Drive::Open { policy: CapPolicy::Drop, .. }) {
        return Err(Unsent::Dropped);
    }
    let freed = wait_for_permit(lane, permits, arrival.stage).await;
    *held_until = lane.clock.now();
    if freed.is_ok() {
        booking.permit(*held_until);
    }
    freed.map(Some)
}

/// Waits until a permit is free, the stage is over, or the run is stopped.
async fn wait_for_permit(
    lane: &Lane,
    permits: &Arc<Semaphore>,
    stage: u16,
) -> Result<OwnedSemaphorePermit, Unsent> {
    let freed = Arc::clone(permits).acquire_owned();
    tokio::pin!(freed);
    loop {
        let (stop, end) = (lane.early_end.waits_until(), lane.stage_end(stage));
        let limit = async {
            match end.into_iter().chain(stop).min() {
                Some(limit) => tokio::time::sleep(lane.clock.until(limit)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            permit = &mut freed => return permit.map_err(|_| Unsent::Stopped),
            () = limit => {
                let stopped = stop.is_some_and(|stop| end.is_none_or(|end| stop < end));
                return Err(if stopped { Unsent::Stopped } else { Unsent::HeldBack });
            }
            () = lane.early_end.changed() => {}
        }
    }
}

/// Starts each slot of a closed loop at its instant.
async fn start_slots(
    lane: &Rc<Lane>,
    slots: Vec<Slot>,
    pacer: &mut impl Pacer,
    requests: &mut JoinSet<()>,
) {
    for slot in slots {
        if !reach(lane, pacer, slot.start).await {
            return;
        }
        begin(requests, closed_loop(Rc::clone(lane), slot));
    }
}

/// One slot: asks, is answered, asks again. Its next body is ordered while it waits for an answer.
async fn closed_loop(lane: Rc<Lane>, begun: Slot) {
    let Slot { start: mut scheduled, slot, mut round, first } = begun;
    let mut next = Some(first);
    while let Some(body) = next.take() {
        match rest(&lane, slot, scheduled).await {
            Some(at) => scheduled = at,
            None => return,
        }
        let permission = Permission::Round(round);
        while !permission.is_granted(&lane) {
            if !lane.early_end.offers(scheduled) || lane.plan.stage_at(scheduled).is_none() {
                return;
            }
            let _ = tokio::time::timeout(ASK_AGAIN, lane.gate.granted()).await;
            scheduled = lane.clock.now();
        }
        let Some(stage) = lane.plan.stage_at(scheduled) else { return };
        if !lane.early_end.offers(scheduled) {
            return;
        }
        if lane.ended_until(stage, scheduled).is_some() {
            next = Some(body);
            continue;
        }
        let number = lane.plan.closed_request(slot, round).unwrap_or_default();
        round += 1;
        let class = lane.plan.cell_of(number);
        next = lane.plan.closed_request(slot, round).map(|number| lane.bodies.order(number));
        let scope = Scope { stage, class };
        let due = Due { number, turn: 0, scope, scheduled, permitted: scheduled };
        let booking = Booking::open(Rc::clone(&lane), due);
        let session = Session::begin(&lane, number, due.scope);
        let ended = request(&lane, booking, body, stage, permission).await;
        if ended.came == Came::WithoutConnection {
            tokio::time::sleep(REST_WITHOUT_CONNECTION).await;
        }
        if let Some(session) = session {
            Box::pin(session.go_on(permission, ended.turn)).await;
        }
        scheduled = lane.plan.asks_again(number, lane.clock.now());
    }
}

/// Waits until a slot may and wants to ask, from `wanted` on; `None` where it never does again. The instant at which a
/// pause is over is when the slot is free: see [`resumed`].
async fn rest(lane: &Lane, slot: u32, wanted: Duration) -> Option<Duration> {
    let mut at = resumes(lane, slot, wanted)?;
    if at <= lane.clock.now() {
        return Some(at.max(wanted));
    }
    loop {
        let now = lane.clock.now();
        if now >= at {
            // Woken late it may have missed all of the stage that had a place for it.
            let has_place = resumes(lane, slot, now)?;
            if has_place <= now {
                return Some(resumed(at, now));
            }
            at = has_place;
        }
        if !lane.early_end.offers(at) {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(lane.clock.until(at)) => {}
            () = lane.early_end.changed() => at = resumes(lane, slot, at)?,
        }
    }
}

/// When a slot may ask, from `wanted` on: in no stage in which it rests, and in none that a rule has ended.
fn resumes(lane: &Lane, slot: u32, wanted: Duration) -> Option<Duration> {
    let mut at = lane.plan.slot_resumes(slot, wanted)?;
    while let Some(next) = lane.plan.stage_at(at).and_then(|stage| lane.ended_until(stage, at)) {
        at = lane.plan.slot_resumes(slot, next)?;
    }
    Some(at)
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
            () = lane.early_end.changed() => {}
        }
    }
    lane.early_end.give_up();
    requests.shutdown().await;
}

fn drain_limit(lane: &Lane) -> Option<Duration> {
    let planned = lane.plan.end().map(|end| end + lane.plan.drain);
    match (planned, lane.early_end.drained_by()) {
        (Some(planned), Some(early)) => Some(planned.min(early)),
        (planned, early) => planned.or(early),
    }
}

#[cfg(test)]
mod tests {
    use client::{Clock, TimerfdPacer};
    use metrics::{Books, FailureClass};
    use protocol::Limit;
    use serde_json::{Value, json};
    use simulator::{Running, Simulator, SimulatorConfig};
    use tokio::task::LocalSet;
    use workload::Shard;

    use super::*;
    use crate::{
        lane::tests::{lane, plan, recorded_lane},
        records::{RecordTap, tests::collecting},
    };

    const WHOLE: Claim = Claim { class: Shard::WHOLE, from: Duration::ZERO, first_round: 0 };

    fn server(ttft_ms: f64) -> Running {
        let config =
            SimulatorConfig { fixed: true, ttft_ms, itl_ms: 1.0, ..SimulatorConfig::default() };
        Simulator::start(config).unwrap()
    }

    /// Offers a whole plan and, meanwhile, does what a test wants with the lane.
    async fn books<F: Future<Output = ()>>(
        server: &Running,
        keys: &[(&str, Value)],
        meanwhile: impl FnOnce(Rc<Lane>) -> F,
    ) -> Books {
        let lane = lane(plan(&server.base_url(), keys));
        let tasks = LocalSet::new();
        let other = meanwhile(Rc::clone(&lane));
        let offering = async {
            let load = Load::prepare(&lane, WHOLE).await;
            let mut pacer = TimerfdPacer::new(lane.clock).unwrap();
            offer(&lane, load, &mut pacer).await;
        };
        tasks.run_until(async { tokio::join!(offering, other) }).await;
        let books = lane.recorder.borrow_mut().take().books();
        books.balance().unwrap();
        books
    }

    async fn nothing(_: Rc<Lane>) {}

    /// What a late lane came to after its stage: due, and by law not begun any more.
    fn stage_ended(books: &Books) -> u64 {
        books.not_sent.get(&NotSent::StageEnded).copied().unwrap_or(0)
    }

    /// An address at which nobody listens, and nobody else can as long as this is held.
    fn nobody() -> (tokio::net::TcpSocket, String) {
        let held = tokio::net::TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = held.local_addr().unwrap();
        (held, format!("http://{address}/v1/chat/completions"))
    }

    #[tokio::test]
    async fn a_request_begins_at_once_and_ends_in_a_task_of_its_own() {
        let tasks = LocalSet::new();
        let (told, mut steps) = tokio::sync::mpsc::unbounded_channel();
        let whole = async {
            let mut requests = JoinSet::new();
            begin(&mut requests, async { panic!("one request's own affair") });
            begin(&mut requests, async move {
                told.send(1).unwrap();
                tokio::task::yield_now().await;
                told.send(2).unwrap();
            });
            assert_eq!(steps.try_recv(), Ok(1), "before anything else has its turn");
            assert!(requests.join_next().await.unwrap().is_ok() && requests.is_empty());
            assert_eq!(steps.try_recv(), Ok(2));
        };
        tasks.run_until(whole).await;
    }

    #[tokio::test]
    async fn an_open_loop_offers_its_whole_schedule() {
        let server = server(1.0);
        let keys = [("load.rate", json!(40)), ("benchmark.requests", json!(20))];
        assert_eq!(books(&server, &keys, nothing).await.completed, 20);
    }

    #[tokio::test]
    async fn a_closed_loop_keeps_asking_until_its_number_is_reached() {
        let server = server(1.0);
        let keys = [
            ("load.concurrency", json!(3)),
            ("benchmark.requests", json!(10)),
            ("load.rampUp", json!(0)),
        ];
        assert_eq!(books(&server, &keys, nothing).await.completed, 10);
        assert_eq!(server.truth().completed, 10);
    }

    #[tokio::test]
    async fn without_a_lease_nothing_is_started_and_nothing_sent_late() {
        let server = server(1.0);
        let keys = [("load.rate", json!(100)), ("benchmark.requests", json!(50))];
        // Granted, before anything is offered, is what is due in the first 200 ms; the rest would be somebody else's.
        let lease = |lane: Rc<Lane>| {
            lane.gate.leave_at(Limit::Due(Duration::from_millis(200)));
            nothing(lane)
        };
        let books = books(&server, &keys, lease).await;
        assert_eq!((books.completed, books.not_sent[&NotSent::NoLease]), (20, 30), "{books:?}");
        assert_eq!(server.truth().received, 20);
    }

    #[tokio::test]
    async fn a_slot_waits_for_the_round_it_may_begin() {
        let server = server(1.0);
        let keys = [
            ("load.concurrency", json!(2)),
            ("benchmark.duration", json!(60)),
            ("load.rampUp", json!(0)),
        ];
        // Stopped some time after all that is granted was answered: more would have been asked by then.
        let truth = &server;
        let lease = |lane: Rc<Lane>| {
            lane.gate.leave_at(Limit::Round(3));
            async move {
                while truth.truth().completed < 6 && lane.clock.now() < Duration::from_secs(30) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
                let grace = Duration::from_secs(30);
                lane.early_end.stop(lane.clock.now(), grace, NotSent::Stopped);
            }
        };
        let books = books(&server, &keys, lease).await;
        assert_eq!((books.due, books.completed), (6, 6), "three rounds of two slots");
    }

    /// Offers a class that is taken over in the middle of a run.
    #[tokio::test]
    async fn a_class_that_is_taken_over_is_offered_from_its_instant_on() {
        let server = server(1.0);
        let keys = [("load.rate", json!(100)), ("benchmark.requests", json!(200))];
        let lane = lane(plan(&server.base_url(), &keys));
        let class = Shard::new(1, 2.try_into().unwrap()).unwrap();
        let claim = Claim { class, from: Duration::from_secs(1), first_round: 0 };
        let offered = async {
            let load = Load::prepare(&lane, claim).await;
            offer(&lane, load, &mut TimerfdPacer::new(lane.clock).unwrap()).await;
        };
        LocalSet::new().run_until(offered).await;
        // Arrivals 101, 103, … 199.
        assert_eq!(lane.recorder.borrow_mut().take().books().completed, 50);
    }

    #[tokio::test]
    async fn slots_that_are_taken_over_go_on_at_their_round() {
        let server = server(1.0);
        let keys = [
            ("load.concurrency", json!(3)),
            ("benchmark.requests", json!(12)),
            ("load.rampUp", json!(0)),
        ];
        let lane = lane(plan(&server.base_url(), &keys));
        let from = Duration::from_millis(1);
        let claim = Claim { class: Shard::WHOLE, from, first_round: 3 };
        let offered = async {
            let load = Load::prepare(&lane, claim).await;
            offer(&lane, load, &mut TimerfdPacer::new(lane.clock).unwrap()).await;
        };
        LocalSet::new().run_until(offered).await;
        assert_eq!(lane.recorder.borrow_mut().take().books().completed, 3, "one round of four");
    }

    #[tokio::test]
    async fn a_slot_whose_server_is_gone_does_not_hammer_its_address() {
        let server = server(1.0);
        let (_held, address) = nobody();
        let keys = [
            ("target.endpoint", json!(address)),
            ("load.concurrency", json!(1)),
            ("benchmark.duration", json!(0.5)),
            ("load.rampUp", json!(0)),
        ];
        let books = books(&server, &keys, nothing).await;
        let refused = books.failed[&FailureClass::Connect];
        assert!(refused == books.due && (1..=6).contains(&refused), "{books:?}");
    }

    /// Allocations of the lane's thread for a closed loop of ten answers of so many tokens.
    fn allocations(server: &Running, tokens: u64, records: Option<RecordTap>) -> u64 {
        let keys = [
            ("load.concurrency", json!(2)),
            ("benchmark.requests", json!(10)),
            ("load.rampUp", json!(0)),
            ("prompts.outputLength.mean", json!(tokens)),
        ];
        let lane = recorded_lane(plan(&server.base_url(), &keys), records);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let tasks = LocalSet::new();
        let counted = allocation_counter::measure(|| {
            tasks.block_on(&runtime, async {
                let load = Load::prepare(&lane, WHOLE).await;
                let mut pacer = TimerfdPacer::new(lane.clock).unwrap();
                offer(&lane, load, &mut pacer).await;
            });
        });
        let interval = lane.recorder.borrow_mut().take();
        let events: u64 = interval.scopes.values().map(|record| record.window.output_tokens).sum();
        assert_eq!(events, 10 * tokens);
        counted.count_total
    }

    #[test]
    fn a_token_costs_the_lane_no_allocation() {
        let config = SimulatorConfig {
            fixed: true,
            ttft_ms: 1.0,
            itl_ms: 0.1,
            ..SimulatorConfig::default()
        };
        let server = Simulator::start(config).unwrap();
        let (few, many) = (allocations(&server, 20, None), allocations(&server, 1_000, None));
        // Seconds of the run have an entry each, and a buffer grows when an event first comes in pieces.
        assert!(
            many.saturating_sub(few) <= 60,
            "{few} allocations for 200 tokens, {many} for 10,000"
        );
        // Room for the gaps of a request whose record is kept is doubled twice from 200 tokens to 1,000.
        let (records, _seen) = collecting();
        let recorded = allocations(&server, 1_000, Some(records.tap(0)));
        assert!(
            recorded.saturating_sub(few) <= 60 + 10 * 6,
            "{few} allocations for 200 tokens, {recorded} for 10,000 with their records"
        );
    }

    #[tokio::test]
    async fn what_the_cap_still_holds_at_the_end_is_not_sent() {
        let server = server(200.0);
        let keys = [
            ("load.rate", json!(50)),
            ("load.concurrency", json!(1)),
            ("benchmark.duration", json!(0.5)),
        ];
        let books = books(&server, &keys, nothing).await;
        assert_eq!(books.due, 25);
        assert_eq!(books.not_sent_total() + books.completed, 25);
        assert!(books.not_sent[&NotSent::StageEnded] >= 20, "{books:?}");
    }

    #[tokio::test]
    async fn what_finds_the_cap_used_up_is_dropped_where_the_plan_says_so() {
        let server = server(500.0);
        let keys = [
            ("load.rate", json!(100)),
            ("load.concurrency", json!(1)),
            ("load.capPolicy", json!("drop")),
            ("benchmark.requests", json!(25)),
        ];
        let books = books(&server, &keys, nothing).await;
        assert_eq!((books.due, books.not_sent_total() + books.completed), (25, 25));
        assert!(books.not_sent[&NotSent::CapDropped] >= 20, "{books:?}");
        assert_eq!(books.not_sent.len(), 1, "nothing waits for a permit: {books:?}");
    }

    #[tokio::test]
    async fn a_user_thinks_between_an_answer_and_the_next_request() {
        let server = server(1.0);
        let keys = [
            ("load.concurrency", json!(1)),
            ("load.thinkTime.mean", json!(0.2)),
            ("load.thinkTime.distribution", json!("fixed")),
            ("benchmark.duration", json!(0.7)),
            ("load.rampUp", json!(0)),
        ];
        let books = books(&server, &keys, nothing).await;
        // Due at 0, and at least 0.2 s after each other.
        assert!((1..=4).contains(&books.due), "{books:?}");
        assert_eq!(books.completed + stage_ended(&books), books.due, "{books:?}");
        assert!(stage_ended(&books) <= 1, "a user has one request at a time: {books:?}");
    }

    #[tokio::test]
    async fn slots_rest_while_their_stage_has_no_place_for_them() {
        let server = server(1.0);
        let stages = json!([
            {"concurrency": 1, "duration": 0.3},
            {"concurrency": 3, "duration": 0.3},
            {"concurrency": 1, "duration": 0.3},
        ]);
        let keys = [
            ("stages", stages),
            ("load.rampUp", json!(0)),
            ("load.thinkTime.mean", json!(10)),
            ("load.thinkTime.distribution", json!("fixed")),
        ];
        // Each slot asks once and then thinks for longer than the run.
        let books = books(&server, &keys, nothing).await;
        assert_eq!((books.due, books.completed + stage_ended(&books)), (3, 3), "{books:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_missed_the_stage_which_had_a_place_for_it_asks_in_no_other() {
        let stages = json!([
            {"concurrency": 1, "duration": 1},
            {"concurrency": 2, "duration": 1},
            {"concurrency": 1, "duration": 1},
        ]);
        let keys = [("stages", stages), ("load.rampUp", json!(0))];
        let mut lane = lane(plan("http://127.0.0.1:9", &keys));
        Rc::get_mut(&mut lane).unwrap().clock = Clock::tokio(tokio::time::Instant::now());
        // Its thread does not run from before that stage until after it.
        let frozen = tokio::time::advance(Duration::from_millis(2_500));
        let (at, ()) = tokio::join!(rest(&lane, 1, Duration::ZERO), frozen);
        assert_eq!(at, None, "no later stage has a place for a second user");
    }

    /// What was due in each of two stages, the first of which a rule ends at `at`.
    async fn due_by_stage(stages: Value, more: &[(&str, Value)], at: Duration) -> [u64; 2] {
        let server = server(1.0);
        let keys = [&[("stages", stages), ("load.rampUp", json!(0))], more].concat();
        let lane = lane(plan(&server.base_url(), &keys));
        lane.gate.end_stage(0, at);
        lane.end_stage(0, at);
        let offered = async {
            let load = Load::prepare(&lane, WHOLE).await;
            offer(&lane, load, &mut TimerfdPacer::new(lane.clock).unwrap()).await;
        };
        LocalSet::new().run_until(offered).await;
        let interval = lane.recorder.borrow_mut().take();
        interval.books().balance().unwrap();
        let of = |stage| interval.scopes.get(&Scope { stage, class: 0 });
        [0, 1].map(|stage| of(stage).map_or(0, |record| record.books.due))
    }

    #[tokio::test]
    async fn what_is_left_of_a_stage_that_a_rule_ended_is_not_due_and_the_next_one_is_whole() {
        let stages = json!([{"rate": 100, "duration": 0.5}, {"rate": 40, "duration": 0.5}]);
        let due = due_by_stage(stages, &[], Duration::from_millis(200)).await;
        assert_eq!(due, [20, 20]);
    }

    #[tokio::test]
    async fn users_rest_for_what_is_left_of_a_stage_that_a_rule_ended() {
        let stages =
            json!([{"concurrency": 2, "duration": 0.4}, {"concurrency": 3, "duration": 0.4}]);
        let think =
            [("load.thinkTime.mean", json!(10)), ("load.thinkTime.distribution", json!("fixed"))];
        // Each asks once and then thinks for longer than the run.
        assert_eq!(due_by_stage(stages.clone(), &think, Duration::ZERO).await, [0, 3]);
        assert_eq!(due_by_stage(stages, &think, Duration::from_millis(200)).await, [2, 1]);
    }

    #[tokio::test]
    async fn a_stop_books_the_backlog_and_sends_none_of_it() {
        let server = server(300.0);
        let keys = [
            ("load.rate", json!(100)),
            ("load.concurrency", json!(1)),
            ("benchmark.duration", json!(3600)),
        ];
        let stop = |lane: Rc<Lane>| async move {
            while lane.in_flight.get() == 0 {
                tokio::task::yield_now().await;
            }
            let at = lane.clock.now() + Duration::from_millis(200);
            lane.early_end.stop(at, Duration::from_secs(30), NotSent::Interrupted);
        };
        let books = books(&server, &keys, stop).await;
        assert_eq!(books.not_sent[&NotSent::Interrupted] + books.completed, books.due, "{books:?}");
        assert!(books.not_sent[&NotSent::Interrupted] >= 10, "{books:?}");
    }

    #[tokio::test]
    async fn a_cancellation_gives_up_what_is_open() {
        let server = server(60_000.0);
        let keys = [("load.rate", json!(100)), ("benchmark.duration", json!(3600))];
        let cancel = |lane: Rc<Lane>| async move {
            while lane.in_flight.get() < 5 {
                tokio::task::yield_now().await;
            }
            lane.early_end.cancel(lane.clock.now());
        };
        let books = books(&server, &keys, cancel).await;
        assert_eq!(books.completed, 0);
        assert!(books.cancelled >= 5, "{books:?}");
        assert_eq!(books.cancelled + books.not_sent_total(), books.due);
    }

    #[tokio::test]
    async fn a_drain_that_takes_too_long_is_cut_off() {
        let server = server(60_000.0);
        let keys = [
            ("load.rate", json!(50)),
            ("benchmark.requests", json!(5)),
            ("benchmark.duration", json!(0.5)),
            ("benchmark.drain", json!(0.1)),
        ];
        // The last is due 0.4 s before the end.
        let books = books(&server, &keys, nothing).await;
        assert_eq!((books.due, books.cancelled), (5, 5));
    }
}
