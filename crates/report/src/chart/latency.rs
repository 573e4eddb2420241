//! Distributions: the percentile curve and the histogram.

use metrics::{Censored, Distribution, GroupResult, Metric, RunResult, WindowResult};

use super::{Axis, Chart, Scale, Series, Shape, Visible, log_ms};
use crate::document::Headline;

/// Steps of a decade of 1 / (1 − q).
const STEPS_A_DECADE: u32 = 24;
/// Up to 99.999 %.
const DECADES: u32 = 5;
/// The quantile at which the first bar stands.
const LEAST: f64 = 0.001;
/// The first bar is not further from the last than this.
const WIDEST: u64 = 20_000;
/// As many bars are wanted, as far as their widths, in bars of a decade of time, allow.
const BARS: f64 = 60.0;
const FEWEST_A_DECADE: f64 = 40.0;
const MOST_A_DECADE: f64 = 400.0;

/// The percentile curves of the usual latencies over the measured stages.
pub(crate) fn percentiles(result: &RunResult, headline: &Headline) -> Chart {
    let curves = [Metric::Ttft, headline.token_gap, Metric::Tpot, Metric::E2eLatency];
    let series = curves.into_iter().filter_map(|metric| {
        let samples = headline.distribution(metric)?;
        Some(Series::line(metric.name(), curve(metric, samples, &[&result.overall])))
    });
    let note = "How slow the slowest share of requests (or tokens) was. A curve ends where under \
                one sample lies beyond it.";
    by_percentile("latency_percentiles", "Latency by percentile".to_owned(), note, series.collect())
}

/// One metric's percentile curves, a line for each class or target that has samples.
pub(crate) fn by_group(
    id: &'static str,
    metric: Metric,
    what: &str,
    groups: &[GroupResult],
) -> Chart {
    let series = groups.iter().filter_map(|group| {
        let summary = group.window.metrics.get(&metric)?;
        let samples = group.distributions.get(&metric).filter(|samples| !samples.is_empty())?;
        let values = curve(metric, samples, &[&group.window]);
        summary.null_reason.is_none().then(|| Series::line(group.name.clone(), values))
    });
    let title = format!("{} by {what}", metric.name());
    by_percentile(id, title, metric.definition(), series.collect())
}

fn by_percentile(id: &'static str, title: String, note: &str, mut series: Vec<Series>) -> Chart {
    // No room for percentiles that nothing reaches.
    let ends = series.iter().filter_map(|one| one.values.iter().rposition(Option::is_some));
    let length = ends.max().map_or(0, |last| last + 1);
    series.iter_mut().for_each(|one| one.values.truncate(length));
    Chart {
        id,
        title,
        note: note.to_owned(),
        x: Axis { label: "percentile", scale: Scale::Percentile },
        y: Axis { label: "ms", scale: Scale::Log },
        at: grid().take(length).collect(),
        series,
        bands: Vec::new(),
    }
}

/// Values of 1 / (1 − q), from the 9th percentile on: the fastest few would stretch the axis and say nothing.
pub(super) fn grid() -> impl Iterator<Item = f64> {
    (1..=STEPS_A_DECADE * DECADES)
        .map(|step| 10_f64.powf(f64::from(step) / f64::from(STEPS_A_DECADE)))
}

/// Of all requests, as the tables' percentiles are. Only as far as samples support it: count × (1 − q) ≥ 1, and not among
/// what was cut off.
pub(super) fn curve(
    metric: Metric,
    samples: &Distribution,
    windows: &[&WindowResult],
) -> Vec<Option<f64>> {
    let (count, censored) = (samples.count(), Censored::of_windows(metric, windows));
    let supported = |inverse: &f64| count as f64 >= inverse * (1.0 - 1e-9);
    let ranks =
        grid().take_while(supported).map_while(|inverse| censored.rank(count, 1.0 - 1.0 / inverse));
    let asked: Vec<f64> = ranks.map(|rank| rank as f64 / count as f64).collect();
    let mut values: Vec<_> =
        samples.quantiles(&asked).into_iter().map(|us| Some(log_ms(us))).collect();
    values.resize(grid().count(), None);
    values
}

/// How often each latency occurred: all measured stages, and each stage on demand.
pub(crate) fn histogram(
    id: &'static str,
    metric: Metric,
    result: &RunResult,
    headline: &Headline,
) -> Option<Chart> {
    let all = headline.distribution(metric)?;
    let bins = Bins::of(all)?;
    let mut series = vec![Series {
        name: "measured".to_owned(),
        shape: Shape::Bars,
        visible: Visible::AtFirst,
        values: bins.shares(all),
    }];
    let stages = result.stages.iter().filter(|stage| stage.headline);
    if stages.clone().count() > 1 {
        series.extend(stages.filter_map(|stage| {
            let samples = stage.distributions.get(&metric).filter(|samples| !samples.is_empty())?;
            Some(Series {
                name: stage.name.clone(),
                shape: Shape::Line,
                visible: Visible::OnDemand,
                values: bins.shares(samples),
            })
        }));
    }
    Some(Chart {
        id,
        title: format!("{}: how often", metric.name()),
        note: format!(
            "{}. Share of its samples by latency; the first bar holds all that are less.",
            metric.definition()
        ),
        x: Axis { label: "ms", scale: Scale::Log },
        y: Axis { label: "% of samples", scale: Scale::Linear },
        at: bins.middles(),
        series,
        bands: Vec::new(),
    })
}

/// Bars of equal width on a logarithmic axis.
pub(super) struct Bins {
    a_decade: f64,
    first: i32,
    count: usize,
}

impl Bins {
    pub(super) fn of(samples: &Distribution) -> Option<Self> {
        // A gap of 0 µs, between events of one read, would stretch the axis over five decades.
        let (low, max) = samples.quantile(LEAST).zip(samples.max())?;
        let low = low.max(max / WIDEST);
        let decades = (log_ms(max) / log_ms(low)).log10();
        let a_decade = (BARS / decades.max(1e-3)).clamp(FEWEST_A_DECADE, MOST_A_DECADE);
        let (first, last) = (place(low, a_decade) - 1, place(max, a_decade) + 1);
        Some(Self { a_decade, first, count: usize::try_from(last - first + 1).ok()? })
    }

    pub(super) fn middles(&self) -> Vec<f64> {
        let middle = |bar: i32| 10_f64.powf((f64::from(bar) + 0.5) / self.a_decade);
        (self.first..).take(self.count).map(middle).collect()
    }

    /// In percent of all samples.
    pub(super) fn shares(&self, samples: &Distribution) -> Vec<Option<f64>> {
        let mut counts = vec![0_u64; self.count];
        for (us, count) in samples.buckets() {
            // What is less than the first bar is in it.
            let bar = usize::try_from(place(us, self.a_decade) - self.first).unwrap_or_default();
            counts[bar.min(self.count - 1)] += count;
        }
        let all = samples.count() as f64;
        counts.into_iter().map(|count| Some(count as f64 / all * 100.0)).collect()
    }
}

fn place(us: u64, a_decade: f64) -> i32 {
    (log_ms(us).log10() * a_decade).floor() as i32
}

#[cfg(test)]
mod tests {
    use metrics::Kind;

    use super::*;
    use crate::terminal::example;

    fn samples(values: impl IntoIterator<Item = u64>) -> Distribution {
        let mut samples = Distribution::new(Kind::Latency);
        values.into_iter().for_each(|value| samples.record(value));
        samples
    }

    #[test]
    fn a_curve_ends_where_one_sample_lies_beyond_it() {
        let window = example::one_stage().overall;
        let curve = curve(Metric::Icl, &samples(1..=1_000), &[&window]);
        // 1 / (1 − q) = 1,000 is the last that 1,000 samples support.
        let last = curve.iter().rposition(Option::is_some).unwrap();
        assert_eq!(last, 3 * STEPS_A_DECADE as usize - 1);
        assert_eq!(curve[last], Some(0.999));
        assert_eq!(curve[STEPS_A_DECADE as usize - 1], Some(0.9));
        assert_eq!(curve.len(), grid().count());
    }

    #[test]
    fn a_curve_is_of_all_requests_and_ends_where_they_were_cut_off() {
        let mut window = example::one_stage().overall;
        let before = curve(Metric::Ttft, &samples(1..=2_000), &[&window]);
        window.notes.censored = 40; // of 2,040: 2 %
        let after = curve(Metric::Ttft, &samples(1..=2_000), &[&window]);
        let place = STEPS_A_DECADE as usize - 1; // the 90th percentile: ⌈0.9 × 2,040⌉ = 1,836
        assert_eq!((before[place], after[place]), (Some(1.8), Some(1.836)));
        let last = grid().zip(&after).filter(|(_, value)| value.is_some()).map(|(at, _)| at).last();
        assert!(last.is_some_and(|inverse| inverse <= 51.0 && inverse > 45.0), "{last:?}");
    }

    #[test]
    fn bars_hold_every_sample() {
        let samples = samples([0, 1, 5, 1_000, 1_001, 60_000_000]);
        let bins = Bins::of(&samples).unwrap();
        let total: f64 = bins.shares(&samples).into_iter().flatten().sum();
        assert!((total - 100.0).abs() < 1e-9, "{total}");
        assert!(bins.middles().is_sorted());
    }

    #[test]
    fn a_metric_without_samples_has_no_histogram() {
        let result = example::all_failed();
        let headline = Headline::of(&result);
        assert_eq!(histogram("t", Metric::Ttft, &result, &headline), None);
        assert!(percentiles(&result, &headline).is_empty());
    }
}
