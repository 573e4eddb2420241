//! What is asked in tokens against what the server counts, and which model a recorded body asks for.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Bench, Ended, number, run_in};

fn bench() -> Bench {
    Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}))
}

/// 40 completions of prompts of some hundred tokens.
fn completions(bench: &Bench, more: &[&str]) -> Ended {
    let load = ["--rate", "40", "--requests", "40", "--set", "target.api=completions"];
    let lengths = ["--set", "prompts.inputLength={mean: 200, stddev: 40}"];
    let ended = bench
        .run(&[&load[..], &lengths[..], &["--set", "prompts.outputLength.mean=3"], more].concat());
    ended.went_through();
    ended
}

fn input_drift(ended: &Ended) -> f64 {
    ended.summary()["overall"]["drift"]["inputTokens"]["share"].as_f64().unwrap()
}

fn warned(summary: &Value, code: &str) -> bool {
    summary["warnings"].as_array().unwrap().iter().any(|warning| warning["code"] == code)
}

#[test]
fn token_ids_are_counted_as_they_were_asked() {
    let bench = bench();
    let ended = completions(&bench, &["--set", "prompts.asTokenIds=true"]);
    assert_eq!(input_drift(&ended), 0.0);
    let summary = ended.summary();
    let asked = number(&summary, "/overall/drift/inputTokens/asked");
    let counted: u64 = bench.simulator.truth().prompt_tokens;
    // The probe is a text.
    assert!((asked..asked + 20).contains(&counted), "{asked} asked, {counted} counted");
    assert!(warned(&summary, "token_ids"), "{summary:#}");
    let refused =
        bench.run(&["--rate", "1", "--duration", "1", "--set", "prompts.asTokenIds=true"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("messages are text"), "{}", refused.stderr);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
}

#[test]
fn a_tokenizer_that_is_not_named_is_the_servers_as_far_as_it_tells() {
    // The simulator counts a token for four bytes, the bundled tokenizer one a word.
    let bench = bench();
    let unasked = completions(&bench, &["--no-probe"]);
    assert!(input_drift(&unasked) > 0.2, "{}", input_drift(&unasked));
    assert!(warned(&unasked.summary(), "input_drift"), "{}", unasked.all_output());
    std::fs::remove_dir_all(unasked.results.unwrap()).unwrap();

    let ended = completions(&bench, &[]);
    // Words differ in length from one prompt to the next.
    assert!(input_drift(&ended).abs() < 0.02, "{}", input_drift(&ended));
    let summary = ended.summary();
    assert!(!warned(&summary, "input_drift"), "{summary:#}");
    let tokenizer = summary["run"]["tokenizer"].as_str().unwrap();
    assert!(tokenizer.starts_with("bundled (Qwen3); the server counts 1."), "{tokenizer}");
    assert!(ended.stderr.contains("times fewer of them"), "{}", ended.stderr);

    // The configuration as run makes the same bodies without asking.
    let config = ended.results.as_ref().unwrap().join("config.yaml");
    let bodies = |bench: &Bench| {
        let mut bodies: Vec<_> = bench.simulator.truth_with_requests().requests.unwrap();
        bodies.sort_by(|one, other| one.body_sha256.cmp(&other.body_sha256));
        bodies.into_iter().map(|one| one.body_sha256).collect::<std::collections::BTreeSet<_>>()
    };
    let before = bodies(&bench);
    let place = bench.folder.path().join("again");
    let mut again = run_in(&place);
    again.arg("--config").arg(&config).arg("--no-probe");
    Ended::from(again.output().unwrap(), &place).went_through();
    assert_eq!(bodies(&bench), before, "no body that was not sent before");
}

#[test]
fn readable_prompts_are_as_exact_as_words() {
    let bench = bench();
    let ended = completions(&bench, &["--set", "prompts.text=sonnets"]);
    assert!(input_drift(&ended).abs() < 0.02, "{}", input_drift(&ended));
    assert!(!warned(&ended.summary(), "prompt_lengths"), "{}", ended.all_output());
}

fn bodies_file(folder: &Path, model: &str) -> String {
    let body = format!(
        r#"{{{model}"messages": [{{"role": "user", "content": "Hello"}}], "max_tokens": 2}}"#
    );
    let file = folder.join("bodies.jsonl");
    std::fs::write(&file, format!("{body}\n")).unwrap();
    format!("prompts.file={}", file.display())
}

/// How a run of recorded bodies ended: completed and failed.
fn recorded(model: &str, more: &[&str]) -> (u64, u64) {
    let bench = bench();
    let file = bodies_file(bench.folder.path(), model);
    let ended = bench.run(&[&["--rate", "10", "--requests", "10", "--set", &file], more].concat());
    let summary = ended.summary();
    (number(&summary, "/books/completed"), number(&summary, "/books/failed"))
}

#[test]
fn a_recorded_model_yields_to_a_chosen_one_and_not_to_one_that_was_found() {
    let own = r#""model": "another", "#;
    assert_eq!(recorded(own, &[]), (0, 10), "the server has no such model");
    assert_eq!(recorded(own, &["--model", "simulated"]), (10, 0));
    assert_eq!(recorded("", &[]), (10, 0), "the server's first");
}

#[test]
fn without_a_probe_a_model_that_nobody_can_tell_is_no_load_of_failures() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = run_in(folder.path());
    run.args(["--endpoint", "http://127.0.0.1:1", "--rate", "5", "--duration", "1", "--no-probe"]);
    let ended = Ended::from(run.output().unwrap(), folder.path());
    assert_eq!(ended.code, Some(6), "{}", ended.all_output());
    assert!(
        ended
            .stderr
            .starts_with("error: `target.model` is not set, and the target cannot be asked"),
        "{}",
        ended.stderr
    );
    assert!(ended.results.is_none());
}
