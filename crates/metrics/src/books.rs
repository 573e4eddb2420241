//! What became of every request that was due.
//!
//! due = completed + failed (by class) + cancelled + notSent (by reason) + lost. `due` comes from the plan, not from
//! what was reached, so a gap anywhere (a dropped task, a dead worker, a full queue) shows as books that do not balance
//! instead of a quietly smaller denominator.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

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

    /// The class of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        const NAMED: [FailureClass; 10] = [
            FailureClass::Connect,
            FailureClass::Tls,
            FailureClass::Timeout,
            FailureClass::Protocol,
            FailureClass::StreamCut,
            FailureClass::InBandError,
            FailureClass::Empty,
            FailureClass::StaleConnection,
            FailureClass::Validation,
            FailureClass::Internal,
        ];
        let status = name.strip_prefix("status_").and_then(|code| code.parse().ok());
        status.map(Self::Status).or_else(|| NAMED.into_iter().find(|class| class.name() == name))
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

/// One failure in words, for the report. Credentials have been redacted by the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureSample {
    /// Its class.
    pub class: FailureClass,
    /// The server's or the system's own words, at most 512 bytes.
    pub detail: String,
    /// When, in run time.
    pub at: Duration,
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
    /// The cap was used up when it was due, and the plan drops what it cannot let go.
    CapDropped,
    /// A rule of the run ended the load first.
    Stopped,
}

impl NotSent {
    /// Every reason.
    const ALL: [Self; 6] = [
        Self::StageEnded,
        Self::NoLease,
        Self::NoOwner,
        Self::Interrupted,
        Self::CapDropped,
        Self::Stopped,
    ];

    /// The reason of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::StageEnded => "stage_ended",
            Self::NoLease => "no_lease",
            Self::NoOwner => "no_owner",
            Self::Interrupted => "interrupted",
            Self::CapDropped => "cap_dropped",
            Self::Stopped => "stopped",
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
    "due {due} is not completed {completed} + failed {failed} + cancelled {cancelled} + not sent \
     {not_sent} + lost {lost} = {answered}"
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

    /// Takes back requests that were booked as due without permission, and were not due at all: the load had ended.
    pub fn take_back_without_lease(&mut self, requests: u64) {
        let Some(booked) = self.not_sent.get_mut(&NotSent::NoLease) else { return };
        let taken = requests.min(*booked).min(self.due);
        *booked -= taken;
        self.due -= taken;
        if *booked == 0 {
            let _ = self.not_sent.remove(&NotSent::NoLease);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Books {
        Books {
            due: 100,
            completed: 80,
            failed: BTreeMap::from([(FailureClass::Timeout, 3), (FailureClass::Status(503), 5)]),
            cancelled: 4,
            not_sent: BTreeMap::from([(NotSent::StageEnded, 1)]),
            lost: Lost { in_flight_at_last_snapshot: 5, due_after_last_snapshot: 2 },
        }
    }

    #[test]
    fn books_balance_when_every_request_is_accounted_for() {
        // 80 + 8 + 4 + 1 + 7 = 100
        assert_eq!(example().answered(), 100);
        assert_eq!(example().balance(), Ok(()));
        let short = Books { due: 101, ..example() };
        let error = short.balance().unwrap_err();
        assert_eq!((error.due, error.answered, error.failed, error.lost), (101, 100, 8, 7));
        assert_eq!(
            error.to_string(),
            "due 101 is not completed 80 + failed 8 + cancelled 4 + not sent 1 + lost 7 = 100"
        );
    }

    #[test]
    fn shares_are_of_what_was_started() {
        // failed 8 of 88 answered; censored 3 + 4 of 80 + 8 + 4.
        assert_eq!(example().error_rate(), Some(8.0 / 88.0));
        assert_eq!(example().censored_share(), Some(7.0 / 92.0));
        assert_eq!(Books::default().error_rate(), None);
        assert_eq!(Books::default().censored_share(), None);
    }

    #[test]
    fn names_are_those_of_the_files() {
        assert_eq!(FailureClass::Status(429).name(), "status_429");
        assert_eq!(FailureClass::InBandError.name(), "in_band_error");
        assert_eq!(NotSent::StageEnded.name(), "stage_ended");
        for class in [FailureClass::Status(429), FailureClass::InBandError, FailureClass::Internal]
        {
            assert_eq!(FailureClass::from_name(&class.name()), Some(class));
        }
        for reason in NotSent::ALL {
            assert_eq!(NotSent::from_name(reason.name()), Some(reason));
        }
        assert_eq!(FailureClass::from_name("status_teapot"), None);
    }

    fn any_class() -> impl Strategy<Value = FailureClass> {
        prop_oneof![
            Just(FailureClass::Connect),
            Just(FailureClass::Timeout),
            Just(FailureClass::StreamCut),
            (400_u16..600).prop_map(FailureClass::Status),
        ]
    }

    fn any_books() -> impl Strategy<Value = Books> {
        let failed = prop::collection::btree_map(any_class(), 0_u64..1_000, 0..4);
        let reasons = prop::sample::select(vec![NotSent::NoLease, NotSent::NoOwner]);
        let not_sent = prop::collection::btree_map(reasons, 0_u64..1_000, 0..2);
        let counts = (0_u64..1_000, 0_u64..1_000, 0_u64..1_000, 0_u64..1_000, 0_u64..9_000);
        (failed, not_sent, counts).prop_map(|(failed, not_sent, counts)| {
            let (completed, cancelled, in_flight, after, due) = counts;
            let lost =
                Lost { in_flight_at_last_snapshot: in_flight, due_after_last_snapshot: after };
            Books { due, completed, failed, cancelled, not_sent, lost }
        })
    }

    fn sum(parts: &[&Books]) -> Books {
        let mut total = Books::default();
        parts.iter().for_each(|part| total.merge(part));
        total
    }

    proptest! {
        #[test]
        fn merging_adds_every_figure(a in any_books(), b in any_books(), c in any_books()) {
            prop_assert_eq!(sum(&[&a, &b]).answered(), a.answered() + b.answered());
            prop_assert_eq!(sum(&[&sum(&[&a, &b]), &c]), sum(&[&a, &sum(&[&b, &c])]));
            prop_assert_eq!(sum(&[&a, &b]), sum(&[&b, &a]));
        }

        #[test]
        fn books_that_balance_still_do_when_merged(a in any_books(), b in any_books()) {
            let [a, b] = [a, b].map(|books| Books { due: books.answered(), ..books });
            prop_assert_eq!(sum(&[&a, &b]).balance(), Ok(()));
        }

        #[test]
        fn one_request_too_many_or_too_few_is_seen(books in any_books()) {
            let answered = books.answered();
            let one_more = Books { due: answered + 1, ..books.clone() };
            prop_assert!(one_more.balance().is_err());
            let one_less = Books { completed: books.completed + 1, due: answered, ..books };
            prop_assert!(one_less.balance().is_err());
        }

        #[test]
        fn decode_after_encode_is_identity(books in any_books()) {
            let config = bincode::config::standard();
            let bytes = bincode::serde::encode_to_vec(&books, config).unwrap();
            let (back, _): (Books, usize) =
                bincode::serde::decode_from_slice(&bytes, config).unwrap();
            prop_assert_eq!(back, books);
        }
    }
}
