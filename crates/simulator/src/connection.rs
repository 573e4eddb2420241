//! One client's socket: stamped reads, direct writes, and a watch on whether the client is still there.
//!
//! Requests are read with `recvmsg`, because only it hands over the kernel's receive stamp. Writes go
//! straight to the socket; what it cannot take waits in a buffer that is drained while the stream
//! waits for its next token anyway. A client that goes away is noticed at once, not at the next token.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::time::TimeSpec;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::clock::{ClockPair, MonoTime, RealTime};
use crate::http::{HttpError, Progress, Request, RequestReader};
use crate::truth::{Arrival, StampSource};

const READ_BYTES: usize = 64 * 1024;
/// With more than this unsent a stream makes no further tokens: the client does not read them.
const MAX_UNSENT_BYTES: usize = 256 * 1024;
/// Bytes of following requests that are kept while one is answered.
const MAX_READ_AHEAD_BYTES: usize = 64 * 1024;

/// The client closed the connection, or the connection failed: nobody is left to answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// Why no further request comes.
#[derive(Debug)]
pub(crate) enum NoRequest {
    Gone,
    Refused(HttpError),
}

/// Whether a write went into the socket whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Whole,
    SocketFull,
}

/// Buffers for reading that all connections of a thread share: one that waits holds none.
pub(crate) struct ReadBuffers {
    bytes: Vec<u8>,
    control: Vec<u8>,
}

impl ReadBuffers {
    pub(crate) fn new() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self { bytes: vec![0; READ_BYTES], control: cmsg_space!(TimeSpec) }))
    }
}

/// One client's connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffers: Rc<RefCell<ReadBuffers>>,
    reader: RequestReader,
    last_read: Arrival,
    unsent: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, buffers: Rc<RefCell<ReadBuffers>>) -> Self {
        let (at, real) = (MonoTime::default(), RealTime::default());
        let last_read = Arrival { at, real, stamp: StampSource::UserSpace };
        Self { stream, buffers, reader: RequestReader::default(), last_read, unsent: Vec::new() }
    }

    /// Reads the next whole request, and when its last byte arrived.
    pub(crate) async fn next_request(&mut self) -> Result<(Request, Arrival), NoRequest> {
        loop {
            match self.reader.advance().map_err(NoRequest::Refused)? {
                Progress::Complete(request) => return Ok((request, self.last_read)),
                Progress::ExpectsContinue => {
                    let _written = self
                        .send(b"HTTP/1.1 100 Continue\r\n\r\n")
                        .map_err(|Gone| NoRequest::Gone)?;
                    self.flush().await.map_err(|Gone| NoRequest::Gone)?;
                }
                Progress::NeedMore => {
                    let more = std::future::poll_fn(|cx| self.poll_read(cx)).await;
                    more.map_err(|Gone| NoRequest::Gone)?;
                }
            }
        }
    }

    /// Writes as much as the socket takes now and keeps the rest for later.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<Written, Gone> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return Ok(Written::SocketFull);
        }
        match self.stream.try_write(bytes) {
            Ok(written) if written == bytes.len() => Ok(Written::Whole),
            Ok(written) => {
                self.unsent.extend_from_slice(&bytes[written..]);
                Ok(Written::SocketFull)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.unsent.extend_from_slice(bytes);
                Ok(Written::SocketFull)
            }
            Err(_) => Err(Gone),
        }
    }

    /// Waits until everything is in the socket.
    pub(crate) async fn flush(&mut self) -> Result<(), Gone> {
        self.drain_to(0).await
    }

    /// Waits until a client that does not read has caught up far enough.
    pub(crate) async fn relieve(&mut self) -> Result<(), Gone> {
        self.drain_to(MAX_UNSENT_BYTES).await
    }

    /// Whether the client is so far behind that its stream should wait.
    pub(crate) fn is_overfull(&self) -> bool {
        self.unsent.len() > MAX_UNSENT_BYTES
    }

    async fn drain_to(&mut self, remaining: usize) -> Result<(), Gone> {
        std::future::poll_fn(|cx| {
            if self.unsent.len() <= remaining {
                return Poll::Ready(Ok(()));
            }
            if self.poll_drain(cx).is_err() || self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Gone));
            }
            if self.unsent.len() <= remaining { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Waits for `work`, sends what was left unsent meanwhile, and gives up if the client goes away.
    pub(crate) async fn while_connected<F: Future>(&mut self, work: F) -> Result<F::Output, Gone> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.poll_drain(cx).is_err() || self.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Gone));
            }
            Poll::Pending
        })
        .await
    }

    /// Sends what is left unsent as far as the socket takes it.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        while !self.unsent.is_empty() {
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Err(_)) => return Err(Gone),
                Poll::Ready(Ok(())) => {}
            }
            match self.stream.try_write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Ready when the client has gone. What it sends meanwhile is kept for the next request.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        while self.reader.buffered() < MAX_READ_AHEAD_BYTES {
            if let Err(Gone) = ready!(self.poll_read(cx)) {
                return Poll::Ready(Gone);
            }
        }
        Poll::Pending
    }

    /// Ready when bytes have come, or the client has gone.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        loop {
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Err(Gone));
            }
            match self.try_read() {
                Ok(0) => return Poll::Ready(Err(Gone)),
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(Err(Gone)),
            }
        }
    }

    fn try_read(&mut self) -> io::Result<usize> {
        let mut buffers = self.buffers.borrow_mut();
        let ReadBuffers { bytes, control } = &mut *buffers;
        let (count, stamp) = self
            .stream
            .try_io(Interest::READABLE, || receive(self.stream.as_raw_fd(), bytes, control))?;
        self.last_read = arrival(stamp);
        self.reader.push(&bytes[..count]);
        Ok(count)
    }
}

/// One read and the kernel's stamp of the last segment in it.
fn receive(
    socket: i32,
    bytes: &mut [u8],
    control: &mut [u8],
) -> io::Result<(usize, Option<RealTime>)> {
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg::<()>(socket, &mut parts, Some(control), MsgFlags::empty())?;
    let mut stamp = None;
    for control_message in message.cmsgs()? {
        if let ControlMessageOwned::ScmTimestampns(spec) = control_message {
            stamp = Some(RealTime::from_timespec(spec));
        }
    }
    Ok((message.bytes, stamp))
}

/// Puts a stamp on the monotonic time line; without one the read itself is the arrival.
fn arrival(stamp: Option<RealTime>) -> Arrival {
    let clocks = ClockPair::now();
    match stamp {
        Some(real) => Arrival { at: clocks.to_mono(real), real, stamp: StampSource::Kernel },
        None => {
            let at = MonoTime::now();
            Arrival { at, real: clocks.to_real(at), stamp: StampSource::UserSpace }
        }
    }
}
