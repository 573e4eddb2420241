//! What a request tells while it runs, and what is known of it at its end.
//!
//! Instants are offsets from the run's start, named as in METRICS.md. Progress is handed over event
//! by event, so that a recorder needs no list of them, and what a run's figures are made of; the answer has what
//! is known only at the end, and as much of the events as a single request (the probe) is told by.

use std::time::Duration;

use metrics::FailureClass;

use crate::event::Usage;

/// What happened to a request that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The request's last byte was handed to the kernel; `at` is the instant before that write call.
    Sent {
        /// `sent`.
        at: Duration,
    },
    /// A read brought bytes of the answer.
    Read {
        /// From the kernel's stamp to the instant after the read, where it had one.
        lag: Option<Duration>,
    },
    /// An event that carries generated content arrived.
    Content {
        /// `event[i]`: never before the one before it.
        at: Duration,
        /// The tokens in it; 1 where the server does not say.
        tokens: u32,
        /// It was completed by the same read as the content event before it.
        gap_shared: bool,
        /// It carries text that a user sees, not reasoning or a tool call.
        visible: bool,
    },
}

/// A request that completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// DNS, TCP and TLS together, where the request opened a connection.
    pub connect: Option<Duration>,
    /// A usable connection was at hand.
    pub connected_at: Duration,
    /// The instant before the write call that handed over the last byte.
    pub sent: Duration,
    /// How long that write call took.
    pub write_call: Duration,
    /// The status line and headers arrived.
    pub headers: Duration,
    /// The first content event.
    pub first_token: Option<Duration>,
    /// The last content event.
    pub last_token: Option<Duration>,
    /// `[DONE]`, or the end of the body where there is none.
    pub finished: Duration,
    /// Content events; 0 where the answer was not streamed.
    pub events: u64,
    /// The server's own count.
    pub usage: Option<Usage>,
    /// The stream ended with a finish reason, cleanly, and without `[DONE]`.
    pub no_done: bool,
    /// The request came back unsent from a connection that had closed, and went out on a new one.
    pub reconnected: bool,
    /// The HTTP status.
    pub status: u16,
    /// Every read of the answer had a kernel stamp that could be used.
    pub kernel_stamps: bool,
    /// What the server said, where the client was told to keep it ([`crate::Client::keeping_text`]).
    pub text: Option<String>,
}

/// A request that failed: data, counted by its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class of METRICS.md.
    pub class: FailureClass,
    /// When it failed.
    pub at: Duration,
    /// When it was sent, if it was.
    pub sent: Option<Duration>,
    /// A usable connection was at hand, if there was one.
    pub connected_at: Option<Duration>,
    /// DNS, TCP and TLS together, where the request opened a connection.
    pub connect: Option<Duration>,
    /// The request moved once to a new connection.
    pub reconnected: bool,
    /// An answer has come on the connection that it used, be it to a request before. Where none has, the
    /// server may be one that accepts connections and says nothing.
    pub connection_answered: bool,
    /// Content events that had arrived.
    pub events: u64,
    /// What went wrong, in the server's own words where it had some: at most 512 bytes, no credential.
    pub detail: String,
    /// The gate said no: not one byte was sent, and this is no failure of the server.
    pub refused_by_gate: bool,
}
