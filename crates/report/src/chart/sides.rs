//! Distributions of several sides on top of each other.

use metrics::{Distribution, Metric, WindowResult};

use super::latency::{Bins, curve, grid};
use super::{Axis, Chart, Scale, Series, Shape, Visible};

/// One side of a comparison: all its samples of a metric.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    pub(crate) name: String,
    pub(crate) samples: Distribution,
    /// Where they are from, with what was cut off in them.
    pub(crate) windows: Vec<&'a WindowResult>,
}

/// `None` with under two sides: there is nothing to lay on top of each other.
pub(crate) fn overlaid_percentiles(
    id: &'static str,
    metric: Metric,
    sides: &[Side<'_>],
) -> Option<Chart> {
    if sides.len() < 2 {
        return None;
    }
    let mut series: Vec<Series> = sides
        .iter()
        .map(|side| Series::line(side.name.clone(), curve(metric, &side.samples, &side.windows)))
        .collect();
    let ends = series.iter().filter_map(|one| one.values.iter().rposition(Option::is_some));
    let length = ends.max().map_or(0, |last| last + 1);
    series.iter_mut().for_each(|one| one.values.truncate(length));
    Some(Chart {
        id,
        title: format!("{} by percentile", metric.name()),
        note: format!(
            "{}. A curve ends where under one sample lies beyond it.",
            metric.definition()
        ),
        x: Axis { label: "percentile", scale: Scale::Percentile },
        y: Axis { label: "ms", scale: Scale::Log },
        at: grid().take(length).collect(),
        series,
        bands: Vec::new(),
    })
}

/// The first side as bars, the others as lines over them.
pub(crate) fn overlaid_histogram(
    id: &'static str,
    metric: Metric,
    sides: &[Side<'_>],
) -> Option<Chart> {
    if sides.len() < 2 {
        return None;
    }
    let mut all = Distribution::new(metric.kind());
    for side in sides {
        all.merge(&side.samples).ok()?;
    }
    let bins = Bins::of(&all)?;
    let series = sides.iter().enumerate().map(|(place, side)| Series {
        name: side.name.clone(),
        shape: if place == 0 { Shape::Bars } else { Shape::Line },
        visible: Visible::AtFirst,
        values: bins.shares(&side.samples),
    });
    Some(Chart {
        id,
        title: format!("{}: how often", metric.name()),
        note: "Share of each side's samples by latency: the baseline as bars, the others as lines."
            .to_owned(),
        x: Axis { label: "ms", scale: Scale::Log },
        y: Axis { label: "% of samples", scale: Scale::Linear },
        at: bins.middles(),
        series: series.collect(),
        bands: Vec::new(),
    })
}
