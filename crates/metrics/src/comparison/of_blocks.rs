//! One run a side: blocks of time are what is drawn and dealt out.

use std::ops::Range;

use super::over_time::{OverTime, Track};
use super::{Basis, Estimate, MIN_BEYOND, MIN_BLOCKS_TO_COMPARE, RunFigure, Scale, Undecided};
use crate::confidence::{MAX_UNITS, Rows, SEED, SplitMix64, moving_blocks};

/// Deals of the permutation at most.
const DEALS: u32 = 2_000;
/// With as many deals at least as far apart as what was observed, nothing is going to be real: the p-value is then this
/// number over the deals so far (Besag and Clifford, "Sequential Monte Carlo p-values", Biometrika 78, 1991).
const ENOUGH: u32 = 200;

/// Units of time of both runs, and how many make a block.
struct Layout {
    /// Those of the baseline, then those of the candidate.
    over_time: OverTime,
    baseline: Range<usize>,
    candidate: Range<usize>,
    /// Units in a block.
    block: usize,
}

/// # Errors
/// It cannot be decided, and why.
pub(super) fn estimate(
    baseline: &RunFigure,
    candidate: &RunFigure,
    scale: Scale,
    block_seconds: u64,
) -> Result<Estimate, Undecided> {
    let over_time = |run: &RunFigure| run.over_time.clone();
    let (before, after) = (over_time(baseline)?, over_time(candidate)?);
    if before.seconds().min(after.seconds()) == 0 {
        return Err(Undecided::NoIntervals);
    }
    if before.beyond().min(after.beyond()) < MIN_BEYOND {
        return Err(Undecided::FewBeyond);
    }
    let layout = Layout::of(&before, &after, block_seconds);
    let blocks = [&layout.baseline, &layout.candidate].map(|units| units.len() / layout.block);
    let fewest = blocks[0].min(blocks[1]);
    if fewest < MIN_BLOCKS_TO_COMPARE {
        return Err(Undecided::FewBlocks { block_seconds, blocks: fewest });
    }
    let track = Track::of(&layout.over_time);
    let errors = |scale| {
        let [first, second] = layout.standard_errors(&track, scale)?;
        // Blocks that are all alike know the figure no better than the step in which it is counted.
        Some([first.max(baseline.least_error(scale)), second.max(candidate.least_error(scale))])
    };
    // What is above zero in the whole run may be zero in some draws of its blocks.
    let (scale, errors) = match errors(scale) {
        Some(errors) => (scale, errors),
        None => (Scale::Difference, errors(Scale::Difference).ok_or(Undecided::Absent)?),
    };
    Ok(Estimate {
        scale,
        difference: scale.of_value(candidate.value) - scale.of_value(baseline.value),
        standard_error: errors[0].hypot(errors[1]),
        degrees_of_freedom: welch(errors, blocks),
        p_besides: layout.p_of_deals(&track),
        basis: Basis::Blocks { seconds: block_seconds, baseline: blocks[0], candidate: blocks[1] },
    })
}

/// The spread of one run's figure by its own blocks, where it has enough of them.
pub(super) fn standard_error(run: &RunFigure, scale: Scale, block_seconds: u64) -> Option<f64> {
    let over_time = run.over_time.as_ref().ok()?;
    let unit = unit_seconds([over_time]);
    let units = over_time.in_units_of(unit);
    let (count, block) = (units.units(), usize::try_from(block_seconds.div_ceil(unit)).ok()?);
    if count / block < MIN_BLOCKS_TO_COMPARE {
        return None;
    }
    bootstrap_error(&Track::of(&units), 0..count, block, scale)
}

/// So long that each run has at most [`MAX_UNITS`], and as long for all of them.
fn unit_seconds<'a>(runs: impl IntoIterator<Item = &'a OverTime>) -> u64 {
    let needed = |run: &OverTime| run.seconds().div_ceil(MAX_UNITS as u64).max(run.longest());
    runs.into_iter().map(needed).max().unwrap_or(1).max(1)
}

impl Layout {
    fn of(before: &OverTime, after: &OverTime, block_seconds: u64) -> Self {
        let unit = unit_seconds([before, after]);
        let [before, after] = [before, after].map(|run| run.in_units_of(unit));
        let (first, second) = (before.units(), after.units());
        Self {
            over_time: before.followed_by(after),
            baseline: 0..first,
            candidate: first..first + second,
            block: usize::try_from(block_seconds.div_ceil(unit)).unwrap_or(usize::MAX).max(1),
        }
    }

    fn standard_errors(&self, track: &Track, scale: Scale) -> Option<[f64; 2]> {
        let error = |units: &Range<usize>| bootstrap_error(track, units.clone(), self.block, scale);
        Some([error(&self.baseline)?, error(&self.candidate)?])
    }

    /// How often blocks that are dealt out at random to the two sides are at least as far apart as they are.
    fn p_of_deals(&self, track: &Track) -> f64 {
        let [before, after] =
            [&self.baseline, &self.candidate].map(|units| blocks(units, self.block));
        let to_baseline = before.len();
        p_of_deals(track.quotients(&[before, after].concat()), to_baseline)
    }
}

/// Of two sums a block, whose quotient is what is looked at; the first blocks are the baseline's.
fn p_of_deals(mut blocks: Vec<(f64, f64)>, to_baseline: usize) -> f64 {
    let Some(observed) = apart(&blocks, to_baseline) else { return 1.0 };
    let reached = observed * (1.0 - 1e-9);
    let mut random = SplitMix64::new(SEED);
    let mut as_far = 1; // what was observed is one of the deals
    for deal in 1..=DEALS {
        for place in 0..to_baseline {
            let other = place + random.below(blocks.len() - place);
            blocks.swap(place, other);
        }
        // A deal that leaves a side without anything counts as far: that only makes the p-value larger.
        as_far += u32::from(apart(&blocks, to_baseline).is_none_or(|apart| apart >= reached));
        if as_far > ENOUGH {
            return f64::from(ENOUGH) / f64::from(deal);
        }
    }
    f64::from(as_far) / f64::from(DEALS + 1)
}

fn apart(blocks: &[(f64, f64)], to_baseline: usize) -> Option<f64> {
    let quotient = |blocks: &[(f64, f64)]| {
        let (numerator, denominator) =
            blocks.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        (denominator > 0.0).then(|| numerator / denominator)
    };
    let (before, after) = blocks.split_at(to_baseline);
    Some((quotient(after)? - quotient(before)?).abs())
}

/// Blocks that do not overlap; what is left over joins the last.
fn blocks(units: &Range<usize>, block: usize) -> Vec<Rows> {
    let count = (units.len() / block).max(1);
    let start = |place: usize| units.start + place * block;
    (0..count)
        .map(|place| (start(place), if place + 1 == count { units.end } else { start(place + 1) }))
        .collect()
}

/// The standard deviation of the resampled figure. n blocks vary a little less around their own mean than around the
/// true one: n / (n − 1) sets that right. `None` where a draw has no figure on this scale.
fn bootstrap_error(track: &Track, units: Range<usize>, block: usize, scale: Scale) -> Option<f64> {
    let blocks = units.len() as f64 / block as f64;
    let (mut values, mut all_finite) = (Vec::new(), true);
    moving_blocks(units, block, &mut SplitMix64::new(SEED), |rows| {
        if let Some(figure) = track.figure(rows) {
            let value = scale.of_value(figure);
            all_finite &= value.is_finite();
            values.push(value);
        }
    });
    if !all_finite || values.len() < 2 {
        return None;
    }
    let mean = super::mean(values.iter().copied());
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let variance = squares / (values.len() - 1) as f64;
    Some((variance * blocks / (blocks - 1.0)).sqrt())
}

/// The degrees of freedom of a difference whose sides vary differently (Welch 1947).
fn welch(errors: [f64; 2], blocks: [usize; 2]) -> f64 {
    let variances = errors.map(|error| error * error);
    let total: f64 = variances.iter().sum();
    let parts = variances.iter().zip(blocks);
    let parts: f64 = parts.map(|(one, blocks)| one * one / (blocks as f64 - 1.0)).sum();
    if parts > 0.0 { total * total / parts } else { (blocks[0] + blocks[1]) as f64 - 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_leave_nothing_over() {
        assert_eq!(blocks(&(0..7), 3), [(0, 3), (3, 7)]);
        assert_eq!(blocks(&(10..16), 3), [(10, 13), (13, 16)]);
        assert_eq!(blocks(&(0..2), 3), [(0, 2)]);
    }

    #[test]
    fn welch_by_hand() {
        // Equal errors and 10 blocks each: (2v)² / (2 v² / 9) = 18. One without: 9.
        assert!((welch([0.1, 0.1], [10, 10]) - 18.0).abs() < 1e-9);
        assert!((welch([0.1, 0.0], [10, 10]) - 9.0).abs() < 1e-9);
        assert!((welch([0.0, 0.0], [10, 12]) - 20.0).abs() < 1e-9);
    }
}
