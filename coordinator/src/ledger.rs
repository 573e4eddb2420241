//! The books of the whole run: every part merged once.
//!
//! A worker's parts are numbered without a gap. The ledger takes exactly the next one; one that it has
//! is acknowledged again and changes nothing, a newer one is dropped unacknowledged and comes again. The
//! parts of an interval wait aside until its marked one; then histograms and books are merged together.

use std::collections::BTreeMap;

use metrics::{Books, Distribution, Interval, MergeError, Metric, Scope, Series};
use protocol::{Assembly, Delta, FailureSample, Part, PartError, WorkerId};

/// How many failures in words are kept of each class.
const SAMPLES_OF_A_CLASS: usize = 5;

/// What a part's number says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// The next one: write it down, then merge it.
    Next,
    /// Known: acknowledge again what is durable.
    Repeated,
    /// An earlier one is missing: drop it without a word.
    Ahead,
    /// Its worker was never admitted, or is closed: refused for ever.
    Refused,
}

/// What one incarnation of a worker has said.
#[derive(Debug)]
pub struct Account {
    accepted: u64,
    assembly: Assembly,
    open: bool,
    /// Its books by stage and class.
    pub books: BTreeMap<Scope, Books>,
    /// Its own lag, apart from the others'.
    pub generator_lag: Distribution,
    /// The second before which everything is answered for.
    pub covered_to: u32,
    /// Requests written and not finished at its last delta.
    pub in_flight: u64,
    /// CPU time of its lanes.
    pub cpu: std::time::Duration,
    /// Actual start minus the agreed one.
    pub start_skew: Option<std::time::Duration>,
    /// Whether its receive stamps were the kernel's.
    pub kernel_stamps: bool,
    /// Its books are complete.
    pub complete: bool,
    /// Deltas merged.
    pub deltas: u64,
}

impl Account {
    fn new() -> Self {
        Self {
            accepted: 0,
            assembly: Assembly::default(),
            open: true,
            books: BTreeMap::new(),
            generator_lag: Distribution::new(Metric::GeneratorLag.kind()),
            covered_to: 0,
            in_flight: 0,
            cpu: std::time::Duration::ZERO,
            start_skew: None,
            kernel_stamps: true,
            complete: false,
            deltas: 0,
        }
    }

    fn merge(&mut self, delta: &Delta) -> Result<(), MergeError> {
        for (scope, record) in &delta.interval.scopes {
            self.books.entry(*scope).or_default().merge(&record.books);
            if let Some(lag) = record.distributions.get(&Metric::GeneratorLag) {
                self.generator_lag.merge(lag)?;
            }
        }
        self.covered_to = delta.covers.map_or(self.covered_to, |covers| covers.to);
        self.in_flight = delta.in_flight;
        self.cpu = delta.cpu;
        self.start_skew = self.start_skew.or(delta.start_skew);
        self.kernel_stamps &= delta.kernel_stamps;
        self.complete |= delta.last;
        self.deltas += 1;
        Ok(())
    }
}

/// Everything merged so far.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<WorkerId, Account>,
    total: Interval,
    series: Series,
    /// Deltas by the second that they reach to, until every worker has reported that far.
    ahead: BTreeMap<u32, Interval>,
    told_to: u32,
    samples: BTreeMap<metrics::FailureClass, Vec<FailureSample>>,
}

impl Ledger {
    /// Opens a worker's account.
    pub fn admit(&mut self, worker: WorkerId) {
        self.accounts.entry(worker).or_insert_with(Account::new);
    }

    /// Closes it for ever: an unfinished interval is dropped, later parts are refused.
    pub fn close(&mut self, worker: WorkerId) {
        if let Some(account) = self.accounts.get_mut(&worker) {
            account.open = false;
            account.assembly = Assembly::default();
        }
        self.tell_series(self.reported_to());
    }

    /// Looks at a part's number; changes nothing.
    #[must_use]
    pub fn judge(&self, part: &Part) -> Acceptance {
        let Some(account) = self.accounts.get(&part.worker).filter(|account| account.open) else {
            return Acceptance::Refused;
        };
        match part.sequence.cmp(&(account.accepted + 1)) {
            std::cmp::Ordering::Less => Acceptance::Repeated,
            std::cmp::Ordering::Equal => Acceptance::Next,
            std::cmp::Ordering::Greater => Acceptance::Ahead,
        }
    }

    /// Merges a part that was judged [`Acceptance::Next`]; the delta that it completed.
    ///
    /// # Errors
    /// Undecodable or ill-bounded histograms: nothing is merged and the number is not taken.
    pub fn merge(&mut self, part: &Part) -> Result<Option<Delta>, PartError> {
        let Some(account) = self.accounts.get_mut(&part.worker) else { return Ok(None) };
        let delta = account.assembly.take(part)?;
        account.accepted = part.sequence;
        let Some(delta) = delta else { return Ok(None) };
        account.merge(&delta)?;
        let reached = account.covered_to;
        self.total.merge(&delta.interval)?;
        self.ahead.entry(reached).or_default().merge(&delta.interval)?;
        self.tell_series(self.reported_to());
        for sample in &delta.samples {
            let known = self.samples.entry(sample.class).or_default();
            if known.len() < SAMPLES_OF_A_CLASS && known.iter().all(|k| k.detail != sample.detail) {
                known.push(sample.clone());
            }
        }
        Ok(Some(delta))
    }

    /// The second before which every worker that still reports has reported.
    fn reported_to(&self) -> u32 {
        let reporting = self.accounts.values().filter(|account| account.open && !account.complete);
        let slowest = reporting.map(|account| account.covered_to).min();
        slowest.unwrap_or_else(|| self.ahead.keys().next_back().copied().unwrap_or_default())
    }

    /// Makes one point of the seconds that everybody has reported; wider than one where somebody was
    /// late.
    fn tell_series(&mut self, to: u32) {
        let later = self.ahead.split_off(&to.saturating_add(1));
        let reached = std::mem::replace(&mut self.ahead, later);
        let mut point = Interval::default();
        for interval in reached.values() {
            // Bounds were compared when these were merged into the total.
            let _ = point.merge(interval);
        }
        if to > self.told_to {
            self.series.push(self.told_to..to, &point);
            self.told_to = to;
        } else if !point.is_empty() {
            self.ahead.insert(to, point);
        }
    }

    /// The run over time: a point for each second that every live worker has reported.
    #[must_use]
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The last number taken from a worker.
    #[must_use]
    pub fn accepted(&self, worker: WorkerId) -> u64 {
        self.accounts.get(&worker).map_or(0, |account| account.accepted)
    }

    /// All histograms, books and counters, over all workers.
    #[must_use]
    pub fn total(&self) -> &Interval {
        &self.total
    }

    /// What each incarnation has said.
    #[must_use]
    pub fn accounts(&self) -> &BTreeMap<WorkerId, Account> {
        &self.accounts
    }

    /// A few failures in words, by class.
    pub fn samples(&self) -> impl Iterator<Item = &FailureSample> {
        self.samples.values().flatten()
    }
}
