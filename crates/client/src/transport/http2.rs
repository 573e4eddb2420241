//! HTTP/2 by choice: requests of a lane share a stated number of connections.
//!
//! Frames of many answers come in one read of one socket, so no kernel stamp belongs to one of them:
//! instants are those of user space, and each answer says so. `sent` is the instant at which the last of a
//! request was handed to its connection, which writes it when the lane's thread is free: the server made
//! room for it before. Framing is the `h2` crate's; connections are opened as for HTTP/1.1.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use tokio::time::timeout;

use super::attempt::{Attempt, Tried};
use super::connect::{ConnectError, Connector, Opened};
use super::connection::{Body, EARLY_SUCCESS, Fault};
use super::head::Head;
use super::rest::DRAIN_BYTES;
use super::stamps::{Read, Stamps, Write};
use super::wire::Wire;
use crate::clock::Clock;

/// What the server may send on one stream, and on one connection, before we have read it.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Streams given up whose late frames are still known as such.
const RESETS_REMEMBERED: usize = 10_000;

/// So long the end of an answer is waited for once its outcome is known.
const REST: Duration = Duration::from_secs(1);

/// The connections of a lane.
#[derive(Debug)]
pub(crate) struct Http2 {
    places: Vec<Attempt<Result<Shared, ConnectError>>>,
    turn: Cell<usize>,
}

/// A connection that many requests use.
#[derive(Clone, Debug)]
struct Shared {
    requests: SendRequest<Bytes>,
    stamps: Rc<Stamps>,
    /// An answer has come on it.
    answered: Rc<Cell<bool>>,
}

/// A connection at hand for one request. Whether the server has room for another stream is found when
/// it is sent.
#[derive(Debug)]
pub(crate) struct Ready {
    shared: Shared,
    /// How long it took to open, where this request opened it.
    pub(crate) took: Option<Duration>,
    /// The one before it had been closed by the server.
    pub(crate) replaced: bool,
}

/// A request got no head of an answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The gate said no; nothing of the body was sent.
    Refused,
    /// The server says that it has not looked at it, so it may be sent again: the stream is above the
    /// last one of its farewell, or was refused (RFC 9113 §6.8, §8.7).
    Unsent(Fault),
    /// Anything else: it may have been read.
    Failed(Fault),
}

impl Http2 {
    pub(crate) fn new(connections: NonZeroU16) -> Self {
        let places = (0..connections.get()).map(|_| Attempt::new()).collect();
        Self { places, turn: Cell::new(0) }
    }

    /// The next connection in turn, opened where there is none that lives. Requests that come while it is
    /// being opened wait for that, and share what came of it.
    pub(crate) async fn take(&self, connector: &Connector) -> Result<Ready, ConnectError> {
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        let place = &self.places[turn % self.places.len()];
        let known = place.outcome().and_then(Result::ok);
        let replaced = known.is_some();
        if let Some(shared) = known
            && shared.lives()
        {
            return Ok(Ready { shared, took: None, replaced: false });
        }
        let took = Cell::new(None);
        let opening = async {
            let (shared, opened_in) = open(connector).await?;
            took.set(Some(opened_in));
            Ok(shared)
        };
        match place.join(opening).await {
            Tried::Here(shared) => Ok(Ready { shared: shared?, took: took.get(), replaced }),
            Tried::Elsewhere(shared) => Ok(Ready { shared: shared?, took: None, replaced }),
        }
    }
}

impl Shared {
    /// Whether the server still takes requests on it, as far as is known.
    fn lives(&self) -> bool {
        let mut requests = self.requests.clone();
        // A clone has no stream of its own to wait for: the answer is there at once.
        let mut context = Context::from_waker(std::task::Waker::noop());
        !matches!(requests.poll_ready(&mut context), Poll::Ready(Err(_)))
    }
}

async fn open(connector: &Connector) -> Result<(Shared, Duration), ConnectError> {
    let Opened { wire, stamps, took, .. } = connector.open().await?;
    let mut builder = Builder::new();
    let builder = builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        // A connection is everybody's: it must not end because many requests were given up at once.
        .max_concurrent_reset_streams(RESETS_REMEMBERED)
        .max_local_error_reset_streams(None)
        .enable_push(false);
    let requests = match wire {
        Wire::Plain(socket) => drive(builder.handshake(socket).await),
        Wire::Tls(tls) => drive(builder.handshake(tls).await),
    };
    let requests = requests.map_err(|error| connector.http_error(&error))?;
    Ok((Shared { requests, stamps, answered: Rc::default() }, took))
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
    /// Whether an answer has come on it, to whomever.
    pub(crate) fn has_answered(&self) -> bool {
        self.shared.answered.get()
    }

    /// Sends a request and waits for the head of its answer. `gate` is asked before the stream is opened,
    /// and again when the server has room for the first byte of the body, which may be long after;
    /// `on_sent` is called once, when the last of it was handed over.
    pub(crate) async fn send(
        &self,
        request: Request<()>,
        body: Bytes,
        mut gate: impl FnMut() -> bool,
        mut on_sent: impl FnMut(Write),
    ) -> Result<(Head, Stream), SendError> {
        if !gate() {
            return Err(SendError::Refused);
        }
        let at_ns = Clock::monotonic_ns();
        let mut requests = self.shared.requests.clone();
        let mut whole = body.is_empty();
        let (mut answer, stream) = requests
            .send_request(request, whole)
            .map_err(|error| SendError::Unsent(fault(error)))?;
        let mut upload = Some(Upload::new(stream, body, at_ns));
        let (head, body) = poll_fn(|context| {
            if let Some(going) = &mut upload
                && let Poll::Ready(outcome) = going.poll(context, &mut gate)
            {
                match outcome {
                    Ok(true) => whole = true,
                    Ok(false) => return Poll::Ready(Err(SendError::Refused)),
                    // The server may have answered, and take no more; else the answer has the error.
                    Err(_) => {}
                }
                going.so_far().into_iter().for_each(&mut on_sent);
                upload = None;
            }
            let answer = ready!(poll_answer(&mut answer, context))?;
            if !whole && answer.0.status.is_success() {
                return Poll::Ready(Err(early_success()));
            }
            let ended_early = upload.take();
            ended_early.and_then(|going| going.so_far()).into_iter().for_each(&mut on_sent);
            Poll::Ready(Ok(answer))
        })
        .await?;
        self.shared.answered.set(true);
        Ok((head, Stream::new(body, Rc::clone(&self.shared.stamps))))
    }
}

fn early_success() -> SendError {
    SendError::Failed(Fault::Malformed(EARLY_SUCCESS.to_owned()))
}

fn poll_answer(
    answer: &mut ResponseFuture,
    context: &mut Context<'_>,
) -> Poll<Result<(Head, RecvStream), SendError>> {
    let (parts, body) = ready!(Pin::new(answer).poll(context)).map_err(send_error)?.into_parts();
    Poll::Ready(Ok((Head::of_http2(&parts), body)))
}

/// A body on its way.
struct Upload {
    stream: SendStream<Bytes>,
    body: Bytes,
    /// CLOCK_MONOTONIC when the last piece was handed over.
    last_ns: u64,
    permitted: bool,
}

impl Upload {
    fn new(mut stream: SendStream<Bytes>, body: Bytes, at_ns: u64) -> Self {
        stream.reserve_capacity(body.len());
        Self { stream, body, last_ns: at_ns, permitted: false }
    }

    /// Hands over the body as the server makes room for it. `false` where the gate says no.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        gate: &mut impl FnMut() -> bool,
    ) -> Poll<Result<bool, h2::Error>> {
        while !self.body.is_empty() {
            let room = ready!(self.stream.poll_capacity(context));
            let room = room.ok_or(Reason::STREAM_CLOSED)??;
            if !self.permitted && !gate() {
                return Poll::Ready(Ok(false));
            }
            self.permitted = true;
            let piece = self.body.split_to(room.min(self.body.len()));
            self.last_ns = Clock::monotonic_ns();
            self.stream.send_data(piece, self.body.is_empty())?;
            self.stream.reserve_capacity(self.body.len());
        }
        self.permitted = true;
        Poll::Ready(Ok(true))
    }

    /// When the last piece was handed over, if one was.
    fn so_far(&self) -> Option<Write> {
        let call_ns = Clock::monotonic_ns() - self.last_ns;
        self.permitted.then_some(Write { at_ns: self.last_ns, call_ns })
    }
}

/// The body of one answer.
#[derive(Debug)]
pub(crate) struct Stream {
    body: RecvStream,
    /// Those of the socket, which the answer shares with others.
    stamps: Rc<Stamps>,
    read: Read,
    end_ns: Option<u64>,
}

impl Stream {
    fn new(body: RecvStream, stamps: Rc<Stamps>) -> Self {
        let read = seen(&stamps);
        Self { body, stamps, read, end_ns: None }
    }

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
        let Some(piece) = piece else {
            self.end_ns = Some(Clock::monotonic_ns());
            return Poll::Ready(Ok(Body::Ended));
        };
        let piece = piece.map_err(fault)?;
        let read = seen(&self.stamps);
        // Frames of one read have one instant: the time between them is ours.
        if read.serial != self.read.serial {
            self.read = read;
        }
        on_data(&piece, self.read);
        self.body.flow_control().release_capacity(piece.len()).map_err(fault)?;
        Poll::Ready(Ok(Body::More))
    }

    /// Reads what may be left of it, beside its request, whose outcome is known. Given up, the stream would
    /// be reset, and the server would book a request that its client broke off.
    pub(crate) fn keep(mut self) {
        if self.body.is_end_stream() {
            return;
        }
        let _reading = tokio::task::spawn_local(async move {
            let mut drained = 0;
            let rest = poll_fn(|context| {
                while drained <= DRAIN_BYTES {
                    let body = ready!(self.poll_body(context, |piece, _| drained += piece.len()));
                    if !matches!(body, Ok(Body::More)) {
                        break;
                    }
                }
                Poll::Ready(())
            });
            let _ended_or_given_up = timeout(REST, rest).await;
        });
    }
}

/// What the socket has read last, seen now, above the connection.
fn seen(stamps: &Stamps) -> Read {
    let serial = stamps.last_read().serial;
    Read { serial, kernel_ns: None, read_ns: Clock::monotonic_ns() }
}

fn send_error(error: h2::Error) -> SendError {
    let not_looked_at = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
    match error.is_remote() && not_looked_at {
        true => SendError::Unsent(fault(error)),
        false => SendError::Failed(fault(error)),
    }
}

fn fault(error: h2::Error) -> Fault {
    let by_the_server = error.is_remote() && (error.is_reset() || error.is_go_away());
    if error.is_io() || by_the_server {
        return Fault::Io(error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()));
    }
    Fault::Malformed(error.to_string())
}
