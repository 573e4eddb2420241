//! An interval's delta, cut into numbered parts, and put together again.
//!
//! A delta has some 17 histograms for each stage and class, 2 to 9 KB each: too much for one frame
//! when there are many. Each part has its own sequence number, contiguous for one worker's life; the
//! last part of an interval is marked and carries the books, so histograms and books are merged
//! together or not at all.

use std::{collections::BTreeMap, time::Duration};

use metrics::{
    DecodeError, EncodedDistribution, Encoder, FailureSample, Interval, MergeError, Metric, Scope,
    ScopeRecord, SecondCounts,
};
use serde::{Deserialize, Serialize};

use crate::{ClassCovers, WorkerId};

/// Histogram bytes that a part holds at most, unless a single one is larger (256 KiB).
pub const MAX_PART_BYTES: usize = 256 << 10;

/// Failures in words that a delta holds of each class.
pub const SAMPLES_OF_A_CLASS: usize = 5;

/// The whole seconds of run time `[from, to)` that a delta answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covers {
    /// First second.
    pub from: u32,
    /// The second after the last.
    pub to: u32,
}

/// What one worker recorded since its last delta.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// The seconds it tells of; `None` before the first whole second.
    pub covers: Option<Covers>,
    /// The seconds that it answers for, of each class that its worker owns.
    pub classes: Vec<ClassCovers>,
    /// Histograms, books and counters.
    pub interval: Interval,
    /// A few failures in words.
    pub samples: Vec<FailureSample>,
    /// Requests written and not finished.
    pub in_flight: u64,
    /// CPU time that the worker's lanes have used since their start.
    pub cpu: Duration,
    /// The worker's run time zero, measured: actual start minus the armed instant.
    pub start_skew: Option<Duration>,
    /// Whether receive stamps were the kernel's.
    pub kernel_stamps: bool,
    /// No delta follows: every request of this worker is in the books.
    pub last: bool,
}

impl Delta {
    /// Adds a later delta, so that both can travel as one. Nothing is lost.
    ///
    /// # Errors
    /// Histograms of different bounds.
    pub fn absorb(&mut self, later: Delta) -> Result<(), MergeError> {
        self.interval.merge(&later.interval)?;
        self.covers = match (self.covers, later.covers) {
            (Some(first), Some(second)) => Some(Covers { from: first.from, to: second.to }),
            (first, second) => first.or(second),
        };
        self.add_classes(later.classes);
        self.add_samples(later.samples);
        self.in_flight = later.in_flight;
        self.cpu = later.cpu;
        self.start_skew = self.start_skew.or(later.start_skew);
        self.kernel_stamps &= later.kernel_stamps;
        self.last |= later.last;
        Ok(())
    }

    /// A class that was covered before is covered further.
    fn add_classes(&mut self, later: Vec<ClassCovers>) {
        for more in later {
            match self.classes.iter_mut().find(|known| known.class == more.class) {
                Some(known) => known.covers.to = more.covers.to,
                None => self.classes.push(more),
            }
        }
    }

    /// Keeps the first few failures of each class: a delta stays small however long it waits.
    pub fn add_samples(&mut self, samples: impl IntoIterator<Item = FailureSample>) {
        for sample in samples {
            let known = self.samples.iter().filter(|known| known.class == sample.class).count();
            if known < SAMPLES_OF_A_CLASS {
                self.samples.push(sample);
            }
        }
    }
}

/// One histogram and where it belongs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScopedHistogram {
    /// Stage and class.
    pub scope: Scope,
    /// Which metric.
    pub metric: Metric,
    /// Buckets and exact figures.
    pub distribution: EncodedDistribution,
}

/// The end of an interval's delta, in its last part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntervalEnd {
    /// See [`Delta::covers`].
    pub covers: Option<Covers>,
    /// See [`Delta::classes`].
    pub classes: Vec<ClassCovers>,
    /// Everything of each scope but its histograms, which stand in this part and those before it.
    pub scopes: Vec<(Scope, ScopeRecord)>,
    /// Counters of each second.
    pub seconds: Vec<(u32, SecondCounts)>,
    /// See [`Delta::samples`].
    pub samples: Vec<FailureSample>,
    /// See [`Delta::in_flight`].
    pub in_flight: u64,
    /// See [`Delta::cpu`].
    pub cpu: Duration,
    /// See [`Delta::start_skew`].
    pub start_skew: Option<Duration>,
    /// See [`Delta::kernel_stamps`].
    pub kernel_stamps: bool,
    /// See [`Delta::last`].
    pub last: bool,
}

/// A numbered piece of a delta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Whose.
    pub worker: WorkerId,
    /// From 1, without a gap in one incarnation's life.
    pub sequence: u64,
    /// Some of the interval's histograms.
    pub histograms: Vec<ScopedHistogram>,
    /// Present in the interval's last part.
    pub end: Option<IntervalEnd>,
}

/// Why a part's content was refused. Nothing of its interval has been merged.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// A histogram's bytes are broken.
    #[error("{metric} of stage {stage}: {source}", metric = .metric.name())]
    Histogram {
        /// Which metric.
        metric: Metric,
        /// Which stage.
        stage: u16,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// An empty histogram: nobody sends one, and there would be no end of them.
    #[error("an empty histogram of {}", .0.name())]
    Empty(Metric),
    /// A stage or class that the plan does not have.
    #[error("stage {}, class {} is not in the plan", .0.stage, .0.class)]
    UnknownScope(Scope),
    /// Seconds of a class that its worker does not own, or that it has answered for or left out before.
    #[error("seconds {from} to {to} of class {rank} of {count} are not this worker's next ones")]
    NotOwned {
        /// First second named.
        from: u32,
        /// The second after the last.
        to: u32,
        /// The class.
        rank: u32,
        /// Of how many.
        count: u32,
    },
    /// One interval names a histogram twice with different bounds.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

/// How long after a whole second of run time a worker flushes and tells of it: 50 to 425 ms. What arrived in that second is
/// then mostly read (what is not lands in the next delta, under its own second), and a large fleet's words do not all come
/// at one instant.
#[must_use]
pub fn flush_delay(ordinal: u32) -> Duration {
    Duration::from_millis(50 + 25 * u64::from(ordinal % 16))
}

/// Cuts a delta into parts numbered from `first`; the last one carries the books.
#[must_use]
pub fn split(worker: WorkerId, first: u64, delta: Delta) -> Vec<Part> {
    let Delta {
        covers,
        classes,
        interval,
        samples,
        in_flight,
        cpu,
        start_skew,
        kernel_stamps,
        last,
    } = delta;
    let mut scopes = Vec::with_capacity(interval.scopes.len());
    let (mut packs, mut encoder) = (Packs::default(), Encoder::new());
    for (scope, record) in interval.scopes {
        for (metric, distribution) in &record.distributions {
            if distribution.is_empty() {
                continue;
            }
            packs.put(ScopedHistogram {
                scope,
                metric: *metric,
                distribution: encoder.encode(distribution),
            });
        }
        scopes.push((scope, record));
    }
    let seconds = interval.seconds.into_iter().collect();
    let end = IntervalEnd {
        covers,
        classes,
        scopes,
        seconds,
        samples,
        in_flight,
        cpu,
        start_skew,
        kernel_stamps,
        last,
    };
    packs.into_parts(worker, first, end)
}

/// Histograms gathered into bins of at most [`MAX_PART_BYTES`], in order.
#[derive(Default)]
struct Packs {
    full: Vec<Vec<ScopedHistogram>>,
    open: Vec<ScopedHistogram>,
    open_bytes: usize,
}

impl Packs {
    fn put(&mut self, histogram: ScopedHistogram) {
        let bytes = histogram.distribution.histogram.len();
        if !self.open.is_empty() && self.open_bytes + bytes > MAX_PART_BYTES {
            self.full.push(std::mem::take(&mut self.open));
            self.open_bytes = 0;
        }
        self.open_bytes += bytes;
        self.open.push(histogram);
    }

    fn into_parts(self, worker: WorkerId, first: u64, end: IntervalEnd) -> Vec<Part> {
        let mut parts: Vec<Part> = (first..)
            .zip(self.full)
            .map(|(sequence, histograms)| Part { worker, sequence, histograms, end: None })
            .collect();
        let sequence = first + parts.len() as u64;
        parts.push(Part { worker, sequence, histograms: self.open, end: Some(end) });
        parts
    }
}

/// The parts of one unfinished interval, set aside until its marked one arrives. A few bytes on the wire may be a
/// thousand times as many here, so only what the plan can have is let in: its stages × classes × metrics.
#[derive(Debug)]
pub struct Assembly {
    stages: u16,
    classes: u16,
    distributions: BTreeMap<Scope, BTreeMap<Metric, metrics::Distribution>>,
}

impl Assembly {
    /// For a plan of so many stages and traffic classes.
    #[must_use]
    pub fn new(stages: u16, classes: u16) -> Self {
        Self { stages, classes, distributions: BTreeMap::new() }
    }

    /// Takes the next part; the whole delta when it is the marked one.
    ///
    /// # Errors
    /// [`PartError`] for undecodable histograms; the assembly keeps what it had.
    pub fn take(&mut self, part: &Part) -> Result<Option<Delta>, PartError> {
        self.refuse_strangers(part)?;
        let mut decoded = Vec::with_capacity(part.histograms.len());
        for ScopedHistogram { scope, metric, distribution } in &part.histograms {
            if distribution.count == 0 {
                return Err(PartError::Empty(*metric));
            }
            let distribution = distribution.decode().map_err(|source| PartError::Histogram {
                metric: *metric,
                stage: scope.stage,
                source,
            })?;
            decoded.push((*scope, *metric, distribution));
        }
        for (scope, metric, distribution) in decoded {
            match self.distributions.entry(scope).or_default().entry(metric) {
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(distribution);
                }
                std::collections::btree_map::Entry::Occupied(mut place) => {
                    place.get_mut().merge(&distribution)?;
                }
            }
        }
        Ok(part.end.as_ref().map(|end| self.finish(end)))
    }

    fn refuse_strangers(&self, part: &Part) -> Result<(), PartError> {
        let ends = part.end.iter().flat_map(|end| &end.scopes).map(|(scope, _)| *scope);
        let mut all = part.histograms.iter().map(|histogram| histogram.scope).chain(ends);
        let strange = |scope: &Scope| scope.stage >= self.stages || scope.class >= self.classes;
        all.find(strange).map_or(Ok(()), |scope| Err(PartError::UnknownScope(scope)))
    }

    fn finish(&mut self, end: &IntervalEnd) -> Delta {
        let mut distributions = std::mem::take(&mut self.distributions);
        let mut interval = Interval::default();
        for (scope, record) in &end.scopes {
            let distributions = distributions.remove(scope).unwrap_or_default();
            interval.scopes.insert(*scope, ScopeRecord { distributions, ..record.clone() });
        }
        for (scope, left) in distributions {
            let record = ScopeRecord { distributions: left, ..ScopeRecord::default() };
            interval.scopes.insert(scope, record);
        }
        interval.seconds = end.seconds.iter().copied().collect();
        Delta {
            covers: end.covers,
            classes: end.classes.clone(),
            interval,
            samples: end.samples.clone(),
            in_flight: end.in_flight,
            cpu: end.cpu,
            start_skew: end.start_skew,
            kernel_stamps: end.kernel_stamps,
            last: end.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics::Distribution;
    use proptest::prelude::*;

    use super::*;

    const WORKER: WorkerId = WorkerId { ordinal: 2, incarnation: 9 };

    /// Samples as (stage, metric, value).
    fn delta(samples: &[(u16, usize, u64)]) -> Delta {
        let mut interval = Interval::default();
        for &(stage, metric, value) in samples {
            let metric = Metric::ALL[metric % Metric::ALL.len()];
            let record = interval.scopes.entry(Scope { stage, class: 0 }).or_default();
            record.books.due += 1;
            record.books.completed += 1;
            let fresh = || Distribution::new(metric.kind());
            record.distributions.entry(metric).or_insert_with(fresh).record(value);
        }
        interval.seconds.entry(7).or_default().due = samples.len() as u64;
        Delta { covers: Some(Covers { from: 7, to: 8 }), interval, last: true, ..Delta::default() }
    }

    fn reassembled(parts: &[Part]) -> Vec<Delta> {
        let mut assembly = Assembly::new(64, 1);
        parts.iter().filter_map(|part| assembly.take(part).unwrap()).collect()
    }

    /// Log-uniform values fill so many buckets that one histogram takes kilobytes.
    fn heavy(stages: u16) -> Delta {
        let mut samples = Vec::new();
        for stage in 0..stages {
            for metric in 0..17 {
                samples.extend((0..4_000_u64).map(|n| (stage, metric, 1 + n * n * 211)));
            }
        }
        delta(&samples)
    }

    #[test]
    fn a_large_delta_travels_in_several_frames_that_are_each_within_the_limit() {
        let delta = heavy(40);
        let parts = split(WORKER, 41, delta.clone());
        assert!(parts.len() > 1, "one part is no test");
        for part in &parts {
            let bytes = crate::encode(part).unwrap();
            assert!(bytes.len() < 2 * MAX_PART_BYTES, "{} bytes", bytes.len());
        }
        let marked: Vec<_> = parts.iter().map(|part| part.end.is_some()).collect();
        assert_eq!(marked.iter().filter(|marked| **marked).count(), 1);
        assert_eq!(marked.last(), Some(&true));
        assert_eq!(reassembled(&parts), [delta]);
    }

    #[test]
    fn a_broken_histogram_is_an_error_and_the_interval_is_not_merged() {
        let mut parts = split(WORKER, 1, delta(&[(0, 0, 5)]));
        parts[0].histograms[0].distribution.histogram.truncate(3);
        let mut assembly = Assembly::new(64, 1);
        assert!(matches!(assembly.take(&parts[0]), Err(PartError::Histogram { .. })));
    }

    #[test]
    fn what_the_plan_cannot_have_is_refused_before_memory_is_taken() {
        let parts = split(WORKER, 1, delta(&[(2, 0, 5)]));
        assert!(matches!(Assembly::new(2, 1).take(&parts[0]), Err(PartError::UnknownScope(_))));
        let mut empty = parts[0].clone();
        empty.histograms[0].distribution = Distribution::new(Metric::ALL[0].kind()).encode();
        assert!(matches!(Assembly::new(3, 1).take(&empty), Err(PartError::Empty(_))));
        assert!(Assembly::new(3, 1).take(&parts[0]).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn what_was_cut_is_put_together_again(
            samples in proptest::collection::vec((0_u16..3, 0_usize..30, 1_u64..10_000_000), 0..40),
            first in 1_u64..1_000,
        ) {
            let delta = delta(&samples);
            let parts = split(WORKER, first, delta.clone());
            let numbers: Vec<_> = parts.iter().map(|part| part.sequence).collect();
            prop_assert_eq!(numbers, (first..first + parts.len() as u64).collect::<Vec<_>>());
            let travelled: Vec<Part> = parts
                .iter()
                .map(|part| crate::decode(&crate::encode(part).unwrap()).unwrap())
                .collect();
            prop_assert_eq!(reassembled(&travelled), vec![delta]);
        }

        #[test]
        fn two_deltas_absorbed_equal_their_sum(
            early in proptest::collection::vec((0_u16..3, 0_usize..30, 1_u64..10_000_000), 0..20),
            late in proptest::collection::vec((0_u16..3, 0_usize..30, 1_u64..10_000_000), 0..20),
        ) {
            let mut absorbed = delta(&early);
            absorbed.absorb(delta(&late)).unwrap();
            let mut both = early;
            both.extend(late);
            prop_assert_eq!(absorbed.interval, delta(&both).interval);
        }
    }
}
