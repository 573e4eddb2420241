//! The same requests, recorded by 1, 2 or 5 workers, give one answer: bucket by bucket and book by book.
//!
//! The path is the real one: each lane's recorder, the worker's outbox, the codec, the coordinator's
//! ledger. Only sockets and clocks are left out, so the comparison can be exact.

#![expect(clippy::unwrap_used, reason = "a helper that panics is a test that fails")]

use std::{num::NonZeroU32, time::Duration};

use coordinator::{Acceptance, Ledger};
use metrics::{
    Completion, EventSample, FailureClass, Interval, NotSent, Recorder, Scope, StageWindow,
    Timeline, TokenUsage,
};
use protocol::{Covers, Delta, Part, WorkerId};
use worker::Outbox;
use workload::Shard;

const REQUESTS: u64 = 4_000;
const SECONDS: u32 = 12;
const LANES: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// A well-mixed number for (request, purpose): splitmix64, Steele et al. 2014.
fn mixed(number: u64, purpose: u64) -> u64 {
    let mut z = number.wrapping_mul(64).wrapping_add(purpose).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Up to `most` microseconds, log-uniformly: every decade is visited.
fn spread(number: u64, purpose: u64, most: u64) -> Duration {
    let bits = u64::BITS - most.leading_zeros();
    let mask = (1_u64 << (1 + mixed(number, purpose) % u64::from(bits))) - 1;
    Duration::from_nanos(1_000 * (mixed(number, purpose + 32) & mask).min(most) + number % 1_000)
}

fn windows() -> Vec<StageWindow> {
    let seconds = |start, end| StageWindow {
        start: Duration::from_secs(start),
        end: Some(Duration::from_secs(end)),
    };
    vec![seconds(0, 2), seconds(2, 10)]
}

fn due(number: u64) -> Duration {
    Duration::from_secs(10) * u32::try_from(number).unwrap() / u32::try_from(REQUESTS).unwrap()
}

fn scope(number: u64) -> Scope {
    Scope { stage: u16::from(due(number) >= Duration::from_secs(2)), class: 0 }
}

/// Everything that happens to a request, recorded at once; the second in which it is over.
fn record(number: u64, recorder: &mut Recorder) {
    let (scope, scheduled) = (scope(number), due(number));
    recorder.due(scope, scheduled);
    if number.is_multiple_of(97) {
        return recorder.not_sent(scope, NotSent::StageEnded);
    }
    let sent = scheduled + spread(number, 1, 900);
    recorder.sent(scope, sent);
    let mut at = sent + spread(number, 2, 400_000);
    let first = at;
    let events = 1 + mixed(number, 3) % 20;
    recorder.event(scope, &EventSample { at, gap: None, tokens: 1, shared: false });
    for event in 1..events {
        let gap = spread(number * 20 + event, 4, 50_000);
        at += gap;
        let tokens = 1 + u32::try_from(event % 3).unwrap();
        recorder.event(
            scope,
            &EventSample { at, gap: Some(gap), tokens, shared: event.is_multiple_of(7) },
        );
    }
    match number % 41 {
        0 => recorder.failed(scope, FailureClass::StreamCut, at, Some(at - sent), events),
        1 => recorder.failed(scope, FailureClass::Status(503), at, Some(at - sent), events),
        2 => recorder.cancelled(scope, events),
        _ => {
            let output_tokens = 3 * events;
            let usage =
                TokenUsage { input: 7, cached: None, output: output_tokens, hidden_reasoning: 0 };
            let completion = Completion {
                usage: Some(usage),
                event_tokens: output_tokens,
                ..Completion::default()
            };
            let timeline = Timeline {
                scheduled,
                permitted: scheduled,
                ready: sent,
                connected: sent,
                sent,
                headers: first,
                first_token: Some(first),
                last_token: Some(at),
                first_output: Some(first),
                finished: at,
                events,
                first_event_tokens: 1,
                output_tokens,
                streamed_tokens: output_tokens,
                input_tokens: Some(7),
                streamed: true,
                ..Timeline::default()
            };
            recorder.completed(scope, &timeline, &completion);
        }
    }
}

/// One worker: its lanes' recorders are flushed once a second, its acknowledgements are sometimes late.
fn run_worker(shard: Shard, ledger: &mut Ledger) -> usize {
    let id = WorkerId { ordinal: shard.rank, incarnation: u64::from(shard.rank) + 1 };
    ledger.admit(id);
    let mut outbox = Outbox::new(id);
    let mut lanes: Vec<_> = (0..LANES.get()).map(|_| Recorder::new(windows())).collect();
    let mut frames = 0;
    for second in 0..SECONDS {
        let mut delta = Delta { last: second + 1 == SECONDS, ..Delta::default() };
        delta.covers = Some(Covers { from: second, to: second + 1 });
        for (lane, recorder) in (0..).zip(&mut lanes) {
            let owned = shard.lane(lane, LANES);
            let in_second = |number: &u64| due(*number).as_secs() == u64::from(second);
            (0..REQUESTS)
                .filter(|number| owned.owns(*number))
                .filter(in_second)
                .for_each(|number| record(number, recorder));
            delta.interval.merge(&recorder.take()).unwrap();
        }
        let mut parts = outbox.offer(delta).unwrap();
        if second % 3 == shard.rank % 3 {
            parts.extend(outbox.acknowledge(ledger.accepted(id)));
        }
        frames += deliver(&parts, ledger);
    }
    while !outbox.is_complete() {
        let parts = outbox.acknowledge(ledger.accepted(id));
        frames += deliver(&parts, ledger);
    }
    frames
}

/// Through the codec; each frame twice, as after a lost acknowledgement.
fn deliver(parts: &[Part], ledger: &mut Ledger) -> usize {
    for part in parts {
        let bytes = protocol::encode(part).unwrap();
        for expected in [Acceptance::Next, Acceptance::Repeated] {
            let arrived: Part = protocol::decode(&bytes).unwrap();
            assert_eq!(ledger.judge(&arrived), expected);
            if expected == Acceptance::Next {
                ledger.merge(&arrived).unwrap();
            }
        }
    }
    parts.len()
}

fn merged_by(workers: u32) -> (Interval, usize) {
    let mut ledger = Ledger::of(2);
    let shards = Shard::split(NonZeroU32::new(workers).unwrap());
    let frames = shards.map(|shard| run_worker(shard, &mut ledger)).sum();
    (ledger.total().clone(), frames)
}

#[test]
fn one_two_and_five_workers_give_the_answer_of_one_recorder() {
    let mut alone = Recorder::new(windows());
    (0..REQUESTS).for_each(|number| record(number, &mut alone));
    let whole = alone.take();
    let books = whole.books();
    assert_eq!(books.due, REQUESTS);
    books.balance().unwrap();
    for workers in [1, 2, 5] {
        let (merged, frames) = merged_by(workers);
        assert!(frames > 1);
        assert_eq!(merged, whole, "{workers} workers");
    }
}
