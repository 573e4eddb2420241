//! Writes the seeds of the fuzz targets `wire` and `journal`: one of each message and record, and a journal of all.
//!
//! A fuzzer does not invent a histogram that inflates, or a plan. The seeds are of the current format: run this again
//! whenever a message's shape changes.
//!
//! ```sh
//! cargo run -p tokenstorm-protocol --example fuzz_seeds -- fuzz/corpus
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use metrics::{
    Distribution, FailureClass, FailureSample, Interval, Metric, NotSent, Scope, ScopeRecord,
    StopReason, StopRule, Warning,
};
use protocol::{
    Abort, Assigned, Assignment, Change, Chunk, ClassCovers, CoordinatorHeartbeat, Covers, Delta,
    Fetch, FetchRecords, Goodbye, Grant, Heartbeat, Hello, Input, LEASE, Limit, Loss, LossCause,
    Move, Part, Record, RecordSegment, RecordsAccount, Refusal, StageEnd, Stop, Welcome, WorkerId,
    append_frame, encode, split,
};
use serde::Serialize;
use workload::{Config, Plan, PlanInputs, Shard, Sources};

type Outcome<T> = Result<T, Box<dyn Error>>;

const WORKER: WorkerId = WorkerId { ordinal: 2, incarnation: 0x0123_4567_89ab_cdef };

/// A file for each message, and that only.
struct Corpus(PathBuf);

impl Corpus {
    fn open(root: &Path, target: &str) -> Outcome<Self> {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn message<T: Serialize>(&self, name: &str, message: &T) -> Outcome<()> {
        Ok(std::fs::write(self.0.join(name), encode(message)?)?)
    }

    fn journal(&self, name: &str, records: &[Record]) -> Outcome<()> {
        let mut bytes = Vec::new();
        for record in records {
            append_frame(&mut bytes, record)?;
        }
        Ok(std::fs::write(self.0.join(name), bytes)?)
    }
}

fn plan() -> Outcome<Plan> {
    let sets = [
        "target.endpoint=http://127.0.0.1:8000/v1",
        "target.model=m",
        "load.rate=50",
        "load.concurrency=100",
        "load.arrivals=poisson",
        "benchmark.warmup=5",
    ];
    let sets = sets.map(str::to_owned).into();
    let config = Config::load(Sources { sets, ..Sources::default() }).map_err(in_words)?;
    let inputs = PlanInputs { model: None, prompt_salt: 7 };
    let (plan, _warnings) = Plan::from_config(&config, &inputs).map_err(in_words)?;
    Ok(plan)
}

fn in_words<E: std::fmt::Display>(problems: Vec<E>) -> String {
    problems.iter().map(E::to_string).collect::<Vec<_>>().join("; ")
}

/// Two scopes with a histogram of each kind and of few buckets.
fn delta() -> Delta {
    let mut interval = Interval::default();
    for stage in 0..2 {
        let mut record = ScopeRecord::default();
        record.books.due = 3;
        record.books.completed = 2;
        record.books.failed = BTreeMap::from([(FailureClass::Status(503), 1)]);
        record.last_completed = Some(Duration::from_millis(7_300));
        for (metric, value) in [(Metric::Ttft, 41_000), (Metric::OutputTokens, 150)] {
            let mut distribution = Distribution::new(metric.kind());
            distribution.record_n(value, 2);
            record.distributions.extend([(metric, distribution)]);
        }
        interval.scopes.extend([(Scope { stage, class: 0 }, record)]);
    }
    interval.seconds.entry(7).or_default().due = 6;
    let sample = FailureSample {
        class: FailureClass::Status(503),
        detail: "busy".to_owned(),
        at: Duration::from_millis(7_100),
    };
    Delta {
        covers: Some(Covers { from: 7, to: 8 }),
        classes: Shard::split(NonZeroU32::MIN.saturating_add(1))
            .map(|class| ClassCovers { class, covers: Covers { from: 7, to: 8 } })
            .collect(),
        interval,
        samples: vec![sample],
        in_flight: 1,
        cpu: Duration::from_millis(120),
        start_skew: Some(Duration::from_micros(80)),
        kernel_stamps: true,
        last: true,
    }
}

fn parts() -> Vec<Part> {
    split(WORKER, 1, delta())
}

/// The first of two workers is lost; the other takes its class.
fn change() -> Change {
    let from = WorkerId { ordinal: 0, incarnation: 6 };
    let moves = Shard::split(NonZeroU32::MIN.saturating_add(1))
        .take(1)
        .map(|class| Move { class, from, to: WORKER, first_round: 0 })
        .collect();
    Change { epoch: 1, from_second: 9, moves }
}

fn wire(corpus: &Corpus) -> Outcome<()> {
    for part in parts() {
        corpus.message("part", &part)?;
        corpus.message("part-without-end", &Part { end: None, ..part.clone() })?;
        corpus.message("part-without-histograms", &Part { histograms: Vec::new(), ..part })?;
    }
    let hello = Hello {
        protocol: protocol::PROTOCOL_VERSION,
        build: "0.1.0".to_owned(),
        ordinal: Some(WORKER.ordinal),
        incarnation: WORKER.incarnation,
        host: "pod-2".to_owned(),
        processors: 4,
        epoch: 3,
        last_run: Some(7),
    };
    corpus.message("hello", &hello)?;
    let refusal = Refusal { reason: "full".to_owned(), retry_after: Some(Duration::from_secs(1)) };
    corpus.message("welcome-refused", &Welcome::Refused(refusal.clone()))?;
    corpus.message("welcome-dismissed", &Welcome::Dismissed)?;
    let count = NonZeroU32::MIN.saturating_add(2);
    let shard = Shard::new(1, count).ok_or("a rank below the count makes a shard")?;
    let input = Input { path: "prompts.jsonl".into(), bytes: 12, sha256: "ab".repeat(32) };
    let (plan, inputs) = (Box::new(plan()?), vec![input]);
    let (shard, run) = (Some(shard), Some(7));
    corpus.message("assignment", &Assignment { worker: WORKER, plan, shard, inputs, run })?;
    let warnings = vec![Warning::new("prompts_repeat", "the file is short")];
    let assigned = Assigned { lanes: 2, tokenizer: Some("bytes".to_owned()), warnings };
    corpus.message("assigned", &Ok::<_, Refusal>(assigned))?;
    corpus.message("assigned-refused", &Err::<Assigned, _>(refusal))?;
    let heartbeat = Heartbeat {
        worker: WORKER,
        in_flight: 9,
        clock_offset_ns: -40_000,
        clock_error_ns: 90_000,
        epoch: 1,
        rounds_begun: 7,
        rounds_granted: 8,
        term: 1,
    };
    corpus.message("heartbeat", &heartbeat)?;
    let beat = CoordinatorHeartbeat {
        worker: WORKER,
        grant: Some(Grant {
            given_at_coordinator_ns: 5_000_000_000,
            length: LEASE,
            limit: Limit::Due(Duration::from_secs(9)),
        }),
        changes: vec![change()],
        term: 1,
        stage_ends: vec![StageEnd { stage: 1, at: Duration::from_secs(9) }],
    };
    corpus.message("coordinator-heartbeat", &beat)?;
    let (limit, reason) = (Limit::Round(8), "stopped".to_owned());
    corpus.message("goodbye", &Goodbye { worker: WORKER, limit, reason })?;
    let fetch = Fetch { worker: WORKER, sha256: "ab".repeat(32), offset: 6 };
    corpus.message("fetch", &fetch)?;
    let chunk = Chunk { offset: 6, bytes: b"prompt".to_vec() };
    corpus.message("chunk", &Ok::<_, Refusal>(chunk))?;
    corpus.message("fetch-records", &FetchRecords { worker: WORKER, segment: 3 })?;
    let account = RecordsAccount { segments: 7, written: 900, ..RecordsAccount::default() };
    let bytes = b"a member of a gzip file".to_vec();
    let segment = RecordSegment { segment: 3, records: 120, crc32c: 9, bytes, account };
    corpus.message("record-segment", &Ok::<_, Refusal>(segment))?;
    let (at, grace) = (Duration::from_secs(9), Duration::from_secs(30));
    corpus.message("stop", &Stop { at, grace, reason: NotSent::Stopped })?;
    corpus.message("abort", &Abort { reason: "interrupted".to_owned() })
}

fn journal(corpus: &Corpus) -> Outcome<()> {
    let plan = Record::Plan {
        protocol: protocol::PROTOCOL_VERSION,
        plan: Box::new(plan()?),
        created_unix_ns: 1_790_000_000_000_000_000,
    };
    let start = [
        Record::Roster(vec![(WORKER, "pod-2".to_owned())]),
        Record::ClockOffset { worker: WORKER, offset_ns: -40_000, error_ns: 90_000 },
        Record::Arm {
            start_at_coordinator_ns: 5_000_000_000,
            start_unix_ns: 1_790_000_001_000_000_000,
        },
    ];
    let loss = Loss {
        worker: WorkerId { ordinal: 0, incarnation: 6 },
        limit: Limit::Due(Duration::from_millis(8_200)),
        noticed_at: Duration::from_millis(7_700),
        cause: LossCause::Silent,
    };
    let reason = StopReason {
        rule: StopRule::Overload,
        stage: 0,
        from_second: 1,
        to_second: 6,
        figure: 0.25,
        limit: 0.05,
    };
    let end = [
        Record::Spare { worker: WORKER, host: "pod-3".to_owned() },
        Record::Ownership { loss: Some(loss), change: Some(change()) },
        Record::Resumed { at_unix_ns: 1_790_000_009_000_000_000, epoch: 1 },
        Record::Stop { at: Duration::from_secs(9) },
        Record::StageStopped {
            ends: vec![StageEnd { stage: 0, at: Duration::from_secs(7) }],
            reason: reason.clone(),
        },
        Record::StoppedByRule { at: Duration::from_secs(8), reason },
        Record::End,
    ];
    corpus.journal("plan", std::slice::from_ref(&plan))?;
    corpus.journal("start", &start)?;
    let parts: Vec<Record> = parts().into_iter().map(Record::Part).collect();
    corpus.journal("part", &parts)?;
    corpus.journal("end", &end)?;
    let whole: Vec<Record> = [plan].into_iter().chain(start).chain(parts).chain(end).collect();
    corpus.journal("whole", &whole)
}

fn main() -> Outcome<()> {
    let root = std::env::args_os().nth(1).ok_or("usage: fuzz_seeds CORPUS-FOLDER")?;
    let root = Path::new(&root);
    wire(&Corpus::open(root, "wire")?)?;
    journal(&Corpus::open(root, "journal")?)
}
