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
