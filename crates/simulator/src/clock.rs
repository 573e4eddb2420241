//! The simulator's clock: one monotonic time line, and the way onto it for the kernel's stamps.
//!
//! Truth must not depend on when this program got round to reading a socket, so a request arrives
//! when the kernel says so. The kernel stamps with CLOCK_REALTIME, which may be stepped or slewed;
//! everything else here is CLOCK_MONOTONIC. A fresh pair of both clocks, read for each conversion,
//! keeps the error to the width of that reading (well under a microsecond) for any drift.

use std::ops::Add;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::ClockId;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Readings of the pair of clocks; the tightest is kept, since a reading may be interrupted.
const PAIR_READINGS: usize = 3;

/// An instant on CLOCK_MONOTONIC, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MonoTime(u64);

/// An instant on CLOCK_REALTIME, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RealTime(u64);

fn nanos(spec: TimeSpec) -> u64 {
    let seconds = u64::try_from(spec.tv_sec()).unwrap_or(0);
    let rest = u64::try_from(spec.tv_nsec()).unwrap_or(0);
    seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(rest)
}

fn read(clock: ClockId) -> u64 {
    nanos(clock.now().expect("every Linux has CLOCK_MONOTONIC and CLOCK_REALTIME"))
}

impl MonoTime {
    pub(crate) fn now() -> Self {
        Self(read(ClockId::CLOCK_MONOTONIC))
    }

    #[cfg(test)]
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Time from `earlier` to here; zero if `earlier` is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// For a timer that takes absolute times.
    pub(crate) fn to_timespec(self) -> TimeSpec {
        TimeSpec::from_duration(Duration::from_nanos(self.0))
    }
}

impl Add<Duration> for MonoTime {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(span_ns))
    }
}

impl RealTime {
    pub(crate) fn now() -> Self {
        Self(read(ClockId::CLOCK_REALTIME))
    }

    pub(crate) fn from_timespec(spec: TimeSpec) -> Self {
        Self(nanos(spec))
    }

    pub(crate) fn unix_nanos(self) -> u64 {
        self.0
    }

    pub(crate) fn unix_seconds(self) -> u64 {
        self.0 / NANOS_PER_SECOND
    }
}

/// The same instant on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockPair {
    mono: MonoTime,
    real: RealTime,
}

impl ClockPair {
    /// Reads both clocks: the real one between two readings of the other, the tightest of a few.
    pub(crate) fn now() -> Self {
        let mut best: Option<(u64, Self)> = None;
        for _ in 0..PAIR_READINGS {
            let before = MonoTime::now();
            let real = RealTime::now();
            let after = MonoTime::now();
            let width = after.0.saturating_sub(before.0);
            if best.is_none_or(|(narrowest, _)| width < narrowest) {
                best = Some((width, Self { mono: MonoTime(before.0 + width / 2), real }));
            }
        }
        best.expect("at least one reading was made").1
    }

    /// Where `stamp` lies on the monotonic clock; never after this pair, whatever the real clock did.
    pub(crate) fn to_mono(self, stamp: RealTime) -> MonoTime {
        let age = self.real.0.saturating_sub(stamp.0);
        MonoTime(self.mono.0.saturating_sub(age))
    }

    /// What the real clock showed at `instant`, as far as this pair knows.
    pub(crate) fn to_real(self, instant: MonoTime) -> RealTime {
        let age = self.mono.0.saturating_sub(instant.0);
        RealTime(self.real.0.saturating_sub(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_moves_by_its_age() {
        let pair = ClockPair { mono: MonoTime(5_000), real: RealTime(1_000_000) };
        assert_eq!(pair.to_mono(RealTime(999_400)), MonoTime(4_400));
        assert_eq!(pair.to_real(MonoTime(4_400)), RealTime(999_400));
    }

    #[test]
    fn a_stamp_from_the_future_arrives_no_later_than_the_reading() {
        let pair = ClockPair { mono: MonoTime(5_000), real: RealTime(1_000_000) };
        assert_eq!(pair.to_mono(RealTime(1_000_001)), MonoTime(5_000));
    }

    #[test]
    fn time_between_saturates() {
        assert_eq!(MonoTime(7).since(MonoTime(3)), Duration::from_nanos(4));
        assert_eq!(MonoTime(3).since(MonoTime(7)), Duration::ZERO);
        assert_eq!(MonoTime(u64::MAX) + Duration::from_secs(1), MonoTime(u64::MAX));
    }

    #[test]
    fn a_real_pair_lies_between_two_readings() {
        let before = MonoTime::now();
        let pair = ClockPair::now();
        assert!(before <= pair.mono && pair.mono <= MonoTime::now());
    }
}
