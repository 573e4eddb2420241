//! The fleet's rules under faults, in virtual time: "none sent twice, books exact".
//!
//! The coordinator's and the worker's own state machines (leases, owners, membership, ledger, recovery; lease, gate,
//! claims, outbox) are driven by a world whose clocks drift, whose network delays and drops, whose disk is
//! slow, and whose processes are stopped, killed and started again. Nothing here decides anything that the
//! fleet decides: the world only carries messages and keeps the server's own list of what it was sent.
//!
//! A round that fails names its seed: `FLEET_MODEL_SEED=N cargo test --test fleet_model` plays it again.

mod coordinator_node;
mod dice;
mod worker_node;
mod world;

use dice::Dice;
use world::{Faults, World};

/// Rounds of the normal suite: some seconds.
const ROUNDS: u64 = 60;
/// Rounds of the long one.
const MANY_ROUNDS: u64 = 5_000;

fn play(seed: u64, faults: Faults) {
    let mut world = World::new(Dice::new(seed), faults);
    world.run();
    if let Err(error) = world.judge() {
        panic!("seed {seed}: {error}");
    }
}

#[test]
fn without_faults_everything_is_sent_and_answered() {
    for seed in 0..5 {
        let mut world = World::new(Dice::new(seed), Faults::None);
        world.run();
        let outcome = world.judge().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!((outcome.completed, outcome.lost, outcome.not_sent), (outcome.due, 0, 0));
    }
}

#[test]
fn whatever_fails_nothing_is_sent_twice_and_the_books_are_exact() {
    if let Some(seed) = std::env::var("FLEET_MODEL_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return play(seed, Faults::All);
    }
    (0..ROUNDS).for_each(|seed| play(seed, Faults::All));
}

/// The faults must bite, or the rounds above say nothing.
#[test]
fn over_some_rounds_every_kind_of_gap_is_seen() {
    let mut seen = world::Outcome::default();
    for seed in 0..ROUNDS {
        let mut world = World::new(Dice::new(seed), Faults::All);
        world.run();
        seen.add(&world.judge().unwrap_or_else(|error| panic!("seed {seed}: {error}")));
    }
    for (what, count) in [
        ("lost in flight", seen.lost_in_flight),
        ("lost", seen.lost),
        ("no lease", seen.no_lease),
        ("no owner", seen.no_owner),
        ("sent by heirs", seen.sent_by_heirs),
        ("rounds by heirs", seen.rounds_by_heirs),
        ("resumes", seen.resumes),
        ("losses", seen.losses),
        ("goodbyes", seen.goodbyes),
        ("early ends of the load", seen.stops),
        ("early ends of a stage", seen.stage_stops),
    ] {
        assert!(count > 0, "{what} was never seen: {seen:?}");
    }
}

#[test]
#[ignore = "minutes: many more rounds"]
fn many_rounds() {
    (ROUNDS..ROUNDS + MANY_ROUNDS).for_each(|seed| play(seed, Faults::All));
}
