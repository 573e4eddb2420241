use std::collections::VecDeque;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use metrics::{Distribution, Metric};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::ExportMetricsServiceRequest,
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest},
};
use prost::Message;

use super::*;
use crate::otlp::message::text;

/// What a collector got, and the statuses that it answers with; then always 200.
#[derive(Default)]
struct Collector {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    headers: Option<HeaderMap>,
    answers: VecDeque<StatusCode>,
    rejects: i64,
}

type Shared = Arc<Mutex<Collector>>;

async fn traces(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let mut collector = shared.lock().unwrap();
    collector.headers = Some(headers);
    if let Some(status) = collector.answers.pop_front() {
        return (status, b"come again".to_vec());
    }
    collector.traces.push(ExportTraceServiceRequest::decode(body).unwrap());
    let rejected_spans = collector.rejects;
    let partial = ExportTracePartialSuccess { rejected_spans, error_message: "too old".to_owned() };
    let partial_success = (rejected_spans > 0).then_some(partial);
    (StatusCode::OK, ExportTraceServiceResponse { partial_success }.encode_to_vec())
}

async fn metrics_of(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    let mut collector = shared.lock().unwrap();
    collector.metrics.push(ExportMetricsServiceRequest::decode(body).unwrap());
    StatusCode::OK
}

async fn collector(answers: &[u16], rejects: i64) -> (String, Shared) {
    let answers = answers.iter().map(|code| StatusCode::from_u16(*code).unwrap()).collect();
    let shared = Arc::new(Mutex::new(Collector { answers, rejects, ..Collector::default() }));
    let router = Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics_of))
        .with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let _server = tokio::spawn(async move { axum::serve(listener, router).await });
    (url, shared)
}

fn settings(url: &str, env: &[(&str, &str)]) -> OtlpSettings {
    let env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    OtlpSettings::read(Some(url), &env).unwrap().unwrap()
}

fn named(name: &str) -> OtlpSpan {
    OtlpSpan(Span { name: name.to_owned(), ..Span::default() })
}

fn who() -> Vec<(String, String)> {
    vec![("service.name".to_owned(), "tokenstorm".to_owned())]
}

#[tokio::test]
async fn what_is_offered_arrives_with_who_told_it_and_the_headers() {
    let (url, shared) = collector(&[], 0).await;
    let env = [("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hush"), ("OTEL_SERVICE_NAME", "mine")];
    let exporter = Exporter::start(&settings(&url, &env), who());
    let spans = exporter.spans().unwrap();
    ["a", "b"].into_iter().for_each(|name| spans.offer(named(name)));
    let told = exporter.finish().await;
    assert_eq!(told, Told { spans_sent: 2, ..Told::default() });
    let collector = shared.lock().unwrap();
    let resource = &collector.traces[0].resource_spans[0];
    assert_eq!(resource.resource.as_ref().unwrap().attributes, [text("service.name", "mine")]);
    let names: Vec<_> =
        resource.scope_spans[0].spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let headers = collector.headers.as_ref().unwrap();
    assert_eq!(
        (&headers["content-type"], &headers["x-key"]),
        (&"application/x-protobuf".parse().unwrap(), &"hush".parse().unwrap())
    );
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (url, shared) = collector(&[503], 0).await;
    let exporter = Exporter::start(&settings(&url, &[]), who());
    exporter.spans().unwrap().offer(named("a"));
    assert_eq!(exporter.finish().await, Told { spans_sent: 1, ..Told::default() });
    assert_eq!(shared.lock().unwrap().traces.len(), 1);

    let (url, shared) = collector(&[400, 400], 0).await;
    let exporter = Exporter::start(&settings(&url, &[]), who());
    exporter.spans().unwrap().offer(named("a"));
    let told = exporter.finish().await;
    assert_eq!((told.spans_sent, told.spans_lost), (0, 1));
    assert!(
        told.problems[0].contains("1 of 1 spans") && told.problems[0].contains("400"),
        "{told:?}"
    );
    assert_eq!(shared.lock().unwrap().answers.len(), 1, "asked once");
}

#[tokio::test]
async fn what_a_collector_takes_in_part_is_counted_in_part() {
    let (url, _shared) = collector(&[], 2).await;
    let exporter = Exporter::start(&settings(&url, &[]), who());
    let spans = exporter.spans().unwrap();
    ["a", "b", "c"].into_iter().for_each(|name| spans.offer(named(name)));
    let told = exporter.finish().await;
    assert_eq!((told.spans_sent, told.spans_lost), (1, 2));
    assert!(told.problems[0].ends_with("too old"), "{told:?}");
}

#[tokio::test]
async fn nobody_there_costs_a_count_and_a_line() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut exporter = Exporter::start(&settings(&format!("http://{closed}"), &[]), who());
    let (_tell, views) = watch::channel(Arc::new(live()));
    exporter.follow(views, Service::default());
    let spans = exporter.spans().unwrap();
    // On one thread nobody takes any before this one waits.
    (0..QUEUE + 5).for_each(|_| spans.offer(named("a")));
    let told = exporter.finish().await;
    assert_eq!((told.spans_sent, told.spans_lost), (0, QUEUE as u64 + 5));
    assert_eq!((told.exports_sent, told.exports_lost), (0, 1));
    assert_eq!(told.problems.len(), 2, "{told:?}");
    spans.offer(named("late"));
}

fn live() -> Live {
    let mut samples = Distribution::new(Metric::Ttft.kind());
    samples.record(25_000);
    let distributions = [(Metric::Ttft, samples)].into();
    Live { run_time_ms: Some(4_000), distributions, ..Live::default() }
}

#[tokio::test]
async fn metrics_are_told_at_the_end_whatever_the_interval() {
    let (url, shared) = collector(&[], 0).await;
    let mut exporter = Exporter::start(&settings(&url, &[]), who());
    let (tell, views) = watch::channel(Arc::new(Live::default()));
    exporter.follow(views, Service { operation: "chat", ..Service::default() });
    let _before = tell.send_replace(Arc::new(live()));
    let told = exporter.finish().await;
    assert_eq!(told, Told { exports_sent: 1, ..Told::default() });
    let collector = shared.lock().unwrap();
    let told = &collector.metrics[0].resource_metrics[0].scope_metrics[0].metrics;
    assert!(told.iter().any(|metric| metric.name == "gen_ai.server.time_to_first_token"));
}

#[tokio::test]
async fn before_the_load_there_is_nothing_to_tell() {
    let (url, shared) = collector(&[], 0).await;
    let mut exporter = Exporter::start(&settings(&url, &[]), who());
    let (_tell, views) = watch::channel(Arc::new(Live::default()));
    exporter.follow(views, Service::default());
    assert_eq!(exporter.finish().await, Told::default());
    assert!(shared.lock().unwrap().metrics.is_empty());
}

#[tokio::test]
async fn one_kind_of_telemetry_can_be_left_out() {
    let (url, _shared) = collector(&[], 0).await;
    let exporter = Exporter::start(&settings(&url, &[("OTEL_TRACES_EXPORTER", "none")]), who());
    assert!(exporter.spans().is_none());
    assert_eq!(exporter.finish().await, Told::default());
}
