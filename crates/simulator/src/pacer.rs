//! Wakes every stream when its next token is due: one heap and one timerfd for all of them.
//!
//! tokio's timers are a millisecond coarse and were measured 1 to 2 ms late; a timerfd is late by
//! microseconds. One for all streams keeps the cost of a token at a heap operation, and under load
//! a single expiry wakes every stream that has become due. The same timer drives a probe of the
//! loop's own lag, so that the server can say when *it* was late.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};
use tokio::io::unix::AsyncFd;

use crate::clock::MonoTime;

const PROBE_PERIOD: Duration = Duration::from_millis(1);
/// The timer goes off at most this often, and less often the more alarms each turn has: setting it, sleeping
/// and waking cost more than a write when tokens are due every few microseconds. Below some 10,000 tokens a
/// second this delays none;
/// at 100,000 a turn has about twelve.
const SHORTEST_TURN: Duration = Duration::from_micros(25);
const LONGER_FOR_EACH_ALARM: Duration = Duration::from_micros(8);
const LONGEST_PAUSE: Duration = Duration::from_micros(150);
/// After a standstill of more than this many periods (10 s) the probe starts anew.
const MAX_MISSED_PROBES: usize = 10_000;

/// The timer that all alarms of a thread share.
pub(crate) struct Pacer {
    due: RefCell<BinaryHeap<Due>>,
    timer: AsyncFd<Timer>,
    armed_for: Cell<Option<MonoTime>>,
    /// Before this the timer does not go off again.
    next_turn: Cell<MonoTime>,
    probe_due: Cell<Option<MonoTime>>,
    probe_holders: Cell<usize>,
}

/// nix's `TimerFd` lacks the trait that tokio registers file descriptors by.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

struct Due {
    at: MonoTime,
    alarm: Rc<AlarmState>,
}

/// The heap's largest is the earliest.
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

#[derive(Default)]
struct AlarmState {
    /// `None` once it went off. A heap entry for another instant is a leftover and wakes nobody.
    set_for: Cell<Option<MonoTime>>,
    waker: RefCell<Option<Waker>>,
}

impl AlarmState {
    fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    fn go_off(&self, entry: MonoTime) {
        if self.set_for.get() == Some(entry) {
            self.set_for.set(None);
            if let Some(waker) = self.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }
}

impl Pacer {
    /// Must be called inside the runtime whose thread will use it.
    #[expect(
        deprecated,
        reason = "`new` is deprecated in favour of an unsafe `register` because the descriptor could be replaced \
                  while registered; `Timer` owns its own from here to its drop"
    )]
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        Ok(Rc::new(Self {
            due: RefCell::default(),
            timer: AsyncFd::new(Timer(timer))?,
            armed_for: Cell::new(None),
            next_turn: Cell::default(),
            probe_due: Cell::new(None),
            probe_holders: Cell::new(0),
        }))
    }

    /// A reusable alarm of one stream.
    pub(crate) fn alarm(self: &Rc<Self>) -> Alarm {
        Alarm { pacer: Rc::clone(self), state: Rc::default() }
    }

    /// Probes the loop's lag until the guard is dropped: an idle server need not wake 1,000 times a second.
    pub(crate) fn probe(self: &Rc<Self>) -> ProbeHold {
        self.probe_holders.set(self.probe_holders.get() + 1);
        if self.probe_due.get().is_none() {
            let first = MonoTime::now() + PROBE_PERIOD;
            self.probe_due.set(Some(first));
            self.arm(first);
        }
        ProbeHold(Rc::clone(self))
    }

    /// Sets alarms off for ever; hands over each measured lag of the loop.
    pub(crate) async fn run(&self, mut on_loop_lag: impl FnMut(Duration)) -> io::Result<()> {
        loop {
            // The timer is never read: setting it anew resets it, and epoll (edge-triggered)
            // reports each expiry once.
            self.timer.readable().await?.clear_ready();
            self.armed_for.set(None);
            let now = MonoTime::now();
            let alarms = self.go_off(now);
            self.next_turn.set(now + pause_after(alarms));
            self.run_probe(now, &mut on_loop_lag);
            let next_alarm = self.due.borrow().peek().map(|next| next.at);
            for next in [next_alarm, self.probe_due.get()].into_iter().flatten() {
                self.arm(next);
            }
        }
    }

    /// Sets off what is due; returns how many that were.
    fn go_off(&self, now: MonoTime) -> u32 {
        let mut due = self.due.borrow_mut();
        let mut alarms = 0;
        while due.peek().is_some_and(|next| next.at <= now) {
            let Some(next) = due.pop() else { break };
            next.alarm.go_off(next.at);
            alarms += 1;
        }
        alarms
    }

    /// Each period that passed unnoticed counts with its own lag: one long standstill recorded
    /// once would vanish among the thousands of good periods (coordinated omission).
    fn run_probe(&self, now: MonoTime, on_loop_lag: &mut impl FnMut(Duration)) {
        let Some(mut due) = self.probe_due.get() else { return };
        for _ in 0..MAX_MISSED_PROBES {
            if due > now {
                break;
            }
            on_loop_lag(now.since(due));
            due = due + PROBE_PERIOD;
        }
        let next = if due > now { due } else { now + PROBE_PERIOD };
        self.probe_due.set((self.probe_holders.get() > 0).then_some(next));
    }

    fn arm(&self, due: MonoTime) {
        let at = due.max(self.next_turn.get());
        if self.armed_for.get().is_some_and(|armed| armed <= at) {
            return;
        }
        self.armed_for.set(Some(at));
        let expiration = Expiration::OneShot(at.to_timespec());
        let set = self.timer.get_ref().0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        set.expect("an open timerfd takes any instant after the clock's zero");
    }

    fn push(&self, at: MonoTime, alarm: &Rc<AlarmState>) {
        self.due.borrow_mut().push(Due { at, alarm: Rc::clone(alarm) });
        self.arm(at);
    }
}

/// How long the timer rests after a turn with so many alarms.
fn pause_after(alarms: u32) -> Duration {
    (SHORTEST_TURN + LONGER_FOR_EACH_ALARM.saturating_mul(alarms)).min(LONGEST_PAUSE)
}

/// Keeps the probe running.
pub(crate) struct ProbeHold(Rc<Pacer>);

impl Drop for ProbeHold {
    fn drop(&mut self) {
        self.0.probe_holders.set(self.0.probe_holders.get() - 1);
    }
}

/// Wakes one task at one instant after the other.
pub(crate) struct Alarm {
    pacer: Rc<Pacer>,
    state: Rc<AlarmState>,
}

impl Alarm {
    /// Completes at `due`, never before. If that is past, still lets the other tasks run once:
    /// a stream without delays must not starve them.
    pub(crate) fn until(&mut self, due: MonoTime) -> Until<'_> {
        Until { alarm: self, due, is_set: false }
    }
}

pub(crate) struct Until<'a> {
    alarm: &'a mut Alarm,
    due: MonoTime,
    is_set: bool,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_set && self.alarm.state.set_for.get().is_none() {
            return Poll::Ready(());
        }
        if self.is_set {
            self.alarm.state.remember(cx);
            return Poll::Pending;
        }
        self.is_set = true;
        if self.due <= MonoTime::now() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.alarm.state.remember(cx);
        self.alarm.state.set_for.set(Some(self.due));
        self.alarm.pacer.push(self.due, &self.alarm.state);
        Poll::Pending
    }
}

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.alarm.state.set_for.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::task::Wake;

    use super::*;

    /// Runs `work` beside a running pacer.
    fn with_pacer<F: Future>(work: impl FnOnce(Rc<Pacer>) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let pacer = Pacer::new().unwrap();
            tokio::select! {
                end = pacer.run(|_| {}) => panic!("the pacer ended: {end:?}"),
                output = work(Rc::clone(&pacer)) => output,
            }
        })
    }

    #[test]
    fn an_alarm_never_goes_off_early_and_can_be_set_again() {
        with_pacer(|pacer| async move {
            let mut alarm = pacer.alarm();
            for _ in 0..5 {
                let due = MonoTime::now() + Duration::from_micros(700);
                alarm.until(due).await;
                assert!(MonoTime::now() >= due);
            }
        });
    }

    #[test]
    fn alarms_go_off_in_the_order_of_their_instants_not_of_their_setting() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let pacer = Pacer::new().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        // In hours, so that it is this test that says when they are due.
        let start = MonoTime::now();
        let at = |hour: u32| start + Duration::from_secs(3_600) * hour;
        let mut alarms = [3, 1, 2].map(|hour| (hour, pacer.alarm()));
        let _waits = alarms.each_mut().map(|(hour, alarm)| {
            let bell = Waker::from(Arc::new(Bell { name: *hour, rung: Arc::clone(&order) }));
            let mut wait = Box::pin(alarm.until(at(*hour)));
            assert!(wait.as_mut().poll(&mut Context::from_waker(&bell)).is_pending());
            wait
        });
        assert_eq!(pacer.go_off(at(2)), 2);
        assert_eq!(*order.lock().unwrap(), [1, 2]);
        assert_eq!(pacer.go_off(at(4)), 1);
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    }

    /// Notes when it is rung.
    struct Bell {
        name: u32,
        rung: Arc<Mutex<Vec<u32>>>,
    }

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.rung.lock().unwrap().push(self.name);
        }
    }

    #[test]
    fn a_given_up_alarm_leaves_nothing_that_could_wake_the_next() {
        with_pacer(|pacer| async move {
            let mut alarm = pacer.alarm();
            let soon = MonoTime::now() + Duration::from_millis(1);
            tokio::select! {
                biased;
                () = alarm.until(soon) => panic!("it was not due yet"),
                () = std::future::ready(()) => {}
            }
            let later = soon + Duration::from_millis(3);
            alarm.until(later).await;
            assert!(MonoTime::now() >= later);
        });
    }

    #[test]
    fn a_past_instant_still_yields_once() {
        with_pacer(|pacer| async move {
            let mut alarm = pacer.alarm();
            let mut until = std::pin::pin!(alarm.until(MonoTime::default()));
            let first = std::future::poll_fn(|cx| Poll::Ready(until.as_mut().poll(cx))).await;
            assert_eq!(first, Poll::Pending);
            until.await;
        });
    }

    #[test]
    fn every_period_of_a_standstill_is_recorded_with_its_own_lag() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let pacer = Pacer::new().unwrap();
        let _hold = pacer.probe();
        let first = pacer.probe_due.get().unwrap();
        let mut lags_us = Vec::new();
        pacer.run_probe(first + Duration::from_micros(2_500), &mut |lag| {
            lags_us.push(lag.as_micros());
        });
        assert_eq!(lags_us, [2_500, 1_500, 500]);
        assert_eq!(pacer.probe_due.get(), Some(first + Duration::from_millis(3)));
    }

    #[test]
    fn the_timer_rests_longer_after_busy_turns_and_never_long() {
        let pauses_us = [0, 1, 10, u32::MAX].map(|alarms| pause_after(alarms).as_micros());
        assert_eq!(pauses_us, [25, 33, 105, 150]);
    }

    #[test]
    fn without_open_requests_the_probe_stops() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let pacer = Pacer::new().unwrap();
        drop(pacer.probe());
        pacer.run_probe(pacer.probe_due.get().unwrap(), &mut |_| {});
        assert_eq!(pacer.probe_due.get(), None);
    }
}
