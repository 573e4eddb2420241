//! A stage of the report over time: one point for each point of ours inside the stage's window.

use std::time::Duration;

use metrics::{Metric, SecondCounts, SeriesPoint, StageResult};
use serde_json::{Map, Value, json};

use super::{LATENCIES, instant};
use crate::compat::window::base_unit;
use crate::stored::StoredRun;

/// Latencies and rates; null where the run over time is not known.
pub(super) fn time_series(run: &StoredRun, stage: &StageResult) -> Value {
    let points: Vec<(String, &SeriesPoint)> = run
        .result
        .seconds
        .iter()
        .filter(|point| inside(point, stage))
        .filter_map(|point| Some((stamp(run, point)?, point)))
        .collect();
    if points.is_empty() {
        return Value::Null;
    }
    let latency: Map<String, Value> = LATENCIES
        .iter()
        .map(|(name, metric, unit)| ((*name).to_owned(), percentiles(&points, *metric, unit)))
        .collect();
    let rate = |units: &str, count: fn(&SecondCounts) -> u64| {
        let point = |(ts, point): &(String, &SeriesPoint)| json!({"ts": ts, "value": count(&point.counts) as f64 / f64::from(point.seconds.max(1))});
        json!({"units": units, "series": points.iter().map(point).collect::<Vec<_>>()})
    };
    json!({
        "latency": latency,
        "throughput": {
            "input_token_rate": rate("tokens/s", |counts| counts.input_tokens),
            "output_token_rate": rate("tokens/s", |counts| counts.output_tokens),
            "total_token_rate": rate("tokens/s", |counts| counts.input_tokens + counts.output_tokens),
            "request_rate": rate("queries/s", |counts| counts.completed),
        },
    })
}

/// Wholly: a point across a boundary belongs to neither side.
fn inside(point: &SeriesPoint, stage: &StageResult) -> bool {
    let from = Duration::from_secs(point.second.into());
    let to = from + Duration::from_secs(point.seconds.into());
    stage.window.start <= from && to <= stage.window.end
}

fn stamp(run: &StoredRun, point: &SeriesPoint) -> Option<String> {
    let offset_ns = i64::from(point.second) * 1_000_000_000;
    instant(run.result.facts.started_at_unix_ns.saturating_add(offset_ns))
}

fn percentiles(points: &[(String, &SeriesPoint)], metric: Metric, units: &str) -> Value {
    let point = |(ts, point): &(String, &SeriesPoint)| {
        let figures = point.percentiles.get(&metric)?;
        let value = |figure: Option<u64>| figure.map(|value| value as f64 / base_unit(metric));
        let mut members = Map::new();
        let _none = members.insert("ts".to_owned(), json!(ts));
        let all =
            [("p50", value(figures.p50)), ("p90", value(figures.p90)), ("p99", value(figures.p99))];
        let there =
            all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
        members.extend(there);
        (members.len() > 1).then_some(Value::Object(members))
    };
    let series: Vec<Value> = points.iter().filter_map(point).collect();
    if series.is_empty() { Value::Null } else { json!({"units": units, "series": series}) }
}
