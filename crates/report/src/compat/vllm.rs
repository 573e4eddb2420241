//! `vllm bench serve --save-result`: one JSON object of the whole run.
//!
//! Its `itl` is the time between two chunks, our `icl`; its standard deviations are numpy's (over n).

use std::path::Path;

use jiff::Timestamp;
use metrics::{Figure, Metric, RateFigure, Statistic};
use serde_json::{Map, Value, json};

use super::foreign::{Draft, ForeignRun};
use super::window::{Samples, Window};
use super::{Asked, Export, ExportedFile, Tool, json_text};
use crate::directory::ReportError;
use crate::stored::StoredRun;

/// Their name and our metric.
const METRICS: [(&str, Metric); 4] = [
    ("ttft", Metric::Ttft),
    ("tpot", Metric::Tpot),
    ("itl", Metric::Icl),
    ("e2el", Metric::E2eLatency),
];
/// As `--metric-percentiles` writes them.
const PERCENTILES: [f64; 7] = [25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9];

pub(super) fn export(run: &StoredRun, asked: &Asked) -> Result<Export, ReportError> {
    let value = object(run, asked);
    let name = format!("{}.json", file_stem(run));
    let left_out = vec!["lists of single requests (input_lens, ttfts, itls, …)".to_owned()];
    Ok(Export {
        files: vec![ExportedFile { name, text: json_text(&value)? }],
        of_records: Vec::new(),
        left_out,
    })
}

/// A run is called by its directory.
fn file_stem(run: &StoredRun) -> String {
    let id = &run.result.facts.id;
    if id.is_empty() { "tokenstorm".to_owned() } else { format!("vllm-{id}") }
}

fn object(run: &StoredRun, asked: &Asked) -> Value {
    let result = &run.result;
    let (facts, rates) = (&result.facts, &result.overall.rates);
    let window = Window::headline(result);
    let measured: Vec<u16> =
        result.stages.iter().filter(|stage| stage.headline).map(|stage| stage.index).collect();
    let tokens = |metric| window.samples(metric).and_then(|samples| samples.sum());
    let mut object = json!({
        "date": date(facts.started_at_unix_ns),
        "backend": if facts.api == "completions" { "openai" } else { "openai-chat" },
        "model_id": facts.model,
        "tokenizer_id": facts.tokenizer,
        "num_prompts": window.books.due,
        "request_rate": request_rate(asked, &measured, rates.offered),
        "burstiness": asked.burstiness,
        "max_concurrency": asked.max_concurrency,
        "duration": result.overall.measured.as_secs_f64(),
        "completed": window.books.completed,
        "failed": window.books.failed_total(),
        "total_input_tokens": tokens(Metric::InputTokens).map(|tokens| tokens as u64),
        "total_output_tokens": tokens(Metric::OutputTokens).map(|tokens| tokens as u64),
        "request_throughput": rates.throughput,
        "output_throughput": rates.tokens_per_second,
        "total_token_throughput": rates.total_tokens_per_second,
    });
    if let Some(members) = object.as_object_mut() {
        METRICS.iter().for_each(|(name, metric)| members.extend(latency(&window, name, *metric)));
    }
    object
}

/// A closed loop asks as fast as it may: `inf`, in their words.
fn request_rate(asked: &Asked, stages: &[u16], due: Option<f64>) -> Value {
    match asked.is_closed_loop {
        Some(true) => json!("inf"),
        Some(false) | None => json!(asked.rate(stages, due)),
    }
}

fn latency(window: &Window<'_>, name: &str, metric: Metric) -> Map<String, Value> {
    let samples = window.samples(metric);
    let ms = |seconds: Option<f64>| json!(seconds.map(|seconds| seconds * 1e3));
    let mut members = Map::new();
    let mut put = |key: String, value| drop(members.insert(key, value));
    let percentile = |percent| samples.as_ref().and_then(|samples| samples.percentile(percent));
    put(format!("mean_{name}_ms"), ms(samples.as_ref().and_then(Samples::mean)));
    put(format!("median_{name}_ms"), ms(percentile(50.0)));
    put(format!("std_{name}_ms"), ms(samples.as_ref().and_then(Samples::population_stddev)));
    for percent in PERCENTILES {
        put(format!("p{percent}_{name}_ms"), ms(percentile(percent)));
    }
    members
}

/// As their files have it: 20240229-123456.
fn date(unix_ns: i64) -> Option<String> {
    let instant = Timestamp::from_nanosecond(unix_ns.into()).ok()?;
    Some(instant.strftime("%Y%m%d-%H%M%S").to_string())
}

/// Whether an object is one of theirs.
pub(super) fn recognises(object: &Map<String, Value>) -> bool {
    object.contains_key("request_throughput") && object.contains_key("completed")
}

pub(super) fn import(path: &Path, object: &Map<String, Value>) -> ForeignRun {
    let mut draft = Draft::of(Tool::Vllm, path);
    draft.model = object.get("model_id").and_then(Value::as_str).map(str::to_owned);
    draft.completed = object.get("completed").and_then(Value::as_u64);
    draft.failed = object.get("failed").and_then(Value::as_u64);
    let rates = [
        ("request_throughput", RateFigure::Throughput),
        ("output_throughput", RateFigure::TokensPerSecond),
        ("total_token_throughput", RateFigure::TotalTokensPerSecond),
    ];
    for (key, rate) in rates {
        draft.put(Figure::Rate(rate), object.get(key).and_then(Value::as_f64));
    }
    draft.put_error_rate();
    for (name, metric) in METRICS {
        let us = |key: &str| object.get(key).and_then(Value::as_f64).map(|ms| ms * 1e3);
        draft.put(Figure::Of(metric, Statistic::Mean), us(&format!("mean_{name}_ms")));
        draft.put(
            Figure::Of(metric, Statistic::Percentile(5_000)),
            us(&format!("median_{name}_ms")),
        );
        for (key, value) in object {
            let percentile =
                key.strip_suffix(&format!("_{name}_ms")).and_then(Statistic::from_name);
            if let Some(statistic @ Statistic::Percentile(_)) = percentile {
                draft.put(Figure::Of(metric, statistic), value.as_f64().map(|ms| ms * 1e3));
            }
        }
    }
    draft.differs("ttft: a role-only chunk counts as the first token there");
    draft.differs("itl: theirs is the time between chunks, and is read as icl");
    draft.done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    fn exported(result: metrics::RunResult, asked: &Asked) -> Value {
        let run = StoredRun::of(Path::new("/x"), result, Vec::new());
        serde_json::from_str(&export(&run, asked).unwrap().files[0].text).unwrap()
    }

    /// FORMATS.md §4, in its order.
    #[test]
    fn the_fields_are_those_of_the_format() {
        let value = exported(example::one_stage(), &Asked::default());
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let first = "date backend model_id tokenizer_id num_prompts request_rate burstiness max_concurrency \
                     duration completed failed total_input_tokens total_output_tokens request_throughput \
                     output_throughput total_token_throughput mean_ttft_ms median_ttft_ms std_ttft_ms \
                     p25_ttft_ms";
        assert_eq!(keys[..20].join(" "), first);
        assert!(keys.contains(&"p99.9_e2el_ms") && keys.contains(&"p99_itl_ms"));
        assert_eq!(value["date"], "20240229-123456");
        assert_eq!(
            (&value["num_prompts"], &value["total_output_tokens"]),
            (&json!(2_000), &json!(16_000))
        );
        let median = value["median_itl_ms"].as_f64().unwrap();
        assert!((median - 10.0).abs() < 1e-9, "{median}");
        assert_eq!(value["request_rate"], Value::Null, "what is not known is not said");
    }

    #[test]
    fn the_load_is_said_as_they_say_it() {
        let asked = |is_closed_loop| Asked {
            is_closed_loop: Some(is_closed_loop),
            max_concurrency: Some(8),
            burstiness: Some(1.0),
            ..Asked::default()
        };
        let open = exported(example::one_stage(), &asked(false));
        assert_eq!((&open["request_rate"], &open["max_concurrency"]), (&json!(100.0), &json!(8)));
        assert_eq!(exported(example::one_stage(), &asked(true))["request_rate"], "inf");
    }

    #[test]
    fn what_was_not_measured_is_null_and_reads_back_as_lacking() {
        let value = exported(example::troubled(), &Asked::default());
        assert_eq!(value["p99_ttft_ms"], Value::Null, "too many were cut off");
        let object = value.as_object().unwrap();
        assert!(recognises(object));
        let read = import(Path::new("v.json"), object);
        let p99 = Statistic::Percentile(9_900);
        assert_eq!(read.figure(Figure::Of(Metric::Ttft, p99)), None);
        assert!(read.lacks.iter().any(|line| line.contains("ttft p99")), "{:?}", read.lacks);
    }

    #[test]
    fn figures_read_back_are_those_of_the_run() {
        let result = example::one_stage();
        let value = exported(result.clone(), &Asked::default());
        let read = import(Path::new("v.json"), value.as_object().unwrap());
        for metric in [Metric::Ttft, Metric::Icl, Metric::Tpot, Metric::E2eLatency] {
            let ours = result.overall.metrics[&metric].p99.unwrap() as f64;
            let theirs = read.figure(Figure::Of(metric, Statistic::Percentile(9_900))).unwrap();
            assert!((ours - theirs).abs() < 1e-6 * ours, "{metric:?}: {ours} {theirs}");
        }
        assert_eq!(
            read.figure(Figure::Rate(RateFigure::Throughput)),
            result.overall.rates.throughput
        );
        assert_eq!((read.completed, read.failed), (Some(2_000), Some(0)));
    }
}
