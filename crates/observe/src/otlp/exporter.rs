//! Tells a collector in the background, out of a queue of fixed length.
//!
//! Spans wait in the queue for at most a moment; while a collector does not answer the queue fills, and what does not fit is counted and
//! forgotten. Metrics need no queue: each export tells everything since the start, so one that was lost is made good by
//! the next.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use metrics::Live;
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceResponse, trace::v1::ExportTraceServiceResponse},
    resource::v1::Resource,
    trace::v1::Span,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, sleep, timeout_at},
};

use super::{
    histogram,
    measures::{Service, measures},
    message::{of_metrics, of_spans, resource},
    poster::{Poster, Refused},
    settings::{HistogramForm, OtlpSettings},
    spans::OtlpSpan,
};

/// Spans that may wait: about 4 MB.
const QUEUE: usize = 4_096;
/// Spans of one message.
const BATCH: usize = 512;
/// How often the queue is looked at.
const EVERY: Duration = Duration::from_millis(200);
/// How often a batch is sent, the first time included.
const ATTEMPTS: u32 = 3;
/// Before the second; twice as long before the third.
const BACK_OFF: Duration = Duration::from_secs(1);
/// What is still to be told at the end may take so long.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where spans are handed over, from any thread.
#[derive(Clone, Debug)]
pub struct SpanQueue {
    spans: mpsc::Sender<Span>,
    tally: Arc<Tally>,
}

impl SpanQueue {
    /// Takes a span, or counts it where the queue is full. Never waits.
    pub fn offer(&self, span: OtlpSpan) {
        if self.spans.try_send(span.0).is_err() {
            self.tally.lost_spans(1);
        }
    }

    /// Counts what should have come and did not.
    pub fn missed(&self, count: u64) {
        let _before = self.tally.spans_lost.fetch_add(count, Relaxed);
    }

    fn waiting(&self) -> usize {
        self.spans.max_capacity() - self.spans.capacity()
    }
}

/// What became of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Spans that the collector took.
    pub spans_sent: u64,
    /// Spans that it did not take, or that did not fit into the queue.
    pub spans_lost: u64,
    /// Exports of metrics that it took.
    pub exports_sent: u64,
    /// Exports of metrics that it did not take.
    pub exports_lost: u64,
    /// What went wrong, a line each.
    pub problems: Vec<String>,
}

#[derive(Debug, Default)]
struct Tally {
    spans_sent: AtomicU64,
    spans_lost: AtomicU64,
    exports_sent: AtomicU64,
    exports_lost: AtomicU64,
    /// The last that was said of spans, and of metrics.
    said: Mutex<[Option<String>; 2]>,
}

/// The place of what was said of spans.
const OF_SPANS: usize = 0;
/// That of metrics.
const OF_METRICS: usize = 1;

impl Tally {
    fn lost_spans(&self, count: usize) {
        let _before = self.spans_lost.fetch_add(count as u64, Relaxed);
    }

    fn say(&self, of: usize, words: String) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)[of] = Some(words);
    }

    fn told(&self) -> Told {
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        let mut told = Told {
            spans_sent: count(&self.spans_sent),
            spans_lost: count(&self.spans_lost),
            exports_sent: count(&self.exports_sent),
            exports_lost: count(&self.exports_lost),
            problems: Vec::new(),
        };
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let queue_full = || "the collector is slower than spans come".to_owned();
        if told.spans_lost > 0 {
            let all = told.spans_sent + told.spans_lost;
            let words = said[OF_SPANS].clone().unwrap_or_else(queue_full);
            told.problems
                .push(format!("{} of {all} spans were not taken: {words}", told.spans_lost));
        }
        if told.exports_lost > 0 {
            let all = told.exports_sent + told.exports_lost;
            let words = said[OF_METRICS].clone().unwrap_or_default();
            told.problems.push(format!(
                "{} of {all} exports of metrics were not taken: {words}",
                told.exports_lost
            ));
        } else if let Some(words) = &said[OF_METRICS] {
            told.problems.push(format!("the collector says of metrics: {words}"));
        }
        told
    }
}

/// Tells a collector until it is [finished](Self::finish), or dropped.
#[derive(Debug)]
pub struct Exporter {
    /// Nobody takes any where traces are not told.
    spans: Option<SpanQueue>,
    metrics: Option<Poster>,
    resource: Arc<Resource>,
    interval: Duration,
    form: HistogramForm,
    over: watch::Sender<bool>,
    at_work: Vec<JoinHandle<()>>,
    tally: Arc<Tally>,
    problems: Vec<String>,
}

impl Exporter {
    /// Begins, inside a runtime. `who` are the attributes of whoever tells; those of the settings go over them. What is wrong with a
    /// certificate is told at the end, as is all else.
    #[must_use]
    pub fn start(settings: &OtlpSettings, who: Vec<(String, String)>) -> Self {
        let mut problems = settings.problems.clone();
        let mut poster = |signal| match Poster::new(signal) {
            Ok(poster) => Some(poster),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let traces = settings.traces.as_ref().and_then(&mut poster);
        let metrics = settings.metrics.as_ref().and_then(&mut poster);
        let attributes: Vec<_> = who.into_iter().chain(settings.resource.iter().cloned()).collect();
        let resource = Arc::new(resource(&attributes));
        let (over, ended) = watch::channel(false);
        let tally = Arc::new(Tally::default());
        let mut at_work = Vec::new();
        let spans = traces.map(|poster| {
            let (offer, queue) = mpsc::channel(QUEUE);
            let telling =
                Telling { poster, resource: Arc::clone(&resource), tally: Arc::clone(&tally) };
            at_work.push(tokio::spawn(telling.spans(queue, ended)));
            SpanQueue { spans: offer, tally: Arc::clone(&tally) }
        });
        let (interval, form) = (settings.interval, settings.form);
        Self { spans, metrics, resource, interval, form, over, at_work, tally, problems }
    }

    /// Where spans are handed over; `None` where they are not told.
    #[must_use]
    pub fn spans(&self) -> Option<SpanQueue> {
        self.spans.clone()
    }

    /// Tells the metrics of these views from now on.
    pub fn follow(&mut self, views: watch::Receiver<Arc<Live>>, service: Service) {
        let Some(poster) = self.metrics.take() else { return };
        let (resource, tally) = (Arc::clone(&self.resource), Arc::clone(&self.tally));
        let telling = Telling { poster, resource, tally };
        let measuring = Measuring { views, service, form: self.form, started_unix_ns: None };
        let over = self.over.subscribe();
        self.at_work.push(tokio::spawn(telling.metrics(measuring, self.interval, over)));
    }

    /// Tells what is left, for some seconds at most, and ends.
    pub async fn finish(mut self) -> Told {
        let _before = self.over.send_replace(true);
        let deadline = Instant::now() + FAREWELL;
        for work in &mut self.at_work {
            if timeout_at(deadline, &mut *work).await.is_err() {
                self.tally.say(OF_SPANS, format!("no answer within {FAREWELL:?} at the end"));
                // What waits is lost with the queue.
                let waiting = self.spans.as_ref().map_or(0, SpanQueue::waiting);
                work.abort();
                let _ = work.await;
                self.tally.lost_spans(waiting);
            }
        }
        let told = self.tally.told();
        let mut problems = std::mem::take(&mut self.problems);
        problems.extend(told.problems);
        Told { problems, ..told }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.at_work.iter().for_each(JoinHandle::abort);
    }
}

/// One kind of telemetry to one address.
struct Telling {
    poster: Poster,
    resource: Arc<Resource>,
    tally: Arc<Tally>,
}

impl Telling {
    async fn spans(self, mut queue: mpsc::Receiver<Span>, mut over: watch::Receiver<bool>) {
        loop {
            let is_last = tokio::select! {
                () = sleep(EVERY) => false,
                _ = over.wait_for(|over| *over) => true,
            };
            loop {
                let mut batch = Vec::new();
                while batch.len() < BATCH
                    && let Ok(span) = queue.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    break;
                }
                self.batch(batch, &mut over).await;
            }
            if is_last {
                return;
            }
        }
    }

    /// A batch is lost with its task: it counts as lost until it was taken.
    async fn batch(&self, batch: Vec<Span>, over: &mut watch::Receiver<bool>) {
        let count = batch.len() as u64;
        let pending = Pending { tally: &self.tally, count };
        let message = of_spans(&self.resource, batch);
        let mut attempt = 1;
        let outcome = loop {
            let answer = self.poster.post::<ExportTraceServiceResponse>(&message).await;
            match answer {
                Err(Refused::ForNow(wait, _)) if attempt < ATTEMPTS => {
                    let pause = wait.unwrap_or(BACK_OFF * attempt);
                    // At the end nothing is waited for, but tried once more.
                    tokio::select! {
                        () = sleep(pause) => attempt += 1,
                        _ = over.wait_for(|over| *over) => attempt = ATTEMPTS,
                    }
                }
                other => break other,
            }
        };
        match outcome {
            Ok(answer) => {
                let partial = answer.partial_success.unwrap_or_default();
                let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(count);
                pending.settle(count - rejected);
                if !partial.error_message.is_empty() {
                    self.tally.say(OF_SPANS, partial.error_message);
                }
            }
            Err(refused) => self.tally.say(OF_SPANS, refused.words().to_owned()),
        }
    }

    async fn metrics(
        self,
        mut measuring: Measuring,
        interval: Duration,
        mut over: watch::Receiver<bool>,
    ) {
        let mut ticks = tokio::time::interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                _ = over.wait_for(|over| *over) => true,
            };
            if let Some(metrics) = measuring.measure(unix_now_ns()) {
                let message = of_metrics(&self.resource, metrics);
                self.export(self.poster.post(&message).await);
            }
            if is_last {
                return;
            }
        }
    }

    fn export(&self, answer: Result<ExportMetricsServiceResponse, Refused>) {
        let counter =
            if answer.is_ok() { &self.tally.exports_sent } else { &self.tally.exports_lost };
        let _before = counter.fetch_add(1, Relaxed);
        match answer {
            Ok(answer) => {
                let partial = answer.partial_success.unwrap_or_default();
                if partial.rejected_data_points > 0 {
                    let (points, why) = (partial.rejected_data_points, partial.error_message);
                    self.tally
                        .say(OF_METRICS, format!("{points} data points were rejected: {why}"));
                } else if !partial.error_message.is_empty() {
                    self.tally.say(OF_METRICS, partial.error_message);
                }
            }
            Err(refused) => self.tally.say(OF_METRICS, refused.words().to_owned()),
        }
    }
}

/// Spans on their way.
struct Pending<'a> {
    tally: &'a Tally,
    count: u64,
}

impl Pending<'_> {
    fn settle(mut self, taken: u64) {
        let _before = self.tally.spans_sent.fetch_add(taken, Relaxed);
        self.count -= taken;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let _before = self.tally.spans_lost.fetch_add(self.count, Relaxed);
    }
}

/// A run that is looked at now and then.
struct Measuring {
    views: watch::Receiver<Arc<Live>>,
    service: Service,
    form: HistogramForm,
    /// The same in all exports, or a reader would take them for several runs.
    started_unix_ns: Option<u64>,
}

impl Measuring {
    /// `None` before the load has begun.
    fn measure(
        &mut self,
        now_unix_ns: u64,
    ) -> Option<Vec<opentelemetry_proto::tonic::metrics::v1::Metric>> {
        let live = Arc::clone(&self.views.borrow());
        let since_ns = live.run_time_ms?.saturating_mul(1_000_000);
        let begun = now_unix_ns.saturating_sub(since_ns);
        let start_unix_ns = *self.started_unix_ns.get_or_insert(begun);
        let span = histogram::Span { start_unix_ns, now_unix_ns };
        Some(measures(&live, &self.service, self.form, span))
    }
}

fn unix_now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
