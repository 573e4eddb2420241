//! One HTTP/1.1 connection, driven by the request that uses it.
//!
//! Written here and not taken from a library, because it is the measured path: a read is one system
//! call into the lane's buffer, taken apart where it lies, so an open stream holds no buffer, a token
//! costs no allocation and wakes one task. What is read is `httparse`'s (the head) and two pure state
//! machines' ([`Framing`](super::framing::Framing), [`Chunked`](super::chunked::Chunked)).

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use nix::sys::socket::{MsgFlags, recv};

use super::framing::Framing;
use super::head::{Delivery, Head, answer};
use super::stamps::{Gate, Read, Stamps, Write};
use super::term::{KeepAlive, Term};
use super::wire::{Scratch, Wire};

/// What a server does that cannot have read what it answers: no time from such a request means anything.
/// An answer that is an error may well come before the end of the request.
pub(super) const EARLY_SUCCESS: &str =
    "the server answered with success before it had the whole request";

/// Why a connection has no more to give.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("{0}")]
    Malformed(String),
}

/// A request got no head of an answer.
#[derive(Debug)]
pub(crate) enum HeadError {
    /// The gate said no; nothing was sent.
    Refused,
    /// The connection was closed, and not one byte of the request left.
    Unsent(Fault),
    /// The connection failed under a request that may have been sent.
    Failed(Fault),
}

/// A request as it goes over the wire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing {
    /// Request line and headers, with the empty line.
    pub(crate) head: Bytes,
    pub(crate) body: Bytes,
}

/// What a read brought of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    More,
    Ended,
}

#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    stamps: Rc<Stamps>,
    scratch: Scratch,
    fd: RawFd,
    took: Duration,
    term: Term,
    announced: KeepAlive,
    /// What has arrived of a head, then what arrived behind it: empty while a stream is read.
    inbox: Vec<u8>,
    framing: Framing,
    /// Since the request began, bytes of an answer have come, and so many whole answers of information.
    answered: bool,
    informed: u32,
    /// Nothing has happened on it after which no request could follow.
    sound: bool,
}

impl Connection {
    pub(crate) fn new(
        wire: Wire,
        stamps: Rc<Stamps>,
        scratch: Scratch,
        fd: RawFd,
        took: Duration,
    ) -> Box<Self> {
        Box::new(Self {
            wire,
            stamps,
            scratch,
            fd,
            took,
            term: Term::default(),
            announced: KeepAlive::default(),
            inbox: Vec::new(),
            framing: Framing::NONE,
            answered: false,
            informed: 0,
            sound: true,
        })
    }

    /// DNS, TCP and TLS together.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    pub(crate) fn stamps(&self) -> &Stamps {
        &self.stamps
    }

    /// An answer is over: how long the server keeps the connection for another, by what it has announced;
    /// `None` where it would not take one.
    pub(crate) fn idle_limit(&mut self) -> Option<Duration> {
        self.term.answered(self.announced);
        self.term.idle_limit().filter(|_| self.sound)
    }

    /// Whether the server has said anything since the request began. What TLS says for itself, such as
    /// its farewell, is not an answer.
    pub(crate) fn has_answered(&self) -> bool {
        self.answered
    }

    /// Sends a request and waits for the head of its answer. `gate` is asked once, when the socket is
    /// about to write the first byte; `on_sent` is called once, when the last one was handed over.
    pub(crate) async fn head(
        &mut self,
        request: Outgoing,
        mut gate: impl FnMut() -> bool,
        mut on_sent: impl FnMut(Write),
    ) -> Result<Head, HeadError> {
        self.stamps.begin();
        (self.answered, self.informed) = (false, 0);
        let mut unsent = Some(request);
        let mut write_fault = None;
        poll_fn(|context| {
            if let Some(request) = &mut unsent
                && let Poll::Ready(outcome) = self.poll_send(context, request, &mut gate)
            {
                // A long prompt must not lie here while its answer comes.
                unsent = None;
                match outcome {
                    Ok(Some(write)) => on_sent(write),
                    Ok(None) => return Poll::Ready(Err(HeadError::Refused)),
                    Err(fault) if self.stamps.nothing_left() => {
                        return Poll::Ready(Err(HeadError::Unsent(fault)));
                    }
                    // The server may have answered before it closed.
                    Err(fault) => write_fault = Some(fault),
                }
            }
            let head = match ready!(self.poll_head(context)) {
                Ok(head) if head.status.is_success() && self.stamps.sent().is_none() => {
                    Err(Fault::Malformed(EARLY_SUCCESS.to_owned()))
                }
                head => head,
            };
            Poll::Ready(head.map_err(|fault| match write_fault.take() {
                _ if self.stamps.nothing_left() => HeadError::Unsent(fault),
                Some(first) if !matches!(fault, Fault::Malformed(_)) => HeadError::Failed(first),
                Some(_) | None => HeadError::Failed(fault),
            }))
        })
        .await
    }

    /// Writes all of a request. `None` where the gate says no.
    fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        request: &mut Outgoing,
        gate: &mut impl FnMut() -> bool,
    ) -> Poll<Result<Option<Write>, Fault>> {
        loop {
            let step = self.poll_send_step(context, request);
            if self.stamps.gate() == Gate::Asked {
                if !gate() {
                    return Poll::Ready(Ok(None));
                }
                self.stamps.set_gate(Gate::Open);
                continue;
            }
            if ready!(step)? {
                self.stamps.flushed();
                return Poll::Ready(Ok(self.stamps.sent()));
            }
        }
    }

    /// One write, or the flush after the last one; `true` when all has been handed over.
    fn poll_send_step(
        &mut self,
        context: &mut Context<'_>,
        request: &mut Outgoing,
    ) -> Poll<io::Result<bool>> {
        let Outgoing { head, body } = request;
        if !head.has_remaining() && !body.has_remaining() {
            return self.wire.poll_flush(context).map_ok(|()| true);
        }
        let parts = [IoSlice::new(head), IoSlice::new(body)];
        let bytes = ready!(self.wire.poll_write(context, &parts))?;
        if bytes == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_head = bytes.min(head.len());
        head.advance(of_head);
        body.advance(bytes - of_head);
        Poll::Ready(Ok(false))
    }

    /// Reads until the head of the answer is whole.
    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<Head, Fault>> {
        loop {
            let scratch = Rc::clone(&self.scratch);
            let mut scratch = scratch.borrow_mut();
            let bytes = ready!(self.wire.poll_read(context, &mut scratch))?;
            if bytes == 0 {
                return Poll::Ready(Err(Fault::Closed));
            }
            self.answered = true;
            self.inbox.extend_from_slice(&scratch[..bytes]);
            if let Some((head, delivery)) = self.take_head()? {
                self.sound = delivery.keeps && self.stamps.sent().is_some();
                self.framing = delivery.framing;
                self.announced = delivery.keep_alive;
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// The head of the answer, if it has arrived whole; what precedes it (1xx) is passed over.
    fn take_head(&mut self) -> Result<Option<(Head, Delivery)>, Fault> {
        let (found, taken) = answer(&self.inbox, &mut self.informed)?;
        let _heads = self.inbox.drain(..taken);
        Ok(found.map(|parsed| (parsed.head, parsed.delivery)))
    }

    /// Reads once, and hands over the pieces of the body in what came, with the read that brought them.
    pub(crate) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        on_data: impl FnMut(&[u8], Read),
    ) -> Poll<Result<Body, Fault>> {
        if !self.inbox.is_empty() {
            let inbox = std::mem::take(&mut self.inbox);
            return Poll::Ready(self.unframe(&inbox, on_data));
        }
        if self.framing.is_ended() {
            return Poll::Ready(Ok(Body::Ended));
        }
        let scratch = Rc::clone(&self.scratch);
        let mut scratch = scratch.borrow_mut();
        let bytes = ready!(self.wire.poll_read(context, &mut scratch))?;
        if bytes == 0 {
            self.sound = false;
            return Poll::Ready(self.framing.closed().map(|()| Body::Ended));
        }
        Poll::Ready(self.unframe(&scratch[..bytes], on_data))
    }

    fn unframe(
        &mut self,
        bytes: &[u8],
        mut on_data: impl FnMut(&[u8], Read),
    ) -> Result<Body, Fault> {
        let read = self.stamps.last_read();
        let beyond = self.framing.push(bytes, |piece| on_data(piece, read))?;
        // Nobody has asked for what follows an answer.
        self.sound &= beyond == 0;
        Ok(if self.framing.is_ended() { Body::Ended } else { Body::More })
    }

    /// Whether a pooled connection can be used. The socket itself is asked too, as the runtime may not
    /// yet have heard of a close; bytes that nobody asked for mean that the server is about to.
    pub(crate) fn is_usable(&self) -> bool {
        let quiet = recv(self.fd, &mut [0; 1], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
        self.sound && self.framing.is_ended() && quiet == Err(nix::Error::EAGAIN)
    }
}
