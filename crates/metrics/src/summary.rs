//! The figures of one metric over one window, and for each that is absent the reason.
//!
//! A percentile that the samples cannot support is worse than none: it is null where fewer than one sample lies above
//! it, and where it lies among the requests that were cut off (`censoring`), each of which was slower than what is in
//! the histogram. Those count in the rank of the others.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::censoring::Censored;
use crate::confidence::Interval95;
use crate::distribution::Distribution;
use crate::metric::{Kind, Metric};

/// The percentiles that are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Percentile {
    P50,
    P90,
    P95,
    P99,
    P99_9,
}

impl Percentile {
    /// All, in ascending order.
    pub const ALL: [Self; 5] = [Self::P50, Self::P90, Self::P95, Self::P99, Self::P99_9];

    /// Whether so many samples have one beyond it: count × (1 − q) ≥ 1.
    pub(crate) fn is_supported(self, count: u64) -> bool {
        u128::from(count) * u128::from(1_000 - self.permille()) >= 1_000
    }

    /// In thousandths, so that the rules on sample counts are exact.
    pub fn permille(self) -> u32 {
        match self {
            Self::P50 => 500,
            Self::P90 => 900,
            Self::P95 => 950,
            Self::P99 => 990,
            Self::P99_9 => 999,
        }
    }

    /// As a quantile, 0 to 1.
    pub fn quantile(self) -> f64 {
        f64::from(self.permille()) / 1_000.0
    }

    /// The name in files: `p50` … `p99_9`.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P99_9 => "p99_9",
        }
    }
}

/// Why a figure is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NullReason {
    /// Nothing was recorded.
    NoSamples,
    /// count × (1 − q) is under 1; of an interval: no sample bounds it from above.
    FewSamples,
    /// The percentile lies among the requests that were cancelled or timed out.
    Censored,
    /// The answers were not streamed.
    NotStreamed,
    /// Usage and events disagree: an event is not a token. Use `icl` and `tpot`.
    ChunksAreNotTokens,
    /// The window holds under ten blocks, too few to know how much it varies.
    FewBlocks,
    /// The metric's intervals are not kept.
    NotKept,
    /// No answer said how much of its prompt a prefix cache held.
    CacheNotTold,
}

impl NullReason {
    /// Every reason.
    const ALL: [Self; 8] = [
        Self::NoSamples,
        Self::FewSamples,
        Self::Censored,
        Self::NotStreamed,
        Self::ChunksAreNotTokens,
        Self::FewBlocks,
        Self::NotKept,
        Self::CacheNotTold,
    ];

    /// The reason of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSamples => "no_samples",
            Self::FewSamples => "few_samples",
            Self::Censored => "censored",
            Self::NotStreamed => "not_streamed",
            Self::ChunksAreNotTokens => "chunks_are_not_tokens",
            Self::FewBlocks => "few_blocks",
            Self::NotKept => "not_kept",
            Self::CacheNotTold => "cache_not_told",
        }
    }
}

/// What is reported of one metric. Integers are in the kind's recorded unit: µs, tokens, thousandths per second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The unit of the integers.
    pub kind: Kind,
    /// Samples.
    pub count: u64,
    /// Exact mean.
    pub mean: Option<f64>,
    /// Exact standard deviation (n − 1).
    pub stddev: Option<f64>,
    /// Exact minimum.
    pub min: Option<u64>,
    /// Exact maximum.
    pub max: Option<u64>,
    /// Median.
    pub p50: Option<u64>,
    /// 90th percentile.
    pub p90: Option<u64>,
    /// 95th percentile.
    pub p95: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// 99.9th percentile.
    pub p99_9: Option<u64>,
    /// Why single percentiles are absent.
    pub nulls: BTreeMap<Percentile, NullReason>,
    /// 95 % intervals of the percentiles that have one.
    pub ci95: BTreeMap<Percentile, Interval95>,
    /// Why intervals are absent, where that has one reason for all.
    pub ci95_null: Option<NullReason>,
    /// Why the whole metric is absent.
    pub null_reason: Option<NullReason>,
    /// Samples under and over the kind's range.
    pub out_of_range: u64,
}

impl Summary {
    /// A metric that has no figures, and why.
    pub fn absent(kind: Kind, reason: NullReason) -> Self {
        Self {
            kind,
            count: 0,
            mean: None,
            stddev: None,
            min: None,
            max: None,
            p50: None,
            p90: None,
            p95: None,
            p99: None,
            p99_9: None,
            nulls: BTreeMap::new(),
            ci95: BTreeMap::new(),
            ci95_null: None,
            null_reason: Some(reason),
            out_of_range: 0,
        }
    }

    /// The figures of `distribution`; percentiles are those of all requests, with those that were cut off.
    pub fn of(metric: Metric, distribution: &Distribution, censored: Censored) -> Self {
        let mut summary = Self::absent(metric.kind(), NullReason::NoSamples);
        if distribution.is_empty() {
            return summary;
        }
        summary.null_reason = None;
        summary.count = distribution.count();
        summary.mean = distribution.mean();
        summary.stddev = distribution.stddev();
        summary.min = distribution.min();
        summary.max = distribution.max();
        summary.out_of_range = distribution.below() + distribution.above();
        for percentile in Percentile::ALL {
            match rank_of(percentile, summary.count, censored) {
                Err(reason) => drop(summary.nulls.insert(percentile, reason)),
                Ok(rank) => *summary.slot(percentile) = distribution.value_at_rank(rank),
            }
        }
        summary
    }

    /// With the intervals of the percentiles that are there.
    pub fn with_ci95(
        mut self,
        intervals: Result<BTreeMap<Percentile, Interval95>, NullReason>,
    ) -> Self {
        match intervals {
            Err(reason) => self.ci95_null = Some(reason),
            Ok(all) => {
                self.ci95 = all;
                let nulls = &self.nulls;
                self.ci95.retain(|percentile, _| !nulls.contains_key(percentile));
            }
        }
        self
    }

    /// One percentile.
    pub fn percentile(&self, percentile: Percentile) -> Option<u64> {
        match percentile {
            Percentile::P50 => self.p50,
            Percentile::P90 => self.p90,
            Percentile::P95 => self.p95,
            Percentile::P99 => self.p99,
            Percentile::P99_9 => self.p99_9,
        }
    }

    /// Sets one percentile, for who reads a summary back from a file.
    pub fn set_percentile(&mut self, percentile: Percentile, value: Option<u64>) {
        *self.slot(percentile) = value;
    }

    /// The unit that figures are shown in: `us`, `tokens` or `per_s`.
    pub fn unit(&self) -> &'static str {
        self.kind.unit()
    }

    fn slot(&mut self, percentile: Percentile) -> &mut Option<u64> {
        match percentile {
            Percentile::P50 => &mut self.p50,
            Percentile::P90 => &mut self.p90,
            Percentile::P95 => &mut self.p95,
            Percentile::P99 => &mut self.p99,
            Percentile::P99_9 => &mut self.p99_9,
        }
    }
}

/// The percentile's place among the samples. `few_samples`: count × (1 − q) < 1, in integers.
fn rank_of(percentile: Percentile, count: u64, censored: Censored) -> Result<u64, NullReason> {
    if !percentile.is_supported(count) {
        return Err(NullReason::FewSamples);
    }
    censored.rank(count, percentile.quantile()).ok_or(NullReason::Censored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::Books;

    fn of_count(count: u64) -> Distribution {
        let mut distribution = Distribution::new(Kind::Latency);
        (1..=count).for_each(|value| distribution.record(value));
        distribution
    }

    fn cut_off(metric: Metric, completed: u64, cancelled: u64) -> Censored {
        Censored::of(metric, &Books { completed, cancelled, ..Books::default() })
    }

    fn nulls_of(metric: Metric, count: u64, cut: u64) -> Vec<Percentile> {
        let summary = Summary::of(metric, &of_count(count), cut_off(metric, count, cut));
        for percentile in Percentile::ALL {
            let absent = summary.nulls.contains_key(&percentile);
            assert_eq!(summary.percentile(percentile).is_none(), absent);
        }
        summary.nulls.into_keys().collect()
    }

    #[test]
    fn a_percentile_needs_a_sample_above_it() {
        use Percentile::{P50, P90, P95, P99, P99_9};
        assert_eq!(nulls_of(Metric::Ttft, 1, 0), [P50, P90, P95, P99, P99_9]);
        assert_eq!(nulls_of(Metric::Ttft, 2, 0), [P90, P95, P99, P99_9]); // 2 × 0.5 = 1
        assert_eq!(nulls_of(Metric::Ttft, 99, 0), [P99, P99_9]); // 99 × 0.01 < 1
        assert_eq!(nulls_of(Metric::Ttft, 100, 0), [P99_9]); // 100 × 0.01 = 1
        assert_eq!(nulls_of(Metric::Ttft, 999, 0), [P99_9]);
        assert_eq!(nulls_of(Metric::Ttft, 1_000, 0), []);
    }

    #[test]
    fn percentiles_above_one_minus_the_censored_share_are_null() {
        use Percentile::{P95, P99, P99_9};
        assert_eq!(nulls_of(Metric::Ttft, 2_000, 2), []); // ⌈0.999 × 2,002⌉ = 2,000
        assert_eq!(nulls_of(Metric::Ttft, 2_000, 4), [P99_9]); // ⌈0.999 × 2,004⌉ = 2,002
        assert_eq!(nulls_of(Metric::E2eLatency, 2_000, 41), [P99, P99_9]);
        assert_eq!(nulls_of(Metric::E2eLatency, 2_000, 128), [P95, P99, P99_9]);
        assert_eq!(nulls_of(Metric::OutputTokens, 2_000, 128), [P95, P99, P99_9]);
        assert_eq!(nulls_of(Metric::Icl, 2_000, 128), [], "samples of unfinished requests stay");
        let summary = Summary::of(Metric::Ttft, &of_count(2_000), cut_off(Metric::Ttft, 2_000, 41));
        assert_eq!(summary.nulls[&P99], NullReason::Censored);
    }

    #[test]
    fn percentiles_are_those_of_all_requests_not_of_the_survivors() {
        // 986 fast answers, 7 slow ones and 7 that were cut off: 1.4 % of the requests were slow.
        let mut samples = Distribution::new(Kind::Latency);
        samples.record_n(60_000, 986);
        samples.record_n(1_000_000, 7);
        let p99 = |cut| {
            Summary::of(Metric::E2eLatency, &samples, cut_off(Metric::E2eLatency, 993, cut)).p99
        };
        assert_eq!((p99(0), p99(7)), (Some(60_031), Some(1_000_000)));
    }

    #[test]
    fn the_figures_are_those_of_the_distribution() {
        let summary = Summary::of(Metric::Ttft, &of_count(1_000), Censored::default());
        assert_eq!((summary.count, summary.mean, summary.unit()), (1_000, Some(500.5), "us"));
        assert_eq!((summary.min, summary.max), (Some(1), Some(1_000)));
        assert_eq!((summary.p50, summary.p90, summary.p99_9), (Some(500), Some(900), Some(999)));
        assert_eq!(summary.null_reason, None);
    }

    #[test]
    fn intervals_of_null_percentiles_are_left_out() {
        let all = Percentile::ALL.map(|percentile| (percentile, Interval95 { low: 1, high: 2 }));
        let summary = Summary::of(Metric::Ttft, &of_count(100), Censored::default())
            .with_ci95(Ok(all.into()));
        assert!(summary.ci95.contains_key(&Percentile::P99));
        assert!(!summary.ci95.contains_key(&Percentile::P99_9));
        let without = Summary::of(Metric::Ttft, &of_count(100), Censored::default());
        let without = without.with_ci95(Err(NullReason::FewBlocks));
        assert_eq!((without.ci95.len(), without.ci95_null), (0, Some(NullReason::FewBlocks)));
    }

    #[test]
    fn nothing_recorded_says_so() {
        let empty = Distribution::new(Kind::Latency);
        let summary = Summary::of(Metric::Ttft, &empty, Censored::default());
        assert_eq!(summary, Summary::absent(Kind::Latency, NullReason::NoSamples));
    }
}
