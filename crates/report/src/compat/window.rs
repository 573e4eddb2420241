//! One window of a run as the exports see it: any percentile of any metric, by the rules of the summary.
//!
//! Others' files have percentiles that ours do not (p1, p25, p75): they are taken from the histograms. A percentile that
//! fewer than one sample lies beyond, on either side, or that cut-off requests hide, is absent here as everywhere.

use std::borrow::Cow;

use metrics::{
    Books, Censored, Distribution, Metric, Percentile, RunResult, StageResult, Summary,
    WindowResult,
};

use crate::document::merged_headline;

/// The headline, or one stage.
pub(super) struct Window<'a> {
    pub(super) result: &'a WindowResult,
    pub(super) books: Books,
    whole: &'a RunResult,
    stage: Option<&'a StageResult>,
}

impl<'a> Window<'a> {
    pub(super) fn headline(whole: &'a RunResult) -> Self {
        Self { result: &whole.overall, books: whole.headline_books(), whole, stage: None }
    }

    pub(super) fn stage(whole: &'a RunResult, stage: &'a StageResult) -> Self {
        Self { result: &stage.window, books: stage.books.clone(), whole, stage: Some(stage) }
    }

    /// Requests that were sent, as far as anybody knows.
    pub(super) fn started(&self) -> u64 {
        self.books.started() + self.books.lost.total()
    }

    /// A metric's figures; `None` where it has none.
    pub(super) fn samples(&self, metric: Metric) -> Option<Samples<'a>> {
        let summary = self.result.metrics.get(&metric)?;
        if summary.null_reason.is_some() || summary.count == 0 {
            return None;
        }
        let distribution = match self.stage {
            Some(stage) => stage.distributions.get(&metric).map(Cow::Borrowed),
            None => merged_headline(self.whole, metric).map(Cow::Owned),
        };
        let censored = Censored::of(metric, &self.books);
        let distribution = distribution.filter(|samples| !samples.is_empty());
        Some(Samples { metric, summary, distribution, censored })
    }
}

/// One metric's samples. Figures are in the metric's recorded unit divided by `unit`.
pub(super) struct Samples<'a> {
    metric: Metric,
    summary: &'a Summary,
    /// `None` where the file that holds it is missing.
    distribution: Option<Cow<'a, Distribution>>,
    /// The requests that were cut off.
    censored: Censored,
}

/// Recorded units of one second, one token, or one per second.
pub(super) fn base_unit(metric: Metric) -> f64 {
    match metric.kind() {
        metrics::Kind::Latency => 1e6,
        kind @ (metrics::Kind::Count | metrics::Kind::Rate) => f64::from(kind.units_per_shown()),
    }
}

impl Samples<'_> {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.summary.count
    }

    /// Seconds, tokens or a rate per second.
    fn based(&self, recorded: f64) -> f64 {
        recorded / base_unit(self.metric)
    }

    pub(super) fn mean(&self) -> Option<f64> {
        self.summary.mean.map(|mean| self.based(mean))
    }

    /// With n − 1.
    pub(super) fn stddev(&self) -> Option<f64> {
        self.summary.stddev.map(|stddev| self.based(stddev))
    }

    /// With n, as numpy's `std` has it.
    pub(super) fn population_stddev(&self) -> Option<f64> {
        let count = self.count() as f64;
        self.stddev().map(|stddev| stddev * ((count - 1.0) / count).sqrt())
    }

    pub(super) fn min(&self) -> Option<f64> {
        self.summary.min.map(|min| self.based(min as f64))
    }

    pub(super) fn max(&self) -> Option<f64> {
        self.summary.max.map(|max| self.based(max as f64))
    }

    /// The sum of all samples.
    pub(super) fn sum(&self) -> Option<f64> {
        let exact = self.distribution.as_ref().and_then(|samples| samples.sum());
        let of_mean = || self.summary.mean.map(|mean| (mean * self.count() as f64).round());
        exact.map(|sum| sum as f64).or_else(of_mean).map(|sum| self.based(sum))
    }

    /// The percentile, 0 to 100; `None` where the samples do not support it.
    pub(super) fn percentile(&self, percent: f64) -> Option<f64> {
        let q = percent / 100.0;
        // One sample has to lie beyond it: rounding must not decide on 100 × 0.01.
        let beyond = self.count() as f64 * q.min(1.0 - q);
        if beyond < 1.0 - 1e-9 {
            return None;
        }
        let rank = self.censored.rank(self.count(), q)?;
        let of_summary = || {
            let known = Percentile::ALL.into_iter().find(|p| (p.quantile() - q).abs() < 1e-9)?;
            self.summary.percentile(known)
        };
        let value = match &self.distribution {
            Some(samples) => samples.value_at_rank(rank),
            None => of_summary(),
        };
        value.map(|value| self.based(value as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn percentiles_of_others_follow_the_rules_of_ours() {
        let result = example::one_stage();
        let window = Window::headline(&result);
        let ttft = window.samples(Metric::Ttft).unwrap();
        assert_eq!(
            ttft.percentile(50.0),
            result.overall.metrics[&Metric::Ttft].p50.map(|us| us as f64 / 1e6)
        );
        assert!(ttft.percentile(25.0) < ttft.percentile(75.0));
        // 2,000 samples: two lie under p0.1 and two over p99.9; none under p0.01.
        assert!(ttft.percentile(0.1).is_some() && ttft.percentile(99.9).is_some());
        assert_eq!(ttft.percentile(0.01), None);
        let troubled = example::troubled();
        let low = Window::stage(&troubled, &troubled.stages[1]);
        let ttft = low.samples(Metric::Ttft).unwrap();
        assert_eq!((ttft.count(), ttft.percentile(99.0)), (40, None));
        let headline = Window::headline(&troubled);
        assert_eq!(headline.samples(Metric::Ttft).unwrap().percentile(99.0), None, "censored");
        assert!(headline.samples(Metric::Itl).is_none(), "an event is not a token");
    }

    #[test]
    fn percentiles_are_those_of_all_requests() {
        let mut result = example::one_stage();
        let at = |result: &RunResult, percent| {
            Window::headline(result).samples(Metric::Ttft).unwrap().percentile(percent)
        };
        let (p95, p99) = (at(&result, 95.0), at(&result, 99.0));
        // 2,000 completed; with 90 cut off p95 of all is the 1,986th of them, and p99 is not among them.
        result.stages[0].books.cancelled += 90;
        assert!(p99.is_some() && at(&result, 99.0).is_none());
        assert!(at(&result, 95.0) > p95, "{p95:?} {:?}", at(&result, 95.0));
    }

    #[test]
    fn without_histograms_there_are_the_percentiles_of_the_summary() {
        let mut result = example::one_stage();
        result.stages[0].distributions.clear();
        let window = Window::headline(&result);
        let ttft = window.samples(Metric::Ttft).unwrap();
        assert!(ttft.percentile(99.0).is_some());
        assert_eq!(ttft.percentile(75.0), None);
        let tokens = window.samples(Metric::OutputTokens).unwrap();
        assert_eq!((tokens.sum(), tokens.stddev()), (Some(16_000.0), Some(0.0)));
    }
}
