//! What a healthy run writes, held against the server's own account.

use serde_json::json;

use crate::support::{Bench, begun_of, codes, number};

const SHORT: [&str; 4] =
    ["--set", "prompts.inputLength.mean=16", "--set", "prompts.outputLength.mean=8"];

fn quick() -> Bench {
    Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}))
}

#[test]
fn an_open_loop_sends_what_the_plan_has_due_and_the_server_counts_the_same() {
    let bench = quick();
    let ended = bench.run(&[&["--rate", "50", "--duration", "2"], &SHORT[..]].concat());
    let summary = ended.went_through();
    let begun = begun_of(100, &summary["books"]);
    assert_eq!(number(&summary, "/run/probeRequests"), 1);
    let truth = bench.simulator.truth();
    assert_eq!(truth.received, begun + 1, "those and the probe");
    let sums: u64 = ["completed", "failed", "cancelled", "notSent", "lost"]
        .iter()
        .map(|part| number(&summary, &format!("/books/{part}")))
        .sum();
    assert_eq!(sums, 100);
}

#[test]
fn a_closed_loop_of_a_number_of_requests_sends_exactly_these() {
    let bench = quick();
    let ended = bench.run(&[&["--concurrency", "4", "--requests", "30"], &SHORT[..]].concat());
    assert_eq!(number(&ended.went_through(), "/books/completed"), 30);
    assert_eq!(bench.simulator.truth().received, 31);
}

#[test]
fn a_cap_holds_back_and_says_so() {
    // One at a time, each takes 20 ms + 8 tokens: some 40 a second of the 200 that are asked for.
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 20, "itlMs": 1}));
    let arguments = ["--rate", "200", "--concurrency", "1", "--duration", "2"];
    let ended = bench.run(&[&arguments[..], &SHORT].concat());
    let summary = ended.went_through();
    assert_eq!(number(&summary, "/books/due"), 400);
    assert!(number(&summary, "/books/notSentBy/stage_ended") > 200, "{summary:#}");
    assert!(codes(&summary).contains(&"capped"), "{summary:#}");
    assert_ne!(summary.pointer("/verdict/status"), Some(&json!("VALID")), "{summary:#}");
}

#[test]
fn what_is_not_streamed_has_no_ttft_and_its_tokens_are_counted() {
    let bench = quick();
    let arguments = ["--rate", "20", "--requests", "20", "--set", "target.stream=false"];
    let summary = bench.run(&[&arguments[..], &SHORT].concat()).summary();
    assert_eq!(number(&summary, "/books/completed"), 20);
    assert_eq!(summary.pointer("/overall/metrics/ttft/p50"), Some(&json!(null)));
    assert!(number(&summary, "/overall/metrics/output_tokens/max") > 1);
}

#[test]
fn completions_are_picked_by_the_url() {
    let bench = quick();
    let url = format!("{}/v1/completions", bench.simulator.base_url());
    let ended = bench.run(
        &[&["--endpoint", &url, "--requests", "3", "--concurrency", "1"], &SHORT[..]].concat(),
    );
    // The flag is given twice: the second one is refused by the command line.
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    let mut command = crate::support::run_in(bench.folder.path());
    command.args(["--endpoint", &url, "--requests", "3", "--concurrency", "1"]).args(SHORT);
    let ended = crate::support::Ended::from(command.output().unwrap(), bench.folder.path());
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    assert_eq!(ended.summary().pointer("/run/api"), Some(&json!("completions")));
}

#[test]
fn the_same_seed_and_salt_send_the_same_bodies_and_another_salt_others() {
    let hashes = |salt: &str| {
        let bench = quick();
        let salt = format!("benchmark.promptSalt={salt}");
        let arguments = ["--rate", "40", "--requests", "40", "--no-probe", "--set", &salt];
        bench.run(&[&arguments[..], &SHORT].concat()).went_through();
        let truth = bench.simulator.truth_with_requests();
        let mut hashes: Vec<_> =
            truth.requests.unwrap().into_iter().map(|r| r.body_sha256).collect();
        hashes.sort();
        hashes
    };
    let first = hashes("7");
    assert_eq!(first.len(), 40);
    assert_eq!(first, hashes("7"));
    let others = hashes("8");
    assert!(first.iter().all(|hash| !others.contains(hash)));
}

#[test]
fn the_configuration_as_run_repeats_the_run() {
    let bench = quick();
    let ended = bench.run(&[&["--rate", "20", "--requests", "20"], &SHORT[..]].concat());
    let config = ended.results.unwrap().join("config.yaml");
    let again = tempfile::tempdir().unwrap();
    let mut command = crate::support::run_in(again.path());
    let repeated = command.arg("--config").arg(&config).output().unwrap();
    crate::support::Ended::from(repeated, again.path()).went_through();
    let truth = bench.simulator.truth_with_requests();
    let mut bodies = std::collections::BTreeMap::<_, u32>::new();
    for request in truth.requests.unwrap() {
        *bodies.entry(request.body_sha256).or_default() += 1;
    }
    assert!(
        bodies.values().all(|times| *times == 2),
        "each body and the probe came twice: {bodies:?}"
    );
}

#[test]
fn a_journal_holds_the_whole_run() {
    let bench = quick();
    let ended = bench.run(&[&["--rate", "20", "--duration", "2"], &SHORT[..]].concat());
    let journal =
        protocol::Journal::read(&ended.results.as_ref().unwrap().join("journal")).unwrap();
    assert_eq!(journal.tail, None);
    assert!(matches!(journal.records.first(), Some(protocol::Record::Plan { .. })));
    assert!(matches!(journal.records.last(), Some(protocol::Record::End)));
    let mut ledger = coordinator::Ledger::of(1);
    for record in journal.records {
        if let protocol::Record::Part(part) = record {
            ledger.admit(part.worker);
            ledger.own(coordinator::Ownership::at_arm(&[part.worker]).unwrap());
            ledger.merge(&part).unwrap();
        }
    }
    assert_eq!(ledger.total().books().completed, number(&ended.summary(), "/books/completed"));
}
