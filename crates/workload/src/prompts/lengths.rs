//! How long request k is: rounded to tokens, drawn again outside the bounds.

use crate::plan::{Component, Counted, LengthPlan, LengthShape, log_parameters};
use crate::random::{Purpose, Random};

/// Draws before a length is cut to its bounds instead; reached only where bounds leave almost nothing
/// of the distribution.
const DRAWS: u32 = 1000;

/// The length of request `number`, in tokens; `purpose` keeps input and output apart.
pub(crate) fn draw(length: &LengthPlan, seed: u64, purpose: Purpose, number: u64) -> u32 {
    next(length, &mut Random::new(seed, purpose, number))
}

/// The next length of a stream.
fn next(length: &LengthPlan, random: &mut Random) -> u32 {
    let (min, max) = (
        f64::from(length.min.get()),
        length.max.map_or(f64::from(u32::MAX), |max| f64::from(max.get())),
    );
    for _ in 0..DRAWS {
        let tokens = once(&length.shape, (min, max), random).round();
        if (min..=max).contains(&tokens) {
            return tokens as u32;
        }
    }
    length.mean().clamp(min, max).round() as u32
}

/// One draw, before the bounds act.
fn once(shape: &LengthShape, (min, max): (f64, f64), random: &mut Random) -> f64 {
    match shape {
        LengthShape::Normal { mean, stddev } => mean + stddev * random.normal(),
        LengthShape::LogNormal { mean, stddev } => {
            let (mu, sigma) = log_parameters(*mean, *stddev);
            libm::exp(mu + sigma * random.normal())
        }
        LengthShape::Uniform => min + f64::from(random.below((max - min) as u32 + 1)),
        LengthShape::Empirical(lengths) => counted(lengths, random),
        LengthShape::Mixture(parts) => component(parts, random),
    }
}

/// One of the counted lengths, each as often as it was counted.
fn counted(lengths: &[Counted], random: &mut Random) -> f64 {
    let all: u64 = lengths.iter().map(|length| u64::from(length.count)).sum();
    let mut place = random.below_u64(all);
    for length in lengths {
        match place.checked_sub(length.count.into()) {
            Some(beyond) => place = beyond,
            None => return length.tokens.get().into(),
        }
    }
    0.0
}

/// A component by its weight, then a length of it.
fn component(parts: &[Component], random: &mut Random) -> f64 {
    let chosen = random.weighted(parts.iter().map(|part| part.weight));
    chosen.and_then(|index| parts.get(index)).map_or(0.0, |part| next(&part.length, random).into())
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
        let exact = LengthPlan::normal(64.0, 0.0);
        assert!(lengths(&exact).iter().all(|length| *length == 64));
    }

    #[test]
    fn lengths_outside_of_the_bounds_are_drawn_again_not_cut() {
        let bounded = LengthPlan {
            min: NonZeroU32::new(5).unwrap(),
            max: NonZeroU32::new(20),
            ..LengthPlan::normal(10.0, 50.0)
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
            min: NonZeroU32::new(7).unwrap(),
            max: NonZeroU32::new(7),
            ..LengthPlan::normal(7.0, 1e7)
        };
        assert_eq!(draw(&impossible, 1, Purpose::InputLengths, 0), 7);
    }

    fn shaped(shape: LengthShape) -> LengthPlan {
        LengthPlan { shape, ..LengthPlan::INPUT }
    }

    #[test]
    fn a_lognormal_has_the_mean_and_deviation_that_it_is_given() {
        let shape = LengthShape::LogNormal { mean: 400.0, stddev: 200.0 };
        let (mean, deviation) = mean_and_deviation(&lengths(&shaped(shape)));
        // Four standard errors of the mean: 4 × 200 / √20,000 = 5.7; the deviation's is larger, its tail being long.
        assert!((mean - 400.0).abs() < 5.7, "{mean}");
        assert!((deviation - 200.0).abs() < 12.0, "{deviation}");
    }

    #[test]
    fn every_length_of_a_uniform_one_comes_equally_often() {
        let (min, max) = (NonZeroU32::new(5).unwrap(), NonZeroU32::new(8));
        let uniform = LengthPlan { shape: LengthShape::Uniform, min, max };
        let mut counts = [0u32; 4];
        lengths(&uniform).iter().for_each(|length| counts[*length as usize - 5] += 1);
        // 5,000 each, four standard deviations: 4 × √(20,000 × 3/16) = 245.
        assert!(counts.iter().all(|count| count.abs_diff(5_000) < 245), "{counts:?}");
    }

    #[test]
    fn counted_lengths_and_components_come_by_their_weights() {
        let counted = |tokens, count| Counted { tokens: NonZeroU32::new(tokens).unwrap(), count };
        let file = shaped(LengthShape::Empirical(vec![counted(16, 1), counted(4_096, 3)]));
        let long =
            |length: &LengthPlan| lengths(length).iter().filter(|length| **length == 4_096).count();
        // 15,000 of 20,000, four standard deviations: 4 × √(20,000 × 3/16) = 245.
        assert!(long(&file).abs_diff(15_000) < 245);
        let part = |weight, mean| Component { weight, length: LengthPlan::normal(mean, 0.0) };
        let mixture = shaped(LengthShape::Mixture(vec![part(0.3, 16.0), part(0.9, 4_096.0)]));
        assert!(long(&mixture).abs_diff(15_000) < 245);
        let inside = LengthPlan { max: NonZeroU32::new(100), ..mixture };
        assert_eq!(long(&inside), 0, "what is beyond the outer bounds is drawn again");
    }
}
