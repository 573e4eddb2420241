//! Configurations and inputs that cannot be used: every problem at once, exit code 2, nothing left behind.

use std::path::Path;

use serde_json::json;

use crate::support::{Bench, Ended, run_in};

fn run_config(folder: &Path, yaml: &str, arguments: &[&str]) -> Ended {
    let config = folder.join("benchmark.yaml");
    std::fs::write(&config, yaml).unwrap();
    let output = run_in(folder).arg("--config").arg(&config).args(arguments).output().unwrap();
    Ended::from(output, folder)
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "\
benchmark: {name: x, duration: -3}
target: {endpoint: 'http://127.0.0.1:1', modle: m}  # misspelt
load: {type: steady, rate: fast}
";
    let ended = run_config(folder.path(), yaml, &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    for (key, advice) in [
        ("benchmark.duration", "-3"),
        ("target.modle", "target.model"), // misspelt
        ("load.type", "constant"),
        ("load.rate", "fast"),
    ] {
        let line = ended.stderr.lines().find(|line| line.contains(key));
        let line = line.unwrap_or_else(|| panic!("{key} is not named:\n{}", ended.stderr));
        assert!(line.contains(advice), "{line}");
    }
    assert!(ended.results.is_none());
}

#[test]
fn a_missing_prompt_file_is_found_before_the_load_and_leaves_no_results() {
    let bench = Bench::new(json!({}));
    let ended =
        bench.run(&["--prompts", "/no/such/prompts.jsonl", "--rate", "5", "--duration", "1"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("/no/such/prompts.jsonl"), "{}", ended.stderr);
    assert!(ended.results.is_none());
    assert!(bench.simulator.truth().received <= 1);
}

#[test]
fn a_data_set_that_ends_inside_a_record_is_used_up_to_there_with_a_warning() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
    let data = bench.folder.path().join("sharegpt.json");
    let record = r#"{"id":"a","conversations":[{"from":"human","value":"How are you?"},{"from":"gpt","value":"I am well."}]}"#;
    std::fs::write(&data, format!("[{record},{record},{}", &record[..40])).unwrap();
    let prompts = format!("sharegpt:{}", data.display());
    let ended = bench.run(&["--prompts", &prompts, "--concurrency", "1", "--requests", "4"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    assert!(ended.stdout.contains("dataset_truncated"), "{}", ended.stdout);
}

#[test]
fn a_missing_certificate_file_ends_a_run_of_a_number_of_requests_too() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--endpoint",
        "https://127.0.0.1:1",
        "--model",
        "m",
        "--requests",
        "5",
        "--concurrency",
        "1",
        "--no-probe",
        "--set",
        "target.caFile=/no/such/ca.pem",
    ];
    let output = run_in(folder.path()).args(arguments).output().unwrap();
    let ended = Ended::from(output, folder.path());
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("/no/such/ca.pem"), "{}", ended.stderr);
    assert!(ended.results.is_none());
}

#[test]
fn requests_beyond_the_models_context_are_refused_before_the_load() {
    let bench = Bench::new(json!({"contextLength": 500}));
    let ended = bench.run(&["--rate", "5", "--duration", "1"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("context of 500"), "{}", ended.stderr);
    assert!(ended.results.is_none());
    assert_eq!(bench.simulator.truth().received, 0);
}
