//! Objectives, goodput and rules that end the load, in whole runs.

use serde_json::{Value, json};

use crate::support::{Bench, Ended, number, tokenstorm};

/// 30 requests, one after the other, so that none is late, at a service that answers all alike. The bench holds the
/// results.
fn run_with(slos: &str) -> (Bench, Ended) {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 30, "itlMs": 1}));
    let ended = bench.run(&[
        "--no-probe",
        "--set",
        "load.concurrency=1",
        "--requests",
        "30",
        "--set",
        "prompts.inputLength.mean=8",
        "--set",
        "prompts.outputLength.mean=4",
        "--set",
        &format!("slos={slos}"),
    ]);
    (bench, ended)
}

/// The objectives of the headline as (metric, statistic, outcome).
fn outcomes(summary: &Value) -> Vec<(&str, Option<&str>, &str)> {
    let slos = summary["overall"]["slos"].as_array().unwrap().iter();
    slos.map(|slo| {
        let of = |key: &str| slo[key].as_str();
        (of("metric").unwrap(), of("statistic"), of("outcome").unwrap())
    })
    .collect()
}

#[test]
fn objectives_that_are_met_or_cannot_be_decided_leave_the_exit_code_alone() {
    let (_bench, ended) = run_with(
        "{ttft: {p50: 5s, p99: 5s}, error_rate: 0.1, goodput: 1, perRequest: {ttft: 5s, itl: 1s, e2e: 10s}}",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let summary = ended.summary();
    // The 99th of 30 samples is none.
    let expected = [
        ("ttft", Some("p50"), "met"),
        ("ttft", Some("p99"), "undecided"),
        ("error_rate", None, "met"),
        ("goodput", None, "met"),
    ];
    assert_eq!(outcomes(&summary), expected);
    assert_eq!(summary["overall"]["slos"][1]["reason"], "few_samples");
    let rates = &summary["overall"]["rates"];
    assert_eq!(rates["goodput"], rates["throughput"], "every answer was within its limits");
    assert_eq!(rates["sloAttainment"], 1.0);
    assert_eq!(summary["stopped"], Value::Null);
    assert!(ended.stdout.contains("undecided: too few samples"), "{}", ended.stdout);
}

#[test]
fn a_missed_objective_is_exit_code_3_and_goodput_counts_what_was_good() {
    let (_bench, ended) = run_with("{ttft: {p50: 1ms, mean: 5s}, perRequest: {ttft: 1ms}}");
    assert_eq!(ended.code, Some(3), "{}", ended.all_output());
    let summary = ended.summary();
    let expected = [("ttft", Some("p50"), "missed"), ("ttft", Some("mean"), "met")];
    assert_eq!(outcomes(&summary), expected);
    assert_eq!(summary["overall"]["slos"][0]["limit"], 1_000);
    assert!(number(&summary, "/overall/slos/0/figure") >= 30_000);
    assert_eq!(summary["overall"]["rates"]["goodput"], 0.0);
    // A busy machine may well make it suspect; that the service is slow does not make it invalid.
    assert_ne!(summary["verdict"]["status"], "INVALID", "a slow service is a result");
    assert!(ended.stdout.contains("MISSED"), "{}", ended.stdout);
}

#[test]
fn objectives_that_mean_nothing_are_refused_together() {
    let (_bench, ended) =
        run_with("{tfft: {p50: 1s}, ttft: {p101: 1s}, error_rate: 3, perRequest: {icl: 1s}}");
    assert_eq!(ended.code, Some(2));
    for line in ["did you mean `ttft`?", "`slos.ttft.p101`", "from 0 to 1", "`slos.perRequest.icl`"]
    {
        assert!(ended.stderr.contains(line), "no {line} in {}", ended.stderr);
    }
    assert_eq!(ended.stderr.lines().count(), 4, "{}", ended.stderr);
}

/// Half of the answers are failures; the rule ends a minute's load after some seconds, at one instant for all workers.
fn stopped_with_workers(workers: &str) {
    let failing = json!({"rate": 0.5});
    let bench =
        Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1, "faults": {"status": failing}}));
    let ended = bench.run(&[
        "--no-probe",
        "--workers",
        workers,
        "--set",
        "load.rate=40",
        "--duration",
        "60",
        "--set",
        "prompts.inputLength.mean=8",
        "--set",
        "prompts.outputLength.mean=2",
        "--set",
        "stopWhen={errorRate: 0.2, window: 3s}",
    ]);
    let summary = ended.went_through();
    let stopped = &summary["stopped"];
    assert_eq!(stopped["rule"], "error_rate", "{stopped:#}");
    let at = stopped["atSeconds"].as_f64().unwrap();
    assert!(at.fract() == 0.0 && (5.0..30.0).contains(&at), "{at}");
    assert_eq!(summary["stages"][0]["window"]["endSeconds"], at);
    // What the plan has due until then, and not one more or less.
    let due = number(&summary, "/books/due");
    assert_eq!(due, 40 * at as u64, "{summary:#}");
    let answered = ["completed", "failed", "cancelled", "notSent", "lost"];
    let answered: u64 = answered.iter().map(|key| number(&summary, &format!("/books/{key}"))).sum();
    assert_eq!(answered, due);
    assert!(ended.stdout.contains("by the rule error_rate: "), "{}", ended.stdout);
    // The journal alone says the same.
    let results = ended.results.unwrap();
    std::fs::remove_file(results.join("summary.json")).unwrap();
    let recovered = tokenstorm().args(["recover", "--json"]).arg(&results).output().unwrap();
    let recovered: Value = serde_json::from_slice(&recovered.stdout).unwrap();
    assert_eq!(recovered["stopped"], *stopped);
    assert_eq!(recovered["books"], summary["books"]);
    assert_eq!(recovered["run"]["interrupted"], false);
}

#[test]
fn a_rule_ends_the_load_of_one_worker() {
    stopped_with_workers("1");
}

#[test]
fn a_rule_ends_the_load_of_two_workers_at_one_instant() {
    stopped_with_workers("2");
}

#[test]
fn a_rule_ends_the_load_of_five_workers_at_one_instant() {
    stopped_with_workers("5");
}
