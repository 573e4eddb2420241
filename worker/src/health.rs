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

/// Records, every 10 ms, how late the lane's loop woke this task. Runs until it is dropped.
pub(crate) async fn watch_loop(lane: Rc<Lane>, mut pacer: impl Pacer) {
    let mut tick = lane.clock.now();
    loop {
        tick += PROBE_EVERY;
        pacer.until(tick).await;
        let now = lane.clock.now();
        let second = u32::try_from(tick.as_secs()).unwrap_or(u32::MAX);
        lane.recorder.borrow_mut().loop_lag(second, now.saturating_sub(tick));
        tick = tick.max(now.saturating_sub(PROBE_EVERY));
    }
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
    fn a_pinned_lane_may_run_on_one_processor_only() {
        let seated = std::thread::spawn(|| {
            seat(3, true).unwrap();
            let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
            (0..CpuSet::count()).filter(|one| allowed.is_set(*one) == Ok(true)).count()
        });
        assert_eq!(seated.join().unwrap(), 1);
    }
}
