//! What became of every request that was due.
//!
//! due = completed + failed (by class) + cancelled + notSent (by reason) + lost. `due` comes from the plan, not from
//! what was reached, so a gap anywhere (a dropped task, a dead worker, a full queue) shows as books that do not balance
//! instead of a quietly smaller denominator.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request that was started did not complete. The order is the wire format: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FailureClass {
    /// No connection: DNS, refused, unreachable, connect deadline.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The whole request's deadline passed. Its latency is censored.
    Timeout,
    /// An answer with a status other than 2xx.
    Status(u16),
    /// Bytes that are not the protocol: HTTP, SSE, JSON, an unexpected encoding or type.
    Protocol,
    /// The stream ended without its terminal event.
    StreamCut,
    /// An error object inside a stream that began well.
    InBandError,
    /// A complete answer without any generated content.
    Empty,
    /// A kept connection was closed under a request that may have been sent.
    StaleConnection,
    /// The answer is complete but not what the run demands.
    Validation,
    /// Our own fault: the request's task ended without an outcome.
    Internal,
}

impl FailureClass {
    /// The name in files: `connect`, `status_503`, …
    pub fn name(self) -> String {
        self.to_string()
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Status(code) => return write!(formatter, "status_{code}"),
            Self::Protocol => "protocol",
            Self::StreamCut => "stream_cut",
            Self::InBandError => "in_band_error",
            Self::Empty => "empty",
            Self::StaleConnection => "stale_connection",
            Self::Validation => "validation",
            Self::Internal => "internal",
        })
    }
}

/// Why a request that was due was never started. The order is the wire format: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NotSent {
    /// The cap still held it when its stage ended.
    StageEnded,
    /// The worker had no permission to send at its due instant.
    NoLease,
    /// Its worker was lost and nobody answered for it.
    NoOwner,
    /// The run was interrupted first.
    Interrupted,
}

impl NotSent {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::StageEnded => "stage_ended",
            Self::NoLease => "no_lease",
            Self::NoOwner => "no_owner",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Requests of a lost worker whose outcome nobody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Written, without outcome at the worker's last snapshot.
    pub in_flight_at_last_snapshot: u64,
    /// Due later, or due but not yet written then.
    pub due_after_last_snapshot: u64,
}

impl Lost {
    /// Both parts.
    pub fn total(self) -> u64 {
        self.in_flight_at_last_snapshot.saturating_add(self.due_after_last_snapshot)
    }
}

/// The account of a set of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Requests that the plan made due.
    pub due: u64,
    /// Requests with a complete answer.
    pub completed: u64,
    /// Failed requests by class.
    pub failed: BTreeMap<FailureClass, u64>,
    /// Requests that we gave up ourselves: the end of the drain, an interrupt.
    pub cancelled: u64,
    /// Requests never started, by reason.
    pub not_sent: BTreeMap<NotSent, u64>,
    /// Requests whose outcome died with their worker.
    pub lost: Lost,
}

/// Books that do not balance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "due {due} is not completed {completed} + failed {failed} + cancelled {cancelled} + not sent {not_sent} \
     + lost {lost} = {answered}"
)]
#[expect(missing_docs, reason = "the message names every figure")]
pub struct BooksError {
    pub due: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub not_sent: u64,
    pub lost: u64,
    pub answered: u64,
}

impl Books {
    /// Adds another account.
    pub fn merge(&mut self, other: &Self) {
        self.due = self.due.saturating_add(other.due);
        self.completed = self.completed.saturating_add(other.completed);
        self.cancelled = self.cancelled.saturating_add(other.cancelled);
        add_all(&mut self.failed, &other.failed);
        add_all(&mut self.not_sent, &other.not_sent);
        let (ours, theirs) = (&mut self.lost, other.lost);
        ours.in_flight_at_last_snapshot =
            ours.in_flight_at_last_snapshot.saturating_add(theirs.in_flight_at_last_snapshot);
        ours.due_after_last_snapshot =
            ours.due_after_last_snapshot.saturating_add(theirs.due_after_last_snapshot);
    }

    /// Failed requests of all classes.
    pub fn failed_total(&self) -> u64 {
        total(&self.failed)
    }

    /// Requests never started, for any reason.
    pub fn not_sent_total(&self) -> u64 {
        total(&self.not_sent)
    }

    /// Requests accounted for in any way: what `due` must equal.
    pub fn answered(&self) -> u64 {
        [self.failed_total(), self.cancelled, self.not_sent_total(), self.lost.total()]
            .into_iter()
            .fold(self.completed, u64::saturating_add)
    }

    /// Requests that were cancelled or timed out: their latency is only known to be longer than what was waited.
    pub fn censored(&self) -> u64 {
        let timed_out = self.failed.get(&FailureClass::Timeout).copied().unwrap_or(0);
        self.cancelled.saturating_add(timed_out)
    }

    /// Requests that were started and whose end is known: completed, failed or cancelled.
    pub fn started(&self) -> u64 {
        self.completed.saturating_add(self.failed_total()).saturating_add(self.cancelled)
    }

    /// Share of the started requests that is censored; `None` if none was started.
    pub fn censored_share(&self) -> Option<f64> {
        share(self.censored(), self.started())
    }

    /// `error_rate`: failed / (completed + failed), 0 to 1; `None` where nothing completed or failed.
    pub fn error_rate(&self) -> Option<f64> {
        let failed = self.failed_total();
        share(failed, self.completed.saturating_add(failed))
    }

    /// Whether every request due is accounted for exactly once.
    pub fn balance(&self) -> Result<(), BooksError> {
        let answered = self.answered();
        if self.due == answered {
            return Ok(());
        }
        Err(BooksError {
            due: self.due,
            completed: self.completed,
            failed: self.failed_total(),
            cancelled: self.cancelled,
            not_sent: self.not_sent_total(),
            lost: self.lost.total(),
            answered,
        })
    }
}

/// `part` of `whole`, 0 to 1; `None` of nothing.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn total<K>(counts: &BTreeMap<K, u64>) -> u64 {
    counts.values().copied().fold(0, u64::saturating_add)
}

fn add_all<K: Ord + Copy>(to: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (&key, &count) in from {
        let slot = to.entry(key).or_default();
        *slot = slot.saturating_add(count);
    }
}
