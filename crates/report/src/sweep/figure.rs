//! The figures of a run that a table of many runs has room for.

use metrics::{Metric, Percentile, RunResult, WindowResult};

use crate::figures::{milliseconds, percent, quantity};

/// One column.
pub(crate) struct Figure {
    /// In files, with its unit.
    pub(crate) column: &'static str,
    /// Over a column that people read.
    pub(crate) short: &'static str,
    /// The value; none where the run has none.
    pub(crate) of: fn(&RunResult) -> Option<f64>,
    /// As people read it.
    pub(crate) shown: fn(f64) -> String,
}

const fn figure(
    column: &'static str,
    short: &'static str,
    of: fn(&RunResult) -> Option<f64>,
    shown: fn(f64) -> String,
) -> Figure {
    Figure { column, short, of, shown }
}

/// In the order of the table.
#[rustfmt::skip]
pub(crate) const FIGURES: &[Figure] = &[
    figure("offered_per_s", "offered/s", |run| run.overall.rates.offered, quantity),
    figure("throughput_per_s", "req/s", |run| run.overall.rates.throughput, quantity),
    figure("tokens_per_s", "tok/s", |run| run.overall.rates.tokens_per_second, quantity),
    figure("goodput_per_s", "goodput/s", |run| run.overall.rates.goodput, quantity),
    figure("error_rate", "errors", |run| run.overall.rates.error_rate, percent),
    figure("cache_hit_ratio", "cached", |run| run.overall.rates.cache_hit_ratio, percent),
    figure("ttft_p50_us", "ttft p50", |run| of(run, Metric::Ttft, Percentile::P50), milliseconds),
    figure("ttft_p95_us", "ttft p95", |run| of(run, Metric::Ttft, Percentile::P95), milliseconds),
    figure("ttft_p99_us", "ttft p99", |run| of(run, Metric::Ttft, Percentile::P99), milliseconds),
    figure("token_gap_p50_us", "itl p50", |run| gap(run, Percentile::P50), milliseconds),
    figure("token_gap_p99_us", "itl p99", |run| gap(run, Percentile::P99), milliseconds),
    figure("e2e_p50_us", "e2e p50", |run| of(run, Metric::E2eLatency, Percentile::P50), milliseconds),
    figure("e2e_p99_us", "e2e p99", |run| of(run, Metric::E2eLatency, Percentile::P99), milliseconds),
    figure("schedule_lag_p99_us", "lag p99", |run| of(run, Metric::ScheduleLag, Percentile::P99), milliseconds),
];

/// A percentile of the headline, in microseconds.
pub(crate) fn of(run: &RunResult, metric: Metric, percentile: Percentile) -> Option<f64> {
    in_window(&run.overall, metric, percentile)
}

fn in_window(window: &WindowResult, metric: Metric, percentile: Percentile) -> Option<f64> {
    window.metrics.get(&metric)?.percentile(percentile).map(|us| us as f64)
}

/// `itl`, or `icl` where an event of the server is not one token.
fn gap(run: &RunResult, percentile: Percentile) -> Option<f64> {
    of(run, Metric::Itl, percentile).or_else(|| of(run, Metric::Icl, percentile))
}
