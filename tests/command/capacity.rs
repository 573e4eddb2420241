//! The capacity search against a simulator whose capacity is known.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};

use crate::{
    fleet_support::read_json,
    support::{Bench, Ended},
};

/// A service of so many slots in which each request of 8 tokens takes 20 ms and 10 ms a token.
pub(crate) fn slots(count: u32) -> Bench {
    Bench::new(json!({
        "jitter": 0, "ttftMs": 20, "ttftPerInputTokenUs": 0, "itlMs": 10, "itlPerSequenceUs": 0,
        "maxConcurrency": count,
    }))
}

/// A search of short probes: where it begins, with how many requests it probes (by time the last of them would not be
/// begun on a busy machine, and the probe be none), and what must hold: a median, that a machine which holds up a quarter
/// of the requests does not move.
pub(crate) fn search<'a>(
    from: [&'a str; 2],
    requests: &'a str,
    slos: &'a str,
    more: &[&'a str],
) -> Vec<&'a str> {
    let mut all = vec!["--find-capacity", "--requests", requests, "--set", slos];
    for set in ["prompts.inputLength.mean=8", "search.pause=0.2", "benchmark.drain=5"] {
        all.extend(["--set", set]);
    }
    all.extend(from);
    all.extend(more);
    all
}

/// What a search has written, by its directory.
pub(crate) fn found_in(folder: &Path) -> Value {
    for file in ["capacity.html", "plots/latency_against_load.png"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    read_json(&folder.join("capacity.json"))
}

pub(crate) fn bounds(found: &Value) -> (f64, f64) {
    let bound = |name: &str| found["bounds"][name].as_f64();
    bound("holds").zip(bound("fails")).unwrap_or_else(|| panic!("a bound is missing: {found:#}"))
}

/// Probes of all levels.
fn probes(found: &Value) -> usize {
    let levels = found["levels"].as_array().unwrap().iter();
    levels.map(|level| level["runs"].as_array().unwrap().len()).sum()
}

/// The different lines that the runs' configurations have for a key.
fn lines_of(ended: &Ended, key: &str) -> BTreeSet<String> {
    let runs = std::fs::read_dir(ended.results.as_ref().unwrap().join("runs")).unwrap();
    let line = |run: std::fs::DirEntry| {
        let yaml = std::fs::read_to_string(run.path().join("config.yaml")).unwrap();
        yaml.lines().find(|line| line.contains(key)).unwrap().to_owned()
    };
    runs.map(|run| line(run.unwrap())).collect()
}

/// Four slots, and each request has one for 20 + 9 · 10 = 110 ms: evenly spaced requests are carried up to 4 / 0.11 =
/// 36.4 a second without a wait, and beyond that the queue grows without end.
#[test]
fn the_rate_that_four_slots_carry_is_found() {
    let lengths = ["--set", "prompts.outputLength.mean=10", "--set", "search.precision=0.1"];
    let bench = slots(4);
    let ended = bench.run(&search(["--rate", "12"], "60", "slos={ttft: {p50: 75ms}}", &lengths));
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let folder = ended.results.as_ref().unwrap();
    assert!(folder.join("config.yaml").is_file());
    let found = found_in(folder);
    assert_eq!(found["outcome"], "bracketed", "{found:#}");
    let (holds, fails) = bounds(&found);
    assert!(fails <= holds * 1.1001, "{found:#}");
    // A probe of 60 requests lets a little more pass than an endless one: at 39 a second, the 30th waits for 55 ms and
    // then for 20. A busy machine lets less pass.
    assert!((25.0..=42.0).contains(&holds), "{found:#}");
    for words in ["capacity  ", "held      ttft p50 ≤ 75.0 ms", "knee      "] {
        assert!(ended.stdout.contains(words), "{words}:\n{}", ended.stdout);
    }
    assert_eq!(lines_of(&ended, "promptSalt").len(), probes(&found), "fresh prompts in each probe");
    // Asked with each probe's own prompts, the server would count a little otherwise each time.
    assert_eq!(lines_of(&ended, "tokenScale").len(), 1, "one scale for all");
    assert_eq!(ended.stderr.matches("the server counts").count(), 1, "{}", ended.stderr);
}

#[test]
fn whole_users_are_searched_too() {
    let more = ["--json", "--set", "prompts.outputLength.mean=10", "--set", "load.rampUp=0.1"];
    let bench = slots(3);
    let slos = "slos={ttft: {p50: 80ms}}";
    let ended = bench.run(&search(["--concurrency", "1"], "24", slos, &more));
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let printed: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(printed, found_in(ended.results.as_ref().unwrap()));
    assert_eq!(
        (&printed["by"], &printed["unit"]),
        (&json!("concurrency"), &json!("requests in flight"))
    );
    // Three have a slot each, and wait for 20 ms. With each further one everybody waits for another third of a request,
    // 37 ms: beyond the limit from the fifth on, on a busy machine from the fourth, and with a sixth by half as much again.
    let holds = printed["capacity"].as_f64().unwrap();
    assert!((3.0..=5.0).contains(&holds), "{printed:#}");
}

/// One probe, whatever comes of it: what is known then.
fn after_one_probe(bench: &Bench, load: &[&str]) -> (Ended, Value) {
    let more = ["--set", "search.probes=1", "--set", "prompts.outputLength.mean=4"];
    let slos = "slos={ttft: {p50: 200ms}}";
    let ended = bench.run(&search(["--rate", "40"], "80", slos, &[load, &more].concat()));
    assert_eq!(ended.code, Some(4), "nothing holds so far: {}", ended.all_output());
    // A curve needs two levels.
    let found = read_json(&ended.results.as_ref().unwrap().join("capacity.json"));
    (ended, found)
}

/// What is known of the only level: that it fails, with which words, and with which reasons of its run's verdict.
fn only_level(found: &Value) -> (&str, Vec<&str>) {
    let level = &found["levels"][0];
    assert_eq!((&level["judgement"], &level["certain"]), (&json!("fails"), &json!(true)));
    assert_eq!(
        (&found["bounds"]["holds"], &found["bounds"]["fails"]),
        (&Value::Null, &json!(40.0))
    );
    let verdict = &level["verdicts"][0];
    assert_eq!(verdict["status"], "SUSPECT", "{found:#}");
    let codes = verdict["codes"].as_array().unwrap().iter().filter_map(Value::as_str);
    (level["nearestObjective"].as_str().unwrap(), codes.collect())
}

/// Requests of 50 ms and one in flight: at 40 a second every other one is dropped, and those that are not are fast.
#[test]
fn a_level_that_the_cap_has_dropped_does_not_hold() {
    let bench = slots(4);
    let cap = ["--set", "load.concurrency=1", "--set", "load.capPolicy=drop"];
    let (ended, found) = after_one_probe(&bench, &cap);
    let (words, codes) = only_level(&found);
    assert!(words.contains("the cap on requests in flight dropped"), "{words}");
    assert!(codes.contains(&"cap_dropped"), "{codes:?}");
    let remark = "remark    SUSPECT for `cap_dropped` at 40 requests/s";
    assert!(ended.stdout.contains(remark), "{}", ended.stdout);
}

#[test]
fn a_service_that_refuses_most_of_the_load_does_not_hold_by_the_rest() {
    let bench = Bench::new(json!({
        "ttftMs": 20, "itlMs": 5, "faults": {"status": {"code": 503, "rate": 0.6}},
    }));
    let (ended, found) = after_one_probe(&bench, &["--no-probe"]);
    let (words, codes) = only_level(&found);
    assert!(words.ends_with("and no objective speaks of errors"), "{words}");
    assert!(codes.contains(&"failures"), "{codes:?}");
    let remark = "remark    SUSPECT for `failures` at 40 requests/s";
    assert!(ended.stdout.contains(remark), "{}", ended.stdout);
}

#[test]
fn a_search_without_objectives_or_level_sends_nothing() {
    let bench = Bench::new(json!({}));
    let ended = bench.run(&["--find-capacity", "--set", "sweep.grid={load.rate: [1]}"]);
    assert_eq!(ended.code, Some(2));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ended.stderr);
    // What stands is told where it stands, what is missing after it.
    assert!(
        lines[0].contains("remove `sweep.grid`") && lines[1].contains("set `slos`"),
        "{lines:?}"
    );
    assert_eq!(bench.simulator.truth().received, 0);
}

#[test]
fn more_workers_than_there_are_can_have_no_capacity() {
    let bench = Bench::new(json!({}));
    let slos = "slos={ttft: {p50: 75ms}}";
    let counts = ["--workers", "2", "--worker-counts", "1,4"];
    let ended = bench.run(&search(["--rate", "1"], "2", slos, &counts));
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stderr, "error: --worker-counts asks for 4 workers, and --workers is 2\n");
    assert_eq!((bench.simulator.truth().received, ended.results), (0, None));
}
