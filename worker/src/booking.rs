//! The guard that answers for one request.
//!
//! Whatever becomes of a request's task, its fate is booked: a guard that is dropped without one books
//! `cancelled` where we gave the request up, and else `internal`, a panic included. So the books
//! balance by construction. The record of a request that is drawn for one goes out here too, with its outcome.

mod followed;

use std::{rc::Rc, time::Duration};

use client::{Answer, Failure, Progress, Usage};
use metrics::{
    Completion, EventSample, FailureClass, NotSent, Notes, RequestOutcome, RequestRecord, Scope,
    Timeline, TokenUsage,
};

use self::followed::Followed;
use crate::{bodies::Body, lane::Lane};

/// When a request was due, and when it was let go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// Its number in the schedule; of a session's turns that of the session.
    pub(crate) number: u64,
    /// Which turn of its session, from 0.
    pub(crate) turn: u32,
    /// Stage and class.
    pub(crate) scope: Scope,
    /// See [`Timeline::scheduled`].
    pub(crate) scheduled: Duration,
    /// See [`Timeline::permitted`].
    pub(crate) permitted: Duration,
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It counts.
    Completed,
    /// It lacks what the plan requires.
    Refused,
}

/// See the module's documentation.
pub(crate) struct Booking {
    lane: Rc<Lane>,
    due: Due,
    booked: bool,
    stream: Stream,
    /// Of a request whose record is kept.
    followed: Option<Followed>,
}

/// What has arrived so far.
#[derive(Default)]
struct Stream {
    sent: Option<Duration>,
    events: u64,
    tokens: u64,
    first: Option<(Duration, u32)>,
    last: Option<Duration>,
    first_visible: Option<Duration>,
    reasoning: Reasoning,
}

/// Whether the stream showed text that is not the answer itself.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Reasoning {
    #[default]
    Unseen,
    Streamed,
}

impl Booking {
    /// Opens the books of a request that is due now.
    pub(crate) fn open(lane: Rc<Lane>, due: Due) -> Self {
        lane.recorder.borrow_mut().due(due.scope, due.scheduled);
        let is_drawn = lane.records.as_ref().is_some_and(|tap| tap.draws(due.number));
        let followed = is_drawn.then(Followed::default);
        Self { lane, due, booked: false, stream: Stream::default(), followed }
    }

    /// The cap let it go, some time after it was due.
    pub(crate) fn permit(&mut self, at: Duration) {
        self.due.permitted = at;
        self.lane.recorder.borrow_mut().held_back(self.due.scheduled);
    }

    /// Its stage ended while the cap held it back.
    pub(crate) fn never_permitted(mut self) {
        self.booked = true;
        self.tell_not_sent(NotSent::StageEnded);
        self.lane.recorder.borrow_mut().never_permitted(self.due.scope, self.due.scheduled);
    }

    /// The cap was used up when it was due, and the plan drops such.
    pub(crate) fn dropped(mut self) {
        self.booked = true;
        self.tell_not_sent(NotSent::CapDropped);
        self.lane.recorder.borrow_mut().dropped(self.due.scope, self.due.scheduled);
    }

    /// Its task runs with its body at hand.
    pub(crate) fn started(&self, at: Duration) {
        self.lane.recorder.borrow_mut().started(at);
    }

    /// It is not sent at all.
    pub(crate) fn not_sent(mut self, reason: NotSent) {
        self.booked = true;
        self.tell_not_sent(reason);
        self.lane.recorder.borrow_mut().not_sent(self.due.scope, reason);
    }

    /// Its body took so long to build.
    pub(crate) fn built(&self, took: Duration) {
        self.lane.recorder.borrow_mut().prompt_build(self.due.scope, took);
    }

    /// A countable doubt.
    pub(crate) fn note(&self, notes: &Notes) {
        self.lane.recorder.borrow_mut().note(self.due.scope, notes);
    }

    /// Something of it happened on the wire. Called once a token: no allocation, lock or message.
    pub(crate) fn progress(&mut self, progress: &Progress) {
        match *progress {
            Progress::Sent { at } => {
                self.stream.sent = Some(at);
                self.lane.recorder.borrow_mut().sent(self.due.scope, at);
                self.lane.count_in_flight(1, at);
            }
            Progress::Read { lag: Some(lag) } => {
                self.lane.recorder.borrow_mut().read_lag(self.due.scope, lag);
            }
            Progress::Read { lag: None } => {}
            Progress::Content { at, tokens, gap_shared, visible } => {
                self.content(at, tokens, gap_shared, visible);
            }
        }
    }

    fn content(&mut self, at: Duration, tokens: u32, shared: bool, visible: bool) {
        let gap = self.stream.last.replace(at).map(|last| at.saturating_sub(last));
        if let Some(gap) = gap {
            self.followed.iter_mut().for_each(|followed| followed.gap(gap));
        } else {
            self.first_event(at, tokens);
        }
        let stream = &mut self.stream;
        stream.events += 1;
        stream.tokens += u64::from(tokens);
        if visible {
            stream.first_visible.get_or_insert(at);
        } else {
            stream.reasoning = Reasoning::Streamed;
        }
        let sample = EventSample { at, gap, tokens, shared };
        self.lane.recorder.borrow_mut().event(self.due.scope, &sample);
    }

    /// Once a stream, so that a token need not look at what only the first one does.
    #[cold]
    fn first_event(&mut self, at: Duration, tokens: u32) {
        self.stream.first = Some((at, tokens));
        if let Some(followed) = &mut self.followed {
            followed.begin();
        }
        if let Some(sent) = self.stream.sent {
            self.lane.recorder.borrow_mut().first_token(at, at.saturating_sub(sent));
        }
    }

    /// It was answered: it completed, unless the answer lacks what the plan requires.
    pub(crate) fn completed(mut self, ready: Duration, body: &Body, answer: &Answer) -> Fate {
        self.booked = true;
        let stream = &self.stream;
        let completion = Completion {
            no_done: answer.no_done,
            reconnected: answer.reconnected,
            usage: answer.usage.and_then(|usage| token_usage(&usage, stream.reasoning)),
            tokenizer_tokens: None,
            event_tokens: stream.tokens,
        };
        if self.lane.plan.required.length
            && let Some(detail) = too_short(body.output_tokens, &completion)
        {
            let outcome = RequestOutcome::Failed(FailureClass::Validation);
            self.tell_answered(outcome, body, answer, &completion);
            self.book_failure(FailureClass::Validation, answer.finished, detail);
            return Fate::Refused;
        }
        let timeline = Timeline {
            scheduled: self.due.scheduled,
            permitted: self.due.permitted,
            ready,
            connected: answer.connected_at,
            sent: answer.sent,
            write_call: answer.write_call,
            connect: answer.connect,
            headers: answer.headers,
            first_token: stream.first.map(|(at, _)| at),
            last_token: stream.last,
            first_output: stream.first_visible,
            finished: answer.finished,
            events: stream.events,
            first_event_tokens: stream.first.map_or(0, |(_, tokens)| u64::from(tokens)),
            output_tokens: completion.output_tokens(),
            streamed_tokens: completion.streamed_tokens(),
            input_tokens: answer.usage.and_then(|usage| usage.prompt_tokens.filter(plausible)),
            input_tokens_asked: body.input_tokens,
            output_tokens_ordered: body.output_tokens,
            cached_tokens: answer.usage.and_then(|usage| usage.cached_tokens.filter(plausible)),
            streamed: self.lane.plan.target.stream,
        };
        if !answer.kernel_stamps {
            self.lane.kernel_stamps.set(false);
            self.note(&Notes { user_space_stamps: stream.events, ..Notes::default() });
        }
        self.lane.recorder.borrow_mut().completed(self.due.scope, &timeline, &completion);
        self.tell_answered(RequestOutcome::Completed, body, answer, &completion);
        Fate::Completed
    }

    /// It failed on the way.
    pub(crate) fn failed(mut self, failure: Failure) {
        self.booked = true;
        self.tell(RequestOutcome::Failed(failure.class), Some(failure.at), |record| {
            record.sent = record.sent.or(failure.sent);
            record.connect = failure.connect;
            record.status = match failure.class {
                FailureClass::Status(status) => Some(status),
                _ => None,
            };
        });
        self.book_failure(failure.class, failure.at, failure.detail);
    }

    /// It failed before it reached the network, by a fault of ours.
    pub(crate) fn broken(mut self, detail: String) {
        self.booked = true;
        let now = self.lane.clock.now();
        self.tell(RequestOutcome::Failed(FailureClass::Internal), Some(now), |_| {});
        self.book_failure(FailureClass::Internal, now, detail);
    }

    fn tell_not_sent(&mut self, reason: NotSent) {
        self.tell(RequestOutcome::NotSent(reason), None, |_| {});
    }

    fn tell_answered(
        &mut self,
        outcome: RequestOutcome,
        body: &Body,
        answer: &Answer,
        completion: &Completion,
    ) {
        self.tell(outcome, Some(answer.finished), |record| {
            record.sent = Some(answer.sent);
            record.connect = answer.connect;
            record.headers = Some(answer.headers);
            record.status = Some(answer.status);
            record.input_tokens = answer.usage.and_then(|u| u.prompt_tokens.filter(plausible));
            record.cached_tokens = answer.usage.and_then(|u| u.cached_tokens.filter(plausible));
            record.input_tokens_asked = body.input_tokens;
            record.output_tokens = completion.output_tokens();
            record.streamed_tokens = completion.streamed_tokens();
            record.output_tokens_ordered = body.output_tokens;
        });
    }

    /// Hands the request's record over, where it is kept.
    fn tell(
        &mut self,
        outcome: RequestOutcome,
        ended: Option<Duration>,
        add: impl FnOnce(&mut RequestRecord),
    ) {
        let (Some(followed), Some(tap)) = (self.followed.take(), &self.lane.records) else {
            return;
        };
        let (due, stream) = (&self.due, &self.stream);
        let mut record = RequestRecord {
            number: due.number,
            turn: due.turn,
            scope: due.scope,
            lane: tap.lane(),
            scheduled: due.scheduled,
            permitted: due.permitted,
            sent: stream.sent,
            connect: None,
            headers: None,
            first_token: stream.first.map(|(at, _)| at),
            first_output: stream.first_visible,
            last_token: stream.last,
            ended,
            events: stream.events,
            gaps_us: followed.into_gaps(),
            input_tokens: None,
            input_tokens_asked: None,
            output_tokens: stream.tokens,
            streamed_tokens: stream.tokens,
            first_event_tokens: stream.first.map_or(0, |(_, tokens)| u64::from(tokens)),
            output_tokens_ordered: None,
            cached_tokens: None,
            outcome,
            status: None,
        };
        add(&mut record);
        tap.push(record);
    }

    fn book_failure(&self, class: FailureClass, at: Duration, detail: String) {
        let e2e = self.stream.sent.map(|sent| at.saturating_sub(sent));
        let mut recorder = self.lane.recorder.borrow_mut();
        recorder.failed(self.due.scope, class, at, e2e, self.stream.events);
        drop(recorder);
        self.lane.sample(class, detail, at);
    }
}

/// Why an answer has not the ordered length, if it has not.
fn too_short(ordered: Option<u64>, completion: &Completion) -> Option<String> {
    let (got, ordered) = (completion.output_tokens(), ordered?);
    let source = completion.token_source().name();
    (got < ordered).then(|| format!("asked for {ordered} output tokens, got {got} (by {source})"))
}

/// More tokens than this in one request are no count but a mistake: it is the bound of the histograms too.
const MOST_TOKENS: u64 = 10_000_000;

/// A count that can be meant.
fn plausible(tokens: &u64) -> bool {
    *tokens <= MOST_TOKENS
}

/// The server's count, if it told a plausible one. Reasoning tokens that no event showed were never streamed.
fn token_usage(usage: &Usage, reasoning: Reasoning) -> Option<TokenUsage> {
    let hidden_reasoning = match reasoning {
        Reasoning::Unseen => usage.reasoning_tokens.unwrap_or(0),
        Reasoning::Streamed => 0,
    };
    let input = usage.prompt_tokens.filter(plausible).unwrap_or(0);
    let output = usage.completion_tokens.filter(plausible)?;
    let cached = usage.cached_tokens.filter(plausible);
    Some(TokenUsage { input, cached, output, hidden_reasoning })
}

impl Drop for Booking {
    fn drop(&mut self) {
        if self.stream.sent.is_some() {
            self.lane.count_in_flight(-1, self.lane.clock.now());
        }
        if self.booked {
            return;
        }
        let now = self.lane.clock.now();
        if self.lane.early_end.is_cancelled() {
            self.tell(RequestOutcome::Cancelled, Some(now), |_| {});
            let mut recorder = self.lane.recorder.borrow_mut();
            recorder.cancelled(self.due.scope, self.stream.events);
        } else {
            self.tell(RequestOutcome::Failed(FailureClass::Internal), Some(now), |_| {});
            let detail = "the request's task ended without an outcome".to_owned();
            self.book_failure(FailureClass::Internal, now, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::task::LocalSet;

    use super::*;
    use crate::{
        lane::tests::{lane, plan, recorded_lane},
        records::{
            RecordTap,
            tests::{collected, collecting},
        },
    };

    fn idle_lane() -> Rc<Lane> {
        lane(plan("http://127.0.0.1:1", &[("load.rate", json!(1))]))
    }

    fn due_now() -> Due {
        let zero = Duration::ZERO;
        Due { number: 7, turn: 0, scope: Scope::default(), scheduled: zero, permitted: zero }
    }

    fn books(lane: &Lane) -> metrics::Books {
        let books = lane.recorder.borrow_mut().take().books();
        books.balance().unwrap();
        books
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_without_an_outcome_is_a_fault_of_ours() {
        let lane = idle_lane();
        drop(Booking::open(Rc::clone(&lane), due_now()));
        assert_eq!(books(&lane).failed, [(FailureClass::Internal, 1)].into());
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_after_we_gave_up_is_cancelled() {
        let lane = idle_lane();
        let booking = Booking::open(Rc::clone(&lane), due_now());
        lane.early_end.give_up();
        drop(booking);
        assert_eq!(books(&lane).cancelled, 1);
    }

    #[tokio::test]
    async fn a_panic_in_a_requests_task_is_booked_and_the_lane_goes_on() {
        let lane = idle_lane();
        let shared = Rc::clone(&lane);
        let tasks = LocalSet::new();
        let panicked = tasks
            .run_until(async move {
                tokio::task::spawn_local(async move {
                    let mut booking = Booking::open(shared, due_now());
                    booking.progress(&Progress::Sent { at: Duration::from_millis(1) });
                    panic!("on purpose");
                })
                .await
            })
            .await;
        assert!(panicked.unwrap_err().is_panic());
        assert_eq!(lane.in_flight.get(), 0);
        assert_eq!(books(&lane).failed, [(FailureClass::Internal, 1)].into());
    }

    /// Sent at 1 ms, three events of two tokens 10 ms apart, and no end.
    fn three_events(booking: &mut Booking) {
        let ms = Duration::from_millis;
        booking.progress(&Progress::Sent { at: ms(1) });
        for at in [5, 15, 25].map(ms) {
            let content = Progress::Content { at, tokens: 2, gap_shared: false, visible: true };
            booking.progress(&content);
        }
    }

    fn endless(lane: &Rc<Lane>, number: u64) -> Booking {
        let mut booking = Booking::open(Rc::clone(lane), Due { number, ..due_now() });
        three_events(&mut booking);
        booking
    }

    #[tokio::test]
    async fn every_outcome_has_its_record() {
        let (records, seen) = collecting();
        let keys = [("load.rate", json!(1))];
        let lane = recorded_lane(plan("http://127.0.0.1:1", &keys), Some(records.tap(4)));
        drop(endless(&lane, 1));
        endless(&lane, 2).broken("no body".to_owned());
        Booking::open(Rc::clone(&lane), Due { number: 3, ..due_now() }).dropped();
        Booking::open(Rc::clone(&lane), Due { number: 4, ..due_now() }).not_sent(NotSent::NoLease);
        let open = endless(&lane, 5);
        lane.early_end.give_up();
        drop(open);
        lane.records.iter().for_each(RecordTap::flush);
        let (all, dropped) = collected(&records, &seen);
        let internal = RequestOutcome::Failed(FailureClass::Internal);
        let expected = [
            internal,
            internal,
            RequestOutcome::NotSent(NotSent::CapDropped),
            RequestOutcome::NotSent(NotSent::NoLease),
            RequestOutcome::Cancelled,
        ];
        assert_eq!(all.iter().map(|record| record.outcome).collect::<Vec<_>>(), expected);
        assert_eq!((all[0].number, all[0].lane, dropped), (1, 4, 0));
        assert_eq!(all[0].gaps_us, [10_000, 10_000]);
        assert_eq!((all[0].events, all[0].output_tokens), (3, 6));
        assert_eq!(all[0].last_token, Some(Duration::from_millis(25)));
        assert_eq!((all[2].sent, all[2].ended), (None, None));
        assert_eq!(books(&lane).due, 5);
    }

    #[tokio::test]
    async fn no_figure_is_another_one_because_records_are_kept() {
        let (records, _seen) = collecting();
        let keys = [("load.rate", json!(1))];
        let recorded = recorded_lane(plan("http://127.0.0.1:1", &keys), Some(records.tap(0)));
        let intervals = [idle_lane(), recorded].map(|lane| {
            let mut booking = endless(&lane, 1);
            // Booked at an instant of its own, not at that of the test.
            booking.booked = true;
            drop(booking);
            lane.recorder.borrow_mut().take().scopes
        });
        assert_eq!(intervals[0], intervals[1]);
        assert!(!intervals[0].is_empty());
    }
}
