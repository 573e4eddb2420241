//! The moving-block bootstrap's draws, and the generator that makes them.

use std::ops::Range;

use super::Rows;

/// Resamples. The 25th and the 975th of 1,000 are the limits of an interval.
const RESAMPLES: usize = 1_000;

/// Hands over one resample of the units after the other: as many blocks of that length as cover them, each from
/// anywhere inside. `block` is at most the number of units.
pub(crate) fn moving_blocks(
    units: Range<usize>,
    block: usize,
    random: &mut SplitMix64,
    mut take: impl FnMut(&[Rows]),
) {
    let (draws, starts) = (units.len().div_ceil(block), units.len() - block + 1);
    let mut blocks = vec![(0, 0); draws];
    for _ in 0..RESAMPLES {
        for rows in &mut blocks {
            let start = units.start + random.below(starts);
            *rows = (start, start + block);
        }
        take(&blocks);
    }
}

/// splitmix64 (Steele, Lea and Flood, OOPSLA 2014): 64 bits of state, passes BigCrush, ten lines to proofread.
#[derive(Debug)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform in 0..n by multiplication (Lemire): the bias, under n / 2⁶⁴, is nothing here.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let product = u128::from(self.next()) * n as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }
}
