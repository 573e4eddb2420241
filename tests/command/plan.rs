//! What `plan` says, held against what `run` then does.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Bench, begun_of, number, tokenstorm};

fn plan(arguments: &[&str]) -> Command {
    let mut command = tokenstorm();
    command.arg("plan").args(arguments);
    command
}

/// Exit code, stdout, stderr.
fn planned(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = plan(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn json_of(arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = planned(&[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn a_plan_knows_the_context_of_its_own_simulator() {
    let sets = ["load.rate=5", "simulator.contextLength=700", "sessions.turns.mean=4"];
    let lengths = ["prompts.inputLength.mean=200", "prompts.outputLength.mean=50"];
    let sets: Vec<&str> = sets.iter().chain(&lengths).flat_map(|set| ["--set", *set]).collect();
    let (code, stdout, stderr) = planned(&sets);
    assert_eq!(code, Some(0), "{stderr}");
    let told = [stdout, stderr].concat().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("a session of 4.0 turns, the average, comes to about 1000 tokens"),
        "{told}"
    );
}

#[test]
fn a_plan_sends_nothing_and_the_run_does_what_it_said() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
    let load = [
        "--rate",
        "40",
        "--duration",
        "2",
        "--set",
        "benchmark.warmup=1",
        "--set",
        "load.arrivals=poisson",
        "--set",
        "prompts.inputLength.mean=20",
        "--set",
        "prompts.outputLength.stddev=3",
        "--set",
        "prompts.outputLength.mean=8",
    ];
    let url = bench.simulator.base_url();
    let plan = json_of(&[&["--endpoint", &url], &load[..]].concat());
    assert_eq!(bench.simulator.truth().received, 0);

    let ended = bench.run(&[&["--no-probe"], &load[..]].concat());
    let summary = ended.went_through();
    let due = number(&plan, "/requests");
    let late = due - begun_of(due, &summary["books"]);
    for stage in 0..2 {
        let (planned, due) =
            (format!("/stages/{stage}/requests"), format!("/stages/{stage}/books/due"));
        assert_eq!(number(&plan, &planned), number(&summary, &due), "stage {stage}");
    }
    let ordered = plan.pointer("/tokens/total/output").and_then(Value::as_f64).unwrap();
    // What a busy machine came to too late would have had 8 tokens, give or take ten deviations.
    let not_made = ordered as u64 - bench.settled().output_tokens;
    assert!((late..=late * 38).contains(&not_made), "{not_made} of {late}");
}

#[test]
fn a_plan_needs_no_server() {
    let (code, stdout, stderr) =
        planned(&["--endpoint", "http://127.0.0.1:1", "--rate", "20", "--duration", "60"]);
    assert_eq!(code, Some(0), "{stderr}");
    for told in ["nothing was sent", "open loop", "1,200", "0.05", "http://127.0.0.1:1/v1/chat"] {
        assert!(stdout.contains(told), "{told} is not told:\n{stdout}");
    }
}

#[test]
fn a_plan_starts_no_simulator() {
    let plan = json_of(&["--rate", "5", "--duration", "1", "--set", "simulator.ttftMs=5"]);
    assert_eq!(plan.pointer("/target/simulated"), Some(&json!(true)));
    assert_eq!(plan.pointer("/target/endpoint"), Some(&json!(null)));
}

#[test]
fn shares_of_workers_sum_to_the_whole() {
    let load =
        ["--endpoint", "http://h", "--rate", "10", "--concurrency", "31", "--requests", "50"];
    let plan = json_of(&[&load[..], &["--workers", "4"]].concat());
    let shares = plan.pointer("/workers").and_then(Value::as_array).unwrap();
    let sum = |key| shares.iter().map(|share| number(share, key)).sum::<u64>();
    assert_eq!((shares.len(), sum("/requests"), sum("/maxInFlight")), (4, 50, 31));
    // 8, 8, 8 and 7 in flight: whole numbers no longer divide evenly.
    assert_eq!(plan.pointer("/warnings/0/code"), Some(&json!("small_share")));
}

#[test]
fn a_plan_refuses_what_a_run_refuses() {
    let refused = |arguments: &[&str], word: &str| {
        let (code, stdout, stderr) = planned(arguments);
        assert_eq!(code, Some(2), "{stdout}{stderr}");
        assert!(stderr.contains(word), "{stderr}");
    };
    let target = ["--endpoint", "https://127.0.0.1:1", "--rate", "5"];
    let with = |more: &[&'static str]| [&target[..], more].concat();
    refused(&with(&["--prompts", "/no/such/prompts.jsonl"]), "/no/such/prompts.jsonl");
    refused(&with(&["--set", "prompts.tokenizer=/no/such/tokenizer.json"]), "tokenizer.json");
    refused(&with(&["--set", "target.caFile=/no/such/ca.pem"]), "/no/such/ca.pem");
    refused(&with(&["--set", "load.raet=5"]), "load.rate");
    refused(&["--rate", "5", "--set", "simulator.ttftMs=-1"], "simulator.ttftMs");
    refused(&["--endpoint", "http://h"], "load.concurrency");
}
