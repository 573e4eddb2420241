//! Killed workers, killed coordinators: the books say what became of every request.

use std::{
    collections::BTreeSet,
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

use protocol::{Journal, Record};
use serde_json::{Value, json};

use crate::{
    fleet_support::{
        Finished, Process, coordinator, free_port, port, read_json, results_in, worker,
    },
    support::{Bench, assert_exit, number, signal, tokenstorm, wait_until},
};

/// 20 requests a second for 8 s, of short answers.
const LOAD: [&str; 9] = [
    "--rate",
    "20",
    "--duration",
    "8",
    "--set",
    "prompts.outputLength.mean=4",
    "--set",
    "prompts.inputLength.mean=10",
    "--no-probe",
];

fn balance(summary: &Value) -> u64 {
    let sum = ["completed", "failed", "cancelled", "notSent", "lost"]
        .map(|kind| number(summary, &format!("/books/{kind}")));
    assert_eq!(number(summary, "/books/due"), sum.iter().sum::<u64>(), "{summary:#}");
    number(summary, "/books/due")
}

/// Known to have been sent ≤ what the server saw ≤ that, and what the lost may have sent besides.
fn agrees_with_the_server(summary: &Value, received: u64) {
    let count = |pointer| number(summary, pointer);
    let least =
        ["/books/completed", "/books/failed", "/books/cancelled"].map(count).iter().sum::<u64>()
            + count("/books/lostBy/inFlightAtLastSnapshot");
    let most = least + count("/books/lostBy/dueAfterLastSnapshot");
    assert!((least..=most).contains(&received), "{least} <= {received} <= {most}: {summary:#}");
}

fn recover(directory: &Path) -> Finished {
    let mut command = tokenstorm();
    command.arg("recover").arg(directory);
    Process::start(command).finished()
}

/// A fleet of two that has offered load for some seconds.
fn fleet_at_work(bench: &Bench, port: u16) -> (Process, [Process; 2]) {
    let listen = format!("127.0.0.1:{port}");
    let leading = coordinator(bench, 2, &[&["--listen", &listen], &LOAD[..]].concat());
    leading.said("workers are here");
    let workers = ["0", "1"].map(|ordinal| worker(port, &["--ordinal", ordinal]));
    leading.reached(2);
    (leading, workers)
}

/// How many workers have told something of their part that is on disk.
fn tellers(journal: &Path) -> usize {
    let records = Journal::read(journal).unwrap().records;
    let teller = |record: Record| match record {
        Record::Part(part) => Some(part.worker),
        _ => None,
    };
    records.into_iter().filter_map(teller).collect::<BTreeSet<_>>().len()
}

/// Valid or not: how long the fleet was without a coordinator, and so without leave to send, is the machine's affair.
fn has_result(ended: &Finished) -> bool {
    matches!(ended.code, Some(0 | 4))
}

#[test]
fn a_run_whose_coordinator_is_killed_is_gone_on_with_by_another() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let port = free_port();
    let (leading, workers) = fleet_at_work(&bench, port);
    leading.kill();
    let results = results_in(bench.folder.path());
    let mut command = tokenstorm();
    command.args(["coordinator", "--listen", &format!("127.0.0.1:{port}"), "--resume"]);
    command.arg(&results).env("TOKENSTORM_COOKIE", crate::fleet_support::COOKIE);
    let resumed = Process::start(command);
    resumed.said("listening on");
    let refused = recover(&results);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("its run still goes on"), "{refused:?}");
    let ended = resumed.finished();
    assert!(has_result(&ended), "{ended:?}");
    for worker in workers.map(Process::finished) {
        assert_eq!(worker.code, Some(0), "{worker:?}");
    }
    let summary = read_json(&results.join("summary.json"));
    assert_eq!(summary["run"]["degraded"], true);
    assert_eq!(balance(&summary), 160);
    assert_eq!(number(&summary, "/books/lost"), 0, "{summary:#}");
    let sent = number(&summary, "/books/completed");
    assert_eq!(bench.simulator.truth().received, sent, "none twice, none forgotten");
}

/// Returns in the moment in which the journal has grown.
fn wait_for_growth(journal: &Path) {
    let length = || std::fs::metadata(journal).unwrap().len();
    let (before, begun) = (length(), tokio::time::Instant::now());
    while length() == before {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing more is written");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Killed when a part is written and most likely not yet acknowledged, and killed when what was written is
/// acknowledged and nothing follows yet: by the workers' reports once a second it is one or the other.
#[test]
fn coordinators_that_die_around_an_acknowledgement_leave_exact_books() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let load = ["--concurrency", "4", "--duration", "16", "--listen", &listen];
    let leading = coordinator(&bench, 2, &[&load[..], &["--set", "load.rampUp=0"]].concat());
    leading.said("workers are here");
    let workers = ["0", "1"].map(|ordinal| worker(port, &["--ordinal", ordinal]));
    leading.reached(3);
    let results = results_in(bench.folder.path());
    let journal = results.join("journal");
    wait_for_growth(&journal);
    leading.kill();
    let again = || {
        let mut command = tokenstorm();
        command.args(["coordinator", "--listen", &listen, "--resume"]).arg(&results);
        command.env("TOKENSTORM_COOKIE", crate::fleet_support::COOKIE);
        Process::start(command)
    };
    let second = again();
    // Once it leads: on a busy machine the load may be nearly over by then.
    second.reached(1);
    wait_for_growth(&journal);
    std::thread::sleep(Duration::from_millis(400));
    second.kill();
    let ended = again().finished();
    assert!(has_result(&ended), "{ended:?}");
    for worker in workers.map(Process::finished) {
        assert_eq!(worker.code, Some(0), "{worker:?}");
    }
    let summary = read_json(&results.join("summary.json"));
    let due = balance(&summary);
    let completed = number(&summary, "/books/completed");
    // A user whose next request was due in the load's last moment had not begun it, and the books say so.
    assert_eq!(due - completed, number(&summary, "/books/notSent"), "{summary:#}");
    assert!(due - completed <= 4, "one of a user at the most: {summary:#}");
    // What the first coordinator knew before the load is in the last one's result.
    assert_eq!(number(&summary, "/run/probeRequests"), 1, "{summary:#}");
    assert_ne!(number(&summary, "/run/lanes"), 0, "{summary:#}");
    let truth = bench.simulator.truth_with_requests();
    assert_eq!(truth.received, completed + 1, "none twice, none forgotten");
    no_body_twice(truth);
}

fn no_body_twice(truth: simulator::Truth) {
    let mut bodies: Vec<_> = truth.requests.unwrap().into_iter().map(|r| r.body_sha256).collect();
    let all = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), all, "a request was sent by two workers");
}

#[test]
fn a_run_whose_coordinator_is_killed_is_reported_from_its_journal() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let (leading, workers) = fleet_at_work(&bench, free_port());
    let results = results_in(bench.folder.path());
    wait_until("both have told of something", || tellers(&results.join("journal")) == 2);
    leading.kill();
    for worker in workers.map(Process::finished) {
        assert_eq!(worker.code, Some(1), "{worker:?}");
        let last = worker.stderr.lines().last().unwrap();
        assert!(last.starts_with("error: no word of the coordinator at 127.0.0.1:"), "{last}");
    }
    let received = bench.simulator.truth().received;
    let copy = bench.folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(results.join("journal"), copy.join("journal")).unwrap();
    File::open(copy.join("journal")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let ended = recover(&results);
    assert!(ended.stdout.contains("requests/s"), "{ended:?}");
    assert!(ended.stdout.contains("its coordinator ended before the run did"), "{ended:?}");
    let summary = read_json(&results.join("summary.json"));
    assert_eq!(summary["run"]["degraded"], true);
    assert_eq!(balance(&summary), 160);
    assert!(number(&summary, "/books/completed") > 0, "{summary:#}");
    agrees_with_the_server(&summary, received);

    recover(&copy);
    let of_copy = read_json(&copy.join("summary.json"));
    assert_eq!(of_copy["books"], summary["books"], "when the file was written says nothing");
    assert_eq!(of_copy["run"]["endedAt"], summary["run"]["endedAt"]);

    let late = ["coordinator", "--resume", results.to_str().unwrap(), "--rate", "5"];
    let late = tokenstorm().args(late).output().unwrap();
    assert_eq!(late.status.code(), Some(2));
    let line = String::from_utf8(late.stderr).unwrap();
    assert!(line.contains("--resume <DIR>' cannot be used with '--rate"), "{line}");

    let again = recover(&results);
    assert_eq!(again.code, ended.code);
    assert!(again.stderr.contains("summary.json is there already"), "{again:?}");
}

#[test]
fn what_is_no_journal_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let none = recover(folder.path());
    assert_eq!((none.code, none.stderr.lines().count()), (Some(2), 1), "{none:?}");
    std::fs::write(folder.path().join("journal"), "benchmark: {name: demo}\n").unwrap();
    let other = recover(folder.path());
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(other.stderr.ends_with("journal: it is no journal of a run\n"), "{other:?}");
    assert_eq!(other.stderr.lines().count(), 1, "{other:?}");
    File::create(folder.path().join("journal")).unwrap();
    assert!(recover(folder.path()).stderr.contains("it is no journal of a run"));
}

/// Of three workers one is killed while its users think: nobody goes on with what they said.
#[test]
fn sessions_of_a_killed_worker_are_lost_and_nobody_goes_on_with_them() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "15", "--duration", "10", "--no-probe"];
    let sessions = [
        "--set",
        "prompts.inputLength.mean=10",
        "--set",
        "prompts.outputLength.mean=4",
        "--set",
        "sessions.turns.mean=3",
        "--set",
        "sessions.thinkTime.distribution=fixed",
        "--set",
        "sessions.thinkTime.mean=1.5",
    ];
    let leading = coordinator(&bench, 3, &[&load[..], &sessions[..]].concat());
    let port = port(&leading);
    let mut workers: Vec<_> =
        ["0", "1", "2"].map(|ordinal| worker(port, &["--ordinal", ordinal])).into();
    leading.reached(4);
    workers.pop().unwrap().kill();
    let ended = leading.finished();
    assert!(has_result(&ended), "{ended:?}");
    assert!(ended.stdout.contains("lost with a worker"), "{ended:?}");
    for worker in workers.into_iter().map(Process::finished) {
        assert_eq!(worker.code, Some(0), "{worker:?}");
    }
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    balance(&summary);
    let turn = |turn: usize, of: &str| number(&summary, &format!("/turns/{turn}/books/{of}"));
    assert_eq!(turn(0, "due"), 150, "each arrival is one first turn: {summary:#}");
    assert!(turn(0, "due") > turn(1, "due") && turn(1, "due") > turn(2, "due"), "{summary:#}");
    let count = |of: &str| number(&summary, &format!("/sessions/{of}"));
    assert_eq!(count("begun"), count("completed") + count("cut") + count("lost"), "{summary:#}");
    // 5 a second began at it, and each lasts for 3 s; those of its last second it may not have told of.
    assert!((5..=25).contains(&count("lost")), "{summary:#}");
    assert!(count("completed") > 50, "{summary:#}");
    let later = turn(1, "due") + turn(2, "due");
    assert_eq!(count("turnsNotReached"), 2 * count("begun") - later, "{summary:#}");
    assert_eq!(summary["run"]["degraded"], true);
    let truth = bench.simulator.truth_with_requests();
    agrees_with_the_server(&summary, truth.received);
    no_body_twice(truth);
}

#[test]
#[ignore = "takes half a minute and both cores: scripts/check.sh --long"]
fn a_killed_worker_is_replaced_and_the_books_hold() {
    // 100 requests a second, of answers that take 3 seconds.
    let bench =
        Bench::new(json!({"fixed": true, "ttftMs": 100, "itlMs": 100, "maxConcurrency": 0}));
    let load = ["--rate", "100", "--duration", "14", "--no-probe"];
    let lengths = ["--set", "prompts.inputLength.mean=10", "--set", "prompts.outputLength.mean=30"];
    let leading = coordinator(&bench, 4, &[&load[..], &lengths].concat());
    let port = port(&leading);
    let mut workers: Vec<_> =
        ["0", "1", "2", "3"].map(|ordinal| worker(port, &["--ordinal", ordinal])).into();
    leading.reached(5);
    workers.pop().unwrap().kill();
    let ended = leading.finished();
    assert!(ended.stdout.contains("degraded"), "{ended:?}");
    for worker in workers.into_iter().map(Process::finished) {
        assert_eq!(worker.code, Some(0), "{worker:?}");
    }
    wait_until("the server is done", || bench.simulator.truth().open == 0);
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_eq!(balance(&summary), 1_400);
    assert_eq!(summary["run"]["degraded"], true);
    // Its open streams, 25 a second for 3 s each, and what it may have sent after its last words.
    assert!(number(&summary, "/books/lostBy/inFlightAtLastSnapshot") >= 40, "{summary:#}");
    assert!(number(&summary, "/books/lostBy/dueAfterLastSnapshot") > 0, "{summary:#}");
    agrees_with_the_server(&summary, bench.simulator.truth().received);
    let lost = &summary["workers"][3]["lost"];
    assert!(!lost.is_null(), "{summary:#}");
    println!("noticed and taken over: {lost}");
}

#[test]
#[ignore = "takes half a minute: scripts/check.sh --long"]
fn a_frozen_worker_sends_nothing_twice_and_comes_back_as_a_spare() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "20", "--duration", "22", "--set", "prompts.outputLength.mean=4"];
    let leading = coordinator(&bench, 2, &[&load[..], &["--no-probe"]].concat());
    let port = port(&leading);
    let [frozen, other] = ["0", "1"].map(|ordinal| worker(port, &["--ordinal", ordinal]));
    leading.reached(3);
    signal(frozen.id(), "STOP");
    std::thread::sleep(std::time::Duration::from_secs(8));
    signal(frozen.id(), "CONT");
    frozen.said("counted this worker as lost: it comes back as a new one");
    let ended = leading.finished();
    assert!(ended.stdout.contains("degraded"), "{ended:?}");
    assert_eq!(other.finished().code, Some(0));
    // Whether it had its place again before the run was over is a matter of its connection's luck.
    println!("the frozen one: {:?}", frozen.finished());
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_eq!(balance(&summary), 440);
    let truth = bench.simulator.truth_with_requests();
    agrees_with_the_server(&summary, truth.received);
    no_body_twice(truth);
}

#[test]
fn who_is_started_in_the_place_of_one_that_left_in_order_is_a_spare() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "20", "--requests", "160", "--set", "prompts.outputLength.mean=4"];
    let leading = coordinator(&bench, 2, &[&load[..], &["--no-probe"]].concat());
    let port = port(&leading);
    let [leaver, other] = ["0", "1"].map(|ordinal| worker(port, &["--ordinal", ordinal]));
    leading.reached(1);
    signal(leaver.id(), "TERM");
    // As a Job does: the pod that takes over its index may be there before the first one is gone.
    let heir = worker(port, &["--ordinal", "0", "--name", "heir"]);
    assert_eq!(leaver.finished().code, Some(130));
    let led = leading.finished();
    for worker in [other, heir] {
        let ended = worker.finished();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(led.code, 0, &summary, &led.stderr);
    assert_eq!(balance(&summary), 160);
    assert_eq!(summary["books"]["completed"], 160, "{summary:#}");
}
