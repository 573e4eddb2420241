//! The span of one request, as the client that sent it saw it.
//!
//! It begins when the request was sent, or where it never was, when it was due: so a server's span lies inside of ours. How long it waited
//! before is an attribute, as it is no time of the service.

use std::time::Duration;

use metrics::{RequestOutcome, RequestRecord, TraceContext};
use opentelemetry_proto::tonic::trace::v1::{
    Span,
    span::{Link, SpanKind},
};

use super::{
    measures::Service,
    message::{count, number, text},
    spans::{OtlpSpan, event, nanoseconds, span, status_of},
};

/// Where a request's record belongs.
#[derive(Clone, Copy, Debug)]
pub struct RequestPlace<'a> {
    /// Its own span.
    pub context: TraceContext,
    /// The span of its stage.
    pub stage: TraceContext,
    /// Its stage's name.
    pub stage_name: &'a str,
    /// Its traffic class, where there are several kinds.
    pub class: Option<&'a str>,
    /// What it asks, and of whom.
    pub service: &'a Service,
    /// Its worker's place in the fleet.
    pub worker: u32,
    /// The wall clock at run time zero, nanoseconds of the Unix epoch.
    pub started_unix_ns: u64,
}

impl OtlpSpan {
    /// Of a request that is over; `None` of one that was never begun.
    #[must_use]
    pub fn request(record: &RequestRecord, place: &RequestPlace<'_>) -> Option<Self> {
        let error = match record.outcome {
            RequestOutcome::Completed => None,
            RequestOutcome::Failed(class) => Some(class.name()),
            RequestOutcome::Cancelled => Some("cancelled".to_owned()),
            RequestOutcome::NotSent(_) => return None,
        };
        let at = |instant: Duration| place.started_unix_ns + nanoseconds(instant);
        let begun = record.sent.unwrap_or(record.scheduled);
        let ended = record.ended.unwrap_or(begun);
        let Service { operation, model, .. } = place.service;
        let name = [operation.to_owned(), model.as_deref().unwrap_or_default()].join(" ");
        let instants = [
            ("headers", record.headers),
            ("first_token", record.first_token),
            ("last_token", record.last_token),
        ];
        let events =
            instants.into_iter().filter_map(|(name, instant)| Some(event(name, at(instant?))));
        let mut attributes = place.service.attributes();
        attributes.extend([
            count("tokenstorm.request", record.number),
            count("tokenstorm.turn", record.turn.into()),
            text("tokenstorm.stage", place.stage_name),
            count("tokenstorm.worker", place.worker.into()),
            count("tokenstorm.lane", record.lane.into()),
        ]);
        attributes.extend(place.class.map(|class| text("tokenstorm.class", class)));
        let counts = [
            ("gen_ai.request.max_tokens", record.output_tokens_ordered),
            ("gen_ai.usage.input_tokens", record.input_tokens),
            ("gen_ai.usage.output_tokens", Some(record.output_tokens)),
            ("gen_ai.usage.cache_read.input_tokens", record.cached_tokens),
            ("http.response.status_code", record.status.map(u64::from)),
        ];
        attributes.extend(counts.into_iter().filter_map(|(name, n)| Some(count(name, n?))));
        let lengths = [
            (
                "tokenstorm.schedule_lag",
                record.sent.map(|sent| sent.saturating_sub(record.scheduled)),
            ),
            ("tokenstorm.connect", record.connect),
            (
                "tokenstorm.ttft",
                record.sent.zip(record.first_token).map(|(sent, first)| first.saturating_sub(sent)),
            ),
        ];
        let lengths = lengths
            .into_iter()
            .filter_map(|(name, length)| Some(number(name, length?.as_secs_f64())));
        attributes.extend(lengths);
        attributes.extend(error.as_ref().map(|class| text("error.type", class)));
        Some(Self(Span {
            attributes,
            events: events.collect(),
            links: vec![Link {
                trace_id: place.stage.trace_id.to_vec(),
                span_id: place.stage.span_id.to_vec(),
                ..Link::default()
            }],
            status: status_of(error.as_deref()),
            ..span(place.context, name.trim_end(), SpanKind::Client, [at(begun), at(ended)])
        }))
    }
}
