//! Rules that end a stage, and rules whose coordinator dies: the books say what was due, and no more.

use protocol::{Journal, Record};
use serde_json::{Value, json};

use crate::{
    fleet_support::{COOKIE, Process, coordinator, free_port, read_json, results_in, worker},
    support::{Bench, Ended, assert_exit, number, tokenstorm, wait_until},
};

/// Half of the answers are failures.
fn failing() -> Bench {
    let faults = json!({"status": {"rate": 0.5}});
    Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 10, "faults": faults}))
}

/// A first stage that its own rule ends after some seconds, and a second one with an objective of its own.
const STAGES: &str = "stages=[{name: rush, rate: 40, duration: 14, stopWhen: {errorRate: 0.2, window: 2s}}, \
                      {name: calm, rate: 10, duration: 3, slos: {error_rate: 0.01}}]";

fn run_with_workers(workers: &str) -> (Bench, Ended) {
    let bench = failing();
    let ended = bench.run(&[
        "--no-probe",
        "--workers",
        workers,
        "--set",
        STAGES,
        "--set",
        "prompts.inputLength.mean=8",
        "--set",
        "prompts.outputLength.mean=2",
    ]);
    (bench, ended)
}

/// The stage's books are the plan's up to its end, the next one began when it was planned to.
fn the_first_stage_was_ended_alone(summary: &Value) {
    assert_eq!(summary["stopped"], Value::Null, "the load went on");
    let [rush, calm] = [&summary["stages"][0], &summary["stages"][1]];
    let stopped = &rush["stopped"];
    assert_eq!((&stopped["rule"], &stopped["stage"]), (&json!("error_rate"), &json!("rush")));
    let at = stopped["atSeconds"].as_f64().unwrap();
    assert!(at.fract() == 0.0 && (3.0..14.0).contains(&at), "{at}");
    assert_eq!(rush["window"]["endSeconds"], at);
    assert_eq!(number(rush, "/books/due"), 40 * at as u64, "{summary:#}");
    assert_eq!((&calm["window"]["startSeconds"], &calm["stopped"]), (&json!(14.0), &Value::Null));
    assert_eq!(number(calm, "/books/due"), 30, "{summary:#}");
    for books in [rush, calm, summary] {
        let parts = ["completed", "failed", "cancelled", "notSent", "lost"];
        let sum: u64 = parts.iter().map(|part| number(books, &format!("/books/{part}"))).sum();
        assert_eq!(number(books, "/books/due"), sum, "{books:#}");
    }
}

fn a_rule_ends_its_stage_with_workers(workers: &str) {
    let (_bench, ended) = run_with_workers(workers);
    let summary = ended.summary();
    the_first_stage_was_ended_alone(&summary);
    let own = &summary["stages"][1]["ownSlos"][0];
    assert_eq!((&own["metric"], &own["outcome"]), (&json!("error_rate"), &json!("missed")));
    assert_exit(ended.code, 3, &summary, &ended.all_output());
    for line in ["calm: error_rate", "stage rush at ", "by its own rule error_rate: "] {
        assert!(ended.stdout.contains(line), "no {line} in {}", ended.stdout);
    }
    // The journal alone says the same.
    let results = ended.results.unwrap();
    std::fs::remove_file(results.join("summary.json")).unwrap();
    let recovered = tokenstorm().args(["recover", "--json"]).arg(&results).output().unwrap();
    let recovered: Value = serde_json::from_slice(&recovered.stdout).unwrap();
    assert_eq!(recovered["stages"][0]["stopped"], summary["stages"][0]["stopped"]);
    assert_eq!(recovered["books"], summary["books"]);
}

#[test]
fn a_rule_ends_its_stage_of_one_worker_and_the_next_begins_as_planned() {
    a_rule_ends_its_stage_with_workers("1");
}

#[test]
fn a_rule_ends_its_stage_of_three_workers_at_one_instant() {
    a_rule_ends_its_stage_with_workers("3");
}

/// A fleet of two whose coordinator is killed once a rule has spoken; another one goes on.
fn resumed_after(rule_spoke: &str, load: &[&str]) -> Value {
    let bench = failing();
    let listen = format!("127.0.0.1:{}", free_port());
    let port = listen.rsplit(':').next().unwrap().parse().unwrap();
    // Answers of three seconds, so that something is open for a while after the end.
    let more = ["--listen", &listen, "--no-probe", "--set", "prompts.outputLength.mean=300"];
    let leading = coordinator(&bench, 2, &[&more, load].concat());
    leading.said("workers are here");
    let workers = ["0", "1"].map(|ordinal| worker(port, &["--ordinal", ordinal]));
    leading.said(rule_spoke);
    let results = results_in(bench.folder.path());
    // The end itself is at least a second ahead then.
    let is_rule = |record: &Record| {
        matches!(record, Record::StoppedByRule { .. } | Record::StageStopped { .. })
    };
    wait_until("the rule's word is on disk", || {
        Journal::read(&results.join("journal")).unwrap().records.iter().any(is_rule)
    });
    leading.kill();
    let mut command = tokenstorm();
    command.args(["coordinator", "--listen", &listen, "--resume"]).arg(&results);
    command.env("TOKENSTORM_COOKIE", COOKIE);
    let ended = Process::start(command).finished();
    // How long the workers were without a coordinator, and so without leave to send, is the machine's affair.
    assert!(matches!(ended.code, Some(0 | 3 | 4)), "{ended:?}");
    for worker in workers.map(Process::finished) {
        assert_eq!(worker.code, Some(0), "{worker:?}");
    }
    let summary = read_json(&results.join("summary.json"));
    let sent =
        ["completed", "failed", "cancelled"].map(|key| number(&summary, &format!("/books/{key}")));
    let received = bench.simulator.truth().received;
    let lost = number(&summary, "/books/lost");
    let sent: u64 = sent.iter().sum();
    assert!((sent..=sent + lost).contains(&received), "{received} arrived: {summary:#}");
    summary
}

#[test]
fn who_resumes_a_run_that_a_rule_has_ended_lets_it_end() {
    let load =
        ["--rate", "40", "--duration", "60", "--set", "stopWhen={errorRate: 0.2, window: 2s}"];
    let summary = resumed_after("a rule ends the load", &load);
    assert_eq!(summary["stopped"]["rule"], "error_rate", "{summary:#}");
    let at = summary["stopped"]["atSeconds"].as_f64().unwrap();
    assert_eq!(number(&summary, "/books/due"), 40 * at as u64, "{summary:#}");
    assert_eq!(summary["run"]["interrupted"], false);
}

#[test]
fn who_resumes_a_run_whose_stage_a_rule_has_ended_goes_on_with_the_next() {
    let summary = resumed_after("a rule ends its stage", &["--set", STAGES]);
    the_first_stage_was_ended_alone(&summary);
}
