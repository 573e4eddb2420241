//! Objectives, an early end and the steady part, read back; runs of before they were written have none.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{
    Figure, Metric, NotSteady, NullReason, Outcome, PointPercentiles, RateFigure, Slo, SloResult,
    Statistic, SteadyState, SteadyWindow, StopReason, StopRule, StoppedEarly,
};
use serde_json::Value;

use super::node::Node;
use super::summary_file::recorded;

/// Those of a window: `slos`, or the `ownSlos` of a stage.
pub(super) fn slos(window: &Node<'_>, key: &str) -> Vec<SloResult> {
    let list = window.get(key).raw().as_array().into_iter().flatten();
    list.filter_map(slo).collect()
}

fn slo(value: &Value) -> Option<SloResult> {
    let name = value["metric"].as_str()?;
    let figure = match value["statistic"].as_str() {
        Some(statistic) => Figure::Of(Metric::from_name(name)?, Statistic::from_name(statistic)?),
        None => Figure::Rate(RateFigure::from_name(name)?),
    };
    let outcome = match value["outcome"].as_str()? {
        "met" => Outcome::Met,
        "missed" => Outcome::Missed,
        _ => Outcome::Undecided(NullReason::from_name(value["reason"].as_str()?)?),
    };
    let slo = Slo { figure, limit: value["limit"].as_f64()? };
    Some(SloResult { slo, figure: value["figure"].as_f64(), outcome })
}

/// Why the load ended early. The stage is known by its name.
pub(super) fn stopped(root: &Node<'_>, stages: &[&str]) -> Option<StoppedEarly> {
    let value = root.get("stopped").raw();
    let stage = stages.iter().position(|name| Some(*name) == value["stage"].as_str())?;
    let second = |key: &str| u32::try_from(value["lookedAt"][key].as_u64()?).ok();
    let reason = StopReason {
        rule: StopRule::from_name(value["rule"].as_str()?)?,
        stage: u16::try_from(stage).ok()?,
        from_second: second("startSeconds")?,
        to_second: second("endSeconds")?,
        figure: value["figure"].as_f64()?,
        limit: value["limit"].as_f64()?,
    };
    Some(StoppedEarly { at: instant(&value["atSeconds"])?, reason })
}

/// The steady part of the headline.
pub(super) fn steady(overall: &Node<'_>) -> SteadyState {
    let value = overall.get("steadyState").raw();
    let window = || {
        Some(SteadyWindow {
            by: Metric::from_name(value["by"].as_str()?)?,
            start: instant(&value["window"]["startSeconds"])?,
            end: instant(&value["window"]["endSeconds"])?,
            throughput: value["rates"]["throughput"].as_f64()?,
            tokens_per_second: value["rates"]["tokensPerSecond"].as_f64()?,
            percentiles: percentiles(&value["metrics"]),
        })
    };
    let why = || value["reason"].as_str().and_then(NotSteady::from_name);
    window()
        .map_or_else(|| SteadyState::Not(why().unwrap_or(NotSteady::FewSeconds)), SteadyState::From)
}

fn percentiles(metrics: &Value) -> BTreeMap<Metric, PointPercentiles> {
    let point = |(name, figures): (&String, &Value)| {
        let metric = Metric::from_name(name)?;
        let figure = |key: &str| recorded(metric.kind(), &figures[key]);
        let count = figures["count"].as_u64()?;
        let point =
            PointPercentiles { count, p50: figure("p50"), p90: figure("p90"), p99: figure("p99") };
        Some((metric, point))
    };
    metrics.as_object().into_iter().flatten().filter_map(point).collect()
}

fn instant(seconds: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.as_f64()?).ok()
}
