//! llm-d's benchmark report 0.2.1, in YAML: one a stage, with the load that was asked for and what it came to.
//!
//! Keys that the schema does not know are refused by its readers, so nothing is added; what was not measured is left out.
//! Beside them lies what its harnesses say of themselves (`run_metadata.yaml`).

mod series;

use std::path::Path;

use jiff::Timestamp;
use metrics::{Figure, Metric, RateFigure, StageResult};
use serde_json::{Map, Value, json};

use super::foreign::{Draft, ForeignRun};
use super::window::Window;
use super::{
    Asked, AskedLength, Export, ExportedFile, LengthForm, TextSource, Tool, measured_stages,
};
use crate::directory::ReportError;
use crate::document::redacted;
use crate::stored::StoredRun;

/// What their files' names begin with.
pub(super) const FILE_STEM: &str = "benchmark_report";
const VERSION: &str = "0.2.1";
/// Their name, our metric, the unit.
const LATENCIES: [(&str, Metric, &str); 5] = [
    ("time_to_first_token", Metric::Ttft, "s"),
    ("normalized_time_per_output_token", Metric::Ntpot, "s/token"),
    ("time_per_output_token", Metric::Tpot, "s/token"),
    ("inter_token_latency", Metric::Itl, "s/token"),
    ("request_latency", Metric::E2eLatency, "s"),
];
const PERCENTILES: [(&str, f64); 11] = [
    ("p0p1", 0.1),
    ("p1", 1.0),
    ("p5", 5.0),
    ("p10", 10.0),
    ("p25", 25.0),
    ("p50", 50.0),
    ("p75", 75.0),
    ("p90", 90.0),
    ("p95", 95.0),
    ("p99", 99.0),
    ("p99p9", 99.9),
];

pub(super) fn export(run: &StoredRun, asked: &Asked) -> Result<Export, ReportError> {
    let mut files = Vec::new();
    for (number, stage) in measured_stages(run) {
        let name = format!("{FILE_STEM}_v{VERSION}_stage_{number}.yaml");
        files.push(ExportedFile { name, text: yaml(&report(run, asked, stage, number))? });
    }
    let text = yaml(&run_metadata(run, asked))?;
    files.push(ExportedFile { name: "run_metadata.yaml".to_owned(), text });
    let left_out = vec![
        "the stack that was measured (scenario.stack), which a load generator does not see"
            .to_owned(),
        "harness_args of run_metadata.yaml: a command line may hold what no file of ours does"
            .to_owned(),
    ];
    Ok(Export { files, of_records: Vec::new(), left_out })
}

fn yaml(value: &Value) -> Result<String, ReportError> {
    serde_saphyr::to_string(value)
        .map_err(|error| ReportError::Render { what: "the export", error: error.to_string() })
}

fn report(run: &StoredRun, asked: &Asked, stage: &StageResult, number: usize) -> Value {
    let window = Window::stage(&run.result, stage);
    without_nulls(json!({
        "version": VERSION,
        "run": about(run, stage),
        "scenario": scenario(run, asked, stage, number, &window),
        "results": {
            "request_performance": {
                "aggregate": {
                    "requests": requests(&window),
                    "latency": latency(&window),
                    "throughput": throughput(&window),
                },
                "time_series": series::time_series(run, stage),
            },
        },
    }))
}

/// Their readers take null for absent, but a key less is a key less to misread.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().map(|(key, value)| (key, without_nulls(value)));
            Value::Object(kept.filter(|(_, value)| !value.is_null()).collect())
        }
        other => other,
    }
}

fn about(run: &StoredRun, stage: &StageResult) -> Value {
    let facts = &run.result.facts;
    let at = |offset: std::time::Duration| {
        let offset = i64::try_from(offset.as_nanos()).unwrap_or(i64::MAX);
        instant(facts.started_at_unix_ns.saturating_add(offset))
    };
    let keywords: Vec<String> =
        facts.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "uid": facts.id,
        "time": {
            "start": at(stage.window.start),
            "end": at(stage.window.end),
            "duration": duration(stage.window.end.saturating_sub(stage.window.start)),
        },
        "description": facts.note,
        "keywords": if keywords.is_empty() { Value::Null } else { json!(keywords) },
    })
}

fn instant(unix_ns: i64) -> Option<String> {
    let instant = Timestamp::from_nanosecond(unix_ns.into()).ok()?;
    Some(instant.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

/// ISO 8601: `PT49.97S`.
fn duration(length: std::time::Duration) -> String {
    format!("PT{}S", length.as_secs_f64())
}

/// What was asked for; nothing where even the lengths are not known, for they have to be there.
fn scenario(
    run: &StoredRun,
    asked: &Asked,
    stage: &StageResult,
    number: usize,
    window: &Window<'_>,
) -> Value {
    let facts = &run.result.facts;
    let Some(input) = length(asked.input, window, Metric::InputTokensAsked) else {
        return Value::Null;
    };
    let level = asked.stage(stage.index);
    let rate = asked.rate(&[stage.index], stage.window.rates.offered).filter(|rate| *rate > 0.0);
    let config = run.config.as_ref().map(|text| configuration(&redacted(text)));
    json!({
        "load": {
            "metadata": {"schema_version": "0.0.1", "cfg_id": facts.name, "description": stage.name},
            "standardized": {
                "tool": "tokenstorm",
                "tool_version": facts.tokenstorm_version,
                "parallelism": facts.workers.max(1),
                "source": match asked.source {
                    TextSource::Random => "random",
                    TextSource::Sampled => "sampled",
                    TextSource::Unknown => "unknown",
                },
                "stage": number,
                "input_seq_len": input,
                "output_seq_len": length(asked.output, window, Metric::OutputTokens),
                "rate_qps": rate,
                "concurrency": level.concurrency.filter(|level| *level >= 1.0),
            },
            "native": {"config": config},
        },
    })
}

/// As ordered, else what was seen: a distribution that nobody named.
fn length(asked: Option<AskedLength>, window: &Window<'_>, measured: Metric) -> Option<Value> {
    if let Some(length) = asked {
        let form = match length.form {
            LengthForm::Fixed => "fixed",
            LengthForm::Normal => "gaussian",
            LengthForm::Uniform => "uniform",
            LengthForm::Other => "other",
        };
        let AskedLength { mean, stddev, min, max, .. } = length;
        let words =
            json!({"distribution": form, "value": mean, "std_dev": stddev, "min": min, "max": max});
        return Some(words);
    }
    let samples = window.samples(measured)?;
    let whole = |value: Option<f64>| value.map(|value| value as u64);
    Some(json!({
        "distribution": "other",
        "value": samples.mean()?,
        "std_dev": samples.stddev(),
        "min": whole(samples.min()),
        "max": whole(samples.max()),
    }))
}

/// The configuration as run, without credentials; as text where it is no YAML.
fn configuration(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|_| json!(text))
}

fn requests(window: &Window<'_>) -> Value {
    let books = &window.books;
    json!({
        "total": window.started(),
        "failures": books.failed_total(),
        "incomplete": books.cancelled + books.lost.total(),
        "input_length": statistics(window, Metric::InputTokens, "count"),
        "output_length": statistics(window, Metric::OutputTokens, "count"),
    })
}

/// Null where nothing succeeded: the block is left out then.
fn latency(window: &Window<'_>) -> Value {
    if window.books.completed == 0 {
        return Value::Null;
    }
    let latencies = LATENCIES
        .iter()
        .map(|(name, metric, unit)| ((*name).to_owned(), statistics(window, *metric, unit)));
    latencies.collect::<Map<_, _>>().into()
}

fn throughput(window: &Window<'_>) -> Value {
    let rates = &window.result.rates;
    let rate =
        |value: Option<f64>, units: &str| value.map(|mean| json!({"units": units, "mean": mean}));
    json!({
        "input_token_rate": rate(rates.input_tokens_per_second, "tokens/s"),
        "output_token_rate": rate(rates.tokens_per_second, "tokens/s"),
        "total_token_rate": rate(rates.total_tokens_per_second, "tokens/s"),
        "request_rate": rate(rates.throughput, "queries/s"),
    })
}

/// A mean has to be there.
fn statistics(window: &Window<'_>, metric: Metric, units: &str) -> Value {
    let Some(samples) = window.samples(metric) else { return Value::Null };
    let Some(mean) = samples.mean() else { return Value::Null };
    let mut members = Map::new();
    let mut put = |key: &str, value: Value| drop(members.insert(key.to_owned(), value));
    put("units", json!(units));
    put("mean", json!(mean));
    put("stddev", json!(samples.stddev()));
    put("min", json!(samples.min()));
    for (name, percent) in PERCENTILES {
        put(name, json!(samples.percentile(percent)));
    }
    put("max", json!(samples.max()));
    members.into()
}

fn run_metadata(run: &StoredRun, asked: &Asked) -> Value {
    let facts = &run.result.facts;
    let length = facts.ended_at_unix_ns.saturating_sub(facts.started_at_unix_ns);
    let length = std::time::Duration::from_nanos(u64::try_from(length).unwrap_or_default());
    without_nulls(json!({
        "harness_start": instant(facts.started_at_unix_ns),
        "harness_stop": instant(facts.ended_at_unix_ns),
        "harness_delta": duration(length),
        "harness_version": facts.tokenstorm_version,
        "harness_name": "tokenstorm",
        "harness_workload": facts.name,
        "harness_rc": asked.exit_code,
        "experiment_id": facts.id,
        "model": facts.model,
        "endpoint_url": facts.endpoint,
    }))
}

/// Whether an object is one of theirs.
pub(super) fn recognises(object: &Map<String, Value>) -> bool {
    let aggregate =
        object.get("results").and_then(|results| results.pointer("/request_performance/aggregate"));
    object.contains_key("version") && aggregate.is_some()
}

pub(super) fn import(path: &Path, object: &Map<String, Value>) -> ForeignRun {
    let mut draft = Draft::of(Tool::LlmD, path);
    let results = object.get("results").unwrap_or(&Value::Null);
    let aggregate = results.pointer("/request_performance/aggregate").unwrap_or(&Value::Null);
    let count = |key: &str| aggregate["requests"][key].as_u64();
    let failed = count("failures").unwrap_or_default();
    draft.failed = Some(failed);
    draft.completed = count("total")
        .map(|total| total.saturating_sub(failed + count("incomplete").unwrap_or_default()));
    let rates = [
        ("request_rate", RateFigure::Throughput),
        ("output_token_rate", RateFigure::TokensPerSecond),
        ("input_token_rate", RateFigure::InputTokensPerSecond),
        ("total_token_rate", RateFigure::TotalTokensPerSecond),
    ];
    for (name, rate) in rates {
        draft.put(Figure::Rate(rate), aggregate["throughput"][name]["mean"].as_f64());
    }
    let offered = object.get("scenario").and_then(|s| s.pointer("/load/standardized/rate_qps"));
    draft.put(Figure::Rate(RateFigure::OfferedRate), offered.and_then(Value::as_f64));
    draft.put_error_rate();
    for (name, metric, _) in LATENCIES {
        put_block(&mut draft, metric, &aggregate["latency"][name]);
    }
    put_block(&mut draft, Metric::InputTokens, &aggregate["requests"]["input_length"]);
    put_block(&mut draft, Metric::OutputTokens, &aggregate["requests"]["output_length"]);
    draft.differs("latencies: by the definitions of the tool that the report names");
    draft.done()
}

/// `p0p1` is p0.1; milliseconds and seconds are told apart by the block's own word.
fn put_block(draft: &mut Draft, metric: Metric, block: &Value) {
    let factor = match block["units"].as_str().unwrap_or_default() {
        "ms" | "ms/token" => 1e3,
        "s" | "s/token" => 1e6,
        _ => 1.0,
    };
    let named = block.as_object().into_iter().flatten().map(|(key, value)| {
        let name = key.strip_prefix('p').map(|digits| format!("p{}", digits.replace('p', ".")));
        (name.unwrap_or_else(|| key.clone()), value.clone())
    });
    draft.put_statistics(metric, &Value::Object(named.collect()), factor);
}

#[cfg(test)]
mod tests;
