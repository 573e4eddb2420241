//! inference-perf's lifecycle metrics: one object for the whole run, and one a stage.
//!
//! A group of figures without a sample is null there, and so here. Its percentiles are named `p99.9`, the 50th `median`.

use std::path::Path;

use metrics::{Figure, Metric, RateFigure};
use serde_json::{Map, Value, json};

use super::foreign::{Draft, ForeignRun};
use super::window::Window;
use super::{Asked, Export, ExportedFile, Tool, json_text, measured_stages};
use crate::directory::ReportError;
use crate::stored::StoredRun;

/// The file that tells of the whole run.
pub(super) const SUMMARY_FILE: &str = "summary_lifecycle_metrics.json";
/// Their name and our metric.
const LATENCIES: [(&str, Metric); 5] = [
    ("request_latency", Metric::E2eLatency),
    ("normalized_time_per_output_token", Metric::Ntpot),
    ("time_per_output_token", Metric::Tpot),
    ("time_to_first_token", Metric::Ttft),
    ("inter_token_latency", Metric::Itl),
];
const PERCENTILES: [(&str, f64); 11] = [
    ("p0.1", 0.1),
    ("p1", 1.0),
    ("p5", 5.0),
    ("p10", 10.0),
    ("p25", 25.0),
    ("median", 50.0),
    ("p75", 75.0),
    ("p90", 90.0),
    ("p95", 95.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
];

pub(super) fn export(run: &StoredRun, asked: &Asked) -> Result<Export, ReportError> {
    let result = &run.result;
    let all: Vec<u16> = measured_stages(run).map(|(_, stage)| stage.index).collect();
    let whole = object(&Window::headline(result), asked, &all);
    let mut files = vec![ExportedFile { name: SUMMARY_FILE.to_owned(), text: json_text(&whole)? }];
    for (number, stage) in measured_stages(run) {
        let value = object(&Window::stage(result, stage), asked, &[stage.index]);
        let name = format!("stage_{number}_lifecycle_metrics.json");
        files.push(ExportedFile { name, text: json_text(&value)? });
    }
    let left_out =
        vec!["per_request_lifecycle_metrics.json: no list of single requests is kept".to_owned()];
    Ok(Export { files, of_records: Vec::new(), left_out })
}

fn object(window: &Window<'_>, asked: &Asked, stages: &[u16]) -> Value {
    json!({
        "load_summary": load_summary(window, asked, stages),
        "successes": successes(window),
        "failures": {
            "count": window.books.failed_total(),
            "request_latency": statistics(window, Metric::E2eFailed),
            "by_label": by_label(window),
        },
    })
}

fn load_summary(window: &Window<'_>, asked: &Asked, stages: &[u16]) -> Value {
    let rates = &window.result.rates;
    let mut summary = json!({
        "count": window.started(),
        "schedule_delay": statistics(window, Metric::ScheduleLag),
        "send_duration": window.result.measured.as_secs_f64(),
        "requested_rate": asked.rate(stages, rates.offered),
        "achieved_rate": rates.achieved,
    });
    let concurrency = match stages {
        [only] => asked.stage(*only).concurrency,
        _ => asked.max_concurrency.filter(|_| asked.is_closed_loop == Some(true)).map(f64::from),
    };
    if let (Some(concurrency), Some(members)) = (concurrency, summary.as_object_mut()) {
        let _none = members.insert("concurrency".to_owned(), json!(concurrency as u64));
    }
    summary
}

fn successes(window: &Window<'_>) -> Value {
    let rates = &window.result.rates;
    let latency: Map<String, Value> = LATENCIES
        .iter()
        .map(|(name, metric)| ((*name).to_owned(), statistics(window, *metric)))
        .collect();
    let mut prompt_tokens = statistics(window, Metric::InputTokens);
    if let Some(members) = prompt_tokens.as_object_mut() {
        let total = window.samples(Metric::InputTokens).and_then(|samples| samples.sum());
        let _none = members.shift_insert(0, "total".to_owned(), json!(total));
    }
    json!({
        "count": window.books.completed,
        "latency": latency,
        "throughput": {
            "input_tokens_per_sec": rates.input_tokens_per_second,
            "output_tokens_per_sec": rates.tokens_per_second,
            "total_tokens_per_sec": rates.total_tokens_per_second,
            "requests_per_sec": rates.throughput,
        },
        "prompt_len": statistics(window, Metric::InputTokens),
        "prompt_tokens": prompt_tokens,
        "output_len": statistics(window, Metric::OutputTokens),
    })
}

/// Null without a sample; a percentile that they do not support is null too.
fn statistics(window: &Window<'_>, metric: Metric) -> Value {
    let Some(samples) = window.samples(metric) else { return Value::Null };
    let mut members = Map::new();
    let mut put =
        |key: &str, value: Option<f64>| drop(members.insert(key.to_owned(), json!(value)));
    put("mean", samples.mean());
    put("min", samples.min());
    put("max", samples.max());
    for (name, percent) in PERCENTILES {
        put(name, samples.percentile(percent));
    }
    members.into()
}

/// Failures by our classes; they call by words of their own what theirs are.
fn by_label(window: &Window<'_>) -> Value {
    let classes = window.books.failed.iter().filter(|(_, count)| **count > 0);
    let labels =
        classes.map(|(class, count)| (class.name(), json!({"count": count, "messages": []})));
    labels.collect::<Map<_, _>>().into()
}

/// Whether an object is one of theirs.
pub(super) fn recognises(object: &Map<String, Value>) -> bool {
    object.contains_key("load_summary") && object.contains_key("successes")
}

pub(super) fn import(path: &Path, object: &Map<String, Value>) -> ForeignRun {
    let mut draft = Draft::of(Tool::InferencePerf, path);
    let at = |pointer: &str| {
        let (first, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
        let value = object.get(first)?;
        if rest.is_empty() { Some(value) } else { value.pointer(&format!("/{rest}")) }
    };
    let number = |pointer: &str| at(pointer).and_then(Value::as_f64);
    draft.completed = at("successes/count").and_then(Value::as_u64);
    draft.failed = at("failures/count").and_then(Value::as_u64);
    let rates = [
        ("successes/throughput/requests_per_sec", RateFigure::Throughput),
        ("successes/throughput/output_tokens_per_sec", RateFigure::TokensPerSecond),
        ("successes/throughput/input_tokens_per_sec", RateFigure::InputTokensPerSecond),
        ("successes/throughput/total_tokens_per_sec", RateFigure::TotalTokensPerSecond),
        ("load_summary/requested_rate", RateFigure::OfferedRate),
        ("load_summary/achieved_rate", RateFigure::AchievedRate),
    ];
    for (pointer, rate) in rates {
        draft.put(Figure::Rate(rate), number(pointer));
    }
    draft.put_error_rate();
    for (name, metric) in LATENCIES {
        if let Some(statistics) = at(&format!("successes/latency/{name}")) {
            draft.put_statistics(metric, statistics, 1e6);
        }
    }
    let others = [
        ("successes/prompt_len", Metric::InputTokens, 1.0),
        ("successes/output_len", Metric::OutputTokens, 1.0),
        ("load_summary/schedule_delay", Metric::ScheduleLag, 1e6),
    ];
    for (pointer, metric, factor) in others {
        if let Some(statistics) = at(pointer) {
            draft.put_statistics(metric, statistics, factor);
        }
    }
    draft.differs("itl: holds a zero for each token of a chunk but its first");
    draft.done()
}

#[cfg(test)]
mod tests {
    use metrics::Statistic;

    use super::*;
    use crate::compat::AskedStage;
    use crate::terminal::example;

    fn exported(result: metrics::RunResult, asked: &Asked) -> Vec<(String, Map<String, Value>)> {
        let run = StoredRun::of(Path::new("/x"), result, Vec::new());
        let files = export(&run, asked).unwrap().files.into_iter();
        files.map(|file| (file.name, serde_json::from_str(&file.text).unwrap())).collect()
    }

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// FORMATS.md §5.
    #[test]
    fn the_fields_are_those_of_the_format() {
        let files = exported(example::one_stage(), &Asked::default());
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [SUMMARY_FILE, "stage_0_lifecycle_metrics.json"]);
        for (_, object) in &files {
            let (load, successes) = (&object["load_summary"], &object["successes"]);
            let expected =
                ["count", "schedule_delay", "send_duration", "requested_rate", "achieved_rate"];
            assert_eq!(keys(load), expected);
            let expected =
                ["count", "latency", "throughput", "prompt_len", "prompt_tokens", "output_len"];
            assert_eq!(keys(successes), expected);
            assert_eq!(keys(&successes["latency"]), LATENCIES.map(|(name, _)| name));
            let statistics =
                [&["mean", "min", "max"][..], &PERCENTILES.map(|(name, _)| name)].concat();
            assert_eq!(keys(&successes["latency"]["time_to_first_token"]), statistics);
            assert_eq!(keys(&successes["prompt_tokens"])[0], "total");
            assert_eq!(successes["prompt_tokens"]["total"], 32_000.0);
            assert_eq!(keys(&object["failures"]), ["count", "request_latency", "by_label"]);
            assert_eq!(object["failures"]["request_latency"], Value::Null, "nothing failed");
        }
    }

    #[test]
    fn a_warm_up_has_no_file_and_failures_have_their_classes() {
        let files = exported(example::troubled(), &Asked::default());
        assert_eq!(files.len(), 3, "the summary and two stages");
        let by_label = &files[0].1["failures"]["by_label"];
        assert_eq!(by_label["status_503"]["count"], 12);
        let itl = &files[2].1["successes"]["latency"]["inter_token_latency"];
        assert_eq!(*itl, Value::Null, "an event is not a token");
    }

    #[test]
    fn a_closed_loop_has_its_concurrency_and_no_rate() {
        let stage = AskedStage { rate: None, concurrency: Some(8.0) };
        let asked = Asked { is_closed_loop: Some(true), stages: vec![stage], ..Asked::default() };
        let files = exported(example::one_stage(), &asked);
        let load = &files[1].1["load_summary"];
        assert_eq!((&load["concurrency"], &load["requested_rate"]), (&json!(8), &Value::Null));
    }

    #[test]
    fn what_is_read_back_is_what_was_written() {
        let result = example::one_stage();
        let files = exported(result.clone(), &Asked::default());
        assert!(recognises(&files[0].1));
        let read = import(Path::new("s.json"), &files[0].1);
        let median = Figure::Of(Metric::Itl, Statistic::Percentile(5_000));
        let ours = result.overall.metrics[&Metric::Itl].p50.unwrap() as f64;
        assert!((read.figure(median).unwrap() - ours).abs() < 1e-6);
        assert!(read.figure(Figure::Of(Metric::Ttft, Statistic::Percentile(10))).is_some(), "p0.1");
        assert_eq!(read.lacks.len(), 1, "{:?}", read.lacks);
    }
}
