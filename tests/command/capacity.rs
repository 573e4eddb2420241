//! The capacity search against a simulator whose capacity is known.

use serde_json::{Value, json};

use crate::support::{Bench, Ended};

fn capacity(ended: &Ended) -> Value {
    let folder = ended.results.as_ref().unwrap();
    for file in ["capacity.html", "plots/latency_against_load.png", "config.yaml"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    serde_json::from_str(&std::fs::read_to_string(folder.join("capacity.json")).unwrap()).unwrap()
}

/// Four slots, and each request has one for 20 + 9 · 10 = 110 ms: evenly spaced requests are carried up to 4 / 0.11 =
/// 36.4 a second without a wait, and beyond that the queue grows without end.
#[test]
fn the_rate_that_four_slots_carry_is_found() {
    let bench = Bench::new(json!({
        "jitter": 0, "ttftMs": 20, "ttftPerInputTokenUs": 0, "itlMs": 10, "itlPerSequenceUs": 0, "maxConcurrency": 4,
    }));
    let ended = bench.run(&[
        "--rate",
        "12",
        "--duration",
        "2",
        "--find-capacity",
        "--set",
        "slos={ttft: {p90: 60ms}}",
        "--set",
        "search.precision=0.1",
        "--set",
        "search.pause=0.3",
        "--set",
        "prompts.inputLength.mean=8",
        "--set",
        "prompts.outputLength.mean=10",
        "--set",
        "benchmark.drain=5",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let found = capacity(&ended);
    assert_eq!(found["outcome"], "bracketed", "{found:#}");
    let (holds, fails) =
        (found["bounds"]["holds"].as_f64().unwrap(), found["bounds"]["fails"].as_f64().unwrap());
    assert!(fails <= holds * 1.1001, "{found:#}");
    // A probe of two seconds lets a little more pass than an endless one: at 10 % above, the last request of 80 waits for
    // 0.2 s, and one in ten of them for more than 40 ms from 1 % above on. A busy machine lets less pass.
    assert!((28.0..=40.0).contains(&holds), "{found:#}");
    for words in ["capacity  ", "held      ttft p90 ≤ 60.0 ms", "knee      "] {
        assert!(ended.stdout.contains(words), "{words}:\n{}", ended.stdout);
    }
    let runs = ended.results.as_ref().unwrap().join("runs");
    let salts: std::collections::BTreeSet<String> = std::fs::read_dir(runs)
        .unwrap()
        .map(|run| {
            let yaml = std::fs::read_to_string(run.unwrap().path().join("config.yaml")).unwrap();
            yaml.lines().find(|line| line.contains("promptSalt")).unwrap().to_owned()
        })
        .collect();
    let probes: usize = found["levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|level| level["runs"].as_array().unwrap().len())
        .sum();
    assert_eq!(salts.len(), probes, "fresh prompts in each probe");
}

#[test]
fn whole_users_are_searched_too() {
    let bench = Bench::new(json!({
        "jitter": 0, "ttftMs": 20, "ttftPerInputTokenUs": 0, "itlMs": 10, "itlPerSequenceUs": 0, "maxConcurrency": 3,
    }));
    let ended = bench.run(&[
        "--concurrency",
        "1",
        "--duration",
        "2",
        "--find-capacity",
        "--json",
        "--set",
        "slos={ttft: {p90: 35ms}}",
        "--set",
        "search.pause=0.2",
        "--set",
        "prompts.inputLength.mean=8",
        "--set",
        "prompts.outputLength.mean=6",
        "--set",
        "load.rampUp=0.1",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let printed: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(printed, capacity(&ended));
    assert_eq!(
        (&printed["by"], &printed["unit"]),
        (&json!("concurrency"), &json!("requests in flight"))
    );
    // Three have a slot each; with a fourth everybody waits for a third of a request, 23 ms, and then for 20.
    let holds = printed["capacity"].as_f64().unwrap();
    assert!((2.0..=4.0).contains(&holds), "{printed:#}");
}

#[test]
fn a_search_without_objectives_or_level_sends_nothing() {
    let bench = Bench::new(json!({}));
    let ended = bench.run(&["--find-capacity", "--set", "sweep.grid={load.rate: [1]}"]);
    assert_eq!(ended.code, Some(2));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ended.stderr);
    assert!(
        lines[0].contains("set `slos`") && lines[1].contains("remove `sweep.grid`"),
        "{lines:?}"
    );
    assert_eq!(bench.simulator.truth().received, 0);
}
