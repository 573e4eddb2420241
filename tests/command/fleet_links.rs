//! Connections that break while everybody lives, and workers whom the run does not need to its end.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    fleet_support::{
        Process, complaints, coordinator, port, read_json, results_in, worker, worker_command,
    },
    support::{Bench, assert_exit, number},
};

/// A way to the coordinator on which the near end may break while the far end looks alive: what a gateway that
/// forgets its connections does.
struct Way {
    port: u16,
    near: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(coordinator: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let near: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let known = Arc::clone(&near);
        thread::spawn(move || {
            while let Ok((here, _)) = listener.accept() {
                let Ok(there) = TcpStream::connect(("127.0.0.1", coordinator)) else { continue };
                known.lock().unwrap().push(here.try_clone().unwrap());
                let (from_there, to_here) = (there.try_clone().unwrap(), here.try_clone().unwrap());
                thread::spawn(move || {
                    let kept_open = carry(here, there);
                    thread::sleep(Duration::from_secs(60));
                    drop(kept_open);
                });
                thread::spawn(move || carry(from_there, to_here).shutdown(Shutdown::Both));
            }
        });
        Self { port, near }
    }

    /// The worker's end is closed; the coordinator's stays open and silent.
    fn break_near(&self) {
        for stream in self.near.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Until one of them ends; the other is given back, open.
fn carry(mut from: TcpStream, mut to: TcpStream) -> TcpStream {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    to
}

/// Of two sessions to one node the cluster library keeps the one with the lower random number: by luck alone a worker
/// would come in at the first try five times of five once in 720 runs.
#[test]
fn a_worker_whose_connection_breaks_is_back_before_its_lease_ends() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "20", "--requests", "240", "--set", "prompts.outputLength.mean=4"];
    let leading = coordinator(&bench, 1, &[&load[..], &["--no-probe"]].concat());
    let way = Way::to(port(&leading));
    let worker = worker(way.port, &[]);
    for second in 1..=5 {
        leading.reached(2 * second);
        way.break_near();
    }
    let ended = leading.finished();
    assert!(!ended.stderr.contains("without authenticating"), "{ended:?}");
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(ended.code, 0, &summary, &ended.stderr);
    assert_eq!(number(&summary, "/books/completed"), 240, "{summary:#}");
    let worker = worker.finished();
    assert_eq!(worker.code, Some(0), "{worker:?}");
    assert!(!worker.stderr.contains("is its cookie ours"), "{worker:?}");
}

/// It reads its inputs then, which takes a debug build a second, and its answer goes by the next connection.
#[test]
fn a_worker_whose_connection_breaks_before_the_start_is_asked_again() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "20", "--requests", "40", "--set", "prompts.outputLength.mean=4"];
    let leading = coordinator(&bench, 2, &[&load[..], &["--no-probe"]].concat());
    let port = port(&leading);
    let way = Way::to(port);
    let workers = [worker(way.port, &["--ordinal", "0"]), worker(port, &["--ordinal", "1"])];
    leading.said("the run begins");
    way.break_near();
    let ended = leading.finished();
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(ended.code, 0, &summary, &ended.stderr);
    assert_eq!(workers.map(|one| one.finished().code), [Some(0); 2]);
    assert_eq!(number(&summary, "/books/completed"), 40, "{summary:#}");
    assert!(!ended.stdout.contains("degraded"), "{ended:?}");
}

#[test]
fn a_spare_that_was_not_needed_ends_with_the_run_and_is_no_loss() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "20", "--requests", "240", "--set", "prompts.outputLength.mean=4"];
    let leading = coordinator(&bench, 1, &[&load[..], &["--no-probe", "--spares", "1"]].concat());
    let port = port(&leading);
    let first = worker(port, &["--ordinal", "0"]);
    leading.reached(1);
    let mut late = worker_command(port, &["--ordinal", "1"]);
    late.env("TOKENSTORM_LOG", "info");
    let late = Process::start(late);
    late.said("has a place");
    let ended = leading.finished();
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(ended.code, 0, &summary, &ended.stderr);
    assert!(!ended.stdout.contains("worker_lost"), "{ended:?}");
    assert_eq!(first.finished().code, Some(0));
    let late = late.finished();
    assert_eq!(late.code, Some(0), "{late:?}");
    assert!(!late.stderr.contains("error: "), "{late:?}");
    assert_eq!(number(&summary, "/books/completed"), 240, "{summary:#}");
}

/// A way to the coordinator that lets one connection do its work for a while, then says on it what is no message, and
/// lets all others alone.
fn spoiled_way(coordinator: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (number, here) in listener.incoming().enumerate() {
            let (here, there) = (here.unwrap(), TcpStream::connect(("127.0.0.1", coordinator)));
            let (mut from_there, mut to_here) =
                (there.as_ref().unwrap().try_clone().unwrap(), here.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from_there, &mut to_here);
                to_here.shutdown(Shutdown::Both)
            });
            let frames = if number == 0 { 40 } else { u64::MAX };
            thread::spawn(move || carry_frames(here, there.unwrap(), frames));
        }
    });
    port
}

/// So many frames as they are, then four bytes of nonsense in a frame of four bytes.
fn carry_frames(mut from: TcpStream, mut to: TcpStream, frames: u64) -> std::io::Result<()> {
    for _ in 0..frames {
        let mut head = [0; 8];
        from.read_exact(&mut head)?;
        to.write_all(&head)?;
        std::io::copy(&mut (&from).take(u64::from_be_bytes(head)), &mut to)?;
    }
    to.write_all(&[0, 0, 0, 0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff])?;
    std::io::copy(&mut from, &mut to).map(drop)
}

#[test]
fn nonsense_from_one_that_has_its_place_ends_its_connection_with_a_line_and_costs_nothing() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "20", "--requests", "240", "--set", "prompts.outputLength.mean=4"];
    let leading = coordinator(&bench, 2, &[&load[..], &["--no-probe"]].concat());
    let port = port(&leading);
    let spoiled = worker(spoiled_way(port), &["--ordinal", "0"]);
    let other = worker(port, &["--ordinal", "1"]);
    leading.said("a peer sent what is no message: its connection is ended");
    let ended = leading.finished();
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(ended.code, 0, &summary, &ended.stderr);
    assert_eq!(complaints(&ended.stderr).len(), 1, "{ended:?}");
    assert_eq!([spoiled, other].map(|one| one.finished().code), [Some(0); 2]);
    assert_eq!(number(&summary, "/books/completed"), 240, "{summary:#}");
}
