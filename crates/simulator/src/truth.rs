//! Ground truth: what was really received and sent, and when, for a client's figures to be held against.
//!
//! TTFT runs from the kernel's stamp of the request's last byte to the instant before the first
//! token's write. Per-request figures are recorded on completion and gaps between tokens as they
//! happen, exactly as the client does, so that both sides' histograms hold the same requests.
//! Recording is pure: instants come in as arguments.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{MonoTime, RealTime};
use crate::spread::{Samples, Spread};

/// Requests are listed in segments of this size: growing never copies what is there, which would
/// stop the loop for milliseconds.
const SEGMENT: usize = 4_096;
/// Segments kept (about half a million requests); the oldest go first, and the truth says how many.
const MAX_SEGMENTS: usize = 128;

/// What the simulator saw since its start or the last reset. Serialised, it is the body of `/truth`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Truth {
    /// Version of this format.
    pub schema_version: u32,
    /// The simulator's start on the real clock, nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// Requests read to their last byte on the two completion paths; the sum of the next four.
    pub received: u64,
    /// Answered to the end with status 200.
    pub completed: u64,
    /// Refused, or failed on purpose: an error status, a cut, an error in the stream.
    pub failed: u64,
    /// Given up by the client before the end.
    pub cancelled: u64,
    /// Not ended yet.
    pub open: u64,
    /// Prompt tokens of all requests that were not refused.
    pub prompt_tokens: u64,
    /// Of these, found in the prefix cache.
    pub cached_prompt_tokens: u64,
    /// Tokens made, each in an event of its own if streamed.
    pub output_tokens: u64,
    /// First token's stamp − kernel's stamp of the request's last byte; completed streams.
    pub ttft_us: Spread,
    /// Time between two tokens of a stream; all streams.
    pub icl_us: Spread,
    /// Last token's stamp − kernel's stamp of the request's last byte; completed requests.
    pub e2e_us: Spread,
    /// How late tokens were against the latency model. A comparison counts only while its p99 and
    /// that of `loop_lag_us` are at most 500.
    pub pacing_lag_us: Spread,
    /// How late the server's loop noticed a timer due every millisecond, while requests are open.
    pub loop_lag_us: Spread,
    /// Writes that found the socket full: their bytes left later than their stamp says.
    pub full_socket_writes: u64,
    /// Requests without a kernel stamp: stamped after the read, in user space.
    pub user_space_stamps: u64,
    /// Requests that the list below no longer holds.
    pub requests_dropped: u64,
    /// Each request in the order of arrival, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Vec<RequestTruth>>,
}

impl Truth {
    /// The larger p99 of the two lags; `None` before anything was paced. Above 500 the server was
    /// too late itself for a client to be judged by it.
    pub fn own_lag_p99_us(&self) -> Option<u64> {
        self.pacing_lag_us.p99.max(self.loop_lag_us.p99)
    }
}

/// One request as the server saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestTruth {
    /// SHA-256 of the body's bytes, in hexadecimal.
    pub body_sha256: String,
    /// The kernel's stamp of its last byte, since the simulator's start.
    pub arrival_us: u64,
    /// The same on the real clock, nanoseconds since the Unix epoch.
    pub arrival_unix_ns: u64,
    /// Time to the first token, if there was one.
    pub ttft_us: Option<u64>,
    /// Tokens made.
    pub output_tokens: u64,
    /// HTTP status; `None` while no answer has begun.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Headers named `x-…`, and `traceparent`; values of those named like a credential are redacted.
    pub headers: Vec<(String, String)>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Not ended yet.
    Open,
    /// Answered to the end.
    Completed,
    /// Refused, or failed on purpose.
    Failed,
    /// Given up by the client.
    Cancelled,
}

/// When a request's last byte arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: MonoTime,
    pub(crate) real: RealTime,
    pub(crate) stamp: StampSource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StampSource {
    Kernel,
    UserSpace,
}

/// Names an open request in the books; worthless after a reset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    epoch: u64,
    position: usize,
}

/// A request's end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) ttft: Option<Duration>,
    pub(crate) e2e: Option<Duration>,
    pub(crate) output_tokens: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    body_sha256: [u8; 32],
    arrival: Arrival,
    closing: Closing,
    headers: Box<[(String, String)]>,
}

/// The accounts behind [`Truth`].
#[derive(Debug)]
pub(crate) struct Books {
    started: MonoTime,
    epoch: u64,
    sums: Truth,
    ttft: Samples,
    icl: Samples,
    e2e: Samples,
    pacing_lag: Samples,
    loop_lag: Samples,
    segments: VecDeque<Vec<Entry>>,
    dropped_segments: usize,
}

impl Books {
    pub(crate) fn new(started: MonoTime, started_real: RealTime) -> Self {
        let sums = Truth {
            schema_version: 1,
            started_unix_ns: started_real.unix_nanos(),
            ..Truth::default()
        };
        Self {
            started,
            epoch: 0,
            sums,
            ttft: Samples::new(),
            icl: Samples::new(),
            e2e: Samples::new(),
            pacing_lag: Samples::new(),
            loop_lag: Samples::new(),
            segments: VecDeque::new(),
            dropped_segments: 0,
        }
    }

    /// Forgets everything; requests still open belong to the past and are counted nowhere.
    pub(crate) fn reset(&mut self) {
        let fresh = Self::new(self.started, RealTime::default());
        let started_unix_ns = self.sums.started_unix_ns;
        let epoch = self.epoch + 1;
        *self = Self { epoch, sums: Truth { started_unix_ns, ..fresh.sums.clone() }, ..fresh };
    }

    pub(crate) fn receive(
        &mut self,
        arrival: Arrival,
        body_sha256: [u8; 32],
        headers: &[(String, String)],
    ) -> Ticket {
        self.sums.received += 1;
        self.sums.open += 1;
        self.sums.user_space_stamps += u64::from(arrival.stamp == StampSource::UserSpace);
        let headers = headers.iter().map(redacted).collect();
        let closing = Closing {
            outcome: Outcome::Open,
            status: None,
            ttft: None,
            e2e: None,
            output_tokens: 0,
        };
        Ticket {
            epoch: self.epoch,
            position: self.push(Entry { body_sha256, arrival, closing, headers }),
        }
    }

    fn push(&mut self, entry: Entry) -> usize {
        if self.segments.back().is_none_or(|segment| segment.len() == SEGMENT) {
            if self.segments.len() == MAX_SEGMENTS {
                let _oldest = self.segments.pop_front();
                self.dropped_segments += 1;
                self.sums.requests_dropped += SEGMENT as u64;
            }
            self.segments.push_back(Vec::with_capacity(SEGMENT));
        }
        let earlier = (self.dropped_segments + self.segments.len() - 1) * SEGMENT;
        let segment = self.segments.back_mut().expect("one was just made sure of");
        segment.push(entry);
        earlier + segment.len() - 1
    }

    pub(crate) fn prompt(&mut self, ticket: Ticket, prompt_tokens: u64, cached_tokens: u64) {
        if ticket.epoch == self.epoch {
            self.sums.prompt_tokens += prompt_tokens;
            self.sums.cached_prompt_tokens += cached_tokens;
        }
    }

    /// A token was made, `lag` after it was due; `gap` is the time since the stream's last one.
    pub(crate) fn token(&mut self, ticket: Ticket, gap: Option<Duration>, lag: Duration) {
        if ticket.epoch != self.epoch {
            return;
        }
        self.sums.output_tokens += 1;
        self.pacing_lag.record(lag);
        if let Some(gap) = gap {
            self.icl.record(gap);
        }
    }

    pub(crate) fn full_socket_write(&mut self) {
        self.sums.full_socket_writes += 1;
    }

    pub(crate) fn loop_lag(&mut self, lag: Duration) {
        self.loop_lag.record(lag);
    }

    pub(crate) fn close(&mut self, ticket: Ticket, closing: Closing) {
        if ticket.epoch != self.epoch {
            return;
        }
        self.sums.open -= 1;
        match closing.outcome {
            Outcome::Completed => {
                self.sums.completed += 1;
                closing.ttft.into_iter().for_each(|ttft| self.ttft.record(ttft));
                closing.e2e.into_iter().for_each(|e2e| self.e2e.record(e2e));
            }
            Outcome::Failed => self.sums.failed += 1,
            Outcome::Cancelled | Outcome::Open => self.sums.cancelled += 1,
        }
        let segment = (ticket.position / SEGMENT).checked_sub(self.dropped_segments);
        if let Some(segment) = segment.and_then(|kept| self.segments.get_mut(kept)) {
            segment[ticket.position % SEGMENT].closing = closing;
        }
    }

    pub(crate) fn truth(&self, list: RequestList) -> Truth {
        let list_all = || self.segments.iter().flatten().map(|entry| self.listed(entry)).collect();
        Truth {
            ttft_us: self.ttft.spread(),
            icl_us: self.icl.spread(),
            e2e_us: self.e2e.spread(),
            pacing_lag_us: self.pacing_lag.spread(),
            loop_lag_us: self.loop_lag.spread(),
            requests: (list == RequestList::Included).then(list_all),
            ..self.sums.clone()
        }
    }

    fn listed(&self, entry: &Entry) -> RequestTruth {
        RequestTruth {
            body_sha256: entry.body_sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            arrival_us: micros(entry.arrival.at.since(self.started)),
            arrival_unix_ns: entry.arrival.real.unix_nanos(),
            ttft_us: entry.closing.ttft.map(micros),
            output_tokens: entry.closing.output_tokens,
            status: entry.closing.status,
            outcome: entry.closing.outcome,
            headers: entry.headers.to_vec(),
        }
    }
}

/// Whether [`Truth::requests`] is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestList {
    Included,
    LeftOut,
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Credentials are in no output, whatever their header is called.
fn redacted((name, value): &(String, String)) -> (String, String) {
    const LIKE_A_CREDENTIAL: [&str; 5] = ["auth", "cookie", "key", "token", "secret"];
    let is_secret = LIKE_A_CREDENTIAL.iter().any(|part| name.contains(part));
    let shown = if is_secret { "[redacted]" } else { value };
    (name.clone(), shown.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(nanos: u64) -> Arrival {
        Arrival {
            at: MonoTime::from_nanos(nanos),
            real: RealTime::default(),
            stamp: StampSource::Kernel,
        }
    }

    fn books() -> Books {
        Books::new(MonoTime::from_nanos(1_000), RealTime::default())
    }

    fn closing(outcome: Outcome) -> Closing {
        let (ttft, e2e) = (Some(Duration::from_millis(50)), Some(Duration::from_millis(70)));
        Closing { outcome, status: Some(200), ttft, e2e, output_tokens: 3 }
    }

    #[test]
    fn received_is_the_sum_of_the_outcomes() {
        let mut books = books();
        let tickets: Vec<_> = (0..4).map(|at| books.receive(arrival(at), [0; 32], &[])).collect();
        for (ticket, outcome) in
            tickets.iter().zip([Outcome::Completed, Outcome::Failed, Outcome::Cancelled])
        {
            books.close(*ticket, closing(outcome));
        }
        let truth = books.truth(RequestList::LeftOut);
        assert_eq!(
            (truth.received, truth.completed, truth.failed, truth.cancelled, truth.open),
            (4, 1, 1, 1, 1)
        );
        assert_eq!(
            (truth.ttft_us.count, truth.e2e_us.max),
            (1, Some(70_000)),
            "only completed requests"
        );
    }

    #[test]
    fn a_request_of_before_the_reset_is_counted_nowhere() {
        let mut books = books();
        let before = books.receive(arrival(1), [0; 32], &[]);
        books.reset();
        books.token(before, None, Duration::ZERO);
        books.prompt(before, 5, 0);
        books.close(before, closing(Outcome::Completed));
        let fresh = Books::new(MonoTime::from_nanos(1_000), RealTime::default());
        assert_eq!(books.truth(RequestList::Included), fresh.truth(RequestList::Included));
    }

    #[test]
    fn the_list_names_each_request_and_hides_credentials() {
        let mut books = books();
        let headers = [("x-trace", "t"), ("x-api-key", "hush")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let ticket = books.receive(arrival(3_001_000), [0xab; 32], &headers);
        books.close(ticket, closing(Outcome::Completed));
        let listed = &books.truth(RequestList::Included).requests.unwrap()[0];
        assert_eq!(listed.body_sha256, "ab".repeat(32));
        assert_eq!(
            (listed.arrival_us, listed.ttft_us, listed.output_tokens),
            (3_000, Some(50_000), 3)
        );
        assert_eq!(listed.headers[0].1, "t");
        assert_eq!(listed.headers[1].1, "[redacted]");
    }

    #[test]
    fn the_list_is_bounded_and_says_what_it_dropped() {
        let mut books = books();
        let total = SEGMENT * MAX_SEGMENTS + 1;
        let tickets: Vec<_> = (0..total).map(|_| books.receive(arrival(1), [0; 32], &[])).collect();
        for ticket in [tickets[0], tickets[SEGMENT], tickets[total - 1]] {
            books.close(ticket, closing(Outcome::Completed));
        }
        let truth = books.truth(RequestList::Included);
        let listed = truth.requests.unwrap();
        assert_eq!((truth.requests_dropped, listed.len()), (SEGMENT as u64, total - SEGMENT));
        let completed = |index: usize| listed[index].outcome == Outcome::Completed;
        assert!(completed(0) && completed(listed.len() - 1) && !completed(1));
        assert_eq!(truth.completed, 3, "a request no longer listed is still counted");
    }

    #[test]
    fn truth_survives_json() {
        let mut books = books();
        let ticket = books.receive(arrival(1), [0; 32], &[]);
        books.token(ticket, Some(Duration::from_micros(9)), Duration::ZERO);
        let truth = books.truth(RequestList::Included);
        let text = serde_json::to_string(&truth).unwrap();
        assert_eq!(serde_json::from_str::<Truth>(&text).unwrap(), truth);
        assert!(text.contains(r#""iclUs":{"count":1,"#) && text.contains(r#""p99_9":9"#), "{text}");
    }
}
