//! One lane's client: its connections and the requests that run on them.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use metrics::FailureClass;
use workload::Target;

use crate::answer::{Answer, Failure, Progress};
use crate::clock::{Clock, ClockStep};
use crate::credentials::Credentials;

/// How a client connects and what it waits for.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// DNS, TCP and TLS together must be done within it.
    pub connect_timeout: Duration,
    /// The whole request must be done within it, the connection included.
    pub request_timeout: Duration,
    /// Certificates to trust beside the machine's own, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// What proves who we are.
    pub credentials: Credentials,
}

/// A client cannot be made from the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be requested.
    #[error("`target.endpoint` {url:?} is not usable: {reason}")]
    Url {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// One lane's client. It lives on its lane's thread.
#[derive(Debug)]
pub struct Client {
    clock: Clock,
}

impl Client {
    /// A client for `target`, stamping on `clock`.
    ///
    /// # Errors
    /// When the URL, a header or the certificates cannot be used.
    pub fn new(target: &Target, options: ClientOptions, clock: Clock) -> Result<Self, ClientError> {
        let _ = (target, options);
        Ok(Self { clock })
    }

    /// Reads a new pair of the realtime and the monotonic clock; call it once a flush.
    pub fn refresh_stamps(&self) -> Option<ClockStep> {
        None
    }

    /// Sends one request and reads its answer. `gate` is asked in the socket's write, immediately
    /// before the request's first byte leaves; where it says no, nothing is sent. `on` is told what
    /// happens as it happens. Dropping the future closes the connection.
    ///
    /// # Errors
    /// A failed request, with its class.
    pub async fn exchange(
        &self,
        body: Bytes,
        gate: impl FnMut() -> bool,
        on: impl FnMut(Progress),
    ) -> Result<Answer, Failure> {
        let _ = (body, gate, on);
        Err(Failure {
            class: FailureClass::Internal,
            at: self.clock.now(),
            sent: None,
            connected_at: None,
            connect: None,
            reconnected: false,
            events: 0,
            detail: String::new(),
            refused_by_gate: false,
        })
    }
}
