//! A run that goes on, as everybody who looks at it sees it: terminal, page, Prometheus.
//!
//! One value feeds all views, so that they cannot disagree. It is small and typed, its units are in its names, and it is
//! what `/api/v1/run` serves. Nothing in it is the result: books are open, and the verdict is that of the rules which
//! can speak before the end. Percentiles follow the result's law: none where fewer than one sample lies beyond it.

mod latencies;
mod turns;
mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use crate::books::Books;
use crate::distribution::Distribution;
use crate::interval::{ScopeRecord, SecondCounts};
use crate::metric::Metric;
use crate::result::held_back;
use crate::verdict::{Evidence, Reason, Status, Thresholds, Verdict, judge_so_far};

pub use latencies::{
    LATENCY_BOUNDS_US, LIVE_DISTRIBUTIONS, LIVE_LATENCIES, LiveLatencies, LivePercentiles,
};
pub use turns::{LiveTurn, LiveTurns};
pub use worker::{LiveState, LiveWorker};

/// Of the JSON that [`Live`] is shown as. Keys may be added, never renamed.
pub const LIVE_SCHEMA_VERSION: u32 = 1;

/// Where the run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Waiting for workers.
    #[default]
    Forming,
    /// Waiting for each to read its inputs.
    Assigning,
    /// The start is agreed on and has not come.
    Armed,
    /// Load is offered.
    Running,
    /// Load has ended or was stopped; open streams are followed.
    Draining,
    /// Every worker's last delta is on disk, or the worker is lost: the books are closed.
    Final,
    /// Ended before its time; what was recorded is kept.
    Aborted,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 7] = [
        Self::Forming,
        Self::Assigning,
        Self::Armed,
        Self::Running,
        Self::Draining,
        Self::Final,
        Self::Aborted,
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forming => "forming",
            Self::Assigning => "assigning",
            Self::Armed => "armed",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Final => "final",
            Self::Aborted => "aborted",
        }
    }
}

/// The stage that runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveStage {
    /// Its name.
    pub name: String,
    /// Its place, from 0.
    pub index: u16,
    /// How many there are.
    pub of: u16,
    /// Whether it counts for the headline.
    pub headline: bool,
    /// When it ends, in run time; `None` where a number of requests ends it.
    pub ends_at_ms: Option<u64>,
}

/// What became of the requests that were due so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the count of what it names")]
pub struct LiveBooks {
    pub due: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub not_sent: u64,
    /// Due and without an outcome yet: in flight, held by the cap, or with a worker that is lost.
    pub open: u64,
    pub failed_by: BTreeMap<String, u64>,
    pub not_sent_by: BTreeMap<String, u64>,
}

impl From<&Books> for LiveBooks {
    fn from(books: &Books) -> Self {
        let failed = books.failed.iter().map(|(class, count)| (class.name(), *count));
        let not_sent =
            books.not_sent.iter().map(|(reason, count)| (reason.name().to_owned(), *count));
        Self {
            due: books.due,
            completed: books.completed,
            failed: books.failed_total(),
            cancelled: books.cancelled,
            not_sent: books.not_sent_total(),
            open: books.due.saturating_sub(books.answered()),
            failed_by: failed.collect(),
            not_sent_by: not_sent.collect(),
        }
    }
}

/// What every live worker has told of some seconds of run time, most often of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the count of what it names")]
pub struct LivePoint {
    /// The first of them.
    pub second: u32,
    /// How many.
    pub seconds: u32,
    pub due: u64,
    pub sent: u64,
    pub completed: u64,
    pub failed: u64,
    pub output_tokens: u64,
    pub input_tokens: u64,
    pub in_flight_max: u64,
    pub connections_max: u64,
    /// The busiest lane's share of a core, in thousandths.
    pub lane_cpu_permille_max: u64,
    pub latencies: LiveLatencies,
}

impl LivePoint {
    /// From the counts of its seconds and the samples that came in with them.
    pub fn new(
        seconds: std::ops::Range<u32>,
        counts: &SecondCounts,
        latencies: LiveLatencies,
    ) -> Self {
        Self {
            second: seconds.start,
            seconds: seconds.end.saturating_sub(seconds.start),
            due: counts.due,
            sent: counts.sent,
            completed: counts.completed,
            failed: counts.failed,
            output_tokens: counts.output_tokens,
            input_tokens: counts.input_tokens,
            in_flight_max: counts.in_flight_max,
            connections_max: counts.connections_max,
            lane_cpu_permille_max: counts.lane_cpu_permille_max,
            latencies,
        }
    }

    /// A count of its seconds as a rate.
    pub fn per_second(&self, count: u64) -> f64 {
        count as f64 / f64::from(self.seconds.max(1))
    }
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// [`LIVE_SCHEMA_VERSION`].
    pub schema_version: u32,
    /// `benchmark.name`.
    pub name: String,
    /// The model asked for.
    pub model: String,
    /// The URL, without credentials.
    pub endpoint: String,
    /// Where the run is.
    pub phase: Phase,
    /// Run time when this view was made; `None` before the start.
    pub run_time_ms: Option<u64>,
    /// When the load ends; `None` where a number of requests ends it.
    pub ends_at_ms: Option<u64>,
    /// What is left until then.
    pub time_left_ms: Option<u64>,
    /// `None` before the start and after the last stage.
    pub stage: Option<LiveStage>,
    /// Requests a second that the plan asks for now, of `turns` sessions; `None` in a closed loop.
    pub asked_per_s: Option<f64>,
    /// Requests in flight that it asks for now; `None` in an open loop.
    pub asked_in_flight: Option<f64>,
    /// The newest seconds that every live worker has told of.
    pub last: Option<LivePoint>,
    /// Latencies of the last seconds.
    pub recent: LiveLatencies,
    /// How many seconds these are.
    pub recent_seconds: u32,
    /// Latencies from the start, warm-up included.
    pub so_far: LiveLatencies,
    /// The TTFT of each turn; `None` where requests stand alone.
    pub turns: Option<LiveTurns>,
    /// From the start.
    pub books: LiveBooks,
    /// Requests in flight, by each worker's last report.
    pub in_flight: u64,
    /// Output tokens that have arrived.
    pub output_tokens: u64,
    /// Input tokens of completed requests.
    pub input_tokens: u64,
    /// What the rules say that can speak before the end.
    #[serde(serialize_with = "verdict_in_words")]
    pub verdict: Verdict,
    /// Workers wanted.
    pub workers_expected: u32,
    /// Workers that are here.
    pub workers_here: u32,
    /// A row each, the lost ones too.
    pub workers: Vec<LiveWorker>,
    /// The last twenty minutes. Served apart.
    #[serde(skip)]
    pub points: Arc<Vec<LivePoint>>,
    /// [`LIVE_DISTRIBUTIONS`] of the whole run so far, as far as they have samples. Not served.
    #[serde(skip)]
    pub distributions: BTreeMap<Metric, Distribution>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            schema_version: LIVE_SCHEMA_VERSION,
            name: String::new(),
            model: String::new(),
            endpoint: String::new(),
            phase: Phase::default(),
            run_time_ms: None,
            ends_at_ms: None,
            time_left_ms: None,
            stage: None,
            asked_per_s: None,
            asked_in_flight: None,
            last: None,
            recent: LiveLatencies::default(),
            recent_seconds: 0,
            so_far: LiveLatencies::default(),
            turns: None,
            books: LiveBooks::default(),
            in_flight: 0,
            output_tokens: 0,
            input_tokens: 0,
            verdict: Verdict { status: Status::Valid, reasons: Vec::new() },
            workers_expected: 0,
            workers_here: 0,
            workers: Vec::new(),
            points: Arc::default(),
            distributions: BTreeMap::new(),
        }
    }
}

impl Live {
    /// Workers that are here for a share of the load, at most as many as are wanted, and those beyond them: spares that
    /// wait for somebody's loss.
    pub fn crew(&self) -> (u32, u32) {
        let owners = self.workers_here.min(self.workers_expected);
        (owners, self.workers_here - owners)
    }

    /// What the plan asks so many of a second: requests, or sessions, each of which makes several.
    pub fn asked_unit(&self) -> &'static str {
        if self.turns.is_some() { "sessions/s" } else { "req/s" }
    }

    /// The metric that stands for the distance of tokens: `itl`, or `icl` where an event is not a token.
    pub fn token_gap(&self) -> Metric {
        if self.so_far.itl.count > 0 || self.so_far.icl.count == 0 {
            Metric::Itl
        } else {
            Metric::Icl
        }
    }
}

/// What the rules say so far: of the headline's samples, as the result's verdict will be.
pub fn verdict_so_far(
    books: &Books,
    headline: &ScopeRecord,
    headline_stages: Vec<(String, &Books)>,
    seconds: &BTreeMap<u32, SecondCounts>,
) -> Verdict {
    let thresholds = Thresholds::default();
    let quantile = |metric, q| headline.distribution(metric).and_then(|d| d.quantile(q));
    let evidence = Evidence {
        books,
        parts: Vec::new(),
        headline_stages,
        seconds,
        notes: &headline.notes,
        generator_lag_p99_us: quantile(Metric::GeneratorLag, 0.99),
        ttft_p50_us: quantile(Metric::Ttft, 0.5),
        read_lag_p99_us: quantile(Metric::ReadLag, 0.99),
        held_back: held_back(headline, &thresholds),
        headline: &headline.books,
        degraded: false,
    };
    judge_so_far(&evidence, &thresholds)
}

/// With the status by its name.
fn verdict_in_words<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct InWords<'a> {
        status: &'static str,
        code: &'a str,
        message: &'a str,
    }
    let in_words = verdict.reasons.iter().map(|Reason { code, message, status }| InWords {
        status: status.name(),
        code,
        message,
    });
    let reasons: Vec<_> = in_words.collect();
    let mut object = serializer.serialize_struct("Verdict", 2)?;
    object.serialize_field("status", verdict.status.name())?;
    object.serialize_field("reasons", &reasons)?;
    object.end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::FailureClass;

    fn latencies(samples: &[u64]) -> Distribution {
        let mut distribution = Distribution::new(Metric::Ttft.kind());
        samples.iter().for_each(|&us| distribution.record(us));
        distribution
    }

    #[test]
    fn what_is_due_and_has_no_outcome_is_open() {
        let failed = BTreeMap::from([(FailureClass::Status(503), 3)]);
        let books = Books { due: 20, completed: 10, failed, cancelled: 1, ..Books::default() };
        let live = LiveBooks::from(&books);
        assert_eq!((live.open, live.failed), (20 - 10 - 3 - 1, 3));
        assert_eq!(live.failed_by["status_503"], 3);
    }

    #[test]
    fn before_anything_was_answered_nothing_is_doubtful() {
        // 5 due and open: at the end that would be books that do not balance, and nothing measured.
        let books = Books { due: 5, ..Books::default() };
        let verdict = verdict_so_far(&books, &ScopeRecord::default(), Vec::new(), &BTreeMap::new());
        assert_eq!(verdict, Verdict { status: Status::Valid, reasons: Vec::new() });
    }

    #[test]
    fn who_is_beyond_the_wanted_is_a_spare() {
        let crew = |workers_here, workers_expected| {
            Live { workers_here, workers_expected, ..Live::default() }.crew()
        };
        assert_eq!([crew(1, 2), crew(2, 2), crew(3, 2)], [(1, 0), (2, 0), (2, 1)]);
    }

    #[test]
    fn a_late_generator_is_told_at_once() {
        let mut headline = ScopeRecord::default();
        let _none =
            headline.distributions.insert(Metric::GeneratorLag, latencies(&[20_000_000; 10]));
        let verdict = verdict_so_far(&Books::default(), &headline, Vec::new(), &BTreeMap::new());
        assert_eq!(verdict.status, Status::Invalid);
        assert_eq!(verdict.reasons[0].code, "generator_lag");
    }
}
