//! Latencies of a run that goes on, of the last seconds and so far.
//!
//! Few percentiles of few metrics: a view is made and sent each second. None is told that too few samples support.

use serde::Serialize;

use crate::distribution::Distribution;
use crate::metric::Metric;
use crate::sparse::SparseHistogram;
use crate::summary::Percentile;

/// Upper bounds of the buckets that a latency is told in, microseconds: 0.5 ms to 10 min.
pub const LATENCY_BOUNDS_US: [u64; 23] = [
    500,
    1_000,
    2_500,
    5_000,
    7_500,
    10_000,
    15_000,
    25_000,
    50_000,
    75_000,
    100_000,
    250_000,
    500_000,
    750_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// The latencies that are shown while a run goes on.
pub const LIVE_LATENCIES: [Metric; 6] = [
    Metric::Ttft,
    Metric::Itl,
    Metric::Icl,
    Metric::E2eLatency,
    Metric::ScheduleLag,
    Metric::GeneratorLag,
];

/// What others are told as histograms, which they can add up.
pub const LIVE_DISTRIBUTIONS: [Metric; 9] = [
    Metric::Ttft,
    Metric::Itl,
    Metric::Icl,
    Metric::Tpot,
    Metric::E2eLatency,
    Metric::ScheduleLag,
    Metric::GeneratorLag,
    Metric::OutputTokens,
    Metric::InputTokens,
];

/// Percentiles of a latency; `None` where too few samples support one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct LivePercentiles {
    pub count: u64,
    pub p50_us: Option<u64>,
    pub p90_us: Option<u64>,
    pub p99_us: Option<u64>,
}

/// The latencies of a stretch of the run, over all workers and stages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each is the metric of its name")]
pub struct LiveLatencies {
    pub ttft: LivePercentiles,
    /// Empty where an event is not a token.
    pub itl: LivePercentiles,
    pub icl: LivePercentiles,
    pub e2e_latency: LivePercentiles,
    pub schedule_lag: LivePercentiles,
    pub generator_lag: LivePercentiles,
}

impl LiveLatencies {
    /// Of samples by metric; `itl` only where an event is a token.
    pub fn of(samples: impl Fn(Metric) -> LivePercentiles, chunks_are_tokens: bool) -> Self {
        let itl = if chunks_are_tokens { samples(Metric::Itl) } else { LivePercentiles::default() };
        Self {
            ttft: samples(Metric::Ttft),
            itl,
            icl: samples(Metric::Icl),
            e2e_latency: samples(Metric::E2eLatency),
            schedule_lag: samples(Metric::ScheduleLag),
            generator_lag: samples(Metric::GeneratorLag),
        }
    }

    /// The figures of one of [`LIVE_LATENCIES`].
    pub fn get(&self, metric: Metric) -> Option<&LivePercentiles> {
        match metric {
            Metric::Ttft => Some(&self.ttft),
            Metric::Itl => Some(&self.itl),
            Metric::Icl => Some(&self.icl),
            Metric::E2eLatency => Some(&self.e2e_latency),
            Metric::ScheduleLag => Some(&self.schedule_lag),
            Metric::GeneratorLag => Some(&self.generator_lag),
            _ => None,
        }
    }
}

const SHOWN: [f64; 3] = [0.5, 0.9, 0.99];

impl From<&Distribution> for LivePercentiles {
    fn from(samples: &Distribution) -> Self {
        let values = samples.quantiles(&SHOWN);
        let at = |place: usize| values.get(place).copied();
        Self::supported(samples.count(), [at(0), at(1), at(2)])
    }
}

impl From<&SparseHistogram> for LivePercentiles {
    fn from(samples: &SparseHistogram) -> Self {
        Self::supported(samples.count(), SHOWN.map(|q| samples.quantile(q)))
    }
}

impl LivePercentiles {
    /// As everywhere, a percentile needs a sample beyond it.
    fn supported(count: u64, [p50, p90, p99]: [Option<u64>; 3]) -> Self {
        let told = |at: Percentile, value: Option<u64>| value.filter(|_| at.is_supported(count));
        Self {
            count,
            p50_us: told(Percentile::P50, p50),
            p90_us: told(Percentile::P90, p90),
            p99_us: told(Percentile::P99, p99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(samples: &[u64]) -> Distribution {
        let mut distribution = Distribution::new(Metric::Ttft.kind());
        samples.iter().for_each(|&us| distribution.record(us));
        distribution
    }

    #[test]
    fn a_percentile_needs_a_sample_beyond_it() {
        let of = |count: u64| {
            LivePercentiles::from(&latencies(&(1..=count).map(|n| n * 10).collect::<Vec<_>>()))
        };
        assert_eq!(of(0), LivePercentiles::default());
        assert_eq!((of(1).count, of(1).p50_us), (1, None));
        assert_eq!((of(9).p50_us, of(9).p90_us), (Some(50), None));
        assert_eq!((of(99).p90_us.is_some(), of(99).p99_us), (true, None));
        assert_eq!(of(100).p99_us, Some(990));
    }
}
