//! Ctrl-C: the report is always written, with the books of what was due until then.

use serde_json::{Value, json};

use crate::{
    fleet_support::Process,
    support::{Bench, Ended, number, signal, start, wait_until},
};

fn interrupt(process: u32) {
    signal(process, "INT");
}

#[test]
fn the_first_interrupt_drains_and_the_books_balance() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 20, "itlMs": 2}));
    let arguments = ["--rate", "50", "--duration", "600", "--set", "prompts.outputLength.mean=20"];
    let running = start(bench.command(&arguments));
    wait_until("the load runs", || bench.simulator.truth().received > 40);
    interrupt(running.id());
    let ended = Ended::from(running.wait_with_output().unwrap(), bench.folder.path());
    assert_eq!(ended.code, Some(130), "{}", ended.all_output());
    let summary = ended.summary();
    let due = number(&summary, "/books/due");
    assert_eq!(number(&summary, "/books/completed"), due, "{summary:#}");
    assert_eq!(bench.simulator.truth().received, due + 1);
}

#[test]
fn the_second_interrupt_cancels_what_is_open_and_still_reports() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 60_000, "itlMs": 2}));
    let arguments = ["--rate", "50", "--duration", "600", "--no-probe", "--json"];
    let running = Process::start(bench.command(&arguments));
    wait_until("requests are open", || bench.simulator.truth().received > 20);
    interrupt(running.id());
    // The first one must be heard as one of its own.
    running.said("stopping: ");
    interrupt(running.id());
    let ended = running.finished();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.stderr.contains("cancelling open requests"), "{}", ended.stderr);
    let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
    // The load goes on for a moment after the first, and what is due in that moment may not be begun.
    let not_begun = summary["books"]["notSentBy"]["interrupted"].as_u64().unwrap_or_default();
    let cancelled = number(&summary, "/books/cancelled");
    assert_eq!(cancelled + not_begun, number(&summary, "/books/due"), "{summary:#}");
    assert!(cancelled > 20, "{summary:#}");
}

#[test]
fn a_backlog_behind_a_cap_is_booked_and_not_sent_after_an_interrupt() {
    // One at a time, each takes half a second: at 50 a second the backlog grows by 48 every second.
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 500, "itlMs": 1}));
    let arguments = ["--rate", "50", "--concurrency", "1", "--duration", "600"];
    let running =
        start(bench.command(&[&arguments[..], &["--set", "prompts.outputLength.mean=2"]].concat()));
    wait_until("some were answered", || bench.simulator.truth().completed > 3);
    interrupt(running.id());
    let ended = Ended::from(running.wait_with_output().unwrap(), bench.folder.path());
    assert_eq!(ended.code, Some(130), "{}", ended.all_output());
    let summary = ended.summary();
    assert_eq!(number(&summary, "/books/lost"), 0, "{summary:#}");
    assert!(number(&summary, "/books/notSentBy/interrupted") > 20, "{summary:#}");
    let sent = number(&summary, "/books/completed");
    assert_eq!(bench.simulator.truth().received, sent + 1, "nothing is sent after the interrupt");
    assert_eq!(number(&summary, "/books/due"), sent + number(&summary, "/books/notSent"));
}

#[test]
fn before_the_load_it_is_one_line_and_leaves_nothing() {
    for name in ["INT", "TERM"] {
        let bench = Bench::new(json!({"fixed": true, "ttftMs": 60_000}));
        let running = start(bench.command(&["--rate", "5", "--duration", "600"]));
        wait_until("the probe is open", || bench.simulator.truth().received == 1);
        signal(running.id(), name);
        let ended = Ended::from(running.wait_with_output().unwrap(), bench.folder.path());
        assert_eq!(ended.code, Some(130), "{}", ended.all_output());
        let last = ended.stderr.lines().last();
        assert_eq!(last, Some("error: interrupted before the load: nothing was measured"));
        assert!(ended.results.is_none() && ended.stdout.is_empty(), "{}", ended.stdout);
    }
}
