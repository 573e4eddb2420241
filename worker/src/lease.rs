//! What this worker may do, by the heartbeats that it has heard.
//!
//! A grant is an instant of the coordinator's clock and a length; here it becomes an instant of our own, less all
//! that the two clocks may disagree by then. Ours is CLOCK_BOOTTIME: a machine that slept wakes without a
//! lease. When the lease has run out nothing is started; 10 s later the worker ends, so that no orphan goes on
//! loading somebody's service.

use std::{sync::Arc, time::Duration};

use protocol::{CoordinatorHeartbeat, Grant, WorkerId};
use workload::Shard;

use crate::{Claim, Claims, ClockOffset, Gate};

/// How long after its lease has run out a worker cancels its streams and ends.
const END_AFTER: Duration = Duration::from_secs(10);

/// How a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing has been granted yet.
    Waiting,
    /// It may send.
    Held,
    /// It starts nothing, and hopes for the next heartbeat.
    Lapsed,
    /// It has been without a lease for too long: it cancels its streams and ends.
    Over,
}

impl Standing {
    /// By what was granted.
    #[must_use]
    pub fn by(gate: &Gate, now_boottime_ns: u64) -> Self {
        let until = gate.until_boottime_ns();
        let end_ns = u64::try_from(END_AFTER.as_nanos()).unwrap_or(u64::MAX);
        match now_boottime_ns {
            _ if until == 0 => Self::Waiting,
            now if now < until => Self::Held,
            now if now < until.saturating_add(end_ns) => Self::Lapsed,
            _ => Self::Over,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Lease {
    worker: WorkerId,
    gate: Arc<Gate>,
    claims: Claims,
    /// The latest coordinator that was heard.
    term: u64,
}

impl Lease {
    /// Of a worker that is armed; a spare has no shard.
    #[must_use]
    pub fn new(worker: WorkerId, shard: Option<Shard>, gate: Arc<Gate>) -> Self {
        Self { worker, gate, claims: Claims::new(worker, shard), term: 0 }
    }

    /// Takes a heartbeat at our own run time `now`, with what is known of the coordinator's clock: opens the
    /// gate as far as it grants, and gives back the classes that are newly ours. One for another incarnation
    /// changes nothing; one of a coordinator whose successor was heard grants nothing, because that one has been told
    /// what we hold.
    pub fn hear(
        &mut self,
        heartbeat: &CoordinatorHeartbeat,
        clock: Option<ClockOffset>,
        now: Duration,
    ) -> Vec<Claim> {
        if heartbeat.worker != self.worker {
            return Vec::new();
        }
        // Before anything is granted beyond them.
        for end in &heartbeat.stage_ends {
            self.gate.end_stage(end.stage, end.at);
        }
        // The classes first: what is granted may be theirs.
        let taken = self.claims.hear(&heartbeat.changes, now);
        self.term = self.term.max(heartbeat.term);
        let grant = heartbeat.grant.filter(|_| heartbeat.term == self.term);
        if let (Some(grant), Some(clock)) = (grant, clock) {
            self.gate.grant(until(&grant, &clock), grant.limit);
        }
        taken
    }

    /// How the worker stands.
    #[must_use]
    pub fn standing(&self, now_boottime_ns: u64) -> Standing {
        Standing::by(&self.gate, now_boottime_ns)
    }

    /// What is ours.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The latest coordinator that was heard.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// What the lanes ask.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }
}

/// The instant on our own clock before which a grant lasts, whatever the clocks did since they were compared.
fn until(grant: &Grant, clock: &ClockOffset) -> u64 {
    let length_ns = u64::try_from(grant.length.as_nanos()).unwrap_or(u64::MAX);
    let nominal = clock.to_ours(grant.given_at_coordinator_ns).saturating_add(length_ns);
    nominal.saturating_sub(clock.error_at(nominal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::{LEASE, Limit};

    use super::*;

    const ME: WorkerId = WorkerId { ordinal: 0, incarnation: 1 };
    const SECOND: u64 = 1_000_000_000;

    fn heartbeat(given_at_coordinator_ns: u64) -> CoordinatorHeartbeat {
        let limit = Limit::Due(Duration::from_secs(50));
        let grant = Grant { given_at_coordinator_ns, length: LEASE, limit };
        CoordinatorHeartbeat {
            worker: ME,
            grant: Some(grant),
            changes: Vec::new(),
            term: 0,
            stage_ends: Vec::new(),
        }
    }

    fn lease() -> Lease {
        Lease::new(ME, None, Arc::new(Gate::default()))
    }

    #[test]
    fn a_lease_is_held_lapses_and_is_over_ten_seconds_later() {
        let mut lease = lease();
        assert_eq!(lease.standing(u64::MAX), Standing::Waiting);
        let clock = ClockOffset { offset_ns: 0, error_ns: 0, measured_at_ns: 100 * SECOND };
        lease.hear(&heartbeat(100 * SECOND), Some(clock), Duration::ZERO);
        let until = lease.gate().until_boottime_ns();
        // 2.5 s less 500 ppm of 2.5 s.
        assert_eq!(until, 102 * SECOND + 498_750_000);
        let standings = [until - 1, until, until + 10 * SECOND - 1, until + 10 * SECOND];
        assert_eq!(
            standings.map(|now| lease.standing(now)),
            [Standing::Held, Standing::Lapsed, Standing::Lapsed, Standing::Over]
        );
        lease.hear(&heartbeat(110 * SECOND), Some(clock), Duration::ZERO);
        assert_eq!(lease.standing(111 * SECOND), Standing::Held, "it returns");
    }

    #[test]
    fn without_a_comparison_of_clocks_or_for_another_incarnation_nothing_is_granted() {
        let mut lease = lease();
        lease.hear(&heartbeat(SECOND), None, Duration::ZERO);
        let clock = ClockOffset { offset_ns: 0, error_ns: 0, measured_at_ns: 0 };
        let other = WorkerId { incarnation: 2, ..ME };
        let stray = CoordinatorHeartbeat { worker: other, ..heartbeat(SECOND) };
        lease.hear(&stray, Some(clock), Duration::ZERO);
        assert_eq!(lease.standing(0), Standing::Waiting);
    }

    #[test]
    fn what_a_coordinator_granted_whose_successor_was_heard_is_not_taken() {
        let mut lease = lease();
        let clock = Some(ClockOffset { offset_ns: 0, error_ns: 0, measured_at_ns: 0 });
        let successor = CoordinatorHeartbeat { grant: None, term: 1, ..heartbeat(0) };
        lease.hear(&successor, clock, Duration::ZERO);
        lease.hear(&heartbeat(SECOND), clock, Duration::ZERO);
        assert_eq!((lease.standing(SECOND), lease.term()), (Standing::Waiting, 1));
        lease.hear(&CoordinatorHeartbeat { term: 1, ..heartbeat(SECOND) }, clock, Duration::ZERO);
        assert_eq!(lease.standing(SECOND), Standing::Held);
    }

    proptest! {
        /// A true offset anywhere within the error, and a clock that drifts by up to 500 ppm from then on.
        #[test]
        fn a_lease_never_outlasts_what_the_coordinator_means(
            wrong in -1.0_f64..1.0, drift in -1.0_f64..1.0, error_ns in 0_u64..50_000_000,
            since_ms in 0_u64..600_000,
        ) {
            // Compared at our 1,000 s, when the coordinator's clock showed 5,000 s.
            let (ours, theirs) = (1_000 * SECOND, 5_000 * SECOND);
            let offset_ns = i64::try_from(theirs - ours).unwrap() + (wrong * error_ns as f64) as i64;
            let clock = ClockOffset { offset_ns, error_ns, measured_at_ns: ours };
            let given = theirs + since_ms * 1_000_000;
            let mut lease = lease();
            lease.hear(&heartbeat(given), Some(clock), Duration::ZERO);
            // When the grant ends on the coordinator's clock, ours shows this; it may only have ended before.
            let passed = (given - theirs) as f64 + LEASE.as_nanos() as f64;
            let shown = ours as f64 + passed * (1.0 + drift * 499e-6);
            prop_assert!((lease.gate().until_boottime_ns() as f64) <= shown + 2_000.0);
        }
    }
}
