//! Where a percentile of all requests lies when some of them were cut off.
//!
//! Of a request that was cancelled or timed out it is known that its answer took longer than it was waited for, and not
//! how long. To leave it out would make the percentiles those of the survivors: with 7 of 1,000 requests cut off and 7
//! more slow, p99 of the 993 that completed is still a fast one, though 1.4 % of the requests were slow. So they are
//! counted above all that completed (type I censoring at an unknown limit: the order statistics up to the last
//! completed one are known, those beyond are not), and of rates under them. What says nothing of the answer's time
//! (token counts, the generator's own lags) has no such order: its percentiles stay those of the completed requests.

use crate::books::Books;
use crate::distribution::rank;
use crate::metric::{Kind, Metric};
use crate::result::WindowResult;

/// On which side of the completed requests' samples those of the others would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Side {
    /// Slower than all: answers' latencies.
    #[default]
    Above,
    /// Fewer per second than all: answers' rates.
    Below,
    /// Nobody knows.
    Unknown,
}

impl Side {
    fn of(metric: Metric) -> Self {
        match metric {
            Metric::ScheduleLag
            | Metric::CapWait
            | Metric::GeneratorLag
            | Metric::ConnectWait
            | Metric::Write
            | Metric::WriteCall
            | Metric::Connect => Self::Unknown,
            _ => match metric.kind() {
                Kind::Latency => Self::Above,
                Kind::Rate => Self::Below,
                Kind::Count => Self::Unknown,
            },
        }
    }
}

/// Requests that were cut off, as one metric of a window sees them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Censored {
    requests: u64,
    completed: u64,
    side: Side,
}

impl Censored {
    /// Of a window's requests; none of a metric whose samples stay whatever becomes of the request.
    pub fn of(metric: Metric, books: &Books) -> Self {
        if !metric.per_request() {
            return Self::default();
        }
        let (requests, completed) = (books.censored(), books.completed);
        Self { requests, completed, side: Side::of(metric) }
    }

    /// Of several windows together.
    pub fn of_windows(metric: Metric, windows: &[&WindowResult]) -> Self {
        if !metric.per_request() {
            return Self::default();
        }
        let completed = |window: &&WindowResult| {
            window.metrics.get(&Metric::E2eLatency).map_or(0, |summary| summary.count)
        };
        let requests = windows.iter().map(|window| window.notes.censored).sum();
        let completed = windows.iter().map(completed).sum();
        Self { requests, completed, side: Side::of(metric) }
    }

    /// The place of the q-quantile of all requests among the `count` samples of the completed ones, counted from 1 in
    /// ascending order: ⌈q·(count + those cut off)⌉, of rates less those cut off. `None` where it lies among the
    /// requests that were cut off.
    pub fn rank(self, count: u64, q: f64) -> Option<u64> {
        let of_all = rank(self.ranked(count), q);
        match self.side {
            // Whatever those cut off would have been, the rule of what is hidden is the same for all metrics.
            Side::Unknown if rank(count.saturating_add(self.cut_off(count)), q) > count => None,
            Side::Above | Side::Below | Side::Unknown => self.among_completed(of_all, count),
        }
    }

    /// The quantile of the completed requests that is the q-quantile of all, within 0 to 1: for draws of a run's
    /// stretches, whose number of samples varies and in each of which the same share is taken to have been cut off.
    pub(crate) fn quantile(self, q: f64) -> f64 {
        let ratio = match self.completed {
            0 => 0.0,
            completed => self.requests as f64 / completed as f64,
        };
        let quantile = match self.side {
            Side::Above => q * (1.0 + ratio),
            Side::Below => q * (1.0 + ratio) - ratio,
            Side::Unknown => q,
        };
        quantile.clamp(0.0, 1.0)
    }

    /// How many samples have an order, where `count` were recorded.
    pub(crate) fn ranked(self, count: u64) -> u64 {
        match self.side {
            Side::Above | Side::Below => count.saturating_add(self.cut_off(count)),
            Side::Unknown => count,
        }
    }

    /// A place among all that have an order as one among the `count` samples, if it is one.
    pub(crate) fn among_completed(self, place: u64, count: u64) -> Option<u64> {
        let place = match self.side {
            Side::Above | Side::Unknown => place,
            Side::Below => place.checked_sub(self.cut_off(count))?,
        };
        (1..=count).contains(&place).then_some(place)
    }

    /// Whether they are known to be slower than all that completed.
    pub(crate) fn lie_above(self) -> bool {
        self.side == Side::Above
    }

    /// How many samples are missing beside `count`: of a metric that not every request has (a `tpot`, a `ttft_hit`) in
    /// the proportion of those that completed.
    pub(crate) fn cut_off(self, count: u64) -> u64 {
        if self.completed == 0 {
            return self.requests;
        }
        let product = u128::from(self.requests) * u128::from(count);
        u64::try_from(product.div_ceil(u128::from(self.completed))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn censored(metric: Metric, cancelled: u64, completed: u64) -> Censored {
        Censored::of(metric, &Books { completed, cancelled, ..Books::default() })
    }

    #[test]
    fn the_rank_is_that_of_all_requests() {
        // 7 of 1,000 cut off: the 990th of all is the 990th of the 993 that completed, not the 984th.
        let latency = censored(Metric::E2eLatency, 7, 993);
        assert_eq!(latency.rank(993, 0.99), Some(990));
        assert_eq!(latency.rank(993, 0.999), None, "the 999th is one of the seven");
        // Of rates those cut off are the slowest: the 50th of all is the 43rd that completed.
        let rate = censored(Metric::OutputRate, 7, 993);
        assert_eq!((rate.rank(993, 0.05), rate.rank(993, 0.007)), (Some(43), None));
        assert_eq!(rate.rank(993, 0.999), Some(992));
        // How long a prompt was says nothing of who was cut off.
        let tokens = censored(Metric::InputTokens, 7, 993);
        assert_eq!((tokens.rank(993, 0.5), tokens.rank(993, 0.999)), (Some(497), None));
        assert_eq!(censored(Metric::Icl, 7, 993).rank(5_000, 0.999), Some(4_995));
    }

    #[test]
    fn a_metric_that_some_requests_have_misses_its_part() {
        // A tenth of the requests were hits, so one of ten that were cut off.
        let hits = censored(Metric::TtftHit, 10, 1_000);
        assert_eq!((hits.rank(100, 0.99), hits.rank(100, 0.5)), (Some(100), Some(51)));
        assert_eq!(censored(Metric::Ttft, 3, 0).rank(0, 0.5), None);
    }

    proptest! {
        #[test]
        fn the_rank_is_where_the_order_of_all_says(
            completed in prop::collection::vec(1_u64..1_000, 1..200), cut in 0_u64..50, permille in 1_u32..1_000,
        ) {
            let (count, q) = (completed.len() as u64, f64::from(permille) / 1_000.0);
            let mut all = completed.clone();
            all.extend(std::iter::repeat_n(u64::MAX, usize::try_from(cut).unwrap()));
            all.sort_unstable();
            let place = (u64::from(permille) * all.len() as u64).div_ceil(1_000);
            let wanted = all[usize::try_from(place).unwrap() - 1];
            let mut known = completed;
            known.sort_unstable();
            let found = censored(Metric::Ttft, cut, count).rank(count, q);
            let found = found.map(|rank| known[usize::try_from(rank).unwrap() - 1]);
            prop_assert_eq!(found, (wanted != u64::MAX).then_some(wanted));
        }

        #[test]
        fn without_any_cut_off_nothing_changes(count in 1_u64..5_000, permille in 1_u32..1_000) {
            let q = f64::from(permille) / 1_000.0;
            for metric in [Metric::Ttft, Metric::OutputRate, Metric::OutputTokens, Metric::Icl] {
                let none = censored(metric, 0, count);
                prop_assert_eq!(none.rank(count, q), Some(rank(count, q)));
                prop_assert_eq!(none.quantile(q), q);
            }
        }

        #[test]
        fn the_quantile_of_the_draws_is_that_of_the_rank(
            count in 1_u64..5_000, cut in 0_u64..200, permille in 1_u32..1_000,
        ) {
            let q = f64::from(permille) / 1_000.0;
            for metric in [Metric::Ttft, Metric::OutputRate] {
                let some = censored(metric, cut, count);
                if let Some(found) = some.rank(count, q) {
                    prop_assert!(found.abs_diff(rank(count, some.quantile(q))) <= 1);
                }
            }
        }
    }
}
