//! Permission to send, as coordinator and workers speak of it.
//!
//! A frozen or cut-off worker must not send beside the one that took its share. So each heartbeat of the
//! coordinator grants two limits: an instant, against sending late, and a limit by what is sent, against
//! sending twice whatever any clock says. What is not granted is not written.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often coordinator and workers give a sign of life.
pub const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);

/// How long a grant lasts where a lost worker's share is taken over: the shorter, the sooner.
pub const LEASE: Duration = Duration::from_millis(2_500);

/// How long it lasts where nobody takes over.
pub const LONG_LEASE: Duration = Duration::from_secs(10);

/// How much two clocks may drift apart, parts per million of the time since they were compared.
pub const DRIFT_PPM: u64 = 500;

/// Up to where something is offered, named by the plan and so the same on every clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Limit {
    /// Open loop: nothing that is due at or after this run time.
    Due(Duration),
    /// Closed loop: no request of this round of a slot (from 0) or a later one.
    Round(u64),
}

/// One permission to send, from one heartbeat of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// When it was given, nanoseconds on the coordinator's clock; the worker converts it to its own.
    pub given_at_coordinator_ns: u64,
    /// How long it lasts from then on, before the clocks' error is taken off.
    pub length: Duration,
    /// What it covers.
    pub limit: Limit,
}

/// `error_ns` of a comparison of clocks, grown by the drift of `since_ns` since then.
#[must_use]
pub fn grown_error_ns(error_ns: u64, since_ns: u64) -> u64 {
    let drift = u128::from(since_ns) * u128::from(DRIFT_PPM) / 1_000_000;
    error_ns.saturating_add(u64::try_from(drift).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_without_a_comparison_costs_1_8_s() {
        let hour_ns = 3_600 * 1_000_000_000;
        assert_eq!(grown_error_ns(1_000, hour_ns), 1_800_001_000);
        assert_eq!(grown_error_ns(u64::MAX, hour_ns), u64::MAX);
    }
}
