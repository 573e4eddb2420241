//! Fleets of real processes: one plan is one load, however many offer it.

use std::thread;

use serde_json::{Value, json};

use crate::{
    fleet_support::{Process, complaints, coordinator, port, read_json, results_in, worker},
    support::{Bench, Ended, assert_exit, number},
};

/// What a server saw, and what was reported of it.
#[derive(Debug, PartialEq)]
struct Load {
    /// Of each request, in order of the hashes.
    bodies: Vec<String>,
    due: u64,
    completed: u64,
    tokens: Vec<(String, Value)>,
}

/// One run with so many worker processes, and the start skew that it reports, in microseconds.
fn offered_by(workers: u32, load: &[&str]) -> (Load, Vec<i64>) {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 20, "itlMs": 2, "eosProbability": 0.1}));
    let count = workers.to_string();
    let same = ["--set", "benchmark.promptSalt=7", "--no-probe", "--workers", &count];
    let lengths = ["--set", "prompts.inputLength.mean=30", "--set", "prompts.outputLength.mean=12"];
    let ended = bench.run(&[load, &same, &lengths].concat());
    let summary = ended.summary();
    assert_exit(ended.code, 0, &summary, &ended.all_output());
    let listed = summary["workers"].as_array().unwrap();
    assert_eq!(listed.len(), workers as usize, "{summary:#}");
    let due: u64 = listed.iter().map(|worker| number(worker, "/books/due")).sum();
    assert_eq!(due, number(&summary, "/books/due"), "shares sum to the whole");
    let skews = listed.iter().map(|worker| worker["startSkewUs"].as_i64().unwrap()).collect();
    let requests = bench.simulator.truth_with_requests().requests.unwrap();
    let mut bodies: Vec<_> = requests.into_iter().map(|request| request.body_sha256).collect();
    bodies.sort();
    let load = Load {
        bodies,
        due,
        completed: number(&summary, "/books/completed"),
        tokens: token_histograms(&ended),
    };
    (load, skews)
}

fn token_histograms(ended: &Ended) -> Vec<(String, Value)> {
    let metrics = read_json(&ended.results.as_ref().unwrap().join("metrics.json"));
    let histograms = metrics["stages"][0]["histograms"].as_object().unwrap();
    let of_tokens = histograms.iter().filter(|(_, one)| one["unit"] == "tokens");
    let found: Vec<_> =
        of_tokens.map(|(name, one)| (name.clone(), one["buckets"].clone())).collect();
    assert!(found.len() >= 2, "{histograms:?}");
    found
}

fn assert_one_load(load: &'static [&'static str], requests: u64) {
    let runs = [1, 2, 5].map(|workers| thread::spawn(move || offered_by(workers, load)));
    let [(one, _), (two, skew_of_two), (five, skew_of_five)] = runs.map(|run| run.join().unwrap());
    assert_eq!((one.due, one.completed, one.bodies.len() as u64), (requests, requests, requests));
    assert_eq!(one, two);
    assert_eq!(one, five);
    println!("start skew in µs: {skew_of_two:?} and {skew_of_five:?}");
}

#[test]
fn an_open_loop_is_the_same_load_from_1_2_and_5_workers() {
    // By number: by time a busy machine would not begin the last of them.
    assert_one_load(&["--rate", "60", "--requests", "180"], 180);
}

#[test]
fn a_closed_loop_is_the_same_load_from_1_2_and_5_workers() {
    assert_one_load(&["--concurrency", "10", "--requests", "120"], 120);
}

#[test]
fn a_coordinator_leads_what_run_would_do() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "40", "--requests", "120", "--set", "prompts.outputLength.mean=5"];
    let leading = coordinator(&bench, 2, &load);
    let port = port(&leading);
    let workers = [worker(port, &["--ordinal", "1"]), worker(port, &["--ordinal", "0"])];
    let ended = leading.finished();
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(ended.code, 0, &summary, &ended.stderr);
    for told in ["0 of 2 workers are here", "2 workers are here: the run begins", "2/2 workers"] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    assert!(ended.stdout.contains("with 2 workers"), "{}", ended.stdout);
    for worker in workers.map(Process::finished) {
        assert_eq!(worker.code, Some(0), "{worker:?}");
        assert_eq!(complaints(&worker.stderr), Vec::<&str>::new());
    }
    assert_eq!(number(&summary, "/books/completed"), 120);
    assert_eq!(number(&summary, "/run/probeRequests"), 1);
    assert_eq!(bench.simulator.truth().received, 121);
}
