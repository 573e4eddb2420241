//! Charts over a sweep: latencies and throughput against one key, a line for each combination of the others.

use serde_json::Value;

use super::figure::FIGURES;
use super::{SweepView, SweptRun, plain};
use crate::chart::{Axis, Chart, Scale, Series, Shape, Visible};

/// One chart: which columns are its lines.
struct Drawn {
    id: &'static str,
    title: &'static str,
    /// Of the vertical axis.
    unit: &'static str,
    /// Seen at first.
    first: &'static [&'static str],
    /// Seen on demand.
    rest: &'static [&'static str],
}

const DRAWN: [Drawn; 4] = [
    Drawn {
        id: "sweep_ttft",
        title: "Time to first token",
        unit: "ms",
        first: &["ttft_p50_us", "ttft_p99_us"],
        rest: &["ttft_p95_us"],
    },
    Drawn {
        id: "sweep_token_gap",
        title: "Time between tokens",
        unit: "ms",
        first: &["token_gap_p50_us", "token_gap_p99_us"],
        rest: &[],
    },
    Drawn {
        id: "sweep_e2e",
        title: "End-to-end latency",
        unit: "ms",
        first: &["e2e_p50_us", "e2e_p99_us"],
        rest: &[],
    },
    Drawn {
        id: "sweep_throughput",
        title: "Throughput",
        unit: "requests/s",
        first: &["throughput_per_s"],
        rest: &["goodput_per_s"],
    },
];

/// What the horizontal axis shows.
const LABELS: [(&str, &str); 6] = [
    ("load.rate", "offered requests/s"),
    ("load.concurrency", "requests in flight"),
    ("prompts.prefixRatio", "share of each prompt that is one common prefix"),
    ("prompts.inputLength.mean", "input tokens (mean)"),
    ("prompts.outputLength.mean", "output tokens (mean)"),
    ("load.burstiness", "burstiness"),
];

/// None where no key has several numbers, or nothing is done yet.
pub(crate) fn charts(sweep: &SweepView) -> Vec<Chart> {
    let Some(axis) = sweep.axis.as_deref() else { return Vec::new() };
    let mut at: Vec<f64> = sweep.runs.iter().filter_map(|run| place(run, axis)).collect();
    at.sort_by(f64::total_cmp);
    at.dedup();
    let mut groups: Vec<String> = Vec::new();
    for run in &sweep.runs {
        let group = others(run, axis);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let drawn = DRAWN.iter().map(|Drawn { id, title, unit, first, rest }| {
        let mut series = Vec::new();
        for (columns, visible) in [(first, Visible::AtFirst), (rest, Visible::OnDemand)] {
            for column in *columns {
                series.extend(
                    groups.iter().map(|group| line(sweep, axis, &at, group, column, visible)),
                );
            }
        }
        Chart {
            id,
            title: format!("{title} against {axis}"),
            note: "A point is the median of its repeats.".to_owned(),
            x: Axis { label: label(axis), scale: Scale::Linear },
            y: Axis { label: unit, scale: Scale::Linear },
            at: at.clone(),
            series: series
                .into_iter()
                .filter(|series| series.values.iter().any(Option::is_some))
                .collect(),
            bands: Vec::new(),
        }
    });
    drawn.filter(|chart| !chart.is_empty()).collect()
}

fn label(axis: &str) -> &'static str {
    LABELS.iter().find(|(key, _)| *key == axis).map_or("value of the swept key", |(_, label)| label)
}

fn line(
    sweep: &SweepView,
    axis: &str,
    at: &[f64],
    group: &str,
    column: &str,
    visible: Visible,
) -> Series {
    let scale = if column.ends_with("_us") { 1_000.0 } else { 1.0 };
    let figure = FIGURES.iter().find(|figure| figure.column == column);
    let value = |x: f64| {
        let runs = sweep
            .runs
            .iter()
            .filter(|run| place(run, axis) == Some(x) && others(run, axis) == group);
        let values = runs.filter_map(|run| (figure?.of)(run.result.as_ref()?));
        median(values.collect()).map(|value| value / scale)
    };
    let name = figure.map_or(column, |figure| figure.short);
    Series {
        name: if group.is_empty() { name.to_owned() } else { format!("{name}, {group}") },
        shape: Shape::Points,
        visible,
        values: at.iter().map(|x| value(*x)).collect(),
    }
}

fn place(run: &SweptRun, axis: &str) -> Option<f64> {
    run.overrides.iter().find(|(key, _)| key == axis).and_then(|(_, value)| value.as_f64())
}

/// The other keys of a point.
fn others(run: &SweptRun, axis: &str) -> String {
    let others = run.overrides.iter().filter(|(key, _)| key != axis);
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let pairs =
        others.map(|(key, value): &(String, Value)| format!("{}={}", last(key), plain(value)));
    pairs.collect::<Vec<_>>().join(" ")
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}
