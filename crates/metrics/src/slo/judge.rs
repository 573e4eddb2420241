//! Holds a window's figures against its objectives.

use super::{Bound, Figure, RateFigure, Slo, Statistic};
use crate::books::Books;
use crate::censoring::Censored;
use crate::distribution::Distribution;
use crate::metric::Metric;
use crate::result::Rates;
use crate::summary::NullReason;

/// Ten thousand ten-thousandths.
const WHOLE: u64 = 10_000;

/// What became of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The figure is within the limit.
    Met,
    /// It is not.
    Missed,
    /// There is no figure, and why.
    Undecided(NullReason),
}

impl Outcome {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Undecided(_) => "undecided",
        }
    }
}

/// An objective with what it came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SloResult {
    /// What was demanded.
    pub slo: Slo,
    /// The figure, in the unit of [`Figure::unit`].
    pub figure: Option<f64>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A window as the objectives see it.
pub(crate) struct Judged<'a, D> {
    pub(crate) rates: &'a Rates,
    pub(crate) ttft_over_3s: Option<f64>,
    /// A metric's samples, or why there are none.
    pub(crate) samples: D,
    /// What became of its requests: each that was cancelled or timed out is missing from every per-request metric.
    pub(crate) books: &'a Books,
}

/// One objective against its window.
pub(crate) fn judge<'d, D>(slo: Slo, window: &Judged<'_, D>) -> SloResult
where
    D: Fn(Metric) -> Result<&'d Distribution, NullReason>,
{
    let figure = match slo.figure {
        Figure::Rate(rate) => {
            rate_of(window.rates, window.ttft_over_3s, rate).ok_or(NullReason::NoSamples)
        }
        Figure::Of(metric, statistic) => match (window.samples)(metric) {
            Ok(samples) => {
                let censored = Censored::of(metric, window.books);
                let figure = figure_of(samples, statistic, censored);
                if figure == Err(NullReason::Censored) && surely_missed(slo, samples, censored) {
                    return SloResult { slo, figure: None, outcome: Outcome::Missed };
                }
                figure
            }
            Err(reason) => Err(reason),
        },
    };
    let outcome = match figure {
        Err(reason) => Outcome::Undecided(reason),
        Ok(figure) if slo.figure.bound().holds(figure, slo.limit) => Outcome::Met,
        Ok(_) => Outcome::Missed,
    };
    SloResult { slo, figure: figure.ok(), outcome }
}

/// A rate or share of a window.
pub(crate) fn rate_of(rates: &Rates, ttft_over_3s: Option<f64>, figure: RateFigure) -> Option<f64> {
    match figure {
        RateFigure::Throughput => rates.throughput,
        RateFigure::TokensPerSecond => rates.tokens_per_second,
        RateFigure::InputTokensPerSecond => rates.input_tokens_per_second,
        RateFigure::TotalTokensPerSecond => rates.total_tokens_per_second,
        RateFigure::Goodput => rates.goodput,
        RateFigure::SloAttainment => rates.slo_attainment,
        RateFigure::OfferedRate => rates.offered,
        RateFigure::AchievedRate => rates.achieved,
        RateFigure::ErrorRate => rates.error_rate,
        RateFigure::TtftOver3s => ttft_over_3s,
    }
}

/// A statistic in the unit that is shown, by the rules of the summary: at least one sample lies beyond a percentile,
/// which is that of all requests and not one of those that were cut off.
pub(crate) fn figure_of(
    samples: &Distribution,
    statistic: Statistic,
    censored: Censored,
) -> Result<f64, NullReason> {
    let scale = f64::from(samples.kind().units_per_shown());
    let recorded = match statistic {
        Statistic::Mean => {
            return samples.mean().map(|mean| mean / scale).ok_or(NullReason::NoSamples);
        }
        Statistic::Min => samples.min(),
        Statistic::Max => samples.max(),
        Statistic::Percentile(scaled) => {
            let beyond = tail(scaled, samples);
            let product = samples.count().saturating_mul(beyond);
            if product < WHOLE {
                return Err(NullReason::FewSamples);
            }
            let rank = censored.rank(samples.count(), f64::from(scaled) / WHOLE as f64);
            samples.value_at_rank(rank.ok_or(NullReason::Censored)?)
        }
    };
    recorded.map(|value| value as f64 / scale).ok_or(NullReason::NoSamples)
}

/// The share beyond a percentile on its worse side, in ten-thousandths: above it for a latency, below it for a rate.
fn tail(scaled: u16, samples: &Distribution) -> u64 {
    match Bound::of(samples.kind()) {
        Bound::AtMost => WHOLE - u64::from(scaled),
        Bound::AtLeast => u64::from(scaled),
    }
}

/// Whether a percentile that lies among the requests that were cut off is beyond the limit wherever it lies there: the
/// slowest that completed is. Where nobody knows on which side of the completed ones they are, it has to be so even if
/// each of them had been within.
fn surely_missed(slo: Slo, samples: &Distribution, censored: Censored) -> bool {
    let Figure::Of(_, Statistic::Percentile(scaled)) = slo.figure else { return false };
    let limit = slo.limit * f64::from(samples.kind().units_per_shown());
    match slo.figure.bound() {
        Bound::AtLeast => samples.min().is_some_and(|least| (least as f64) < limit),
        Bound::AtMost if censored.lie_above() => {
            samples.max().is_some_and(|most| most as f64 > limit)
        }
        Bound::AtMost => {
            let over = u128::from(samples.count_above(limit as u64)) * u128::from(WHOLE);
            let count = samples.count();
            let all = u128::from(count.saturating_add(censored.cut_off(count)));
            over > all * u128::from(tail(scaled, samples))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Kind;

    fn latencies_ms(values: impl IntoIterator<Item = u64>) -> Distribution {
        let mut samples = Distribution::new(Kind::Latency);
        values.into_iter().for_each(|ms| samples.record(ms * 1_000));
        samples
    }

    fn outcome(statistic: &str, limit_ms: f64, samples: &Distribution, cut: u64) -> SloResult {
        let figure = Figure::Of(Metric::Ttft, Statistic::from_name(statistic).unwrap());
        let rates = Rates::default();
        let completed = samples.count();
        let books = &Books { completed, cancelled: cut, ..Books::default() };
        let window = Judged { rates: &rates, ttft_over_3s: None, samples: |_| Ok(samples), books };
        judge(Slo { figure, limit: limit_ms * 1_000.0 }, &window)
    }

    #[test]
    fn a_limit_is_met_up_to_itself() {
        // 1 … 100 ms: the 95th of 100 is 95 ms, the mean 50.5 ms.
        let samples = latencies_ms(1..=100);
        for (statistic, limit_ms, met) in [
            ("p95", 95.1, true),
            ("p95", 94.8, false),
            ("mean", 50.5, true),
            ("mean", 50.4, false),
            ("max", 100.0, true),
            ("max", 99.9, false),
        ] {
            let result = outcome(statistic, limit_ms, &samples, 0);
            let wanted = if met { Outcome::Met } else { Outcome::Missed };
            assert_eq!(result.outcome, wanted, "{statistic} {limit_ms} {result:?}");
        }
        assert_eq!(outcome("max", 99.9, &samples, 0).figure, Some(100_000.0));
    }

    #[test]
    fn too_few_samples_decide_nothing() {
        let samples = latencies_ms(1..=99);
        let result = outcome("p99", 1_000.0, &samples, 0);
        assert_eq!(result.outcome, Outcome::Undecided(NullReason::FewSamples)); // 99 × 0.01 < 1
        assert_eq!(result.figure, None);
    }

    #[test]
    fn requests_that_were_cut_off_hide_a_percentile_unless_it_is_missed_without_them() {
        // 2 of 102 requests were cut off, more than the 1 % beyond p99.
        let samples = latencies_ms(1..=100);
        let hidden = outcome("p99", 100.5, &samples, 2).outcome;
        assert_eq!(hidden, Outcome::Undecided(NullReason::Censored));
        // Whatever the two would have taken, it was more than the slowest that completed.
        assert_eq!(outcome("p99", 99.5, &samples, 2).outcome, Outcome::Missed);
        assert_eq!(outcome("p50", 60.0, &samples, 2).outcome, Outcome::Met);
    }

    #[test]
    fn an_objective_is_of_all_requests_and_not_of_the_survivors() {
        // 986 at 60 ms (whose bucket ends at 60.031 ms), 7 at 1 s and 7 cut off: 1.4 % were over 500 ms.
        let mut samples = latencies_ms(std::iter::repeat_n(60, 986));
        samples.record_n(1_000_000, 7);
        let met = outcome("p99", 500.0, &samples, 0);
        assert_eq!((met.outcome, met.figure), (Outcome::Met, Some(60_031.0)));
        let missed = outcome("p99", 500.0, &samples, 7);
        assert_eq!((missed.outcome, missed.figure), (Outcome::Missed, Some(1_000_000.0)));
        // More of them hide the figure, and make nothing better.
        assert_eq!(outcome("p99", 500.0, &samples, 20).outcome, Outcome::Missed);
    }

    #[test]
    fn of_a_rate_the_low_percentiles_are_the_bad_ones() {
        let mut samples = Distribution::new(Kind::Rate);
        (1..=100).for_each(|rate: u64| samples.record(rate * 1_000));
        let rates = Rates::default();
        let at = |scaled, limit, cancelled| {
            let figure = Figure::Of(Metric::TokenRatePerUser, Statistic::Percentile(scaled));
            let books = &Books { completed: 100, cancelled, ..Books::default() };
            let window =
                Judged { rates: &rates, ttft_over_3s: None, samples: |_| Ok(&samples), books };
            judge(Slo { figure, limit }, &window).outcome
        };
        assert_eq!((at(500, 5.0, 0), at(500, 5.1, 0)), (Outcome::Met, Outcome::Missed));
        assert_eq!(at(50, 1.0, 0), Outcome::Undecided(NullReason::FewSamples), "100 × 0.005 < 1");
        // Three of 103 were cut off, slower than all: the 6th of all is the 3rd that completed.
        assert_eq!((at(500, 3.0, 3), at(500, 3.1, 3)), (Outcome::Met, Outcome::Missed));
        // Ten of 110: the 6th is one of them, and slower than 1 a second.
        assert_eq!(at(500, 1.0, 10), Outcome::Undecided(NullReason::Censored));
        assert_eq!(at(500, 1.1, 10), Outcome::Missed);
    }

    #[test]
    fn a_rate_that_is_absent_decides_nothing() {
        let rates = Rates { error_rate: Some(0.02), ..Rates::default() };
        let none = |_| -> Result<&Distribution, NullReason> { Err(NullReason::NoSamples) };
        let books = &Books::default();
        let window = Judged { rates: &rates, ttft_over_3s: None, samples: none, books };
        let of = |rate, limit| judge(Slo { figure: Figure::Rate(rate), limit }, &window).outcome;
        assert_eq!(of(RateFigure::ErrorRate, 0.02), Outcome::Met);
        assert_eq!(of(RateFigure::ErrorRate, 0.01), Outcome::Missed);
        assert_eq!(of(RateFigure::Goodput, 1.0), Outcome::Undecided(NullReason::NoSamples));
    }
}
