//! What the measured stages have in common: their samples together, and how gaps between tokens are told.

use std::collections::BTreeMap;

use metrics::{Distribution, Metric, RunResult};

/// The samples of the headline's stages, merged once for all charts.
#[derive(Debug)]
pub(crate) struct Headline {
    distributions: BTreeMap<Metric, Distribution>,
    /// `itl`, or `icl` where an event of the server is not one token.
    pub(crate) token_gap: Metric,
}

impl Headline {
    pub(crate) fn of(result: &RunResult) -> Self {
        let present = |metric: Metric| {
            let summary = result.overall.metrics.get(&metric);
            summary.is_some_and(|summary| summary.null_reason.is_none() && summary.count > 0)
        };
        let token_gap =
            if present(Metric::Itl) || !present(Metric::Icl) { Metric::Itl } else { Metric::Icl };
        let shown = [Metric::Ttft, token_gap, Metric::Tpot, Metric::E2eLatency];
        let wanted = shown.into_iter().filter(|metric| present(*metric));
        let distributions =
            wanted.filter_map(|metric| Some((metric, merged_headline(result, metric)?)));
        Self { distributions: distributions.collect(), token_gap }
    }

    /// `None` where there is no sample, or where it would mean nothing.
    pub(crate) fn distribution(&self, metric: Metric) -> Option<&Distribution> {
        self.distributions.get(&metric)
    }

    pub(crate) fn token_gap_label(&self) -> &'static str {
        if self.token_gap == Metric::Icl { "inter-chunk" } else { "inter-token" }
    }
}

/// The samples of a metric in all stages of the headline; `None` without any.
pub(crate) fn merged_headline(result: &RunResult, metric: Metric) -> Option<Distribution> {
    let mut merged = Distribution::new(metric.kind());
    for stage in result.stages.iter().filter(|stage| stage.headline) {
        if let Some(samples) = stage.distributions.get(&metric) {
            merged.merge(samples).ok()?;
        }
    }
    (!merged.is_empty()).then_some(merged)
}
