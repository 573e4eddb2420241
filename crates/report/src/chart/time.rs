//! The run over time: load, what was in flight, failures, latencies, and the generator's own lateness.

use metrics::{Metric, PointPercentiles, RunResult, SeriesPoint};

use super::{Axis, Band, Chart, Scale, Series, Shape, Visible, log_ms};
use crate::document::Headline;

/// Every chart over time that has something to show.
pub(crate) fn over_time(result: &RunResult, headline: &Headline) -> Vec<Chart> {
    let mut charts = vec![throughput(result), tokens(result), in_flight(result), errors(result)];
    let latencies = [
        ("ttft_over_time", Metric::Ttft),
        ("itl_over_time", headline.token_gap),
        ("e2e_over_time", Metric::E2eLatency),
        ("generator_lag_over_time", Metric::GeneratorLag),
    ];
    charts.extend(latencies.map(|(id, metric)| latency(id, metric, result)));
    charts.retain(|chart| !chart.is_empty());
    charts
}

fn chart(id: &'static str, title: &str, note: &str, y: Axis, result: &RunResult) -> Chart {
    Chart {
        id,
        title: title.to_owned(),
        note: note.to_owned(),
        x: Axis { label: "run time, s", scale: Scale::Linear },
        y,
        at: result.seconds.iter().map(middle).collect(),
        series: Vec::new(),
        bands: bands(result),
    }
}

/// A point stands in the middle of what it covers.
fn middle(point: &SeriesPoint) -> f64 {
    f64::from(point.second) + f64::from(point.seconds) / 2.0
}

/// The stages that took time.
pub(super) fn bands(result: &RunResult) -> Vec<Band> {
    let stages = result.stages.iter().filter(|stage| stage.window.end > stage.window.start);
    let band = |stage: &metrics::StageResult| Band {
        name: stage.name.clone(),
        from: stage.window.start.as_secs_f64(),
        to: stage.window.end.as_secs_f64(),
    };
    stages.map(band).collect()
}

/// Per second, so that points of different lengths can be compared.
fn rate(result: &RunResult, count: impl Fn(&SeriesPoint) -> u64) -> Vec<Option<f64>> {
    let rate = |point: &SeriesPoint| Some(count(point) as f64 / f64::from(point.seconds.max(1)));
    result.seconds.iter().map(rate).collect()
}

fn throughput(result: &RunResult) -> Chart {
    let y = Axis { label: "requests/s", scale: Scale::Linear };
    let note = "Due by the plan, sent, and completed. Where sent falls under due, the load was not \
                offered as planned.";
    let mut chart = chart("throughput_over_time", "Requests", note, y, result);
    chart.series = vec![
        Series::line("due", rate(result, |point| point.counts.due)),
        Series::line("sent", rate(result, |point| point.counts.sent)),
        Series::line("completed", rate(result, |point| point.counts.completed)),
    ];
    chart
}

fn tokens(result: &RunResult) -> Chart {
    let y = Axis { label: "tokens/s", scale: Scale::Linear };
    let note =
        "Output tokens by the instant they arrived; input tokens when their request was sent.";
    let mut chart = chart("tokens_over_time", "Tokens", note, y, result);
    let mut input = Series::line("input", rate(result, |point| point.counts.input_tokens));
    input.visible = Visible::OnDemand;
    chart.series =
        vec![Series::line("output", rate(result, |point| point.counts.output_tokens)), input];
    chart
}

fn in_flight(result: &RunResult) -> Chart {
    let y = Axis { label: "requests", scale: Scale::Linear };
    let note = "Most requests in flight at once, and most connections open, in each second.";
    let mut chart = chart("in_flight_over_time", "In flight", note, y, result);
    let most = |count: fn(&SeriesPoint) -> u64| {
        result.seconds.iter().map(|point| Some(count(point) as f64)).collect()
    };
    let mut connections = Series::line("connections", most(|point| point.counts.connections_max));
    connections.visible = Visible::OnDemand;
    chart.series =
        vec![Series::line("in flight", most(|point| point.counts.in_flight_max)), connections];
    chart
}

/// Nothing, where nothing failed.
fn errors(result: &RunResult) -> Chart {
    let y = Axis { label: "failed/s", scale: Scale::Linear };
    let note = "Requests that failed, by the instant of the failure.";
    let mut chart = chart("errors_over_time", "Errors", note, y, result);
    if result.seconds.iter().any(|point| point.counts.failed > 0) {
        let mut failed = Series::line("failed", rate(result, |point| point.counts.failed));
        failed.shape = Shape::Bars;
        chart.series = vec![failed];
    }
    chart
}

fn latency(id: &'static str, metric: Metric, result: &RunResult) -> Chart {
    let y = Axis { label: "ms", scale: Scale::Log };
    let title = format!("{} over time", metric.name());
    let note = format!("{}. Of the samples recorded in each second.", metric.definition());
    let mut chart = chart(id, &title, &note, y, result);
    let line = |name: &str, of: fn(&PointPercentiles) -> Option<u64>| {
        let value = |point: &SeriesPoint| of(point.percentiles.get(&metric)?).map(log_ms);
        Series::line(name, result.seconds.iter().map(value).collect())
    };
    chart.series = vec![
        line("p50", |figures| figures.p50),
        line("p90", |figures| figures.p90),
        line("p99", |figures| figures.p99),
    ];
    chart.series.retain(|series| series.values.iter().any(Option::is_some));
    chart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn what_has_no_failures_has_no_chart_of_them() {
        let ids = |result: &RunResult| {
            let headline = Headline::of(result);
            over_time(result, &headline).iter().map(|chart| chart.id).collect::<Vec<_>>()
        };
        let mut long = example::troubled();
        let mut point = long.seconds[0].clone();
        point.counts.failed = 0;
        long.seconds =
            (0..10).map(|n| SeriesPoint { second: n, seconds: 1, ..point.clone() }).collect();
        assert!(!ids(&long).contains(&"errors_over_time"));
        long.seconds[3].counts.failed = 7;
        let headline = Headline::of(&long);
        let charts = over_time(&long, &headline);
        let errors = charts.iter().find(|chart| chart.id == "errors_over_time").unwrap();
        assert_eq!(errors.series[0].values[3], Some(7.0));
        assert_eq!(errors.bands.len(), 3);
    }

    #[test]
    fn a_percentile_of_a_second_needs_samples_too() {
        let mut result = example::one_stage();
        let mut point = result.seconds[0].clone();
        let figures = PointPercentiles { count: 99, p50: Some(1_000), p90: Some(2_000), p99: None };
        let _old = point.percentiles.insert(Metric::Ttft, figures);
        result.seconds = vec![point.clone(), point];
        let chart = latency("t", Metric::Ttft, &result);
        let names: Vec<_> = chart.series.iter().map(|series| series.name.as_str()).collect();
        assert_eq!(names, ["p50", "p90"]);
    }
}
