//! A run told to an OpenTelemetry collector: what arrives, what is sent to the server, and what a collector that does not
//! answer changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value as Any},
    metrics::v1::metric::Data,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use serde_json::{Value, json};

use crate::support::{Bench, Ended, number, run_in, tokenstorm};

/// What a collector was told.
#[derive(Clone, Default)]
struct Collector {
    url: String,
    told: Arc<Mutex<Heard>>,
}

#[derive(Default)]
struct Heard {
    /// By `service.name`.
    spans: Vec<(String, Span)>,
    metrics: Vec<ExportMetricsServiceRequest>,
    heads: Vec<String>,
}

impl Collector {
    fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self { url, ..Self::default() };
        let told = Arc::clone(&collector.told);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let told = Arc::clone(&told);
                std::thread::spawn(move || hear(stream.unwrap(), &told));
            }
        });
        collector
    }

    fn spans(&self) -> Vec<(String, Span)> {
        self.told.lock().unwrap().spans.clone()
    }

    fn of_kind(&self, kind: SpanKind) -> Vec<Span> {
        let of_kind = |(_, span): (String, Span)| (span.kind == kind as i32).then_some(span);
        self.spans().into_iter().filter_map(of_kind).collect()
    }
}

/// The requests of one connection, to its end.
fn hear(stream: TcpStream, told: &Mutex<Heard>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some((head, body)) = request(&mut reader) {
        let mut told = told.lock().unwrap();
        if head.starts_with("post /v1/traces ") {
            let message = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
            for resource in message.resource_spans {
                let who = text(&resource.resource.unwrap().attributes, "service.name");
                let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                told.spans.extend(spans.map(|span| (who.clone(), span)));
            }
        } else {
            assert!(head.starts_with("post /v1/metrics "), "{head}");
            told.metrics.push(ExportMetricsServiceRequest::decode(body.as_slice()).unwrap());
        }
        told.heads.push(head);
        drop(told);
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    }
}

/// The head in lower case, and the body.
fn request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn value(attributes: &[KeyValue], key: &str) -> Option<Any> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.clone()?.value
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match value(attributes, key) {
        Some(Any::StringValue(text)) => text,
        other => panic!("{key} is {other:?} in {attributes:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Count and sum of each histogram, as told last.
fn histograms(collector: &Collector) -> BTreeMap<String, (u64, f64)> {
    let told = collector.told.lock().unwrap();
    let last = told.metrics.last().expect("metrics are told");
    let metrics = last.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    metrics
        .flat_map(|scope| &scope.metrics)
        .filter_map(|metric| match &metric.data {
            Some(Data::Histogram(data)) => {
                let point = &data.data_points[0];
                assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count, "{}", metric.name);
                Some((metric.name.clone(), (point.count, point.sum.unwrap())))
            }
            _ => None,
        })
        .collect()
}

/// Whatever a busy machine does to the figures.
fn is_measured(ended: &Ended) -> bool {
    matches!(ended.code, Some(0 | 4))
}

const QUICK: [&str; 4] = ["--rate", "40", "--duration", "2"];

#[test]
fn metrics_and_the_spans_of_run_and_stages_are_those_of_the_result() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 1}));
    let collector = Collector::open();
    let otlp = ["--otlp", &collector.url, "--set", "benchmark.warmup=1"];
    let mut command = bench.command(&[&QUICK[..], &otlp].concat());
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=hush-hush");
    let ended = Ended::from(command.output().unwrap(), bench.folder.path());
    assert!(is_measured(&ended), "{}", ended.all_output());
    let summary = ended.summary();
    let telemetry = &summary["telemetry"];
    assert_eq!(
        (&telemetry["problems"], &telemetry["endpoint"]),
        (&json!([]), &json!(collector.url))
    );

    let told = histograms(&collector);
    let completed = number(&summary, "/books/completed");
    for name in ["gen_ai.client.operation.duration", "gen_ai.server.time_to_first_token"] {
        assert_eq!(told[name].0, completed, "{name}");
    }
    let mean_s = told["gen_ai.server.time_to_first_token"].1 / completed as f64;
    assert!((0.010..0.5).contains(&mean_s), "{mean_s}");

    let spans = collector.of_kind(SpanKind::Internal);
    let trace = telemetry["traceId"].as_str().unwrap();
    assert!(ended.stdout.contains(&format!("Trace:   {trace} at {}", collector.url)));
    assert!(spans.iter().all(|span| hex(&span.trace_id) == trace));
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["run benchmark", "stage warmup", "stage hold"]);
    assert!(spans[1..].iter().all(|stage| stage.parent_span_id == spans[0].span_id));
    let seconds = |span: &Span| (span.end_time_unix_nano - span.start_time_unix_nano) as f64 / 1e9;
    assert!((seconds(&spans[2]) - 2.0).abs() < 0.001, "{}", seconds(&spans[2]));
    assert_eq!(number(telemetry, "/spans/sent"), collector.spans().len() as u64);

    let heads = &collector.told.lock().unwrap().heads;
    assert!(heads.iter().all(|head| head.contains("x-api-key: hush-hush")));
    assert!(!ended.all_output().contains("hush-hush"));
    let files =
        std::fs::read_dir(ended.results.unwrap()).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"hush-hush"), "{}", file.display());
    }
}

#[test]
fn a_protocol_that_is_not_spoken_is_told_once_and_no_trace_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = run_in(folder.path());
    command.args(["--set", "simulator={ttftMs: 5, itlMs: 1}"]).args(QUICK);
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let ended = Ended::from(command.output().unwrap(), folder.path());
    assert!(is_measured(&ended), "{}", ended.all_output());
    let summary = ended.summary();
    let warnings = summary["warnings"].as_array().unwrap().iter();
    let of_it: Vec<_> = warnings.filter(|warning| warning["code"] == "telemetry").collect();
    assert_eq!(of_it.len(), 1, "{of_it:?}");
    let message = of_it[0]["message"].as_str().unwrap();
    assert!(message.starts_with("nothing is told to http://127.0.0.1:1: "), "{message}");
    assert_eq!(summary["telemetry"]["endpoint"], json!(null));
    assert!(!ended.stdout.contains("Trace:"), "{}", ended.stdout);
}

#[test]
fn a_collector_that_is_away_is_a_warning_and_changes_nothing_else() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 1}));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}");
    let ended = bench.run(&[&QUICK[..], &["--otlp", &url]].concat());
    assert!(is_measured(&ended), "{}", ended.all_output());
    let summary = ended.summary();
    let warnings: Vec<_> = summary["warnings"].as_array().unwrap().iter().collect();
    let of_it = warnings.iter().filter(|warning| warning["code"] == "telemetry").count();
    assert_eq!(of_it, 2, "{warnings:?}");
    assert!(!ended.stdout.contains("Trace:"), "no span was taken: {}", ended.stdout);
    assert!(number(&summary, "/telemetry/spans/lost") >= 2);
    assert_eq!(number(&summary, "/telemetry/metricExports/sent"), 0);
    assert!(!summary["verdict"].to_string().contains("telemetry"), "{}", summary["verdict"]);
}

#[test]
fn what_cannot_be_a_collector_ends_the_run_before_it_begins() {
    let bench = Bench::new(json!({"fixed": true}));
    let ended = bench.run(&[&QUICK[..], &["--otlp", "collector:4318"]].concat());
    assert_eq!((ended.code, ended.results), (Some(2), None));
    assert!(ended.stderr.contains("the endpoint of OTLP is collector:4318"), "{}", ended.stderr);
}

#[test]
fn requests_carry_their_names_where_that_is_asked_for_and_only_then() {
    let named = |sets: &[&str]| {
        let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
        let ended = bench.run(&[&QUICK[..], sets].concat());
        assert!(is_measured(&ended), "{}", ended.all_output());
        let requests = bench.simulator.truth_with_requests().requests.unwrap();
        let name = |headers: Vec<(String, String)>| {
            Some(headers.into_iter().find(|(name, _)| name == "traceparent")?.1)
        };
        requests.into_iter().map(|request| name(request.headers)).collect::<Vec<_>>()
    };
    assert!(named(&[]).iter().all(Option::is_none));
    let sets = [
        "--set",
        "telemetry.traceContext=true",
        "--set",
        "telemetry.sample=0.5",
        "--set",
        "benchmark.promptSalt=7",
    ];
    let all = named(&sets);
    let first: BTreeSet<_> = all.iter().flatten().collect();
    // A busy machine may come too late to some; the probe has no name.
    assert!((40..=80).contains(&first.len()) && first.len() + 1 == all.len(), "{}", first.len());
    let sampled = first.iter().filter(|name| name.ends_with("-01")).count();
    assert!((first.len() / 4..first.len() * 3 / 4).contains(&sampled), "{sampled}");
    // The same salt, so the same names, whoever sends them.
    let fleet = [&sets[..], &["--workers", "2"]].concat();
    let again = named(&fleet);
    let again: BTreeSet<_> = again.iter().flatten().collect();
    let both = first.intersection(&again).count();
    assert!(
        both + 80 >= first.len() + again.len(),
        "{both} of {} and {}",
        first.len(),
        again.len()
    );
}

#[test]
fn a_header_that_is_set_and_sent_at_once_is_refused() {
    let bench = Bench::new(json!({"fixed": true}));
    let sets = ["--set", "telemetry.traceContext=true", "--set", "target.headers.traceparent=mine"];
    let ended = bench.run(&[&QUICK[..], &sets].concat());
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("telemetry.traceContext"), "{}", ended.stderr);
}

/// A configuration with a simulator of the run's own.
fn with_simulator(folder: &Path) -> PathBuf {
    let path = folder.join("telemetry.yaml");
    let text = "benchmark: {duration: 2}\nload: {rate: 20}\nprompts: {inputLength: {mean: 16}, outputLength: {mean: 8}}\n\
        telemetry: {sample: 0.5, traceContext: true}\nsimulator: {ttftMs: 20, itlMs: 2}\n";
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_request_and_what_the_server_made_of_it_are_one_trace() {
    for workers in [None, Some("2")] {
        let folder = tempfile::tempdir().unwrap();
        let collector = Collector::open();
        let mut command = tokenstorm();
        command
            .args(["run", "--otlp", &collector.url, "--config"])
            .arg(with_simulator(folder.path()));
        command.arg("--output").arg(folder.path().join("results"));
        command.args(workers.iter().flat_map(|count| ["--workers", count]));
        let ended = Ended::from(command.output().unwrap(), folder.path());
        assert!(is_measured(&ended), "{}", ended.all_output());
        assert!(!ended.stderr.contains("telemetry"), "{}", ended.stderr);
        let (ours, theirs) =
            (collector.of_kind(SpanKind::Client), collector.of_kind(SpanKind::Server));
        assert!((8..32).contains(&ours.len()), "about half of 40: {}", ours.len());
        assert_eq!(ours.len(), theirs.len());
        let stages: Vec<_> = collector.of_kind(SpanKind::Internal);
        for server in &theirs {
            let client = ours.iter().find(|span| span.span_id == server.parent_span_id).unwrap();
            assert_eq!(client.trace_id, server.trace_id);
            assert!(client.start_time_unix_nano <= server.start_time_unix_nano + 1_000_000);
            assert!(stages.iter().any(|stage| stage.span_id == client.links[0].span_id));
            assert_eq!(text(&client.attributes, "gen_ai.request.model"), "simulated");
            let first = client.events.iter().find(|event| event.name == "first_token").unwrap();
            assert!(first.time_unix_nano >= client.start_time_unix_nano + 2_000_000);
        }
        let who: Vec<_> = collector.spans().into_iter().map(|(who, _)| who).collect();
        assert!(who.iter().any(|who| who == "tokenstorm-simulator"));
    }
}

#[test]
fn a_collector_that_is_not_ours_understands_it_all() {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let own = cache.map(|cache| cache.join("tokenstorm/python/bin/python"));
    let python = own.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("python3"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let checked = Command::new(python)
        .arg(root.join("scripts/check-otlp.py"))
        .arg(env!("CARGO_BIN_EXE_tokenstorm"))
        .arg(with_simulator(folder.path()))
        .output();
    let Ok(checked) = checked else { return eprintln!("skipped: there is no Python") };
    let words = String::from_utf8_lossy(&checked.stdout).into_owned();
    if checked.status.code() == Some(3) {
        return eprintln!("skipped: {words}");
    }
    let complaints = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{words}{complaints}");
}

fn of(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_simulator_of_its_own_tells_of_requests_that_ask_for_it() {
    let collector = Collector::open();
    let mut simulator = tokenstorm()
        .args([
            "simulate",
            "--listen",
            "127.0.0.1:0",
            "--fixed",
            "--ttft-ms",
            "5",
            "--otlp",
            &collector.url,
        ])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut words = BufReader::new(simulator.stderr.take().unwrap());
    words.read_line(&mut first).unwrap();
    let url = first.split("http://").nth(1).unwrap().split(' ').next().unwrap();
    let ask = |parent: &str| {
        let body = r#"{"model":"simulated","prompt":"hi","max_tokens":2,"stream":false}"#;
        let mut stream = TcpStream::connect(url).unwrap();
        write!(stream, "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntraceparent: {parent}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        serde_json::from_str::<Value>(body).unwrap()
    };
    let answer = ask("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    ask("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-00");
    ask("nonsense");
    crate::support::signal(simulator.id(), "INT");
    assert!(simulator.wait().unwrap().success());
    let spans = collector.of_kind(SpanKind::Server);
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(
        (hex(&spans[0].parent_span_id).as_str(), spans[0].name.as_str()),
        ("00f067aa0ba902b7", "llm_request")
    );
    assert_eq!(text(&spans[0].attributes, "gen_ai.response.model"), of(&answer["model"]));
}
