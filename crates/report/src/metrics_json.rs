//! `metrics.json`: the run over time, and each stage's whole histograms.
//!
//! Percentiles of a point are those of all workers' merged samples. A histogram is the list of its occupied buckets,
//! `[value, count]` with the largest value of the bucket, so that any percentile and any chart can be made from it. The
//! exact sums stand beside it.

use std::collections::BTreeMap;

use metrics::{
    Distribution, GroupResult, Metric, PointPercentiles, RunResult, SecondCounts, SeriesPoint,
    StageResult,
};
use serde_json::{Map, Value, json};

use crate::directory::ReportError;
use crate::summary_json::{SCHEMA_VERSION, definitions, iso_8601, shown};

/// `metrics.json` as text.
pub fn metrics_json(result: &RunResult) -> Result<String, ReportError> {
    serde_json::to_string(&metrics_value(result))
        .map_err(|error| ReportError::Write { path: "metrics.json".into(), source: error.into() })
}

pub(crate) fn metrics_value(result: &RunResult) -> Value {
    let facts = &result.facts;
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "run": {
            "id": facts.id,
            "name": facts.name,
            "startedAt": iso_8601(facts.started_at_unix_ns),
        },
        "definitions": definitions(),
        "seconds": result.seconds.iter().map(point).collect::<Vec<_>>(),
        "stages": result.stages.iter().map(stage).collect::<Vec<_>>(),
        "classes": result.classes.iter().map(group).collect::<Vec<_>>(),
        "targets": result.targets.iter().map(group).collect::<Vec<_>>(),
        "turns": result.turns.iter().map(group).collect::<Vec<_>>(),
    })
}

fn point(point: &SeriesPoint) -> Value {
    let metrics: Map<String, Value> = point
        .percentiles
        .iter()
        .map(|(metric, figures)| (metric.name().to_owned(), percentiles(*metric, figures)))
        .collect();
    json!({
        "second": point.second,
        "seconds": point.seconds,
        "counts": counts(&point.counts),
        "metrics": metrics,
    })
}

fn percentiles(metric: Metric, figures: &PointPercentiles) -> Value {
    let kind = metric.kind();
    json!({
        "count": figures.count,
        "p50": figures.p50.map(|value| shown(kind, value)),
        "p90": figures.p90.map(|value| shown(kind, value)),
        "p99": figures.p99.map(|value| shown(kind, value)),
    })
}

fn counts(counts: &SecondCounts) -> Value {
    json!({
        "due": counts.due,
        "sent": counts.sent,
        "completed": counts.completed,
        "failed": counts.failed,
        "outputTokens": counts.output_tokens,
        "inputTokens": counts.input_tokens,
        "inFlightMax": counts.in_flight_max,
        "connectionsMax": counts.connections_max,
        "loopLagP99Us": counts.loop_lag_p99_us,
        "laneCpuPermilleMax": counts.lane_cpu_permille_max,
        "laneWaitPermilleMax": counts.lane_wait_permille_max,
        "bodiesWaitingMax": counts.bodies_waiting_max,
    })
}

fn stage(stage: &StageResult) -> Value {
    json!({
        "name": stage.name,
        "index": stage.index,
        "headline": stage.headline,
        "histograms": histograms(&stage.distributions),
    })
}

/// A traffic class or a target, in the headline.
fn group(group: &GroupResult) -> Value {
    json!({"name": group.name, "histograms": histograms(&group.distributions)})
}

fn histograms(distributions: &BTreeMap<Metric, Distribution>) -> Value {
    let occupied = distributions.iter().filter(|(_, distribution)| !distribution.is_empty());
    let all =
        occupied.map(|(metric, distribution)| (metric.name().to_owned(), histogram(distribution)));
    all.collect::<Map<_, _>>().into()
}

fn histogram(distribution: &Distribution) -> Value {
    let kind = distribution.kind();
    let buckets = distribution.buckets().map(|(value, count)| json!([shown(kind, value), count]));
    json!({
        "unit": kind.unit(),
        "count": distribution.count(),
        "sum": distribution.sum().map(|sum| shown(kind, sum)),
        "min": distribution.min().map(|min| shown(kind, min)),
        "max": distribution.max().map(|max| shown(kind, max)),
        "below": distribution.below(),
        "above": distribution.above(),
        "buckets": buckets.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn a_point_has_counters_and_three_percentiles() {
        let value = metrics_value(&example::one_stage());
        let counts = serde_json::to_string_pretty(&value["seconds"][0]["counts"]).unwrap();
        insta::assert_snapshot!(counts, @r#"
        {
          "due": 2000,
          "sent": 2000,
          "completed": 2000,
          "failed": 0,
          "outputTokens": 16000,
          "inputTokens": 32000,
          "inFlightMax": 0,
          "connectionsMax": 0,
          "loopLagP99Us": 0,
          "laneCpuPermilleMax": 0,
          "laneWaitPermilleMax": 0,
          "bodiesWaitingMax": 0
        }
        "#);
        insta::assert_snapshot!(value["seconds"][0]["metrics"]["icl"], @r#"{"count":14000,"p50":10007,"p90":10007,"p99":10007}"#);
        let completed: u64 = value["seconds"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["counts"]["completed"].as_u64().unwrap())
            .sum();
        assert_eq!(completed, 2_000);
    }

    #[test]
    fn a_histogram_holds_every_sample_in_ascending_buckets() {
        let value = metrics_value(&example::one_stage());
        let histograms = value["stages"][0]["histograms"].as_object().unwrap();
        assert!(histograms.len() > 15);
        for (name, histogram) in histograms {
            let buckets: Vec<(f64, u64)> =
                serde_json::from_value(histogram["buckets"].clone()).unwrap();
            assert!(buckets.is_sorted_by(|left, right| left.0 < right.0), "{name}");
            let samples: u64 = buckets.iter().map(|(_, count)| count).sum();
            assert_eq!(histogram["count"], samples, "{name}");
            assert!(value["definitions"][name].is_string(), "{name}");
        }
        assert_eq!(histograms["output_tokens"]["buckets"], json!([[8, 2_000]]));
        assert_eq!(histograms["output_tokens"]["sum"], 16_000);
    }

    #[test]
    fn a_stage_without_samples_has_no_histograms() {
        let value = metrics_value(&example::all_failed());
        assert_eq!(value["stages"][0]["histograms"], json!({}));
    }
}
