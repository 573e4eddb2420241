//! Waiting for a due instant, finer than a runtime's own timers.
//!
//! tokio's timers wake about a millisecond late, which would be reported as the server's latency or
//! hidden in the load. Programs wait on a timerfd, whose readiness the kernel reports like a
//! socket's; tests with paused time pass in tokio's clock.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;

use crate::clock::Clock;

/// Something that can wait until an offset from the run's start.
pub trait Pacer {
    /// Returns at `offset` or as soon after it as it can; at once where it has passed. Dropping the
    /// future is fine: the next call starts afresh.
    fn until(&mut self, offset: Duration) -> impl Future<Output = ()>;
}

/// The pacer of programs: one timerfd on CLOCK_MONOTONIC, armed with absolute instants.
#[derive(Debug)]
pub struct TimerfdPacer {
    clock: Clock,
    timer: AsyncFd<Timer>,
}

/// `AsyncFd` asks for the raw descriptor, which nix's type lends only as a borrowed one.
#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl TimerfdPacer {
    /// A pacer on `clock`; call it inside the runtime that will wait on it.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new(clock: Clock) -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the timer owns its descriptor and never lends it to be closed"
        )]
        let timer = AsyncFd::new(Timer(timer))?;
        Ok(Self { clock, timer })
    }

    /// Arms the timer; setting it also takes back an expiration that nobody read.
    fn arm(&self, offset: Duration) -> io::Result<()> {
        let due = Duration::from_nanos(self.clock.monotonic_at(offset));
        let when = Expiration::OneShot(TimeSpec::from_duration(due));
        Ok(self.timer.get_ref().0.set(when, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?)
    }

    async fn expired(&self) -> io::Result<()> {
        loop {
            let mut guard = self.timer.readable().await?;
            match guard.try_io(|timer| Ok(timer.get_ref().0.wait()?)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }
}

impl Pacer for TimerfdPacer {
    async fn until(&mut self, offset: Duration) {
        if self.clock.until(offset).is_zero() {
            return;
        }
        let waited = match self.arm(offset) {
            Ok(()) => self.expired().await,
            Err(error) => Err(error),
        };
        // The kernel refuses no instant that a clock can show; should it, tokio's timer is late but right.
        if waited.is_err() {
            tokio::time::sleep(self.clock.until(offset)).await;
        }
    }
}

/// The pacer of tests: tokio's timer, which paused time drives.
#[derive(Clone, Copy, Debug)]
pub struct TokioPacer {
    clock: Clock,
}

impl TokioPacer {
    /// A pacer on `clock`, usually [`Clock::tokio`].
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl Pacer for TokioPacer {
    async fn until(&mut self, offset: Duration) {
        tokio::time::sleep(self.clock.until(offset)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_timerfd_never_wakes_early_and_can_be_abandoned() {
        let clock = Clock::start_now();
        let mut pacer = TimerfdPacer::new(clock).unwrap();
        let far =
            tokio::time::timeout(Duration::from_millis(1), pacer.until(Duration::from_secs(60)));
        assert!(far.await.is_err());
        for due in [5, 5, 7, 0].map(Duration::from_millis) {
            pacer.until(due).await;
            assert!(clock.now() >= due);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_pacer_of_tests_follows_paused_time() {
        let start = tokio::time::Instant::now();
        let mut pacer = TokioPacer::new(Clock::tokio(start));
        pacer.until(Duration::from_secs(5)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }
}
