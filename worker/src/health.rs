//! How the lane itself is doing: whether its loop runs on time, and how much of a core it uses.
//!
//! A late loop makes late requests; without these figures a tired client would be reported as a
//! slow server.

use std::{ffi::CString, fs, rc::Rc, time::Duration};

use client::Pacer;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::lane::Lane;

/// How often the loop is asked to run on time while requests are open.
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// The same while none is. A wake-up is what an idle lane costs: 200 workers of a small load on one machine would fill a
/// core with looks at nothing.
const PROBE_IDLE_EVERY: Duration = Duration::from_millis(100);

/// Records, every 10 ms (100 while no request is open), how late the lane's loop woke this task, and how many bodies wait
/// to be built. A loop that stood still has a lag in each second that it missed; what waits is known of the present one
/// only. Runs until it is dropped.
pub(crate) async fn watch_loop(lane: Rc<Lane>, mut pacer: impl Pacer) {
    let mut tick = lane.clock.now();
    loop {
        let every = if lane.in_flight.get() == 0 { PROBE_IDLE_EVERY } else { PROBE_EVERY };
        tick += every;
        pacer.until(tick).await;
        let now = lane.clock.now();
        let mut recorder = lane.recorder.borrow_mut();
        for (second, lag) in lags(tick, now) {
            recorder.loop_lag(second, lag);
        }
        recorder.bodies_waiting(second_of(now), lane.bodies.waiting());
        drop(recorder);
        tick = tick.max(now.saturating_sub(every));
    }
}

/// How late a loop was at `now` that was due at `tick`: in that second, and at the beginning of each after it.
fn lags(tick: Duration, now: Duration) -> impl Iterator<Item = (u32, Duration)> {
    let begun = (tick.as_secs() + 1..=now.as_secs()).map(Duration::from_secs);
    std::iter::once(tick).chain(begun).map(move |due| (second_of(due), now.saturating_sub(due)))
}

fn second_of(at: Duration) -> u32 {
    u32::try_from(at.as_secs()).unwrap_or(u32::MAX)
}

/// Names the calling lane's thread and, if it is to be pinned, keeps it on one processor of those that the process may
/// use: the first is left to the control runtime where there are others.
pub(crate) fn seat(lane: usize, pinned: bool) -> nix::Result<()> {
    // A name is for those who look at the threads; the kernel takes 15 bytes of it.
    if let Ok(name) = CString::new(format!("lane-{lane}")) {
        nix::sys::prctl::set_name(&name)?;
    }
    if !pinned {
        return Ok(());
    }
    let this_thread = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_thread)?;
    let processors: Vec<_> =
        (0..CpuSet::count()).filter(|one| allowed.is_set(*one) == Ok(true)).collect();
    let mut seat = CpuSet::new();
    if let Some(processor) = processors.get((lane + 1) % processors.len().max(1)) {
        seat.set(*processor)?;
        sched_setaffinity(this_thread, &seat)?;
    }
    Ok(())
}

/// A thread's time since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CoreTime {
    /// On a core.
    pub(crate) used: Duration,
    /// Ready to run, without a core. Nothing where the kernel does not tell.
    pub(crate) waited: Duration,
}

impl CoreTime {
    /// Of the calling thread. The wait is the second figure of schedstat (Linux, Documentation/scheduler/sched-stats.rst).
    pub(crate) fn of_this_thread() -> Self {
        let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
        let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let waited_ns = told.split_whitespace().nth(1).and_then(|figure| figure.parse().ok());
        Self {
            used: used.unwrap_or_default(),
            waited: Duration::from_nanos(waited_ns.unwrap_or_default()),
        }
    }

    /// Thousandths of `span` since `before`: used, and waited.
    pub(crate) fn permilles_since(self, before: Self, span: Duration) -> (u64, u64) {
        let permille = |now: Duration, before: Duration| {
            let part = now.saturating_sub(before).as_micros() * 1_000;
            u64::try_from(part / span.as_micros().max(1)).unwrap_or(u64::MAX)
        };
        (permille(self.used, before.used), permille(self.waited, before.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stood_still_was_late_in_every_second_of_it() {
        let ms = Duration::from_millis;
        let lags = |tick, now| lags(tick, now).collect::<Vec<_>>();
        let frozen = [(10, ms(2_290)), (11, ms(2_200)), (12, ms(1_200)), (13, ms(200))];
        assert_eq!(lags(ms(10_910), ms(13_200)), frozen);
        assert_eq!(lags(ms(10_910), ms(10_911)), [(10, ms(1))]);
        assert_eq!(lags(ms(10_910), ms(10_900)), [(10, ms(0))], "early by a rounding");
    }

    #[test]
    fn a_thread_beside_another_on_its_core_waits_for_it() {
        let both = std::sync::Barrier::new(2);
        let spin = || {
            seat(0, true).unwrap();
            both.wait();
            let now = || clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap();
            // Within the time that is told as passed lies all that is told of it.
            let (begun, before) = (now(), CoreTime::of_this_thread());
            while now() - begun < Duration::from_millis(200) {}
            CoreTime::of_this_thread().permilles_since(before, now() - begun)
        };
        let told = fs::exists("/proc/thread-self/schedstat").unwrap();
        std::thread::scope(|scope| {
            for thread in [scope.spawn(spin), scope.spawn(spin)] {
                let (used, waited) = thread.join().unwrap();
                assert!(used <= 1_000 && waited <= 1_000, "{used} {waited}");
                assert!(!told || waited > 50, "{waited}");
            }
        });
    }

    #[test]
    fn a_pinned_lane_may_run_on_one_processor_only() {
        let seated = std::thread::spawn(|| {
            seat(3, true).unwrap();
            let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
            (0..CpuSet::count()).filter(|one| allowed.is_set(*one) == Ok(true)).count()
        });
        assert_eq!(seated.join().unwrap(), 1);
    }
}
