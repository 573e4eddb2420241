//! Spans of what is over: a run and its stages in one trace, and each sampled request in a trace of its own, linked to its stage.
//!
//! Span ids come from outside, so that a span is found from a record and the other way round. Instants are the run's, on the
//! wall clock by which it began.

use std::time::Duration;

use metrics::{RunResult, StageResult, Status, TraceContext};
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    trace::v1::{
        Span, SpanFlags, Status as SpanStatus,
        span::{Event, SpanKind},
        status::StatusCode,
    },
};

use super::message::{count, number, text, truth};

/// One span, ready to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSpan(pub(crate) Span);

/// A request as a server saw it that its client traces.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedSpan<'a> {
    /// The client's span.
    pub parent: TraceContext,
    /// The server's own.
    pub span_id: [u8; 8],
    /// When the request was there, nanoseconds of the Unix epoch.
    pub arrival_unix_ns: u64,
    /// Until the answer was written.
    pub took: Duration,
    /// Until the first token was.
    pub ttft: Option<Duration>,
    /// The model that answers.
    pub model: &'a str,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// HTTP status, where an answer began.
    pub status: Option<u16>,
    /// What went wrong, if something did.
    pub error: Option<&'a str>,
}

impl OtlpSpan {
    /// What vLLM makes of a request: its name, kind and attributes (`vllm/tracing`), below the client's span.
    #[must_use]
    pub fn served(request: &ServedSpan<'_>) -> Self {
        let end = request.arrival_unix_ns + nanoseconds(request.took);
        let mut attributes = vec![
            text("gen_ai.response.model", request.model),
            count("gen_ai.usage.prompt_tokens", request.prompt_tokens),
            count("gen_ai.usage.completion_tokens", request.output_tokens),
            number("gen_ai.latency.e2e", request.took.as_secs_f64()),
        ];
        let ttft = request.ttft.map(|ttft| ttft.as_secs_f64());
        attributes.extend(ttft.map(|ttft| number("gen_ai.latency.time_to_first_token", ttft)));
        let status = request.status.map(u64::from);
        attributes.extend(status.map(|status| count("http.response.status_code", status)));
        attributes.extend(request.error.map(|error| text("error.type", error)));
        let context = TraceContext { span_id: request.span_id, ..request.parent };
        Self(Span {
            parent_span_id: request.parent.span_id.to_vec(),
            flags: 1
                | SpanFlags::ContextHasIsRemoteMask as u32
                | SpanFlags::ContextIsRemoteMask as u32,
            attributes,
            events: first_token(
                request.ttft.map(|ttft| request.arrival_unix_ns + nanoseconds(ttft)),
            ),
            status: status_of(request.error),
            ..span(context, "llm_request", SpanKind::Server, [request.arrival_unix_ns, end])
        })
    }
}

/// A span of ours, without a parent elsewhere.
pub(crate) fn span(
    context: TraceContext,
    name: impl Into<String>,
    kind: SpanKind,
    [start, end]: [u64; 2],
) -> Span {
    Span {
        trace_id: context.trace_id.to_vec(),
        span_id: context.span_id.to_vec(),
        flags: u32::from(context.sampled) | SpanFlags::ContextHasIsRemoteMask as u32,
        name: name.into(),
        kind: kind as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: end.max(start),
        ..Span::default()
    }
}

/// An error in words; what went well has no status, by the conventions.
pub(crate) fn status_of(error: Option<&str>) -> Option<SpanStatus> {
    error.map(|message| SpanStatus { message: message.to_owned(), code: StatusCode::Error as i32 })
}

pub(crate) fn event(name: &str, time_unix_nano: u64) -> Event {
    Event { time_unix_nano, name: name.to_owned(), ..Event::default() }
}

fn first_token(at_unix_ns: Option<u64>) -> Vec<Event> {
    at_unix_ns.map(|at| event("first_token", at)).into_iter().collect()
}

pub(crate) fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// The run, and each of its stages below it; `stage` names a stage's span by its place in the plan.
#[must_use]
pub fn run_spans(
    result: &RunResult,
    run: TraceContext,
    stage: impl Fn(u16) -> TraceContext,
) -> Vec<OtlpSpan> {
    let facts = &result.facts;
    let unix = |ns: i64| u64::try_from(ns).unwrap_or(0);
    let (begun, ended) = (unix(facts.started_at_unix_ns), unix(facts.ended_at_unix_ns));
    let doubt = (result.verdict.status == Status::Invalid).then(|| {
        let first = result.verdict.reasons.iter().find(|reason| reason.status == Status::Invalid);
        first.map_or("INVALID", |reason| &reason.message)
    });
    let whole = Span {
        attributes: of_run(result),
        status: status_of(doubt),
        ..span(run, format!("run {}", facts.name), SpanKind::Internal, [begun, ended])
    };
    let below = |found: &StageResult| {
        let at = |instant: Duration| begun + nanoseconds(instant);
        let window = [at(found.window.start), at(found.window.end)];
        OtlpSpan(Span {
            parent_span_id: run.span_id.to_vec(),
            attributes: of_stage(found),
            ..span(stage(found.index), format!("stage {}", found.name), SpanKind::Internal, window)
        })
    };
    std::iter::once(OtlpSpan(whole)).chain(result.stages.iter().map(below)).collect()
}

fn of_run(result: &RunResult) -> Vec<KeyValue> {
    let facts = &result.facts;
    let mut attributes = vec![
        text("tokenstorm.run.id", &facts.id),
        text("tokenstorm.run.name", &facts.name),
        text("gen_ai.request.model", &facts.model),
        text("url.full", &facts.endpoint),
        text("tokenstorm.verdict", result.verdict.status.name()),
        truth("tokenstorm.interrupted", facts.interrupted),
        // Above 2^63 it would not be told as it is.
        text("tokenstorm.seed", facts.seed.to_string()),
        text("tokenstorm.prompt_salt", &facts.prompt_salt),
        count("tokenstorm.workers", facts.workers.into()),
    ];
    attributes.extend(of_books(&result.books));
    let labels = facts.labels.iter();
    attributes.extend(labels.map(|(name, value)| text(&format!("tokenstorm.label.{name}"), value)));
    attributes
}

fn of_stage(stage: &StageResult) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("tokenstorm.stage", &stage.name),
        count("tokenstorm.stage.index", stage.index.into()),
        truth("tokenstorm.stage.headline", stage.headline),
    ];
    attributes.extend(of_books(&stage.books));
    let rates = &stage.window.rates;
    let rates = [
        ("tokenstorm.rate.offered", rates.offered),
        ("tokenstorm.rate.achieved", rates.achieved),
        ("tokenstorm.rate.throughput", rates.throughput),
    ];
    let known = rates.into_iter().filter_map(|(name, rate)| Some(number(name, rate?)));
    attributes.extend(known);
    attributes
}

fn of_books(books: &metrics::Books) -> [KeyValue; 6] {
    [
        count("tokenstorm.requests.due", books.due),
        count("tokenstorm.requests.completed", books.completed),
        count("tokenstorm.requests.failed", books.failed_total()),
        count("tokenstorm.requests.cancelled", books.cancelled),
        count("tokenstorm.requests.not_sent", books.not_sent_total()),
        count("tokenstorm.requests.lost", books.lost.total()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn served() -> ServedSpan<'static> {
        ServedSpan {
            parent: TraceContext::parse(PARENT).unwrap(),
            span_id: [7; 8],
            arrival_unix_ns: 1_000,
            took: Duration::from_nanos(500),
            ttft: Some(Duration::from_nanos(200)),
            model: "m",
            prompt_tokens: 12,
            output_tokens: 3,
            status: Some(200),
            error: None,
        }
    }

    #[test]
    fn a_servers_span_lies_below_the_clients_in_its_trace() {
        let OtlpSpan(span) = OtlpSpan::served(&served());
        let parent = TraceContext::parse(PARENT).unwrap();
        assert_eq!(
            (span.trace_id, span.parent_span_id),
            (parent.trace_id.to_vec(), parent.span_id.to_vec())
        );
        assert_eq!((span.span_id, span.kind), (vec![7; 8], SpanKind::Server as i32));
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_000, 1_500));
        assert_eq!(span.events, [event("first_token", 1_200)]);
        assert_eq!((span.flags, span.status), (0x301, None));
    }

    #[test]
    fn what_failed_says_so() {
        let failed =
            ServedSpan { error: Some("failed"), ttft: None, status: Some(503), ..served() };
        let OtlpSpan(span) = OtlpSpan::served(&failed);
        assert_eq!(span.status.unwrap().code, StatusCode::Error as i32);
        assert!(
            span.attributes.contains(&count("http.response.status_code", 503))
                && span.events.is_empty()
        );
    }
}
