//! Everything that was measured in a stretch of time, by one lane or by the whole fleet: the value that is merged.
//!
//! A lane's flush, a worker's delta and the ledger's total have this one form, and merging is associative and
//! commutative, so that the answer cannot depend on how many workers took part or in which order they reported.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::books::Books;
use crate::distribution::{Distribution, MergeError};
use crate::metric::Metric;

/// Where a sample belongs: the stage in which its request was due, and the traffic class.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Scope {
    /// Index of the stage in the plan.
    pub stage: u16,
    /// Index of the traffic class in the plan.
    pub class: u16,
}

/// Counts of what happened inside the stage's [start, end), each by its own instant, whenever its request was due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the count of what it names")]
pub struct WindowCounts {
    pub due: u64,
    pub sent: u64,
    pub completed: u64,
    pub failed: u64,
    /// By the instant of each token's arrival.
    pub output_tokens: u64,
    /// Of completed requests, by the instant they were sent: that is when the server had them.
    pub input_tokens: u64,
    /// Completed within every limit that the run sets to a request.
    pub good: u64,
}

/// Counted peculiarities, each of which qualifies some figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Gaps between content events: the samples of `icl`.
    pub gaps: u64,
    /// Gaps whose two events came from one read, and so share a stamp.
    pub shared_gaps: u64,
    /// Completed without `[DONE]`.
    pub no_done: u64,
    /// Moved once, unsent, to a new connection.
    pub reconnected: u64,
    /// The queue of prepared bodies was empty when a request was due.
    pub queue_empty: u64,
    /// Requests whose usage and events disagree on the streamed tokens.
    pub token_disagreements: u64,
    /// Requests that have both.
    pub token_comparisons: u64,
    /// Requests whose output tokens come from the server's usage.
    pub usage_requests: u64,
    /// Requests whose output tokens were counted by our tokenizer.
    pub tokenizer_requests: u64,
    /// Requests whose output tokens are the count of their events.
    pub event_counted_requests: u64,
    /// Samples of `icl` that came from requests that did not complete.
    pub chunk_samples_of_unfinished: u64,
    /// Requests cancelled or timed out.
    pub censored: u64,
    /// Jumps of the realtime against the monotonic clock by more than 1 ms.
    pub clock_steps: u64,
    /// Events stamped in user space, for want of a kernel stamp.
    pub user_space_stamps: u64,
    /// Prompts taken from a data set that had been used up before.
    pub prompts_wrapped: u64,
    /// Requests that the cap held back until their stage was over.
    pub never_permitted: u64,
    /// Prompts whose tokens were counted again (1 in 1,000 synthetic ones).
    pub prompts_checked: u64,
    /// Of these, prompts that had another number of tokens than asked.
    pub prompts_inexact: u64,
    /// Requests that completed within every limit that the run sets to a request.
    pub good: u64,
    /// Requests whose usage told how much of the prompt the prefix cache held.
    pub cache_told: u64,
    /// Input tokens that were asked for, of the requests whose usage tells how many there were.
    pub input_asked: u64,
    /// Input tokens of the same requests, as the server counted them.
    pub input_counted: u64,
    /// Output tokens that were ordered, of the requests whose usage tells how many came.
    pub output_ordered: u64,
    /// Output tokens of the same requests, as the server counted them.
    pub output_counted: u64,
    /// Sessions whose first turn was begun.
    pub sessions_begun: u64,
    /// Of these, sessions that were answered to their last turn.
    pub sessions_completed: u64,
    /// Of these, sessions that a turn without an answer, or the end of the load, ended before it.
    pub sessions_cut: u64,
    /// Turns that they have behind the first, as soon as that is known: when the first one's body is at hand.
    pub later_turns: u64,
}

/// All that was recorded in one scope.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ScopeRecord {
    /// What became of the requests due in this scope.
    pub books: Books,
    /// Samples by metric. A metric without samples may be absent or empty: both mean the same. They are not in the
    /// record's encoding: each histogram travels by itself, so that who receives one can refuse it before it takes memory.
    #[serde(skip)]
    pub distributions: BTreeMap<Metric, Distribution>,
    /// Counts inside the stage's window.
    pub window: WindowCounts,
    /// Peculiarities.
    pub notes: Notes,
    /// The last completion of a request due in this scope.
    pub last_completed: Option<Duration>,
    /// The last failure of a request due in this scope.
    pub last_failed: Option<Duration>,
}

/// What happened in one second of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the count of what it names")]
pub struct SecondCounts {
    pub due: u64,
    pub sent: u64,
    /// Requests whose task ran with its body at hand, whatever became of them then.
    pub started: u64,
    /// Of those due in it, requests that the cap held back, sent later or never.
    pub held_back: u64,
    pub completed: u64,
    pub failed: u64,
    pub output_tokens: u64,
    pub input_tokens: u64,
    /// Most requests in flight at once; over lanes and workers the maxima add up, so this is an upper bound.
    pub in_flight_max: u64,
    /// Most open connections, in use or kept; over lanes and workers the maxima add up.
    pub connections_max: u64,
    /// The 99th percentile of the worst lane's loop lag.
    pub loop_lag_p99_us: u64,
    /// The busiest lane's share of a core, in thousandths.
    pub lane_cpu_permille_max: u64,
    /// The share of time in which a lane was ready to run and had no core, in thousandths: of the lane that waited most.
    /// 0 where the kernel does not tell.
    pub lane_wait_permille_max: u64,
    /// Most request bodies that a worker had ordered and not begun to build.
    pub bodies_waiting_max: u64,
    /// Completed within every limit that the run sets to a request.
    pub good: u64,
    /// Requests whose first token arrived.
    pub first_tokens: u64,
    /// Of these, requests that waited more than three seconds ([`crate::SLOW_TTFT`]).
    pub slow_first_tokens: u64,
}

/// A stretch of time: by scope, and by second of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// By stage and class.
    pub scopes: BTreeMap<Scope, ScopeRecord>,
    /// By second since the run's start.
    pub seconds: BTreeMap<u32, SecondCounts>,
}

/// Saturates: counts come from peers, and a wrong one must show and not panic.
pub(crate) fn add(to: &mut u64, more: u64) {
    *to = to.saturating_add(more);
}

impl WindowCounts {
    /// Adds the counts.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.due, other.due);
        add(&mut self.sent, other.sent);
        add(&mut self.completed, other.completed);
        add(&mut self.failed, other.failed);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.good, other.good);
    }
}

impl Notes {
    /// Adds the counts.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.gaps, other.gaps);
        add(&mut self.shared_gaps, other.shared_gaps);
        add(&mut self.no_done, other.no_done);
        add(&mut self.reconnected, other.reconnected);
        add(&mut self.queue_empty, other.queue_empty);
        add(&mut self.token_disagreements, other.token_disagreements);
        add(&mut self.token_comparisons, other.token_comparisons);
        add(&mut self.usage_requests, other.usage_requests);
        add(&mut self.tokenizer_requests, other.tokenizer_requests);
        add(&mut self.event_counted_requests, other.event_counted_requests);
        add(&mut self.chunk_samples_of_unfinished, other.chunk_samples_of_unfinished);
        add(&mut self.censored, other.censored);
        add(&mut self.clock_steps, other.clock_steps);
        add(&mut self.user_space_stamps, other.user_space_stamps);
        add(&mut self.prompts_wrapped, other.prompts_wrapped);
        add(&mut self.never_permitted, other.never_permitted);
        add(&mut self.prompts_checked, other.prompts_checked);
        add(&mut self.cache_told, other.cache_told);
        add(&mut self.prompts_inexact, other.prompts_inexact);
        add(&mut self.good, other.good);
        add(&mut self.input_asked, other.input_asked);
        add(&mut self.input_counted, other.input_counted);
        add(&mut self.output_ordered, other.output_ordered);
        add(&mut self.output_counted, other.output_counted);
        add(&mut self.sessions_begun, other.sessions_begun);
        add(&mut self.sessions_completed, other.sessions_completed);
        add(&mut self.sessions_cut, other.sessions_cut);
        add(&mut self.later_turns, other.later_turns);
    }
}

impl SecondCounts {
    /// The same second as seen by another lane or worker: counts and in-flight add up, the generator's limits take the
    /// worst.
    pub fn merge(&mut self, other: &Self) {
        add(&mut self.due, other.due);
        add(&mut self.sent, other.sent);
        add(&mut self.completed, other.completed);
        add(&mut self.started, other.started);
        add(&mut self.held_back, other.held_back);
        add(&mut self.failed, other.failed);
        add(&mut self.output_tokens, other.output_tokens);
        add(&mut self.input_tokens, other.input_tokens);
        add(&mut self.in_flight_max, other.in_flight_max);
        add(&mut self.connections_max, other.connections_max);
        add(&mut self.good, other.good);
        add(&mut self.first_tokens, other.first_tokens);
        add(&mut self.slow_first_tokens, other.slow_first_tokens);
        self.loop_lag_p99_us = self.loop_lag_p99_us.max(other.loop_lag_p99_us);
        self.lane_cpu_permille_max = self.lane_cpu_permille_max.max(other.lane_cpu_permille_max);
        self.lane_wait_permille_max = self.lane_wait_permille_max.max(other.lane_wait_permille_max);
        self.bodies_waiting_max = self.bodies_waiting_max.max(other.bodies_waiting_max);
    }

    /// The next second, for a point that is wider than one: counts add up; in-flight, connections and limits take the maximum.
    pub fn followed_by(&mut self, next: &Self) {
        let in_flight_max = self.in_flight_max.max(next.in_flight_max);
        let connections_max = self.connections_max.max(next.connections_max);
        self.merge(next);
        self.in_flight_max = in_flight_max;
        self.connections_max = connections_max;
    }
}

impl ScopeRecord {
    /// Adds another record of the same scope, or of another scope to a total.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        for (metric, theirs) in other.recorded() {
            if theirs.kind() != metric.kind() {
                return Err(MergeError::Kind { ours: metric.kind(), theirs: theirs.kind() });
            }
            match self.distributions.get_mut(&metric) {
                Some(ours) => ours.merge(theirs)?,
                None => drop(self.distributions.insert(metric, theirs.to_collect())),
            }
        }
        self.books.merge(&other.books);
        self.window.merge(&other.window);
        self.notes.merge(&other.notes);
        self.last_completed = self.last_completed.max(other.last_completed);
        self.last_failed = self.last_failed.max(other.last_failed);
        Ok(())
    }

    /// The samples of a metric, if there are any.
    pub fn distribution(&self, metric: Metric) -> Option<&Distribution> {
        self.distributions.get(&metric).filter(|distribution| !distribution.is_empty())
    }

    /// The metrics that have samples.
    pub fn recorded(&self) -> impl Iterator<Item = (Metric, &Distribution)> {
        let all = self.distributions.iter().map(|(&metric, distribution)| (metric, distribution));
        all.filter(|(_, distribution)| !distribution.is_empty())
    }

    /// Whether nothing at all was recorded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Forgets everything and keeps the histograms' memory.
    fn clear(&mut self) {
        let mut distributions = std::mem::take(&mut self.distributions);
        distributions.values_mut().for_each(Distribution::clear);
        *self = Self { distributions, ..Self::default() };
    }
}

impl PartialEq for ScopeRecord {
    /// Equal in all that was recorded; an empty distribution equals an absent one.
    fn eq(&self, other: &Self) -> bool {
        self.books == other.books
            && self.window == other.window
            && self.notes == other.notes
            && self.last_completed == other.last_completed
            && self.last_failed == other.last_failed
            && self.recorded().eq(other.recorded())
    }
}

impl Interval {
    /// Adds what another lane, worker or stretch of time recorded. Associative and commutative. On an error the target
    /// may hold a part of `other` and must not be used: it means that versions were mixed.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        for (&scope, theirs) in &other.scopes {
            self.scopes.entry(scope).or_default().merge(theirs)?;
        }
        for (&second, theirs) in &other.seconds {
            self.seconds.entry(second).or_default().merge(theirs);
        }
        Ok(())
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty() && self.scopes.values().all(ScopeRecord::is_empty)
    }

    /// Forgets everything but the scopes and keeps their histograms' memory, for the next flush.
    pub fn clear(&mut self) {
        self.seconds.clear();
        self.scopes.values_mut().for_each(ScopeRecord::clear);
    }

    /// One record of all scopes that `wanted` picks.
    pub fn fold(&self, wanted: impl Fn(Scope) -> bool) -> Result<ScopeRecord, MergeError> {
        let mut total = ScopeRecord::default();
        for (_, record) in self.scopes.iter().filter(|&(&scope, _)| wanted(scope)) {
            total.merge(record)?;
        }
        Ok(total)
    }

    /// One record of a stage, over all its classes.
    pub fn stage(&self, stage: u16) -> Result<ScopeRecord, MergeError> {
        self.fold(|scope| scope.stage == stage)
    }

    /// One record of everything.
    pub fn total(&self) -> Result<ScopeRecord, MergeError> {
        self.fold(|_| true)
    }

    /// The books of everything, without touching a histogram.
    pub fn books(&self) -> Books {
        let mut books = Books::default();
        self.scopes.values().for_each(|record| books.merge(&record.books));
        books
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Kind;

    fn holding(metric: Metric, kind: Kind) -> ScopeRecord {
        let mut distribution = Distribution::new(kind);
        distribution.record(5);
        let distributions = BTreeMap::from([(metric, distribution)]);
        ScopeRecord { distributions, ..ScopeRecord::default() }
    }

    #[test]
    fn a_histogram_of_another_kind_than_its_metrics_is_refused_even_by_an_empty_record() {
        let mut total = ScopeRecord::default();
        let wrong = holding(Metric::Ttft, Kind::Count);
        let error = MergeError::Kind { ours: Kind::Latency, theirs: Kind::Count };
        assert_eq!(total.merge(&wrong), Err(error));
        assert_eq!(total, ScopeRecord::default());
    }

    #[test]
    fn an_empty_distribution_is_as_good_as_none() {
        let mut with_empty = holding(Metric::Ttft, Kind::Latency);
        let none = with_empty.distributions.insert(Metric::Icl, Distribution::new(Kind::Latency));
        assert!(none.is_none());
        assert_eq!(with_empty, holding(Metric::Ttft, Kind::Latency));
        assert!(with_empty.distribution(Metric::Icl).is_none());
        let mut total = ScopeRecord::default();
        total.merge(&with_empty).unwrap();
        assert_eq!(total.distributions.len(), 1);
    }

    #[test]
    fn counts_saturate_instead_of_overflowing() {
        let most = Notes { gaps: u64::MAX, ..Notes::default() };
        let mut notes = most;
        notes.merge(&most);
        assert_eq!(notes, most);
    }

    #[test]
    fn a_second_of_two_lanes_adds_up_and_two_seconds_of_a_point_take_the_maximum() {
        let lane = |in_flight_max, loop_lag_p99_us| SecondCounts {
            sent: 5,
            in_flight_max,
            loop_lag_p99_us,
            ..SecondCounts::default()
        };
        let mut both = lane(3, 100);
        both.merge(&lane(4, 50));
        assert_eq!((both.sent, both.in_flight_max, both.loop_lag_p99_us), (10, 7, 100));
        both.followed_by(&lane(9, 200));
        assert_eq!((both.sent, both.in_flight_max, both.loop_lag_p99_us), (15, 9, 200));
    }

    #[test]
    fn a_fold_takes_the_wanted_scopes_only() {
        let mut interval = Interval::default();
        for (stage, class) in [(0, 0), (0, 1), (1, 0)] {
            let record = holding(Metric::Ttft, Kind::Latency);
            drop(interval.scopes.insert(Scope { stage, class }, record));
        }
        let count = |record: ScopeRecord| record.distribution(Metric::Ttft).unwrap().count();
        assert_eq!(count(interval.stage(0).unwrap()), 2);
        assert_eq!(count(interval.total().unwrap()), 3);
    }
}
