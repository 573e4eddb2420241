//! One lane's recorder: where outcomes and tokens become histograms and books.
//!
//! Plain values without a lock: a lane is one thread, and what it recorded is swapped out at each flush. Counts that
//! belong to a window are placed by their own instant, never by the flush they travel in, so that a late flush or a
//! slow answer cannot move them.

mod completion;
mod evenly;
mod in_flight;

pub use completion::{Completion, TokenSource, TokenUsage};

use std::time::Duration;

use self::{evenly::evenly, in_flight::InFlight};
use crate::books::{FailureClass, NotSent};
use crate::distribution::{Distribution, whole_micros};
use crate::interval::{Interval, Notes, Scope, ScopeRecord, SecondCounts, WindowCounts, add};
use crate::metric::{Kind, Metric};
use crate::slo::RequestLimit;
use crate::timeline::{Timeline, divide};

/// Who waits longer than this for the first token leaves: such requests are counted apart.
pub const SLOW_TTFT: Duration = Duration::from_secs(3);

/// A stage's [start, end); open-ended where only a number of requests ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageWindow {
    /// First instant inside.
    pub start: Duration,
    /// First instant outside, if it is known.
    pub end: Option<Duration>,
}

impl StageWindow {
    /// Whether the instant lies in [start, end).
    pub fn contains(&self, at: Duration) -> bool {
        at >= self.start && self.end.is_none_or(|end| at < end)
    }
}

/// The arrival of one event with generated content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSample {
    /// Its arrival.
    pub at: Duration,
    /// Time since the request's previous content event; `None` for the first.
    pub gap: Option<Duration>,
    /// Tokens in it, where known, else 1.
    pub tokens: u32,
    /// Whether it came from the same read as the previous one.
    pub shared: bool,
}

/// Records what one lane did.
#[derive(Debug)]
pub struct Recorder {
    windows: Vec<StageWindow>,
    request_limits: Vec<RequestLimit>,
    interval: Interval,
    loop_lag: SecondOfLoopLag,
    in_flight: InFlight,
}

/// The loop lag of the second that is being recorded: its percentile is known only once it is over.
#[derive(Debug)]
struct SecondOfLoopLag {
    second: u32,
    lags: Distribution,
}

impl Recorder {
    /// A recorder for the plan's stages, in the plan's order.
    pub fn new(windows: Vec<StageWindow>) -> Self {
        let loop_lag = SecondOfLoopLag { second: 0, lags: Distribution::new(Kind::Latency) };
        Self {
            windows,
            request_limits: Vec::new(),
            interval: Interval::default(),
            loop_lag,
            in_flight: InFlight::default(),
        }
    }

    /// The same, and counts the requests that complete within all of these limits.
    #[must_use]
    pub fn with_request_limits(self, request_limits: Vec<RequestLimit>) -> Self {
        Self { request_limits, ..self }
    }

    /// A request became due.
    pub fn due(&mut self, scope: Scope, at: Duration) {
        self.scope(scope).books.due += 1;
        self.second(at).due += 1;
        self.in_window(scope, at, |window| window.due += 1);
    }

    /// The load was stopped: no window reaches beyond `at`. Call it before `at`.
    pub fn end_at(&mut self, at: Duration) {
        for window in &mut self.windows {
            window.end = Some(window.end.map_or(at, |end| end.min(at)));
        }
    }

    /// A rule ended one stage: its window does not reach beyond `at`. Call it before `at`.
    pub fn end_stage_at(&mut self, stage: u16, at: Duration) {
        if let Some(window) = self.windows.get_mut(usize::from(stage)) {
            let at = at.max(window.start);
            window.end = Some(window.end.map_or(at, |end| end.min(at)));
        }
    }

    /// The cap held back a request that was due at `due`.
    pub fn held_back(&mut self, due: Duration) {
        self.second(due).held_back += 1;
    }

    /// The cap held back a request that was due at `due` until its stage was over: it is never sent.
    pub fn never_permitted(&mut self, scope: Scope, due: Duration) {
        self.held_back(due);
        self.scope(scope).notes.never_permitted += 1;
        self.not_sent(scope, NotSent::StageEnded);
    }

    /// The cap was used up when a request was due at `due`, and the plan drops such: it is never sent.
    pub fn dropped(&mut self, scope: Scope, due: Duration) {
        self.held_back(due);
        self.not_sent(scope, NotSent::CapDropped);
    }

    /// A request's task ran with its body at hand: what is late from here on is not the generator.
    pub fn started(&mut self, at: Duration) {
        self.second(at).started += 1;
    }

    /// A request's last byte was handed over.
    pub fn sent(&mut self, scope: Scope, at: Duration) {
        self.second(at).sent += 1;
        self.in_window(scope, at, |window| window.sent += 1);
    }

    /// An event with generated content arrived. Does not allocate after the scope's first gap in a flush, but for the
    /// entry of a new second.
    pub fn event(&mut self, scope: Scope, event: &EventSample) {
        let tokens = u64::from(event.tokens);
        self.credit_output(scope, event.at, tokens);
        let Some(gap) = event.gap else { return };
        let record = self.scope(scope);
        record.notes.gaps += 1;
        record.notes.shared_gaps += u64::from(event.shared);
        sample(record, Metric::Icl, whole_micros(gap), 1);
        if tokens > 0 {
            sample(record, Metric::Itl, whole_micros(divide(gap, tokens)), tokens);
        }
    }

    /// The first event with generated content arrived, `waited` after the request was sent.
    pub fn first_token(&mut self, at: Duration, waited: Duration) {
        let counts = self.second(at);
        counts.first_tokens += 1;
        counts.slow_first_tokens += u64::from(waited > SLOW_TTFT);
    }

    /// A request completed: its per-request metrics enter the histograms, and the tokens that its events did not show
    /// are credited: those that were streamed evenly between first and last event, as where an event holds several, and
    /// those that were not at its end.
    pub fn completed(&mut self, scope: Scope, timeline: &Timeline, completion: &Completion) {
        self.second(timeline.finished).completed += 1;
        self.in_window(scope, timeline.finished, |window| window.completed += 1);
        let unseen = timeline.output_tokens.saturating_sub(completion.event_tokens);
        let streamed = timeline.streamed_tokens.saturating_sub(completion.event_tokens).min(unseen);
        let finished = timeline.finished;
        let first = timeline.first_token.unwrap_or(finished);
        for (at, tokens) in evenly(first..timeline.last_token.unwrap_or(finished), streamed) {
            self.credit_output(scope, at, tokens);
        }
        self.credit_output(scope, finished, unseen - streamed);
        self.credit_input(scope, timeline.sent, timeline.input_tokens.unwrap_or(0));

        let samples = timeline.samples();
        let good = u64::from(self.is_good(&samples));
        self.second(timeline.finished).good += good;
        self.in_window(scope, timeline.finished, |window| window.good += good);

        let record = self.scope(scope);
        record.books.completed += 1;
        record.notes.good += good;
        record.last_completed = record.last_completed.max(Some(timeline.finished));
        for (metric, value) in samples {
            if let Some(value) = value {
                sample(record, metric, value, 1);
            }
        }
        note_completion(&mut record.notes, timeline, completion);
        note_drift(&mut record.notes, timeline, completion);
    }

    /// A request failed at `at`, `e2e` after it was sent (`None` if it never was), having handed `events_recorded`
    /// events to [`Recorder::event`]. A timeout is censored as well.
    pub fn failed(
        &mut self,
        scope: Scope,
        class: FailureClass,
        at: Duration,
        e2e: Option<Duration>,
        events_recorded: u64,
    ) {
        self.second(at).failed += 1;
        self.in_window(scope, at, |window| window.failed += 1);
        let record = self.scope(scope);
        *record.books.failed.entry(class).or_default() += 1;
        record.last_failed = record.last_failed.max(Some(at));
        record.notes.censored += u64::from(class == FailureClass::Timeout);
        record.notes.chunk_samples_of_unfinished += events_recorded.saturating_sub(1);
        if let Some(e2e) = e2e {
            sample(record, Metric::E2eFailed, whole_micros(e2e), 1);
        }
    }

    /// We gave a request up: the drain was over, or the run interrupted. Censored.
    pub fn cancelled(&mut self, scope: Scope, events_recorded: u64) {
        let record = self.scope(scope);
        record.books.cancelled += 1;
        record.notes.censored += 1;
        record.notes.chunk_samples_of_unfinished += events_recorded.saturating_sub(1);
    }

    /// A request that was due was never started.
    pub fn not_sent(&mut self, scope: Scope, reason: NotSent) {
        *self.scope(scope).books.not_sent.entry(reason).or_default() += 1;
    }

    /// The lane's loop was that late. A second's percentile is fixed by the next second's first call, or by the flush.
    /// The samples are filed under class 0 of the stage whose window holds the second.
    pub fn loop_lag(&mut self, second: u32, lag: Duration) {
        if second != self.loop_lag.second {
            self.close_loop_lag();
            self.loop_lag.second = second;
        }
        self.loop_lag.lags.record_duration(lag);
        if let Some(stage) = self.stage_at(Duration::from_secs(second.into())) {
            sample(self.scope(Scope { stage, class: 0 }), Metric::LoopLag, whole_micros(lag), 1);
        }
    }

    /// User-space instant − kernel stamp of one read.
    pub fn read_lag(&mut self, scope: Scope, lag: Duration) {
        sample(self.scope(scope), Metric::ReadLag, whole_micros(lag), 1);
    }

    /// `n` requests of this lane are in flight, from an instant of `second` on.
    pub fn in_flight(&mut self, second: u32, n: u64) {
        let seconds = &mut self.interval.seconds;
        let tell = |second, most| seconds.entry(second).or_default().in_flight_max = most;
        self.in_flight.set(second, n, tell);
    }

    /// Every second before `second` is over: call it before a flush, and with the second after the last before the last
    /// flush. What is told once per second and lane ([`SecondCounts::in_flight_max`]) is told now.
    pub fn close_before(&mut self, second: u32) {
        let seconds = &mut self.interval.seconds;
        let tell = |second, most| seconds.entry(second).or_default().in_flight_max = most;
        self.in_flight.close_before(second, tell);
    }

    /// Open connections at an instant of `second`, in use or kept.
    pub fn connections(&mut self, second: u32, open: u64) {
        let counts = self.interval.seconds.entry(second).or_default();
        counts.connections_max = counts.connections_max.max(open);
    }

    /// How long the text and the body of a request took to build, ahead of it.
    pub fn prompt_build(&mut self, scope: Scope, took: Duration) {
        sample(self.scope(scope), Metric::PromptBuild, whole_micros(took), 1);
    }

    /// The lane used that share of a core, and waited for one in that share of the time, in thousandths.
    pub fn lane_core(&mut self, second: u32, used_permille: u64, waited_permille: u64) {
        let counts = self.interval.seconds.entry(second).or_default();
        counts.lane_cpu_permille_max = counts.lane_cpu_permille_max.max(used_permille);
        counts.lane_wait_permille_max = counts.lane_wait_permille_max.max(waited_permille);
    }

    /// Bodies that were ordered and not begun to build, at an instant of `second`.
    pub fn bodies_waiting(&mut self, second: u32, waiting: u64) {
        let counts = self.interval.seconds.entry(second).or_default();
        counts.bodies_waiting_max = counts.bodies_waiting_max.max(waiting);
    }

    /// Adds peculiarities, such as `Notes { queue_empty: 1, ..Notes::default() }`.
    pub fn note(&mut self, scope: Scope, notes: &Notes) {
        self.scope(scope).notes.merge(notes);
    }

    /// What was recorded since the last flush.
    pub fn take(&mut self) -> Interval {
        self.swap(Interval::default())
    }

    /// The same, and goes on in `spent`: an earlier interval after [`Interval::clear`], whose memory is used again.
    /// Clear it on another thread: it is megabytes.
    pub fn swap(&mut self, spent: Interval) -> Interval {
        self.close_loop_lag();
        std::mem::replace(&mut self.interval, spent)
    }

    fn close_loop_lag(&mut self) {
        let Some(p99_us) = self.loop_lag.lags.quantile(0.99) else { return };
        self.loop_lag.lags.clear();
        let counts = self.interval.seconds.entry(self.loop_lag.second).or_default();
        counts.loop_lag_p99_us = counts.loop_lag_p99_us.max(p99_us);
    }

    /// Without limits nothing is good: there is nothing to be good by.
    fn is_good(&self, samples: &[(Metric, Option<u64>)]) -> bool {
        let value = |wanted| samples.iter().find(|(metric, _)| *metric == wanted)?.1;
        !self.request_limits.is_empty()
            && self.request_limits.iter().all(|limit| limit.holds(value(limit.metric)))
    }

    fn scope(&mut self, scope: Scope) -> &mut ScopeRecord {
        self.interval.scopes.entry(scope).or_default()
    }

    fn second(&mut self, at: Duration) -> &mut SecondCounts {
        let second = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
        self.interval.seconds.entry(second).or_default()
    }

    fn stage_at(&self, at: Duration) -> Option<u16> {
        let index = self.windows.iter().position(|window| window.contains(at))?;
        u16::try_from(index).ok()
    }

    /// Counts in the window that holds the instant, which may be a later stage's than the request's own.
    fn in_window(&mut self, scope: Scope, at: Duration, count: impl FnOnce(&mut WindowCounts)) {
        if let Some(stage) = self.stage_at(at) {
            count(&mut self.scope(Scope { stage, ..scope }).window);
        }
    }

    fn credit_output(&mut self, scope: Scope, at: Duration, tokens: u64) {
        add(&mut self.second(at).output_tokens, tokens);
        self.in_window(scope, at, |window| add(&mut window.output_tokens, tokens));
    }

    fn credit_input(&mut self, scope: Scope, at: Duration, tokens: u64) {
        add(&mut self.second(at).input_tokens, tokens);
        self.in_window(scope, at, |window| add(&mut window.input_tokens, tokens));
    }
}

fn sample(record: &mut ScopeRecord, metric: Metric, value: u64, n: u64) {
    let distributions = &mut record.distributions;
    let fresh = || Distribution::new(metric.kind());
    distributions.entry(metric).or_insert_with(fresh).record_n(value, n);
}

fn note_completion(notes: &mut Notes, timeline: &Timeline, completion: &Completion) {
    notes.no_done += u64::from(completion.no_done);
    notes.cache_told += u64::from(completion.usage.is_some_and(|usage| usage.cached.is_some()));
    notes.reconnected += u64::from(completion.reconnected);
    // Of an answer in one piece there are no events that could hold a token each.
    if let Some(disagree) = completion.tokens_disagree().filter(|_| timeline.streamed) {
        notes.token_comparisons += 1;
        notes.token_disagreements += u64::from(disagree);
    }
    match completion.token_source() {
        TokenSource::Usage => notes.usage_requests += 1,
        TokenSource::Tokenizer => notes.tokenizer_requests += 1,
        TokenSource::Events => notes.event_counted_requests += 1,
    }
}

/// Only requests that have both sides, so that the two sums are of the same requests.
fn note_drift(notes: &mut Notes, timeline: &Timeline, completion: &Completion) {
    if let (Some(asked), Some(counted)) = (timeline.input_tokens_asked, timeline.input_tokens) {
        add(&mut notes.input_asked, asked);
        add(&mut notes.input_counted, counted);
    }
    if let (Some(ordered), Some(usage)) = (timeline.output_tokens_ordered, completion.usage) {
        add(&mut notes.output_ordered, ordered);
        add(&mut notes.output_counted, usage.output);
    }
}

#[cfg(test)]
mod tests;
