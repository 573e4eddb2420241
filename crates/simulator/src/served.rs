//! A request that its client traces, as this server saw it: what a real server makes a span of.
//!
//! The simulator knows no telemetry and no network but its own. It hands such requests to whoever started it, through a
//! queue of fixed length, and never waits for it.

use std::time::Duration;

use crate::truth::Outcome;

/// One request that came with a `traceparent`, at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The header's value, as it came.
    pub traceparent: String,
    /// The kernel's stamp of the request's last byte, nanoseconds since the Unix epoch.
    pub arrival_unix_ns: u64,
    /// From there to the last byte of the answer.
    pub took: Duration,
    /// From there to the first token, if there was one.
    pub ttft: Option<Duration>,
    /// Tokens of its prompt; 0 where it was refused.
    pub prompt_tokens: u64,
    /// Tokens made.
    pub output_tokens: u64,
    /// HTTP status; `None` where no answer had begun.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
}
