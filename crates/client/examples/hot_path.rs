//! What a token costs in instructions: a recorded stream, read and recorded over and over.
//!
//! `scripts/instructions.sh` runs it under callgrind, which counts inside [`counted`] only, and holds the count
//! against the one in the repository: a speed test that does not depend on the machine.

use std::error::Error;
use std::time::Duration;

use client::{Progress, ReplayError, replay};
use metrics::{EventSample, Recorder, Scope, StageWindow};
use workload::Api;

const RECORDING: &str = include_str!("../tests/fixtures/llama-cpp.sse");
const ROUNDS: u64 = 500;

fn main() -> Result<(), Box<dyn Error>> {
    let reads = reads();
    let window = StageWindow { start: Duration::ZERO, end: None };
    let mut recorder = Recorder::new(vec![window]);
    // Once outside of the count: histograms come into being at their first sample.
    let _events = hot_path(&reads, &mut recorder, 1)?;
    println!("{}", counted(&reads, &mut recorder)?);
    Ok(())
}

/// An answer as servers send it: the head, then each event in a chunk and a read of its own.
fn reads() -> Vec<Vec<u8>> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let events =
        RECORDING.split_inclusive("\n\n").map(|event| format!("{:x}\r\n{event}\r\n", event.len()));
    let parts = std::iter::once(head.to_owned()).chain(events).chain(["0\r\n\r\n".to_owned()]);
    parts.map(String::into_bytes).collect()
}

/// The name that callgrind looks for.
#[inline(never)]
fn counted(reads: &[Vec<u8>], recorder: &mut Recorder) -> Result<u64, ReplayError> {
    hot_path(reads, recorder, ROUNDS)
}

/// Content events of so many rounds.
fn hot_path(reads: &[Vec<u8>], recorder: &mut Recorder, rounds: u64) -> Result<u64, ReplayError> {
    let scope = Scope::default();
    let mut events = 0;
    for _round in 0..rounds {
        let mut last = None;
        let on = |progress| match progress {
            Progress::Content { at, tokens, gap_shared: shared, .. } => {
                let gap = last.replace(at).map(|before| at - before);
                recorder.event(scope, &EventSample { at, gap, tokens, shared });
            }
            Progress::Read { lag: Some(lag) } => recorder.read_lag(scope, lag),
            Progress::Read { lag: None } | Progress::Sent { .. } => {}
        };
        events += replay(Api::Chat, reads.iter().map(Vec::as_slice), on)?;
    }
    Ok(events)
}
