//! A connection whose answer is known, with what may be left of its body.
//!
//! `[DONE]` comes before the body's end, often in a packet of its own. The request does not wait for
//! that end: its outcome is handed over first, and the end is read when the connection is next wanted.

use std::task::{Context, Poll, ready};

use super::connection::{Body, Connection};

/// How much of a body is read after the answer's end, so that the connection can be used again.
pub(super) const DRAIN_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Rest {
    connection: Box<Connection>,
    drained: usize,
}

/// What there is to say of a connection between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Open, with nothing left to read: it can be used.
    Open,
    /// The server closed it, or is about to.
    Closed,
    /// The last answer goes on and on.
    Endless,
}

impl Rest {
    pub(crate) fn new(connection: Box<Connection>) -> Self {
        Self { connection, drained: 0 }
    }

    /// Reads what is left of the last answer, then looks at the connection.
    pub(crate) fn poll_state(&mut self, context: &mut Context<'_>) -> Poll<State> {
        loop {
            let Self { connection, drained } = self;
            let body = connection.poll_body(context, |piece, _| *drained += piece.len());
            match ready!(body) {
                Ok(Body::Ended) => break,
                Ok(Body::More) if *drained <= DRAIN_BYTES => {}
                Ok(Body::More) => return Poll::Ready(State::Endless),
                Err(_) => return Poll::Ready(State::Closed),
            }
        }
        Poll::Ready(if self.connection.is_usable() { State::Open } else { State::Closed })
    }

    pub(crate) fn into_connection(self) -> Box<Connection> {
        self.connection
    }
}
