//! What a chart shows, apart from who draws it: the page's library, a PNG, a page of the PDF.
//!
//! A chart is columns over one axis, as a table would hold them. What cannot be shown (no samples, a percentile that too
//! few samples support) is an absent value, so that no drawing can invent it.

mod latency;
mod load;
mod server;
mod sides;
mod time;

pub(crate) use latency::{by_group, histogram, percentiles};
pub(crate) use load::against_load;
pub(crate) use server::server;
pub(crate) use sides::{Side, overlaid_histogram, overlaid_percentiles};
pub(crate) use time::over_time;

use serde_json::{Value, json};

/// How an axis places values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// At equal distances.
    Linear,
    /// By their logarithm. All values are above 0.
    Log,
    /// The same of what is counted: nothing between two whole numbers has a label.
    LogOfWhole,
    /// The logarithm of 1 / (1 − q): as much room for 90 to 99 % as for 99 to 99.9 %. Values are 1 / (1 − q).
    Percentile,
}

/// One axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Line,
    /// From 0 to the value, as wide as the distance to the next.
    Bars,
    /// A line with a mark on each value: there are few.
    Points,
}

/// Whether a series is seen at first; on the page any can be switched on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visible {
    AtFirst,
    OnDemand,
}

/// One column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) visible: Visible,
    /// As many as the chart's `x` has.
    pub(crate) values: Vec<Option<f64>>,
}

impl Series {
    pub(crate) fn line(name: impl Into<String>, values: Vec<Option<f64>>) -> Self {
        Self { name: name.into(), shape: Shape::Line, visible: Visible::AtFirst, values }
    }
}

/// A stretch of the horizontal axis with a name: a stage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Band {
    pub(crate) name: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// One chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// Its name in files and in the page.
    pub(crate) id: &'static str,
    pub(crate) title: String,
    /// How to read it, in a line.
    pub(crate) note: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// Ascending.
    pub(crate) at: Vec<f64>,
    pub(crate) series: Vec<Series>,
    pub(crate) bands: Vec<Band>,
}

impl Chart {
    /// Whether there is anything to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.at.len() < 2
            || self.series.iter().all(|series| series.values.iter().all(Option::is_none))
    }

    /// For the page's script.
    pub(crate) fn to_json(&self) -> Value {
        let series = self.series.iter().map(|series| {
            json!({
                "name": series.name,
                "bars": series.shape == Shape::Bars,
                "points": series.shape == Shape::Points,
                "show": series.visible == Visible::AtFirst,
                "values": series.values.iter().map(|value| value.map(rounded)).collect::<Vec<_>>(),
            })
        });
        let bands = self
            .bands
            .iter()
            .map(|band| json!({"name": band.name, "from": band.from, "to": band.to}));
        json!({
            "id": self.id,
            "x": self.x.to_json(),
            "y": self.y.to_json(),
            "at": self.at.iter().copied().map(rounded).collect::<Vec<_>>(),
            "series": series.collect::<Vec<_>>(),
            "bands": bands.collect::<Vec<_>>(),
        })
    }
}

impl Axis {
    fn to_json(&self) -> Value {
        let is_whole = self.scale == Scale::LogOfWhole;
        json!({"label": self.label, "scale": self.scale.name(), "whole": is_whole})
    }
}

impl Scale {
    fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Log | Self::LogOfWhole => "log",
            Self::Percentile => "percentile",
        }
    }
}

/// Six significant digits: more than any chart shows, and half the bytes.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 5 - value.abs().log10().floor() as i32;
    if digits < 0 {
        return value.round();
    }
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

/// Microseconds as milliseconds on a logarithmic axis, where what was under a microsecond stands at half of one.
pub(crate) fn log_ms(us: u64) -> f64 {
    if us == 0 { 0.000_5 } else { us as f64 / 1_000.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_digits_are_kept() {
        assert_eq!([0.0, 0.123_456_78, 1_234.567_89].map(rounded), [0.0, 0.123_457, 1_234.57]);
        assert_eq!(rounded(123_456_789.4), 123_456_789.0);
    }

    #[test]
    fn a_chart_without_a_value_is_empty() {
        let chart = |values| Chart {
            id: "t",
            title: String::new(),
            note: String::new(),
            x: Axis { label: "s", scale: Scale::Linear },
            y: Axis { label: "ms", scale: Scale::Log },
            at: vec![0.0, 1.0],
            series: vec![Series::line("a", values)],
            bands: Vec::new(),
        };
        assert!(chart(vec![None, None]).is_empty());
        assert!(!chart(vec![None, Some(1.0)]).is_empty());
    }
}
