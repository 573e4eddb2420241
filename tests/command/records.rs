//! Records of single requests: as many as the books say, the same figures, and no silence about what is missing.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    exports::{checked, report},
    fleet_support::{Process, coordinator, port, read_json, results_in, worker},
    support::{Bench, Ended, number, signal},
};

/// Every record of a run, by number.
pub(crate) fn records(results: &Path) -> Vec<Value> {
    let mut all = Vec::new();
    let file = report::records_file(results).expect("a file of records");
    let count = report::each_record(&file, |line| {
        all.push(serde_json::to_value(line)?);
        Ok(())
    });
    assert_eq!(count.unwrap(), all.len() as u64);
    all.sort_by_key(|line| line["request"].as_u64());
    all
}

fn numbers(records: &[Value]) -> Vec<u64> {
    records.iter().map(|record| number(record, "/request")).collect()
}

fn of_outcome<'a>(records: &'a [Value], outcome: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["outcome"] == outcome).collect()
}

fn results(ended: &Ended) -> &Path {
    ended.results.as_deref().unwrap_or_else(|| panic!("{}", ended.all_output()))
}

const SHORT: [&str; 4] =
    ["--set", "prompts.inputLength.mean=10", "--set", "prompts.outputLength.mean=5"];

/// Three processes, a warm-up, and some requests that are refused.
#[test]
fn there_is_a_record_for_each_request_and_their_figures_are_the_runs() {
    let bench = Bench::new(json!({
        "ttftMs": 10, "itlMs": 2, "faults": {"status": {"code": 503, "rate": 0.1}},
    }));
    let load =
        ["--workers", "3", "--rate", "100", "--duration", "3", "--set", "benchmark.warmup=1"];
    let keep = ["--set", "records=all", "--set", "recordOptions.gaps=true"];
    let ended = bench.run(&[&load[..], &keep, &SHORT].concat());
    let (summary, records) = (ended.summary(), records(results(&ended)));
    assert_eq!(numbers(&records), (0..400).collect::<Vec<_>>());
    assert_eq!(number(&summary, "/records/gathered"), number(&summary, "/books/due"));
    assert_eq!(summary["records"]["complete"], true);
    for outcome in ["completed", "failed"] {
        let pointer = format!("/books/{outcome}");
        assert_eq!(of_outcome(&records, outcome).len() as u64, number(&summary, &pointer));
    }
    let failed = of_outcome(&records, "failed");
    assert!(
        failed.iter().all(|record| record["reason"] == "status_503" && record["status"] == 503)
    );
    let workers: BTreeSet<_> = records.iter().map(|record| number(record, "/worker")).collect();
    assert_eq!(workers, BTreeSet::from([0, 1, 2]));

    let measured: Vec<_> =
        of_outcome(&records, "completed").into_iter().filter(|r| r["stage"] == "hold").collect();
    let ttft = &summary["overall"]["metrics"]["ttft"];
    let us = |record: &Value, end: &str| (number(record, end) - number(record, "/sentNs")) / 1_000;
    let ttfts: Vec<u64> = measured.iter().map(|record| us(record, "/firstTokenNs")).collect();
    assert_eq!(number(ttft, "/count"), ttfts.len() as u64);
    assert_eq!(number(ttft, "/max"), *ttfts.iter().max().unwrap());
    let mean = ttfts.iter().sum::<u64>() as f64 / ttfts.len() as f64;
    // The summary's is rounded to whole microseconds.
    assert!((ttft["mean"].as_f64().unwrap() - mean).abs() <= 0.5, "{ttft} {mean}");
    let gaps: usize = measured.iter().map(|r| r["iclUs"].as_array().unwrap().len()).sum();
    let icl = &summary["overall"]["metrics"]["icl"];
    assert_eq!(number(icl, "/count"), gaps as u64, "none of them failed after its first event");
    assert!(ended.stdout.contains("400 requests as JSON lines and as a table"), "{}", ended.stdout);

    // A library that is not ours reads the table, and the lines beside it.
    let folder = results(&ended).join("records");
    let Some((_, found)) = checked(&[&folder], "records") else { return };
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((number(&found, "/rows"), number(&found, "/differ")), (400, 0), "{found}");
    assert_eq!(number(&found, "/numbers"), (0..400).sum::<u64>());
    assert_eq!(found["outcomes"]["completed"], summary["books"]["completed"]);
    assert!(found["columns"].as_array().unwrap().contains(&json!("iclUs")));
}

#[test]
fn a_sample_is_the_same_requests_for_any_number_of_workers_and_nothing_is_kept_unasked() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
    let sampled = |workers: &[&str]| {
        let keep = ["--set", "records=sample", "--set", "recordOptions.share=0.2"];
        let load = ["--rate", "100", "--duration", "2"];
        let ended = bench.run(&[&load[..], workers, &keep, &SHORT].concat());
        let found = numbers(&records(results(&ended)));
        assert_eq!(ended.summary()["records"]["share"], 0.2);
        fs::remove_dir_all(bench.folder.path().join("results")).unwrap();
        found
    };
    let alone = sampled(&[]);
    assert!((20..=60).contains(&alone.len()), "{}", alone.len());
    assert_eq!(sampled(&["--workers", "2"]), alone);
    let ended = bench.run(&[&["--requests", "20", "--rate", "100"][..], &SHORT].concat());
    assert_eq!(ended.summary()["records"], Value::Null);
    assert!(!results(&ended).join("records").exists());
}

/// 20 requests a second for 6 s, all recorded.
const LOAD: [&str; 7] = ["--rate", "20", "--duration", "6", "--no-probe", "--set", "records=all"];

fn fleet_at_work(bench: &Bench) -> (Process, [Process; 2]) {
    let leading = coordinator(bench, 2, &[&LOAD[..], &SHORT].concat());
    let port = port(&leading);
    let workers = ["0", "1"].map(|ordinal| worker(port, &["--ordinal", ordinal]));
    leading.reached(2);
    (leading, workers)
}

#[test]
fn records_of_a_worker_that_was_killed_are_gone_and_that_is_said() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let (leading, [whole, killed]) = fleet_at_work(&bench);
    killed.kill();
    let ended = leading.finished();
    assert_eq!(whole.finished().code, Some(0), "{ended:?}");
    let results = results_in(bench.folder.path());
    let summary = read_json(&results.join("summary.json"));
    assert_eq!(summary["records"]["complete"], false, "{summary:#}");
    let gone = &summary["records"]["workers"][1];
    assert!(gone["problem"].as_str().unwrap().contains("records are gone"), "{gone}");
    let gathered = number(&summary, "/records/gathered");
    assert_eq!(gathered, number(&summary, "/workers/0/books/due"), "the heir's are all there");
    assert_eq!(records(&results).len() as u64, gathered);
    let warnings = summary["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning["code"] == "records_incomplete"), "{warnings:?}");
}

#[test]
fn a_worker_that_leaves_in_order_stays_until_its_records_are_gathered() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let (leading, [whole, leaving]) = fleet_at_work(&bench);
    signal(leaving.id(), "TERM");
    let left = leaving.finished();
    assert!(left.stderr.contains("left its run in order"), "{left:?}");
    let _ended = leading.finished();
    assert_eq!(whole.finished().code, Some(0));
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_eq!(summary["records"]["complete"], true, "{summary:#}");
    assert_eq!(number(&summary, "/records/gathered"), number(&summary, "/books/due"));
}

#[test]
fn llmperfs_lists_are_made_of_the_records() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "50", "--requests", "100", "--set", "records=all"];
    let ended = bench.run(&[&load[..], &SHORT].concat());
    let results = results(&ended);
    let exported = report(results, &["--compat", "llmperf"]);
    assert_eq!(exported.code, Some(0), "{}", exported.all_output());
    assert!(!exported.stderr.contains("individual_responses"), "{}", exported.stderr);
    let folder = results.join("compat/llmperf");
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let named = |end: &str| {
        let found = files.iter().find(|path| path.to_str().unwrap().ends_with(end));
        found.unwrap_or_else(|| panic!("no {end} in {files:?}"))
    };
    let (theirs, summary) = (read_json(named("_individual_responses.json")), ended.summary());
    let responses = theirs.as_array().unwrap();
    assert_eq!(responses.len(), 100);
    let sum: f64 = responses.iter().map(|one| one["ttft_s"].as_f64().unwrap()).sum();
    let mean_us = summary["overall"]["metrics"]["ttft"]["mean"].as_f64().unwrap();
    // Ours cuts each to whole microseconds.
    assert!((sum / 100.0 * 1e6 - mean_us).abs() < 1.0, "{sum} {mean_us}");
    let log = fs::read_to_string(named("requests_sent.log")).unwrap();
    assert_eq!(log.lines().count(), 100);
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert!(first["dispatch_ts_utc"].as_str().unwrap().ends_with('Z'), "{first}");
}
