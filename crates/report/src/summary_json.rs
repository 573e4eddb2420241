//! `summary.json`: the answer of a run for programs, schema version 1.
//!
//! Keys are added, never renamed. Latencies are integers of microseconds, mean and standard deviation rounded; what is
//! absent is null with its reason beside it, never 0.

mod objectives;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use metrics::{
    Books, Drift, FailureClass, FailureSample, GroupResult, Kind, Metric, NotSent, Notes,
    NullReason, Percentile, Rates, RunFacts, RunResult, Sessions, StageResult, Summary,
    TelemetryOut, Verdict, Warning, WindowResult, WorkerResult,
};
use serde_json::{Map, Value, json};

use crate::directory::ReportError;
use crate::records_json;
use crate::server_json;

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
        "failures": result.failures.iter().map(failure).collect::<Vec<_>>(),
        "books": books(&result.books),
        "stopped": result.stopped.as_ref().map(|stop| objectives::stopped(stop, &result.stages)),
        "overall": overall(result),
        "stages": result.stages.iter().map(stage).collect::<Vec<_>>(),
        "classes": result.classes.iter().map(group).collect::<Vec<_>>(),
        "targets": result.targets.iter().map(group).collect::<Vec<_>>(),
        "turns": result.turns.iter().map(group).collect::<Vec<_>>(),
        "sessions": result.sessions.as_ref().map(sessions),
        "workers": result.workers.iter().map(worker).collect::<Vec<_>>(),
        "server": server_json::summary(result),
        "records": result.records.as_ref().map(records_json::summary),
        "telemetry": result.telemetry.as_ref().map(telemetry),
    })
}

fn telemetry(told: &TelemetryOut) -> Value {
    json!({
        "endpoint": told.endpoint,
        "traceId": told.trace_id,
        "spans": {"sent": told.spans_sent, "lost": told.spans_lost},
        "metricExports": {"sent": told.exports_sent, "lost": told.exports_lost},
        "problems": told.problems,
    })
}

/// The headline's window, and what part of it was steady.
fn overall(result: &RunResult) -> Value {
    let mut object = window(&result.overall);
    object.extend([("steadyState".to_owned(), objectives::steady(&result.steady))]);
    object.into()
}

fn failure(sample: &FailureSample) -> Value {
    json!({
        "class": sample.class.name(),
        "detail": sample.detail,
        "atSeconds": sample.at.as_secs_f64(),
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
        "labels": facts.labels,
        "note": facts.note,
        "environment": facts.environment,
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
        ("slos", objectives::slos(&window.slos)),
        ("notes", notes(&window.notes)),
        ("drift", drift(&window.notes)),
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
        "sloAttainment": rates.slo_attainment,
        "cacheHitRatio": rates.cache_hit_ratio,
    })
}

/// Tokens asked for against those that the server counted, of the same requests.
fn drift(notes: &Notes) -> Value {
    let side = |drift: Drift| json!({"asked": drift.asked, "counted": drift.counted, "share": drift.share()});
    json!({"inputTokens": side(notes.input_drift()), "outputTokens": side(notes.output_drift())})
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

fn sessions(sessions: &Sessions) -> Value {
    json!({
        "begun": sessions.begun,
        "completed": sessions.completed,
        "cut": sessions.cut,
        "lost": sessions.lost,
        "turnsNotReached": sessions.turns_not_reached,
    })
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
        "good": notes.good,
        "cacheTold": notes.cache_told,
        "sessionsBegun": notes.sessions_begun,
        "sessionsCompleted": notes.sessions_completed,
        "sessionsCut": notes.sessions_cut,
        "laterTurns": notes.later_turns,
    })
}

fn stage(stage: &StageResult) -> Value {
    let mut object = Map::new();
    let own = [
        ("name", json!(stage.name)),
        ("index", json!(stage.index)),
        ("headline", json!(stage.headline)),
        ("books", books(&stage.books)),
        ("ownSlos", objectives::slos(&stage.own_slos)),
        (
            "stopped",
            json!(
                stage.stopped.as_ref().map(|stop| objectives::stopped_in(stop, Some(&stage.name)))
            ),
        ),
    ];
    object.extend(own.map(|(key, value)| (key.to_owned(), value)));
    object.extend(window(&stage.window));
    object.into()
}

/// A traffic class or a target: books of the whole run, figures of the headline.
fn group(group: &GroupResult) -> Value {
    let mut object = Map::new();
    let own = [
        ("name", json!(group.name)),
        ("share", json!(group.share)),
        ("books", books(&group.books)),
    ];
    object.extend(own.map(|(key, value)| (key.to_owned(), value)));
    object.extend(window(&group.window));
    object.into()
}

fn worker(worker: &WorkerResult) -> Value {
    let lost = worker.lost.map(|lost| {
        json!({
            "atSeconds": seconds(lost.at),
            "takenOverAtSeconds": lost.taken_over_at.map(seconds),
            "inFlightAtLastSnapshot": lost.in_flight_at_last_snapshot,
            "dueAfterLastSnapshot": lost.due_after_last_snapshot,
            "withoutOwner": lost.without_owner,
        })
    });
    json!({
        "ordinal": worker.ordinal,
        "host": worker.host,
        "incarnation": format!("{:016x}", worker.incarnation),
        "books": books(&worker.books),
        "share": worker.share,
        "generatorLagP50Us": worker.generator_lag_p50_us,
        "generatorLagP99Us": worker.generator_lag_p99_us,
        "generatorLagMaxUs": worker.generator_lag_max_us,
        "ttftP50Us": worker.ttft_p50_us,
        "snapshots": worker.snapshots,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    fn pretty(value: &Value) -> String {
        serde_json::to_string_pretty(value).unwrap()
    }

    /// Every key that others read. Keys may be added, never renamed or removed.
    #[test]
    fn the_promised_keys_are_there() {
        let summary = summary_value(&example::troubled());
        let promised: [(&str, &[&str]); 9] = [
            ("", &["schemaVersion", "run", "verdict", "books", "overall", "stages", "workers"]),
            (
                "/run",
                &[
                    "id",
                    "name",
                    "startedAt",
                    "model",
                    "endpoint",
                    "seed",
                    "workers",
                    "tokenSource",
                    "probeRequests",
                ],
            ),
            (
                "/books",
                &[
                    "due",
                    "completed",
                    "failed",
                    "cancelled",
                    "notSent",
                    "lost",
                    "failedBy",
                    "notSentBy",
                ],
            ),
            ("/overall/window", &["startSeconds", "endSeconds"]),
            (
                "/overall/rates",
                &[
                    "offered",
                    "achieved",
                    "throughput",
                    "tokensPerSecond",
                    "inputTokensPerSecond",
                    "totalTokensPerSecond",
                    "errorRate",
                    "goodput",
                ],
            ),
            (
                "/overall/metrics/ttft",
                &[
                    "unit", "count", "mean", "stddev", "min", "max", "p50", "p90", "p95", "p99",
                    "p99_9", "ci95",
                ],
            ),
            ("/stages/0", &["name", "index", "books", "window", "rates", "metrics"]),
            (
                "/workers/0",
                &[
                    "ordinal",
                    "host",
                    "books",
                    "generatorLagP99Us",
                    "startSkewUs",
                    "clockOffsetUs",
                    "clockErrorUs",
                    "lost",
                ],
            ),
            (
                "/workers/0/lost",
                &[
                    "atSeconds",
                    "takenOverAtSeconds",
                    "inFlightAtLastSnapshot",
                    "dueAfterLastSnapshot",
                ],
            ),
        ];
        for (place, wanted) in promised {
            let value = summary.pointer(place).unwrap();
            let found = keys(value);
            for key in wanted {
                assert!(found.contains(key), "{place}/{key}");
            }
        }
        assert_eq!(keys(&summary["overall"]["metrics"]).len(), Metric::ALL.len());
    }

    #[test]
    fn latencies_are_integers_of_microseconds() {
        let summary = summary_value(&example::one_stage());
        insta::assert_snapshot!(pretty(&summary["overall"]["metrics"]["ttft"]), @r#"
        {
          "unit": "us",
          "count": 2000,
          "mean": 54483,
          "stddev": 2602,
          "min": 50000,
          "max": 58990,
          "p50": 54495,
          "p90": 58111,
          "p95": 58559,
          "p99": 58911,
          "p99_9": 58990,
          "ci95": null,
          "nulls": {},
          "nullReason": null,
          "ci95NullReason": "few_blocks",
          "outOfRange": 0
        }
        "#);
    }

    #[test]
    fn rates_are_shown_per_second_and_counts_as_tokens() {
        let metrics = &summary_value(&example::one_stage())["overall"]["metrics"];
        // tpot is 10 ms.
        assert_eq!(metrics["token_rate_per_user"]["unit"], "per_s");
        assert_eq!(metrics["token_rate_per_user"]["max"], 100.0);
        assert_eq!(metrics["output_tokens"]["unit"], "tokens");
        assert_eq!(
            (&metrics["output_tokens"]["p50"], &metrics["output_tokens"]["mean"]),
            (&json!(8), &json!(8.0))
        );
    }

    #[test]
    fn what_is_absent_is_null_with_its_reason() {
        let metrics = &summary_value(&example::troubled())["overall"]["metrics"];
        assert_eq!(metrics["itl"]["nullReason"], "chunks_are_not_tokens");
        assert_eq!(metrics["itl"]["p50"], Value::Null);
        assert_eq!(metrics["ttft"]["nulls"], json!({"p99": "censored", "p99_9": "few_samples"}));
        assert_eq!(metrics["ttft"]["p99"], Value::Null);
        assert_eq!(metrics["ttft"]["ci95NullReason"], "few_blocks");
        let failed = &summary_value(&example::all_failed())["overall"]["metrics"];
        assert_eq!(failed["ttft"]["nullReason"], "not_streamed");
        assert_eq!(failed["e2e_latency"]["nullReason"], "no_samples");
    }

    #[test]
    fn the_rest_of_a_run_with_every_trouble() {
        let summary = summary_value(&example::troubled());
        insta::assert_snapshot!(pretty(&summary["run"]), @r#"
        {
          "id": "0123456789abcdef",
          "name": "demo",
          "startedAt": "2024-02-29T12:34:56.250Z",
          "endedAt": "2024-02-29T12:35:18.000Z",
          "model": "llama-70b",
          "endpoint": "http://127.0.0.1:8000/v1/chat/completions",
          "api": "chat",
          "streamed": true,
          "seed": 42,
          "promptSalt": "7d3f",
          "workers": 1,
          "lanes": 2,
          "tokenSource": "usage",
          "tokenizer": "bundled",
          "stamps": "kernel",
          "probeRequests": 1,
          "tokenstormVersion": "0.1.0",
          "interrupted": false,
          "degraded": false,
          "labels": {
            "gpu": "h100"
          },
          "note": "after the upgrade",
          "environment": {
            "kernel": "6.1.0"
          }
        }
        "#);
        insta::assert_snapshot!(pretty(&summary["books"]), @r#"
        {
          "due": 495,
          "completed": 460,
          "failed": 20,
          "cancelled": 4,
          "notSent": 6,
          "lost": 5,
          "failedBy": {
            "timeout": 8,
            "status_503": 12
          },
          "notSentBy": {
            "stage_ended": 6
          },
          "lostBy": {
            "inFlightAtLastSnapshot": 3,
            "dueAfterLastSnapshot": 2
          }
        }
        "#);
        insta::assert_snapshot!(pretty(&summary["overall"]["window"]), @r#"
        {
          "startSeconds": 2.0,
          "endSeconds": 10.0,
          "measuredSeconds": 8.0
        }
        "#);
        insta::assert_snapshot!(pretty(&summary["overall"]["rates"]), @r#"
        {
          "offered": 58.75,
          "achieved": 55.0,
          "throughput": 53.625,
          "tokensPerSecond": 431.875,
          "inputTokensPerSecond": 880.0,
          "totalTokensPerSecond": 1311.875,
          "errorRate": 0.043478260869565216,
          "goodput": null,
          "sloAttainment": null,
          "cacheHitRatio": null
        }
        "#);
        insta::assert_snapshot!(pretty(&summary["workers"]), @r#"
        [
          {
            "ordinal": 0,
            "host": "bench-1",
            "incarnation": "0000000000000007",
            "books": {
              "due": 495,
              "completed": 460,
              "failed": 20,
              "cancelled": 4,
              "notSent": 6,
              "lost": 5,
              "failedBy": {
                "timeout": 8,
                "status_503": 12
              },
              "notSentBy": {
                "stage_ended": 6
              },
              "lostBy": {
                "inFlightAtLastSnapshot": 3,
                "dueAfterLastSnapshot": 2
              }
            },
            "share": 1.0,
            "generatorLagP50Us": 10,
            "generatorLagP99Us": 25,
            "generatorLagMaxUs": 40,
            "ttftP50Us": 50000,
            "snapshots": 21,
            "startSkewUs": 140,
            "clockOffsetUs": -35,
            "clockErrorUs": 60,
            "cpuSeconds": 1.5,
            "lost": {
              "atSeconds": 9.5,
              "takenOverAtSeconds": null,
              "inFlightAtLastSnapshot": 3,
              "dueAfterLastSnapshot": 2,
              "withoutOwner": 0
            }
          }
        ]
        "#);
        assert_eq!(summary["overall"]["ttftOver3s"], 0.0);
        assert_eq!(summary["warnings"][0]["code"], "prompts_repeat");
        assert_eq!(summary["verdict"]["status"], "INVALID");
        assert_eq!(summary["verdict"]["reasons"][0]["code"], "lost");
    }
}
