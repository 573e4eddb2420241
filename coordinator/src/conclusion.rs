//! The books of a run whose coordinator is gone, closed by one who only reads.
//!
//! The workers that were at work then may have sent on, as far as their leases reached; nothing after that. The
//! last lease was granted at most a moment after the journal's last record: a worker reports every second, and
//! one that is not heard is granted nothing.

use std::time::Duration;

use protocol::{Limit, Loss, LossCause, WorkerId};
use workload::Plan;

use crate::{Ending, FleetSize, Merged, Recovered, Roster, Standing, Terms};

/// From the last record to the last grant. Reports come every second; double of that, and the 1.5 s after which
/// a silent worker is granted nothing.
const GRANTED_AFTER: Duration = Duration::from_millis(3_500);

impl Recovered {
    /// Plan and merged books, the journal having been written last at `written_unix_ns`. `None` of a run that had
    /// not begun.
    #[must_use]
    pub fn conclude(mut self, written_unix_ns: i64) -> Option<(Plan, Merged)> {
        let (plan, start) = (self.plan.clone()?, self.start?);
        let written_ns = u64::try_from(written_unix_ns.saturating_sub(start.unix_ns));
        let written = Duration::from_nanos(written_ns.unwrap_or_default());
        if !self.ended {
            self.lose_all(Terms::of(&plan), written);
        }
        let members = self.members();
        let ending = self.ending(members.iter().all(|member| member.standing != Standing::Lost));
        let expected = u32::try_from(members.len()).ok().and_then(std::num::NonZeroU32::new)?;
        let size = FleetSize::exactly(expected);
        let merged = Merged {
            ending,
            roster: Roster::resumed(size, String::new(), members),
            start_unix_ns: Some(start.unix_ns),
            stopped_at: self.stopped_at,
            prepared: self.prepared,
            stop_reason: self.stop_reason,
            ledger: self.ledger,
            records: None,
        };
        Some((*plan, merged))
    }

    fn lose_all(&mut self, terms: Terms, written: Duration) {
        let at_work: Vec<(WorkerId, Limit)> = self
            .at_work(terms, written + GRANTED_AFTER)
            .map(|(worker, _, limit)| (worker, limit))
            .collect();
        for (worker, limit) in at_work {
            let loss = Loss { worker, limit, noticed_at: written, cause: LossCause::Silent };
            self.ledger.change_owners(Some(&loss), None);
        }
    }

    fn ending(&self, nobody_lost: bool) -> Ending {
        let interrupted = self.stopped_at.filter(|_| self.stop_reason.is_none());
        match (self.ended, interrupted) {
            (false, _) => Ending::Degraded("its coordinator ended before the run did".to_owned()),
            (true, Some(_)) => Ending::Interrupted,
            (true, None) if nobody_lost && self.resumed == 0 => Ending::Completed,
            (true, None) if nobody_lost => {
                Ending::Degraded("another coordinator had to take over".to_owned())
            }
            (true, None) => Ending::Degraded("a worker was lost".to_owned()),
        }
    }
}
