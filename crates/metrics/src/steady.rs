//! The part of the headline in which the service was in a steady state.
//!
//! MSER-5 (White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6), 1997;
//! White, Cobb and Spratt, Winter Simulation Conference 2000): the mean TTFT of each second, five seconds a batch, is cut
//! at the front where the standard error of what remains is least:
//! d* = argmin Σ_{j>d} (Zⱼ − Z̄)² / (k − d)². As Hoad, Robinson and Davies (Journal of Simulation 4, 2010) do, the last
//! five batches are no place to cut, and a cut in the second half says that no steady state was reached: the run was too
//! short, or the service fell ever further behind.
//!
//! MSER cuts a start and trusts the end, but a service may also give way late. So what remains must have no trend: by the
//! Mann-Kendall test (`trend`) at the 5 % level, or one of less than a tenth of the mean over the whole of it.
//!
//! It stands beside the headline and never in its place: a start that is slow is slow for users too.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::interval::SecondCounts;
use crate::metric::Metric;
use crate::series::{PointPercentiles, Series};
use crate::sparse::SparseHistogram;
use crate::trend::Trend;

/// Points in a batch: the 5 of MSER-5.
const BATCH: usize = 5;
/// Fewer batches decide nothing.
const MIN_BATCHES: usize = 10;
/// The last batches, after which a cut would rest on next to nothing.
const LAST_BATCHES: usize = 5;
/// A drift over the whole steady part below this share of its mean is none.
const DRIFT_SHARE: f64 = 0.1;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub enum SteadyState {
    /// From some second on the service was steady.
    From(SteadyWindow),
    /// It was not, or nobody can tell.
    Not(NotSteady),
}

/// Why there is no steady window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotSteady {
    /// Under 50 seconds of the headline have answers.
    FewSeconds,
    /// What remains is steadiest if more than half is cut off, or it has a trend.
    StillChanging,
}

impl NotSteady {
    /// The reason of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::FewSeconds, Self::StillChanging].into_iter().find(|reason| reason.name() == name)
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::FewSeconds => "few_seconds",
            Self::StillChanging => "still_changing",
        }
    }
}

/// A steady window and the figures inside it.
#[derive(Debug, Clone, PartialEq)]
pub struct SteadyWindow {
    /// The metric that was looked at.
    pub by: Metric,
    /// First instant, run time.
    pub start: Duration,
    /// First instant outside.
    pub end: Duration,
    /// Requests completed per second.
    pub throughput: f64,
    /// Output tokens per second.
    pub tokens_per_second: f64,
    /// Percentiles of what was recorded in these seconds, of requests due in the headline.
    pub percentiles: BTreeMap<Metric, PointPercentiles>,
}

/// One point: where it is and its mean.
struct Point {
    seconds: Range<u32>,
    mean: f64,
}

impl SteadyState {
    /// Looks at a metric's means over the seconds `within` the headline, of requests due in the stages `wanted`.
    pub(crate) fn detect(
        by: Metric,
        series: &Series,
        counts: &BTreeMap<u32, SecondCounts>,
        within: Range<Duration>,
        wanted: impl Fn(u16) -> bool,
    ) -> Self {
        let inside = |seconds: &Range<u32>| {
            let [start, end] = [seconds.start, seconds.end].map(|s| Duration::from_secs(s.into()));
            within.start <= start && end <= within.end
        };
        let points: Vec<Point> = series
            .samples(by, &wanted)
            .filter(|(seconds, _)| inside(seconds))
            .filter_map(|(seconds, samples)| Some(Point { mean: mean(&samples)?, seconds }))
            .collect();
        let means: Vec<f64> = points.iter().map(|point| point.mean).collect();
        let cut = match truncation(&means) {
            Ok(cut) => cut,
            Err(why) => return Self::Not(why),
        };
        let Some((first, last)) = points.get(cut).zip(points.last()) else {
            return Self::Not(NotSteady::FewSeconds);
        };
        let window = first.seconds.start..last.seconds.end;
        Self::From(SteadyWindow {
            by,
            start: Duration::from_secs(window.start.into()),
            end: Duration::from_secs(window.end.into()),
            throughput: per_second(counts, &window, |counts| counts.completed),
            tokens_per_second: per_second(counts, &window, |counts| counts.output_tokens),
            percentiles: series.percentiles_within(&window, wanted),
        })
    }
}

fn per_second(
    counts: &BTreeMap<u32, SecondCounts>,
    window: &Range<u32>,
    count: impl Fn(&SecondCounts) -> u64,
) -> f64 {
    let counted: u64 = counts.range(window.clone()).map(|(_, counts)| count(counts)).sum();
    counted as f64 / f64::from((window.end - window.start).max(1))
}

/// To the precision of its buckets (0.1 %).
fn mean(samples: &SparseHistogram) -> Option<f64> {
    let sum: f64 = samples.buckets().map(|(value, count)| value as f64 * count as f64).sum();
    (!samples.is_empty()).then(|| sum / samples.count() as f64)
}

/// The first point of the steady part.
fn truncation(points: &[f64]) -> Result<usize, NotSteady> {
    let batches: Vec<f64> = points
        .chunks_exact(BATCH)
        .map(|batch| batch.iter().sum::<f64>() / batch.len() as f64)
        .collect();
    if batches.len() < MIN_BATCHES {
        return Err(NotSteady::FewSeconds);
    }
    let mut best = (0, f64::INFINITY);
    for cut in 0..=batches.len() - LAST_BATCHES {
        let error = squared_error(&batches[cut..]);
        if error < best.1 {
            best = (cut, error);
        }
    }
    let (cut, _) = best;
    let first = cut * BATCH;
    let changing = cut > batches.len() / 2 || is_drifting(&points[first..]);
    if changing { Err(NotSteady::StillChanging) } else { Ok(first) }
}

/// Whether there is a trend that matters.
fn is_drifting(points: &[f64]) -> bool {
    let count = points.len() as f64;
    let mean = points.iter().sum::<f64>() / count;
    Trend::of(points).is_some_and(|trend| {
        let drift = trend.slope_per_point.abs() * count;
        trend.is_likely() && drift > DRIFT_SHARE * mean
    })
}

/// The squared standard error of the mean, as MSER has it: Σ (Zⱼ − Z̄)² / m².
fn squared_error(batches: &[f64]) -> f64 {
    let count = batches.len() as f64;
    let mean = batches.iter().sum::<f64>() / count;
    batches.iter().map(|batch| (batch - mean).powi(2)).sum::<f64>() / (count * count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little noise without a trend: 0, 3, 1, 4, 2, 0, …
    fn noise(n: usize) -> f64 {
        (n * 3 % 5) as f64 + (n * 7 % 11) as f64
    }

    #[test]
    fn a_slow_start_is_cut_off_and_nothing_else() {
        // 20 s that fall from 500 to 120, then 80 s around 100.
        let points: Vec<f64> = (0..100)
            .map(|n| if n < 20 { 500.0 - 20.0 * n as f64 } else { 100.0 } + noise(n))
            .collect();
        assert_eq!(truncation(&points), Ok(20));
        let steady: Vec<f64> = (0..100).map(|n| 100.0 + noise(n)).collect();
        assert!(truncation(&steady).unwrap() <= 25);
    }

    #[test]
    fn what_grows_to_the_end_is_not_steady() {
        let growing: Vec<f64> = (0..100).map(|n| 100.0 + 10.0 * n as f64 + noise(n)).collect();
        assert_eq!(truncation(&growing), Err(NotSteady::StillChanging));
        // Steady for 60 s and then overloaded.
        let late: Vec<f64> =
            (0..100).map(|n| 100.0 + 50.0 * (n as f64 - 60.0).max(0.0) + noise(n)).collect();
        assert_eq!(truncation(&late), Err(NotSteady::StillChanging));
    }

    #[test]
    fn under_fifty_seconds_nobody_can_tell() {
        assert_eq!(truncation(&[1.0; 49]), Err(NotSteady::FewSeconds));
        assert_eq!(truncation(&[1.0; 50]), Ok(0), "what never varies is steady from the start");
    }

    #[test]
    fn the_error_by_hand() {
        // Mean 2, squares 1 + 0 + 1 = 2, over 3².
        assert!((squared_error(&[1.0, 2.0, 3.0]) - 2.0 / 9.0).abs() < 1e-12);
    }
}
