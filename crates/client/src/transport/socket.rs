//! A TCP socket that knows when its bytes left and arrived.
//!
//! Reads go through `recvmsg`, which brings the kernel's receive stamp (`SO_TIMESTAMPNS`; for TCP that
//! of the last segment in the read) for 3 % more CPU than `read`. A read that does not fill its
//! buffer has emptied the socket, so tokio's readiness is cleared at once, inside the same call: one
//! system call an event, and no race with a readiness that comes later.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, cmsg_space, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::stamps::{Gate, Stamps, Write};
use crate::{clock::Clock, precedence::Precedence};

/// Room for the one control message that is asked for.
const CONTROL_BYTES: usize = cmsg_space::<TimeSpec>();

#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    stamps: Rc<Stamps>,
    precedence: Rc<Precedence>,
}

impl Socket {
    /// Takes a connected stream over: no Nagle delay, kernel stamps where the kernel has them.
    pub(crate) fn new(
        tcp: TcpStream,
        stamps: Rc<Stamps>,
        precedence: Rc<Precedence>,
    ) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        // Without stamps the instants are those of user space, and the answer says so.
        let _without_stamps = setsockopt(&tcp, sockopt::ReceiveTimestampns, &true);
        Ok(Self { tcp, stamps, precedence })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.tcp.as_raw_fd()
    }

    /// Reads what is there; 0 at the end of the stream. A request that is due goes before it.
    pub(crate) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.precedence.reads_wait() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            ready!(self.tcp.poll_read_ready(context))?;
            let mut emptied = None;
            let outcome = self.tcp.try_io(Interest::READABLE, || {
                let bytes = self.receive(buffer)?;
                if bytes == 0 || bytes == buffer.len() {
                    return Ok(bytes);
                }
                emptied = Some(bytes);
                // Clears the readiness; tokio keeps the knowledge of a closed peer.
                Err(io::ErrorKind::WouldBlock.into())
            });
            match (emptied, outcome) {
                (Some(bytes), _) => return Poll::Ready(Ok(bytes)),
                (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                (None, outcome) => return Poll::Ready(outcome),
            }
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, kernel_ns) = receive(self.fd(), buffer)?;
        let now_ns = Clock::monotonic_ns();
        self.precedence.saw(now_ns);
        if bytes == 0 {
            self.stamps.ended(now_ns);
        } else {
            self.stamps.received(kernel_ns, now_ns);
        }
        Ok(bytes)
    }

    /// Writes what the kernel takes, once the gate is open.
    pub(crate) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.stamps.gate() != Gate::Open {
            self.stamps.set_gate(Gate::Asked);
            return Poll::Pending;
        }
        loop {
            ready!(self.tcp.poll_write_ready(context))?;
            let at_ns = Clock::monotonic_ns();
            match self.tcp.try_write_vectored(parts) {
                Ok(bytes) => {
                    let call_ns = Clock::monotonic_ns() - at_ns;
                    self.stamps.wrote(Write { at_ns, call_ns }, bytes);
                    return Poll::Ready(Ok(bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// One `recvmsg`: how many bytes, and the kernel's stamp on CLOCK_REALTIME where it gave one.
pub(super) fn receive(fd: RawFd, buffer: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    let mut control = [0u8; CONTROL_BYTES];
    loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<()>(fd, &mut parts, Some(&mut control), MsgFlags::empty()) {
            Ok(message) => {
                let stamp_ns = message.cmsgs().ok().and_then(|mut list| list.find_map(stamp_ns));
                return Ok((message.bytes, stamp_ns));
            }
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn stamp_ns(message: ControlMessageOwned) -> Option<u64> {
    let ControlMessageOwned::ScmTimestampns(stamp) = message else { return None };
    u64::try_from(stamp.tv_sec() * 1_000_000_000 + stamp.tv_nsec()).ok().filter(|ns| *ns > 0)
}

/// For TLS, which reads and writes through tokio's traits.
impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.poll_receive(context, buffer.initialize_unfilled()))?;
        buffer.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
