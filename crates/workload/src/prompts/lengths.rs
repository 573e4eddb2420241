//! How long request k is: normal, rounded to tokens, drawn again outside the bounds.

use crate::plan::LengthPlan;
use crate::random::{Purpose, Random};

/// Draws before a length is cut to its bounds instead; reached only where bounds leave almost nothing
/// of the distribution.
const DRAWS: u32 = 1000;

/// The length of request `number`, in tokens; `purpose` keeps input and output apart.
pub(crate) fn draw(length: &LengthPlan, seed: u64, purpose: Purpose, number: u64) -> u32 {
    let (min, max) = (
        f64::from(length.min.get()),
        length.max.map_or(f64::from(u32::MAX), |max| f64::from(max.get())),
    );
    let mut random = Random::new(seed, purpose, number);
    for _ in 0..DRAWS {
        let tokens = (length.mean + length.stddev * random.normal()).round();
        if (min..=max).contains(&tokens) {
            return tokens as u32;
        }
    }
    length.mean.clamp(min, max).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn lengths(length: &LengthPlan) -> Vec<u32> {
        (0..20_000).map(|number| draw(length, 42, Purpose::InputLengths, number)).collect()
    }

    fn mean_and_deviation(lengths: &[u32]) -> (f64, f64) {
        let mean =
            lengths.iter().map(|length| f64::from(*length)).sum::<f64>() / lengths.len() as f64;
        let squares = lengths.iter().map(|length| (f64::from(*length) - mean).powi(2)).sum::<f64>();
        (mean, (squares / (lengths.len() - 1) as f64).sqrt())
    }

    #[test]
    fn lengths_are_normal_with_the_configured_mean_and_deviation() {
        let (mean, deviation) = mean_and_deviation(&lengths(&LengthPlan::INPUT));
        // Four standard errors: 4 × 150 / √20,000 = 4.2 for the mean, 3.0 for the deviation.
        assert!(
            (mean - 550.0).abs() < 4.2 && (deviation - 150.0).abs() < 3.0,
            "{mean} {deviation}"
        );
    }

    #[test]
    fn golden_lengths() {
        let first: Vec<u32> = (0..6)
            .map(|number| draw(&LengthPlan::INPUT, 42, Purpose::InputLengths, number))
            .collect();
        // Number 5 by hand: its first normal draw is −0.14304 (random.rs); 550 − 0.14304 × 150 = 528.5.
        assert_eq!(first[5], 529);
        assert_eq!(first, GOLDEN);
    }

    const GOLDEN: [u32; 6] = [540, 569, 495, 409, 474, 529];

    #[test]
    fn no_deviation_is_exact() {
        let exact = LengthPlan { mean: 64.0, stddev: 0.0, ..LengthPlan::OUTPUT };
        assert!(lengths(&exact).iter().all(|length| *length == 64));
    }

    #[test]
    fn lengths_outside_of_the_bounds_are_drawn_again_not_cut() {
        let bounded = LengthPlan {
            mean: 10.0,
            stddev: 50.0,
            min: NonZeroU32::new(5).unwrap(),
            max: NonZeroU32::new(20),
        };
        let drawn = lengths(&bounded);
        assert!(drawn.iter().all(|length| (5..=20).contains(length)));
        // Cut lengths would pile up at the bounds: far more than a sixteenth each.
        let at_bound = drawn.iter().filter(|length| **length == 5).count();
        assert!((800..2000).contains(&at_bound), "{at_bound}");
    }

    #[test]
    fn bounds_that_leave_nothing_give_the_nearest_length() {
        let impossible = LengthPlan {
            mean: 7.0,
            stddev: 1e7,
            min: NonZeroU32::new(7).unwrap(),
            max: NonZeroU32::new(7),
        };
        assert_eq!(draw(&impossible, 1, Purpose::InputLengths, 0), 7);
    }
}
