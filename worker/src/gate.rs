//! The gate in front of every write: open as long and as far as the coordinator has granted.
//!
//! Lanes ask it in the socket's write, where `sent` is stamped, so it must cost no lock: three numbers,
//! each of which only ever rises, and each of which is by itself a true limit. A reader that sees the
//! new instant with the old limit sees two limits that were both granted. The end of a stage that a rule ended only
//! ever falls; it is set before the grant that reaches beyond it, and read after it.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use protocol::Limit;
use tokio::sync::Notify;

/// See the module's documentation. One for a worker, shared by its lanes.
#[derive(Debug)]
pub struct Gate {
    /// On CLOCK_BOOTTIME, which goes on while the machine sleeps.
    until_boottime_ns: AtomicU64,
    /// Run time, nanoseconds: only what is due before it.
    due_ns: AtomicU64,
    /// Only rounds below it.
    round: AtomicU64,
    /// The highest round begun plus one, for the next heartbeat.
    begun: AtomicU64,
    /// Nothing that is due at or after it is written, whatever is granted: the worker is leaving.
    own_due_ns: AtomicU64,
    /// As [`Self::own_due_ns`], of rounds.
    own_round: AtomicU64,
    /// Rounds begun at which the half of what was granted is used up.
    middle: AtomicU64,
    /// Told when that many are begun.
    half_used: Notify,
    /// Told of each grant.
    granted: Notify,
    /// Run time, nanoseconds, by stage: nothing of it that is due at or after it is written. Set with the plan.
    stage_ends: OnceLock<Box<[AtomicU64]>>,
}

impl Default for Gate {
    /// Shut: nothing has been granted.
    fn default() -> Self {
        Self {
            until_boottime_ns: AtomicU64::new(0),
            due_ns: AtomicU64::new(0),
            round: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            own_due_ns: AtomicU64::new(u64::MAX),
            own_round: AtomicU64::new(u64::MAX),
            middle: AtomicU64::new(u64::MAX),
            half_used: Notify::new(),
            granted: Notify::new(),
            stage_ends: OnceLock::new(),
        }
    }
}

impl Gate {
    /// Open for ever: for tests, and for what is not measured.
    #[must_use]
    pub fn open() -> Self {
        let gate = Self::default();
        gate.grant(u64::MAX, Limit::Due(Duration::MAX));
        gate.grant(u64::MAX, Limit::Round(u64::MAX));
        gate
    }

    /// How many stages there are, whose ends can be told. Once: a worker has one run.
    pub fn know_stages(&self, stages: usize) {
        let _ends = self.stage_ends.get_or_init(|| {
            std::iter::repeat_with(|| AtomicU64::new(u64::MAX)).take(stages).collect()
        });
    }

    /// A rule has ended a stage at this run time. To be told before any grant that came with it.
    pub fn end_stage(&self, stage: u16, at: Duration) {
        if let Some(end) = self.stage_ends.get().and_then(|ends| ends.get(usize::from(stage))) {
            end.fetch_min(nanoseconds(at), Ordering::AcqRel);
        }
    }

    /// When a rule ended this stage, if one did.
    #[must_use]
    pub fn stage_end(&self, stage: u16) -> Option<Duration> {
        let end_ns = self.stage_ends.get()?.get(usize::from(stage))?.load(Ordering::Acquire);
        (end_ns < u64::MAX).then(|| Duration::from_nanos(end_ns))
    }

    /// Takes a grant that lasts until an instant of CLOCK_BOOTTIME. One that is older than what is held
    /// changes nothing.
    pub fn grant(&self, until_boottime_ns: u64, limit: Limit) {
        match limit {
            Limit::Due(due) => self.due_ns.fetch_max(nanoseconds(due), Ordering::AcqRel),
            Limit::Round(round) => {
                let known = self.round.fetch_max(round, Ordering::AcqRel);
                self.middle
                    .store(self.rounds_begun().midpoint(known.max(round)), Ordering::Release);
                known
            }
        };
        self.until_boottime_ns.fetch_max(until_boottime_ns, Ordering::AcqRel);
        self.granted.notify_waiters();
        if self.wants_rounds() {
            self.half_used.notify_one();
        }
    }

    /// Open loop: may what is due at `due` in a stage be written now? `false` is `no_lease`, for good: it is not
    /// sent late when the lease returns.
    #[must_use]
    pub fn may_write(&self, stage: u16, due: Duration, now_boottime_ns: u64) -> bool {
        let due_ns = nanoseconds(due);
        self.holds(now_boottime_ns)
            && due_ns < self.due_ns.load(Ordering::Acquire)
            && due_ns < self.own_due_ns.load(Ordering::Acquire)
            && self.stage_end(stage).is_none_or(|end| due < end)
    }

    /// Closed loop: may a request of a slot's `round` be written now? `false` means not yet: its slot
    /// waits for the next grant.
    #[must_use]
    pub fn may_write_round(&self, round: u64, now_boottime_ns: u64) -> bool {
        let may = self.holds(now_boottime_ns)
            && round < self.round.load(Ordering::Acquire)
            && round < self.own_round.load(Ordering::Acquire);
        if !may {
            return false;
        }
        let begun = round.saturating_add(1);
        // In one order with [`Self::leave_rounds`]: either it counts this round, or this round sees it.
        let before = self.begun.fetch_max(begun, Ordering::SeqCst);
        let middle = self.middle.load(Ordering::Acquire);
        if before < middle && begun >= middle {
            self.half_used.notify_one();
        }
        round < self.own_round.load(Ordering::SeqCst)
    }

    /// Whether anything is granted now.
    #[must_use]
    pub fn holds(&self, now_boottime_ns: u64) -> bool {
        now_boottime_ns < self.until_boottime_ns.load(Ordering::Acquire)
    }

    /// Until when, on CLOCK_BOOTTIME; 0 before the first grant.
    #[must_use]
    pub fn until_boottime_ns(&self) -> u64 {
        self.until_boottime_ns.load(Ordering::Acquire)
    }

    /// Rounds begun by the slot that is furthest ahead; 0 before any.
    #[must_use]
    pub fn rounds_begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Closed loop: only rounds below it are granted; 0 before any.
    #[must_use]
    pub fn rounds_granted(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// Closed loop: whether the half of what was granted is used up.
    #[must_use]
    pub fn wants_rounds(&self) -> bool {
        self.rounds_begun() >= self.middle.load(Ordering::Acquire)
    }

    /// Returns when the half of the rounds that were granted is used up: the coordinator is asked for more
    /// before slots have to wait.
    pub async fn half_used(&self) {
        self.half_used.notified().await;
    }

    /// Returns at the next grant.
    pub async fn granted(&self) {
        self.granted.notified().await;
    }

    /// Writes nothing from `limit` on, whatever is granted. What a Goodbye names; it never moves later.
    pub fn leave_at(&self, limit: Limit) {
        match limit {
            Limit::Due(due) => self.own_due_ns.fetch_min(nanoseconds(due), Ordering::AcqRel),
            Limit::Round(round) => self.own_round.fetch_min(round, Ordering::AcqRel),
        };
    }

    /// Closed loop: begins no further round, whatever is granted; slots that are behind still come to it. The
    /// limit that a Goodbye names: no round at or beyond it was or will be begun.
    pub fn leave_rounds(&self) -> Limit {
        let begun = self.rounds_begun();
        self.own_round.fetch_min(begun, Ordering::SeqCst);
        // A lane may have begun one meanwhile, or in a leaving before this one.
        Limit::Round(self.begun.load(Ordering::SeqCst))
    }

    /// Shut for ever: this incarnation is closed.
    pub fn shut(&self) {
        self.leave_at(Limit::Due(Duration::ZERO));
        self.leave_at(Limit::Round(0));
    }
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn due(seconds: u64) -> Limit {
        Limit::Due(Duration::from_secs(seconds))
    }

    #[test]
    fn a_fresh_gate_is_shut() {
        assert!(!Gate::default().may_write(0, Duration::ZERO, 0));
        assert!(!Gate::default().may_write_round(0, 0));
    }

    #[test]
    fn both_limits_hold() {
        let gate = Gate::default();
        gate.grant(100 * SECOND, due(7));
        assert!(gate.may_write(0, Duration::from_millis(6_999), 100 * SECOND - 1));
        assert!(!gate.may_write(0, Duration::from_secs(7), 0), "due too late");
        assert!(!gate.may_write(0, Duration::ZERO, 100 * SECOND), "written too late");
    }

    #[test]
    fn an_old_grant_takes_nothing_back() {
        let gate = Gate::default();
        gate.grant(100 * SECOND, due(7));
        gate.grant(99 * SECOND, due(6));
        assert!(gate.may_write(0, Duration::from_secs(6), 99 * SECOND));
    }

    #[test]
    fn who_leaves_or_is_closed_writes_nothing_beyond_whatever_is_granted() {
        let gate = Gate::open();
        gate.leave_at(due(7));
        gate.leave_at(due(9));
        assert!(
            gate.may_write(0, Duration::from_secs(6), 0)
                && !gate.may_write(0, Duration::from_secs(7), 0)
        );
        gate.shut();
        gate.grant(u64::MAX - 1, due(50));
        assert!(!gate.may_write(0, Duration::ZERO, 0) && !gate.may_write_round(0, 0));
    }

    #[test]
    fn a_stage_that_a_rule_ended_is_over_whatever_is_granted_and_the_next_one_is_not() {
        let gate = Gate::open();
        gate.end_stage(0, Duration::from_secs(5));
        assert_eq!(gate.stage_end(0), None, "no plan is known yet");
        gate.know_stages(2);
        gate.end_stage(0, Duration::from_secs(7));
        gate.end_stage(0, Duration::from_secs(9));
        gate.end_stage(9, Duration::ZERO);
        assert_eq!((gate.stage_end(0), gate.stage_end(1)), (Some(Duration::from_secs(7)), None));
        assert!(gate.may_write(0, Duration::from_millis(6_999), 0));
        assert!(!gate.may_write(0, Duration::from_secs(7), 0));
        assert!(gate.may_write(1, Duration::from_secs(20), 0));
    }

    #[test]
    fn the_round_that_is_furthest_ahead_is_told() {
        let gate = Gate::default();
        gate.grant(SECOND, Limit::Round(3));
        assert!(gate.may_write_round(2, 0) && gate.may_write_round(0, 0));
        assert!(!gate.may_write_round(3, 0));
        assert_eq!(gate.rounds_begun(), 3);
    }

    #[tokio::test]
    async fn more_is_asked_for_once_the_half_is_begun_and_not_before() {
        let gate = Gate::default();
        gate.grant(SECOND, Limit::Round(4));
        assert!(gate.may_write_round(0, 0) && !gate.wants_rounds());
        assert!(gate.may_write_round(1, 0) && gate.wants_rounds());
        gate.half_used().await;
        gate.grant(SECOND, Limit::Round(10));
        assert!(!gate.wants_rounds(), "2 of 10: the half is 6");
        gate.grant(SECOND, Limit::Round(u64::MAX));
        assert!(gate.may_write_round(1_000_000, 0) && !gate.wants_rounds());
    }

    #[test]
    fn who_leaves_begins_no_further_round_and_names_what_is_begun() {
        let gate = Gate::open();
        assert!(gate.may_write_round(6, 0));
        assert_eq!(gate.leave_rounds(), Limit::Round(7));
        assert!(!gate.may_write_round(7, 0));
        assert!(gate.may_write_round(5, 0) && gate.may_write_round(6, 0), "slots that are behind");
        assert_eq!(gate.leave_rounds(), Limit::Round(7));
    }

    proptest! {
        #[test]
        fn the_order_of_grants_does_not_matter(
            grants in proptest::collection::vec((0_u64..50, 0_u64..50), 1..8),
            asked in (0_u64..50, 0_u64..50),
        ) {
            let (forth, back) = (Gate::default(), Gate::default());
            grants.iter().for_each(|(until, to)| forth.grant(*until, due(*to)));
            grants.iter().rev().for_each(|(until, to)| back.grant(*until, due(*to)));
            let (at, now) = (Duration::from_secs(asked.0), asked.1);
            prop_assert_eq!(forth.may_write(0, at, now), back.may_write(0, at, now));
            let furthest = grants.iter().map(|(_, to)| *to).max().unwrap_or_default();
            let longest = grants.iter().map(|(until, _)| *until).max().unwrap_or_default();
            prop_assert_eq!(forth.may_write(0, at, now), asked.0 < furthest && now < longest);
        }
    }
}
