//! What hyper reads and writes: the socket, plain or under TLS.
//!
//! Bytes pass through one buffer per lane, because hyper's own may be uninitialized and this crate is
//! free of `unsafe`; it stays in the processor's cache, and an event is a few hundred bytes.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::socket::Socket;
use super::stamps::Stamps;

/// The most that one read brings.
const SCRATCH_BYTES: usize = 64 << 10;

/// The lane's read buffer.
#[derive(Clone, Debug)]
pub(crate) struct Scratch(Rc<RefCell<Box<[u8]>>>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice())))
    }
}

#[derive(Debug)]
pub(crate) struct Wire {
    layer: Layer,
    stamps: Rc<Stamps>,
    scratch: Scratch,
}

#[derive(Debug)]
pub(crate) enum Layer {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Wire {
    pub(crate) fn new(layer: Layer, stamps: Rc<Stamps>, scratch: Scratch) -> Self {
        Self { layer, stamps, scratch }
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        let mut scratch = wire.scratch.0.borrow_mut();
        let room = scratch.len().min(cursor.remaining());
        let buffer = &mut scratch[..room];
        match &mut wire.layer {
            Layer::Plain(socket) => {
                let bytes = ready!(socket.poll_receive(buffer))?;
                cursor.put_slice(&buffer[..bytes]);
            }
            Layer::Tls(tls) => {
                let mut text = ReadBuf::new(buffer);
                ready!(Pin::new(tls).poll_read(context, &mut text))?;
                cursor.put_slice(text.filled());
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.layer {
            Layer::Plain(socket) => socket.poll_send(parts),
            Layer::Tls(tls) => Pin::new(tls).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when it has nothing buffered; so a flush that is done is the request's end.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Layer::Tls(tls) = &mut self.layer {
            ready!(Pin::new(tls).poll_flush(context))?;
        }
        self.stamps.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Layer::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
