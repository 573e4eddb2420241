use metrics::{Interval, ScopeRecord};
use protocol::{Change, ClassCovers, Covers, Delta, Loss, LossCause, split};
use workload::{Config, PlanInputs, Sources};

use super::*;
use crate::Heirs;

const FIRST: WorkerId = WorkerId { ordinal: 0, incarnation: 10 };
const SECOND: WorkerId = WorkerId { ordinal: 1, incarnation: 11 };
const SPARE: WorkerId = WorkerId { ordinal: 2, incarnation: 12 };

fn plan(sets: &[&str]) -> Plan {
    let fixed = ["target.endpoint=http://t/v1", "target.model=m"];
    let sets = fixed.iter().chain(sets).map(|set| (*set).to_owned()).collect();
    let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
    Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
}

/// 10 a second for 20 s: 5 a second for each of two workers.
fn open() -> Plan {
    plan(&["load.rate=10", "benchmark.duration=20"])
}

fn fleet() -> Ledger {
    let mut ledger = Ledger::of(1);
    [FIRST, SECOND, SPARE].into_iter().for_each(|worker| ledger.admit(worker));
    ledger.own(Ownership::at_arm(&[FIRST, SECOND]).unwrap());
    ledger
}

/// What a worker says it has done, over seconds of a class.
struct Said {
    worker: WorkerId,
    due: u64,
    completed: u64,
    in_flight: u64,
    class: Shard,
    seconds: (u32, u32),
}

impl Said {
    fn to(self, ledger: &mut Ledger, last: bool) {
        self.with_later(&[], ledger, last);
    }

    /// The same, and of cells of later turns what was due and completed.
    fn with_later(self, later: &[(u16, u64, u64)], ledger: &mut Ledger, last: bool) {
        let mut interval = Interval::default();
        for &(class, due, completed) in later.iter().chain(&[(0, self.due, self.completed)]) {
            let mut record = ScopeRecord::default();
            record.books.due = due;
            record.books.completed = completed;
            interval.scopes.insert(Scope { stage: 0, class }, record);
        }
        let covers = Covers { from: self.seconds.0, to: self.seconds.1 };
        let classes = vec![ClassCovers { class: self.class, covers }];
        let in_flight = self.in_flight;
        let delta =
            Delta { covers: Some(covers), classes, interval, in_flight, last, ..Delta::default() };
        for part in split(self.worker, 1, delta) {
            ledger.merge(&part).unwrap();
        }
    }
}

fn class(rank: u32) -> Shard {
    Shard::new(rank, std::num::NonZeroU32::new(2).unwrap()).unwrap()
}

/// The second worker dies at 8 s with this limit; its spare begins at 11 s.
fn lose_second(ledger: &mut Ledger, limit: Limit, heirs: &Heirs) -> Option<Change> {
    let noticed_at = Duration::from_secs(8);
    let loss = Loss { worker: SECOND, limit, noticed_at, cause: LossCause::Silent };
    let change = ledger.ownership().unwrap().succession(Some(&loss), heirs, noticed_at);
    ledger.change_owners(Some(&loss), change.as_ref());
    change
}

fn due(ms: u64) -> Limit {
    Limit::Due(Duration::from_millis(ms))
}

/// Due, lost in flight, lost and not written, without owner.
fn gaps(settlement: &Settlement, worker: WorkerId) -> (u64, u64, u64, u64) {
    let mut books = Books::default();
    settlement.gaps.get(&worker).into_iter().flatten().for_each(|(_, one)| books.merge(one));
    let lost = books.lost;
    let no_owner = books.not_sent.get(&NotSent::NoOwner).copied().unwrap_or_default();
    (books.due, lost.in_flight_at_last_snapshot, lost.due_after_last_snapshot, no_owner)
}

const END: Duration = Duration::from_secs(20);

#[test]
fn a_run_in_which_all_answered_has_no_gap() {
    let mut ledger = fleet();
    for (rank, worker) in (0..).zip([FIRST, SECOND]) {
        let said = Said {
            worker,
            due: 100,
            completed: 100,
            in_flight: 0,
            class: class(rank),
            seconds: (0, 20),
        };
        said.to(&mut ledger, true);
    }
    assert_eq!(ledger.settle(&open(), END), Settlement::default());
}

#[test]
fn a_lost_worker_answers_up_to_its_limit_and_nobody_until_its_heir_begins() {
    let mut ledger = fleet();
    // Until 5 s: 25 due, 20 answered, 3 on the wire.
    let said = Said {
        worker: SECOND,
        due: 25,
        completed: 20,
        in_flight: 3,
        class: class(1),
        seconds: (0, 5),
    };
    said.to(&mut ledger, false);
    lose_second(&mut ledger, due(10_000), &Heirs::Spare(SPARE));
    // The heir heard of it late: at 11 s instead of 10 s.
    let said = Said {
        worker: SPARE,
        due: 45,
        completed: 45,
        in_flight: 0,
        class: class(1),
        seconds: (11, 20),
    };
    said.to(&mut ledger, true);
    let settlement = ledger.settle(&open(), END);
    // 50 were due before its limit: 20 answered, 3 in flight, 27 never heard of. 5 fell to nobody.
    assert_eq!(gaps(&settlement, SECOND), (25 + 5, 3, 27, 5));
    assert_eq!(gaps(&settlement, SPARE), (0, 0, 0, 0));
}

#[test]
fn of_the_later_turns_of_a_lost_workers_sessions_only_open_ones_are_lost() {
    let plan = plan(&["load.rate=10", "benchmark.duration=20", "sessions.turns.mean=2"]);
    let mut ledger = Ledger::of(1).with_cells(plan.cells());
    [FIRST, SECOND].into_iter().for_each(|worker| ledger.admit(worker));
    ledger.own(Ownership::at_arm(&[FIRST, SECOND]).unwrap());
    // Until 5 s: of 25 first turns 5 are open, of 12 second ones 2; of these 7, 6 are on the wire.
    let said = Said {
        worker: SECOND,
        due: 25,
        completed: 20,
        in_flight: 6,
        class: class(1),
        seconds: (0, 5),
    };
    said.with_later(&[(1, 12, 10)], &mut ledger, false);
    let _none = lose_second(&mut ledger, due(10_000), &Heirs::Survivors(Vec::new()));
    let settlement = ledger.settle(&plan, END);
    // To its limit at 10 s the plan has 50 first turns of it; nobody has the 50 after that.
    assert_eq!(gaps(&settlement, SECOND), (25 + 50, 6, 1 + 25, 50));
    let later = &settlement.gaps[&SECOND][&Scope { stage: 0, class: 1 }];
    assert_eq!((later.due, later.lost.total()), (0, 2), "no plan has later turns");
}

#[test]
fn without_an_heir_nobody_answers_to_the_end() {
    let mut ledger = fleet();
    lose_second(&mut ledger, due(7_300), &Heirs::Survivors(Vec::new()));
    // Its arrivals are due at 0.1, 0.3, …: 36 before 7.3 s.
    assert_eq!(gaps(&ledger.settle(&open(), END), SECOND), (100, 0, 36, 64));
    assert_eq!(gaps(&ledger.settle(&open(), Duration::from_secs(10)), SECOND), (50, 0, 36, 14));
}

#[test]
fn an_heir_that_ended_before_it_heard_leaves_the_class_to_nobody() {
    let mut ledger = fleet();
    lose_second(&mut ledger, due(10_000), &Heirs::Spare(SPARE));
    let last = Delta { last: true, ..Delta::default() };
    split(SPARE, 1, last).iter().for_each(|part| {
        ledger.merge(part).unwrap();
    });
    assert_eq!(gaps(&ledger.settle(&open(), END), SECOND), (100, 0, 50, 50));
}

#[test]
fn an_heir_that_died_unheard_may_have_sent_up_to_its_own_limit() {
    let mut ledger = fleet();
    lose_second(&mut ledger, due(10_000), &Heirs::Spare(SPARE));
    let noticed_at = Duration::from_secs(15);
    let loss = Loss { worker: SPARE, limit: due(17_000), noticed_at, cause: LossCause::Silent };
    let heirs = Heirs::Survivors(vec![FIRST]);
    let change = ledger.ownership().unwrap().succession(Some(&loss), &heirs, noticed_at);
    ledger.change_owners(Some(&loss), change.as_ref());
    let settlement = ledger.settle(&open(), END);
    assert_eq!(gaps(&settlement, SPARE), (35, 0, 35, 0));
    // The first worker is neither complete nor gone: what it did not say may yet have been sent.
    assert_eq!(gaps(&settlement, FIRST), (100 + 15, 0, 115, 0));
}

#[test]
fn a_closed_loop_loses_the_rounds_up_to_the_limit() {
    let plan = plan(&["load.concurrency=5", "benchmark.requests=52"]);
    let mut ledger = fleet();
    // Slots 1 and 3. 7 begun, 5 answered, 1 on the wire; it may have begun up to 6 rounds: 12 requests.
    let said = Said {
        worker: SECOND,
        due: 7,
        completed: 5,
        in_flight: 1,
        class: class(1),
        seconds: (0, 5),
    };
    said.to(&mut ledger, false);
    let heirs = Heirs::Spare(SPARE);
    let change = lose_second(&mut ledger, Limit::Round(6), &heirs).unwrap();
    assert_eq!(change.moves[0].first_round, 6);
    // 52 requests: slots 0 and 1 have 11 rounds, the others 10; so 5 + 4 are left for the heir.
    let said = Said {
        worker: SPARE,
        due: 9,
        completed: 9,
        in_flight: 0,
        class: class(1),
        seconds: (11, 20),
    };
    said.to(&mut ledger, true);
    let settlement = ledger.settle(&plan, Duration::MAX);
    assert_eq!(gaps(&settlement, SECOND), (5, 1, 6, 0));
    assert_eq!(gaps(&settlement, SPARE), (0, 0, 0, 0));
}

#[test]
fn rounds_that_nobody_went_on_with_have_no_owner_where_a_number_ends_the_run() {
    let by_number = plan(&["load.concurrency=5", "benchmark.requests=52"]);
    let by_time = plan(&["load.concurrency=5", "benchmark.duration=20"]);
    let mut ledger = fleet();
    lose_second(&mut ledger, Limit::Round(6), &Heirs::Survivors(Vec::new()));
    assert_eq!(gaps(&ledger.settle(&by_number, Duration::MAX), SECOND), (12 + 9, 0, 12, 9));
    assert_eq!(gaps(&ledger.settle(&by_time, END), SECOND), (12, 0, 12, 0));
}

/// It had no permission beyond 7.3 s, said so until 9 s (and of one request right after), and was lost then.
#[test]
fn what_was_answered_for_beyond_the_limit_is_not_counted_again() {
    for (due_then, left) in [(45, 55), (46, 54)] {
        let mut ledger = fleet();
        let said = Said {
            worker: SECOND,
            due: due_then,
            completed: due_then,
            in_flight: 0,
            class: class(1),
            seconds: (0, 9),
        };
        said.to(&mut ledger, false);
        lose_second(&mut ledger, due(7_300), &Heirs::Survivors(Vec::new()));
        assert_eq!(gaps(&ledger.settle(&open(), END), SECOND), (left, 0, 0, left));
    }
}

/// The load ended at 10 s. The first worker had no lease from 9 s on and heard of the end at 12 s only: by then it had
/// booked 15 arrivals without one, ten of which the shortened plan has not.
#[test]
fn what_was_booked_beyond_the_end_of_the_load_is_taken_back() {
    let mut ledger = fleet();
    let mut record = ScopeRecord::default();
    record.books.due = 60;
    record.books.completed = 45;
    record.books.not_sent.insert(NotSent::NoLease, 15);
    let mut interval = Interval::default();
    interval.scopes.insert(Scope::default(), record);
    let covers = Covers { from: 0, to: 12 };
    let classes = vec![ClassCovers { class: class(0), covers }];
    let delta = Delta { covers: Some(covers), classes, interval, last: true, ..Delta::default() };
    split(FIRST, 1, delta).iter().for_each(|part| drop(ledger.merge(part).unwrap()));
    let stopped = ledger.settle(&open(), Duration::from_secs(10));
    assert_eq!(stopped.beyond[&FIRST], [(Scope::default(), 10)].into());
    // Of the same books at the planned end nothing is beyond, and 40 are missing.
    let whole = ledger.settle(&open(), END);
    assert!(whole.beyond.is_empty());
    assert_eq!(gaps(&whole, FIRST).0, 40);
}
