//! The coordinator's clocks: the one that run time and leases are agreed on, and wall time for records.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Readings of all clocks; the tightest is kept.
const READINGS: usize = 5;

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

/// One instant on each clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    /// See [`CoordinatorClock`].
    pub(crate) coordinator_ns: u64,
    /// Wall clock, nanoseconds since 1970.
    pub(crate) unix_ns: i64,
}

impl Now {
    /// Reads them all: the run's start is fixed on each of them, and a thread that was kept from running between two
    /// readings would fix it that much apart.
    pub(crate) fn read() -> Self {
        let reading = |_| {
            let before_ns = CoordinatorClock.now_ns();
            let (instant, unix_ns) = (Instant::now(), unix_now_ns());
            let width_ns = CoordinatorClock.now_ns().saturating_sub(before_ns);
            (width_ns, Self { instant, coordinator_ns: before_ns + width_ns / 2, unix_ns })
        };
        let tightest = (0..READINGS).map(reading).min_by_key(|(width_ns, _)| *width_ns);
        tightest.expect("there are readings").1
    }
}

/// Wall clock, nanoseconds since 1970; for records only, never for durations.
pub(crate) fn unix_now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
