//! Traffic classes, several targets, and shared beginnings, held against the servers' own accounts.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulator::Truth;

use crate::support::{Bench, Ended, assert_exit, number, run_in};

const SHORT: [&str; 4] =
    ["--set", "prompts.inputLength.mean=16", "--set", "prompts.outputLength.mean=4"];

/// Requests by the value of a header, and by none.
fn by_header(truth: &Truth, name: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for request in truth.requests.iter().flatten() {
        let value = request.headers.iter().find(|(header, _)| header == name);
        *counts.entry(value.map_or_else(String::new, |(_, value)| value.clone())).or_default() += 1;
    }
    counts
}

/// What the books of some groups hold, and of the run.
fn assert_sums(summary: &Value, groups: &str) {
    for part in ["due", "completed", "failed", "cancelled", "notSent", "lost"] {
        let of_each = summary[groups].as_array().unwrap().iter();
        let sum: u64 = of_each.map(|group| number(group, &format!("/books/{part}"))).sum();
        assert_eq!(sum, number(summary, &format!("/books/{part}")), "{groups}: {part}");
    }
}

#[test]
fn classes_reach_the_server_by_their_weights_with_their_own_headers_and_models() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 2, "itlMs": 1, "adapters": ["lora-1"]}));
    let classes = "classes=[\
        {name: chat, weight: 3, headers: {x-llm-d-inference-objective: high}}, \
        {name: batch, weight: 1, model: lora-1, priority: 5, headers: {x-llm-d-inference-objective: low}, \
         prompts: {inputLength: {mean: 64}}}]";
    let arguments = ["--rate", "400", "--duration", "2", "--model", "simulated", "--set", classes];
    let ended = bench.run(&[&arguments[..], &SHORT].concat());
    let summary = ended.summary();
    assert_eq!(number(&summary, "/books/due"), 800, "{}", ended.all_output());
    assert_sums(&summary, "classes");
    assert_eq!(number(&summary, "/run/probeRequests"), 2, "one of each class");
    let seen = by_header(&bench.simulator.truth_with_requests(), "x-llm-d-inference-objective");
    let due = |class: usize| number(&summary, &format!("/classes/{class}/books/due"));
    let sent =
        |class: usize| due(class) - number(&summary, &format!("/classes/{class}/books/notSent"));
    assert_eq!((seen["high"], seen["low"]), (sent(0) + 1, sent(1) + 1), "and the probe");
    // 600 of 800; five standard deviations: 5 × √(800 × 3/16) = 61.
    assert!(due(0).abs_diff(600) < 61, "{}", due(0));
    let mean = |class: usize| {
        let asked = summary.pointer(&format!("/classes/{class}/metrics/input_tokens_asked/mean"));
        asked.and_then(Value::as_f64).unwrap()
    };
    assert_eq!((mean(0), mean(1)), (16.0, 64.0));
    assert!(ended.stdout.contains("batch"), "{}", ended.stdout);
}

#[test]
fn a_closed_loop_has_the_same_classes_on_any_number_of_workers() {
    let classes = "classes=[{name: a, weight: 1, headers: {x-class: a}}, {name: b, weight: 2, headers: {x-class: b}}]";
    let counts = |workers: &str| {
        let bench = Bench::new(json!({"fixed": true, "ttftMs": 1, "itlMs": 1}));
        let arguments = [
            "--concurrency",
            "6",
            "--requests",
            "120",
            "--workers",
            workers,
            "--no-probe",
            "--model",
            "simulated",
            "--set",
            classes,
            "--set",
            "load.rampUp=0",
        ];
        let ended = bench.run(&[&arguments[..], &SHORT].concat());
        let summary = ended.summary();
        assert_sums(&summary, "classes");
        assert_eq!(number(&summary, "/books/completed"), 120, "{}", ended.all_output());
        by_header(&bench.simulator.truth_with_requests(), "x-class")
    };
    let alone = counts("1");
    assert_eq!(alone.values().sum::<u64>(), 120);
    assert_eq!(alone, counts("3"));
}

#[test]
fn a_class_that_misses_its_own_objective_is_a_miss_of_the_run() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 30, "itlMs": 1}));
    let classes = "classes=[{name: patient, weight: 1, slos: {ttft: {p50: 10s}}}, \
        {name: hasty, weight: 1, slos: {ttft: {p50: 1ms}}}]";
    let arguments = ["--rate", "40", "--requests", "40", "--model", "simulated", "--set", classes];
    let ended = bench.run(&[&arguments[..], &SHORT].concat());
    let summary = ended.summary();
    assert_exit(ended.code, 3, &summary, &ended.all_output());
    let outcome = |class: usize| summary["classes"][class]["slos"][0]["outcome"].clone();
    assert_eq!((outcome(0), outcome(1)), (json!("met"), json!("missed")));
    assert!(ended.stdout.contains("hasty: ttft p50"), "{}", ended.stdout);
}

#[test]
fn targets_share_the_load_by_their_weights() {
    let settings = || json!({"fixed": true, "ttftMs": 2, "itlMs": 1});
    let (one, other) = (Bench::new(settings()), Bench::new(settings()));
    let targets = format!(
        "targets=[{{endpoint: '{}', weight: 4}}, {{endpoint: '{}', weight: 1, name: canary}}]",
        one.simulator.base_url(),
        other.simulator.base_url()
    );
    let mut command = run_in(one.folder.path());
    command.args(["--rate", "300", "--duration", "2", "--set", &targets]).args(SHORT);
    let ended = Ended::from(command.output().unwrap(), one.folder.path());
    let summary = ended.summary();
    assert_sums(&summary, "targets");
    assert_eq!(summary["targets"][1]["name"], "canary");
    let completed = |target: usize| number(&summary, &format!("/targets/{target}/books/completed"));
    assert_eq!(one.settled().completed, completed(0) + 1, "{}", ended.all_output());
    assert_eq!(other.settled().completed, completed(1) + 1);
    // 120 of 600; five standard deviations: 5 × √(600 × 4/25) = 49.
    let due = number(&summary, "/targets/1/books/due");
    assert!(due.abs_diff(120) < 49, "{due}");
}

#[test]
fn the_cache_hits_what_the_plan_makes_shared() {
    let bench = Bench::new(
        json!({"jitter": 0, "ttftMs": 5, "ttftPerInputTokenUs": 10, "itlMs": 1, "maxConcurrency": 0}),
    );
    // 1,500 + 500 of 3,000 tokens are shared by the requests of a group: two thirds. A cache holds blocks of 16 tokens, so half
    // a block of each prefix is lost, and a text's tokens are counted by another tokenizer: of short prefixes that is 2 points.
    let prefixes = "prompts.prefixes=[{name: tenant, groups: 2, tokens: 1500}, {groups: 3, tokens: 500, zipf: 1}]";
    let arguments = [
        "--rate",
        "60",
        "--duration",
        "5",
        "--set",
        "benchmark.warmup=1",
        "--set",
        prefixes,
        "--set",
        "prompts.inputLength.mean=1000",
        "--set",
        "prompts.outputLength.mean=2",
    ];
    let ended = bench.run(&arguments);
    let summary = ended.summary();
    let ratio = summary.pointer("/overall/rates/cacheHitRatio").and_then(Value::as_f64).unwrap();
    assert!((ratio - 2.0 / 3.0).abs() < 0.02, "{ratio}: {}", ended.all_output());
    let truth = bench.simulator.truth();
    let counted = truth.cached_prompt_tokens as f64 / truth.prompt_tokens as f64;
    assert!(
        (ratio - counted).abs() < 0.03,
        "{ratio} {counted}: the warm-up's misses are the server's alone"
    );
    // Each group is missed once, all in the warm-up.
    let count = |metric: &str| number(&summary, &format!("/overall/metrics/{metric}/count"));
    assert_eq!(count("ttft_hit") + count("ttft_miss"), count("ttft"));
    assert!(count("ttft_hit") > 0);
}
