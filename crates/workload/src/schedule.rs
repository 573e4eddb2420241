//! When each arrival of an open loop is due, and each slot of a closed one starts.
//!
//! The schedule is computed, never sent: an iterator over a pure function of (plan, number), of which
//! a worker takes the numbers it owns. Two things are plugged together: the arrival process says
//! *where* arrival k lies on the axis of the rate's integral Λ, and the stage's load says *when* Λ
//! gets there. Even arrivals lie at 0, 1, 2, …; Poisson arrivals at the sums of unit exponentials
//! (time rescaling), summed as integers, so that every worker on every machine gets the same bits.

mod offered;
mod slots;

use std::num::NonZeroU32;
use std::time::Duration;

use crate::plan::{ArrivalProcess, Drive, Offered, Plan};
use crate::random::{Purpose, Random};
use crate::shard::Shard;
use offered::{NANO, Span, rounded};

/// One unit of an open loop's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its number in the run, over all stages and workers.
    pub number: u64,
    /// The stage in which it is due.
    pub stage: u16,
    /// Its traffic class.
    pub class: u16,
    /// When it is due, from the run's start.
    pub due: Duration,
}

/// The arrivals of one shard, by number; see [`Plan::arrivals`].
#[derive(Clone, Debug)]
pub struct Arrivals {
    spans: Vec<Span>,
    shard: Shard,
    process: Process,
    /// Numbers from here on are not sent.
    limit: u64,
    stage: usize,
    /// Number of the current stage's first arrival (of even arrivals).
    first: u64,
    /// Next number to look at.
    number: u64,
}

#[derive(Clone, Debug)]
enum Process {
    Even,
    Poisson {
        /// Boxed: a ChaCha generator keeps 256 bytes of words ahead.
        gaps: Box<Random>,
        /// Position of arrival `number` on the current stage's Λ, in nano-arrivals, once drawn.
        position: u128,
        drawn: bool,
    },
}

impl Plan {
    /// The open-loop arrivals that `shard` owns, strictly by number; none in a closed loop.
    pub fn arrivals(&self, shard: Shard) -> Arrivals {
        let (process, spans) = match self.drive {
            Drive::Open { arrivals, .. } => {
                (self.process(arrivals), self.stages.iter().map(Span::new).collect())
            }
            Drive::Closed { .. } => (Process::Even, Vec::new()),
        };
        let limit = self.requests.unwrap_or(u64::MAX);
        Arrivals { spans, shard, process, limit, stage: 0, first: 0, number: 0 }
    }

    /// Arrivals of an open loop, over all stages: exact for even arrivals, the mean for Poisson ones.
    /// `None` in a closed loop, and without both an end and a number of requests.
    pub fn expected_arrivals(&self) -> Option<u64> {
        let Drive::Open { .. } = self.drive else { return None };
        let scheduled =
            self.stages.iter().map(|stage| Span::new(stage).count()).reduce(u64::saturating_add);
        let expected = scheduled?.min(self.requests.unwrap_or(u64::MAX));
        (expected < u64::MAX).then_some(expected)
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

    fn process(&self, arrivals: ArrivalProcess) -> Process {
        match arrivals {
            ArrivalProcess::Poisson
                if !self
                    .stages
                    .iter()
                    .any(|stage| matches!(stage.offered, Offered::Burst { .. })) =>
            {
                let gaps = Box::new(Random::new(self.seed, Purpose::Arrivals, 0));
                Process::Poisson { gaps, position: 0, drawn: false }
            }
            ArrivalProcess::Poisson | ArrivalProcess::Even => Process::Even,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        match self.process {
            Process::Even => self.next_even(),
            Process::Poisson { .. } => self.next_poisson(),
        }
    }
}

impl Arrivals {
    /// Even arrivals have a closed form, so the numbers of others are skipped unseen.
    fn next_even(&mut self) -> Option<Arrival> {
        let number = self.shard.next_owned(self.number).filter(|number| *number < self.limit)?;
        let mut span = self.spans.get(self.stage)?;
        while number - self.first >= span.count() {
            self.first += span.count();
            self.stage += 1;
            span = self.spans.get(self.stage)?;
        }
        let due = span.due_of_even(number - self.first);
        self.arrive(number, due)
    }

    /// Poisson arrivals are summed one by one. What a gap has left at its stage's end goes on in the
    /// next stage, which keeps the process Poisson across the boundary (exponentials are memoryless).
    fn next_poisson(&mut self) -> Option<Arrival> {
        let Process::Poisson { gaps, position, drawn } = &mut self.process else { return None };
        let mut span = self.spans.get(self.stage)?;
        while self.number < self.limit {
            if !*drawn {
                *position += u128::from(nano_arrivals(gaps.exponential()));
            }
            while *position >= span.total() {
                *position -= span.total();
                self.stage += 1;
                span = self.spans.get(self.stage)?;
            }
            *drawn = false;
            if self.shard.owns(self.number) {
                let due = span.due_of_position(*position);
                return self.arrive(self.number, due);
            }
            self.number += 1;
        }
        None
    }

    fn arrive(&mut self, number: u64, due: Duration) -> Option<Arrival> {
        self.number = number.checked_add(1)?;
        Some(Arrival { number, stage: u16::try_from(self.stage).ok()?, class: 0, due })
    }
}

/// A draw of at most 36.8, in billionths.
fn nano_arrivals(gap: f64) -> u64 {
    rounded(gap * NANO)
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
