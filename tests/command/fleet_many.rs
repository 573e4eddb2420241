//! Sweeps and searches over workers that dial: they stay for the next run, and none is left behind.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    capacity::{bounds, found_in, search, slots},
    fleet_support::{
        Process, complaints, coordinator, errors, free_port, port, read_json, results_in, worker,
    },
    support::{Bench, signal, wait_until},
    sweep::{account, folder_of, server, table, whole_runs},
};

/// Two points of a number of requests (by time a busy machine would not begin the last of them), and a rest between them.
fn points<'a>(requests: &'a str, pause: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--no-probe", "--requests", requests, "--set", pause];
    for set in [
        "sweep.grid={load.rate: [20, 40]}",
        "prompts.inputLength.mean=16",
        "prompts.outputLength.mean=2",
    ] {
        all.extend(["--set", set]);
    }
    all.extend(more);
    all
}

/// Of each point.
const SHORT: &str = "10";
const NO_REST: &str = "sweep.pause=0";
/// Threads of a worker that are no run's.
const OF_THE_WORKER: [&str; 3] = ["tokenstorm", "control", "lane-starter"];
/// Longer than any test takes.
const LONG_REST: &str = "sweep.pause=300";

/// Two workers in the places 0 and 1.
fn two_workers(port: u16, more: &[&str]) -> [Process; 2] {
    ["0", "1"].map(|ordinal| worker(port, &[&["--ordinal", ordinal], more].concat()))
}

/// Valid or not: how late a generator is, is the machine's affair.
fn has_result(code: Option<i32>) -> bool {
    matches!(code, Some(0 | 4))
}

fn is_sent_home(worker: Process) {
    let worker = worker.finished();
    assert_eq!(worker.code, Some(0), "{worker:?}");
    assert!(worker.stderr.ends_with("the last run is over\n"), "{worker:?}");
    assert_eq!(complaints(&worker.stderr), Vec::<&str>::new());
}

/// Of each run, in the order of the table.
fn workers_of_runs(folder: &Path) -> Vec<usize> {
    let runs = table(folder)["runs"].as_array().unwrap().clone();
    let directory = |run: &Value| folder.join(run["directory"].as_str().unwrap());
    let summary = |run: &Value| read_json(&directory(run).join("summary.json"));
    runs.iter().map(|run| summary(run)["workers"].as_array().unwrap().len()).collect()
}

fn columns(folder: &Path) -> String {
    let csv = std::fs::read_to_string(folder.join("sweep.csv")).unwrap();
    csv.lines().next().unwrap().to_owned()
}

#[test]
fn a_sweep_over_workers_that_dial_gives_the_table_of_one_process() {
    let alone = server();
    let ended = alone.run(&points(SHORT, NO_REST, &[]));
    assert!(has_result(ended.code), "{}", ended.all_output());
    let alone = folder_of(&alone).unwrap();

    let bench = server();
    let leading = coordinator(&bench, 2, &points(SHORT, NO_REST, &[]));
    let workers = two_workers(port(&leading), &[]);
    let ended = leading.finished();
    assert!(has_result(ended.code), "{ended:?}");
    assert_eq!(ended.stderr.matches("listening on").count(), 1, "{ended:?}");
    workers.into_iter().for_each(is_sent_home);
    let fleet = folder_of(&bench).unwrap();
    // By number the rate is offered until the last request, whenever that is done.
    let planned = |folder| {
        let account = account(&table(folder)).into_iter();
        account.map(|(id, due, point, _)| (id, due, point)).collect::<Vec<_>>()
    };
    assert_eq!(planned(&fleet), planned(&alone));
    assert_eq!(columns(&fleet), columns(&alone));
    assert_eq!(workers_of_runs(&fleet), [2, 2]);
    assert_eq!(bench.simulator.truth().received, 10 + 10);
}

#[test]
fn worker_processes_of_this_machine_are_started_for_each_run_of_a_sweep() {
    let bench = server();
    let ended = bench.run(&points(SHORT, NO_REST, &["--workers", "2"]));
    assert!(has_result(ended.code), "{}", ended.all_output());
    assert_eq!(workers_of_runs(&folder_of(&bench).unwrap()), [2, 2]);
    assert_eq!(bench.simulator.truth().received, 10 + 10);
}

/// As in one process: four slots of 110 ms carry 36.4 requests a second.
#[test]
fn a_search_over_workers_that_dial_finds_what_four_slots_carry() {
    let bench = slots(4);
    let more = ["--set", "prompts.outputLength.mean=10", "--set", "search.precision=0.25"];
    let slos = "slos={ttft: {p50: 75ms}}";
    let leading = coordinator(&bench, 2, &search(["--rate", "20"], "60", slos, &more));
    let workers = two_workers(port(&leading), &[]);
    let ended = leading.finished();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    workers.into_iter().for_each(is_sent_home);
    let found = found_in(&results_in(bench.folder.path()));
    assert_eq!((&found["outcome"], &found["workers"]), (&"bracketed".into(), &2.into()));
    let (holds, fails) = bounds(&found);
    assert!((25.0..=42.0).contains(&holds) && fails <= holds * 1.2501, "{found:#}");
    assert!(ended.stdout.contains("workers   2, "), "{}", ended.stdout);
}

#[test]
fn the_capacity_of_each_number_of_workers_is_one_table() {
    let bench = slots(4);
    let more = ["--worker-counts", "2,1", "--set", "search.precision=0.5"];
    let lengths = ["--set", "prompts.outputLength.mean=10", "--set", "search.repeats=1"];
    let slos = "slos={ttft: {p50: 75ms}}";
    let all = search(["--rate", "20"], "40", slos, &[more, lengths].concat());
    let leading = coordinator(&bench, 2, &all);
    let workers = two_workers(port(&leading), &[]);
    let ended = leading.finished();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    workers.into_iter().for_each(is_sent_home);
    let folder = results_in(bench.folder.path());
    for file in ["capacity.html", "plots/capacity_by_workers.png", "config.yaml"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let found = read_json(&folder.join("capacity.json"));
    let rows = found["byWorkers"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| &row["workers"]).collect::<Vec<_>>(), [&1, &2]);
    for row in rows {
        let (holds, fails) = bounds(row);
        assert!((20.0..=45.0).contains(&holds) && fails <= holds * 1.5001, "{found:#}");
        let of_count = found_in(&folder.join(row["directory"].as_str().unwrap()));
        assert_eq!(of_count["bounds"], row["bounds"]);
        let first = of_count["levels"][0]["runs"][0].as_str().unwrap();
        let summary = folder.join(row["directory"].as_str().unwrap()).join(first);
        let listed = read_json(&summary.join("summary.json"))["workers"].clone();
        let owners = listed.as_array().unwrap().iter().filter(|one| one["share"] != 0.0).count();
        assert_eq!(Some(owners as u64), row["workers"].as_u64(), "{listed:#}");
    }
    assert!(ended.stdout.contains("holds at"), "{}", ended.stdout);
}

/// A sweep of two points that rests between them; when its first run is over.
fn at_rest(
    bench: &Bench,
    pause: &str,
    more: &[&str],
    of_workers: &[&str],
) -> (Process, [Process; 2]) {
    let leading = coordinator(bench, 2, &points(SHORT, pause, more));
    let workers = two_workers(port(&leading), of_workers);
    let done =
        |folder: PathBuf| folder.join("sweep.json").is_file() && !whole_runs(&folder).is_empty();
    wait_until("the first run is over", || folder_of(bench).is_some_and(done));
    (leading, workers)
}

#[test]
fn a_worker_that_is_killed_between_two_runs_can_be_replaced() {
    let bench = server();
    let (leading, [first, second]) = at_rest(&bench, "sweep.pause=3", &[], &[]);
    second.kill();
    let another = worker(port(&leading), &["--ordinal", "1"]);
    let ended = leading.finished();
    assert!(has_result(ended.code), "{ended:?}");
    [first, another].into_iter().for_each(is_sent_home);
    assert_eq!(workers_of_runs(&folder_of(&bench).unwrap()), [2, 2]);
}

#[test]
fn where_fewer_are_enough_a_sweep_goes_on_with_those_that_remain() {
    let bench = server();
    let (leading, [first, second]) = at_rest(&bench, "sweep.pause=2", &["--min-workers", "1"], &[]);
    second.kill();
    let ended = leading.finished();
    assert!(has_result(ended.code), "{ended:?}");
    assert!(ended.stderr.contains("1 of 2 workers are here"), "{ended:?}");
    is_sent_home(first);
    let folder = folder_of(&bench).unwrap();
    assert_eq!(workers_of_runs(&folder), [2, 1]);
    let last = table(&folder)["runs"][1].clone();
    let summary = folder.join(last["directory"].as_str().unwrap()).join("summary.json");
    assert!(read_json(&summary).to_string().contains("fewer_workers"));
}

#[test]
fn an_interrupt_in_a_run_ends_everybody() {
    let bench = server();
    let leading = coordinator(&bench, 2, &points("600", NO_REST, &[]));
    let workers = two_workers(port(&leading), &[]);
    leading.reached(1);
    signal(leading.id(), "INT");
    let ended = leading.finished();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stderr.contains("0 of 2 runs are done"), "{ended:?}");
    workers.into_iter().for_each(is_sent_home);
}

#[test]
fn an_interrupt_between_two_runs_ends_everybody() {
    let bench = server();
    let (leading, workers) = at_rest(&bench, LONG_REST, &[], &[]);
    signal(leading.id(), "TERM");
    let ended = leading.finished();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stderr.contains("1 of 2 runs are done"), "{ended:?}");
    workers.into_iter().for_each(is_sent_home);
}

#[test]
fn workers_between_two_runs_leave_when_they_are_told_and_when_nobody_comes_back() {
    let bench = server();
    let (leading, [told, left]) = at_rest(&bench, LONG_REST, &[], &["--rejoin-timeout", "3s"]);
    signal(told.id(), "TERM");
    let told = told.finished();
    assert_eq!(told.code, Some(130), "{told:?}");
    let line = "error: interrupted between two runs: it had no part in either";
    assert_eq!(errors(&told.stderr), [line]);
    leading.kill();
    let left = left.finished();
    assert_eq!(left.code, Some(1), "{left:?}");
    let last = *errors(&left.stderr).last().unwrap();
    assert!(last.ends_with(" for 3s, between two of its runs"), "{last}");
}

/// Its coordinator dies in the pause; another one goes on with the sweep at the same address.
#[test]
fn workers_take_part_in_a_sweep_that_is_gone_on_with() {
    let bench = server();
    let listen = format!("127.0.0.1:{}", free_port());
    let (leading, workers) = at_rest(&bench, LONG_REST, &["--listen", &listen], &[]);
    leading.kill();
    let folder = folder_of(&bench).unwrap().display().to_string();
    let more = ["--resume-sweep", &folder, "--listen", &listen];
    let ended = coordinator(&bench, 2, &points(SHORT, LONG_REST, &more)).finished();
    assert!(has_result(ended.code), "{ended:?}");
    assert!(ended.stderr.contains("1 of 2 runs are done already"), "{ended:?}");
    for worker in workers.map(Process::finished) {
        assert_eq!(worker.code, Some(0), "{worker:?}");
        assert!(worker.stderr.ends_with("the last run is over\n"), "{worker:?}");
    }
    assert_eq!(workers_of_runs(&folder_of(&bench).unwrap()), [2, 2]);
}

/// Lanes and builders of bodies are threads, and hold a run's prompts. Those of the runtime come and go.
#[test]
fn nothing_of_a_run_is_left_in_a_worker_when_the_next_one_is_over() {
    let bench = server();
    let grid =
        ["--set", "sweep.grid={load.rate: [20, 21, 22]}", "--set", "prompts.outputLength.mean=2"];
    let short = ["--requests", "10", "--no-probe", "--set", "sweep.pause=3"];
    let leading = coordinator(&bench, 1, &[&grid[..], &short].concat());
    let worker = worker(port(&leading), &[]);
    let runs_done = || {
        let table = folder_of(&bench).filter(|folder| folder.join("sweep.json").is_file());
        table.map_or(0, |folder| whole_runs(&folder).len())
    };
    let of_a_run =
        || worker.threads().into_iter().filter(|name| !OF_THE_WORKER.contains(&name.as_str()));
    wait_until("a run has threads of its own", || of_a_run().next().is_some());
    for runs in [1, 2] {
        wait_until("a run is over", || runs_done() == runs);
        wait_until("nothing of it is left", || {
            let left: Vec<_> = of_a_run().collect();
            assert_eq!(runs_done(), runs, "still there when the next one is over: {left:?}");
            let starters = worker.threads().iter().filter(|name| *name == "lane-starter").count();
            left.is_empty() && starters <= 1
        });
    }
    assert!(has_result(leading.finished().code));
    is_sent_home(worker);
}
