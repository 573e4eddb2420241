//! Several runs: what varies is the run, and that by no less than the figure's own step: two counts that are neighbours
//! in every run are one figure, rounded.

use super::{Basis, Estimate, RunFigure, Scale, mean, of_blocks};

/// Student's t with the spread that the runs of both sides have in common, so that a single run can be held against
/// several. There are at least three runs.
pub(super) fn estimate(
    baseline: &[RunFigure],
    candidate: &[RunFigure],
    scale: Scale,
    block_seconds: u64,
) -> Estimate {
    let scaled = |side: &[RunFigure]| -> Vec<f64> {
        side.iter().map(|run| scale.of_value(run.value)).collect()
    };
    let (before, after) = (scaled(baseline), scaled(candidate));
    let degrees_of_freedom = (before.len() + after.len()) as f64 - 2.0;
    let steps = baseline.iter().chain(candidate).map(|run| run.least_error(scale).powi(2));
    let pooled = (squares(&before) + squares(&after)) / degrees_of_freedom.max(1.0);
    let pooled = pooled.max(mean(steps));
    let between = pooled * (1.0 / before.len() as f64 + 1.0 / after.len() as f64);
    let within = [baseline, candidate].map(|side| within(side, scale, block_seconds));
    let within = within[0].unwrap_or(0.0) + within[1].unwrap_or(0.0);
    Estimate {
        scale,
        difference: mean(after.iter().copied()) - mean(before.iter().copied()),
        standard_error: between.max(within).sqrt(),
        degrees_of_freedom,
        p_besides: 0.0,
        basis: Basis::Runs { baseline: before.len(), candidate: after.len() },
    }
}

fn squares(values: &[f64]) -> f64 {
    let mean = mean(values.iter().copied());
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// The variance of a side's mean by the intervals of its runs alone; `None` where a run has too few of them.
fn within(side: &[RunFigure], scale: Scale, block_seconds: u64) -> Option<f64> {
    let mut sum = 0.0;
    for run in side {
        sum += of_blocks::standard_error(run, scale, block_seconds)?.powi(2);
    }
    Some(sum / (side.len() as f64).powi(2))
}

#[cfg(test)]
mod tests {
    use super::super::Undecided;
    use super::*;
    use crate::confidence::SplitMix64;

    fn runs(values: &[f64]) -> Vec<RunFigure> {
        runs_in_steps(values, 0.0)
    }

    fn runs_in_steps(values: &[f64], resolution: f64) -> Vec<RunFigure> {
        let run =
            |&value: &f64| RunFigure { value, resolution, over_time: Err(Undecided::NoIntervals) };
        values.iter().map(run).collect()
    }

    #[test]
    fn runs_that_agree_to_the_last_digit_are_no_surer_than_a_digit() {
        // 59 and 60 requests in 60 s, four runs each: a step apart, with an error of √(1/4 + 1/4) steps.
        let step = 1.0 / 60.0;
        let (before, after) =
            (runs_in_steps(&[1.0; 4], step), runs_in_steps(&[59.0 / 60.0; 4], step));
        let of = |scale| estimate(&before, &after, scale, 10);
        let difference = of(Scale::Difference);
        assert!((difference.standard_error - step / 2.0_f64.sqrt()).abs() < 1e-12);
        assert!(difference.p_of_student() > 0.2, "{}", difference.p_of_student());
        let ratio = of(Scale::Ratio);
        assert!(ratio.p_of_student() > 0.2 && ratio.ci95()[0] < 0.0 && ratio.ci95()[1] > 0.0);
        // Six requests fewer are more than a rounding.
        let far = estimate(&before, &runs_in_steps(&[0.9; 4], step), Scale::Ratio, 10);
        assert!(far.p_of_student() < 0.001, "{}", far.p_of_student());
    }

    /// Counts that fall on either of two neighbours by chance, in every mixture of the two.
    #[test]
    fn equal_services_whose_counts_are_neighbours_rarely_differ() {
        let mut random = SplitMix64::new(11);
        for repeats in [2, 3, 5, 8] {
            let (mut alarms, trials) = (0, 400);
            for trial in 0..trials {
                let mut side = || -> Vec<f64> {
                    let count = |more: bool| if more { 60.0 } else { 59.0 };
                    (0..repeats).map(|_| count(random.below(10) < 1 + trial % 9) / 60.0).collect()
                };
                let [before, after] =
                    [side(), side()].map(|values| runs_in_steps(&values, 1.0 / 60.0));
                let p = estimate(&before, &after, Scale::Ratio, 10).p_of_student();
                alarms += u32::from(p <= 0.05);
            }
            assert!(alarms <= 28, "{alarms} of {trials} with {repeats} runs a side");
        }
    }

    #[test]
    fn students_t_by_hand() {
        // Means 2 and 5; squares 2 and 2 over 4 degrees: variance 1, error √(2/3).
        let (before, after) = (runs(&[1.0, 2.0, 3.0]), runs(&[4.0, 5.0, 6.0]));
        let estimate = estimate(&before, &after, Scale::Difference, 10);
        assert_eq!((estimate.difference, estimate.degrees_of_freedom), (3.0, 4.0));
        assert!((estimate.standard_error - (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        // t = 3.674 with 4 degrees: two-sided p = 0.0213.
        assert!((estimate.p_of_student() - 0.0213).abs() < 1e-4, "{}", estimate.p_of_student());
    }

    #[test]
    fn one_run_is_held_against_the_spread_of_several() {
        let (before, after) = (runs(&[99.0, 100.0, 101.0]), runs(&[100.5]));
        let near = estimate(&before, &after, Scale::Difference, 10);
        assert!((near.standard_error - (1.0_f64 + 1.0 / 3.0).sqrt()).abs() < 1e-12);
        assert!(near.p_of_student() > 0.5);
        let far = estimate(&before, &runs(&[120.0]), Scale::Difference, 10);
        assert!(far.p_of_student() < 0.01, "{}", far.p_of_student());
    }
}
