//! Who has been silent for too long.
//!
//! Silence counts only while the coordinator's own loop ran: after a late look, or a resume, everybody has a grace
//! to be heard first. Otherwise a stopped coordinator would declare its whole fleet dead on waking.

use std::{collections::BTreeMap, time::Duration};

use protocol::WorkerId;
use tokio::time::Instant;

/// How often silence is looked for.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Silence after which a worker is lost for good.
const LOST_AFTER: Duration = Duration::from_secs(3);

/// When each worker was heard last.
#[derive(Debug)]
pub(crate) struct Silence {
    heard: BTreeMap<WorkerId, Instant>,
    looked: Instant,
}

impl Silence {
    /// Nobody is listened for yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { heard: BTreeMap::new(), looked: now }
    }

    /// A sign of life; from the first one on the worker's silence counts.
    pub(crate) fn heard(&mut self, worker: WorkerId, now: Instant) {
        self.heard.insert(worker, now);
    }

    /// Those who have been silent for too long, each named once.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<WorkerId> {
        let late = now.duration_since(self.looked) > 2 * LOOK_EVERY;
        self.looked = now;
        if late {
            self.heard.values_mut().for_each(|heard| *heard = now);
            return Vec::new();
        }
        let silent = |heard: &Instant| now.duration_since(*heard) > LOST_AFTER;
        let lost = self.heard.iter().filter(|(_, heard)| silent(heard)).map(|(w, _)| *w).collect();
        self.heard.retain(|_, heard| !silent(heard));
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerId = WorkerId { ordinal: 0, incarnation: 1 };

    /// Looks every half second until `until`; who was lost, and when.
    fn looks(silence: &mut Silence, start: Instant, from: u32, until: u32) -> Vec<(u32, WorkerId)> {
        let look = |n: u32| silence.look(start + n * LOOK_EVERY).into_iter().map(move |w| (n, w));
        (from..until).flat_map(look).collect()
    }

    #[test]
    fn a_silent_worker_is_lost_once_after_three_seconds() {
        let start = Instant::now();
        let mut silence = Silence::new(start);
        silence.heard(WORKER, start);
        // The look at 3.0 s is not yet above the limit; the one at 3.5 s is.
        assert_eq!(looks(&mut silence, start, 1, 20), [(7, WORKER)]);
    }

    #[test]
    fn a_coordinator_that_slept_gives_everybody_a_grace() {
        let start = Instant::now();
        let mut silence = Silence::new(start);
        silence.heard(WORKER, start);
        assert!(silence.look(start + Duration::from_secs(60)).is_empty());
        let awake = start + Duration::from_secs(60);
        assert_eq!(looks(&mut silence, awake, 1, 20), [(7, WORKER)]);
    }
}
