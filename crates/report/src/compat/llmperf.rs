//! llmperf's summary: one flat object of the whole run.
//!
//! Its `inter_token_latency_s` is a request's time over its tokens, our `ntpot`; its TTFT holds the connection's set-up,
//! which ours does not. Minima and maxima of the token counts are strings there, and so here.

use std::path::Path;

use metrics::{FailureClass, Figure, Metric, RateFigure, Statistic};
use serde_json::{Map, Value, json};

use super::foreign::{Draft, ForeignRun};
use super::window::{Samples, Window};
use super::{Asked, AskedLength, Export, ExportedFile, Tool, json_text};
use crate::directory::ReportError;
use crate::records::{RecordsFile, records_file};
use crate::stored::StoredRun;

/// The version that their files have.
const VERSION: &str = "2023-08-31";
/// Their name and our metric.
const METRICS: [(&str, Metric); 6] = [
    ("inter_token_latency_s", Metric::Ntpot),
    ("ttft_s", Metric::Ttft),
    ("end_to_end_latency_s", Metric::E2eLatency),
    ("request_output_throughput_token_per_s", Metric::OutputRate),
    ("number_input_tokens", Metric::InputTokens),
    ("number_output_tokens", Metric::OutputTokens),
];
const QUANTILES: [u16; 6] = [25, 50, 75, 90, 95, 99];
/// What has no HTTP status stands under this code.
const NO_STATUS: i32 = -1;

pub(super) fn export(run: &StoredRun, asked: &Asked) -> Result<Export, ReportError> {
    let facts = &run.result.facts;
    let length = |length: Option<AskedLength>| {
        length.map_or_else(|| "na".to_owned(), |length| format!("{:.0}", length.mean))
    };
    let stem = format!("{}_{}_{}", facts.model, length(asked.input), length(asked.output));
    let stem = file_name(&stem);
    let name = format!("{stem}_summary");
    let value = object(run, asked, &name);
    let file = ExportedFile { name: format!("{name}.json"), text: json_text(&value)? };
    let (of_records, left_out) = lists(run, &stem);
    Ok(Export { files: vec![file], of_records, left_out })
}

/// Their lists of single requests, and what is not in them.
fn lists(run: &StoredRun, stem: &str) -> (Vec<RecordsFile>, Vec<String>) {
    let names = "individual_responses.json and requests_sent.log";
    let Some(records) = records_file(&run.directory) else {
        let line = format!("{names}: no single requests were recorded (`records: all`)");
        return (Vec::new(), vec![line]);
    };
    let lists = vec![
        RecordsFile::responses(&records, format!("{stem}_individual_responses.json")),
        RecordsFile::sent(&records, "requests_sent.log".to_owned()),
    ];
    let mut left_out = Vec::new();
    if let Some(kept) = run.result.records.as_ref().filter(|kept| kept.share < 1.0) {
        left_out.push(format!("{names}: all but a sample of {} of the requests", kept.share));
    }
    (lists, left_out)
}

/// `[^\w\d-]+` becomes `-`, then `-{2,}` becomes `-`.
fn file_name(stem: &str) -> String {
    let mut name = String::new();
    for character in stem.chars() {
        let kept = character.is_alphanumeric() || character == '_';
        if kept {
            name.push(character);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name
}

fn object(run: &StoredRun, asked: &Asked, name: &str) -> Value {
    let facts = &run.result.facts;
    let mean = |length: Option<AskedLength>| json!(length.map(|length| length.mean));
    let stddev = |length: Option<AskedLength>| json!(length.map(|length| length.stddev));
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("version", json!(VERSION));
    put("name", json!(name));
    put("model", json!(facts.model));
    put("mean_input_tokens", mean(asked.input));
    put("stddev_input_tokens", stddev(asked.input));
    put("mean_output_tokens", mean(asked.output));
    put("stddev_output_tokens", stddev(asked.output));
    put("num_concurrent_requests", json!(asked.max_concurrency));
    let window = Window::headline(&run.result);
    for (name, metric) in METRICS {
        object.extend(statistics(name, metric, window.samples(metric).as_ref()));
    }
    object.extend(totals(run, &window));
    for (label, value) in &facts.labels {
        // What they call user metadata.
        let _taken = object.entry(label.as_str()).or_insert_with(|| json!(value));
    }
    let _none =
        object.insert("timestamp".to_owned(), json!(facts.started_at_unix_ns / 1_000_000_000));
    Value::Object(object)
}

fn statistics(name: &str, metric: Metric, samples: Option<&Samples<'_>>) -> Map<String, Value> {
    let mut members = Map::new();
    let mut put = |key: String, value: Value| drop(members.insert(key, value));
    for percent in QUANTILES {
        let value = samples.and_then(|samples| samples.percentile(percent.into()));
        put(format!("results_{name}_quantiles_p{percent}"), json!(value));
    }
    let is_count = metric.kind() == metrics::Kind::Count;
    let extreme = |value: Option<f64>| match value {
        Some(value) if is_count => json!(format!("{value}")),
        value => json!(value),
    };
    put(format!("results_{name}_mean"), json!(samples.and_then(Samples::mean)));
    put(format!("results_{name}_min"), extreme(samples.and_then(Samples::min)));
    put(format!("results_{name}_max"), extreme(samples.and_then(Samples::max)));
    put(format!("results_{name}_stddev"), json!(samples.and_then(Samples::stddev)));
    members
}

fn totals(run: &StoredRun, window: &Window<'_>) -> Map<String, Value> {
    let books = &window.books;
    let rates = &window.result.rates;
    let members = [
        ("num_requests_started", json!(window.started())),
        ("error_rate", json!(rates.error_rate)),
        ("number_errors", json!(books.failed_total())),
        ("error_code_frequency", json!(error_codes(window))),
        ("mean_output_throughput_token_per_s", json!(rates.tokens_per_second)),
        ("num_completed_requests", json!(books.completed)),
        (
            "num_completed_requests_per_min",
            json!(run.result.overall.rates.throughput.map(|rate| rate * 60.0)),
        ),
    ];
    members.map(|(key, value)| (format!("results_{key}"), value)).into_iter().collect()
}

/// As Python prints a dictionary: `{429: 3, -1: 1}`.
fn error_codes(window: &Window<'_>) -> String {
    let mut codes: std::collections::BTreeMap<i32, u64> = std::collections::BTreeMap::new();
    for (class, count) in &window.books.failed {
        let code = match class {
            FailureClass::Status(code) => i32::from(*code),
            _ => NO_STATUS,
        };
        *codes.entry(code).or_default() += count;
    }
    let mut by_count: Vec<_> = codes.into_iter().filter(|(_, count)| *count > 0).collect();
    by_count.sort_by_key(|(code, count)| (std::cmp::Reverse(*count), *code));
    let words: Vec<_> = by_count.iter().map(|(code, count)| format!("{code}: {count}")).collect();
    format!("{{{}}}", words.join(", "))
}

/// Whether an object is one of theirs; of a schedule run the keys have no prefix.
pub(super) fn recognises(object: &Map<String, Value>) -> bool {
    ["results_ttft_s_quantiles_p50", "ttft_s_quantiles_p50"]
        .iter()
        .any(|key| object.contains_key(*key))
}

pub(super) fn import(path: &Path, object: &Map<String, Value>) -> ForeignRun {
    let key = |name: &str| {
        let with = format!("results_{name}");
        if object.contains_key(&with) { with } else { name.to_owned() }
    };
    let at = |name: &str| object.get(&key(name));
    let number = |name: &str| at(name).and_then(as_number);
    let count = |name: &str| number(name).map(|value| value as u64);
    let mut draft = Draft::of(Tool::Llmperf, path);
    draft.model = object.get("model").and_then(Value::as_str).map(str::to_owned);
    draft.completed = count("num_completed_requests");
    draft.failed = count("number_errors");
    let per_second = number("num_completed_requests_per_min").map(|rate| rate / 60.0);
    draft.put(Figure::Rate(RateFigure::Throughput), per_second);
    let tokens = number("mean_output_throughput_token_per_s");
    draft.put(Figure::Rate(RateFigure::TokensPerSecond), tokens);
    // Theirs divides by the requests that were started.
    draft.put_error_rate();
    for (name, metric) in METRICS {
        let factor = if metric.kind() == metrics::Kind::Latency { 1e6 } else { 1.0 };
        let mut put = |statistic, value: Option<f64>| {
            draft.put(Figure::Of(metric, statistic), value.map(|value| value * factor));
        };
        for percent in QUANTILES {
            let value = number(&format!("{name}_quantiles_p{percent}"));
            put(Statistic::Percentile(percent * 100), value);
        }
        put(Statistic::Mean, number(&format!("{name}_mean")));
        put(Statistic::Min, number(&format!("{name}_min")));
        put(Statistic::Max, number(&format!("{name}_max")));
    }
    draft.differs("ttft: the connection's set-up is inside");
    draft.differs("inter_token_latency_s: a request's time over its tokens, read as ntpot");
    draft.done()
}

/// Some of their numbers are strings.
fn as_number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::LengthForm;
    use crate::terminal::example;

    fn asked() -> Asked {
        let length =
            |mean| AskedLength { form: LengthForm::Normal, mean, stddev: 5.0, min: 1, max: None };
        Asked { input: Some(length(550.0)), output: Some(length(150.0)), ..Asked::default() }
    }

    fn exported(mut result: metrics::RunResult) -> (String, Map<String, Value>) {
        result.facts.model = "meta/llama--3 (70b)".to_owned();
        let run = StoredRun::of(Path::new("/x"), result, Vec::new());
        let file = export(&run, &asked()).unwrap().files.remove(0);
        (file.name, serde_json::from_str(&file.text).unwrap())
    }

    /// FORMATS.md §3, in its order.
    #[test]
    fn the_fields_are_those_of_the_format() {
        let (name, object) = exported(example::one_stage());
        assert_eq!(name, "meta-llama-3-70b-_550_150_summary.json");
        let mut expected: Vec<String> = [
            "version",
            "name",
            "model",
            "mean_input_tokens",
            "stddev_input_tokens",
            "mean_output_tokens",
            "stddev_output_tokens",
            "num_concurrent_requests",
        ]
        .map(str::to_owned)
        .to_vec();
        for (metric, _) in METRICS {
            let quantiles = QUANTILES.map(|q| format!("results_{metric}_quantiles_p{q}"));
            expected.extend(quantiles);
            expected.extend(
                ["mean", "min", "max", "stddev"].map(|key| format!("results_{metric}_{key}")),
            );
        }
        let totals = [
            "num_requests_started",
            "error_rate",
            "number_errors",
            "error_code_frequency",
            "mean_output_throughput_token_per_s",
            "num_completed_requests",
            "num_completed_requests_per_min",
        ];
        expected.extend(totals.map(|key| format!("results_{key}")));
        expected.extend(["gpu", "timestamp"].map(str::to_owned));
        let keys: Vec<&String> = object.keys().collect();
        assert_eq!(keys, expected.iter().collect::<Vec<_>>());
        assert_eq!(object["version"], VERSION);
        assert_eq!(object["results_number_output_tokens_min"], "8", "a string, as theirs");
        let per_minute = example::one_stage().overall.rates.throughput.unwrap() * 60.0;
        assert_eq!(object["results_num_completed_requests_per_min"], json!(per_minute));
        assert_eq!(object["results_error_code_frequency"], "{}");
        assert_eq!(object["timestamp"], 1_709_210_096);
    }

    #[test]
    fn errors_stand_by_their_codes_the_most_frequent_first() {
        let (_, object) = exported(example::troubled());
        assert_eq!(object["results_error_code_frequency"], "{503: 12, -1: 8}");
        assert_eq!(object["results_number_errors"], 20);
        assert_eq!(object["results_ttft_s_quantiles_p99"], Value::Null, "too many were cut off");
    }

    #[test]
    fn a_file_of_theirs_is_read_with_and_without_the_prefix() {
        let (_, object) = exported(example::one_stage());
        let bare: Map<String, Value> = object
            .iter()
            .map(|(key, value)| (key.trim_start_matches("results_").to_owned(), value.clone()))
            .collect();
        let read = [&object, &bare].map(|object| {
            assert!(recognises(object));
            import(Path::new("s.json"), object)
        });
        assert_eq!(read[0], read[1]);
        let tokens = Figure::Of(Metric::OutputTokens, Statistic::Max);
        assert_eq!(read[0].figure(tokens), Some(8.0), "a string is a number");
        let rate = read[0].figure(Figure::Rate(RateFigure::Throughput)).unwrap();
        let ours = example::one_stage().overall.rates.throughput.unwrap();
        assert!((rate - ours).abs() < 1e-9, "{rate} {ours}");
        assert!(read[0].lacks[1].contains("itl p99"), "{:?}", read[0].lacks);
    }
}
