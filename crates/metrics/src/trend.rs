//! Whether something rises, and how fast: the Mann-Kendall test and the Theil-Sen slope.
//!
//! Neighbouring seconds of a queue are nearly equal, and a test that takes them for independent sees a trend in every
//! swing. So the time is cut into ten equal parts, as batch means are, and their means are tested (Mann, "Nonparametric
//! tests against trend", Econometrica 13, 1945; Kendall, *Rank Correlation Methods*). Of ten values without a trend,
//! S ≥ 35 of at most 45 comes by chance in 1,717 of 10! orders: p < 0.0005. A single step, such as a worker's loss
//! makes, reaches 25. The slope is the median of all pairs' slopes (Sen, JASA 63, 1968).

/// Parts of the time.
const PARTS: usize = 10;
/// Pairs that rise less those that fall, from which on chance is ruled out.
const RISING: i32 = 35;
/// Beyond this on either side chance comes in less than 5 % (Kendall's table for ten values).
const LIKELY: i32 = 23;

/// A series' direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Trend {
    /// Kendall's S of the parts' means.
    score: i32,
    /// By how much it rises from point to point.
    pub(crate) slope_per_point: f64,
}

impl Trend {
    /// Of at least ten points; the first few are left out where they do not fill ten equal parts.
    pub(crate) fn of(points: &[f64]) -> Option<Self> {
        let length = points.len() / PARTS;
        let points = &points[points.len() - length * PARTS..];
        if length == 0 {
            return None;
        }
        let means: Vec<f64> =
            points.chunks(length).map(|part| part.iter().sum::<f64>() / length as f64).collect();
        let (mut score, mut slopes) = (0, Vec::with_capacity(PARTS * (PARTS - 1) / 2));
        for (later, value) in means.iter().enumerate() {
            for (earlier, before) in means[..later].iter().enumerate() {
                score += i32::from(value > before) - i32::from(value < before);
                slopes.push((value - before) / ((later - earlier) * length) as f64);
            }
        }
        slopes.sort_by(f64::total_cmp);
        Some(Self { score, slope_per_point: slopes[slopes.len() / 2] })
    }

    /// Beyond doubt.
    pub(crate) fn is_rising(self) -> bool {
        self.score >= RISING
    }

    /// At the 5 % level, two-sided.
    pub(crate) fn is_likely(self) -> bool {
        self.score.abs() >= LIKELY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_rises_by_its_slope() {
        let line: Vec<f64> = (0..43).map(|n| 5.0 + 0.5 * f64::from(n)).collect();
        let trend = Trend::of(&line).unwrap();
        assert_eq!((trend.score, trend.slope_per_point), (45, 0.5));
        assert!(trend.is_rising());
        let falling: Vec<f64> = line.iter().rev().copied().collect();
        assert!(!Trend::of(&falling).unwrap().is_rising());
        assert_eq!(Trend::of(&line[..9]), None);
    }

    #[test]
    fn a_single_step_or_a_swing_is_no_trend() {
        let step: Vec<f64> = (0..100).map(|n| if n < 50 { 10.0 } else { 90.0 }).collect();
        assert_eq!(Trend::of(&step).unwrap().score, 25);
        let swing: Vec<f64> = (0..100).map(|n| (f64::from(n) / 15.0).sin()).collect();
        assert!(!Trend::of(&swing).unwrap().is_rising());
    }

    /// The limit's own claim: of all orders of ten values so many score at least 35.
    #[test]
    fn chance_reaches_the_limit_in_1717_of_10_factorial_orders() {
        // S = 45 − 2·(inversions); the numbers of orders of ten by inversions, built up one value at a time.
        let mut orders = vec![1_u64];
        for values in 2..=10 {
            let mut next = vec![0; orders.len() + values - 1];
            for (inversions, count) in orders.iter().enumerate() {
                (0..values).for_each(|more| next[inversions + more] += count);
            }
            orders = next;
        }
        let reaching = |score: i32| {
            let most = usize::try_from((45 - score) / 2).unwrap();
            orders[..=most].iter().sum::<u64>()
        };
        assert_eq!(reaching(RISING), 1_717);
        let all: u64 = orders.iter().sum();
        assert!(2 * reaching(LIKELY) * 20 < all && 2 * reaching(LIKELY - 2) * 20 > all);
    }
}
