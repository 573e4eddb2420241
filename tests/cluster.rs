//! A coordinator and its workers in processes of their own, over mutual TLS on loopback.
//!
//! The coordinator is this process; a worker is this program again, as the test [`worker_process`]. One node a
//! process is all that the cluster library stands, so there is one fleet in this file.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

use std::{
    num::NonZeroU32,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use coordinator::{
    Coordinator, CoordinatorOptions, Ending, FleetSize, Listener, Merged, Protection,
};
use protocol::{Certificates, Cookie, Input, Node, Trust};
use serde_json::json;
use simulator::{Simulator, SimulatorConfig};
use worker::{Credentials, Dialer, Worker, WorkerEnd, WorkerOptions};
use workload::{Config, Plan, PlanInputs, PromptSource, Sources};

const BUILD: &str = "test";
const WORKERS: u32 = 2;

fn trust(directory: &Path, role: &str) -> Trust {
    let file = |name: String| directory.join(name);
    let (certificate, key) = (file(format!("{role}.pem")), file(format!("{role}.key")));
    Trust::from_files(&file("ca.pem".to_owned()), &certificate, &key).unwrap()
}

fn cookie(directory: &Path) -> Cookie {
    Cookie::from_file(&directory.join("cookie")).unwrap()
}

/// A worker: its ordinal, the coordinator's port and the folder of secrets come in the environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the tests below"]
async fn worker_process() {
    let Some(port) = std::env::var("CLUSTER_TEST_PORT").ok() else { return };
    let directory = std::path::PathBuf::from(std::env::var("CLUSTER_TEST_SECRETS").unwrap());
    let ordinal: u32 = std::env::var("CLUSTER_TEST_ORDINAL").unwrap().parse().unwrap();
    let node = Node::start(&format!("worker-{ordinal}"), &cookie(&directory)).await.unwrap();
    let dialer = Dialer {
        node,
        host: "127.0.0.1".to_owned(),
        port: port.parse().unwrap(),
        trust: Some(trust(&directory, "worker")),
    };
    let door = dialer.door();
    tokio::spawn(dialer.keep_connected(|| 7));
    let options = WorkerOptions {
        ordinal: Some(ordinal),
        incarnation: 1_000 + u64::from(ordinal),
        host: format!("worker-{ordinal}"),
        processors: 2,
        build: BUILD.to_owned(),
        cache: Some(directory.join(format!("cache-{ordinal}"))),
        credentials: Credentials::default(),
    };
    let worker = Worker::start(options, door).await.unwrap();
    assert_eq!(worker.complete().await, WorkerEnd::Complete);
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_worker(ordinal: u32, port: u16, secrets: &Path) -> Process {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker_process", "--ignored", "--nocapture"])
        .env("CLUSTER_TEST_PORT", port.to_string())
        .env("CLUSTER_TEST_SECRETS", secrets)
        .env("CLUSTER_TEST_ORDINAL", ordinal.to_string())
        // Relative paths of the plan are nowhere here: the prompts must come from the coordinator.
        .current_dir(secrets)
        .stdout(Stdio::null())
        .spawn();
    Process(child.unwrap())
}

fn plan(endpoint: &str, prompts: &Path) -> Plan {
    let flags = vec![
        ("target.endpoint".to_owned(), json!(endpoint)),
        ("target.model".to_owned(), json!("simulated")),
        ("load.rate".to_owned(), json!(50)),
        ("benchmark.duration".to_owned(), json!(3)),
        ("prompts.type".to_owned(), json!("file")),
        ("prompts.file".to_owned(), json!(prompts)),
        ("prompts.outputLength.mean".to_owned(), json!(4)),
    ];
    let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
    Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
}

async fn measure(folder: &Path) -> Merged {
    let secrets = folder.join("secrets");
    Certificates::generate(&["127.0.0.1".to_owned()]).unwrap().write(&secrets).unwrap();
    std::fs::write(secrets.join("cookie"), "0123456789abcdef".repeat(4)).unwrap();
    let prompts = folder.join("prompts.txt");
    std::fs::write(&prompts, "How are you?\nWhat is the time?\n").unwrap();
    let simulator = Simulator::start(SimulatorConfig::default()).unwrap();
    let plan = plan(&simulator.base_url(), &prompts);
    let inputs = PromptSource::open(&plan).unwrap().0.inputs();
    let mut plan = plan;
    // As if the plan had been made on another machine: nobody has this path.
    let elsewhere = std::path::PathBuf::from("elsewhere/prompts.txt");
    if let workload::PromptKind::File { path, .. } = &mut plan.prompts.kind {
        path.clone_from(&elsewhere);
    }
    std::fs::create_dir_all(folder.join("elsewhere")).unwrap();
    std::fs::copy(&prompts, folder.join("elsewhere/prompts.txt")).unwrap();
    std::env::set_current_dir(folder).unwrap();
    let inputs = inputs
        .into_iter()
        .map(|file| Input { path: elsewhere.clone(), bytes: file.bytes, sha256: file.sha256 })
        .collect();
    let coordinator = Coordinator::start(CoordinatorOptions {
        plan,
        size: FleetSize::exactly(NonZeroU32::new(WORKERS).unwrap()),
        inputs,
        join_timeout: Duration::from_secs(60),
        start_ahead: Duration::from_secs(1),
        journal: folder.join("journal"),
        build: BUILD.to_owned(),
    });
    let coordinator = coordinator.await.unwrap();
    coordinator.open_to_the_cluster();
    let node = Node::start("coordinator", &cookie(&secrets)).await.unwrap();
    let trust = Some(trust(&secrets, "coordinator"));
    let address = ([127, 0, 0, 1], 0).into();
    let listener = Listener::open(address, node, trust, Protection::Both).await.unwrap();
    let port = listener.address().port();
    let _workers: Vec<_> = (0..WORKERS).map(|n| start_worker(n, port, &secrets)).collect();
    let merged = coordinator.finished().await.unwrap();
    // The workers hear that their last delta is on disk.
    tokio::time::sleep(Duration::from_millis(500)).await;
    merged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_offer_one_load_and_give_one_answer() {
    let folder = tempfile::tempdir().unwrap();
    let merged = measure(folder.path()).await;
    assert_eq!(merged.ending, Ending::Completed);
    let books = merged.ledger.total().books();
    assert_eq!((books.due, books.completed), (150, 150), "{books:?}");
    for account in merged.ledger.accounts().values() {
        let due: u64 = account.books.values().map(|books| books.due).sum();
        assert_eq!((due, account.complete), (75, true));
    }
}
