//! Targets that are not ready, and targets that fail under load.

use serde_json::json;
use simulator::{Simulator, SimulatorConfig};

use crate::{
    fleet_support::{Process, free_port, read_json, results_in},
    support::{Bench, Ended, number, run_in},
};

/// A second of load, by number: by time a busy machine would not begin the last of them.
const FEW: [&str; 8] = [
    "--rate",
    "20",
    "--requests",
    "20",
    "--set",
    "prompts.inputLength.mean=16",
    "--set",
    "prompts.outputLength.mean=8",
];

#[test]
fn an_unreachable_endpoint_is_found_before_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_in(folder.path())
        .args(["--endpoint", "http://127.0.0.1:1", "--model", "m"])
        .args(FEW)
        .output();
    let ended = Ended::from(output.unwrap(), folder.path());
    assert_eq!(ended.code, Some(6), "{}", ended.all_output());
    assert!(ended.stderr.contains("refused"), "{}", ended.stderr);
    assert!(ended.results.is_none());
}

#[test]
fn a_target_that_starts_later_is_waited_for_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = run_in(folder.path());
    command.args(["--endpoint", &format!("http://{listen}"), "--wait-for-target", "60s"]).args(FEW);
    let running = Process::start(command);
    running.said("the target is not ready and is asked again");
    let simulator =
        Simulator::start(SimulatorConfig { listen, fixed: true, ..SimulatorConfig::default() })
            .unwrap();
    let ended = running.finished();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(simulator.truth().received, 21, "one of them is the probe");
    let summary = read_json(&results_in(folder.path()).join("summary.json"));
    assert_eq!(summary["run"]["model"], "simulated", "the server's list was asked for again too");
}

#[test]
fn a_target_that_never_answers_is_told_of_and_has_the_time_of_one_request() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let began = tokio::time::Instant::now();
    let mut command = run_in(folder.path());
    command.args(["--endpoint", &url, "--set", "client.timeouts.request=5"]).args(FEW);
    let ended = Ended::from(command.output().unwrap(), folder.path());
    assert_eq!(ended.code, Some(6), "{}", ended.all_output());
    // The list of models and the request hang, each: one after the other they would take 10 s.
    assert!(began.elapsed() < std::time::Duration::from_secs(9), "{:?}", began.elapsed());
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert!(lines[0].starts_with(&format!("waiting for the first answer of {url}")), "{lines:?}");
    assert!(lines[1].contains("no answer within 5s"), "{lines:?}");
    assert!(lines[2].contains("client.timeouts.request"), "{lines:?}");
}

#[test]
fn a_wrong_model_is_named_in_the_servers_words_with_the_models_it_has() {
    let bench = Bench::new(json!({"model": "simulated"}));
    let ended = bench.run(&[&["--model", "gpt-17"], &FEW[..]].concat());
    assert_eq!(ended.code, Some(6), "{}", ended.all_output());
    assert!(
        ended.stderr.contains("gpt-17") && ended.stderr.contains("simulated"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_missing_key_is_a_target_that_is_not_ready() {
    let bench = Bench::new(json!({"apiKey": "sesame-open-now"}));
    let ended = bench.run(&[&["--model", "simulated"], &FEW[..]].concat());
    assert_eq!(ended.code, Some(6), "{}", ended.all_output());
    assert!(ended.stderr.contains("401"), "{}", ended.stderr);
}

#[test]
fn when_every_request_fails_the_classes_are_told() {
    let bench = Bench::new(json!({"faults": {"status": {"code": 503, "rate": 1.0}}}));
    let ended = bench.run(&[&["--no-probe"], &FEW[..]].concat());
    assert_eq!(ended.code, Some(5), "{}", ended.all_output());
    assert_eq!(number(&ended.summary(), "/books/failedBy/status_503"), 20);
    assert!(ended.stdout.contains("status_503"), "{}", ended.stdout);
}

#[test]
fn an_answer_shorter_than_ordered_fails_where_its_length_is_required() {
    let bench = Bench::new(
        json!({"fixed": true, "ttftMs": 5, "itlMs": 1, "faults": {"short": {"rate": "1/4"}}}),
    );
    let tolerant = ["--no-probe", "--set", "target.ignoreEos=true"];
    let ended = bench.run(&[&tolerant, &FEW[..]].concat());
    assert_eq!(number(&ended.summary(), "/books/completed"), 20, "{}", ended.all_output());

    let bench = Bench::new(
        json!({"fixed": true, "ttftMs": 5, "itlMs": 1, "faults": {"short": {"rate": "1/4"}}}),
    );
    let strict = [&tolerant[..], &["--set", "answers.require=length"], &FEW[..]].concat();
    let ended = bench.run(&strict);
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let summary = ended.summary();
    assert_eq!(number(&summary, "/books/failedBy/validation"), 5, "{summary:#}");
    assert_eq!(number(&summary, "/books/completed"), 15, "{summary:#}");
    assert_eq!(number(&summary, "/overall/metrics/output_tokens/min"), 8, "{summary:#}");
    let words = "asked for 8 output tokens, got 4 (by usage)";
    assert!(ended.stdout.contains(words), "{}", ended.stdout);
}

#[test]
fn a_cut_stream_is_a_failure_of_its_class_and_the_others_complete() {
    let bench = Bench::new(
        json!({"fixed": true, "ttftMs": 5, "itlMs": 1, "faults": {"cut": {"rate": 0.5, "afterTokens": 3}}}),
    );
    let ended = bench.run(&[&["--no-probe"], &FEW[..]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let summary = ended.summary();
    let cut = number(&summary, "/books/failedBy/stream_cut");
    assert!(cut > 0, "{summary:#}");
    assert_eq!(number(&summary, "/books/completed") + cut, 20);
}
