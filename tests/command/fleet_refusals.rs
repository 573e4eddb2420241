//! Who does not belong to a fleet: one clear line on the right side, and nobody else disturbed.

use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::{COORDINATOR_GROUP, Cookie, CoordinatorMessage, Hello, Node, Peer, Welcome, Wire};
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use serde_json::json;
use worker::{Credentials, Dialer, Worker, WorkerOptions};

use crate::{
    fleet_support::{
        COOKIE, Process, complaints, coordinator, coordinator_command, errors, free_port, port,
        read_json, results_in, worker, worker_command,
    },
    support::{Bench, assert_exit, number, tokenstorm, wait_until},
};

const KEY: &str = "sk-very-secret-0123456789";
const LOAD: [&str; 7] =
    ["--rate", "30", "--requests", "90", "--no-probe", "--set", "prompts.outputLength.mean=4"];

fn bench() -> Bench {
    Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2}))
}

fn certificates(folder: &Path, name: &str) -> PathBuf {
    let out = folder.join(name);
    let mut command = tokenstorm();
    command.args(["certs", "--host", "127.0.0.1", "localhost", "--out"]).arg(&out);
    assert_eq!(Process::start(command).finished().code, Some(0));
    out
}

#[test]
fn certificates_that_are_there_are_kept() {
    let bench = bench();
    let out = certificates(bench.folder.path(), "ours");
    let before = std::fs::read(out.join("cookie")).unwrap();
    let again = |more: &[&str]| {
        let mut command = tokenstorm();
        command.args(["certs", "--host", "127.0.0.1", "--out"]).arg(&out).args(more);
        Process::start(command).finished()
    };
    assert_eq!(again(&[]).code, Some(2));
    assert_eq!(again(&["--if-missing"]).code, Some(0));
    assert_eq!(std::fs::read(out.join("cookie")).unwrap(), before);
    std::fs::remove_file(out.join("worker.key")).unwrap();
    assert_eq!(again(&["--if-missing"]).code, Some(2), "half of a fleet's files fit no others");
}

fn flags(certificates: &Path, role: &str) -> Vec<String> {
    let file = |name: String| certificates.join(name).display().to_string();
    let flags = [("--ca", "ca.pem".to_owned())];
    let own = [("--cert", format!("{role}.pem")), ("--key", format!("{role}.key"))];
    let all = flags.into_iter().chain(own);
    all.flat_map(|(flag, name)| [flag.to_owned(), file(name)]).collect()
}

fn borrowed(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

#[test]
fn strangers_keep_no_fleet_from_its_run() {
    let bench = bench();
    let [ours, theirs] = ["ours", "theirs"].map(|name| certificates(bench.folder.path(), name));
    let leading = flags(&ours, "coordinator");
    let leading = coordinator(&bench, 2, &[&LOAD[..], &borrowed(&leading)].concat());
    let port = port(&leading);
    let (friend, stranger) = (flags(&ours, "worker"), flags(&theirs, "worker"));

    let _silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    leading.said("a connection was refused");
    let stranger = worker(port, &borrowed(&stranger));
    stranger.said("invalid peer certificate");
    let mut cookie = worker_command(port, &borrowed(&friend));
    let cookie = Process::start({
        cookie.env("TOKENSTORM_COOKIE", "another-cookie-another-cookie-another");
        cookie
    });
    cookie.said("are cookie and certificates the same there?");
    leading.said("is its cookie ours?");
    let first = worker(port, &[&borrowed(&friend)[..], &["--ordinal", "0"]].concat());
    leading.said("1 of 2 workers are here");
    let second = worker(port, &[&borrowed(&friend)[..], &["--ordinal", "0"]].concat());
    second.said("ordinal 0 is held by another worker");
    let other = worker(port, &borrowed(&friend));

    let ended = leading.finished();
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(ended.code, 0, &summary, &ended.stderr);
    for worker in [first, other].map(Process::finished) {
        assert_eq!((worker.code, complaints(&worker.stderr).len()), (Some(0), 0), "{worker:?}");
    }
    assert_eq!(number(&summary, "/books/completed"), 90);
    // However often it has dialled: its own problem is told once.
    assert_eq!(stranger.words().matches("invalid peer certificate").count(), 1);
    assert_eq!(second.words().matches("ordinal 0 is held").count(), 1);
}

#[test]
fn bytes_that_are_no_messages_end_their_own_connection_only() {
    let bench = bench();
    let leading = coordinator(&bench, 1, &LOAD);
    let port = port(&leading);
    // Too long by any measure, cut short, too long by its length alone, whole and no message.
    let frames: [&[u8]; 4] = [
        &[0xff; 64],
        &[0, 0, 0, 0, 0, 0, 0, 40, 9, 9, 9, 9],
        &[0, 0, 0, 0, 0x7f, 0, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 0, 4, 9, 9, 9, 9],
    ];
    let open: Vec<_> = frames
        .map(|bytes| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(bytes).unwrap();
            stream
        })
        .into();
    leading.said("a frame that is longer than any of ours");
    leading.said("is its cookie ours?");
    leading.said("a peer did not authenticate in time");
    let worker = worker(port, &[]);
    let ended = leading.finished();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    assert_eq!(worker.finished().code, Some(0));
    drop(open);
}

/// A fleet of three in which one comes: it dials already when the coordinator begins to wait.
fn one_of_three(bench: &Bench, least: &str) -> (Process, Process) {
    let port = free_port();
    let worker = worker(port, &[]);
    worker.said("no coordinator yet");
    let listen = format!("127.0.0.1:{port}");
    let more = ["--listen", &listen, "--min-workers", least, "--join-timeout", "3s"];
    (coordinator(bench, 3, &[&more, &LOAD[..]].concat()), worker)
}

#[test]
fn fewer_workers_than_the_minimum_are_no_run() {
    let bench = bench();
    let (leading, worker) = one_of_three(&bench, "2");
    let ended = leading.finished();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = "error: only 1 of 3 workers came in time, and at least 2 are needed";
    assert_eq!(errors(&ended.stderr), [said]);
    assert_eq!(bench.simulator.truth().received, 0);
    let left = std::fs::read_dir(bench.folder.path().join("results")).unwrap().count();
    assert_eq!(left, 0, "a run that never began leaves nothing");
    let worker = worker.finished();
    assert_eq!(worker.code, Some(1), "{worker:?}");
    // At once, in the coordinator's words; not because it misses it after a while.
    let said =
        "error: no load was offered: only 1 of 3 workers came in time, and at least 2 are needed";
    assert_eq!(errors(&worker.stderr), [said]);
}

#[test]
fn with_the_minimum_at_the_deadline_the_run_begins() {
    let bench = bench();
    let (leading, worker) = one_of_three(&bench, "1");
    let ended = leading.finished();
    assert_eq!(worker.finished().code, Some(0));
    let summary = read_json(&results_in(bench.folder.path()).join("summary.json"));
    assert_exit(ended.code, 0, &summary, &ended.stderr);
    assert_eq!(number(&summary, "/books/completed"), 90);
}

#[test]
fn a_data_set_that_differs_is_refused_with_both_hashes() {
    let bench = bench();
    let prompts = bench.folder.path().join("p.txt");
    std::fs::write(&prompts, "How are you?\n").unwrap();
    let leading = coordinator(&bench, 1, &[&["--prompts", "p.txt"], &LOAD[..]].concat());
    let port = port(&leading);
    // The coordinator has read it: the worker's machine has another file of that name.
    std::fs::write(&prompts, "Something else\n").unwrap();
    let _worker = worker(port, &[]);
    let ended = leading.finished();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let said = errors(&ended.stderr);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("p.txt differs from the coordinator's: SHA-256 "), "{said:?}");
    assert_eq!(bench.simulator.truth().received, 0);
}

#[test]
fn nobody_speaks_to_other_machines_unprotected() {
    let bench = bench();
    let one_line = |process: Process, words: &str| {
        let ended = process.finished();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(words), "{ended:?}");
    };
    let listening = coordinator(&bench, 1, &[&["--listen", "0.0.0.0:0"], &LOAD[..]].concat());
    one_line(listening, "give certificates and a cookie");
    let mut dialling = tokenstorm();
    dialling.args(["worker", "--coordinator", "10.1.2.3:4697"]);
    one_line(Process::start(dialling), "10.1.2.3 is another machine");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listening = coordinator(&bench, 1, &[&["--listen", &address], &LOAD[..]].concat());
    one_line(listening, "cannot listen on 127.0.0.1:");
    let mut short = coordinator_command(&bench, 1, &LOAD);
    short.env("TOKENSTORM_COOKIE", "guess");
    one_line(Process::start(short), "the cookie has 5 characters");
}

/// What nobody of ours would send, under the name of a message that the door takes.
struct Rogue(Vec<u8>);

impl ractor::Message for Rogue {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        Ok(SerializedMessage::Cast {
            variant: "Heartbeat".to_owned(),
            args: self.0,
            metadata: None,
        })
    }
}

fn stranger(incarnation: u64) -> WorkerOptions {
    WorkerOptions {
        ordinal: None,
        incarnation,
        host: "stranger".to_owned(),
        processors: 1,
        build: "0.0.1".to_owned(),
        cache: None,
        spool: None,
        credentials: Credentials::default(),
        listener: None,
        last_run: None,
    }
}

/// It knows the cookie, and is of another build, of another protocol, and no friend.
///
/// One node a process: this is the only test here that has one.
#[test]
fn a_stranger_with_the_cookie_is_refused_in_words_and_disturbs_nobody() {
    let bench = bench();
    let leading = coordinator(&bench, 1, &LOAD);
    let port = port(&leading);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let node = Node::start("stranger", &Cookie::new(COOKIE).unwrap()).await.unwrap();
        let dialer = Dialer { node: node.clone(), host: "127.0.0.1".to_owned(), port, trust: None };
        let door = dialer.door();
        let dialling = tokio::spawn(dialer.keep_connected(|| 7));
        let started = Worker::start(stranger(99), door.clone());
        let started = tokio::time::timeout(Duration::from_secs(60), started).await.unwrap();
        let refused = started.map(|_| ()).unwrap_err().to_string();
        let said = "build 0.0.1 does not match the coordinator's";
        assert!(refused.contains(said), "{refused}");
        leading.said(said);

        let (said, reason) = ("protocol 99 does not match the coordinator's", ask(&door).await);
        assert!(reason.contains(said), "{reason}");
        leading.said(said);

        let rogue = Peer::<Rogue>::of_group(COORDINATOR_GROUP);
        // The library drops what has not even a length; what follows a right one is ours to refuse.
        rogue.send(Rogue(vec![0xff; 100])).unwrap();
        rogue.send(Rogue([&100_u64.to_be_bytes()[..], &[0xff; 100]].concat())).unwrap();
        leading.said("a message of a worker is unreadable and was dropped");
        dialling.abort();
        rogue.send(Rogue(vec![0; 3 << 20])).unwrap();
        leading.said("a peer sent a frame that is longer than any of ours");
        let ended = async {
            while node.sessions() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.unwrap();
    });
    let worker = worker(port, &[]);
    let ended = leading.finished();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(complaints(&ended.stderr).len(), 4, "one line for each: {ended:?}");
    let worker = worker.finished();
    assert_eq!((worker.code, complaints(&worker.stderr).len()), (Some(0), 0), "{worker:?}");
}

/// A registration by another protocol; the reason of its refusal.
async fn ask(door: &Peer<CoordinatorMessage>) -> String {
    let hello = Hello {
        protocol: 99,
        build: "0.0.1".to_owned(),
        ordinal: None,
        // That of a worker whose actor is here, or it would be asked to wait.
        incarnation: 99,
        host: "stranger".to_owned(),
        processors: 1,
        epoch: 0,
        last_run: None,
    };
    let ask = |reply| CoordinatorMessage::Register(Wire::new(hello), reply);
    match door.ask(ask, Duration::from_secs(10)).await {
        Ok(Wire(Ok(Welcome::Refused(refusal)))) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

fn command_line(process: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{process}/cmdline")).unwrap();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Those that a process has started.
fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let listed = std::fs::read_to_string(path).unwrap();
    listed.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

/// What the files of a folder hold, and those of the folders in it.
fn read_all(folder: &Path, files: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => read_all(&path, files),
            false => files.push(std::fs::read(path).unwrap()),
        }
    }
}

fn assert_secret(texts: &[String], folder: &Path) {
    let mut files = Vec::new();
    read_all(&results_in(folder), &mut files);
    let texts = texts.iter().map(|text| text.clone().into_bytes());
    for bytes in texts.chain(files) {
        for secret in [KEY, COOKIE] {
            let holds = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!holds, "{secret} in {}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a_worker_has_its_own_key_and_no_secret_is_shown_anywhere() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2, "apiKey": KEY}));
    let more = ["--model", "simulated"];
    let mut leading = coordinator_command(&bench, 1, &[&LOAD[..], &more].concat());
    leading.env("TOKENSTORM_LOG", "trace");
    let leading = Process::start(leading);
    let mut command = worker_command(port(&leading), &[]);
    command.env("OPENAI_API_KEY", KEY).env("TOKENSTORM_LOG", "trace");
    let worker = Process::start(command);
    let lines = [leading.id(), worker.id()].map(command_line);
    let (leading, worker) = (leading.finished(), worker.finished());
    assert_eq!((leading.code, worker.code), (Some(0), Some(0)), "{}", leading.stdout);
    let shown = [leading.stdout, leading.stderr, worker.stdout, worker.stderr];
    assert_secret(&[&lines[..], &shown].concat(), bench.folder.path());
}

#[test]
fn local_workers_are_told_their_secrets_in_private_and_outlive_no_run() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 10, "itlMs": 2, "apiKey": KEY}));
    let secret = bench.folder.path().join("key");
    std::fs::write(&secret, KEY).unwrap();
    let key = format!("target.apiKeyFile={}", secret.display());
    let arguments = ["--rate", "20", "--duration", "60", "--workers", "2", "--set", &key];
    let running = Process::start(bench.command(&arguments));
    running.reached(1);
    let workers = children(running.id());
    assert_eq!(workers.len(), 2);
    for id in workers.iter().chain([&running.id()]) {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment).into_owned();
        for text in [command_line(*id), environment] {
            assert!(!text.contains(KEY) && !text.contains("COOKIE"), "{text}");
        }
    }
    wait_until("an answer is complete", || bench.simulator.truth().completed > 0);
    running.kill();
    let alive = |id: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z")
    };
    wait_until("the workers have ended", || !workers.iter().any(alive));
}
