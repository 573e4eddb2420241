//! What was demanded and what it came to, and the steady part of the headline, for programs.

use metrics::{Outcome, PointPercentiles, SloResult, StageResult, SteadyState, StoppedEarly};
use serde_json::{Map, Value, json};

use super::{seconds, shown};

/// Objectives in the order in which they were written.
pub(super) fn slos(results: &[SloResult]) -> Value {
    results.iter().map(slo).collect::<Vec<_>>().into()
}

fn slo(result: &SloResult) -> Value {
    let figure = result.slo.figure;
    let reason = match result.outcome {
        Outcome::Undecided(reason) => Some(reason.name()),
        Outcome::Met | Outcome::Missed => None,
    };
    json!({
        "metric": figure.name(),
        "statistic": figure.statistic().map(|statistic| statistic.to_string()),
        "unit": figure.unit(),
        "bound": figure.bound().name(),
        "limit": rounded(figure.unit(), result.slo.limit),
        "figure": result.figure.map(|value| rounded(figure.unit(), value)),
        "outcome": result.outcome.name(),
        "reason": reason,
    })
}

/// Latencies are whole microseconds here as everywhere.
fn rounded(unit: &str, value: f64) -> Value {
    if unit == "us" { json!(value.round() as u64) } else { json!(value) }
}

/// Which rule ended the load, when, and by what.
pub(super) fn stopped(stop: &StoppedEarly, stages: &[StageResult]) -> Value {
    let stage = stages.get(usize::from(stop.reason.stage)).map(|stage| stage.name.as_str());
    stopped_in(stop, stage)
}

/// The same of a stage that a rule of its own ended.
pub(super) fn stopped_in(stop: &StoppedEarly, stage: Option<&str>) -> Value {
    let StoppedEarly { at, reason } = stop;
    json!({
        "rule": reason.rule.name(),
        "atSeconds": seconds(*at),
        "stage": stage,
        "lookedAt": {"startSeconds": reason.from_second, "endSeconds": reason.to_second},
        "figure": reason.figure,
        "limit": reason.limit,
        "message": reason.to_string(),
    })
}

/// `overall.steadyState`: the window with its figures, or why there is none.
pub(super) fn steady(state: &SteadyState) -> Value {
    let window = match state {
        SteadyState::From(window) => window,
        SteadyState::Not(why) => {
            return json!({"method": METHOD, "window": null, "reason": why.name()});
        }
    };
    let metrics: Map<String, Value> = window
        .percentiles
        .iter()
        .map(|(metric, point)| (metric.name().to_owned(), percentiles(metric.kind(), point)))
        .collect();
    json!({
        "method": METHOD,
        "by": window.by.name(),
        "window": {"startSeconds": seconds(window.start), "endSeconds": seconds(window.end)},
        "reason": null,
        "rates": {"throughput": window.throughput, "tokensPerSecond": window.tokens_per_second},
        "metrics": metrics,
    })
}

const METHOD: &str = "MSER-5";

fn percentiles(kind: metrics::Kind, point: &PointPercentiles) -> Value {
    json!({
        "unit": kind.unit(),
        "count": point.count,
        "p50": point.p50.map(|value| shown(kind, value)),
        "p90": point.p90.map(|value| shown(kind, value)),
        "p99": point.p99.map(|value| shown(kind, value)),
    })
}
