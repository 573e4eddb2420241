//! Conversations as whole runs: every turn in the figures, and a session that dies with its worker in the account.

use serde_json::{Value, json};

use crate::support::{Bench, number};

const SHORT: [&str; 6] = [
    "--no-probe",
    "--set",
    "prompts.inputLength.mean=12",
    "--set",
    "prompts.outputLength.mean=6",
    "--json",
];

fn turns(summary: &Value) -> Vec<(String, u64)> {
    let turns = summary["turns"].as_array().unwrap();
    turns
        .iter()
        .map(|turn| (turn["name"].as_str().unwrap().to_owned(), number(turn, "/books/completed")))
        .collect()
}

#[test]
fn a_rate_of_sessions_has_figures_for_each_turn() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
    let sessions = [
        "--rate",
        "10",
        "--requests",
        "20",
        "--set",
        "sessions.turns.mean=3",
        "--set",
        "sessions.thinkTime.distribution=fixed",
        "--set",
        "sessions.thinkTime.mean=50ms",
    ];
    let ended = bench.run(&[&SHORT[..], &sessions[..]].concat());
    let summary = ended.went_through();
    let expected = ["turn 1", "turn 2", "turn 3"].map(|name| (name.to_owned(), 20));
    assert_eq!(turns(&summary), expected, "{summary:#}");
    assert_eq!(
        summary["sessions"],
        json!({"begun": 20, "completed": 20, "cut": 0, "lost": 0, "turnsNotReached": 0})
    );
    assert_eq!(number(&summary, "/books/due"), 60);
    for turn in 0..3 {
        assert!(number(&summary, &format!("/turns/{turn}/metrics/ttft/p50")) > 0);
    }
    // All that was said before is sent again.
    let input = |turn: usize| number(&summary, &format!("/turns/{turn}/metrics/input_tokens/p50"));
    assert!(input(0) < input(1) && input(1) < input(2), "{summary:#}");
    assert_eq!(bench.settled().completed, 60);
}

#[test]
fn sessions_of_a_fleet_stay_on_their_workers() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
    let sessions = [
        "--workers",
        "2",
        "--concurrency",
        "4",
        "--duration",
        "3",
        "--set",
        "sessions.turns.mean=2",
        "--set",
        "load.rampUp=0.2",
    ];
    let ended = bench.run(&[&SHORT[..], &sessions[..]].concat());
    let summary = ended.went_through();
    let [first, second] = turns(&summary).try_into().unwrap();
    assert!(second.1 > 0 && first.1 >= second.1, "{summary:#}");
    let sessions = |key: &str| number(&summary, &format!("/sessions/{key}"));
    assert_eq!(sessions("begun"), sessions("completed") + sessions("cut"), "{summary:#}");
    assert_eq!((sessions("lost"), number(&summary, "/books/lost")), (0, 0));
    assert_eq!(first.1 + second.1, bench.settled().completed);
}
