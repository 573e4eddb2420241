//! A run seen from outside while it goes on.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Child,
};

use serde_json::{Value, json};

use crate::support::{Bench, number, signal, start, wait_until};

/// The port that `--http` tells of.
fn port(child: &mut Child) -> u16 {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = lines.find_map(|line| {
        let line = line.unwrap();
        Some(line.strip_prefix("live: http://127.0.0.1:")?.trim_end_matches('/').to_owned())
    });
    // Whoever goes on writing to a pipe that nobody reads is stopped by it.
    std::thread::spawn(move || lines.for_each(drop));
    told.expect("the address is told").parse().unwrap()
}

/// The body of an answer of status 200; `None` for any other.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

fn run(port: u16) -> Option<Value> {
    serde_json::from_str(&get(port, "/api/v1/run")?).ok()
}

#[test]
fn the_turns_of_sessions_are_seen_apart() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 1}));
    let sessions = ["--rate", "20", "--duration", "60", "--set", "sessions.turns.mean=3"];
    let mut child = start(bench.command(&[&["--http", "0", "--json"], &sessions[..]].concat()));
    let port = port(&mut child);
    let count = |run: &Value, turn: usize| run["turns"]["each"][turn]["soFar"]["count"].as_u64();
    wait_until("the third turn is told", || run(port).is_some_and(|run| count(&run, 2) > Some(10)));
    let live = run(port).unwrap();
    assert_eq!(live["turns"]["each"][2]["name"], "turn 3");
    let each: u64 = (0..3).filter_map(|turn| count(&live, turn)).sum();
    assert_eq!(live["soFar"]["ttft"]["count"], each, "{live:#}");
    assert!(live["turns"]["later"]["recent"]["p50Us"].as_u64() >= Some(10_000), "{live:#}");
    let metrics = get(port, "/metrics").unwrap();
    assert!(metrics.contains("tokenstorm_turn_ttft_seconds_count{turn=\"3\"} "), "{metrics}");
    signal(child.id(), "INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

#[test]
fn what_is_served_while_it_goes_on_is_what_the_result_says_then() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 1}));
    let arguments = ["--http", "0", "--rate", "20", "--duration", "60", "--json"];
    let mut child = start(bench.command(&arguments));
    let port = port(&mut child);
    wait_until("there are points", || {
        run(port).is_some_and(|run| run["books"]["completed"].as_u64() > Some(20))
    });
    assert_eq!(get(port, "/healthz").as_deref(), Some("ok\n"));
    assert_eq!(get(port, "/readyz").as_deref(), Some("ok\n"));
    assert!(get(port, "/").unwrap().contains("<title>tokenstorm</title>"));
    let live = run(port).unwrap();
    assert_eq!(
        (&live["phase"], &live["workers"][0]["state"]),
        (&"running".into(), &"sending".into())
    );
    assert_eq!(live["askedPerS"], 20.0);
    assert!(live["soFar"]["ttft"]["p50Us"].as_u64().unwrap() >= 10_000, "{live:#}");
    let series: Value = serde_json::from_str(&get(port, "/api/v1/series").unwrap()).unwrap();
    let first = &series["points"][0];
    // Due; a busy machine sends some of them in the next second.
    assert_eq!((number(first, "/second"), number(first, "/due")), (0, 20));
    let text = get(port, "/metrics").unwrap();
    let told = text.lines().find_map(|line| line.strip_prefix("tokenstorm_requests_due_total "));
    let told: u64 = told.unwrap().parse().unwrap();

    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told >= 20 && told <= number(&summary, "/books/due"), "{told}");
}

#[test]
fn an_address_that_is_taken_ends_the_run_before_it_begins() {
    let bench = Bench::new(json!({"fixed": true}));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = bench.run(&["--http", &address, "--rate", "5", "--requests", "5"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--http cannot listen on"), "{}", ended.stderr);
    assert_eq!(ended.results, None);
}

#[test]
fn what_the_server_says_is_on_the_runs_axis_and_nobody_to_ask_is_a_warning() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 20, "itlMs": 2}));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let prometheus = format!("metrics.prometheus.endpoint=http://{nobody}");
    let arguments = ["--rate", "40", "--duration", "5", "--json"];
    let more = ["--set", "metrics.scrape=target", "--set", &prometheus];
    let ended = bench.run(&[&arguments[..], &more].concat());
    let summary = ended.summary();
    assert!(number(&summary, "/books/completed") > 0, "{}", ended.stderr);
    let server = &summary["server"]["metrics"];
    assert!(number(server, "/queue_depth/points") >= 3, "{server:#}");
    assert!(server["requests_running"]["max"].as_f64().unwrap() > 0.0, "{server:#}");
    assert!(server["generation_tokens"]["mean"].as_f64().unwrap() > 0.0, "{server:#}");
    let warnings = summary["warnings"].as_array().unwrap();
    let told: Vec<_> = warnings.iter().filter(|one| one["code"] == "server_metrics").collect();
    assert_eq!(told.len(), 1, "{warnings:?}");
    let file = std::fs::read(ended.results.unwrap().join("server_metrics.json")).unwrap();
    let file: Value = serde_json::from_slice(&file).unwrap();
    let points = file["series"][0]["points"].as_array().unwrap();
    assert!(points.iter().all(|point| (0..=60_000).contains(&point[0].as_i64().unwrap())));
}
