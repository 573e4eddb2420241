//! What a worker waits for, and for how long: nobody is waited for without an end.

use std::time::Duration;

use protocol::{CoordinatorMessage, Peer, TimePing, Wire, WorkerId};
use tokio::time::Instant;
use worker::Wait;

/// Who waits for longer wants to know for what.
const SILENCE: Duration = Duration::from_secs(2);
/// A worker without a start has no lease that could run out: it waits as long for a coordinator that resumes.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the coordinator is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long its answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Who asks, while it has no place.
const NOBODY: WorkerId = WorkerId { ordinal: u32::MAX, incarnation: 0 };

/// Says once what it waits for; returns when it has waited for long enough.
pub(super) async fn until_over(wait: Wait, door: &Peer<CoordinatorMessage>, coordinator: &str) {
    match wait {
        Wait::AtMost(limit) => until_late(limit, door, coordinator).await,
        Wait::WhileAnswered { silence } => until_silent(silence, door, coordinator).await,
    }
}

async fn until_late(limit: Duration, door: &Peer<CoordinatorMessage>, coordinator: &str) {
    let until = Instant::now() + limit;
    tokio::time::sleep(SILENCE.min(limit)).await;
    if door.is_connected() {
        eprintln!("waiting for a place at {coordinator}");
    } else {
        eprintln!("waiting for the coordinator at {coordinator}: dialling again until it answers");
    }
    tokio::time::sleep_until(until).await;
}

/// A connection is not enough: a process that hangs keeps its connections.
async fn until_silent(limit: Duration, door: &Peer<CoordinatorMessage>, coordinator: &str) {
    let (mut heard, mut told) = (Instant::now(), false);
    while heard.elapsed() < limit {
        tokio::time::sleep(LOOK_EVERY).await;
        let ask = |reply| CoordinatorMessage::Time(Wire::new(TimePing { worker: NOBODY }), reply);
        if door.ask(ask, ANSWER).await.is_ok() {
            (heard, told) = (Instant::now(), false);
        } else if heard.elapsed() > SILENCE && !told {
            eprintln!(
                "no word of the coordinator at {coordinator}, which has more runs: waiting for it for at most {limit:?}"
            );
            told = true;
        }
    }
}

/// Returns when there has been no connection for too long.
pub(super) async fn gone(door: &Peer<CoordinatorMessage>) {
    let mut seen = Instant::now();
    while seen.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK_EVERY).await;
        if door.is_connected() {
            seen = Instant::now();
        }
    }
}
