//! A fleet whose workers live in this process: the fleet's messages through its codec, without sockets between them.
//!
//! What only takes time to go wrong is tried here: rounds of a closed loop that are granted too late, workers
//! that leave in the middle of a run.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

use std::{num::NonZeroU32, time::Duration};

use coordinator::{Coordinator, CoordinatorOptions, Ending, FleetSize, Merged, Preparation};
use metrics::{Books, NotSent, RunFacts};
use serde_json::{Value, json};
use simulator::{Running, Simulator, SimulatorConfig};
use tempfile::TempDir;
use worker::{Credentials, Worker, WorkerOptions};
use workload::{Config, Plan, PlanInputs, Sources};

fn server(ttft_ms: f64) -> Running {
    let config =
        SimulatorConfig { fixed: true, ttft_ms, itl_ms: 0.1, ..SimulatorConfig::default() };
    Simulator::start(config).unwrap()
}

fn plan(endpoint: &str, keys: &[(&str, Value)]) -> Plan {
    let mut flags = vec![
        ("target.endpoint".to_owned(), json!(endpoint)),
        ("target.model".to_owned(), json!("simulated")),
        ("prompts.inputLength.mean".to_owned(), json!(8)),
        ("prompts.outputLength.mean".to_owned(), json!(1)),
        ("client.lanes".to_owned(), json!(1)),
    ];
    flags.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
    Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
}

fn worker_options(ordinal: u32) -> WorkerOptions {
    WorkerOptions {
        ordinal: Some(ordinal),
        incarnation: u64::from(std::process::id()) << 32 | u64::from(ordinal + 1),
        host: format!("worker-{ordinal}"),
        processors: 2,
        build: "test".to_owned(),
        cache: None,
        spool: None,
        credentials: Credentials::default(),
        listener: None,
        last_run: None,
    }
}

/// A run of so many workers; `meanwhile` may do something to them. `first` numbers them: in one process
/// each incarnation is found by its name.
async fn measure(
    plan: &Plan,
    first: u32,
    count: u32,
    meanwhile: impl AsyncFnOnce(&Coordinator, &[Worker]),
) -> Merged {
    let folder = TempDir::new().unwrap();
    let options = CoordinatorOptions {
        plan: plan.clone(),
        size: FleetSize::exactly(NonZeroU32::new(count).unwrap()),
        inputs: Vec::new(),
        join_timeout: Duration::from_secs(30),
        start_ahead: Duration::from_millis(500),
        journal: folder.path().join("journal"),
        prepared: Preparation::default(),
        build: "test".to_owned(),
        run: None,
    };
    let coordinator = Coordinator::start(options).await.unwrap();
    let mut workers = Vec::new();
    for ordinal in first..first + count {
        workers.push(Worker::start(worker_options(ordinal), coordinator.door()).await.unwrap());
    }
    meanwhile(&coordinator, &workers).await;
    let merged = coordinator.finished().await.unwrap();
    for worker in workers {
        let _end = worker.complete().await;
    }
    merged
}

/// Rounds of about 1 ms. With `continue` nobody can take over, and nothing is held back; with `takeover` each
/// worker is granted so many rounds ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_closed_loop_is_not_held_back_by_its_grants() {
    let server = server(1.0);
    // Both at once: whatever else the machine has to do keeps one of them from running as it does the other.
    let endpoint = server.base_url();
    let (free, granted) = tokio::join!(
        rounds_completed(&endpoint, 10, "continue"),
        rounds_completed(&endpoint, 12, "takeover"),
    );
    // 3 s of 4 slots: held to 2 rounds at first, then to what half a second may ask for, it would be a fraction.
    assert!(granted * 10 >= free * 7, "{free} without limits, {granted} by grants");
}

async fn rounds_completed(endpoint: &str, first: u32, on_loss: &str) -> u64 {
    let keys = [
        ("load.concurrency", json!(4)),
        ("load.rampUp", json!(0)),
        ("benchmark.duration", json!(3)),
        ("fleet.onWorkerLoss", json!(on_loss)),
    ];
    let merged = measure(&plan(endpoint, &keys), first, 2, async |_, _| {}).await;
    assert_eq!(merged.ending, Ending::Completed);
    let books = merged.ledger.total().books();
    books.balance().unwrap();
    books.completed
}

/// Its share goes to the other without a gap: everything that the plan has is sent once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_to_leave_loses_nothing() {
    let server = server(200.0);
    let keys = [
        ("load.rate", json!(100)),
        ("benchmark.duration", json!(8)),
        ("benchmark.drain", json!(3)),
    ];
    let plan = plan(&server.base_url(), &keys);
    let merged = measure(&plan, 30, 2, async |coordinator, workers| {
        at(coordinator, Duration::from_millis(2_300)).await;
        workers[1].leaver()(Duration::from_secs(3));
    })
    .await;
    assert!(matches!(&merged.ending, Ending::Degraded(why) if why.contains("left")), "{merged:?}");
    let books = merged.ledger.total().books();
    // What a busy machine does not come to before the end is not sent, and said to be so.
    let late = books.not_sent.get(&NotSent::StageEnded).copied().unwrap_or_default();
    assert_eq!((books.due, books.completed + late), (800, 800), "{books:?}");
    assert!(late < 80, "{books:?}");
    assert!(merged.ledger.settle(&plan, plan.end().unwrap()).gaps.is_empty());
    workers_sum_to_the_whole(&plan, &merged);
    assert!(merged.ledger.accounts().values().all(|account| account.complete));
}

/// The rounds that its slots had not come to are skipped, not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_closed_loop_loses_nothing() {
    let server = server(5.0);
    let keys = [
        ("load.concurrency", json!(8)),
        ("load.rampUp", json!(0)),
        ("benchmark.requests", json!(6_000)),
    ];
    let plan = plan(&server.base_url(), &keys);
    let merged = measure(&plan, 40, 2, async |coordinator, workers| {
        at(coordinator, Duration::from_millis(1_300)).await;
        workers[0].leaver()(Duration::from_secs(3));
    })
    .await;
    let mut books = merged.ledger.total().books();
    for (_, gap) in merged.ledger.settle(&plan, Duration::MAX).gaps.values().flatten() {
        books.merge(gap);
    }
    books.balance().unwrap();
    assert!(matches!(&merged.ending, Ending::Degraded(why) if why.contains("left")));
    assert_eq!((books.due, books.lost.total()), (6_000, 0), "{books:?}");
    // Each of the slots that went over skips what it was behind the first of them.
    assert!(books.completed > 5_000, "{books:?}");
    assert!(merged.ledger.accounts().values().all(|account| account.complete));
}

fn workers_sum_to_the_whole(plan: &Plan, merged: &Merged) {
    let record = merged.record(plan, RunFacts::default());
    let mut sum = Books::default();
    record.workers.iter().for_each(|worker| sum.merge(&worker.books));
    assert_eq!(sum, record.merged.books());
    let shares: f64 = record.workers.iter().filter_map(|worker| worker.share).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert!(
        record.workers.iter().all(|worker| worker.snapshots > 2 && worker.ttft_p50_us.is_some())
    );
}

/// At this run time.
async fn at(coordinator: &Coordinator, run_time: Duration) {
    let mut progress = coordinator.progress();
    let started = progress.wait_for(|view| view.start.is_some()).await.unwrap().start.unwrap();
    tokio::time::sleep_until(started + run_time).await;
}
