//! Each load shape as a whole run: when the server saw the requests against when they were due.
//!
//! Due instants are those of the plan in the run's own journal, held against a formula worked out
//! here. A request may reach the server no earlier than due, and no later than the lag that the run
//! itself reports, and a bound for the way to the server.

use std::time::Duration;

use protocol::{Journal, Record};
use serde_json::{Value, json};
use workload::{Plan, Shard};

use crate::support::{Bench, number};

/// Between the client's write and the server's kernel; two processes and a loopback are far below.
const ON_THE_WAY: Duration = Duration::from_millis(50);
/// The kernel's stamps and our time zero are on two clocks, compared once.
const CLOCKS: Duration = Duration::from_millis(5);

/// Runs the load and returns its due instants, in order, after holding the server's account against them.
fn due_instants_of_a_run(load: &[&str]) -> Vec<Duration> {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 2, "itlMs": 1}));
    let short = ["--set", "prompts.inputLength.mean=8", "--set", "prompts.outputLength.mean=2"];
    let ended = bench.run(&[&["--no-probe"], load, &short[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let journal = Journal::read(&ended.results.as_ref().unwrap().join("journal")).unwrap();
    let (plan, start_unix_ns) = plan_and_start(journal);
    let due: Vec<Duration> = plan.arrivals(Shard::WHOLE).map(|arrival| arrival.due).collect();

    let requests = bench.simulator.truth_with_requests().requests.unwrap();
    let mut seen: Vec<i128> = requests
        .iter()
        .map(|request| i128::from(request.arrival_unix_ns) - i128::from(start_unix_ns))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen.len(), due.len());
    let latest = worst_schedule_lag(&ended.summary()) + ON_THE_WAY;
    for (number, (seen_ns, due)) in seen.iter().zip(&due).enumerate() {
        let late_ns = seen_ns - due.as_nanos() as i128;
        let bounds = -(CLOCKS.as_nanos() as i128)..=latest.as_nanos() as i128;
        assert!(bounds.contains(&late_ns), "number {number}, due at {due:?}: {late_ns} ns late");
    }
    due
}

fn plan_and_start(journal: Journal) -> (Plan, i64) {
    let (mut plan, mut start) = (None, None);
    for record in journal.records {
        match record {
            Record::Plan { plan: recorded, .. } => plan = Some(*recorded),
            Record::Arm { start_unix_ns, .. } => start = Some(start_unix_ns),
            _ => {}
        }
    }
    (plan.unwrap(), start.unwrap())
}

fn worst_schedule_lag(summary: &Value) -> Duration {
    let stages = summary["stages"].as_array().unwrap();
    let worst = stages.iter().map(|stage| number(stage, "/metrics/schedule_lag/max")).max();
    Duration::from_micros(worst.unwrap())
}

fn assert_instants(due: &[Duration], formula_s: impl Fn(usize) -> f64) {
    for (number, due) in due.iter().enumerate() {
        let expected = formula_s(number);
        assert!((due.as_secs_f64() - expected).abs() < 1e-6, "{number}: {due:?}, not {expected}");
    }
}

#[test]
fn a_constant_rate_arrives_evenly() {
    let due = due_instants_of_a_run(&["--rate", "50", "--duration", "2"]);
    assert_eq!(due.len(), 100);
    assert_instants(&due, |number| number as f64 / 50.0);
}

#[test]
fn a_ramp_arrives_ever_faster_and_is_then_held() {
    let load = ["--rate", "60", "--duration", "4", "--set", "load.type=ramp"];
    let due = due_instants_of_a_run(&load);
    // Λ(t) = 60·t²/(2·2 s) on the ramp of 2 s, 60 arrivals, of which k is due at √(k/15); then 120 at 1/60 s.
    assert_eq!(due.len(), 180);
    assert_instants(&due[..60], |number| (number as f64 / 15.0).sqrt());
    assert_instants(&due[60..], |number| 2.0 + number as f64 / 60.0);
}

#[test]
fn bursts_arrive_together() {
    let burst = ["--set", "load.type=burst", "--set", "load.burst.size=15"];
    let due = due_instants_of_a_run(&[&["--rate", "30", "--duration", "2"], &burst[..]].concat());
    // Every 15 / 30 = 0.5 s: at 0, 0.5, 1 and 1.5 s.
    assert_eq!(due.len(), 60);
    assert_instants(&due, |number| (number / 15) as f64 * 0.5);
}

#[test]
fn independent_users_arrive_at_random() {
    let load = ["--rate", "60", "--duration", "3", "--set", "load.arrivals=poisson"];
    let due = due_instants_of_a_run(&load);
    // 180 ± 4·√180 by Poisson; gaps unlike each other: even ones would all be 1/60 s.
    assert!((126..=234).contains(&due.len()), "{}", due.len());
    let short = due.windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_millis(8)).count();
    // 1 − e^(−0.48) = 38 % of exponential gaps are under 8 ms.
    assert!((20..=60).contains(&(short * 100 / due.len())), "{short} of {}", due.len());
}
