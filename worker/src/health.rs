//! How the lane itself is doing: whether its loop runs on time, and how much of a core it uses.
//!
//! A late loop makes late requests; without these figures a tired client would be reported as a
//! slow server.

use std::{ffi::CString, rc::Rc, time::Duration};

use client::Pacer;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use crate::lane::Lane;

/// How often the loop is asked to run on time.
const PROBE_EVERY: Duration = Duration::from_millis(10);

/// Records, every 10 ms, how late the lane's loop woke this task and how many bodies wait to be built. A loop that stood still has a figure in each second
/// that it missed. Runs until it is dropped.
pub(crate) async fn watch_loop(lane: Rc<Lane>, mut pacer: impl Pacer) {
    let mut tick = lane.clock.now();
    loop {
        tick += PROBE_EVERY;
        pacer.until(tick).await;
        let now = lane.clock.now();
        let mut recorder = lane.recorder.borrow_mut();
        for (second, lag) in lags(tick, now) {
            recorder.loop_lag(second, lag);
            recorder.bodies_waiting(second, lane.bodies.waiting());
        }
        drop(recorder);
        tick = tick.max(now.saturating_sub(PROBE_EVERY));
    }
}

/// How late a loop was at `now` that was due at `tick`: in that second, and at the beginning of each after it.
fn lags(tick: Duration, now: Duration) -> impl Iterator<Item = (u32, Duration)> {
    let begun = (tick.as_secs() + 1..=now.as_secs()).map(Duration::from_secs);
    std::iter::once(tick).chain(begun).map(move |due| {
        let second = u32::try_from(due.as_secs()).unwrap_or(u32::MAX);
        (second, now.saturating_sub(due))
    })
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

/// CPU time that the calling thread has used since its start.
pub(crate) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
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
    fn a_pinned_lane_may_run_on_one_processor_only() {
        let seated = std::thread::spawn(|| {
            seat(3, true).unwrap();
            let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
            (0..CpuSet::count()).filter(|one| allowed.is_set(*one) == Ok(true)).count()
        });
        assert_eq!(seated.join().unwrap(), 1);
    }
}
