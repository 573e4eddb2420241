//! Where an answer's body comes from: a connection of its own, or a stream of a shared one.

use std::task::{Context, Poll};

use super::connection::{Body, Connection, Fault};
use super::http2;
use super::stamps::Read;

#[derive(Debug)]
pub(crate) enum Source {
    Http1(Box<Connection>),
    Http2(http2::Stream),
}

impl Source {
    /// Reads once, and hands over the pieces of the body in what came, with the read that brought them.
    pub(crate) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        on_data: impl FnMut(&[u8], Read),
    ) -> Poll<Result<Body, Fault>> {
        match self {
            Self::Http1(connection) => connection.poll_body(context, on_data),
            Self::Http2(stream) => stream.poll_body(context, on_data),
        }
    }

    pub(crate) fn last_read(&self) -> Read {
        match self {
            Self::Http1(connection) => connection.stamps().last_read(),
            Self::Http2(stream) => stream.last_read(),
        }
    }

    /// CLOCK_MONOTONIC when the peer's end was seen.
    pub(crate) fn end_ns(&self) -> Option<u64> {
        match self {
            Self::Http1(connection) => connection.stamps().end_ns(),
            Self::Http2(stream) => stream.end_ns(),
        }
    }
}
