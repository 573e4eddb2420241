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
    fleet_support::{Process, coordinator, port, read_json, results_in, worker, worker_command},
    support::{Bench, number},
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
    let load = ["--rate", "20", "--duration", "11", "--set", "prompts.outputLength.mean=4"];
    let leading = coordinator(&bench, 1, &[&load[..], &["--no-probe"]].concat());
    let way = Way::to(port(&leading));
    let worker = worker(way.port, &[]);
    for second in 1..=5 {
        leading.said(&format!("{}/11 s", 2 * second));
        way.break_near();
    }
    let ended = leading.finished();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("without authenticating"), "{ended:?}");
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_eq!(number(&summary, "/books/completed"), 220, "{summary:#}");
    let worker = worker.finished();
    assert_eq!(worker.code, Some(0), "{worker:?}");
    assert!(!worker.stderr.contains("is its cookie ours"), "{worker:?}");
}

#[test]
fn a_spare_that_was_not_needed_ends_with_the_run_and_is_no_loss() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}));
    let load = ["--rate", "20", "--requests", "60", "--set", "prompts.outputLength.mean=4"];
    let leading = coordinator(&bench, 1, &[&load[..], &["--no-probe", "--spares", "1"]].concat());
    let port = port(&leading);
    let first = worker(port, &["--ordinal", "0"]);
    leading.said("1 s hold");
    let mut late = worker_command(port, &["--ordinal", "1"]);
    late.env("TOKENSTORM_LOG", "info");
    let late = Process::start(late);
    late.said("has a place");
    let ended = leading.finished();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains("worker_lost"), "{ended:?}");
    assert_eq!(first.finished().code, Some(0));
    let late = late.finished();
    assert_eq!(late.code, Some(0), "{late:?}");
    assert!(!late.stderr.contains("error: "), "{late:?}");
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_eq!(number(&summary, "/books/completed"), 60, "{summary:#}");
}
