//! One lane's client: its connections, its headers, its clock.

use std::cell::Cell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use http::header::HeaderMap;
use rustls::pki_types::ServerName;
use workload::{Api, HttpVersion, Target};

use crate::clock::{Clock, ClockStep, StampConverter};
use crate::credentials::Credentials;
use crate::endpoint::{Endpoint, headers};
use crate::precedence::Precedence;
use crate::transport::{
    Addresses, Connector, Http2, Pool, TlsError, kernel_stamps_are_on, tls_config,
};

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
    /// How requests share connections.
    pub http: HttpVersion,
    /// Local addresses that connections begin at, in turn; empty: the kernel chooses.
    pub source_addresses: Vec<IpAddr>,
    /// How long an answer of the name service is used.
    pub dns_refresh: Duration,
    /// Where this client begins in the lists of addresses: lanes begin at different places.
    pub turn: usize,
}

impl Default for ClientOptions {
    /// The timeouts of the configuration's defaults, and no credentials.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(600),
            ca_file: None,
            insecure_skip_verify: false,
            credentials: Credentials::default(),
            http: HttpVersion::Http1,
            source_addresses: Vec::new(),
            dns_refresh: Duration::from_secs(30),
            turn: 0,
        }
    }
}

/// A client cannot be made from the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be requested.
    #[error("`target.endpoint` {url} is not usable: {reason}")]
    Url {
        /// The URL, without a password.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A header cannot be sent.
    #[error("header `{name}` of `target.headers` is not usable: {reason}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("TLS is not usable: {reason}")]
    Tls {
        /// What is wrong, with the setting to change.
        reason: String,
    },
}

impl From<TlsError> for ClientError {
    fn from(error: TlsError) -> Self {
        Self::Tls { reason: error.to_string() }
    }
}

/// One lane's client. It lives on its lane's thread, inside a runtime with I/O and time; with HTTP/2 inside a
/// `LocalSet` too, as a shared connection is a task of its own.
#[derive(Debug)]
pub struct Client {
    pub(crate) api: Api,
    pub(crate) stream: bool,
    pub(crate) endpoint: Endpoint,
    /// By the place of [`Client::exchange_as`].
    pub(crate) headers: Vec<HeaderMap>,
    pub(crate) credentials: Credentials,
    pub(crate) request_timeout: Duration,
    pub(crate) connector: Connector,
    pub(crate) pool: Pool,
    pub(crate) http2: Option<Http2>,
    pub(crate) clock: Clock,
    pub(crate) stamps: Cell<StampConverter>,
    pub(crate) keeps_text: bool,
    precedence: Rc<Precedence>,
}

impl Client {
    /// A client for `target`, stamping on `clock`. The first one of a process may take some
    /// milliseconds, until the kernel stamps what is received.
    ///
    /// # Errors
    /// When the URL, a header or the certificates cannot be used.
    pub fn new(target: &Target, options: ClientOptions, clock: Clock) -> Result<Self, ClientError> {
        Self::beside(target, options, clock, Rc::default())
    }

    /// The same on a lane that has other clients too, whose starts go before its reads as before theirs.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn beside(
        target: &Target,
        options: ClientOptions,
        clock: Clock,
        precedence: Rc<Precedence>,
    ) -> Result<Self, ClientError> {
        let endpoint = Endpoint::parse(&target.url)?;
        let tls = match endpoint.tls {
            false => None,
            true => {
                let ca_file = options.ca_file.as_deref();
                let config = tls_config(ca_file, options.insecure_skip_verify, options.http)?;
                let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| {
                    ClientError::Url { url: target.url.clone(), reason: error.to_string() }
                })?;
                Some((name, config))
            }
        };
        let addresses = Addresses::new(
            endpoint.host.clone(),
            endpoint.port,
            options.dns_refresh,
            options.source_addresses,
            options.turn,
        );
        // Each answer says what stamps it had; here they are only turned on.
        let _stamped = kernel_stamps_are_on();
        Ok(Self {
            api: target.api,
            stream: target.stream,
            headers: vec![headers(target, &endpoint, &options.credentials)?],
            connector: Connector::new(
                addresses,
                tls,
                options.connect_timeout,
                Rc::clone(&precedence),
            ),
            endpoint,
            credentials: options.credentials,
            request_timeout: options.request_timeout,
            pool: Pool::default(),
            http2: match options.http {
                HttpVersion::Http1 => None,
                HttpVersion::Http2 { connections } => Some(Http2::new(connections)),
            },
            clock,
            stamps: Cell::new(StampConverter::new()),
            keeps_text: false,
            precedence,
        })
    }

    /// The same for requests of several kinds, which differ in their headers: those of `targets`, in place of
    /// those that it was made with.
    ///
    /// # Errors
    /// When a header cannot be used.
    pub fn with_kinds(mut self, targets: &[Target]) -> Result<Self, ClientError> {
        let of = |target: &Target| headers(target, &self.endpoint, &self.credentials);
        self.headers = targets.iter().map(of).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The same, and the text of each answer is handed over with it: for conversations, whose next turn sends it back.
    #[must_use]
    pub fn keeping_text(mut self) -> Self {
        self.keeps_text = true;
        self
    }

    /// Reads a new pair of the realtime and the monotonic clock; call it once a flush. A step is to be
    /// counted; until the next call stamps are those of user space then.
    pub fn refresh_stamps(&self) -> Option<ClockStep> {
        let mut stamps = self.stamps.get();
        let step = stamps.refresh();
        self.stamps.set(stamps);
        step
    }

    /// Where a start says that it is due, so that this client's reads let it go first.
    pub fn precedence(&self) -> &Precedence {
        &self.precedence
    }

    /// How many connections wait for a request.
    pub fn idle_connections(&self) -> usize {
        self.pool.len()
    }
}
