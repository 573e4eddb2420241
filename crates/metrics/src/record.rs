//! What is kept of a single request, where records are kept at all.
//!
//! Figures are made of histograms; a record is for questions that no histogram answers: which request was slow, and
//! what was it. It holds the request's own instants and nothing computed from those of others, so every figure of a run
//! can be checked against the records of it. A [`RecordLine`] is the same as it stands in a file: one type, written by
//! workers and read by reports.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::books::{FailureClass, NotSent};
use crate::interval::Scope;

/// Most gaps between events that a record holds.
pub const MOST_GAPS: usize = 16_384;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It was answered.
    Completed,
    /// It failed on the way.
    Failed(FailureClass),
    /// We gave it up.
    Cancelled,
    /// It was due and never started.
    NotSent(NotSent),
}

impl RequestOutcome {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::NotSent(_) => "notSent",
        }
    }

    /// The class of the failure, or why it was not sent.
    pub fn reason(self) -> Option<String> {
        match self {
            Self::Failed(class) => Some(class.name()),
            Self::NotSent(reason) => Some(reason.name().to_owned()),
            Self::Completed | Self::Cancelled => None,
        }
    }
}

/// One request, as it ended. Instants are run time, named as in METRICS.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// Its number in the schedule.
    pub number: u64,
    /// Which turn of its session, from 0; 0 where there are none. Turns share their session's number.
    pub turn: u32,
    /// Stage, and class with target.
    pub scope: Scope,
    /// Which lane of its worker sent it.
    pub lane: u16,
    /// See [`crate::Timeline::scheduled`].
    pub scheduled: Duration,
    /// See [`crate::Timeline::permitted`].
    pub permitted: Duration,
    /// See [`crate::Timeline::sent`]; `None` of a request that never was.
    pub sent: Option<Duration>,
    /// DNS, TCP and TLS together, where it opened a connection.
    pub connect: Option<Duration>,
    /// See [`crate::Timeline::headers`]: the first byte of the answer. Known of completed requests.
    pub headers: Option<Duration>,
    /// The first event with generated content.
    pub first_token: Option<Duration>,
    /// The first one that a user sees.
    pub first_output: Option<Duration>,
    /// The last event with generated content.
    pub last_token: Option<Duration>,
    /// When its outcome was known; `None` of a request that was not sent.
    pub ended: Option<Duration>,
    /// Events with generated content.
    pub events: u64,
    /// Microseconds from each of them to the next: the first [`MOST_GAPS`].
    pub gaps_us: Vec<u32>,
    /// Input tokens as the server counted them.
    pub input_tokens: Option<u64>,
    /// Input tokens asked for.
    pub input_tokens_asked: Option<u64>,
    /// Output tokens: of a completed request by the best source, else those of its events.
    pub output_tokens: u64,
    /// Those of them that were streamed: N of METRICS.md.
    pub streamed_tokens: u64,
    /// Those of the first event: c₁.
    pub first_event_tokens: u64,
    /// Output tokens ordered.
    pub output_tokens_ordered: Option<u64>,
    /// Prompt tokens that the server found in its prefix cache.
    pub cached_tokens: Option<u64>,
    /// What became of it.
    pub outcome: RequestOutcome,
    /// The HTTP status, where an answer had one.
    pub status: Option<u16>,
}

impl RequestRecord {
    /// Memory that it takes, about: what waits to be written is bounded by it.
    pub fn bytes(&self) -> u64 {
        (size_of::<Self>() + size_of::<u32>() * self.gaps_us.capacity()) as u64
    }
}

/// By what a record's indices are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordNames<'a> {
    /// Its worker's ordinal.
    pub worker: u32,
    /// Its stage.
    pub stage: &'a str,
    /// Its traffic class; `None` where there is one kind of requests.
    pub class: Option<&'a str>,
    /// Its target; `None` where there is one.
    pub target: Option<&'a str>,
    /// Whether requests are turns of sessions.
    pub has_turns: bool,
}

/// Whether each gap is written, or only what they come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gaps {
    /// Median and maximum.
    #[default]
    Summed,
    /// Those, and each.
    Listed,
}

/// A record as it stands in a file: one JSON object a line. What is absent is left out. Instants are nanoseconds of
/// run time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are those of RequestRecord, with their units")]
pub struct RecordLine<'a> {
    pub request: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
    pub worker: u32,
    pub lane: u16,
    #[serde(borrow)]
    pub stage: Cow<'a, str>,
    pub stage_index: u16,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub class: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub target: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub outcome: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    pub scheduled_ns: u64,
    pub permitted_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_output_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_token_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_ns: Option<u64>,
    /// A length, not an instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_asked: Option<u64>,
    pub output_tokens: u64,
    pub streamed_tokens: u64,
    pub first_event_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_ordered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    pub events: u64,
    /// Median of the gaps between its events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icl_p50_us: Option<u32>,
    /// The longest of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icl_max_us: Option<u32>,
    /// Each of them, where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub icl_us: Vec<u32>,
}

impl<'a> RecordLine<'a> {
    /// The line of a record.
    pub fn of(record: &RequestRecord, names: RecordNames<'a>, gaps: Gaps) -> Self {
        let mut sorted = record.gaps_us.clone();
        let listed = match gaps {
            Gaps::Listed => sorted.clone(),
            Gaps::Summed => Vec::new(),
        };
        Self {
            request: record.number,
            turn: names.has_turns.then_some(record.turn),
            worker: names.worker,
            lane: record.lane,
            stage: Cow::Borrowed(names.stage),
            stage_index: record.scope.stage,
            class: names.class.map(Cow::Borrowed),
            target: names.target.map(Cow::Borrowed),
            outcome: Cow::Borrowed(record.outcome.name()),
            reason: record.outcome.reason().map(Cow::Owned),
            status: record.status,
            scheduled_ns: nanoseconds(record.scheduled),
            permitted_ns: nanoseconds(record.permitted),
            sent_ns: record.sent.map(nanoseconds),
            headers_ns: record.headers.map(nanoseconds),
            first_token_ns: record.first_token.map(nanoseconds),
            first_output_ns: record.first_output.map(nanoseconds),
            last_token_ns: record.last_token.map(nanoseconds),
            ended_ns: record.ended.map(nanoseconds),
            connect_ns: record.connect.map(nanoseconds),
            input_tokens: record.input_tokens,
            input_tokens_asked: record.input_tokens_asked,
            output_tokens: record.output_tokens,
            streamed_tokens: record.streamed_tokens,
            first_event_tokens: record.first_event_tokens,
            output_tokens_ordered: record.output_tokens_ordered,
            cached_tokens: record.cached_tokens,
            events: record.events,
            icl_p50_us: median(&mut sorted),
            icl_max_us: sorted.iter().max().copied(),
            icl_us: listed,
        }
    }

    /// Whether it was answered.
    pub fn is_completed(&self) -> bool {
        self.outcome == RequestOutcome::Completed.name()
    }

    /// First token − sent, in nanoseconds.
    pub fn ttft_ns(&self) -> Option<u64> {
        Some(self.first_token_ns?.saturating_sub(self.sent_ns?))
    }

    /// Its end − sent, in nanoseconds.
    pub fn e2e_ns(&self) -> Option<u64> {
        Some(self.ended_ns?.saturating_sub(self.sent_ns?))
    }
}

/// The lower median, by selection: the list is reordered.
fn median(values: &mut [u32]) -> Option<u32> {
    let middle = values.len().checked_sub(1)? / 2;
    let (_, median, _) = values.select_nth_unstable(middle);
    Some(*median)
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// Which records a run kept, and what of them is there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordsKept {
    /// The share of the requests that was to be recorded, 0 to 1.
    pub share: f64,
    /// Every worker that had some, or whose were not to be had.
    pub workers: Vec<RecordsOfWorker>,
    /// Why not all that the workers had is in the files, where that is not one worker's affair.
    pub problem: Option<String>,
}

impl RecordsKept {
    /// Records in the files.
    pub fn gathered(&self) -> u64 {
        self.workers.iter().map(|worker| worker.gathered).sum()
    }

    /// Records that the workers made, as far as they could be asked.
    pub fn made(&self) -> u64 {
        self.workers.iter().map(RecordsOfWorker::made).sum()
    }

    /// Whether every record that was made is in the files, of every worker.
    pub fn is_complete(&self) -> bool {
        self.problem.is_none()
            && self
                .workers
                .iter()
                .all(|worker| worker.problem.is_none() && worker.gathered == worker.made())
    }
}

/// One worker's records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordsOfWorker {
    /// Its place in the fleet.
    pub ordinal: u32,
    /// Which life of it.
    pub incarnation: u64,
    /// Records that it wrote.
    pub written: u64,
    /// Records that its lanes had to drop: their queue was full.
    pub dropped_by_queue: u64,
    /// Records that it dropped at its limit of disk space, or because the disk would take no more.
    pub dropped_by_disk: u64,
    /// Records of it in the files.
    pub gathered: u64,
    /// What went wrong, in words.
    pub problem: Option<String>,
}

impl RecordsOfWorker {
    /// Records that its lanes made.
    pub fn made(&self) -> u64 {
        self.written.saturating_add(self.dropped_by_queue).saturating_add(self.dropped_by_disk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RequestRecord {
        RequestRecord {
            number: 7,
            turn: 2,
            scope: Scope { stage: 1, class: 0 },
            lane: 2,
            scheduled: Duration::from_millis(1_000),
            permitted: Duration::from_millis(1_000),
            sent: Some(Duration::from_millis(1_001)),
            connect: None,
            headers: Some(Duration::from_millis(1_010)),
            first_token: Some(Duration::from_millis(1_020)),
            first_output: Some(Duration::from_millis(1_020)),
            last_token: Some(Duration::from_millis(1_050)),
            ended: Some(Duration::from_millis(1_051)),
            events: 4,
            gaps_us: vec![9_000, 11_000, 10_000],
            input_tokens: Some(12),
            input_tokens_asked: Some(10),
            output_tokens: 4,
            streamed_tokens: 4,
            first_event_tokens: 1,
            output_tokens_ordered: Some(4),
            cached_tokens: None,
            outcome: RequestOutcome::Completed,
            status: Some(200),
        }
    }

    const NAMES: RecordNames<'_> = RecordNames {
        worker: 3,
        stage: "hold",
        class: Some("chat"),
        target: None,
        has_turns: true,
    };

    #[test]
    fn a_line_says_what_the_record_does_and_what_its_gaps_come_to() {
        let line = RecordLine::of(&record(), NAMES, Gaps::Summed);
        assert_eq!(
            (line.icl_p50_us, line.icl_max_us, line.icl_us.len()),
            (Some(10_000), Some(11_000), 0)
        );
        assert_eq!((line.ttft_ns(), line.e2e_ns()), (Some(19_000_000), Some(50_000_000)));
        assert_eq!(
            (line.worker, line.stage.as_ref(), line.class.as_deref()),
            (3, "hold", Some("chat"))
        );
        assert!(line.is_completed() && line.reason.is_none());
        let listed = RecordLine::of(&record(), NAMES, Gaps::Listed);
        assert_eq!(listed.icl_us, [9_000, 11_000, 10_000], "in their order");
    }

    #[test]
    fn what_was_never_sent_has_no_instants_and_a_reason() {
        let unsent = RequestRecord {
            sent: None,
            headers: None,
            first_token: None,
            ended: None,
            gaps_us: Vec::new(),
            outcome: RequestOutcome::NotSent(NotSent::CapDropped),
            ..record()
        };
        let line = RecordLine::of(&unsent, NAMES, Gaps::Listed);
        assert_eq!(
            (line.outcome.as_ref(), line.reason.as_deref()),
            ("notSent", Some("cap_dropped"))
        );
        assert_eq!((line.ttft_ns(), line.e2e_ns(), line.icl_p50_us), (None, None, None));
        let failed = RequestOutcome::Failed(FailureClass::Status(503));
        assert_eq!((failed.name(), failed.reason().as_deref()), ("failed", Some("status_503")));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_lower_of_the_two() {
        assert_eq!(median(&mut [4, 1, 3, 2]), Some(2));
        assert_eq!(median(&mut [5]), Some(5));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn records_are_complete_only_if_every_one_that_was_made_is_there() {
        let worker = RecordsOfWorker { written: 10, gathered: 10, ..RecordsOfWorker::default() };
        let kept = |worker: RecordsOfWorker| RecordsKept {
            share: 1.0,
            workers: vec![worker],
            problem: None,
        };
        assert!(kept(worker.clone()).is_complete());
        let dropped = RecordsOfWorker { dropped_by_queue: 1, ..worker.clone() };
        assert_eq!((kept(dropped.clone()).is_complete(), kept(dropped).made()), (false, 11));
        let cut = RecordsOfWorker { gathered: 4, ..worker };
        assert_eq!((kept(cut.clone()).is_complete(), kept(cut).gathered()), (false, 4));
    }
}
