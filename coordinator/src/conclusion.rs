//! The books of a run whose coordinator is gone, closed by one who only reads.
//!
//! The workers that were at work then may have sent on, as far as their leases reached; nothing after that. The
//! last lease was granted at most a moment after what the journal tells of last: a worker reports every second, and
//! one that is not heard is granted nothing. When the file was written says nothing: it may be a copy.

use std::time::Duration;

use protocol::{Limit, Loss, LossCause, WorkerId};
use workload::Plan;

use crate::{Ending, FleetSize, Merged, Recovered, Roster, Standing, Terms};

/// From the end of the last second that was told to the last grant. A second is told in the one after it, and reports
/// come every second; the double of that, and the 1.5 s after which a silent worker is granted nothing.
const GRANTED_AFTER: Duration = Duration::from_millis(4_500);
/// By then no worker waits for a coordinator any more: the longest lease, and what it waits after that.
const ALL_GONE_AFTER: Duration = Duration::from_secs(25);

impl Recovered {
    /// Until when the coordinators before can have granted leases, at the run time of one who takes over or reads. As
    /// long as a worker may be waiting that is the present, whatever a slow disk has of it; later it is what follows
    /// from the journal, as for one who only reads.
    #[must_use]
    pub fn granted_until(&self, run_time: Duration) -> Duration {
        let last_told = self.last_told();
        if run_time < last_told + ALL_GONE_AFTER { run_time } else { last_told + GRANTED_AFTER }
    }

    /// Plan and merged books. `None` of a run that had not begun.
    #[must_use]
    pub fn conclude(mut self) -> Option<(Plan, Merged)> {
        let (plan, start) = (self.plan.clone()?, self.start?);
        if !self.ended {
            self.lose_all(Terms::of(&plan));
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

    fn lose_all(&mut self, terms: Terms) {
        let noticed_at = self.last_told();
        let at_work: Vec<(WorkerId, Limit)> = self
            .at_work(terms, noticed_at + GRANTED_AFTER)
            .map(|(worker, _, limit)| (worker, limit))
            .collect();
        for (worker, limit) in at_work {
            let loss = Loss { worker, limit, noticed_at, cause: LossCause::Silent };
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
