//! When each arrival of an open loop is due, and each slot of a closed one starts.
//!
//! The schedule is computed, never sent: an iterator over a pure function of (plan, number), of which
//! a worker takes the numbers it owns. Two things are plugged together: the arrival process says
//! *where* arrival k lies on the axis of the rate's integral Λ, and the stage's load says *when* Λ
//! gets there. Even arrivals lie at 0, 1, 2, …; random ones at the sums of gaps of mean 1 (time
//! rescaling): exponential or gamma, summed as integers, so that every worker on every machine gets the
//! same bits.

mod listed;
mod offered;
mod slots;
mod trace;
mod waves;

use std::num::NonZeroU32;
use std::time::Duration;

use crate::plan::{ArrivalProcess, Drive, Mix, Plan};
use crate::random::{Purpose, Random};
use crate::shard::Shard;
use offered::{NANO, Span, rounded};

pub use listed::{BLOCK_TOKENS, Rows, ScheduleFile, ScheduleFormat, ScheduleProblem};
pub(crate) use slots::thought;
pub(crate) use trace::detect;

/// One unit of an open loop's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the run, over all stages and workers.
    pub number: u64,
    /// The stage in which it is due.
    pub stage: u16,
    /// Its cell: traffic class and target ([`Plan::cell`]).
    pub class: u16,
    /// When it is due, from the run's start.
    pub due: Duration,
}

/// The arrivals of one shard, by number; see [`Plan::arrivals`].
#[derive(Clone, Debug)]
pub struct Arrivals {
    spans: Vec<Span>,
    shard: Shard,
    /// Numbers from here on are not sent.
    limit: u64,
    /// Which cell a number has, where there are several.
    mix: Option<Box<Mix>>,
    stage: usize,
    /// Number of the current stage's first arrival.
    first: u64,
    /// Next number to look at.
    number: u64,
    /// Boxed: a ChaCha generator keeps 256 bytes of words ahead.
    gaps: Box<Random>,
    /// Position of arrival `number` on the current stage's Λ, in nano-arrivals, once drawn.
    position: u128,
    drawn: bool,
}

impl Plan {
    /// The open-loop arrivals that `shard` owns, strictly by number; none in a closed loop.
    pub fn arrivals(&self, shard: Shard) -> Arrivals {
        let spans = match self.drive {
            Drive::Open { .. } => self.spans().collect(),
            Drive::Closed { .. } => Vec::new(),
        };
        Arrivals {
            spans,
            shard,
            limit: self.requests.unwrap_or(u64::MAX),
            mix: (self.first_cells() > 1).then(|| Box::new(self.mix())),
            stage: 0,
            first: 0,
            number: 0,
            gaps: Box::new(Random::new(self.seed, Purpose::Arrivals, 0)),
            position: 0,
            drawn: false,
        }
    }

    /// Arrivals of an open loop, over all stages: exact for even arrivals, the mean for random ones.
    /// `None` in a closed loop, and without both an end and a number of requests.
    pub fn expected_arrivals(&self) -> Option<u64> {
        let Drive::Open { .. } = self.drive else { return None };
        let scheduled = self.spans().map(|span| span.count()).reduce(u64::saturating_add);
        let expected = scheduled?.min(self.requests.unwrap_or(u64::MAX));
        (expected < u64::MAX).then_some(expected)
    }

    /// How many arrivals are due before `t`, of all.
    pub(crate) fn all_due_before(&self, t: Duration) -> u64 {
        self.due_before(Shard::WHOLE, t).iter().sum()
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        self.stages.iter().map(|stage| Span::new(stage, self.rows()))
    }

    /// How many arrivals of `shard` are due before `t`, a number for each stage.
    pub fn due_before(&self, shard: Shard, t: Duration) -> Vec<u64> {
        let mut counts = vec![0; self.stages.len()];
        for arrival in self.arrivals(shard).take_while(|arrival| arrival.due < t) {
            counts[usize::from(arrival.stage)] += 1;
        }
        counts
    }

    /// Counts, going once through the schedule, what is due in each shard of a split into `count`.
    pub fn due_counts(&self, count: NonZeroU32) -> DueCounts {
        DueCounts { arrivals: self.arrivals(Shard::WHOLE).peekable(), count }
    }
}

impl ArrivalProcess {
    /// The next gap on the axis of Λ, in nano-arrivals; of mean 1.
    pub(crate) fn nano_gap(self, gaps: &mut Random) -> u64 {
        let gap = match self {
            Self::Even => 1.0,
            Self::Poisson => gaps.exponential(),
            Self::Gamma { burstiness } => gaps.gamma(burstiness) / burstiness,
        };
        rounded(gap * NANO)
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let found = match self.spans.get(self.stage)?.process() {
                ArrivalProcess::Even => self.next_even()?,
                // Matched here and not in the loop over gaps, which walks the numbers of all workers.
                ArrivalProcess::Poisson => {
                    self.next_random(|gaps| ArrivalProcess::Poisson.nano_gap(gaps))?
                }
                gamma @ ArrivalProcess::Gamma { .. } => {
                    self.next_random(|gaps| gamma.nano_gap(gaps))?
                }
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Arrivals {
    /// Even arrivals have a closed form, so the numbers of others are skipped unseen. `Some(None)`: the
    /// stage has no more.
    fn next_even(&mut self) -> Option<Option<Arrival>> {
        let number = self.shard.next_owned(self.number).filter(|number| *number < self.limit)?;
        let span = self.spans.get(self.stage)?;
        if number - self.first >= span.count() {
            self.number = self.first.saturating_add(span.count());
            self.enter_next(0);
            return Some(None);
        }
        let due = span.due_of_even(number - self.first);
        self.arrive(number, due).map(Some)
    }

    /// Random arrivals are summed one by one, in gaps of mean 1. What a gap has left at its stage's end goes
    /// on in a next stage of the same process: one renewal process on the axis of Λ, and Poisson remains
    /// Poisson across the boundary.
    fn next_random(&mut self, nano_gap: impl Fn(&mut Random) -> u64) -> Option<Option<Arrival>> {
        let span = self.spans.get(self.stage)?;
        while self.number < self.limit {
            if !self.drawn {
                self.position += u128::from(nano_gap(&mut self.gaps));
            }
            if self.position >= span.total() {
                self.enter_next(self.position - span.total());
                return Some(None);
            }
            self.drawn = false;
            if self.shard.owns(self.number) {
                let due = span.due_of_position(self.position);
                return self.arrive(self.number, due).map(Some);
            }
            self.number += 1;
        }
        None
    }

    /// Goes to the next stage, with what is left of a gap where it has the same process.
    fn enter_next(&mut self, left: u128) {
        let process = |stage: usize| self.spans.get(stage).map(Span::process);
        let goes_on = process(self.stage) == process(self.stage + 1)
            && process(self.stage) != Some(ArrivalProcess::Even);
        (self.position, self.drawn) = if goes_on { (left, true) } else { (0, false) };
        self.stage += 1;
        self.first = self.number;
    }

    fn arrive(&mut self, number: u64, due: Duration) -> Option<Arrival> {
        self.number = number.checked_add(1)?;
        let class = self.mix.as_ref().map_or(0, |mix| mix.cell_of(number));
        Some(Arrival { number, stage: u16::try_from(self.stage).ok()?, class, due })
    }
}

/// What is due in each shard, second by second or in any other steps; see [`Plan::due_counts`].
#[derive(Clone, Debug)]
pub struct DueCounts {
    arrivals: std::iter::Peekable<Arrivals>,
    count: NonZeroU32,
}

impl DueCounts {
    /// What is due from the last call's `until` (or the start) up to, and not including, `until`:
    /// `(rank, stage, arrivals)` for each pair with any, in order.
    pub fn advance(&mut self, until: Duration) -> Vec<(u32, u16, u64)> {
        let mut counts = std::collections::BTreeMap::new();
        while let Some(arrival) = self.arrivals.next_if(|arrival| arrival.due < until) {
            let rank =
                u32::try_from(arrival.number % u64::from(self.count.get())).unwrap_or(u32::MAX);
            *counts.entry((rank, arrival.stage)).or_insert(0) += 1;
        }
        counts.into_iter().map(|((rank, stage), arrivals)| (rank, stage, arrivals)).collect()
    }
}

#[cfg(test)]
mod tests;
