//! A worker as it is seen while the run goes on.

use serde::{Deserialize, Serialize};

use super::LiveBooks;

/// What a worker does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LiveState {
    /// It has a place, and is not ready to start.
    #[default]
    Joined,
    /// It offers its share, or will from the agreed instant on.
    Sending,
    /// It has told nothing for some seconds.
    Silent,
    /// It waits for somebody's loss.
    Spare,
    /// Its books are complete.
    Complete,
    /// It is counted as lost.
    Lost,
}

impl LiveState {
    /// Every state, in order.
    pub const ALL: [Self; 6] =
        [Self::Joined, Self::Sending, Self::Silent, Self::Spare, Self::Complete, Self::Lost];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Sending => "sending",
            Self::Silent => "silent",
            Self::Spare => "spare",
            Self::Complete => "complete",
            Self::Lost => "lost",
        }
    }
}

/// A worker, or one incarnation of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct LiveWorker {
    pub ordinal: u32,
    pub host: String,
    pub state: LiveState,
    /// Its part of all that was due so far, 0 to 1.
    pub share: Option<f64>,
    pub books: LiveBooks,
    /// At its last report.
    pub in_flight: u64,
    pub generator_lag_p99_us: Option<u64>,
    pub ttft_p50_us: Option<u64>,
    /// The second of run time before which it has told everything.
    pub reported_to_s: u32,
    /// CPU time of its lanes.
    pub cpu_ms: u64,
}
