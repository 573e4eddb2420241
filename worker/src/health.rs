//! How the lane itself is doing: whether its loop runs on time, and how much of a core it uses.
//!
//! A late loop makes late requests; without these figures a tired client would be reported as a
//! slow server.

use std::{rc::Rc, time::Duration};

use client::Pacer;
use nix::time::{ClockId, clock_gettime};

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

/// CPU time that the calling thread has used since its start.
pub(crate) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}
