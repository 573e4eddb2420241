//! Each load shape as a whole run: when the server saw the requests against when they were due.
//!
//! Due instants are those of the plan in the run's own journal, held against a formula worked out
//! here. A request may reach the server no earlier than due, and no later than the lag that the run
//! itself reports, and a bound for the way to the server.

use std::{collections::BTreeSet, time::Duration};

use protocol::{Journal, Record};
use serde_json::{Value, json};
use workload::{Drive, Plan, Shard};

use crate::{
    records::records,
    support::{Bench, begun_of, number},
};

/// Between the client's write and the server's kernel; two processes and a loopback are far below.
const ON_THE_WAY: Duration = Duration::from_millis(50);
/// The kernel's stamps and our time zero are on two clocks, compared once.
const CLOCKS: Duration = Duration::from_millis(5);

/// What became of a run.
struct Account {
    plan: Plan,
    /// When the server had each request, in nanoseconds since the run's start.
    seen: Vec<i128>,
    /// How much later than due a request may have been there, by the run's own account.
    latest: Duration,
    /// The longest of the answers.
    slowest: Duration,
}

impl Account {
    /// All due instants of the plan, in order.
    fn due(&self) -> Vec<Duration> {
        self.plan.arrivals(Shard::WHOLE).map(|arrival| arrival.due).collect()
    }
}

/// Runs the load and returns its due instants, in order, after holding the server's account against them.
fn due_instants_of_a_run(load: &[&str]) -> Vec<Duration> {
    run(load).due()
}

/// Runs the load; what an open loop has due is held against what the server saw.
fn run(load: &[&str]) -> Account {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 2, "itlMs": 1}));
    let short = ["--set", "prompts.inputLength.mean=8", "--set", "prompts.outputLength.mean=2"];
    let keep = ["--set", "records=all"];
    let ended = bench.run(&[&["--no-probe"], load, &short[..], &keep].concat());
    let (summary, results) = (ended.went_through(), ended.results.unwrap());
    let journal = Journal::read(&results.join("journal")).unwrap();
    let (mut plan, start_unix_ns) = plan_and_start(journal);
    plan.read_schedule().unwrap();
    let due = begun(&plan, &records(&results), &summary["books"]);

    let requests = bench.simulator.truth_with_requests().requests.unwrap();
    let mut seen: Vec<i128> = requests
        .iter()
        .map(|request| i128::from(request.arrival_unix_ns) - i128::from(start_unix_ns))
        .collect();
    seen.sort_unstable();
    let is_open = matches!(plan.drive, Drive::Open { .. });
    assert!(!is_open || seen.len() == due.len(), "{} of {}", seen.len(), due.len());
    // The instant of sending is that before the write, in which a thread may be kept from running too.
    let latest = worst(&summary, "schedule_lag") + worst(&summary, "write_call") + ON_THE_WAY;
    for (number, (seen_ns, due)) in seen.iter().zip(&due).enumerate() {
        let late_ns = seen_ns - due.as_nanos() as i128;
        let bounds = -(CLOCKS.as_nanos() as i128)..=latest.as_nanos() as i128;
        assert!(bounds.contains(&late_ns), "number {number}, due at {due:?}: {late_ns} ns late");
    }
    Account { plan, seen, latest, slowest: worst(&summary, "e2e_latency") }
}

/// The due instants of an open loop, of all but those that a busy machine came to after their stage's end: the books tell
/// how many, and the records which.
fn begun(plan: &Plan, records: &[Value], books: &Value) -> Vec<Duration> {
    let arrivals: Vec<_> = plan.arrivals(Shard::WHOLE).collect();
    if arrivals.is_empty() {
        return Vec::new();
    }
    let completed = records.iter().filter(|record| record["outcome"] == "completed");
    let completed: BTreeSet<u64> = completed.map(|record| number(record, "/request")).collect();
    assert_eq!(begun_of(arrivals.len() as u64, books), completed.len() as u64);
    let begun = arrivals.into_iter().filter(|arrival| completed.contains(&arrival.number));
    begun.map(|arrival| arrival.due).collect()
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

fn worst(summary: &Value, metric: &str) -> Duration {
    let stages = summary["stages"].as_array().unwrap();
    let worst = stages.iter().map(|stage| number(stage, &format!("/metrics/{metric}/max"))).max();
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

/// Every other shape and process, one after the other in one run: waves, steps, a ramp by factors, clusters.
#[test]
fn waves_steps_factors_and_clusters_arrive_when_they_are_due() {
    let stages = "stages=[\
        {name: sine, type: sine, rate: 40, sine: {amplitude: 30, period: 1}, duration: 2}, \
        {name: on-off, type: onOff, rate: 60, onOff: {on: 0.5, off: 0.5}, duration: 2}, \
        {name: factors, type: ramp, rate: 80, ramp: {from: 5, shape: exponential}, duration: 2}, \
        {name: steps, type: ramp, rate: 60, ramp: {from: 20, over: 1, shape: steps, steps: 2}, duration: 2}, \
        {name: clusters, rate: 40, burstiness: 0.5, duration: 2}]";
    let account = run(&["--set", stages]);
    let due = account.due();
    let within = |from_s: f64, to_s: f64| {
        due.iter().filter(|due| (from_s..to_s).contains(&due.as_secs_f64())).count()
    };
    // By hand: of a wave the first half has 20 + 30/π = 29.5 arrivals, the second 10.5; on 30, off none; by factors
    // 5·(16^(1/2) − 1)/(ln 16 / 2) = 10.8 in the first second of two, 43.3 in the second; 20 and 40 a second for half a
    // second each, then 60. One more or less for each border.
    for (from_s, to_s, expected) in [
        (0.0, 0.5, 29.5),
        (0.5, 1.0, 10.5),
        (2.1, 2.5, 24.0),
        (2.6, 3.0, 0.0),
        (4.1, 5.0, 10.2),
        (5.1, 6.0, 41.1),
        (6.1, 6.5, 8.0),
        (6.6, 7.0, 16.0),
        (7.1, 8.0, 54.0),
    ] {
        let found = within(from_s, to_s) as f64;
        assert!((found - expected).abs() <= 2.0, "{from_s} to {to_s} s: {found}, not {expected}");
    }
    assert_eq!(account.plan.stages.len(), 7);
}

#[test]
fn rows_of_a_file_arrive_when_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.csv");
    let rows = [0.0, 0.05, 0.05, 0.4, 0.41, 0.9, 1.5];
    let text = rows
        .iter()
        .fold("scheduled_offset_s,input_tokens,output_tokens\n".to_owned(), |text, at| {
            text + &format!("{at},8,2\n")
        });
    std::fs::write(&file, text).unwrap();
    let due = due_instants_of_a_run(&["--set", &format!("load.schedule={}", file.display())]);
    assert_eq!(due.len(), rows.len());
    assert_instants(&due, |number| rows[number]);
}

#[test]
fn rounds_begin_together_and_a_distance_apart() {
    let load = ["--set", "load.rounds={size: 4, minSeconds: 0.5}", "--duration", "2"];
    let Account { seen, latest, slowest, .. } = run(&load);
    // Who is answered when the next round has begun takes part in the one after it.
    let none_is_missed = latest + slowest < Duration::from_millis(500);
    assert!(seen.len() == 16 || !none_is_missed, "four rounds of four: {}", seen.len());
    let clocks_ns = CLOCKS.as_nanos() as i128;
    for (number, seen_ns) in seen.iter().enumerate() {
        let nearest = (seen_ns + clocks_ns) / 500_000_000;
        let round = if none_is_missed { number as i128 / 4 } else { nearest };
        let late_ns = seen_ns - round * 500_000_000;
        let bounds = -clocks_ns..=latest.as_nanos() as i128;
        assert!(bounds.contains(&late_ns), "number {number}: {late_ns} ns late");
    }
}

#[test]
fn a_user_who_thinks_asks_again_after_that() {
    let think = "load.thinkTime={mean: 0.3, distribution: fixed}";
    let load = ["--concurrency", "1", "--duration", "2", "--set", "load.rampUp=0", "--set", think];
    let Account { seen, latest, slowest, .. } = run(&load);
    // Whatever an answer takes, the pause begins after it.
    let most = 300_000_000 + (CLOCKS + slowest + latest).as_nanos() as i128;
    for pair in seen.windows(2) {
        let gap_ns = pair[1] - pair[0];
        assert!((300_000_000..=most).contains(&gap_ns), "{gap_ns} ns between two requests");
    }
    assert!(seen.len() >= 3, "{seen:?}");
}
