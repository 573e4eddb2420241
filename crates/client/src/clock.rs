//! The worker's clocks, and the way from the kernel's to ours.
//!
//! Every instant of a run is an offset from the run's start on CLOCK_MONOTONIC, because nothing
//! ever sets that clock. The kernel stamps received segments on CLOCK_REALTIME, which can be set:
//! the difference of the two is read again at each flush, and a jump is counted, not believed.
//! NTP slews both clocks alike, so between two flushes the difference stays put.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

const NS_PER_S: i64 = 1_000_000_000;

/// A jump of the difference between the two clocks above this is a clock step (METRICS.md, arrival).
pub const CLOCK_STEP_NS: u64 = 1_000_000;

/// How often a pair of both clocks is read to find the one taken with the least delay.
const PAIR_READS: usize = 5;

/// The run's clock: offsets from its start. Copy it freely.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// CLOCK_MONOTONIC, with the run's start on it in nanoseconds.
    Monotonic { start_ns: u64 },
    /// tokio's clock, which tests can pause.
    Tokio { start: tokio::time::Instant },
}

impl Clock {
    /// A clock whose offset 0 is `start_ns` on CLOCK_MONOTONIC; it may lie in the future.
    pub fn start_at(start_ns: u64) -> Self {
        Self { source: Source::Monotonic { start_ns } }
    }

    /// A clock whose offset 0 is now.
    pub fn start_now() -> Self {
        Self::start_at(Self::monotonic_ns())
    }

    /// A clock that follows tokio's, for tests with paused time. Nothing that touches a real
    /// socket can use it: stamps of sockets are on CLOCK_MONOTONIC.
    pub fn tokio(start: tokio::time::Instant) -> Self {
        Self { source: Source::Tokio { start } }
    }

    /// The offset from the run's start; zero before it.
    pub fn now(&self) -> Duration {
        match self.source {
            Source::Monotonic { .. } => self.offset_of(Self::monotonic_ns()),
            Source::Tokio { start } => tokio::time::Instant::now().saturating_duration_since(start),
        }
    }

    /// How long it is until `offset`; zero once it has passed. Right before the run's start too,
    /// where [`now`](Self::now) stands at zero.
    pub fn until(&self, offset: Duration) -> Duration {
        match self.source {
            Source::Monotonic { .. } => {
                let due_ns = self.monotonic_at(offset);
                Duration::from_nanos(due_ns.saturating_sub(Self::monotonic_ns()))
            }
            Source::Tokio { start } => {
                (start + offset).saturating_duration_since(tokio::time::Instant::now())
            }
        }
    }

    /// The offset of an instant on CLOCK_MONOTONIC; zero before the start. On a clock that follows
    /// tokio's such an instant has no place: it is now.
    pub fn offset_of(&self, monotonic_ns: u64) -> Duration {
        match self.source {
            Source::Monotonic { start_ns } => {
                Duration::from_nanos(monotonic_ns.saturating_sub(start_ns))
            }
            Source::Tokio { .. } => self.now(),
        }
    }

    /// The instant on CLOCK_MONOTONIC of an offset from the start.
    pub fn monotonic_at(&self, offset: Duration) -> u64 {
        let offset_ns = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
        let start_ns = match self.source {
            Source::Monotonic { start_ns } => start_ns,
            Source::Tokio { .. } => Self::monotonic_ns()
                .saturating_sub(u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)),
        };
        start_ns.saturating_add(offset_ns)
    }

    /// CLOCK_MONOTONIC in nanoseconds.
    pub fn monotonic_ns() -> u64 {
        read_ns(ClockId::CLOCK_MONOTONIC)
    }

    /// CLOCK_REALTIME in nanoseconds since 1970.
    pub fn realtime_ns() -> u64 {
        read_ns(ClockId::CLOCK_REALTIME)
    }

    /// CLOCK_BOOTTIME in nanoseconds: it goes on while the machine sleeps, as leases must.
    pub fn boottime_ns() -> u64 {
        read_ns(ClockId::CLOCK_BOOTTIME)
    }

    /// How long this machine has slept: by how much CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC, in nanoseconds.
    pub fn slept_ns() -> u64 {
        u64::try_from(read_pair(Self::boottime_ns)).unwrap_or(0)
    }
}

fn read_ns(id: ClockId) -> u64 {
    let time = clock_gettime(id).expect("the kernel has this clock and the pointer is valid");
    let ns = time.tv_sec() * NS_PER_S + time.tv_nsec();
    u64::try_from(ns).unwrap_or(0)
}

/// A jump of CLOCK_REALTIME between two flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// By how many nanoseconds it was set forward (negative: back).
    pub by_ns: i64,
}

/// Turns the kernel's stamps into instants on CLOCK_MONOTONIC, with the pair of both clocks read at
/// the last flush.
#[derive(Clone, Copy, Debug)]
pub struct StampConverter {
    realtime_ahead_ns: i64,
    trusted: bool,
}

impl StampConverter {
    /// Reads the first pair.
    pub fn new() -> Self {
        Self { realtime_ahead_ns: read_pair(Clock::realtime_ns), trusted: true }
    }

    /// Reads a new pair, once a flush. After a jump the converter gives nothing until the next
    /// flush has found the clocks at rest: that second uses user-space stamps.
    pub fn refresh(&mut self) -> Option<ClockStep> {
        self.apply(read_pair(Clock::realtime_ns))
    }

    fn apply(&mut self, realtime_ahead_ns: i64) -> Option<ClockStep> {
        let by_ns = realtime_ahead_ns.saturating_sub(self.realtime_ahead_ns);
        self.realtime_ahead_ns = realtime_ahead_ns;
        self.trusted = by_ns.unsigned_abs() <= CLOCK_STEP_NS;
        (!self.trusted).then_some(ClockStep { by_ns })
    }

    /// The instant on CLOCK_MONOTONIC of a kernel stamp, `None` while stamps cannot be trusted.
    /// `read_ns`, the instant right after the read, bounds it: nothing arrives after it was read.
    pub fn monotonic_ns(&self, kernel_realtime_ns: u64, read_ns: u64) -> Option<u64> {
        let stamp = i64::try_from(kernel_realtime_ns).ok()?.checked_sub(self.realtime_ahead_ns)?;
        let stamp = u64::try_from(stamp).ok()?.min(read_ns);
        self.trusted.then_some(stamp)
    }
}

impl Default for StampConverter {
    fn default() -> Self {
        Self::new()
    }
}

/// By how much another clock is ahead of CLOCK_MONOTONIC: of some readings the one whose two
/// monotonic readings lie closest together, as that one was not interrupted.
fn read_pair(other_ns: fn() -> u64) -> i64 {
    let readings = std::array::from_fn::<_, PAIR_READS, _>(|_| {
        let before = Clock::monotonic_ns();
        let other = other_ns();
        let after = Clock::monotonic_ns();
        (after - before, signed(other) - signed(before + (after - before) / 2))
    });
    readings.into_iter().min().map_or(0, |(_, ahead)| ahead)
}

/// Nanoseconds since 1970 fit in an `i64` until the year 2262.
fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_stands_at_zero_before_the_start_while_until_counts_down() {
        let clock = Clock::start_at(Clock::monotonic_ns() + 3_600_000_000_000);
        assert_eq!(clock.now(), Duration::ZERO);
        let left = clock.until(Duration::from_secs(60));
        assert!(
            left > Duration::from_secs(3_600) && left <= Duration::from_secs(3_660),
            "{left:?}"
        );
    }

    #[test]
    fn offsets_and_instants_are_inverse() {
        let clock = Clock::start_at(5_000);
        assert_eq!(clock.offset_of(7_500), Duration::from_nanos(2_500));
        assert_eq!(clock.monotonic_at(Duration::from_nanos(2_500)), 7_500);
        assert_eq!(clock.offset_of(4_000), Duration::ZERO);
    }

    #[test]
    fn a_kernel_stamp_is_the_monotonic_instant_less_the_difference() {
        let converter = StampConverter { realtime_ahead_ns: 1_000, trusted: true };
        assert_eq!(converter.monotonic_ns(5_000, 9_000), Some(4_000));
    }

    #[test]
    fn a_stamp_later_than_the_read_is_the_read() {
        let converter = StampConverter { realtime_ahead_ns: 1_000, trusted: true };
        assert_eq!(converter.monotonic_ns(5_000, 3_999), Some(3_999));
    }

    #[test]
    fn a_jump_is_reported_once_and_stamps_are_refused_until_the_next_calm_flush() {
        let mut converter = StampConverter { realtime_ahead_ns: 0, trusted: true };
        assert_eq!(converter.apply(1_000_000), None, "exactly 1 ms is not above it");
        assert_eq!(converter.apply(-1_000_001), Some(ClockStep { by_ns: -2_000_001 }));
        assert_eq!(converter.monotonic_ns(5_000, 9_000), None);
        assert_eq!(converter.apply(-1_000_000), None);
        assert_eq!(converter.monotonic_ns(5_000, 2_000_000), Some(1_005_000));
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_tests_follows_paused_time() {
        let clock = Clock::tokio(tokio::time::Instant::now() + Duration::from_secs(1));
        assert_eq!(clock.now(), Duration::ZERO);
        assert_eq!(clock.until(Duration::from_secs(2)), Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now(), Duration::from_secs(2));
    }
}
