//! One HTTP/1.1 connection, driven by the request that uses it.

use std::future::poll_fn;
use std::os::fd::RawFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use nix::sys::socket::{MsgFlags, recv};

use super::stamps::{Gate, Stamps, Write};
use super::term::Term;
use super::wire::Wire;

/// The most that hyper buffers of one read, and the longest head of an answer.
const BUFFER_BYTES: usize = 64 << 10;

/// Rounds of a poll that may pass without progress and without waiting for the socket. There should
/// be none; should hyper ever need some, the task asks to be polled again instead of sleeping for ever.
const IDLE_ROUNDS: usize = 8;

/// Frames that one poll may take before other streams of the lane have their turn.
const FRAMES_PER_TURN: u32 = 64;

/// A request got no head of an answer.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The gate said no; nothing was sent.
    Refused,
    /// The connection was closed, and not one byte of the request left.
    Unsent(hyper::Error),
    /// The connection failed under a request that may have been sent.
    Failed(hyper::Error),
}

pub(crate) struct Connection {
    http: http1::Connection<Wire, Full<Bytes>>,
    requests: http1::SendRequest<Full<Bytes>>,
    stamps: Rc<Stamps>,
    fd: RawFd,
    took: Duration,
    closed: bool,
    turn: u32,
    term: Term,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("fd", &self.fd)
            .field("closed", &self.closed)
            .finish()
    }
}

impl Connection {
    pub(crate) async fn open(
        wire: Wire,
        stamps: Rc<Stamps>,
        fd: RawFd,
        took: Duration,
    ) -> Result<Box<Self>, hyper::Error> {
        let mut builder = http1::Builder::new();
        let (requests, http) = builder.max_buf_size(BUFFER_BYTES).handshake(wire).await?;
        Ok(Box::new(Self {
            http,
            requests,
            stamps,
            fd,
            took,
            closed: false,
            turn: 0,
            term: Term::default(),
        }))
    }

    /// DNS, TCP and TLS together.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// How long the server keeps it, by what it has announced.
    pub(crate) fn term(&mut self) -> &mut Term {
        &mut self.term
    }

    /// Sends a request and waits for the head of its answer. `gate` is asked once, when the socket is
    /// about to write the first byte; `on_sent` is called once, when the last one was handed over.
    pub(crate) async fn head(
        &mut self,
        request: Request<Full<Bytes>>,
        mut gate: impl FnMut() -> bool,
        mut on_sent: impl FnMut(Write),
    ) -> Result<Response<Incoming>, HeadError> {
        self.stamps.begin();
        let mut answer = pin!(self.requests.try_send_request(request));
        let mut told = false;
        poll_fn(|context| {
            self.rounds(context, |connection| {
                if connection.stamps.gate() == Gate::Asked {
                    if !gate() {
                        return Round::Done(Err(HeadError::Refused));
                    }
                    connection.stamps.set_gate(Gate::Open);
                    return Round::Again;
                }
                if let Some(write) = connection.stamps.sent().filter(|_| !told) {
                    told = true;
                    on_sent(write);
                }
                match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(response)) => Round::Done(Ok(response)),
                    Poll::Ready(Err(mut error)) => {
                        let unsent =
                            error.take_message().is_some() || connection.stamps.nothing_left();
                        let error = error.into_error();
                        Round::Done(Err(if unsent {
                            HeadError::Unsent(error)
                        } else {
                            HeadError::Failed(error)
                        }))
                    }
                    Poll::Pending => Round::Wait,
                }
            })
        })
        .await
    }

    /// The next bytes of the answer's body; `None` at its clean end.
    pub(crate) async fn frame(
        &mut self,
        body: &mut Incoming,
    ) -> Option<Result<Bytes, hyper::Error>> {
        poll_fn(|context| self.poll_frame(context, body)).await
    }

    /// As [`frame`](Self::frame).
    pub(crate) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
        body: &mut Incoming,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        if self.turn >= FRAMES_PER_TURN {
            self.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.rounds(context, |_| {
            loop {
                match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                    Poll::Pending => return Round::Wait,
                    Poll::Ready(None) => return Round::Done(None),
                    Poll::Ready(Some(Err(error))) => return Round::Done(Some(Err(error))),
                    Poll::Ready(Some(Ok(frame))) => {
                        // Trailers say nothing that is measured.
                        if let Ok(bytes) = frame.into_data() {
                            return Round::Done(Some(Ok(bytes)));
                        }
                    }
                }
            }
        })
    }

    /// What was read so far counts no longer against other streams' turn.
    pub(crate) fn begin_turn(&mut self) {
        self.turn = 0;
    }

    /// Polls hyper's side and then ours, until ours is done or the socket has nothing for us.
    fn rounds<T>(
        &mut self,
        context: &mut Context<'_>,
        mut ours: impl FnMut(&mut Self) -> Round<T>,
    ) -> Poll<T> {
        self.stamps.attend(context.waker());
        for _ in 0..IDLE_ROUNDS {
            self.stamps.set_blocked(false);
            self.drive();
            match ours(self) {
                Round::Done(result) => {
                    self.turn += 1;
                    return Poll::Ready(result);
                }
                Round::Wait if self.stamps.is_blocked() => {
                    self.turn = 0;
                    return Poll::Pending;
                }
                Round::Wait | Round::Again => {}
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Lets hyper read and write what it can.
    fn drive(&mut self) {
        if self.closed {
            return;
        }
        // What went wrong reaches the request through its answer or its body.
        let polled = Pin::new(&mut self.http).poll(&mut Context::from_waker(Waker::noop()));
        self.closed = polled.is_ready();
    }

    /// Whether the answer has been read to its end and hyper would take another request.
    fn is_at_rest(&mut self) -> bool {
        self.stamps.attend(Waker::noop());
        self.drive();
        !self.closed && self.requests.is_ready()
    }

    /// Whether a pooled connection can be used. The socket itself is asked too, as the runtime may not
    /// yet have heard of a close; bytes that nobody asked for mean that the server is about to.
    pub(crate) fn is_usable(&mut self) -> bool {
        let quiet = recv(self.fd, &mut [0; 1], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        quiet == Err(nix::Error::EAGAIN) && self.is_at_rest()
    }
}

/// What a round of polling came to.
enum Round<T> {
    Done(T),
    /// Something changed that hyper's side must see.
    Again,
    Wait,
}
