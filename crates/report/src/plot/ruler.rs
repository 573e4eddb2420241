//! One axis for the three scales: where a value lies, and which values are worth a label.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;

use crate::chart::{Axis, Chart, Scale, Series};
use crate::figures::thousands;

/// 1 / (1 − q) of the percentiles that have a label, with it.
const PERCENTILES: [(f64, &str); 9] = [
    (1.0, "0 %"),
    (2.0, "50 %"),
    (4.0, "75 %"),
    (10.0, "90 %"),
    (20.0, "95 %"),
    (100.0, "99 %"),
    (1e3, "99.9 %"),
    (1e4, "99.99 %"),
    (1e5, "99.999 %"),
];

#[derive(Debug, Clone)]
pub(super) struct Ruler {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Ruler {
    /// From the first to the last place that has a value.
    pub(super) fn across(chart: &Chart) -> Self {
        let has_value =
            |place: &usize| chart.series.iter().any(|series| series.values[*place].is_some());
        let mut places = (0..chart.at.len()).filter(has_value);
        let first = places.next().map_or(0.0, |place| chart.at[place]);
        let last = places.next_back().map_or(first + 1.0, |place| chart.at[place]);
        match chart.x.scale {
            Scale::Linear => Self::new(&chart.x, first, last, 1.0),
            Scale::Log | Scale::LogOfWhole => Self::new(&chart.x, first, last, 1.02),
            Scale::Percentile => Self::new(&chart.x, first.max(1.0), last, 1.0),
        }
    }

    /// From 0, or the least value, to a little above the greatest.
    pub(super) fn up(chart: &Chart, visible: &[&Series]) -> Self {
        let values = || visible.iter().flat_map(|series| series.values.iter().flatten().copied());
        let high = values().reduce(f64::max).unwrap_or(1.0);
        // The legend needs room above the lines.
        let room = if visible.len() > 1 { 1.3 } else { 1.08 };
        match chart.y.scale {
            Scale::Linear => {
                Self::new(&chart.y, 0.0, if high > 0.0 { high * room } else { 1.0 }, 1.0)
            }
            Scale::Log | Scale::LogOfWhole | Scale::Percentile => {
                Self::new(&chart.y, values().reduce(f64::min).unwrap_or(0.1), high, 1.3)
            }
        }
    }

    fn new(axis: &Axis, low: f64, high: f64, room: f64) -> Self {
        let high = if high > low { high } else { low + low.abs().max(1.0) };
        Self { scale: axis.scale, low: low / room, high: high * room }
    }

    pub(super) fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    pub(super) fn within(&self, value: f64) -> f64 {
        value.clamp(self.low, self.high)
    }

    /// How much of the axis lies between two values, 0 to 1.
    pub(super) fn share(&self, from: f64, to: f64) -> f64 {
        self.place(to) - self.place(from)
    }

    /// 0 at the low end, 1 at the high one.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log | Scale::LogOfWhole | Scale::Percentile => {
                (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
            }
        }
    }

    fn labelled(&self, most: usize) -> Vec<f64> {
        let inside = |value: &f64| *value >= self.low * 0.999 && *value <= self.high * 1.001;
        match self.scale {
            Scale::Linear => RangedCoordf64::from(self.low..self.high).key_points(most),
            Scale::Percentile => {
                PERCENTILES.map(|(value, _)| value).into_iter().filter(inside).collect()
            }
            Scale::Log => decades(self.low, self.high).into_iter().filter(inside).collect(),
            Scale::LogOfWhole => {
                let all = decades(self.low, self.high).into_iter().filter(inside);
                all.filter(|value| value.fract() == 0.0).collect()
            }
        }
    }
}

/// 1, 2 and 5 of each decade; only 1 where there are many decades, more where there is hardly one.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let steps: &[f64] = match (high / low).log10() {
        many if many > 2.2 => &[1.0],
        some if some > 0.9 => &[1.0, 2.0, 5.0],
        _ => &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
    };
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last)
        .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
        .collect()
}

impl Ranged for Ruler {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (self.place(*value) * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // The fine lines between labelled ones are not drawn.
        if hint.bold_points() == 0 { Vec::new() } else { self.labelled(hint.bold_points()) }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Ruler {
    fn format_ext(&self, value: &f64) -> String {
        if self.scale == Scale::Percentile {
            let known = PERCENTILES.iter().find(|(place, _)| (place - value).abs() < 1e-6);
            return known.map_or_else(String::new, |(_, name)| (*name).to_owned());
        }
        if *value >= 1_000.0 {
            return thousands(value.round() as u64);
        }
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruler(scale: Scale, low: f64, high: f64) -> Ruler {
        Ruler { scale, low, high }
    }

    #[test]
    fn a_logarithmic_axis_gives_each_decade_the_same_room() {
        let ruler = ruler(Scale::Log, 1.0, 100.0);
        assert_eq!([1.0, 10.0, 100.0].map(|value| ruler.map(&value, (0, 200))), [0, 100, 200]);
        assert_eq!(ruler.map(&10.0, (200, 0)), 100, "upwards too");
    }

    #[test]
    fn labels_are_few_and_round() {
        assert_eq!(ruler(Scale::Log, 0.9, 12.0).labelled(10), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ruler(Scale::Log, 0.9, 1_200.0).labelled(10), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(ruler(Scale::Log, 0.98, 2.04).labelled(10), [1.0, 1.2, 1.5, 2.0]);
        assert_eq!(ruler(Scale::LogOfWhole, 0.98, 2.04).labelled(10), [1.0, 2.0]);
        assert_eq!(
            ruler(Scale::LogOfWhole, 7.8, 33.0).labelled(10),
            [8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0]
        );
        let percentiles = ruler(Scale::Percentile, 1.0, 1_000.0);
        let names: Vec<_> =
            percentiles.labelled(10).iter().map(|at| percentiles.format_ext(at)).collect();
        assert_eq!(names, ["0 %", "50 %", "75 %", "90 %", "95 %", "99 %", "99.9 %"]);
        assert_eq!(ruler(Scale::Linear, 0.0, 1e4).format_ext(&2_500.0), "2,500");
        assert_eq!(ruler(Scale::Linear, 0.0, 1.0).format_ext(&0.25), "0.25");
    }
}
