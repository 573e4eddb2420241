//! What an observer sees while a run goes on: the last second and the sums so far.

use std::time::Duration;

use metrics::{Books, Distribution, Interval, Metric, SecondCounts};
use tokio::time::Instant;

use crate::{Ledger, Phase};

/// One view of a run, replaced once a second.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Where the run is.
    pub phase: Phase,
    /// When run time was or will be zero.
    pub start: Option<Instant>,
    /// The last second that was reported, and its counters over all workers.
    pub second: Option<(u32, SecondCounts)>,
    /// `ttft` p50 and p99 of the requests that completed since the last view.
    pub ttft: Option<(Duration, Duration)>,
    /// `itl` p50 and p99 of the tokens since the last view.
    pub itl: Option<(Duration, Duration)>,
    /// `generator_lag` p99 since the last view.
    pub generator_lag_p99: Option<Duration>,
    /// Everything so far.
    pub books: Books,
    /// Workers heard, workers expected.
    pub workers: (usize, usize),
}

impl Progress {
    /// Before anything has happened.
    #[must_use]
    pub fn nothing_yet(expected: usize) -> Self {
        Self {
            phase: Phase::Forming,
            start: None,
            second: None,
            ttft: None,
            itl: None,
            generator_lag_p99: None,
            books: Books::default(),
            workers: (0, expected),
        }
    }

    /// Takes what was merged since the last view.
    pub(crate) fn refresh(&mut self, recent: &Interval, ledger: &Ledger) {
        self.second = ledger.last_second().map(|second| {
            (second, ledger.total().seconds.get(&second).copied().unwrap_or_default())
        });
        self.ttft = percentiles(recent, Metric::Ttft);
        self.itl = percentiles(recent, Metric::Itl);
        self.generator_lag_p99 = percentiles(recent, Metric::GeneratorLag).map(|(_, p99)| p99);
        self.books = ledger.total().books();
    }
}

fn percentiles(interval: &Interval, metric: Metric) -> Option<(Duration, Duration)> {
    let mut merged = Distribution::new(metric.kind());
    for record in interval.scopes.values() {
        if let Some(distribution) = record.distribution(metric) {
            merged.merge(distribution).ok()?;
        }
    }
    let at = |q| merged.quantile(q).map(Duration::from_micros);
    Some((at(0.5)?, at(0.99)?))
}
