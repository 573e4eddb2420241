//! What each heartbeat grants to each worker, and who is lost.
//!
//! A grant has two limits. The instant (given + length, on the worker's clock less the clocks' error) keeps a
//! worker from sending late. The limit by what is sent (H) keeps two workers from sending the same: nothing
//! at or beyond a worker's highest H was ever sent by it, so whoever takes over from there on sends nothing
//! twice, whatever a clock says.
//!
//! Silence counts only while this process itself ran: after a late look everybody has a grace to be heard
//! first. A grant goes only to a worker that was really heard lately, grace or not.

mod terms;

use std::{collections::BTreeMap, time::Duration};

use protocol::{Grant, Limit, WorkerId, grown_error_ns};

pub use terms::{Reach, Terms};

/// Silence after which nothing is granted any more.
const UNHEARD: Duration = Duration::from_millis(1_500);
/// Silence after which a worker is lost, for good.
const LOST_AFTER: Duration = Duration::from_secs(3);
/// How late a look may be before silence is our own.
const LATE: Duration = Duration::from_millis(500);
/// How often silence is looked for, and grants are given.
pub const LOOK_EVERY: Duration = protocol::HEARTBEAT_EVERY;
/// Rounds that a slot may always begin ahead.
const FEWEST_ROUNDS: u64 = 2;
/// Rounds that may be granted before a ceiling is on disk.
pub(crate) const FIRST_CEILING: u64 = 2 * FEWEST_ROUNDS;

/// A worker's clock against ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Coordinator's clock minus the worker's, nanoseconds.
    pub offset_ns: i64,
    /// At most this wrong when it was measured, nanoseconds.
    pub error_ns: u64,
}

/// One worker's.
#[derive(Clone, Debug)]
struct Holder {
    /// When it was really heard last.
    heard_ns: u64,
    /// From when on its silence counts; later than `heard_ns` in a grace.
    silent_from_ns: u64,
    /// As used for its start.
    at_arm: Option<Reading>,
    /// Since our own start: a reading against a clock that is gone says nothing.
    latest: Option<Reading>,
    /// The highest that was ever granted; any round, where only the worker knows what the coordinator before us
    /// granted, and has not told yet.
    limit: Limit,
    /// The worker has to tell it.
    untold: bool,
    /// Rounds begun, as heard; those of the last lease length.
    begun: Vec<(u64, u64)>,
    /// Rounds begun at which the half of what was granted is used up.
    middle: u64,
    /// Closed loop: no round from here on is granted, because a coordinator after us would not know of it.
    ceiling: u64,
    /// The ceiling that is on its way to the disk.
    next_ceiling: u64,
}

/// Run time zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartInstant {
    /// As it was agreed on, by the clock of the coordinator of that time: workers' own starts follow from it.
    pub agreed_ns: u64,
    /// On this coordinator's clock; another one if it has taken over the run from another machine.
    pub own_ns: u64,
}

/// All grants of a run. Instants are nanoseconds of the coordinator's clock.
#[derive(Clone, Debug)]
pub struct Leases {
    terms: Terms,
    /// `None` until everybody has acknowledged it.
    start: Option<StartInstant>,
    looked_ns: u64,
    /// Nothing due at or after it is granted any more: the load ends there.
    load_ends: Option<Duration>,
    /// Nothing due at or after any of these is granted for now: an end that is not on disk yet.
    held: Vec<Duration>,
    /// Open loop: the furthest that was ever granted to anybody, gone or not.
    furthest_due: Duration,
    holders: BTreeMap<WorkerId, Holder>,
}

impl Leases {
    /// Nobody has anything.
    #[must_use]
    pub fn new(terms: Terms, now_ns: u64) -> Self {
        Self {
            terms,
            start: None,
            looked_ns: now_ns,
            load_ends: None,
            held: Vec::new(),
            furthest_due: Duration::ZERO,
            holders: BTreeMap::new(),
        }
    }

    /// A worker has a place: from now on its silence counts.
    pub fn admit(&mut self, worker: WorkerId, now_ns: u64) {
        let limit = self.terms.nothing();
        self.holders.entry(worker).or_insert_with(|| Holder {
            heard_ns: now_ns,
            silent_from_ns: now_ns,
            at_arm: None,
            latest: None,
            limit,
            untold: false,
            begun: Vec::new(),
            middle: u64::MAX,
            ceiling: FIRST_CEILING,
            next_ceiling: FIRST_CEILING,
        });
    }

    /// After a resume: it may hold what the coordinator before us granted, and is not heard yet.
    pub fn admit_again(&mut self, worker: WorkerId, at_arm: Reading, limit: Limit, now_ns: u64) {
        self.admit(worker, now_ns);
        self.note_furthest(limit);
        if let Some(holder) = self.holders.get_mut(&worker) {
            holder.heard_ns = now_ns.saturating_sub(nanoseconds(UNHEARD));
            holder.at_arm = Some(at_arm);
            holder.limit = holder.limit.max(limit);
            if let Limit::Round(round) = limit {
                holder.untold = true;
                (holder.ceiling, holder.next_ceiling) = (round, round);
            }
        }
    }

    /// Closed loop: a worker tells up to which round it holds a grant. That is all that a coordinator which is gone
    /// gave it; a grant of ours may be on its way.
    pub fn holds_rounds(&mut self, worker: WorkerId, round: u64) {
        let Some(holder) = self.holders.get_mut(&worker) else { return };
        if holder.untold {
            holder.limit = self.terms.nothing();
            holder.untold = false;
            // It has waited for a grant of ours: it gets one with the answer.
            holder.middle = 0;
        }
        if let Limit::Round(known) = holder.limit {
            holder.limit = Limit::Round(known.max(round));
        }
    }

    /// A worker accepted the start with this reading of the clocks.
    pub fn armed(&mut self, worker: WorkerId, reading: Reading) {
        if let Some(holder) = self.holders.get_mut(&worker) {
            holder.at_arm = Some(reading);
            holder.latest = Some(reading);
        }
    }

    /// Everybody has acknowledged the start, which is at `start_ns`: from now on there are grants.
    pub fn open(&mut self, start_ns: u64) {
        self.go_on(StartInstant { agreed_ns: start_ns, own_ns: start_ns });
    }

    /// As [`Self::open`], where another coordinator had agreed on the start.
    pub fn go_on(&mut self, start: StartInstant) {
        self.start = Some(start);
    }

    /// A sign of life, with the clocks' latest reading and the rounds begun. Who is not admitted, or is
    /// lost, stays so.
    pub fn heard(&mut self, worker: WorkerId, reading: Option<Reading>, begun: u64, now_ns: u64) {
        let Some(holder) = self.holders.get_mut(&worker) else { return };
        holder.heard_ns = now_ns;
        holder.silent_from_ns = now_ns;
        holder.latest = reading.or(holder.latest);
        holder.begun.push((now_ns, begun));
        let since = now_ns.saturating_sub(nanoseconds(self.terms.length));
        let old = holder.begun.iter().take_while(|(at, _)| *at < since).count();
        holder.begun.drain(..old);
    }

    /// What the heartbeat that leaves now grants; it counts as granted whether it arrives or not.
    pub fn grant(&mut self, worker: WorkerId, now_ns: u64) -> Option<Grant> {
        let (start_ns, terms) = (self.start?.agreed_ns, self.terms);
        let ends = self.load_ends.iter().chain(&self.held);
        let most = ends.min().copied().unwrap_or(Duration::MAX);
        let holder = self.holders.get_mut(&worker)?;
        // What it is granted before it has told, its word would not have.
        if holder.untold || !holder.is_heard(now_ns) {
            return None;
        }
        let limit = match terms.reach {
            Reach::Due => Limit::Due(holder.run_time(start_ns, now_ns, terms.length)?.min(most)),
            Reach::Rounds => Limit::Round(holder.rounds_ahead().min(holder.ceiling)),
            Reach::AnyRound => Limit::Round(u64::MAX),
        };
        holder.limit = holder.limit.max(limit);
        if let Limit::Round(round) = holder.limit {
            holder.middle = holder.rounds_begun().midpoint(round);
        }
        let limit = holder.limit;
        self.note_furthest(limit);
        Some(Grant { given_at_coordinator_ns: now_ns, length: terms.length, limit })
    }

    /// Whether a worker has still to tell what the coordinator before us granted.
    #[must_use]
    pub fn is_untold(&self, worker: WorkerId) -> bool {
        self.holders.get(&worker).is_some_and(|holder| holder.untold)
    }

    /// The ceiling that a worker will need soon, to be written down; each is named once. As far beyond what is granted
    /// now as that is beyond what is begun: so it is on disk before it is needed, and a worker costs a record in some
    /// seconds.
    pub fn next_ceiling(&mut self, worker: WorkerId) -> Option<u64> {
        let holder = self.holders.get_mut(&worker)?;
        if self.terms.reach != Reach::Rounds {
            return None;
        }
        let wanted = holder.rounds_ahead();
        let ahead = wanted.saturating_sub(holder.rounds_begun());
        if wanted.saturating_add(ahead / 2) <= holder.next_ceiling {
            return None;
        }
        holder.next_ceiling = wanted.saturating_add(ahead);
        Some(holder.next_ceiling)
    }

    /// A ceiling is on disk.
    pub fn raise_ceiling(&mut self, worker: WorkerId, below: u64) {
        if let Some(holder) = self.holders.get_mut(&worker) {
            holder.ceiling = holder.ceiling.max(below);
        }
    }

    /// From now on nothing due at or after `at` is granted. Who was granted more keeps it: see
    /// [`Self::furthest_due`].
    pub fn end_load(&mut self, at: Duration) {
        self.load_ends = Some(self.load_ends.map_or(at, |known| known.min(at)));
    }

    /// For now nothing due at or after `at` is granted, until it is released again.
    pub fn hold(&mut self, at: Duration) {
        self.held.push(at);
    }

    /// What was held at `at` may be granted again.
    pub fn release(&mut self, at: Duration) {
        if let Some(place) = self.held.iter().position(|held| *held == at) {
            let _released = self.held.swap_remove(place);
        }
    }

    /// Open loop: the highest limit that was ever granted, to whomever: one that was put out since may still use it. Zero
    /// before any, and in a closed loop.
    #[must_use]
    pub fn furthest_due(&self) -> Duration {
        self.furthest_due
    }

    /// After a resume: limits of those who are gone, and may still use them.
    pub fn remember(&mut self, limits: impl IntoIterator<Item = Limit>) {
        limits.into_iter().for_each(|limit| self.note_furthest(limit));
    }

    fn note_furthest(&mut self, limit: Limit) {
        if let Limit::Due(due) = limit {
            self.furthest_due = self.furthest_due.max(due);
        }
    }

    /// Whether a worker has used up the half of its rounds: it is granted more before its slots have to wait.
    #[must_use]
    pub fn wants_rounds(&self, worker: WorkerId) -> bool {
        let holder = self.holders.get(&worker);
        holder.is_some_and(|holder| holder.rounds_begun() >= holder.middle)
    }

    /// From now on somebody may take over: rounds are granted by what is begun. What was granted stays so.
    pub fn limit_rounds(&mut self) {
        self.terms.reach = match self.terms.reach {
            Reach::Due => Reach::Due,
            Reach::Rounds | Reach::AnyRound => Reach::Rounds,
        };
    }

    /// Closed loop: whether nothing is held back.
    #[must_use]
    pub fn grants_any_round(&self) -> bool {
        self.terms.reach == Reach::AnyRound
    }

    /// Looks for silence: those who are lost now, each named once. To be called every [`LOOK_EVERY`].
    pub fn look(&mut self, now_ns: u64) -> Vec<WorkerId> {
        let gap = now_ns.saturating_sub(self.looked_ns);
        self.looked_ns = now_ns;
        if gap > nanoseconds(LOOK_EVERY + LATE) {
            self.holders.values_mut().for_each(|holder| holder.silent_from_ns = now_ns);
            return Vec::new();
        }
        let silent = |holder: &Holder| {
            now_ns.saturating_sub(holder.silent_from_ns) >= nanoseconds(LOST_AFTER)
        };
        let all = self.holders.iter();
        all.filter(|(_, holder)| silent(holder)).map(|(worker, _)| *worker).collect()
    }

    /// Whether a worker was really heard lately.
    #[must_use]
    pub fn is_heard(&self, worker: WorkerId, now_ns: u64) -> bool {
        self.holders.get(&worker).is_some_and(|holder| holder.is_heard(now_ns))
    }

    /// It is lost or complete: nothing more is granted. Its highest limit; `None` if it had no place.
    pub fn close(&mut self, worker: WorkerId) -> Option<Limit> {
        self.holders.remove(&worker).map(|holder| holder.limit)
    }

    /// Run time on our own clock; `None` before everybody has acknowledged the start.
    #[must_use]
    pub fn run_time(&self, now_ns: u64) -> Option<Duration> {
        Some(Duration::from_nanos(now_ns.saturating_sub(self.start?.own_ns)))
    }
}

impl Holder {
    fn is_heard(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.heard_ns) < nanoseconds(UNHEARD)
    }

    /// The worker's own run time, some time after now; zero before its start.
    ///
    /// Its clock shows now − offset, and showed start − offset-at-Arm at its run time zero. So it is its own
    /// start that counts, even where a coordinator with another clock has taken over.
    fn run_time(&self, start_ns: u64, now_ns: u64, ahead: Duration) -> Option<Duration> {
        let moved = i128::from(self.at_arm?.offset_ns) - i128::from(self.latest?.offset_ns);
        let run_ns = i128::from(now_ns) - i128::from(start_ns) + moved;
        let limit_ns = run_ns + i128::from(nanoseconds(ahead));
        Some(Duration::from_nanos(u64::try_from(limit_ns.max(0)).unwrap_or(u64::MAX)))
    }

    fn rounds_begun(&self) -> u64 {
        self.begun.iter().map(|(_, begun)| *begun).max().unwrap_or(0)
    }

    /// The rounds begun, and twice what was begun in one lease length: what a lost worker could have begun is
    /// bounded. A worker that is quicker than that asks when the half is used up, and has three times as many
    /// then, so that slots of 1 ms a round are held up for some 50 ms in all.
    fn rounds_ahead(&self) -> u64 {
        let latest = self.rounds_begun();
        let oldest = self.begun.first().map_or(0, |(_, begun)| *begun);
        let pace = latest.saturating_sub(oldest).saturating_mul(2);
        latest.saturating_add(pace.max(FEWEST_ROUNDS))
    }
}

/// The highest limit that a coordinator which is gone can have granted: `run_time` is that at the start of
/// the one which takes its place, and `reading` was taken `since` before.
#[must_use]
pub fn limit_of_predecessor(
    terms: Terms,
    run_time: Duration,
    reading: Reading,
    since: Duration,
) -> Duration {
    let error_ns = grown_error_ns(reading.error_ns, nanoseconds(since));
    run_time + terms.length + Duration::from_nanos(error_ns)
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::LEASE;

    use super::*;

    const WORKER: WorkerId = WorkerId { ordinal: 0, incarnation: 1 };
    const MS: u64 = 1_000_000;
    const START: u64 = 10_000 * MS;
    const OPEN: Terms = Terms { length: LEASE, reach: Reach::Due };
    const CLOSED: Terms = Terms { length: LEASE, reach: Reach::Rounds };

    fn leases(terms: Terms) -> Leases {
        let mut leases = Leases::new(terms, 0);
        leases.admit(WORKER, 0);
        leases.armed(WORKER, Reading { offset_ns: 500, error_ns: 100 });
        leases
    }

    fn due(leases: &mut Leases, at_ms: u64) -> Option<Duration> {
        match leases.grant(WORKER, at_ms * MS)?.limit {
            Limit::Due(due) => Some(due),
            Limit::Round(_) => None,
        }
    }

    #[test]
    fn nothing_is_granted_before_all_have_acknowledged_the_start() {
        let mut leases = leases(OPEN);
        assert_eq!(leases.grant(WORKER, 0), None);
        leases.open(START);
        assert_eq!(due(&mut leases, 100), Some(Duration::ZERO), "9.9 s before the start");
        leases.heard(WORKER, None, 0, 9_000 * MS);
        assert_eq!(due(&mut leases, 9_000), Some(Duration::from_millis(1_500)));
    }

    #[test]
    fn a_clock_that_has_drifted_moves_the_limit_with_the_workers_own_run_time() {
        let mut leases = leases(OPEN);
        leases.open(START);
        // The worker's clock has fallen back by 4 ms against ours since Arm: its run time is 4 ms behind.
        let drifted = Reading { offset_ns: 500 + 4_000_000, error_ns: 100 };
        leases.heard(WORKER, Some(drifted), 0, 20_000 * MS);
        assert_eq!(due(&mut leases, 20_000), Some(Duration::from_millis(12_496)));
    }

    #[test]
    fn a_silent_worker_gets_nothing_after_1_5_s_and_is_lost_after_3() {
        let mut leases = leases(OPEN);
        leases.open(START);
        leases.look(19_900 * MS);
        leases.heard(WORKER, None, 0, 20_000 * MS);
        assert!(due(&mut leases, 21_499).is_some());
        assert_eq!(due(&mut leases, 21_500), None);
        let looks = [20_400, 21_400, 22_400, 22_999, 23_000].map(|at| leases.look(at * MS));
        assert_eq!(looks.map(|lost| lost.len()), [0, 0, 0, 0, 1]);
        assert_eq!(leases.close(WORKER), Some(Limit::Due(Duration::from_millis(13_999))));
        leases.heard(WORKER, None, 0, 23_100 * MS);
        assert_eq!(leases.grant(WORKER, 23_100 * MS), None, "for good");
    }

    #[test]
    fn a_coordinator_that_slept_counts_no_silence_and_grants_nothing_unheard() {
        let mut leases = leases(OPEN);
        leases.open(START);
        leases.heard(WORKER, None, 0, 20_000 * MS);
        leases.look(20_000 * MS);
        assert!(leases.look(80_000 * MS).is_empty());
        assert_eq!(leases.grant(WORKER, 80_000 * MS), None);
        let lost = (1..8_u64).find(|n| !leases.look((80_000 + n * 500) * MS).is_empty());
        assert_eq!(lost, Some(6), "3 s after it woke");
    }

    #[test]
    fn rounds_are_granted_by_twice_the_pace_and_at_least_two() {
        let mut leases = leases(CLOSED);
        leases.raise_ceiling(WORKER, u64::MAX);
        leases.open(START);
        let mut rounds = |begun, at_ms: u64| {
            leases.heard(WORKER, None, begun, at_ms * MS);
            leases.grant(WORKER, at_ms * MS).map(|grant| grant.limit)
        };
        assert_eq!(rounds(0, 10_000), Some(Limit::Round(2)));
        assert_eq!(rounds(2, 10_500), Some(Limit::Round(6)));
        assert_eq!(rounds(6, 11_000), Some(Limit::Round(18)));
        assert_eq!(rounds(6, 20_000), Some(Limit::Round(18)), "what was granted stays granted");
    }

    #[test]
    fn no_round_is_granted_that_a_successor_would_not_know_of() {
        let mut leases = leases(CLOSED);
        leases.open(START);
        let rounds = |leases: &mut Leases, begun, at_ms: u64| {
            leases.heard(WORKER, None, begun, at_ms * MS);
            let limit = leases.grant(WORKER, at_ms * MS).map(|grant| grant.limit);
            (limit, leases.next_ceiling(WORKER))
        };
        let round = |round| Some(Limit::Round(round));
        assert_eq!(rounds(&mut leases, 0, 10_000), (round(2), None));
        // Wanted are 6, and then as many again as that is ahead.
        assert_eq!(rounds(&mut leases, 2, 10_500), (round(4), Some(10)));
        assert_eq!(rounds(&mut leases, 2, 10_600), (round(4), None), "it is asked for once");
        leases.raise_ceiling(WORKER, 10);
        assert_eq!(rounds(&mut leases, 2, 10_700), (round(6), None));
    }

    #[test]
    fn what_a_predecessor_granted_of_rounds_the_worker_tells() {
        let mut leases = Leases::new(CLOSED, 0);
        leases.admit_again(WORKER, Reading::default(), Limit::Round(90), 5_000 * MS);
        leases.open(START);
        assert_eq!(leases.clone().close(WORKER), Some(Limit::Round(90)), "what is on disk");
        leases.heard(WORKER, None, 3, 9_999 * MS);
        assert_eq!(leases.grant(WORKER, 9_999 * MS), None, "it would not be in its word");
        leases.holds_rounds(WORKER, 40);
        leases.heard(WORKER, None, 3, 10_000 * MS);
        assert!(leases.wants_rounds(WORKER), "the answer grants");
        let limit = leases.grant(WORKER, 10_000 * MS).map(|grant| grant.limit);
        assert_eq!(limit, Some(Limit::Round(40)), "what it holds it keeps");
        leases.holds_rounds(WORKER, 41);
        assert_eq!(leases.close(WORKER), Some(Limit::Round(41)));
    }

    #[test]
    fn more_rounds_are_wanted_once_the_half_is_begun() {
        let mut leases = leases(CLOSED);
        leases.raise_ceiling(WORKER, u64::MAX);
        leases.open(START);
        let mut asks = |begun, at_ms: u64| {
            leases.heard(WORKER, None, begun, at_ms * MS);
            let wants = leases.wants_rounds(WORKER);
            (wants, leases.grant(WORKER, at_ms * MS).map(|grant| grant.limit))
        };
        let round = |round| Some(Limit::Round(round));
        assert_eq!(asks(0, 10_000), (false, round(2)), "nothing was granted that could be used up");
        // Limit 2: the half is 1. Then 6 rounds from 2 on: the half is 4.
        assert_eq!(asks(2, 10_002), (true, round(6)));
        assert_eq!(asks(3, 10_020), (false, round(9)));
        assert_eq!(asks(6, 10_040), (true, round(18)));
    }

    #[test]
    fn who_has_no_heir_is_granted_any_round() {
        let mut leases = leases(CLOSED.without_heirs());
        leases.open(START);
        leases.heard(WORKER, None, 0, 10_000 * MS);
        let limit = leases.grant(WORKER, 10_000 * MS).map(|grant| grant.limit);
        assert_eq!(limit, Some(Limit::Round(u64::MAX)));
        assert_eq!(OPEN.without_heirs(), OPEN);
    }

    #[test]
    fn a_resumed_coordinator_assumes_the_most_that_its_predecessor_can_have_granted() {
        let reading = Reading { offset_ns: 0, error_ns: 2_000_000 };
        let limit =
            limit_of_predecessor(OPEN, Duration::from_secs(60), reading, Duration::from_secs(100));
        // 60 + 2.5 s, 2 ms error, 500 ppm of 100 s.
        assert_eq!(limit, Duration::from_millis(62_552));
        let mut leases = Leases::new(OPEN, 0);
        leases.admit_again(WORKER, reading, Limit::Due(limit), 5_000 * MS);
        leases.open(0);
        assert_eq!(leases.grant(WORKER, 5_000 * MS), None, "not heard yet");
        assert_eq!(leases.close(WORKER), Some(Limit::Due(limit)));
    }

    proptest! {
        /// Whatever is heard, looked at and granted in whatever order, no grant exceeds what closing names.
        #[test]
        fn no_grant_exceeds_the_limit_that_is_named_at_the_end(
            steps in proptest::collection::vec((0_u8..3, 0_u64..4_000, -5_000_000_i64..5_000_000, 0_u64..9), 1..40),
            closed_loop in any::<bool>(),
        ) {
            let reach = if closed_loop { Reach::Rounds } else { Reach::Due };
            let mut leases = leases(Terms { length: LEASE, reach });
            leases.open(START);
            let (mut now, mut granted, mut begun) = (START, Vec::new(), 0);
            for (step, wait_ms, offset_ns, rounds) in steps {
                now += wait_ms * MS;
                begun += rounds;
                match step {
                    0 => leases.heard(WORKER, Some(Reading { offset_ns, error_ns: 0 }), begun, now),
                    1 => granted.extend(leases.grant(WORKER, now).map(|grant| grant.limit)),
                    _ => { leases.look(now); }
                }
            }
            let limit = leases.close(WORKER).unwrap();
            prop_assert!(granted.iter().all(|one| *one <= limit));
            prop_assert!(granted.is_sorted());
        }
    }
}
