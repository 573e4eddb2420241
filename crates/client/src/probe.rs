//! One real request before the load, so that a wrong address is found by one request and not by all.

use std::time::Duration;

use workload::{Prompt, Target};

use crate::client::ClientOptions;
use crate::event::Usage;

/// What the probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// DNS, TCP and TLS together.
    pub connect: Option<Duration>,
    /// Headers after the request was sent.
    pub ttfb: Duration,
    /// First content event after the request was sent.
    pub ttft: Option<Duration>,
    /// End of the answer after the request was sent.
    pub e2e: Duration,
    /// The server's own count.
    pub usage: Option<Usage>,
    /// The socket gives kernel stamps.
    pub kernel_stamps: bool,
}

/// The target is not ready for a load.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {hint}")]
pub struct ProbeError {
    /// What happened, in the server's own words where it had some.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// Sends one request with `max_tokens: 1` and reads its answer.
///
/// # Errors
/// When the target cannot serve the load that is planned, with a hint.
pub async fn probe(
    target: &Target,
    options: &ClientOptions,
    prompt: &Prompt,
    model: Option<&str>,
) -> Result<Probe, ProbeError> {
    let _ = (target, options, prompt, model);
    Err(ProbeError { what: String::new(), hint: String::new() })
}

/// The models that the server lists (`GET /v1/models`), in its order.
///
/// # Errors
/// When there is no such list.
pub async fn models(target: &Target, options: &ClientOptions) -> Result<Vec<String>, ProbeError> {
    let _ = (target, options);
    Err(ProbeError { what: String::new(), hint: String::new() })
}
