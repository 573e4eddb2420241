//! Latency against load: one point for each measured stage, the picture that says how much a service carries.

use metrics::{Metric, Percentile, RunResult, StageResult};

use super::{Axis, Chart, Scale, Series, Shape, Visible, log_ms};
use crate::document::Headline;

/// `None` with under two stages.
pub(crate) fn against_load(result: &RunResult, headline: &Headline) -> Option<Chart> {
    let load = |stage: &StageResult| stage.window.rates.achieved;
    let mut stages: Vec<(f64, &StageResult)> = result
        .stages
        .iter()
        .filter(|stage| stage.headline)
        .filter_map(|stage| Some((load(stage)?, stage)))
        .collect();
    stages.sort_by(|a, b| a.0.total_cmp(&b.0));
    if stages.len() < 2 {
        return None;
    }
    let shown = [
        (Metric::Ttft, Percentile::P50),
        (Metric::Ttft, Percentile::P99),
        (headline.token_gap, Percentile::P50),
        (headline.token_gap, Percentile::P99),
        (Metric::E2eLatency, Percentile::P50),
        (Metric::E2eLatency, Percentile::P99),
    ];
    let series = shown.map(|(metric, percentile)| {
        let value = |stage: &StageResult| {
            let summary = stage.window.metrics.get(&metric)?;
            summary.percentile(percentile).map(log_ms)
        };
        Series {
            name: format!("{} {}", metric.name(), percentile.name()),
            shape: Shape::Points,
            visible: if metric == headline.token_gap {
                Visible::OnDemand
            } else {
                Visible::AtFirst
            },
            values: stages.iter().map(|(_, stage)| value(stage)).collect(),
        }
    });
    let chart = Chart {
        id: "latency_against_load",
        title: "Latency against load".to_owned(),
        note: "One point a stage, at the requests per second that it sent.".to_owned(),
        x: Axis { label: "sent requests/s", scale: Scale::Linear },
        y: Axis { label: "ms", scale: Scale::Log },
        at: stages.iter().map(|(load, _)| *load).collect(),
        series: series.into(),
        bands: Vec::new(),
    };
    (!chart.is_empty()).then_some(chart)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn one_point_a_measured_stage_in_order_of_load() {
        let result = example::troubled();
        let chart = against_load(&result, &Headline::of(&result)).unwrap();
        assert_eq!(chart.at.len(), 2, "warm-up is no load of its own");
        assert!(chart.at.is_sorted());
        let single = example::one_stage();
        assert_eq!(against_load(&single, &Headline::of(&single)), None);
    }
}
