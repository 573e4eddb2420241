//! Which two order statistics enclose a percentile with 95 % probability, if samples are independent.
//!
//! The number of samples under the true q-quantile is binomial (n, q); the interval runs from order statistic l to u
//! with P(l ≤ B < u) ≥ 0.95, each tail at most 2.5 % (Hahn and Meeker, *Statistical Intervals*, §5.2).

use crate::summary::Percentile;

/// From this variance on the normal approximation is used; under it the tail is summed exactly.
const NORMAL_FROM: f64 = 100.0;
const TAIL: f64 = 0.025;
/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_985;

/// One-based ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ranks {
    pub(super) low: u64,
    pub(super) high: u64,
}

/// The ranks for n samples; `None` where the upper one would lie beyond the largest sample (or the lower one before the
/// smallest).
pub(super) fn order_statistics(n: u64, percentile: Percentile) -> Option<Ranks> {
    let q = percentile.quantile();
    let variance = n as f64 * q * (1.0 - q);
    let ranks = if variance >= NORMAL_FROM { normal(n, q, variance) } else { exact(n, q) };
    let (low, high) = ranks?;
    (low >= 1 && high <= n).then_some(Ranks { low, high })
}

fn normal(n: u64, q: f64, variance: f64) -> Option<(u64, u64)> {
    let (middle, reach) = (n as f64 * q, Z * variance.sqrt());
    Some(((middle - reach).floor() as u64, (middle + reach).ceil() as u64 + 1))
}

/// Counts samples *above* the quantile, A ~ binomial (n, 1 − q): few, so that the sum is short. The upper rank is n − a
/// for the largest a with P(A ≤ a) ≤ 2.5 %; the lower one n − b for the smallest b with P(A > b) ≤ 2.5 %.
fn exact(n: u64, q: f64) -> Option<(u64, u64)> {
    let odds = (1.0 - q) / q;
    let mut probability = (n as f64 * q.ln()).exp();
    let mut cumulative = probability;
    let (mut above, mut largest) = (0_u64, None);
    while cumulative < 1.0 - TAIL {
        if cumulative <= TAIL {
            largest = Some(above);
        }
        if above >= n {
            return None;
        }
        probability *= (n - above) as f64 / (above + 1) as f64 * odds;
        above += 1;
        cumulative += probability;
    }
    Some((n.checked_sub(above)?, n - largest?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranks(n: u64, percentile: Percentile) -> Option<(u64, u64)> {
        order_statistics(n, percentile).map(|ranks| (ranks.low, ranks.high))
    }

    #[test]
    fn small_samples_have_the_ranks_of_the_tables() {
        // Hahn and Meeker, Table A.15: the median of 10 lies between the 2nd and the 9th (97.9 %), of 100 between the
        // 40th and the 61st (96.5 %).
        assert_eq!(ranks(10, Percentile::P50), Some((2, 9)));
        assert_eq!(ranks(100, Percentile::P50), Some((40, 61)));
    }

    #[test]
    fn an_upper_limit_beyond_the_largest_sample_is_none() {
        // 0.99^367 = 2.501 %, 0.99^368 = 2.476 %.
        assert_eq!(ranks(367, Percentile::P99), None);
        assert_eq!(ranks(368, Percentile::P99).map(|(_, high)| high), Some(368));
        // 0.5^5 = 3.1 %, 0.5^6 = 1.6 %.
        assert_eq!(ranks(5, Percentile::P50), None);
        assert_eq!(ranks(6, Percentile::P50), Some((1, 6)));
    }

    #[test]
    fn the_normal_approximation_meets_the_exact_ranks_where_it_takes_over() {
        for (n, percentile) in [(400, Percentile::P50), (1_112, Percentile::P90)] {
            let q = percentile.quantile();
            let variance = n as f64 * q * (1.0 - q);
            let ((low, high), (exact_low, exact_high)) =
                (normal(n, q, variance).unwrap(), exact(n, q).unwrap());
            assert!(low.abs_diff(exact_low) <= 1, "{low} {exact_low}");
            assert!(high.abs_diff(exact_high) <= 2, "{high} {exact_high}");
        }
    }

    #[test]
    fn the_ranks_enclose_the_percentile_with_at_least_95_percent() {
        for n in [400_u64, 700, 3_000] {
            for percentile in [Percentile::P90, Percentile::P95] {
                let Some((low, high)) = ranks(n, percentile) else { continue };
                let q = percentile.quantile();
                let inside: f64 = (low..high).map(|k| pmf(n, q, k)).sum();
                assert!(inside > 0.945, "{inside} for {n}");
                assert!(inside < 0.985, "{inside} for {n}: wider than needed");
            }
        }
    }

    /// P(B = k) by logarithms.
    fn pmf(n: u64, q: f64, k: u64) -> f64 {
        let ways: f64 = (1..=k).map(|i| (((n - k + i) as f64) / i as f64).ln()).sum();
        (ways + k as f64 * q.ln() + (n - k) as f64 * (1.0 - q).ln()).exp()
    }
}
