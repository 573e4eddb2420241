//! HTTP/2 by choice: requests of a lane share a stated number of connections.
//!
//! Frames of many answers come in one read of one socket, so no kernel stamp belongs to one of them:
//! instants are those of user space, and each answer says so. `sent` is the instant at which the last of a request was
//! handed to its connection. Framing is the `h2` crate's; connections are opened as for HTTP/1.1.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroU16;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::sync::Mutex;

use super::connect::{ConnectError, Connector, Opened};
use super::connection::{Body, Fault};
use super::head::Head;
use super::stamps::{Read, Write};
use super::wire::Wire;
use crate::clock::Clock;

/// What the server may send on one stream, and on one connection, before we have read it.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// The connections of a lane.
#[derive(Debug)]
pub(crate) struct Http2 {
    connections: Vec<Mutex<Option<SendRequest<Bytes>>>>,
    turn: Cell<usize>,
}

/// A connection that takes another request now.
#[derive(Debug)]
pub(crate) struct Ready {
    requests: SendRequest<Bytes>,
    /// How long it took to open, where this request opened it.
    pub(crate) took: Option<Duration>,
    /// The one before it had been closed by the server.
    pub(crate) replaced: bool,
}

impl Http2 {
    pub(crate) fn new(connections: NonZeroU16) -> Self {
        let connections = (0..connections.get()).map(|_| Mutex::default()).collect();
        Self { connections, turn: Cell::new(0) }
    }

    /// The next connection in turn, opened where it is not, once it may have another stream.
    pub(crate) async fn take(&self, connector: &Connector) -> Result<Ready, ConnectError> {
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        // Requests that come while it is being opened wait for that.
        let mut place = self.connections[turn % self.connections.len()].lock().await;
        let mut replaced = false;
        if let Some(known) = place.clone() {
            drop(place);
            if let Ok(requests) = known.ready().await {
                return Ok(Ready { requests, took: None, replaced });
            }
            replaced = true;
            place = self.connections[turn % self.connections.len()].lock().await;
        }
        let (requests, took) = open(connector).await?;
        *place = Some(requests.clone());
        drop(place);
        match requests.ready().await {
            Ok(requests) => Ok(Ready { requests, took: Some(took), replaced }),
            Err(error) => Err(connector.http_error(&error)),
        }
    }
}

async fn open(connector: &Connector) -> Result<(SendRequest<Bytes>, Duration), ConnectError> {
    let Opened { wire, took, .. } = connector.open().await?;
    let mut builder = Builder::new();
    let builder = builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .enable_push(false);
    let requests = match wire {
        Wire::Plain(socket) => drive(builder.handshake(socket).await),
        Wire::Tls(tls) => drive(builder.handshake(tls).await),
    };
    Ok((requests.map_err(|error| connector.http_error(&error))?, took))
}

/// Lets a connection run beside the requests that use it, on the lane's thread.
fn drive<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static>(
    opened: Result<(SendRequest<Bytes>, h2::client::Connection<T>), h2::Error>,
) -> Result<SendRequest<Bytes>, h2::Error> {
    let (requests, connection) = opened?;
    // Its errors reach the requests on it.
    let _driving = tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(requests)
}

impl Ready {
    /// Sends a request; `on_sent` is called when the last of it was handed over.
    pub(crate) async fn send(
        mut self,
        request: Request<()>,
        body: Bytes,
        on_sent: impl FnOnce(Write),
    ) -> Result<(Head, Stream), Fault> {
        let begun_ns = Clock::monotonic_ns();
        let (answer, upload) =
            self.requests.send_request(request, body.is_empty()).map_err(fault)?;
        let at_ns = match upload_all(upload, body).await {
            Ok(last_ns) => last_ns.unwrap_or(begun_ns),
            // A server may answer, and take no more, before it has the whole request.
            Err(_) => begun_ns,
        };
        on_sent(Write { at_ns, call_ns: Clock::monotonic_ns() - at_ns });
        head(answer).await
    }
}

/// Hands over a body as the server makes room for it; when its last piece went.
async fn upload_all(
    mut upload: SendStream<Bytes>,
    mut body: Bytes,
) -> Result<Option<u64>, h2::Error> {
    let mut last_ns = None;
    while !body.is_empty() {
        upload.reserve_capacity(body.len());
        let Some(room) = poll_fn(|context| upload.poll_capacity(context)).await else { break };
        let piece = body.split_to(room?.min(body.len()));
        last_ns = Some(Clock::monotonic_ns());
        upload.send_data(piece, body.is_empty())?;
    }
    Ok(last_ns)
}

async fn head(answer: ResponseFuture) -> Result<(Head, Stream), Fault> {
    let (parts, body) = answer.await.map_err(fault)?.into_parts();
    let read = Read { serial: 1, kernel_ns: None, read_ns: Clock::monotonic_ns() };
    Ok((Head::of_http2(&parts), Stream { body, read, end_ns: None }))
}

/// The body of one answer.
#[derive(Debug)]
pub(crate) struct Stream {
    body: RecvStream,
    read: Read,
    end_ns: Option<u64>,
}

impl Stream {
    pub(crate) fn last_read(&self) -> Read {
        self.read
    }

    /// When its end was seen.
    pub(crate) fn end_ns(&self) -> Option<u64> {
        self.end_ns
    }

    /// As that of an HTTP/1.1 connection.
    pub(crate) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        mut on_data: impl FnMut(&[u8], Read),
    ) -> Poll<Result<Body, Fault>> {
        let piece = ready!(self.body.poll_data(context));
        let read_ns = Clock::monotonic_ns();
        let Some(piece) = piece else {
            self.end_ns = Some(read_ns);
            return Poll::Ready(Ok(Body::Ended));
        };
        let piece = piece.map_err(fault)?;
        self.read = Read { serial: self.read.serial + 1, kernel_ns: None, read_ns };
        on_data(&piece, self.read);
        self.body.flow_control().release_capacity(piece.len()).map_err(fault)?;
        Poll::Ready(Ok(Body::More))
    }
}

fn fault(error: h2::Error) -> Fault {
    let by_the_server = error.is_remote() && (error.is_reset() || error.is_go_away());
    if error.is_io() || by_the_server {
        return Fault::Io(error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()));
    }
    Fault::Malformed(error.to_string())
}
