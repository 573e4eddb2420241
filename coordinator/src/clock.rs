//! The coordinator's clocks: the one that run time and leases are agreed on, and wall time for records.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// CLOCK_BOOTTIME, which goes on while the machine sleeps, as leases must; workers learn their offset to it
/// by asking. On one host that offset is zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct CoordinatorClock;

impl CoordinatorClock {
    /// Now, in nanoseconds; 584 years fit.
    #[must_use]
    pub fn now_ns(self) -> u64 {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Wall clock, nanoseconds since 1970; for records only, never for durations.
pub(crate) fn unix_now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
