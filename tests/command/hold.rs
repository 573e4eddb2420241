//! Results that are held until somebody has fetched them.

use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::json;

use crate::{
    fleet_support::{Process, results_in},
    support::{Bench, signal, tokenstorm},
};

const HELD: &str = "the results are held for 600 s";

/// One user after the other, so that nothing is late whatever the machine does, and the run itself ends with 0.
fn holding(bench: &Bench) -> Process {
    let arguments = ["--concurrency", "1", "--requests", "20", "--hold-results", "10m"];
    let running = Process::start(bench.command(&arguments));
    running.said(HELD);
    running
}

fn bench() -> Bench {
    Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}))
}

/// `tokenstorm results VERB … results`, with its stdout in a file.
fn results(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = tokenstorm();
    command.arg("results").args(arguments).arg("results").current_dir(folder);
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    ended.stdout
}

#[test]
fn a_run_ends_when_its_results_were_packed() {
    let bench = bench();
    let running = holding(&bench);
    let run = results_in(bench.folder.path());
    let packed = results(bench.folder.path(), &["pack", "-"]);
    let ended = running.finished();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("the results were fetched"), "{}", ended.stderr);

    let elsewhere = tempfile::tempdir().unwrap();
    tar::Archive::new(GzDecoder::new(&packed[..])).unpack(elsewhere.path()).unwrap();
    let copy = elsewhere.path().join(run.file_name().unwrap());
    for name in ["config.yaml", "summary.json", "metrics.json", "journal"] {
        assert_eq!(
            std::fs::read(copy.join(name)).unwrap(),
            std::fs::read(run.join(name)).unwrap(),
            "{name}"
        );
    }
    assert!(!copy.join(".held").exists());
}

#[test]
fn who_looks_at_the_archive_first_releases_the_run_afterwards() {
    let bench = bench();
    let running = holding(&bench);
    let first = results(bench.folder.path(), &["pack", "--keep-holding", "-"]);
    let again = results(bench.folder.path(), &["pack", "--keep-holding", "-"]);
    assert_eq!(first, again, "a cut transfer is begun anew");
    assert!(!running.words().contains("fetched\n"), "{}", running.words());
    results(bench.folder.path(), &["release"]);
    assert_eq!(running.finished().code, Some(0));
}

#[test]
fn a_run_that_holds_its_results_ends_when_it_is_told_to() {
    let bench = bench();
    let running = holding(&bench);
    signal(running.id(), "TERM");
    let ended = running.finished();
    assert_eq!(ended.code, Some(0), "the run itself was over: {}", ended.stderr);
    assert!(ended.stderr.contains("told to end"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("stopping"), "no load is left to stop: {}", ended.stderr);
}

#[test]
fn a_sweep_is_fetched_as_one_when_its_last_run_is_over() {
    let bench = bench();
    let grid = ["--set", "sweep.grid={load.rate: [20, 30]}", "--set", "sweep.pause=0"];
    let arguments = [&grid[..], &["--duration", "0.5", "--hold-results", "10m"]].concat();
    let running = Process::start(bench.command(&arguments));
    running.said(HELD);
    let sweep = results_in(bench.folder.path());
    assert!(sweep.join("sweep.html").is_file(), "it is whole");
    let packed = results(bench.folder.path(), &["pack", "-"]);
    let ended = running.finished();
    assert!(matches!(ended.code, Some(0 | 4)), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches(HELD).count(), 1, "not once a run: {}", ended.stderr);
    let elsewhere = tempfile::tempdir().unwrap();
    tar::Archive::new(GzDecoder::new(&packed[..])).unpack(elsewhere.path()).unwrap();
    let copy = elsewhere.path().join(sweep.file_name().unwrap());
    assert!(copy.join("sweep.json").is_file() && copy.join("runs").is_dir());
}
