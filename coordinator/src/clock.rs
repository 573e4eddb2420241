//! The coordinator's monotonic clock: the one that run time is agreed on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Nanoseconds since an epoch of this process; workers learn their offset to it by asking.
#[derive(Clone, Copy, Debug)]
pub struct CoordinatorClock {
    epoch: Instant,
}

impl CoordinatorClock {
    /// Starts an hour in the past, so that no offset between two young processes is negative time.
    #[must_use]
    pub fn new() -> Self {
        let now = Instant::now();
        Self { epoch: now.checked_sub(Duration::from_secs(3_600)).unwrap_or(now) }
    }

    /// Now, in nanoseconds; 584 years fit.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Default for CoordinatorClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Wall clock, nanoseconds since 1970; for records only, never for durations.
pub(crate) fn unix_now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
