//! One streamed request: server-sent events, the OpenAI APIs, sockets, TLS and timestamps.
//!
//! What is measured is the instant at which bytes left and arrived, so nothing here hides a
//! connection: [`Client`] owns its sockets, stamps in them, and drives one request at a time inside
//! the caller's own future. The parts that read bytes ([`sse`], [`chat`], [`completions`]) are pure
//! and know neither clocks nor sockets. Linux only: stamps, pacing and clocks are the kernel's.
#![deny(missing_docs, unused_results)]

mod answer;
mod body;
pub mod chat;
mod client;
pub mod clock;
pub mod completions;
mod credentials;
mod endpoint;
pub mod event;
mod exchange;
mod likeness;
pub mod pacer;
mod precedence;
mod probe;
mod reader;
mod replay;
mod said;
pub mod sse;
mod stream;
mod transport;
mod trouble;

pub use answer::{Answer, Failure, Progress};
pub use body::BodyError;
pub use client::{Client, ClientError, ClientOptions};
pub use clock::{Clock, ClockStep, StampConverter};
pub use credentials::Credentials;
pub use event::{Content, Event, EventError, Usage};
pub use pacer::{Pacer, TimerfdPacer, TokioPacer};
pub use precedence::Precedence;
pub use probe::{Model, Probe, ProbeError, count_tokens, models, probe};
pub use replay::{ReplayError, replay};
pub use said::message;
pub use sse::{Message, Sse, SseError};

use bytes::Bytes;
use workload::{Api, Prompt, Target};

/// The body of the request for `prompt`, in the target's API. `model` is the name to use where the
/// target names none, or another.
///
/// # Errors
/// When the prompt or the target's extra body cannot be sent.
pub fn body(target: &Target, prompt: &Prompt, model: Option<&str>) -> Result<Bytes, BodyError> {
    match target.api {
        Api::Chat => chat::body(target, prompt, model),
        Api::Completions => completions::body(target, prompt, model),
    }
}
