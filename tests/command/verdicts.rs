//! The rules of the verdict that one machine can meet, each by a run that earns it; and one run that
//! earns none of them.
//!
//! A generator that is late is made by stopping its process, not by a busy neighbour: timing may not decide a
//! test. One that is short of a processor is in tired.rs, a full disk in full_disk.rs. Left to the unit tests of metrics: what takes a fleet.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::support::{Bench, Ended, codes, number, run_in, signal, start, wait_until};

const EARNED_HERE: [&str; 5] =
    ["capped", "censored", "shared_reads", "chunks_are_not_tokens", "nothing_answered"];

fn short<'a>(load: &[&'a str], output_tokens: &'a str) -> Vec<&'a str> {
    let lengths = ["--set", "prompts.inputLength.mean=16", "--set", output_tokens];
    [load, &lengths[..]].concat()
}

#[test]
fn a_healthy_run_earns_none_of_these() {
    // Events so far apart that a thread which is kept from running finds no two of them on one stream.
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 400}));
    let load = ["--rate", "40", "--concurrency", "100", "--requests", "120"];
    let summary = bench.run(&short(&load, "prompts.outputLength.mean=4")).went_through();
    for code in EARNED_HERE {
        assert!(!codes(&summary).contains(&code), "{code}: {summary:#}");
    }
    // 120 · (1 − 0.99) = 1.2 samples lie above p99, 0.12 above p99.9.
    let ttft = &summary["overall"]["metrics"]["ttft"];
    assert!(ttft["p99"].is_u64(), "{ttft:#}");
    assert_eq!(ttft["nulls"], json!({"p99_9": "few_samples"}));
}

/// A client that is frozen for two seconds cannot send on time, and says so.
#[test]
fn a_generator_that_stood_still_is_not_reported_as_a_slow_server() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 20, "itlMs": 20}));
    let load = ["--rate", "50", "--duration", "6"];
    let running = start(bench.command(&short(&load, "prompts.outputLength.mean=20")));
    wait_until("the load runs", || bench.simulator.truth().received > 20);
    signal(running.id(), "STOP");
    std::thread::sleep(std::time::Duration::from_secs(2));
    signal(running.id(), "CONT");
    let ended = Ended::from(running.wait_with_output().unwrap(), bench.folder.path());
    assert_eq!(ended.code, Some(4), "{}", ended.all_output());
    let summary = ended.summary();
    assert!(codes(&summary).contains(&"generator_lag"), "{summary:#}");
    // The kernel went on stamping: what the frozen client read late it did not report late. Two seconds of
    // lateness are 2,000,000 µs; all that was on the wire when it froze arrived within its own time.
    assert!(number(&summary, "/overall/metrics/icl/p99") < 1_000_000, "{summary:#}");
    assert_eq!(number(&summary, "/books/due"), 300);
}

#[test]
fn few_samples_leave_the_far_percentiles_out() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
    let load = ["--rate", "40", "--requests", "15"];
    let ended = bench.run(&short(&load, "prompts.outputLength.mean=4"));
    // 15 · (1 − 0.9) = 1.5, 15 · (1 − 0.95) = 0.75.
    let summary = ended.summary();
    let ttft = &summary["overall"]["metrics"]["ttft"];
    assert!(ttft["p90"].is_u64(), "{ttft:#}");
    let few = "few_samples";
    assert_eq!(ttft["nulls"], json!({"p95": few, "p99": few, "p99_9": few}));
}

#[test]
fn a_cap_that_holds_requests_back_is_told() {
    // One at a time of half a second each: two of the twenty.
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 500, "itlMs": 1}));
    let load = ["--rate", "20", "--concurrency", "1", "--duration", "1"];
    let ended = bench.run(&short(&load, "prompts.outputLength.mean=4"));
    let summary = ended.went_through();
    assert!(codes(&summary).contains(&"capped"), "{summary:#}");
    assert_ne!(summary.pointer("/verdict/status"), Some(&json!("VALID")));
}

#[test]
fn a_drain_that_cuts_answers_short_is_told_and_hides_no_percentile_behind_the_survivors() {
    // Answers take 0.7 s, the drain follows them for 0.1 s: those due in the last 0.6 s are cut.
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 700, "itlMs": 1}));
    let load = ["--rate", "100", "--duration", "1", "--set", "benchmark.drain=0.1"];
    let ended = bench.run(&short(&load, "prompts.outputLength.mean=4"));
    let summary = ended.summary();
    assert!(codes(&summary).contains(&"censored"), "{summary:#}");
    assert!(number(&summary, "/books/cancelled") > 0 && number(&summary, "/books/completed") > 0);
    assert_eq!(summary.pointer("/overall/metrics/ttft/nulls/p90"), Some(&json!("censored")));
}

#[test]
fn a_run_without_an_answer_is_invalid() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 60_000}));
    let load = ["--no-probe", "--rate", "20", "--duration", "1", "--set", "benchmark.drain=0.1"];
    let ended = bench.run(&short(&load, "prompts.outputLength.mean=4"));
    assert_eq!(ended.code, Some(4), "{}", ended.all_output());
    assert!(codes(&ended.summary()).contains(&"nothing_answered"));
}

#[test]
fn events_that_come_together_are_told() {
    let summary = against_scripted(Script { usage: 3, pause_between_events: false });
    assert!(codes(&summary).contains(&"shared_reads"), "{summary:#}");
    assert!(!codes(&summary).contains(&"chunks_are_not_tokens"), "{summary:#}");
}

#[test]
fn events_of_several_tokens_take_itl_away() {
    let summary = against_scripted(Script { usage: 10, pause_between_events: true });
    assert!(codes(&summary).contains(&"chunks_are_not_tokens"), "{summary:#}");
    let metrics = &summary["overall"]["metrics"];
    assert_eq!(metrics["itl"]["nullReason"], "chunks_are_not_tokens");
    assert!(metrics["icl"]["p50"].is_u64() && metrics["tpot"]["p50"].is_u64(), "{metrics:#}");
}

/// How a server that the simulator is not answers: three events, whatever it says they were.
#[derive(Clone, Copy)]
struct Script {
    usage: u32,
    pause_between_events: bool,
}

fn against_scripted(script: Script) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Ends with the test's process.
    let _server = std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _answers = std::thread::spawn(move || answer(stream, script));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let load = ["--rate", "20", "--requests", "10", "--no-probe", "--model", "m"];
    let mut command = run_in(folder.path());
    command.args(["--endpoint", &url]).args(short(&load, "prompts.outputLength.mean=10"));
    Ended::from(command.output().unwrap(), folder.path()).went_through()
}

/// One request, one answer; the end of the connection is the end of the body.
fn answer(mut stream: TcpStream, script: Script) -> std::io::Result<()> {
    read_request(&stream)?;
    stream.set_nodelay(true)?;
    let event = format!("data: {}\n\n", json!({"choices": [{"delta": {"content": "some words"}}]}));
    let usage = json!({"prompt_tokens": 16, "completion_tokens": script.usage});
    let last = format!("data: {}\n\ndata: [DONE]\n\n", json!({"choices": [], "usage": usage}));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        .to_owned();
    let mut writes = vec![head, event.clone(), event.clone(), event, last];
    if !script.pause_between_events {
        writes = vec![writes.concat()];
    }
    for bytes in writes {
        stream.write_all(bytes.as_bytes())?;
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    Ok(())
}

fn read_request(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    reader.read_exact(&mut vec![0; length])
}
