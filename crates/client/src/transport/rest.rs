//! A connection whose answer is known, with what may be left of its body.
//!
//! `[DONE]` comes before the body's end, often in a packet of its own. The request does not wait for
//! that end: its outcome is handed over first, and the end is read when the connection is next wanted.

use std::task::{Context, Poll, ready};

use hyper::body::Incoming;

use super::connection::Connection;

/// How much of a body is read after the answer's end, so that the connection can be used again.
const DRAIN_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Rest {
    connection: Box<Connection>,
    body: Option<Incoming>,
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
    /// `body` is what has not been read to its end.
    pub(crate) fn new(mut connection: Box<Connection>, body: Option<Incoming>) -> Self {
        connection.begin_turn();
        Self { connection, body, drained: 0 }
    }

    /// Reads what is left of the last answer, then looks at the connection.
    pub(crate) fn poll_state(&mut self, context: &mut Context<'_>) -> Poll<State> {
        while let Some(body) = &mut self.body {
            match ready!(self.connection.poll_frame(context, body)) {
                None => self.body = None,
                Some(Err(_)) => return Poll::Ready(State::Closed),
                Some(Ok(bytes)) => self.drained += bytes.len(),
            }
            if self.drained > DRAIN_BYTES {
                return Poll::Ready(State::Endless);
            }
        }
        Poll::Ready(if self.connection.is_usable() { State::Open } else { State::Closed })
    }

    pub(crate) fn into_connection(self) -> Box<Connection> {
        self.connection
    }
}
