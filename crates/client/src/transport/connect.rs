//! Opening a connection, with the time that it took: it is shown as `connect`, never inside TTFT.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::addresses::Addresses;
use super::connection::Connection;
use super::socket::Socket;
use super::stamps::Stamps;
use super::wire::{Scratch, Wire, scratch};
use crate::{clock::Clock, precedence::Precedence};

/// No connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to {address}: {reason}")]
    Tcp { address: String, reason: String },
    #[error("no TLS with {address}: {reason}")]
    Tls { address: String, reason: String },
    #[error("no HTTP/2 with {address}: {reason}")]
    Http2 { address: String, reason: String },
}

/// Opens the connections of a lane, all to one name.
#[derive(Debug)]
pub(crate) struct Connector {
    addresses: Addresses,
    tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
    timeout: Duration,
    scratch: Scratch,
    precedence: Rc<Precedence>,
}

/// A connection that speaks no HTTP yet.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) wire: Wire,
    pub(crate) stamps: Rc<Stamps>,
    pub(crate) fd: RawFd,
    /// DNS, TCP and TLS together.
    pub(crate) took: Duration,
}

impl Connector {
    pub(crate) fn new(
        addresses: Addresses,
        tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
        timeout: Duration,
        precedence: Rc<Precedence>,
    ) -> Self {
        Self { addresses, tls, timeout, scratch: scratch(), precedence }
    }

    /// A connection for HTTP/1.1.
    pub(crate) async fn connect(&self) -> Result<Box<Connection>, ConnectError> {
        let Opened { wire, stamps, fd, took } = self.open().await?;
        Ok(Connection::new(wire, stamps, Rc::clone(&self.scratch), fd, took))
    }

    /// DNS, TCP and TLS, all within the connect timeout.
    pub(crate) async fn open(&self) -> Result<Opened, ConnectError> {
        let begun_ns = Clock::monotonic_ns();
        let deadline = Instant::now() + self.timeout;
        let stamps = Rc::new(Stamps::new());
        let tcp = self
            .within(deadline, self.addresses.reach(deadline))
            .await
            .map_err(|reason| self.tcp_error(&reason))?;
        let socket = Socket::new(tcp, Rc::clone(&stamps), Rc::clone(&self.precedence))
            .map_err(|reason| self.tcp_error(&reason))?;
        let fd = socket.fd();
        let wire = match &self.tls {
            None => Wire::Plain(socket),
            Some((name, config)) => {
                let handshake = handshake(socket, name.clone(), Arc::clone(config));
                self.within(deadline, handshake).await.map_err(|reason| self.tls_error(&reason))?
            }
        };
        let took = Duration::from_nanos(Clock::monotonic_ns() - begun_ns);
        Ok(Opened { wire, stamps, fd, took })
    }

    async fn within<T>(
        &self,
        deadline: Instant,
        step: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        timeout_at(deadline, step).await.unwrap_or_else(|_| {
            let late = format!(
                "not done within {} s (`client.timeouts.connect`)",
                self.timeout.as_secs_f64()
            );
            Err(io::Error::new(io::ErrorKind::TimedOut, late))
        })
    }

    pub(crate) fn http_error(&self, reason: &h2::Error) -> ConnectError {
        ConnectError::Http2 { address: self.addresses.name(), reason: reason.to_string() }
    }

    fn tcp_error(&self, reason: &io::Error) -> ConnectError {
        ConnectError::Tcp { address: self.addresses.name(), reason: reason.to_string() }
    }

    fn tls_error(&self, reason: &io::Error) -> ConnectError {
        let reason = match is_no_tls(reason) {
            true => format!("what it answers is no TLS, but perhaps plain `http://` ({reason})"),
            false => reason.to_string(),
        };
        ConnectError::Tls { address: self.addresses.name(), reason }
    }
}

/// A server of plain HTTP takes the first message for a bad request and says so in its own words.
fn is_no_tls(reason: &io::Error) -> bool {
    let cause = reason.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidMessage(_)))
}

async fn handshake(
    socket: Socket,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> io::Result<Wire> {
    let tls = TlsConnector::from(config).connect(name, socket).await?;
    Ok(Wire::Tls(Box::new(tls)))
}
