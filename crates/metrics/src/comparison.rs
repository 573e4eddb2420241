//! Whether two sides of runs differ in a figure, by how much, and how sure that is.
//!
//! Two runs of one service never give the same p99, so a difference alone says nothing. What it has to be held against is
//! how much the figure varies by itself, and that depends on what a side consists of:
//!
//! - *One run a side*: what varies is time. The unit is a block of time (at least 10 s and three median answers, because
//!   neighbouring seconds are correlated). The standard error of each side is that of the moving-block bootstrap of the
//!   run's intervals (`confidence`), percentiles always those of the merged histogram of the blocks drawn. The p-value is the
//!   larger one of two: Welch's t by those errors, which gives the interval too, and a permutation of the blocks between
//!   the sides (Fisher; Good, *Permutation, Parametric and Bootstrap Tests*, 2005), which is exact where nothing differs
//!   and so keeps its promise in far tails, where the bootstrap's error is a rough guess. Of a percentile it
//!   deals out the samples at or under that of both sides together (Mood's test, by blocks).
//! - *Several runs* on a side: the unit is the run. A run more says what a longer run cannot: how much a restart, a
//!   warm cache or a neighbour changes. Student's t by the pooled spread of the runs' figures; the error is never taken
//!   for less than what the runs' own intervals give, so that two repeats that agree by luck prove nothing.
//!
//! In both no figure is taken to be known better than the least step in which it can change (`resolution`).
//!
//! Latencies and rates are compared by their logarithms (their ratio is what people mean, and what is nearly normal);
//! shares, and what may be zero, by their difference. Which of the declared figures really differ is decided by Holm's
//! procedure over all of them and all candidates, so that the chance of one false alarm on the whole page is 5 %.

mod of_blocks;
mod of_runs;
mod over_time;
mod resolution;

pub use over_time::RunOverTime;

use std::time::Duration;

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::confidence::{MEDIAN_ANSWERS_PER_BLOCK, MIN_BLOCK};
use crate::metric::Metric;
use crate::result::RunResult;
use crate::slo::{Figure, RateFigure, Statistic};
use crate::summary::NullReason;
use over_time::OverTime;

/// The chance of one false alarm or more on the whole page.
pub const FAMILY_ERROR: f64 = 0.05;
/// Fewer blocks a side cannot tell 5 % of chance from a difference: ten blocks can be dealt out in 252 ways.
pub const MIN_BLOCKS_TO_COMPARE: usize = 5;
/// Samples that must lie beyond a percentile before one run a side is compared in it.
const MIN_BEYOND: f64 = 5.0;

/// One run as a comparison sees it.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Its answer.
    pub result: &'a RunResult,
    /// Its histograms over time; `None` where its journal cannot be read.
    pub over_time: Option<&'a RunOverTime>,
}

/// Why it was not decided whether a figure differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecided {
    /// A side has no such figure (its own reason stands beside it).
    Absent,
    /// One run a side, and too short.
    FewBlocks {
        /// Length of a block.
        block_seconds: u64,
        /// Blocks of the shorter side.
        blocks: usize,
    },
    /// One run a side, and fewer than five samples beyond the percentile.
    FewBeyond,
    /// One run a side, and nothing is known of it over time: its journal cannot be read, or another tool measured it.
    NoIntervals,
    /// One run a side, and the figure is not kept over time.
    NotKept,
    /// One run a side, and what is kept over time does not add up to the figure: the requests that it is of ended outside
    /// of the measured seconds.
    OutsideOfBlocks,
}

/// What a comparison rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Blocks of time of one run a side.
    Blocks {
        /// Length of a block.
        seconds: u64,
        /// How many the baseline has.
        baseline: usize,
        /// How many the candidate has.
        candidate: usize,
    },
    /// Whole runs.
    Runs {
        /// How many the baseline has.
        baseline: usize,
        /// How many the candidate has.
        candidate: usize,
    },
}

/// Candidate less baseline. Absolute figures are in the unit of [`Figure::unit`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Candidate − baseline.
    pub absolute: f64,
    /// Its 95 % interval, by itself: not widened for the other figures of the page.
    pub absolute_ci95: [f64; 2],
    /// Candidate / baseline − 1; `None` of shares, and of what may be zero.
    pub relative: Option<f64>,
    /// Its 95 % interval.
    pub relative_ci95: Option<[f64; 2]>,
    /// How likely a difference at least as large were, did nothing differ.
    pub p: f64,
    /// The same with regard to all figures that were compared (Holm).
    pub p_holm: f64,
    /// Whether it is beyond chance at a family-wise 5 %.
    pub is_real: bool,
    /// What it rests on.
    pub basis: Basis,
}

/// One figure of two sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Which figure.
    pub figure: Figure,
    /// Of the baseline; of several runs the geometric mean (of shares the mean).
    pub baseline: Result<f64, NullReason>,
    /// Of the candidate.
    pub candidate: Result<f64, NullReason>,
    /// How they differ.
    pub difference: Result<Difference, Undecided>,
}

/// The figures that are compared where nobody says which: TTFT p50 and p99, ITL p99 (where events are not tokens: ICL)
/// and throughput; of answers that were not streamed the whole answer's p50 and p99 stand for the first three.
pub fn usual_figures(result: &RunResult) -> Vec<Figure> {
    let percentile =
        |metric, percent: u16| Figure::Of(metric, Statistic::Percentile(percent * 100));
    let present = |metric| {
        result.overall.metrics.get(&metric).is_some_and(|summary| summary.null_reason.is_none())
    };
    let throughput = Figure::Rate(RateFigure::Throughput);
    if !result.facts.streamed {
        let e2e = |percent| percentile(Metric::E2eLatency, percent);
        return vec![e2e(50), e2e(99), throughput];
    }
    let icl_instead = !present(Metric::Itl) && present(Metric::Icl);
    let gap = if icl_instead { Metric::Icl } else { Metric::Itl };
    let ttft = |percent| percentile(Metric::Ttft, percent);
    vec![ttft(50), ttft(99), percentile(gap, 99), throughput]
}

/// Whether a figure can be compared at all: of a least or largest sample nobody knows how much it varies, and what
/// became of the requests of one second is known only after it.
pub fn is_comparable(figure: Figure) -> bool {
    !matches!(
        figure,
        Figure::Of(_, Statistic::Min | Statistic::Max) | Figure::Rate(RateFigure::SloAttainment)
    )
}

/// Compares each candidate with the baseline in each figure. All of them are one family.
pub fn compare(
    baseline: &[Observed<'_>],
    candidates: &[Vec<Observed<'_>>],
    figures: &[Figure],
) -> Vec<Vec<Compared>> {
    let one = |candidate: &Vec<Observed<'_>>| -> Vec<Compared> {
        let block = block_seconds(baseline.iter().chain(candidate));
        figures.iter().map(|&figure| compared(baseline, candidate, figure, block)).collect()
    };
    let mut all: Vec<Vec<Compared>> = candidates.iter().map(one).collect();
    let differences = all.iter_mut().flatten().filter_map(|one| one.difference.as_mut().ok());
    judge_together(&mut differences.collect::<Vec<_>>());
    all
}

/// As long as `confidence` has them, for the slowest of the runs.
fn block_seconds<'a>(runs: impl Iterator<Item = &'a Observed<'a>>) -> u64 {
    let answer = |run: &Observed<'_>| run.result.overall.metrics.get(&Metric::E2eLatency)?.p50;
    let slowest = runs.filter_map(answer).max().map(Duration::from_micros).unwrap_or_default();
    let block = MIN_BLOCK.max(slowest * MEDIAN_ANSWERS_PER_BLOCK);
    block.as_secs() + u64::from(block.subsec_nanos() > 0)
}

fn compared(
    baseline: &[Observed<'_>],
    candidate: &[Observed<'_>],
    figure: Figure,
    block_seconds: u64,
) -> Compared {
    let side = |runs: &[Observed<'_>]| -> Result<Vec<RunFigure>, NullReason> {
        runs.iter().map(|run| RunFigure::of(run, figure)).collect()
    };
    let (baseline, candidate) = (side(baseline), side(candidate));
    let difference = match (&baseline, &candidate) {
        (Ok(baseline), Ok(candidate)) => difference(baseline, candidate, figure, block_seconds),
        _ => Err(Undecided::Absent),
    };
    let scale = |side: &[RunFigure]| Scale::of(figure, side.iter().map(|run| run.value));
    let shown = |side: Result<Vec<RunFigure>, NullReason>| {
        side.map(|side| {
            scale(&side).back(mean(side.iter().map(|run| scale(&side).of_value(run.value))))
        })
    };
    Compared { figure, baseline: shown(baseline), candidate: shown(candidate), difference }
}

/// A figure of one run, and how it came about.
#[derive(Debug, Clone)]
pub(crate) struct RunFigure {
    /// In the unit of [`Figure::unit`].
    pub(crate) value: f64,
    /// The least step in which it can change, in the same unit.
    pub(crate) resolution: f64,
    pub(crate) over_time: Result<OverTime, Undecided>,
}

impl RunFigure {
    fn of(run: &Observed<'_>, figure: Figure) -> Result<Self, NullReason> {
        let value = run.result.figure(figure)?;
        let resolution = resolution::resolution(run.result, figure, value);
        Ok(Self { value, resolution, over_time: OverTime::of(run, figure, value) })
    }

    /// The least error that its value has on that scale.
    fn least_error(&self, scale: Scale) -> f64 {
        match scale {
            Scale::Ratio => self.resolution / self.value,
            Scale::Difference => self.resolution,
        }
    }
}

/// In what a figure is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// By its logarithm: ratios.
    Ratio,
    /// As it is: differences.
    Difference,
}

impl Scale {
    fn of(figure: Figure, mut values: impl Iterator<Item = f64>) -> Self {
        let is_share = matches!(figure, Figure::Rate(rate) if rate.is_share());
        if is_share || values.any(|value| value <= 0.0) { Self::Difference } else { Self::Ratio }
    }

    fn of_value(self, value: f64) -> f64 {
        match self {
            Self::Ratio => value.ln(),
            Self::Difference => value,
        }
    }

    fn back(self, scaled: f64) -> f64 {
        match self {
            Self::Ratio => scaled.exp(),
            Self::Difference => scaled,
        }
    }
}

/// What an estimate rests on, on its scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    scale: Scale,
    /// Candidate less baseline.
    difference: f64,
    standard_error: f64,
    degrees_of_freedom: f64,
    /// A p-value by other means, of which the larger one holds.
    p_besides: f64,
    basis: Basis,
}

/// One figure of two sides, its p-value by itself alone.
pub(crate) fn difference(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    figure: Figure,
    block_seconds: u64,
) -> Result<Difference, Undecided> {
    let values = baseline.iter().chain(candidate).map(|run| run.value);
    let scale = Scale::of(figure, values);
    let estimate = match (baseline, candidate) {
        ([baseline], [candidate]) => {
            of_blocks::estimate(baseline, candidate, scale, block_seconds)?
        }
        _ => of_runs::estimate(baseline, candidate, scale, block_seconds),
    };
    let before = mean(baseline.iter().map(|run| estimate.scale.of_value(run.value)));
    Ok(estimate.shown(estimate.scale.back(before)))
}

impl Estimate {
    fn shown(&self, baseline: f64) -> Difference {
        let [low, high] = self.ci95();
        let p = self.p_of_student().max(self.p_besides);
        let shown = Difference {
            absolute: self.difference,
            absolute_ci95: [low, high],
            relative: None,
            relative_ci95: None,
            p,
            p_holm: p,
            is_real: false,
            basis: self.basis,
        };
        match self.scale {
            Scale::Difference => shown,
            Scale::Ratio => {
                let [relative, low, high] = [self.difference, low, high].map(f64::exp_m1);
                Difference {
                    absolute: baseline * relative,
                    absolute_ci95: [baseline * low, baseline * high],
                    relative: Some(relative),
                    relative_ci95: Some([low, high]),
                    ..shown
                }
            }
        }
    }

    fn ci95(&self) -> [f64; 2] {
        let reach = self.student().map_or(f64::INFINITY, |student| student.inverse_cdf(0.975));
        let reach = if self.standard_error > 0.0 { reach * self.standard_error } else { 0.0 };
        [self.difference - reach, self.difference + reach]
    }

    /// Two-sided. What never varies, in steps of any size, differs for certain, or not at all.
    fn p_of_student(&self) -> f64 {
        if self.difference == 0.0 {
            return 1.0;
        }
        if self.standard_error <= 0.0 {
            return 0.0;
        }
        let t = (self.difference / self.standard_error).abs();
        self.student().map_or(1.0, |student| 2.0 * student.sf(t))
    }

    fn student(&self) -> Option<StudentsT> {
        StudentsT::new(0.0, 1.0, self.degrees_of_freedom).ok()
    }
}

/// Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979) as adjusted p-values.
fn judge_together(differences: &mut [&mut Difference]) {
    differences.sort_by(|a, b| a.p.total_cmp(&b.p));
    let (count, mut so_far) = (differences.len(), 0.0_f64);
    for (place, one) in differences.iter_mut().enumerate() {
        so_far = so_far.max(one.p * (count - place) as f64).min(1.0);
        one.p_holm = so_far;
        one.is_real = so_far <= FAMILY_ERROR;
    }
}

/// 0 of nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in values {
        sum += value;
        count += 1;
    }
    sum / f64::from(count.max(1))
}

#[cfg(test)]
mod tests;
