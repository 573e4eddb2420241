//! The run over time: what each stretch of seconds held, kept small for as long as the run lasts.
//!
//! The ledger merges what all live workers reported for a second and hands it over once; only the occupied buckets are
//! kept. Above 1,200 points neighbours are joined, so a day's run needs no more memory than 20 minutes: at most
//! 1,200 points × metrics kept × occupied buckets × two to three bytes (under 100 MB at the load of a thousand
//! workers). Percentiles of a joined point are computed from its joined histogram; percentiles are never averaged.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::confidence::Stretch;
use crate::interval::{Interval, Scope, SecondCounts};
use crate::metric::Metric;
use crate::packed::PackedHistogram;
use crate::sparse::SparseHistogram;
use crate::summary::Percentile;

/// More points are joined with their neighbours.
pub const MAX_POINTS: usize = 1_200;

/// Consecutive stretches of run time.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Ascending and disjoint.
    stretches: Vec<Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    seconds: Range<u32>,
    samples: BTreeMap<(u16, Metric), PackedHistogram>,
}

/// Three percentiles of one metric in one point. Each needs a sample beyond it, here as everywhere: count × (1 − q) ≥ 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PointPercentiles {
    pub count: u64,
    pub p50: Option<u64>,
    pub p90: Option<u64>,
    pub p99: Option<u64>,
}

/// One point of the time series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesPoint {
    /// First second.
    pub second: u32,
    /// How many seconds it covers.
    pub seconds: u32,
    /// What was counted in them, by the instant of each.
    pub counts: SecondCounts,
    /// What was recorded in them; metrics without samples are absent.
    pub percentiles: BTreeMap<Metric, PointPercentiles>,
}

/// Whether a metric is kept over time: what a person looks at along a run, and what has a 95 % interval.
fn kept(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Ttft
            | Metric::TtftScheduled
            | Metric::Ttfb
            | Metric::Ttfo
            | Metric::Icl
            | Metric::Itl
            | Metric::Tpot
            | Metric::Ntpot
            | Metric::E2eLatency
            | Metric::E2eScheduled
            | Metric::E2eFailed
            | Metric::ScheduleLag
            | Metric::GeneratorLag
            | Metric::OutputRate
            | Metric::TokenRatePerUser
    )
}

impl Kept {
    fn join(&mut self, next: Self) {
        self.seconds.end = next.seconds.end;
        for (key, samples) in next.samples {
            self.samples.entry(key).or_default().add(&samples.unpacked());
        }
    }

    /// The samples of a metric in the stages that `wanted` picks.
    fn of(&self, metric: Metric, wanted: impl Fn(u16) -> bool) -> SparseHistogram {
        let mut merged = SparseHistogram::default();
        for (&(stage, kept), samples) in &self.samples {
            if kept == metric && wanted(stage) {
                merged.merge(&samples.unpacked());
            }
        }
        merged
    }
}

impl Series {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what all live workers recorded in `seconds`, merged. Call once per stretch, in ascending order; a stretch
    /// that begins before the last one's end is joined to it, an empty range is refused by being ignored.
    pub fn push(&mut self, seconds: Range<u32>, merged: &Interval) {
        if seconds.is_empty() {
            return;
        }
        let next = Kept { seconds, samples: packed_samples(merged) };
        match self.stretches.last_mut() {
            Some(last) if next.seconds.start < last.seconds.end => {
                let end = last.seconds.end.max(next.seconds.end);
                last.join(next);
                last.seconds.end = end;
            }
            _ => self.stretches.push(next),
        }
        if self.stretches.len() > MAX_POINTS {
            self.join_neighbours();
        }
    }

    fn join_neighbours(&mut self) {
        let mut joined: Vec<Kept> = Vec::with_capacity(self.stretches.len().div_ceil(2));
        for (place, stretch) in self.stretches.drain(..).enumerate() {
            match joined.last_mut() {
                Some(last) if place % 2 == 1 => last.join(stretch),
                _ => joined.push(stretch),
            }
        }
        self.stretches = joined;
    }

    /// The points, with the counts of their seconds. Seconds that no stretch covers (nobody reported histograms for
    /// them) join the point before them, else get a point of their own.
    pub fn points(&self, counts: &BTreeMap<u32, SecondCounts>) -> Vec<SeriesPoint> {
        let mut starts: BTreeSet<u32> =
            self.stretches.iter().map(|stretch| stretch.seconds.start).collect();
        let first = starts.first().copied().unwrap_or(u32::MAX);
        starts.extend(counts.keys().copied().filter(|&second| second < first));
        let mut points: BTreeMap<u32, SeriesPoint> =
            starts.into_iter().map(|start| (start, SeriesPoint::at(start))).collect();
        for stretch in &self.stretches {
            if let Some(point) = points.get_mut(&stretch.seconds.start) {
                point.seconds = stretch.seconds.end - stretch.seconds.start;
                point.percentiles = percentiles(stretch);
            }
        }
        for (&second, seconds_counts) in counts {
            if let Some((_, point)) = points.range_mut(..=second).next_back() {
                point.counts.followed_by(seconds_counts);
                point.seconds = point.seconds.max(second - point.second + 1);
            }
        }
        points.into_values().collect()
    }

    /// A metric's samples of some stages over time, from the first stretch that has any to the last; `None` where the
    /// metric is not kept over time.
    pub fn stretches(&self, metric: Metric, wanted: impl Fn(u16) -> bool) -> Option<Vec<Stretch>> {
        if !kept(metric) {
            return None;
        }
        let all: Vec<Stretch> = self
            .stretches
            .iter()
            .map(|stretch| Stretch {
                seconds: stretch.seconds.end - stretch.seconds.start,
                samples: stretch.of(metric, &wanted),
            })
            .collect();
        let first = all.iter().position(|stretch| !stretch.samples.is_empty());
        let last = all.iter().rposition(|stretch| !stretch.samples.is_empty());
        Some(first.zip(last).map_or(Vec::new(), |(from, to)| all[from..=to].to_vec()))
    }
}

impl Series {
    /// A metric's samples of some stages, stretch by stretch.
    pub(crate) fn samples(
        &self,
        metric: Metric,
        wanted: impl Fn(u16) -> bool,
    ) -> impl Iterator<Item = (Range<u32>, SparseHistogram)> {
        let of = move |stretch: &Kept| (stretch.seconds.clone(), stretch.of(metric, &wanted));
        self.stretches.iter().map(of)
    }

    /// Percentiles of what was recorded within these seconds, of some stages; metrics without samples are absent.
    pub(crate) fn percentiles_within(
        &self,
        seconds: &Range<u32>,
        wanted: impl Fn(u16) -> bool,
    ) -> BTreeMap<Metric, PointPercentiles> {
        let mut merged: BTreeMap<Metric, SparseHistogram> = BTreeMap::new();
        let within = |stretch: &&Kept| {
            seconds.start <= stretch.seconds.start && stretch.seconds.end <= seconds.end
        };
        for stretch in self.stretches.iter().filter(within) {
            for (&(_, metric), samples) in
                stretch.samples.iter().filter(|((stage, _), _)| wanted(*stage))
            {
                merged.entry(metric).or_default().merge(&samples.unpacked());
            }
        }
        let of = |(metric, samples)| Some((metric, PointPercentiles::of(&samples)?));
        merged.into_iter().filter_map(of).collect()
    }
}

impl SeriesPoint {
    fn at(second: u32) -> Self {
        let (counts, percentiles) = (SecondCounts::default(), BTreeMap::new());
        Self { second, seconds: 1, counts, percentiles }
    }
}

fn packed_samples(merged: &Interval) -> BTreeMap<(u16, Metric), PackedHistogram> {
    let mut samples: BTreeMap<(u16, Metric), SparseHistogram> = BTreeMap::new();
    for (&Scope { stage, .. }, record) in &merged.scopes {
        for (metric, distribution) in record.recorded().filter(|&(metric, _)| kept(metric)) {
            samples.entry((stage, metric)).or_default().merge(&distribution.into());
        }
    }
    samples.iter().map(|(key, list)| (*key, PackedHistogram::from(list))).collect()
}

fn percentiles(stretch: &Kept) -> BTreeMap<Metric, PointPercentiles> {
    let metrics: BTreeSet<Metric> = stretch.samples.keys().map(|&(_, metric)| metric).collect();
    metrics
        .into_iter()
        .filter_map(|metric| Some((metric, PointPercentiles::of(&stretch.of(metric, |_| true))?)))
        .collect()
}

impl PointPercentiles {
    /// Takes the percentiles away that are beyond what is known.
    pub(crate) fn censor(&mut self, is_censored: impl Fn(Percentile) -> bool) {
        let figures = [
            (Percentile::P50, &mut self.p50),
            (Percentile::P90, &mut self.p90),
            (Percentile::P99, &mut self.p99),
        ];
        for (percentile, figure) in figures {
            if is_censored(percentile) {
                *figure = None;
            }
        }
    }

    /// `None` without a sample.
    fn of(samples: &SparseHistogram) -> Option<Self> {
        let count = samples.count();
        let figure = |percentile: Percentile| {
            samples.quantile(percentile.quantile()).filter(|_| percentile.is_supported(count))
        };
        let [p50, p90, p99] = [Percentile::P50, Percentile::P90, Percentile::P99].map(figure);
        (count > 0).then_some(Self { count, p50, p90, p99 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::Distribution;
    use crate::interval::ScopeRecord;

    /// An interval with those TTFTs in that stage.
    fn interval(stage: u16, ttft: &[u64]) -> Interval {
        let mut distribution = Distribution::new(Metric::Ttft.kind());
        ttft.iter().for_each(|&value| distribution.record(value));
        let mut record = ScopeRecord::default();
        drop(record.distributions.insert(Metric::Ttft, distribution));
        Interval {
            scopes: BTreeMap::from([(Scope { stage, class: 0 }, record)]),
            ..Interval::default()
        }
    }

    fn completed(counts: &[(u32, u64)]) -> BTreeMap<u32, SecondCounts> {
        let of = |completed| SecondCounts { completed, ..SecondCounts::default() };
        counts.iter().map(|&(second, completed)| (second, of(completed))).collect()
    }

    #[test]
    fn each_second_is_a_point_with_its_own_counts_and_percentiles() {
        let mut series = Series::new();
        series.push(0..1, &interval(0, &[10, 20, 30]));
        series.push(1..2, &Interval::default());
        series.push(2..3, &interval(1, &[40]));
        let points = series.points(&completed(&[(0, 3), (2, 1)]));
        let seen: Vec<_> = points
            .iter()
            .map(|point| (point.second, point.seconds, point.counts.completed))
            .collect();
        assert_eq!(seen, [(0, 1, 3), (1, 1, 0), (2, 1, 1)]);
        let first = points[0].percentiles[&Metric::Ttft];
        assert_eq!(first, PointPercentiles { count: 3, p50: Some(20), p90: None, p99: None });
        assert!(points[1].percentiles.is_empty());
    }

    #[test]
    fn a_stretch_that_some_worker_missed_is_one_wider_point() {
        let mut series = Series::new();
        series.push(0..1, &interval(0, &[10]));
        series.push(1..4, &interval(0, &[20, 30]));
        let points = series.points(&completed(&[(0, 1), (1, 5), (2, 6), (3, 7)]));
        let seen: Vec<_> = points
            .iter()
            .map(|point| (point.second, point.seconds, point.counts.completed))
            .collect();
        assert_eq!(seen, [(0, 1, 1), (1, 3, 18)]);
    }

    #[test]
    fn seconds_that_nobody_reported_are_not_dropped() {
        let mut series = Series::new();
        series.push(2..3, &interval(0, &[10]));
        let points = series.points(&completed(&[(0, 1), (2, 2), (5, 4)]));
        let total: u64 = points.iter().map(|point| point.counts.completed).sum();
        assert_eq!(total, 7);
        assert_eq!((points[1].second, points[1].seconds), (2, 4));
    }

    #[test]
    fn more_than_1200_points_join_their_neighbours_and_lose_no_sample() {
        let mut series = Series::new();
        let one = interval(0, &[7, 9]);
        (0..3_000).for_each(|second| series.push(second..second + 1, &one));
        let points = series.points(&completed(&[(2_999, 1)]));
        assert!(points.len() <= MAX_POINTS && points.len() > MAX_POINTS / 2, "{}", points.len());
        let samples: u64 = points.iter().map(|p| p.percentiles[&Metric::Ttft].count).sum();
        assert_eq!(samples, 6_000);
        assert_eq!(points.iter().map(|point| point.seconds).sum::<u32>(), 3_000);
        assert_eq!(points.last().unwrap().counts.completed, 1);
    }

    #[test]
    fn stretches_are_those_of_the_wanted_stages_from_first_to_last_sample() {
        let mut series = Series::new();
        series.push(0..1, &interval(0, &[1]));
        series.push(1..2, &interval(1, &[2]));
        series.push(2..3, &Interval::default());
        series.push(3..4, &interval(1, &[3]));
        series.push(4..5, &interval(0, &[4]));
        let stretches = series.stretches(Metric::Ttft, |stage| stage == 1).unwrap();
        let counts: Vec<_> = stretches.iter().map(|stretch| stretch.samples.count()).collect();
        assert_eq!(counts, [1, 0, 1]);
        assert_eq!(series.stretches(Metric::ReadLag, |_| true), None);
        assert_eq!(series.stretches(Metric::Icl, |_| true), Some(Vec::new()));
    }

    #[test]
    fn a_stretch_pushed_twice_is_joined_and_never_two_points() {
        let mut series = Series::new();
        series.push(0..2, &interval(0, &[1]));
        series.push(1..3, &interval(0, &[2]));
        series.push(3..3, &interval(0, &[3]));
        let points = series.points(&BTreeMap::new());
        assert_eq!(points.len(), 1);
        assert_eq!((points[0].second, points[0].seconds), (0, 3));
    }
}
