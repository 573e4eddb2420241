//! The pictures of a comparison: distributions on top of each other, and what changes from run to run.

use std::collections::BTreeSet;

use metrics::{Distribution, Figure, Kind, Metric, RunResult};

use super::{ComparedSide, ComparisonView};
use crate::chart::{
    Axis, Band, Chart, Scale, Series, Shape, Side, Visible, log_ms, overlaid_histogram,
    overlaid_percentiles,
};
use crate::document::Headline;

/// Runs whose course is drawn at most: more lines would be a thicket.
const MAX_COURSES: usize = 8;

/// The metrics that are drawn, with the names of their charts.
fn drawn(view: &ComparisonView) -> [(Metric, &'static str, &'static str); 3] {
    let gaps =
        view.sides().flat_map(|side| &side.runs).map(|run| Headline::of(&run.result).token_gap);
    let gap =
        if gaps.into_iter().any(|gap| gap == Metric::Icl) { Metric::Icl } else { Metric::Itl };
    [
        (Metric::Ttft, "ttft_percentiles", "ttft_distribution"),
        (gap, "itl_percentiles", "itl_distribution"),
        (Metric::E2eLatency, "e2e_percentiles", "e2e_distribution"),
    ]
}

/// Of each metric the percentile curves and the histograms of all sides.
pub(super) fn distributions(view: &ComparisonView) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (metric, curves, bars) in drawn(view) {
        let sides: Vec<Side<'_>> = view.sides().filter_map(|side| of_side(side, metric)).collect();
        charts.extend(overlaid_percentiles(curves, metric, &sides));
        charts.extend(overlaid_histogram(bars, metric, &sides));
    }
    charts
}

/// The runs of a side together.
fn of_side(side: &ComparedSide, metric: Metric) -> Option<Side<'_>> {
    let mut samples = Distribution::new(metric.kind());
    for run in &side.runs {
        let summary = run.result.overall.metrics.get(&metric)?;
        if summary.null_reason.is_some() {
            return None;
        }
        for stage in run.result.stages.iter().filter(|stage| stage.headline) {
            if let Some(recorded) = stage.distributions.get(&metric) {
                samples.merge(recorded).ok()?;
            }
        }
    }
    let windows = side.runs.iter().map(|run| &run.result.overall).collect();
    (!samples.is_empty()).then(|| Side { name: side.title(), samples, windows })
}

/// One point a side, where there are more than two.
pub(super) fn series(view: &ComparisonView) -> Vec<Chart> {
    if view.candidates.len() < 2 {
        return Vec::new();
    }
    let figures: Vec<Figure> =
        view.compared.first().into_iter().flatten().map(|one| one.figure).collect();
    let is_latency =
        |figure: &Figure| matches!(figure, Figure::Of(metric, _) if metric.kind() == Kind::Latency);
    let (latencies, others): (Vec<Figure>, Vec<Figure>) = figures.into_iter().partition(is_latency);
    let mut charts =
        vec![one_series(view, "series_latency", "Latencies, side by side", "ms", &latencies)];
    const IDS: [&str; 4] = ["series_1", "series_2", "series_3", "series_4"];
    for (figure, id) in others.iter().zip(IDS) {
        let label = if figure.unit() == "per_s" { "per second" } else { figure.unit() };
        charts.push(one_series(view, id, &format!("{figure}, side by side"), label, &[*figure]));
    }
    charts
}

fn one_series(
    view: &ComparisonView,
    id: &'static str,
    title: &str,
    label: &'static str,
    figures: &[Figure],
) -> Chart {
    let is_latency = label == "ms";
    let value = |place: usize, figure: Figure| -> Option<f64> {
        let of = |candidate: usize| {
            view.compared.get(candidate)?.iter().find(|one| one.figure == figure)
        };
        let value = match place {
            0 => of(0)?.baseline.as_ref().ok().copied(),
            candidate => of(candidate - 1)?.candidate.as_ref().ok().copied(),
        }?;
        Some(if is_latency { log_ms(value.round() as u64) } else { value })
    };
    let places = view.sides().count();
    let line = |figure: &Figure| Series {
        name: figure.to_string(),
        shape: Shape::Points,
        visible: Visible::AtFirst,
        values: (0..places).map(|place| value(place, *figure)).collect(),
    };
    let band = |(place, side): (usize, &ComparedSide)| Band {
        name: side.title(),
        from: place as f64 + 0.5,
        to: place as f64 + 1.5,
    };
    Chart {
        id,
        title: title.to_owned(),
        note: "The baseline first, then the candidates in the order in which they were named."
            .to_owned(),
        x: Axis { label: "side", scale: Scale::Linear },
        y: Axis { label, scale: if is_latency { Scale::Log } else { Scale::Linear } },
        at: (1..=places).map(|place| place as f64).collect(),
        series: figures.iter().map(line).collect(),
        bands: view.sides().enumerate().map(band).collect(),
    }
}

/// TTFT (of answers that were not streamed: the whole answer) by the second since the measured part began.
pub(super) fn over_time(view: &ComparisonView) -> Vec<Chart> {
    let runs: Vec<&RunResult> =
        view.sides().flat_map(|side| &side.runs).map(|run| &run.result).collect();
    if runs.len() > MAX_COURSES {
        return Vec::new();
    }
    let streamed = runs.iter().all(|run| run.facts.streamed);
    let metric = if streamed { Metric::Ttft } else { Metric::E2eLatency };
    let begun = |run: &RunResult| run.overall.start.as_secs();
    let at: BTreeSet<i64> = runs
        .iter()
        .flat_map(|run| run.seconds.iter().map(|point| since(point.second, begun(run))))
        .collect();
    let line = |run: &&RunResult| {
        let value = |wanted: &i64| {
            let point =
                run.seconds.iter().find(|point| since(point.second, begun(run)) == *wanted)?;
            point.percentiles.get(&metric).and_then(|figures| figures.p50).map(log_ms)
        };
        Series::line(run.facts.id.clone(), at.iter().map(value).collect())
    };
    vec![Chart {
        id: "compared_over_time",
        title: format!("{}: median of each second", metric.name()),
        note: "Since the measured part began, so that runs with other warm-ups can be laid on top of each other."
            .to_owned(),
        x: Axis { label: "time since the measured part began, s", scale: Scale::Linear },
        y: Axis { label: "ms", scale: Scale::Log },
        series: runs.iter().map(line).collect(),
        at: at.iter().map(|second| *second as f64).collect(),
        bands: Vec::new(),
    }]
}

fn since(second: u32, start: u64) -> i64 {
    i64::from(second) - i64::try_from(start).unwrap_or_default()
}
