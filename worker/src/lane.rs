//! What the tasks of one lane share: all of it lives on one thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use client::{Client, ClientError, ClientOptions, Clock, Precedence};
use metrics::{FailureClass, FailureSample, NotSent, Recorder, StageWindow};
use tokio::sync::{Notify, Semaphore};
use workload::{Arrival, Plan};

use crate::{bodies::Bodies, gate::Gate, records::RecordTap};

/// Failures that a lane puts into words in one flush, of each class.
const SAMPLES_A_FLUSH: usize = 3;

/// One lane.
pub(crate) struct Lane {
    /// The run's plan.
    pub(crate) plan: Arc<Plan>,
    /// The run's clock.
    pub(crate) clock: Clock,
    /// The lane's connections, to each target.
    pub(crate) clients: Vec<Client>,
    /// Where it records.
    pub(crate) recorder: RefCell<Recorder>,
    /// Where it orders bodies.
    pub(crate) bodies: Bodies,
    /// The worker's share of a cap on requests in flight, shared by its lanes.
    pub(crate) permits: Option<Arc<Semaphore>>,
    /// What the coordinator permits; shared by the worker's lanes.
    pub(crate) gate: Arc<Gate>,
    /// A stop that comes before the plan's end.
    pub(crate) early_end: EarlyEnd,
    /// Requests written and not finished.
    pub(crate) in_flight: Cell<u64>,
    /// Whether every receive stamp so far was the kernel's.
    pub(crate) kernel_stamps: Cell<bool>,
    /// When the lane began to offer, once it has.
    pub(crate) began: Cell<Option<Duration>>,
    /// Failures in words since the last flush.
    pub(crate) samples: RefCell<Vec<FailureSample>>,
    /// Where the records of its requests go; `None` where none are kept.
    pub(crate) records: Option<RecordTap>,
}

/// A stop or a cancellation that came from outside, before the plan's own end.
#[derive(Default)]
pub(crate) struct EarlyEnd {
    stop_at: Cell<Option<Duration>>,
    reason: Cell<Option<NotSent>>,
    grace: Cell<Duration>,
    cancelled: Cell<bool>,
    changed: Notify,
}

impl EarlyEnd {
    /// Nothing due at or after `at` is offered, and open requests are followed for `grace` beyond it. A
    /// later stop never moves an earlier one.
    pub(crate) fn stop(&self, at: Duration, grace: Duration, reason: NotSent) {
        if self.stop_at.get().is_none_or(|known| at < known) {
            self.stop_at.set(Some(at));
            self.reason.set(Some(reason));
            self.grace.set(grace);
        }
        self.changed.notify_waiters();
    }

    /// Open requests are given up now, and nothing more is offered. An instant up to which the load was to go stays, though
    /// it may still lie ahead: what is due before it is in the run's account, and has to be in a book.
    pub(crate) fn cancel(&self, now: Duration) {
        self.cancelled.set(true);
        let stop_at = self.stop_at.get().unwrap_or(now);
        self.stop(stop_at, Duration::ZERO, NotSent::Interrupted);
    }

    /// Marks that what is dropped from now on was given up by us.
    pub(crate) fn give_up(&self) {
        self.cancelled.set(true);
    }

    /// When the load stops, if it stops early.
    pub(crate) fn stop_at(&self) -> Option<Duration> {
        self.stop_at.get()
    }

    /// Until when anything waits for its turn, if the load stops early.
    pub(crate) fn waits_until(&self) -> Option<Duration> {
        if self.is_cancelled() { Some(Duration::ZERO) } else { self.stop_at() }
    }

    /// As what that is booked which the stop kept from being started.
    pub(crate) fn reason(&self) -> NotSent {
        self.reason.get().unwrap_or(NotSent::Interrupted)
    }

    /// Whether something due at `due` is still offered.
    pub(crate) fn offers(&self, due: Duration) -> bool {
        !self.is_cancelled() && self.stop_at.get().is_none_or(|at| due < at)
    }

    /// Until when open requests are followed, after an early end.
    pub(crate) fn drained_by(&self) -> Option<Duration> {
        let at = self.stop_at.get()?;
        Some(if self.is_cancelled() { Duration::ZERO } else { at + self.grace.get() })
    }

    /// Whether a request that is dropped now was given up by us.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }

    /// Something else has changed that who waits has to know.
    pub(crate) fn look_again(&self) {
        self.changed.notify_waiters();
    }

    /// Returns when a stop or cancellation arrives. Check before waiting: on one thread nothing can come
    /// between.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// How much later than asked a timer goes off that turns in steps of a millisecond.
const TIMER_STEP: Duration = Duration::from_millis(2);

/// When a slot or a session was free whose pause was to end at `at`, and that goes on `now`: the step of the timer is
/// nobody's lateness; what is beyond it is the generator's own, and has to be seen in its lag.
pub(crate) fn resumed(at: Duration, now: Duration) -> Duration {
    now.min(at.saturating_add(TIMER_STEP))
}

impl Lane {
    /// A recorder for the plan's stages.
    pub(crate) fn recorder(plan: &Plan) -> RefCell<Recorder> {
        let windows = plan.stages.iter().map(|s| StageWindow { start: s.start, end: s.end });
        let limits = plan.slos.per_request.clone();
        RefCell::new(Recorder::new(windows.collect()).with_request_limits(limits))
    }

    /// Clients for every target of the plan.
    pub(crate) fn clients(
        plan: &Plan,
        options: &ClientOptions,
        clock: Clock,
    ) -> Result<Vec<Client>, ClientError> {
        // Turns are asked as their session is.
        let kinds: Vec<_> = (0..plan.first_cells()).map(|cell| plan.target_of(cell)).collect();
        let targets = plan.targets.len().max(1);
        let precedence = Rc::new(Precedence::default());
        let client = |target: usize| {
            // Its cells, one for each class.
            let own: Vec<_> = kinds.iter().skip(target).step_by(targets).cloned().collect();
            let client = Client::beside(&own[0], options.clone(), clock, Rc::clone(&precedence));
            let client = client?.with_kinds(&own)?;
            Ok(if plan.sessions.is_some() { client.keeping_text() } else { client })
        };
        (0..targets).map(client).collect()
    }

    /// Where a start says that it is due: all clients of a lane have the same.
    pub(crate) fn precedence(&self) -> &Precedence {
        self.clients[0].precedence()
    }

    /// By which connections a request goes, and with whose headers.
    pub(crate) fn client_of(&self, cell: u16) -> (&Client, usize) {
        let cell = self.plan.cell(cell);
        (self.clients.get(cell.target).unwrap_or(&self.clients[0]), cell.class)
    }

    /// The end of a stage, if time ends it, or a rule has.
    pub(crate) fn stage_end(&self, stage: u16) -> Option<Duration> {
        self.planned_end(stage).into_iter().chain(self.gate.stage_end(stage)).min()
    }

    fn planned_end(&self, stage: u16) -> Option<Duration> {
        self.plan.stages.get(usize::from(stage)).and_then(|stage| stage.end)
    }

    /// Whether an arrival is still due: what a rule's end of its stage has taken away is in no book.
    pub(crate) fn still_offers(&self, arrival: &Arrival) -> bool {
        self.gate.stage_end(arrival.stage).is_none_or(|end| arrival.due < end)
    }

    /// Until when nothing is asked, where a rule has ended the stage before `at`; `None` where none has.
    pub(crate) fn ended_until(&self, stage: u16, at: Duration) -> Option<Duration> {
        let _ended = self.gate.stage_end(stage).filter(|end| at >= *end)?;
        Some(self.planned_end(stage).unwrap_or(Duration::MAX))
    }

    /// A rule has ended a stage: its window does not reach beyond, and who waits looks again.
    pub(crate) fn end_stage(&self, stage: u16, at: Duration) {
        self.recorder.borrow_mut().end_stage_at(stage, at);
        self.early_end.look_again();
    }

    /// Returns once no class can come to this lane any more: the plan's time is over, or the run is stopped.
    pub(crate) async fn nothing_can_come(&self) {
        let end = self.plan.end();
        while self.early_end.stop_at().is_none() && end.is_none_or(|end| self.clock.now() < end) {
            let over = async {
                match end {
                    Some(end) => tokio::time::sleep(self.clock.until(end)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                () = self.early_end.changed() => {}
            }
        }
    }

    /// Keeps a failure in words, if its class has not had its share.
    pub(crate) fn sample(&self, class: FailureClass, detail: String, at: Duration) {
        let mut samples = self.samples.borrow_mut();
        if samples.iter().filter(|sample| sample.class == class).count() < SAMPLES_A_FLUSH {
            samples.push(FailureSample { class, detail, at });
        }
    }

    /// One more or one less request at the server.
    pub(crate) fn count_in_flight(self: &Rc<Self>, change: i64, at: Duration) {
        let now = self.in_flight.get().saturating_add_signed(change);
        self.in_flight.set(now);
        let second = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
        self.recorder.borrow_mut().in_flight(second, now);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroU32;

    use client::Credentials;
    use serde_json::{Value, json};
    use workload::{Config, Drive, PlanInputs, PromptSource, Sources};

    use super::*;

    /// A plan from keys and values, against an endpoint.
    pub(crate) fn plan(endpoint: &str, keys: &[(&str, Value)]) -> Plan {
        let mut flags = vec![
            ("target.endpoint".to_owned(), json!(endpoint)),
            ("target.model".to_owned(), json!("simulated")),
            ("prompts.inputLength.mean".to_owned(), json!(8)),
            ("prompts.outputLength.mean".to_owned(), json!(4)),
        ];
        flags.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let inputs = PlanInputs { model: None, prompt_salt: 1 };
        Plan::from_config(&config, &inputs).unwrap().0
    }

    /// The only lane of the only worker, whose run time begins now.
    pub(crate) fn lane(plan: Plan) -> Rc<Lane> {
        recorded_lane(plan, None)
    }

    /// The same, whose requests are recorded.
    pub(crate) fn recorded_lane(plan: Plan, records: Option<RecordTap>) -> Rc<Lane> {
        let plan = Arc::new(plan);
        let prompts = Arc::new(PromptSource::open(&plan).unwrap().0);
        let options: ClientOptions = crate::client_options(&plan.client, Credentials::default());
        let clock = Clock::start_now();
        let permits = match plan.drive {
            Drive::Open { cap, .. } => cap.map(NonZeroU32::get),
            Drive::Closed { .. } => None,
        };
        let gate = Arc::new(Gate::open());
        gate.know_stages(plan.stages.len());
        Rc::new(Lane {
            clients: Lane::clients(&plan, &options, clock).unwrap(),
            recorder: Lane::recorder(&plan),
            bodies: Bodies::start(&plan, prompts).unwrap(),
            permits: permits.map(|permits| Arc::new(Semaphore::new(permits as usize))),
            plan,
            clock,
            gate,
            early_end: EarlyEnd::default(),
            in_flight: 0.into(),
            kernel_stamps: true.into(),
            began: None.into(),
            samples: Vec::new().into(),
            records,
        })
    }

    #[test]
    fn an_early_end_is_never_moved_later() {
        let end = EarlyEnd::default();
        let seconds = Duration::from_secs;
        assert!(end.offers(seconds(100)));
        end.stop(seconds(5), seconds(30), NotSent::Stopped);
        end.stop(seconds(9), seconds(1), NotSent::Interrupted);
        assert_eq!(end.reason(), NotSent::Stopped);
        assert_eq!((end.stop_at(), end.drained_by()), (Some(seconds(5)), Some(seconds(35))));
        assert!(end.offers(seconds(4)) && !end.offers(seconds(5)));
        assert_eq!(end.waits_until(), Some(seconds(5)));
        end.cancel(seconds(3));
        assert_eq!((end.stop_at(), end.drained_by()), (Some(seconds(5)), Some(Duration::ZERO)));
        assert!(!end.offers(seconds(4)));
        assert_eq!(end.waits_until(), Some(Duration::ZERO), "for nothing any more");
    }

    #[test]
    fn who_is_cancelled_without_a_stop_stops_then() {
        let end = EarlyEnd::default();
        end.cancel(Duration::from_secs(3));
        assert_eq!(end.stop_at(), Some(Duration::from_secs(3)));
        assert_eq!(end.reason(), NotSent::Interrupted);
    }

    #[test]
    fn a_pause_is_over_when_its_timer_may_tell_and_what_is_beyond_that_is_late() {
        let ms = Duration::from_millis;
        assert_eq!(resumed(ms(300), ms(301)), ms(301));
        assert_eq!(resumed(ms(300), ms(390)), ms(302), "88 ms are the generator's");
    }
}
