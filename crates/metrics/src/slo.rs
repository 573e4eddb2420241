//! Objectives of a run: what its figures must reach, and what each single request must.
//!
//! An objective is decided only where its figure is one: a percentile that too few samples support, or that cut-off
//! requests hide, is *undecided* with the reason, because "met" by lack of evidence is what an objective is there to
//! prevent. Each single request is judged where it completes, by its own figures; no histogram could do that afterwards
//! (which of the slow TTFTs had the slow TPOT is not in it).

mod figure;
mod judge;

pub use figure::{Bound, Figure, RateFigure, Statistic};
pub(crate) use judge::{Judged, figure_of, judge, rate_of};
pub use judge::{Outcome, SloResult};

use serde::{Deserialize, Serialize};

use crate::metric::Metric;

/// One objective: a figure of a window and its limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Which figure.
    pub figure: Figure,
    /// In the unit of [`Figure::unit`]: µs of a latency, a share from 0 to 1, …
    pub limit: f64,
}

/// What each single request must reach to count for the goodput.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLimit {
    /// A metric that a request has once ([`Metric::per_request`]).
    pub metric: Metric,
    /// In the metric's recorded unit: µs, tokens, thousandths per second.
    pub limit: u64,
}

impl RequestLimit {
    /// Whether a request with this value is within it. A request that has no such figure (no `tpot` where one token was
    /// answered) has nothing to miss.
    pub fn holds(self, value: Option<u64>) -> bool {
        match (Bound::of(self.metric.kind()), value) {
            (_, None) => true,
            (Bound::AtMost, Some(value)) => value <= self.limit,
            (Bound::AtLeast, Some(value)) => value >= self.limit,
        }
    }
}

/// All objectives of a run, or of a part of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Slos {
    /// Of the window's figures.
    pub limits: Vec<Slo>,
    /// Of each request.
    pub per_request: Vec<RequestLimit>,
}

impl Slos {
    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.per_request.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_within_a_latency_up_to_it_and_within_a_rate_from_it_on() {
        let ttft = RequestLimit { metric: Metric::Ttft, limit: 500_000 };
        assert!(ttft.holds(Some(500_000)) && !ttft.holds(Some(500_001)));
        let rate = RequestLimit { metric: Metric::OutputRate, limit: 20_000 };
        assert!(rate.holds(Some(20_000)) && !rate.holds(Some(19_999)));
        assert!(ttft.holds(None), "what it does not have it cannot miss");
    }
}
