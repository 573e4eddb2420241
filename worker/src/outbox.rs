//! What a worker has recorded and the coordinator has not yet acknowledged.
//!
//! At most two intervals are under way; what comes meanwhile is merged into one that waits. So memory
//! is bounded however slow the coordinator's disk is, and nothing is lost: only intervals that were
//! never sent are merged, and what was sent is sent again byte for byte under the same number.

use std::collections::VecDeque;

use metrics::MergeError;
use protocol::{Delta, Part, WorkerId, split};

/// Intervals sent and not yet acknowledged.
const UNDER_WAY: usize = 2;

/// See the module's documentation.
#[derive(Debug)]
pub struct Outbox {
    worker: WorkerId,
    next: u64,
    under_way: VecDeque<Vec<Part>>,
    waiting: Option<Delta>,
    closed: bool,
}

impl Outbox {
    /// Empty; the first part will be number 1.
    #[must_use]
    pub fn new(worker: WorkerId) -> Self {
        Self { worker, next: 1, under_way: VecDeque::new(), waiting: None, closed: false }
    }

    /// Takes a delta; the parts to send now.
    ///
    /// # Errors
    /// Histograms of different bounds cannot be merged.
    pub fn offer(&mut self, delta: Delta) -> Result<Vec<Part>, MergeError> {
        match &mut self.waiting {
            Some(waiting) => waiting.absorb(delta)?,
            None => self.waiting = Some(delta),
        }
        Ok(self.dispatch())
    }

    /// Everything up to `sequence` is on disk; the parts to send now.
    pub fn acknowledge(&mut self, sequence: u64) -> Vec<Part> {
        while self.under_way.front().is_some_and(|parts| last_number(parts) <= sequence) {
            self.under_way.pop_front();
        }
        self.dispatch()
    }

    /// Everything that was sent and not acknowledged, oldest first.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &Part> {
        self.under_way.iter().flatten()
    }

    /// Whether the last delta is on the coordinator's disk.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.closed && self.under_way.is_empty()
    }

    fn dispatch(&mut self) -> Vec<Part> {
        if self.under_way.len() >= UNDER_WAY {
            return Vec::new();
        }
        let Some(delta) = self.waiting.take() else { return Vec::new() };
        self.closed |= delta.last;
        let parts = split(self.worker, self.next, delta);
        self.next = last_number(&parts) + 1;
        self.under_way.push_back(parts.clone());
        parts
    }
}

/// An interval always has its marked part.
fn last_number(parts: &[Part]) -> u64 {
    parts.last().map_or(0, |part| part.sequence)
}

#[cfg(test)]
mod tests {
    use metrics::{Scope, ScopeRecord};
    use proptest::prelude::*;

    use super::*;

    const WORKER: WorkerId = WorkerId { ordinal: 0, incarnation: 1 };

    fn delta(due: u64) -> Delta {
        let mut delta = Delta::default();
        let record = ScopeRecord {
            books: metrics::Books { due, ..metrics::Books::default() },
            ..ScopeRecord::default()
        };
        delta.interval.scopes.insert(Scope { stage: 0, class: 0 }, record);
        delta
    }

    fn due(parts: &[Part]) -> u64 {
        let ends = parts.iter().filter_map(|part| part.end.as_ref());
        ends.flat_map(|end| &end.scopes).map(|(_, record)| record.books.due).sum()
    }

    #[test]
    fn a_third_interval_waits_and_takes_in_the_fourth() {
        let mut outbox = Outbox::new(WORKER);
        assert_eq!(outbox.offer(delta(1)).unwrap().len(), 1);
        assert_eq!(outbox.offer(delta(2)).unwrap().len(), 1);
        assert!(outbox.offer(delta(3)).unwrap().is_empty());
        assert!(outbox.offer(delta(4)).unwrap().is_empty());
        let released = outbox.acknowledge(1);
        assert_eq!((released[0].sequence, due(&released)), (3, 7));
    }

    #[test]
    fn an_old_acknowledgement_changes_nothing() {
        let mut outbox = Outbox::new(WORKER);
        outbox.offer(delta(1)).unwrap();
        assert!(outbox.acknowledge(0).is_empty());
        assert_eq!(outbox.unacknowledged().count(), 1);
    }

    #[test]
    fn it_is_complete_when_the_last_delta_is_acknowledged() {
        let mut outbox = Outbox::new(WORKER);
        outbox.offer(Delta { last: true, ..delta(1) }).unwrap();
        assert!(!outbox.is_complete());
        outbox.acknowledge(1);
        assert!(outbox.is_complete());
    }

    proptest! {
        /// `Some(n)` records n requests, `None` acknowledges everything that was sent.
        #[test]
        fn nothing_is_lost_doubled_or_out_of_order(steps in proptest::collection::vec(any::<Option<u8>>(), 1..60)) {
            let mut outbox = Outbox::new(WORKER);
            let (mut sent, mut recorded) = (Vec::new(), 0);
            for step in steps {
                let parts = match step {
                    Some(count) => { recorded += u64::from(count); outbox.offer(delta(u64::from(count))).unwrap() }
                    None => outbox.acknowledge(sent.last().map_or(0, |part: &Part| part.sequence)),
                };
                sent.extend(parts);
                prop_assert!(outbox.under_way.len() <= UNDER_WAY);
            }
            for _ in 0..3 {
                sent.extend(outbox.acknowledge(sent.last().map_or(0, |part: &Part| part.sequence)));
            }
            prop_assert_eq!(due(&sent), recorded);
            let numbers: Vec<_> = sent.iter().map(|part| part.sequence).collect();
            prop_assert_eq!(numbers, (1..=sent.len() as u64).collect::<Vec<_>>());
        }
    }
}
