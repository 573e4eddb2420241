//! A coordinator and its workers in processes of their own, over mutual TLS on loopback.
//!
//! The coordinator is this process; a worker is this program again, as the test [`worker_process`]. One node a
//! process is all that the cluster library stands, so there is one fleet in this file.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use coordinator::{
    Coordinator, CoordinatorOptions, Ending, FleetSize, Listener, Merged, Preparation, Protection,
};
use metrics::{Books, NotSent};
use protocol::{Certificates, Cookie, Input, Journal, Limit, Loss, LossCause, Node, Record, Trust};
use serde_json::json;
use simulator::{Running, Simulator, SimulatorConfig};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use worker::{Credentials, Dialer, Worker, WorkerEnd, WorkerOptions};
use workload::{Config, Plan, PlanInputs, PromptSource, Sources};

const BUILD: &str = "test";
const WORKERS: u32 = 2;
const RATE: u64 = 50;
const PROMPTS: &str = "here/prompts.txt";

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
        spool: None,
        credentials: Credentials::default(),
        listener: None,
        last_run: None,
    };
    let worker = Worker::start(options, door).await.unwrap();
    // Closed where a test lets it be missed.
    let end = worker.complete().await;
    assert!(matches!(end, WorkerEnd::Complete | WorkerEnd::Closed), "{end:?}");
}

/// A coordinator that will be killed: its folder, port and the simulator's address come in the environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of the tests below"]
async fn coordinator_process() {
    let Some(port) = std::env::var("CLUSTER_TEST_PORT").ok() else { return };
    let secrets = std::path::PathBuf::from(std::env::var("CLUSTER_TEST_SECRETS").unwrap());
    let endpoint = std::env::var("CLUSTER_TEST_ENDPOINT").unwrap();
    let plan = plan(&endpoint, Path::new(PROMPTS), 10);
    let node = Node::start("coordinator", &cookie(&secrets)).await.unwrap();
    let coordinator = Coordinator::start(options(plan, Path::new("crashed"))).await.unwrap();
    coordinator.open_to_the_cluster();
    let address = ([127, 0, 0, 1], port.parse().unwrap()).into();
    let trust = Some(trust(&secrets, "coordinator"));
    let _listener = Listener::open(address, node, trust, Protection::Both).await.unwrap();
    let _ = coordinator.finished().await;
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program again, as one of the processes above.
fn again(test: &str, port: u16, secrets: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("CLUSTER_TEST_PORT", port.to_string())
        .env("CLUSTER_TEST_SECRETS", secrets);
    command
}

fn start_worker(ordinal: u32, port: u16, secrets: &Path) -> Process {
    let child = again("worker_process", port, secrets)
        .env("CLUSTER_TEST_ORDINAL", ordinal.to_string())
        // Relative paths of the plan are nowhere here: the prompts must come from the coordinator.
        .current_dir(secrets)
        .stdout(Stdio::null())
        .spawn();
    Process(child.unwrap())
}

fn plan(endpoint: &str, prompts: &Path, duration_s: u32) -> Plan {
    plan_with(endpoint, prompts, duration_s, "continue")
}

fn plan_with(endpoint: &str, prompts: &Path, duration_s: u32, on_loss: &str) -> Plan {
    let flags = vec![
        ("target.endpoint".to_owned(), json!(endpoint)),
        ("target.model".to_owned(), json!("simulated")),
        ("load.rate".to_owned(), json!(RATE)),
        ("benchmark.duration".to_owned(), json!(duration_s)),
        ("prompts.type".to_owned(), json!("file")),
        ("prompts.file".to_owned(), json!(prompts)),
        ("prompts.outputLength.mean".to_owned(), json!(4)),
        ("fleet.onWorkerLoss".to_owned(), json!(on_loss)),
    ];
    let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
    Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
}

fn options(plan: Plan, journal: &Path) -> CoordinatorOptions {
    CoordinatorOptions {
        inputs: inputs(&plan),
        plan,
        size: FleetSize::exactly(NonZeroU32::new(WORKERS).unwrap()),
        join_timeout: Duration::from_secs(60),
        start_ahead: Duration::from_secs(1),
        journal: journal.to_owned(),
        build: BUILD.to_owned(),
        prepared: Preparation::default(),
        run: None,
    }
}

fn inputs(plan: &Plan) -> Vec<Input> {
    let files = PromptSource::open(plan).unwrap().0.inputs().into_iter();
    files.map(|file| Input { path: file.path, bytes: file.bytes, sha256: file.sha256 }).collect()
}

/// The machine on which the coordinator runs: its node, its secrets, and prompts that only it has.
struct Home {
    folder: TempDir,
    node: Node,
    simulator: Running,
}

impl Home {
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let secrets = folder.path().join("secrets");
        Certificates::generate(&["127.0.0.1".to_owned()]).unwrap().write(&secrets).unwrap();
        std::fs::write(secrets.join("cookie"), "0123456789abcdef".repeat(4)).unwrap();
        std::fs::create_dir(folder.path().join("here")).unwrap();
        std::fs::write(folder.path().join(PROMPTS), "How are you?\nWhat is the time?\n").unwrap();
        // So that the plan's relative path leads to them from here, and from no worker's folder.
        std::env::set_current_dir(folder.path()).unwrap();
        let node = Node::start("coordinator", &cookie(&secrets)).await.unwrap();
        Self { folder, node, simulator: Simulator::start(SimulatorConfig::default()).unwrap() }
    }

    /// A run of two workers; `meanwhile` may do something to them.
    async fn measure(
        &self,
        name: &str,
        duration_s: u32,
        meanwhile: impl AsyncFnOnce(&Coordinator, &mut Vec<Process>),
    ) -> (Plan, Merged) {
        let secrets = self.folder.path().join("secrets");
        let plan = plan(&self.simulator.base_url(), Path::new(PROMPTS), duration_s);
        let options = options(plan.clone(), &self.folder.path().join(name));
        let coordinator = Coordinator::start(options).await.unwrap();
        coordinator.open_to_the_cluster();
        let (address, trust) = (([127, 0, 0, 1], 0).into(), Some(trust(&secrets, "coordinator")));
        let listener = Listener::open(address, self.node.clone(), trust, Protection::Both).await;
        let port = listener.as_ref().unwrap().address().port();
        let mut workers: Vec<_> = (0..WORKERS).map(|n| start_worker(n, port, &secrets)).collect();
        meanwhile(&coordinator, &mut workers).await;
        let merged = coordinator.finished().await.unwrap();
        // The workers hear that their last delta is on disk.
        tokio::time::sleep(Duration::from_millis(500)).await;
        (plan, merged)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_offer_one_load_and_the_books_hold_when_one_is_killed() {
    let home = Home::new().await;
    let (_, whole) = home.measure("whole", 3, async |_, _| {}).await;
    assert_eq!(whole.ending, Ending::Completed);
    let books = whole.ledger.total().books();
    all_sent(&books, 3 * RATE);
    for account in whole.ledger.accounts().values() {
        let due: u64 = account.books.values().map(|books| books.due).sum();
        assert_eq!((due, account.complete), (75, true));
    }

    let (plan, merged) = home.measure("killed", 12, kill_one_after_three_seconds).await;
    assert!(matches!(&merged.ending, Ending::Degraded(why) if why.contains("worker 1")));
    let table = merged.ledger.ownership().unwrap();
    let losses: Vec<_> = table.tenures().iter().filter_map(|t| table.loss(t.owner)).collect();
    assert_eq!(losses.len(), 1);
    let Limit::Due(limit) = losses[0].limit else { panic!("{:?}", losses[0]) };
    // Killed at 3 s or a little later, and missed 3 to 3.5 s after it was last heard.
    assert!(losses[0].noticed_at >= Duration::from_secs(5), "{losses:?}");
    assert!(limit >= Duration::from_secs(3), "{losses:?}");
    let mut books = merged.ledger.total().books();
    for gap in merged.ledger.settle(&plan, plan.end().unwrap()).gaps.values().flatten() {
        books.merge(gap.1);
    }
    books.balance().unwrap();
    assert_eq!(books.due, 12 * RATE);
    assert!(books.lost.total() > 0, "{books:?}");

    survive_a_killed_coordinator(&home).await;
}

/// So many were due and all of them answered, but for those of the last half second that a busy machine came to after the
/// end: they are not begun then, and the books say so.
fn all_sent(books: &Books, due: u64) {
    let late = books.not_sent.get(&NotSent::StageEnded).copied().unwrap_or_default();
    assert_eq!((books.due, books.completed + late), (due, due), "{books:?}");
    assert!(late <= RATE / 2, "{books:?}");
}

/// Its workers wait for another one, which finds the run in the journal; nothing is lost.
async fn survive_a_killed_coordinator(home: &Home) {
    let secrets = home.folder.path().join("secrets");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut first = again("coordinator_process", port, &secrets);
    let endpoint = home.simulator.base_url();
    first.env("CLUSTER_TEST_ENDPOINT", &endpoint).current_dir(home.folder.path());
    let first = Process(first.stdout(Stdio::null()).spawn().unwrap());
    let _workers: Vec<_> = (0..WORKERS).map(|n| start_worker(n, port, &secrets)).collect();
    let journal = home.folder.path().join("crashed");
    let has_parts = || {
        let records = Journal::read(&journal).map_or_else(|_| Vec::new(), |read| read.records);
        records.iter().any(|record| matches!(record, Record::Part(_)))
    };
    while !has_parts() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let plan = plan(&endpoint, Path::new(PROMPTS), 10);
    let resumed = Coordinator::resume(&journal, BUILD.to_owned(), inputs(&plan)).await.unwrap();
    resumed.open_to_the_cluster();
    let (address, trust) = (([127, 0, 0, 1], port).into(), Some(trust(&secrets, "coordinator")));
    let listener = Listener::open(address, home.node.clone(), trust, Protection::Both).await;
    let merged = resumed.finished().await.unwrap();
    assert!(matches!(merged.ending, Ending::Degraded(_)));
    drop(listener);
    let books = merged.ledger.total().books();
    all_sent(&books, 10 * RATE);
    assert!(merged.ledger.accounts().values().all(|account| account.complete));
}

/// Run time, not the test's: however long the workers took to come.
async fn kill_one_after_three_seconds(coordinator: &Coordinator, workers: &mut Vec<Process>) {
    let mut progress = coordinator.progress();
    let started = progress.wait_for(|view| view.start.is_some()).await.unwrap().start.unwrap();
    tokio::time::sleep_until(started + Duration::from_secs(3)).await;
    drop(workers.pop());
}

/// A way to the coordinator that can be cut: nothing passes, and neither side hears that it was.
struct Way {
    port: u16,
    passes: watch::Sender<bool>,
}

impl Way {
    async fn to(coordinator: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (passes, open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((here, _)) = listener.accept().await {
                let Ok(there) = TcpStream::connect(coordinator).await else { continue };
                let (from_here, to_here) = here.into_split();
                let (from_there, to_there) = there.into_split();
                tokio::spawn(carry(from_here, to_there, open.clone()));
                tokio::spawn(carry(from_there, to_here, open.clone()));
            }
        });
        Self { port, passes }
    }

    async fn cut_for(&self, length: Duration) {
        self.passes.send(false).unwrap();
        tokio::time::sleep(length).await;
        self.passes.send(true).unwrap();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let passes = open.wait_for(|open| *open).await.is_ok();
        if !passes || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// What is done to the second worker, 3 s after the start.
enum Fault {
    Cut(Duration),
    Stopped(Duration),
}

impl Home {
    /// A run with takeover in which the second worker's way to the coordinator can be cut.
    async fn suffer(&self, name: &str, duration_s: u32, fault: Fault) -> (Books, Merged) {
        let secrets = self.folder.path().join("secrets");
        self.simulator.reset();
        let endpoint = self.simulator.base_url();
        let plan = plan_with(&endpoint, Path::new(PROMPTS), duration_s, "takeover");
        let options = options(plan.clone(), &self.folder.path().join(name));
        let coordinator = Coordinator::start(options).await.unwrap();
        coordinator.open_to_the_cluster();
        let (address, trust) = (([127, 0, 0, 1], 0).into(), Some(trust(&secrets, "coordinator")));
        let listener = Listener::open(address, self.node.clone(), trust, Protection::Both).await;
        let address = listener.as_ref().unwrap().address();
        let way = Way::to(address).await;
        let workers =
            [start_worker(0, address.port(), &secrets), start_worker(1, way.port, &secrets)];
        let mut progress = coordinator.progress();
        let started = progress.wait_for(|view| view.start.is_some()).await.unwrap().start.unwrap();
        tokio::time::sleep_until(started + Duration::from_secs(3)).await;
        match fault {
            Fault::Cut(length) => way.cut_for(length).await,
            Fault::Stopped(length) => {
                workers[1].signal("-STOP");
                tokio::time::sleep(length).await;
                workers[1].signal("-CONT");
            }
        }
        let merged = coordinator.finished().await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut books = merged.ledger.total().books();
        for (_, gap) in merged.ledger.settle(&plan, plan.end().unwrap()).gaps.values().flatten() {
            books.merge(gap);
        }
        books.balance().unwrap();
        assert_eq!(books.due, u64::from(duration_s) * RATE);
        (books, merged)
    }

    /// Nothing was sent twice, and nothing that the books do not know of.
    fn the_server_agrees(&self, books: &Books) {
        let known = books.started() + books.lost.in_flight_at_last_snapshot;
        let most = known + books.lost.due_after_last_snapshot;
        let seen = self.simulator.truth().received;
        assert!((known..=most).contains(&seen), "the server has {seen}: {books:?}");
    }
}

impl Process {
    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(done.unwrap().success());
    }
}

/// How the second worker was lost, and when others went on.
fn loss_and_takeover(merged: &Merged) -> Option<(Loss, Duration)> {
    let table = merged.ledger.ownership().unwrap();
    let loss = table.tenures().iter().find_map(|tenure| table.loss(tenure.owner))?;
    Some((*loss, table.taken_over_at(loss.worker).unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a minute: a worker is cut off for 1 s and for 20 s, and stopped for 10 s"]
async fn a_worker_that_is_cut_off_or_stopped_sends_nothing_beside_its_heir() {
    let home = Home::new().await;
    let (books, merged) = home.suffer("blinked", 8, Fault::Cut(Duration::from_secs(1))).await;
    assert_eq!(merged.ending, Ending::Completed);
    all_sent(&books, 8 * RATE);
    assert_eq!(loss_and_takeover(&merged), None);
    home.the_server_agrees(&books);

    let faults = [
        ("cut", 30, Fault::Cut(Duration::from_secs(20))),
        ("stopped", 20, Fault::Stopped(Duration::from_secs(10))),
    ];
    for (name, duration_s, fault) in faults {
        let (books, merged) = home.suffer(name, duration_s, fault).await;
        println!("{name}: {books:?}");
        let (loss, taken_over_at) = loss_and_takeover(&merged).unwrap();
        assert_eq!((loss.worker.ordinal, loss.cause), (1, LossCause::Silent));
        let Limit::Due(limit) = loss.limit else { panic!("{loss:?}") };
        assert!(taken_over_at >= limit && loss.noticed_at <= Duration::from_secs(8), "{loss:?}");
        // Its last words came too late: what it had not told by then stays lost.
        assert!(!merged.ledger.accounts()[&loss.worker].complete);
        assert!(books.lost.total() > 0, "{books:?}");
        home.the_server_agrees(&books);
    }
}
