//! The least step in which a figure of one run can change.
//!
//! Throughput of a window moves by one request over its length, a percentile by a bucket of its histogram. Runs of one
//! service can therefore agree to the last digit and still have been rounded from figures that differ; three runs with
//! 2,999 requests and three with 3,000 would "differ for certain" were their spread of zero taken at its word.

use crate::metric::Kind;
use crate::result::RunResult;
use crate::slo::{Figure, RateFigure, Statistic};

/// Half a bucket of a histogram, as a share of the value: buckets are at most 0.1 % wide.
const HALF_BUCKET: f64 = 0.000_5;
/// Samples are whole recorded units.
const HALF_UNIT: f64 = 0.5;

/// In the unit of [`Figure::unit`]; 0 where nothing is known.
pub(super) fn resolution(result: &RunResult, figure: Figure, value: f64) -> f64 {
    match figure {
        Figure::Rate(rate) => of_rate(result, rate, value),
        Figure::Of(metric, statistic) => {
            let half_unit = HALF_UNIT / f64::from(metric.kind().units_per_shown());
            match (statistic, metric.kind()) {
                (Statistic::Mean, Kind::Count) => {
                    one_of(result.overall.metrics.get(&metric).map_or(0, |one| one.count) as f64)
                }
                (Statistic::Mean, Kind::Latency | Kind::Rate) => half_unit,
                (Statistic::Percentile(_) | Statistic::Min | Statistic::Max, _) => {
                    half_unit.max(HALF_BUCKET * value.abs())
                }
            }
        }
    }
}

/// One request over the window, of tokens those of one request; of a share one of the requests that it is of.
fn of_rate(result: &RunResult, rate: RateFigure, value: f64) -> f64 {
    let window = &result.overall;
    let one_request = one_of(window.measured.as_secs_f64());
    match rate {
        RateFigure::Throughput
        | RateFigure::Goodput
        | RateFigure::OfferedRate
        | RateFigure::AchievedRate => one_request,
        RateFigure::TokensPerSecond
        | RateFigure::InputTokensPerSecond
        | RateFigure::TotalTokensPerSecond => {
            let answers = window.rates.throughput.filter(|throughput| *throughput > 0.0);
            one_request * answers.map_or(1.0, |throughput| value / throughput)
        }
        RateFigure::ErrorRate | RateFigure::TtftOver3s | RateFigure::SloAttainment => {
            one_of(requests_of(result, rate))
        }
    }
}

/// How many requests a share is of.
pub(super) fn requests_of(result: &RunResult, share: RateFigure) -> f64 {
    let books = result.headline_books();
    let requests = match share {
        RateFigure::TtftOver3s => {
            let ttft = result.overall.metrics.get(&crate::Metric::Ttft);
            ttft.map_or(0, |summary| summary.count)
        }
        RateFigure::SloAttainment => books.started(),
        _ => books.completed.saturating_add(books.failed_total()),
    };
    requests as f64
}

fn one_of(count: f64) -> f64 {
    if count > 0.0 { 1.0 / count } else { 0.0 }
}
