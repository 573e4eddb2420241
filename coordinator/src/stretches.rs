//! A run read from its journal stretch by stretch: the interval histograms, merged over all workers.
//!
//! Comparisons, windows and logs of histograms need what was recorded second by second; a result holds only the whole.
//! The records go through the ledger that wrote them, so what it took is here and what it refused is not: all stretches
//! together are the run's total, bucket by bucket. One stretch is held at a time, however long the run was.

use std::ops::Range;
use std::path::{Path, PathBuf};

use metrics::Interval;
use protocol::{JournalError, JournalRecords, PROTOCOL_VERSION, Record};
use workload::Plan;

use crate::Recovered;

/// A journal that cannot be read stretch by stretch.
#[derive(Debug, thiserror::Error)]
pub enum StretchError {
    /// The file.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It does not begin with a plan.
    #[error("{0}: it is no journal of a run")]
    NoJournal(PathBuf),
    /// Written by another version.
    #[error("{path}: it is of protocol {theirs}, and this program speaks {PROTOCOL_VERSION}")]
    Protocol {
        /// Which file.
        path: PathBuf,
        /// Its protocol.
        theirs: u32,
    },
}

/// Stretches of run time, in seconds since the start, ascending, each with all that was recorded in it. The last one
/// may tell of a second again: what came late for it.
#[derive(Debug)]
pub struct Stretches {
    records: JournalRecords,
    recovered: Recovered,
    plan: Plan,
    is_read: bool,
}

impl Stretches {
    /// Opens a journal and reads its plan.
    ///
    /// # Errors
    /// [`StretchError`].
    pub fn open(journal: &Path) -> Result<Self, StretchError> {
        let mut records = JournalRecords::open(journal)?;
        let no_journal = || StretchError::NoJournal(journal.to_owned());
        let first = records.next().ok_or_else(no_journal)??;
        let Record::Plan { protocol, plan, .. } = &first else { return Err(no_journal()) };
        if *protocol != PROTOCOL_VERSION {
            return Err(StretchError::Protocol { path: journal.to_owned(), theirs: *protocol });
        }
        let plan = plan.as_ref().clone();
        let mut recovered = Recovered::default();
        recovered.take(first);
        recovered.ledger = std::mem::take(&mut recovered.ledger).keeping_stretches();
        Ok(Self { records, recovered, plan, is_read: false })
    }

    /// What was run.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Iterator for Stretches {
    type Item = Result<(Range<u32>, Interval), StretchError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(stretch) = self.recovered.ledger.take_stretch() {
                return Some(Ok(stretch));
            }
            if self.is_read {
                return self.recovered.ledger.take_rest().map(Ok);
            }
            match self.records.next() {
                Some(Ok(record)) => self.recovered.take(record),
                Some(Err(error)) => {
                    self.is_read = true;
                    return Some(Err(error.into()));
                }
                None => {
                    self.is_read = true;
                    self.recovered.ledger.close_all();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use metrics::{Distribution, Metric, Scope, ScopeRecord};
    use proptest::prelude::*;
    use protocol::{Covers, Delta, WorkerId, append_frame, split};
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    fn worker(ordinal: u32) -> WorkerId {
        WorkerId { ordinal, incarnation: 1 }
    }

    fn plan() -> Box<Plan> {
        let sets = ["target.endpoint=http://t/v1", "target.model=m", "load.rate=5"];
        let sets = sets.map(str::to_owned).to_vec();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        Box::new(Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0)
    }

    fn interval(values: &[u64]) -> Interval {
        let mut ttft = Distribution::new(Metric::Ttft.kind());
        values.iter().for_each(|value| ttft.record(*value));
        let mut record = ScopeRecord::default();
        record.distributions.insert(Metric::Ttft, ttft);
        let mut interval = Interval::default();
        interval.scopes.insert(Scope::default(), record);
        interval
    }

    /// A worker's parts; the last delta covers no second, as that of a drain that is shorter than one.
    fn parts(ordinal: u32, seconds: &[Vec<u64>]) -> Vec<Record> {
        let mut records = Vec::new();
        for (second, values) in (0_u32..).zip(seconds) {
            let last = second as usize + 1 == seconds.len();
            let covers = (!last).then_some(Covers { from: second, to: second + 1 });
            let delta = Delta { covers, interval: interval(values), last, ..Delta::default() };
            let first = records.len() as u64 + 1;
            records.extend(split(worker(ordinal), first, delta).into_iter().map(Record::Part));
        }
        records
    }

    fn journal(
        protocol: u32,
        records: impl IntoIterator<Item = Record>,
    ) -> tempfile::NamedTempFile {
        let mut bytes = Vec::new();
        let first = Record::Plan { protocol, plan: plan(), created_unix_ns: 0 };
        for record in std::iter::once(first).chain(records) {
            append_frame(&mut bytes, &record).unwrap();
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    fn read(file: &tempfile::NamedTempFile) -> Vec<(Range<u32>, Interval)> {
        Stretches::open(file.path()).unwrap().map(Result::unwrap).collect()
    }

    proptest! {
        #[test]
        fn all_stretches_together_are_the_total(
            workers in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(1_u64..3_600_000_000, 1..5), 1..6), 1..4),
        ) {
            let roster = (0..).zip(&workers).map(|(ordinal, _)| (worker(ordinal), String::new()));
            let mut records = vec![Record::Roster(roster.collect())];
            let streams: Vec<_> = (0..).zip(&workers).map(|(ordinal, seconds)| parts(ordinal, seconds)).collect();
            let longest = streams.iter().map(Vec::len).max().unwrap_or_default();
            for turn in 0..longest {
                records.extend(streams.iter().filter_map(|stream| stream.get(turn).cloned()));
            }
            records.push(Record::End);
            let stretches = read(&journal(PROTOCOL_VERSION, records));
            let mut together = Interval::default();
            for (_, stretch) in &stretches {
                together.merge(stretch).unwrap();
            }
            let all: Vec<u64> = workers.concat().concat();
            prop_assert_eq!(together, interval(&all));
            prop_assert!(stretches.is_sorted_by_key(|(seconds, _)| seconds.start));
        }
    }

    #[test]
    fn each_second_is_a_stretch_of_its_own_even_where_the_journal_is_cut_off() {
        let records = [
            vec![Record::Roster(vec![(worker(0), String::new())])],
            parts(0, &[vec![5], vec![6], vec![7]]),
        ];
        let mut file = journal(PROTOCOL_VERSION, records.concat());
        file.write_all(&[1, 2, 3]).unwrap();
        let stretches = read(&file);
        let seconds: Vec<_> = stretches.iter().map(|(seconds, _)| seconds.clone()).collect();
        assert_eq!(seconds, [0..1, 1..2, 2..3]);
        assert_eq!(stretches[1].1, interval(&[6]));
    }

    #[test]
    fn what_is_no_journal_of_ours_is_said() {
        let words =
            |file: &tempfile::NamedTempFile| Stretches::open(file.path()).unwrap_err().to_string();
        assert!(words(&journal(PROTOCOL_VERSION + 1, [])).contains("of protocol"));
        assert!(words(&tempfile::NamedTempFile::new().unwrap()).contains("no journal of a run"));
    }
}
