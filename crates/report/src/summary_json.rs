//! `summary.json`: the answer of a run for programs, schema version 1.
//!
//! Keys are added, never renamed. Latencies are integers of microseconds, mean and standard deviation rounded; what is
//! absent is null with its reason beside it, never 0.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{
    Books, FailureClass, Kind, Metric, NotSent, Notes, NullReason, Percentile, Rates, RunFacts,
    RunResult, StageResult, Summary, Verdict, Warning, WindowResult, WorkerResult,
};
use serde_json::{Map, Value, json};

use crate::directory::ReportError;

/// The version of both files' layout.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// `summary.json` as text.
pub fn summary_json(result: &RunResult) -> Result<String, ReportError> {
    serde_json::to_string_pretty(&summary_value(result))
        .map_err(|error| ReportError::Write { path: "summary.json".into(), source: error.into() })
}

pub(crate) fn summary_value(result: &RunResult) -> Value {
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "run": run(&result.facts),
        "verdict": verdict(&result.verdict),
        "warnings": result.warnings.iter().map(warning).collect::<Vec<_>>(),
        "books": books(&result.books),
        "overall": Value::Object(window(&result.overall)),
        "stages": result.stages.iter().map(stage).collect::<Vec<_>>(),
        "workers": result.workers.iter().map(worker).collect::<Vec<_>>(),
    })
}

fn run(facts: &RunFacts) -> Value {
    json!({
        "id": facts.id,
        "name": facts.name,
        "startedAt": iso_8601(facts.started_at_unix_ns),
        "endedAt": iso_8601(facts.ended_at_unix_ns),
        "model": facts.model,
        "endpoint": facts.endpoint,
        "api": facts.api,
        "streamed": facts.streamed,
        "seed": facts.seed,
        "promptSalt": facts.prompt_salt,
        "workers": facts.workers,
        "lanes": facts.lanes,
        "tokenSource": facts.token_source,
        "tokenizer": facts.tokenizer,
        "stamps": facts.stamps,
        "probeRequests": facts.probe_requests,
        "tokenstormVersion": facts.tokenstorm_version,
        "interrupted": facts.interrupted,
        "degraded": facts.degraded,
    })
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn iso_8601(unix_ns: i64) -> Option<String> {
    let instant = Timestamp::from_nanosecond(unix_ns.into()).ok()?;
    Some(instant.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

fn verdict(verdict: &Verdict) -> Value {
    let reasons = verdict.reasons.iter().map(|reason| {
        json!({"code": reason.code, "message": reason.message, "status": reason.status.name()})
    });
    json!({"status": verdict.status.name(), "reasons": reasons.collect::<Vec<_>>()})
}

fn warning(warning: &Warning) -> Value {
    json!({"code": warning.code, "message": warning.message})
}

fn books(books: &Books) -> Value {
    json!({
        "due": books.due,
        "completed": books.completed,
        "failed": books.failed_total(),
        "cancelled": books.cancelled,
        "notSent": books.not_sent_total(),
        "lost": books.lost.total(),
        "failedBy": counts(&books.failed, |class: &FailureClass| class.name()),
        "notSentBy": counts(&books.not_sent, |reason: &NotSent| reason.name().to_owned()),
        "lostBy": {
            "inFlightAtLastSnapshot": books.lost.in_flight_at_last_snapshot,
            "dueAfterLastSnapshot": books.lost.due_after_last_snapshot,
        },
    })
}

fn counts<K>(counts: &BTreeMap<K, u64>, name: impl Fn(&K) -> String) -> Value {
    counts.iter().map(|(key, &count)| (name(key), Value::from(count))).collect::<Map<_, _>>().into()
}

/// The keys that a stage and the headline share.
fn window(window: &WindowResult) -> Map<String, Value> {
    let metrics: Map<String, Value> = window
        .metrics
        .iter()
        .map(|(metric, figures)| (metric.name().to_owned(), summary(figures)))
        .collect();
    let keys = [
        (
            "window",
            json!({
                "startSeconds": seconds(window.start),
                "endSeconds": seconds(window.end),
                "measuredSeconds": seconds(window.measured),
            }),
        ),
        ("rates", rates(&window.rates)),
        ("metrics", metrics.into()),
        ("ttftOver3s", json!(window.ttft_over_3s)),
        ("notes", notes(&window.notes)),
    ];
    keys.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}

fn rates(rates: &Rates) -> Value {
    json!({
        "offered": rates.offered,
        "achieved": rates.achieved,
        "throughput": rates.throughput,
        "tokensPerSecond": rates.tokens_per_second,
        "inputTokensPerSecond": rates.input_tokens_per_second,
        "totalTokensPerSecond": rates.total_tokens_per_second,
        "errorRate": rates.error_rate,
        "goodput": rates.goodput,
    })
}

fn summary(figures: &Summary) -> Value {
    let mut object = Map::new();
    let exact = |value: Option<u64>| value.map(|value| shown(figures.kind, value));
    let entries = [
        ("unit", json!(figures.unit())),
        ("count", json!(figures.count)),
        ("mean", shown_mean(figures.kind, figures.mean)),
        ("stddev", shown_mean(figures.kind, figures.stddev)),
        ("min", json!(exact(figures.min))),
        ("max", json!(exact(figures.max))),
    ];
    object.extend(entries.map(|(key, value)| (key.to_owned(), value)));
    for percentile in Percentile::ALL {
        let value = exact(figures.percentile(percentile));
        object.extend([(percentile.name().to_owned(), json!(value))]);
    }
    object.extend([("ci95".to_owned(), ci95(figures))]);
    let reasons = figures.nulls.iter();
    let nulls: Map<String, Value> = reasons
        .map(|(percentile, reason)| (percentile.name().to_owned(), json!(reason.name())))
        .collect();
    let reason = |reason: Option<NullReason>| json!(reason.map(NullReason::name));
    let absent = [
        ("nulls", nulls.into()),
        ("nullReason", reason(figures.null_reason)),
        ("ci95NullReason", reason(figures.ci95_null)),
        ("outOfRange", json!(figures.out_of_range)),
    ];
    object.extend(absent.map(|(key, value)| (key.to_owned(), value)));
    object.into()
}

fn ci95(figures: &Summary) -> Value {
    if figures.ci95.is_empty() {
        return Value::Null;
    }
    let limits = figures.ci95.iter().map(|(percentile, interval)| {
        let low = shown(figures.kind, interval.low);
        (percentile.name().to_owned(), json!([low, shown(figures.kind, interval.high)]))
    });
    limits.collect::<Map<_, _>>().into()
}

/// A recorded integer in the unit that is shown: an integer of µs or tokens, or a rate per second.
pub(crate) fn shown(kind: Kind, value: u64) -> Value {
    match kind {
        Kind::Latency | Kind::Count => json!(value),
        Kind::Rate => json!(value as f64 / f64::from(kind.units_per_shown())),
    }
}

/// A mean in the unit that is shown; of latencies rounded to whole microseconds.
fn shown_mean(kind: Kind, mean: Option<f64>) -> Value {
    let Some(mean) = mean else { return Value::Null };
    match kind {
        Kind::Latency => json!(mean.round() as u64),
        Kind::Count | Kind::Rate => json!(mean / f64::from(kind.units_per_shown())),
    }
}

fn notes(notes: &Notes) -> Value {
    json!({
        "gaps": notes.gaps,
        "sharedGaps": notes.shared_gaps,
        "noDone": notes.no_done,
        "reconnected": notes.reconnected,
        "queueEmpty": notes.queue_empty,
        "tokenComparisons": notes.token_comparisons,
        "tokenDisagreements": notes.token_disagreements,
        "usageRequests": notes.usage_requests,
        "tokenizerRequests": notes.tokenizer_requests,
        "eventCountedRequests": notes.event_counted_requests,
        "chunkSamplesOfUnfinished": notes.chunk_samples_of_unfinished,
        "censored": notes.censored,
        "clockSteps": notes.clock_steps,
        "userSpaceStamps": notes.user_space_stamps,
        "promptsWrapped": notes.prompts_wrapped,
    })
}

fn stage(stage: &StageResult) -> Value {
    let mut object = Map::new();
    let own = [
        ("name", json!(stage.name)),
        ("index", json!(stage.index)),
        ("headline", json!(stage.headline)),
        ("books", books(&stage.books)),
    ];
    object.extend(own.map(|(key, value)| (key.to_owned(), value)));
    object.extend(window(&stage.window));
    object.into()
}

fn worker(worker: &WorkerResult) -> Value {
    let lost = worker.lost.map(|lost| {
        json!({
            "atSeconds": seconds(lost.at),
            "takenOverAtSeconds": lost.taken_over_at.map(seconds),
            "inFlightAtLastSnapshot": lost.in_flight_at_last_snapshot,
            "dueAfterLastSnapshot": lost.due_after_last_snapshot,
        })
    });
    json!({
        "ordinal": worker.ordinal,
        "host": worker.host,
        "incarnation": format!("{:016x}", worker.incarnation),
        "books": books(&worker.books),
        "generatorLagP99Us": worker.generator_lag_p99_us,
        "startSkewUs": worker.start_skew_us,
        "clockOffsetUs": worker.clock_offset_us,
        "clockErrorUs": worker.clock_error_us,
        "cpuSeconds": worker.cpu_seconds,
        "lost": lost,
    })
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// The metrics' definitions, so that a file explains itself.
pub(crate) fn definitions() -> Value {
    let entries =
        Metric::ALL.iter().map(|metric| (metric.name().to_owned(), json!(metric.definition())));
    entries.collect::<Map<_, _>>().into()
}
