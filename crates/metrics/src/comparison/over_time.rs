//! One figure of one run over time, from which the figure of any choice of stretches can be computed.
//!
//! A percentile needs the histograms; a mean, a rate or a share is a quotient of two sums.

mod shares;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::{Observed, Undecided};
use crate::censoring::Censored;
use crate::confidence::{CumulativeTable, Rows, Stretch, join};
use crate::distribution::rank;
use crate::interval::SecondCounts;
use crate::metric::Metric;
use crate::result::{RunRecord, RunResult};
use crate::series::Series;
use crate::slo::{Figure, RateFigure, Statistic};

/// What a run kept over time, beyond its answer.
#[derive(Debug, Clone, Default)]
pub struct RunOverTime {
    /// Its histograms.
    pub series: Series,
    /// Its counts by second of the run.
    pub seconds: BTreeMap<u32, SecondCounts>,
}

impl From<RunRecord> for RunOverTime {
    fn from(record: RunRecord) -> Self {
        Self { series: record.series, seconds: record.merged.seconds }
    }
}

/// A figure over time.
#[derive(Debug, Clone)]
pub(crate) enum OverTime {
    /// A percentile of samples.
    Samples {
        /// In order.
        stretches: Vec<Stretch>,
        /// 0 to 1.
        quantile: f64,
        /// Recorded units in a shown one.
        units_per_shown: f64,
    },
    /// A quotient of sums.
    Portions(Vec<Portion>),
}

/// What a stretch of time adds to both sums.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Portion {
    pub(crate) seconds: u32,
    pub(crate) numerator: f64,
    pub(crate) denominator: f64,
}

impl OverTime {
    /// `value` is that of the whole run.
    pub(super) fn of(run: &Observed<'_>, figure: Figure, value: f64) -> Result<Self, Undecided> {
        let (metric, statistic) = match figure {
            Figure::Rate(rate) if rate.is_share() => {
                return shares::portions(run, rate, value).map(Self::Portions);
            }
            Figure::Rate(rate) => return rates(run, rate).map(Self::Portions),
            Figure::Of(metric, statistic) => (metric, statistic),
        };
        let over_time = run.over_time.ok_or(Undecided::NoIntervals)?;
        let wanted = |stage| in_headline(run.result, stage);
        let stretches = over_time.series.stretches(metric, wanted).ok_or(Undecided::NotKept)?;
        let censored = Censored::of(metric, &run.result.headline_books());
        Self::of_samples(metric, statistic, stretches, censored)
    }

    fn of_samples(
        metric: Metric,
        statistic: Statistic,
        stretches: Vec<Stretch>,
        censored: Censored,
    ) -> Result<Self, Undecided> {
        let units_per_shown = f64::from(metric.kind().units_per_shown());
        match statistic {
            Statistic::Percentile(scaled) => {
                let quantile = censored.quantile(f64::from(scaled) / 10_000.0);
                Ok(Self::Samples { stretches, quantile, units_per_shown })
            }
            Statistic::Mean => {
                let portion = |stretch: &Stretch| Portion {
                    seconds: stretch.seconds,
                    numerator: stretch
                        .samples
                        .buckets()
                        .map(|(value, count)| value as f64 * count as f64)
                        .sum(),
                    denominator: stretch.samples.count() as f64 * units_per_shown,
                };
                Ok(Self::Portions(stretches.iter().map(portion).collect()))
            }
            Statistic::Min | Statistic::Max => Err(Undecided::NotKept),
        }
    }

    fn lengths(&self) -> Vec<u32> {
        match self {
            Self::Samples { stretches, .. } => stretches.iter().map(|one| one.seconds).collect(),
            Self::Portions(portions) => portions.iter().map(|one| one.seconds).collect(),
        }
    }

    /// How many units there are.
    pub(super) fn units(&self) -> usize {
        match self {
            Self::Samples { stretches, .. } => stretches.len(),
            Self::Portions(portions) => portions.len(),
        }
    }

    /// The seconds that it covers.
    pub(super) fn seconds(&self) -> u64 {
        self.lengths().into_iter().map(u64::from).sum()
    }

    /// The seconds of its longest stretch.
    pub(super) fn longest(&self) -> u64 {
        self.lengths().into_iter().max().unwrap_or(1).into()
    }

    /// Samples beyond the percentile, on the side where fewer lie; of a quotient as many as anybody wants.
    pub(super) fn beyond(&self) -> f64 {
        match self {
            Self::Samples { stretches, quantile, .. } => {
                let count: u64 = stretches.iter().map(|one| one.samples.count()).sum();
                count as f64 * quantile.min(1.0 - quantile)
            }
            Self::Portions(_) => f64::INFINITY,
        }
    }

    /// Neighbours joined until each unit covers at least so many seconds; what is left over at the end joins the last.
    pub(super) fn in_units_of(&self, seconds: u64) -> Self {
        let groups = groups(&self.lengths(), seconds);
        match self {
            Self::Samples { stretches, quantile, units_per_shown } => Self::Samples {
                stretches: groups.into_iter().map(|group| join(&stretches[group])).collect(),
                quantile: *quantile,
                units_per_shown: *units_per_shown,
            },
            Self::Portions(portions) => {
                let group = |group: Range<usize>| {
                    portions[group].iter().fold(Portion::default(), |sum, one| sum.plus(*one))
                };
                Self::Portions(groups.into_iter().map(group).collect())
            }
        }
    }

    /// Its own units and then those of the other, which is of the same figure.
    pub(super) fn followed_by(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Samples { mut stretches, quantile, units_per_shown },
                Self::Samples { stretches: more, .. },
            ) => {
                stretches.extend(more);
                Self::Samples { stretches, quantile, units_per_shown }
            }
            (Self::Portions(mut portions), Self::Portions(more)) => {
                portions.extend(more);
                Self::Portions(portions)
            }
            (ours, _) => ours,
        }
    }
}

impl Portion {
    fn plus(self, other: Self) -> Self {
        Self {
            seconds: self.seconds + other.seconds,
            numerator: self.numerator + other.numerator,
            denominator: self.denominator + other.denominator,
        }
    }
}

/// Consecutive places whose lengths sum to at least `seconds`; the last group takes what is left over.
fn groups(lengths: &[u32], seconds: u64) -> Vec<Range<usize>> {
    let (mut groups, mut from, mut sum): (Vec<Range<usize>>, usize, u64) = (Vec::new(), 0, 0);
    for (place, length) in lengths.iter().enumerate() {
        sum += u64::from(*length);
        if sum >= seconds {
            groups.push(from..place + 1);
            (from, sum) = (place + 1, 0);
        }
    }
    if from < lengths.len() {
        match groups.last_mut() {
            Some(last) => last.end = lengths.len(),
            None => groups.push(from..lengths.len()),
        }
    }
    groups
}

/// Rates, and shares by the instants of what they count, of the seconds that lie within a measured stage. The journal's seconds are single and whole; without
/// it those of the answer serve, as far as they go.
fn rates(run: &Observed<'_>, rate: RateFigure) -> Result<Vec<Portion>, Undecided> {
    let inside = |second: u32, seconds: u32| within_headline(run.result, second, seconds);
    let portion = |seconds: u32, counts: &SecondCounts| {
        let (numerator, denominator) = quotient(rate, counts, seconds)?;
        Some(Portion { seconds, numerator, denominator })
    };
    let portions: Option<Vec<Portion>> = match run.over_time {
        Some(over_time) => over_time
            .seconds
            .iter()
            .filter(|(second, _)| inside(**second, 1))
            .map(|(_, counts)| portion(1, counts))
            .collect(),
        None if is_in_answer(rate) => {
            let points = run.result.seconds.iter();
            points
                .filter(|point| inside(point.second, point.seconds))
                .map(|point| portion(point.seconds, &point.counts))
                .collect()
        }
        None => return Err(Undecided::NoIntervals),
    };
    portions.ok_or(Undecided::NotKept)
}

fn in_headline(result: &RunResult, stage: u16) -> bool {
    result.stages.iter().any(|one| one.index == stage && one.headline)
}

fn within_headline(result: &RunResult, second: u32, seconds: u32) -> bool {
    let at = |second: u32| Duration::from_secs(second.into());
    let (from, to) = (at(second), at(second.saturating_add(seconds)));
    let stages = result.stages.iter().filter(|stage| stage.headline);
    stages.clone().any(|stage| stage.window.start <= from && to <= stage.window.end)
}

/// Whether the files of an answer hold what the rate is made of.
fn is_in_answer(rate: RateFigure) -> bool {
    !matches!(rate, RateFigure::Goodput | RateFigure::TtftOver3s)
}

/// The two sums of a rate; `None` where they are not counted by the second.
fn quotient(rate: RateFigure, counts: &SecondCounts, seconds: u32) -> Option<(f64, f64)> {
    let seconds = f64::from(seconds);
    let per_second = |count: u64| Some((count as f64, seconds));
    match rate {
        RateFigure::Throughput => per_second(counts.completed),
        RateFigure::TokensPerSecond => per_second(counts.output_tokens),
        RateFigure::InputTokensPerSecond => per_second(counts.input_tokens),
        RateFigure::TotalTokensPerSecond => {
            per_second(counts.output_tokens.saturating_add(counts.input_tokens))
        }
        RateFigure::Goodput => per_second(counts.good),
        RateFigure::OfferedRate => per_second(counts.due),
        RateFigure::AchievedRate => per_second(counts.sent),
        RateFigure::ErrorRate => {
            Some((counts.failed as f64, counts.completed.saturating_add(counts.failed) as f64))
        }
        RateFigure::TtftOver3s => {
            Some((counts.slow_first_tokens as f64, counts.first_tokens as f64))
        }
        RateFigure::SloAttainment => None,
    }
}

/// Sums over time, so that the figure of any choice of blocks is a few differences.
#[derive(Debug)]
pub(super) enum Track {
    Percentile {
        table: CumulativeTable,
        quantile: f64,
        units_per_shown: f64,
    },
    /// One more than units: numerators and denominators of all before.
    Quotient(Vec<(f64, f64)>),
}

impl Track {
    pub(super) fn of(over_time: &OverTime) -> Self {
        match over_time {
            OverTime::Samples { stretches, quantile, units_per_shown } => Self::Percentile {
                table: CumulativeTable::of(stretches),
                quantile: *quantile,
                units_per_shown: *units_per_shown,
            },
            OverTime::Portions(portions) => {
                let mut sums = vec![(0.0, 0.0)];
                let (mut numerator, mut denominator) = (0.0, 0.0);
                for portion in portions {
                    numerator += portion.numerator;
                    denominator += portion.denominator;
                    sums.push((numerator, denominator));
                }
                Self::Quotient(sums)
            }
        }
    }

    /// What a permutation looks at, block by block. Of a percentile that is how many samples are at or under the
    /// percentile of all blocks together, and how many there are: the percentile of a mixture would jump from one
    /// side's to the other's, and a large difference would look like chance.
    pub(super) fn quotients(&self, blocks: &[Rows]) -> Vec<(f64, f64)> {
        match self {
            Self::Percentile { table, quantile, .. } => {
                let Some(last) = table.values.len().checked_sub(1) else { return Vec::new() };
                let all = rank(table.count_all(blocks, last), *quantile);
                let column = table.column_at_rank(blocks, all);
                let of = |&rows: &Rows| {
                    (table.count(rows, column) as f64, table.count(rows, last) as f64)
                };
                blocks.iter().map(of).collect()
            }
            Self::Quotient(sums) => {
                let of =
                    |&(from, to): &Rows| (sums[to].0 - sums[from].0, sums[to].1 - sums[from].1);
                blocks.iter().map(of).collect()
            }
        }
    }

    /// The figure of these blocks together; `None` where nothing was recorded in them.
    pub(super) fn figure(&self, blocks: &[Rows]) -> Option<f64> {
        match self {
            Self::Percentile { table, quantile, units_per_shown } => {
                let last = table.values.len().checked_sub(1)?;
                let count = table.count_all(blocks, last);
                if count == 0 {
                    return None;
                }
                let value = table.value_at_rank(blocks, rank(count, *quantile));
                Some(value as f64 / units_per_shown)
            }
            Self::Quotient(sums) => {
                let (mut numerator, mut denominator) = (0.0, 0.0);
                for &(from, to) in blocks {
                    numerator += sums[to].0 - sums[from].0;
                    denominator += sums[to].1 - sums[from].1;
                }
                (denominator > 0.0).then(|| numerator / denominator)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_up_to_a_length_and_nothing_is_left_over() {
        assert_eq!(groups(&[1, 1, 1, 1, 1], 2), [0..2, 2..5]);
        assert_eq!(groups(&[3, 1, 1], 2), [0..1, 1..3]);
        assert_eq!(groups(&[1, 1], 10).first(), Some(&(0..2)));
        assert_eq!(groups(&[], 10), []);
    }

    #[test]
    fn a_quotient_of_blocks_is_that_of_their_sums() {
        let portion = |numerator, denominator| Portion { seconds: 1, numerator, denominator };
        let portions = vec![portion(1.0, 10.0), portion(0.0, 0.0), portion(3.0, 10.0)];
        let track = Track::of(&OverTime::Portions(portions));
        assert_eq!(track.figure(&[(0, 3)]), Some(0.2));
        assert_eq!(track.figure(&[(2, 3), (2, 3)]), Some(0.3));
        assert_eq!(track.figure(&[(1, 2)]), None);
    }
}
