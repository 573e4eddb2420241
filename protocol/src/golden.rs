//! The bytes of every message. What changes here cannot be read by a peer of the release before, and raises
//! [`crate::PROTOCOL_VERSION`].
//!
//! Integers take one byte up to 250, else a marker (251: two bytes, 252: four, 253: eight, little endian); a
//! signed one is zigzag; a duration is seconds and nanoseconds; an enum begins with its variant's number; text,
//! lists and options begin with their length or with 0 or 1.

use std::{fmt::Debug, num::NonZeroU32, time::Duration};

use metrics::{NotSent, StopReason, StopRule};
use serde::{Serialize, de::DeserializeOwned};
use workload::Shard;

use crate::{
    Abort, Acknowledge, Arm, Armed, Assigned, Change, Chunk, ClassCovers, Closed,
    CoordinatorHeartbeat, Covers, Fetch, FetchRecords, Goodbye, Grant, Heartbeat, Hello, Input,
    IntervalEnd, LEASE, Limit, Loss, LossCause, Move, Over, PROTOCOL_VERSION, Part, Record,
    RecordSegment, RecordsAccount, RecordsTaken, Refusal, StageEnd, Stop, TimePing, TimePong,
    Welcome, WorkerId, decode, encode,
};

const WORKER: WorkerId = WorkerId { ordinal: 3, incarnation: 5 };

fn same<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, bytes: &[u8]) {
    assert_eq!(encode(value).unwrap(), bytes, "{value:?}");
    assert_eq!(&decode::<T>(bytes).unwrap(), value);
}

fn class() -> Shard {
    Shard::new(1, NonZeroU32::new(4).unwrap()).unwrap()
}

fn change() -> Change {
    let moves = vec![Move {
        class: class(),
        from: WORKER,
        to: WorkerId { ordinal: 7, incarnation: 8 },
        first_round: 6,
    }];
    Change { epoch: 2, from_second: 9, moves }
}

#[test]
fn these_are_the_bytes_of_protocol_5() {
    assert_eq!(PROTOCOL_VERSION, 5);
}

#[test]
fn what_a_worker_says() {
    let hello = Hello {
        protocol: 5,
        build: "b".to_owned(),
        ordinal: Some(3),
        incarnation: 5,
        host: "h".to_owned(),
        processors: 4,
        epoch: 1,
        last_run: Some(9),
    };
    same(&hello, &[5, 1, b'b', 1, 3, 5, 1, b'h', 4, 1, 1, 9]);
    same(&TimePing { worker: WORKER }, &[3, 5]);
    let heartbeat = Heartbeat {
        worker: WORKER,
        in_flight: 9,
        clock_offset_ns: -1,
        clock_error_ns: 2,
        epoch: 1,
        rounds_begun: 7,
        rounds_granted: 8,
        term: 6,
    };
    same(&heartbeat, &[3, 5, 9, 1, 2, 1, 7, 8, 6]);
    let limit = Limit::Due(Duration::new(8, 200));
    same(&Goodbye { worker: WORKER, limit, reason: "r".to_owned() }, &[3, 5, 0, 8, 200, 1, b'r']);
    same(&Fetch { worker: WORKER, sha256: "ab".to_owned(), offset: 6 }, &[3, 5, 2, b'a', b'b', 6]);
    same(
        &Assigned { lanes: 2, tokenizer: Some("t".to_owned()), warnings: Vec::new() },
        &[2, 1, 1, b't', 0],
    );
    same(&Armed { clock_offset_ns: 1, clock_error_ns: 2 }, &[2, 2]);
}

#[test]
fn what_the_coordinator_says() {
    let refusal = Refusal { reason: "n".to_owned(), retry_after: Some(Duration::from_secs(1)) };
    same(&Welcome::Accepted { ordinal: 3 }, &[0, 3]);
    same(&Welcome::Refused(refusal.clone()), &[1, 1, b'n', 1, 1, 0]);
    same(&Welcome::Spare { ordinal: 3 }, &[2, 3]);
    same(&Welcome::Dismissed, &[3]);
    same(&TimePong { coordinator_ns: 300 }, &[251, 44, 1]);
    same(&Arm { start_at_coordinator_ns: 1 }, &[1]);
    same(&Acknowledge { worker: WORKER, sequence: 4 }, &[3, 5, 4]);
    let (at, grace) = (Duration::from_secs(9), Duration::from_secs(30));
    same(&Stop { at, grace, reason: NotSent::Stopped }, &[9, 0, 30, 0, 5]);
    same(&Abort { reason: "r".to_owned() }, &[1, b'r']);
    same(&Closed { worker: WORKER }, &[3, 5]);
    let chunk = Chunk { offset: 6, bytes: vec![1, 255] };
    same(&Ok::<_, Refusal>(chunk), &[0, 6, 2, 1, 255]);
    same(&Err::<Chunk, _>(refusal), &[1, 1, b'n', 1, 1, 0]);
    same(
        &Input { path: "p".into(), bytes: 12, sha256: "ab".to_owned() },
        &[1, b'p', 12, 2, b'a', b'b'],
    );
    let grant = Grant { given_at_coordinator_ns: 1, length: LEASE, limit: Limit::Round(8) };
    let changes = vec![change()];
    let stage_ends = vec![StageEnd { stage: 1, at: Duration::from_secs(7) }];
    let beat =
        CoordinatorHeartbeat { worker: WORKER, grant: Some(grant), changes, term: 6, stage_ends };
    // 500,000,000 ns are 0x1DCD6500.
    same(
        &beat,
        &[
            3, 5, 1, 1, 2, 252, 0, 0x65, 0xCD, 0x1D, 1, 8, 1, 2, 9, 1, 1, 4, 3, 5, 7, 8, 6, 6, 1,
            1, 7, 0,
        ],
    );
    same(&Over { called_off: Some("n".to_owned()) }, &[1, 1, b'n']);
}

#[test]
fn records_of_single_requests() {
    same(&FetchRecords { worker: WORKER, segment: 6 }, &[3, 5, 6]);
    let account = RecordsAccount {
        segments: 7,
        written: 8,
        dropped_by_queue: 1,
        dropped_by_disk: 2,
        problem: Some("p".to_owned()),
    };
    let bytes = vec![1, 255];
    let segment = RecordSegment { segment: 6, records: 9, crc32c: 300, bytes, account };
    let expected = [0, 6, 9, 251, 44, 1, 2, 1, 255, 7, 8, 1, 2, 1, 1, b'p'];
    same(&Ok::<_, Refusal>(segment), &expected);
    same(&RecordsTaken { worker: WORKER }, &[3, 5]);
}

#[test]
fn parts_of_a_delta() {
    let end = IntervalEnd {
        covers: Some(Covers { from: 7, to: 8 }),
        classes: vec![ClassCovers { class: class(), covers: Covers { from: 7, to: 8 } }],
        scopes: Vec::new(),
        seconds: Vec::new(),
        samples: Vec::new(),
        in_flight: 9,
        cpu: Duration::from_secs(2),
        start_skew: None,
        kernel_stamps: true,
        last: false,
    };
    let part = Part { worker: WORKER, sequence: 4, histograms: Vec::new(), end: Some(end) };
    same(&part, &[3, 5, 4, 0, 1, 1, 7, 8, 1, 1, 4, 7, 8, 0, 0, 0, 9, 2, 0, 0, 1, 0]);
}

#[test]
fn records_of_the_journal() {
    same(&Record::Roster(vec![(WORKER, "h".to_owned())]), &[1, 1, 3, 5, 1, b'h']);
    same(&Record::ClockOffset { worker: WORKER, offset_ns: -2, error_ns: 4 }, &[2, 3, 5, 3, 4]);
    same(&Record::Arm { start_at_coordinator_ns: 1, start_unix_ns: 2 }, &[3, 1, 4]);
    same(&Record::Stop { at: Duration::from_secs(9) }, &[5, 9, 0]);
    same(&Record::End, &[6]);
    same(&Record::Spare { worker: WORKER, host: "h".to_owned() }, &[7, 3, 5, 1, b'h']);
    let loss = Loss {
        worker: WORKER,
        limit: Limit::Due(Duration::from_secs(8)),
        noticed_at: Duration::from_secs(7),
        cause: LossCause::Left,
    };
    let record = Record::Ownership { loss: Some(loss), change: Some(change()) };
    same(&record, &[8, 1, 3, 5, 0, 8, 0, 7, 0, 1, 1, 2, 9, 1, 1, 4, 3, 5, 7, 8, 6]);
    same(&Record::Resumed { at_unix_ns: 1, epoch: 2 }, &[9, 2, 2]);
    let warnings = vec![metrics::Warning::new("c", "m")];
    same(&Record::Prepared { probe_requests: 1, warnings }, &[10, 1, 1, 1, b'c', 1, b'm']);
    let assigned = Assigned { lanes: 2, tokenizer: None, warnings: Vec::new() };
    same(&Record::Rounds { worker: WORKER, below: 9 }, &[11, 3, 5, 9]);
    same(&Record::Assigned { worker: WORKER, assigned }, &[12, 3, 5, 2, 0, 0]);
    let reason = StopReason {
        rule: StopRule::Overload,
        stage: 1,
        from_second: 2,
        to_second: 6,
        figure: 0.5,
        limit: 0.0,
    };
    // 0.5 is 0x3FE0_0000_0000_0000.
    let figures = [0, 0, 0, 0, 0, 0, 0xE0, 0x3F, 0, 0, 0, 0, 0, 0, 0, 0];
    let bytes: Vec<u8> = [13, 9, 0, 0, 1, 2, 6].into_iter().chain(figures).collect();
    same(&Record::StoppedByRule { at: Duration::from_secs(9), reason: reason.clone() }, &bytes);
    let ends = vec![StageEnd { stage: 1, at: Duration::from_secs(9) }];
    let bytes: Vec<u8> = [14, 1, 1, 9, 0, 0, 1, 2, 6].into_iter().chain(figures).collect();
    same(&Record::StageStopped { ends, reason }, &bytes);
}
