//! `metrics.json` read back: the inverse of `metrics_json`.

use std::collections::BTreeMap;

use metrics::{
    Distribution, ExactFigures, GroupResult, Metric, PointPercentiles, RunResult, SecondCounts,
    SeriesPoint,
};
use serde_json::Value;

use super::node::Node;
use super::summary_file::recorded;

/// Adds points and distributions to `result`; a line for each stage without distributions.
pub(super) fn add(root: &Node<'_>, result: &mut RunResult) -> Vec<String> {
    result.seconds = root.list("seconds").iter().map(point).collect();
    let stages = root.list("stages");
    let mut missing = Vec::new();
    for stage in &mut result.stages {
        let index = u64::from(stage.index);
        match stages.iter().find(|candidate| candidate.count("index") == index) {
            Some(found) => stage.distributions = histograms(found),
            None => missing.push(format!(
                "metrics.json has no stage {index} ({}): its distributions are not shown",
                stage.name
            )),
        }
    }
    for (key, groups) in [
        ("classes", &mut result.classes),
        ("targets", &mut result.targets),
        ("turns", &mut result.turns),
    ] {
        missing.extend(add_groups(root, key, groups));
    }
    missing
}

/// Classes, targets or turns, which files of before there were any do not have.
fn add_groups(root: &Node<'_>, key: &str, groups: &mut [GroupResult]) -> Vec<String> {
    let found = if groups.is_empty() { Vec::new() } else { root.list(key) };
    let mut missing = Vec::new();
    for group in groups {
        match found.iter().find(|candidate| candidate.text("name") == group.name) {
            Some(node) => group.distributions = histograms(node),
            None => missing.push(format!(
                "metrics.json has no {} in {key}: its distributions are not shown",
                group.name
            )),
        }
    }
    missing
}

fn histograms(node: &Node<'_>) -> BTreeMap<Metric, Distribution> {
    let all = node.members("histograms").into_iter();
    let read = all.filter_map(|(name, node)| {
        let metric = Metric::from_name(name)?;
        Some((metric, histogram(metric, &node)))
    });
    read.collect()
}

fn point(node: &Node<'_>) -> SeriesPoint {
    let metrics = node.members("metrics").into_iter().filter_map(|(name, figures)| {
        let metric = Metric::from_name(name)?;
        let value = |key: &str| recorded(metric.kind(), figures.at(key).raw());
        let percentiles = PointPercentiles {
            count: figures.count("count"),
            p50: value("p50"),
            p90: value("p90"),
            p99: value("p99"),
        };
        Some((metric, percentiles))
    });
    SeriesPoint {
        second: node.small("second"),
        seconds: node.small("seconds"),
        counts: counts(&node.at("counts")),
        percentiles: metrics.collect(),
    }
}

fn counts(node: &Node<'_>) -> SecondCounts {
    SecondCounts {
        due: node.count("due"),
        sent: node.count("sent"),
        completed: node.count("completed"),
        failed: node.count("failed"),
        output_tokens: node.count("outputTokens"),
        input_tokens: node.count("inputTokens"),
        in_flight_max: node.count("inFlightMax"),
        connections_max: node.count("connectionsMax"),
        loop_lag_p99_us: node.count("loopLagP99Us"),
        lane_cpu_permille_max: node.count("laneCpuPermilleMax"),
        lane_wait_permille_max: node.count("laneWaitPermilleMax"),
        bodies_waiting_max: node.count("bodiesWaitingMax"),
        ..SecondCounts::default()
    }
}

fn histogram(metric: Metric, node: &Node<'_>) -> Distribution {
    let kind = metric.kind();
    let value = |key: &str| recorded(kind, node.at(key).raw());
    let figures = ExactFigures {
        sum: value("sum"),
        min: value("min"),
        max: value("max"),
        below: node.count("below"),
        above: node.count("above"),
    };
    let buckets = node.at("buckets").raw().as_array().into_iter().flatten();
    let bucket = |pair: &Value| recorded(kind, pair.get(0)?).zip(pair.get(1)?.as_u64());
    Distribution::from_buckets(kind, buckets.filter_map(bucket), figures)
}
