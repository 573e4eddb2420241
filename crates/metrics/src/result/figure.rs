//! One figure of a whole run, by name.

use super::RunResult;
use crate::books::Books;
use crate::censoring::Censored;
use crate::distribution::Distribution;
use crate::metric::Metric;
use crate::slo::{Figure, Statistic, figure_of, rate_of};
use crate::summary::{NullReason, Percentile};

impl RunResult {
    /// A figure of the headline in the unit of [`Figure::unit`], or why there is none. What the summary holds is what is
    /// given; any other percentile comes from the measured stages' samples, by the same rules.
    pub fn figure(&self, figure: Figure) -> Result<f64, NullReason> {
        let (metric, statistic) = match figure {
            Figure::Rate(rate) => {
                let rate = rate_of(&self.overall.rates, self.overall.ttft_over_3s, rate);
                return rate.ok_or(NullReason::NoSamples);
            }
            Figure::Of(metric, statistic) => (metric, statistic),
        };
        let summary = self.overall.metrics.get(&metric).ok_or(NullReason::NoSamples)?;
        if let Some(reason) = summary.null_reason {
            return Err(reason);
        }
        let recorded = match (statistic, reported(statistic)) {
            (_, Some(percentile)) => match summary.nulls.get(&percentile) {
                Some(reason) => return Err(*reason),
                None => summary.percentile(percentile).map(|value| value as f64),
            },
            (Statistic::Percentile(_), None) => return self.other_percentile(metric, statistic),
            (Statistic::Mean, None) => summary.mean,
            (Statistic::Min, None) => summary.min.map(|value| value as f64),
            (Statistic::Max, None) => summary.max.map(|value| value as f64),
        };
        let per_shown = f64::from(metric.kind().units_per_shown());
        recorded.map(|value| value / per_shown).ok_or(NullReason::NoSamples)
    }

    fn other_percentile(&self, metric: Metric, statistic: Statistic) -> Result<f64, NullReason> {
        let mut merged = Distribution::new(metric.kind());
        for stage in self.stages.iter().filter(|stage| stage.headline) {
            if let Some(samples) = stage.distributions.get(&metric) {
                merged.merge(samples).map_err(|_| NullReason::NoSamples)?;
            }
        }
        figure_of(&merged, statistic, Censored::of(metric, &self.headline_books()))
    }

    /// What became of the requests due in the headline.
    pub fn headline_books(&self) -> Books {
        let mut books = Books::default();
        let stages = self.stages.iter().filter(|stage| stage.headline);
        stages.for_each(|stage| books.merge(&stage.books));
        books
    }
}

/// The percentile of the summary that it is, if it is one.
fn reported(statistic: Statistic) -> Option<Percentile> {
    let Statistic::Percentile(scaled) = statistic else { return None };
    let same = |percentile: &Percentile| percentile.permille() * 10 == u32::from(scaled);
    Percentile::ALL.into_iter().find(same)
}
