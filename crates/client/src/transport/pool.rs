//! Connections of a lane that wait for their next request.
//!
//! The one used last is taken first, so that those which a smaller load does not need grow old, and
//! are closed. A connection is looked at before it is used: servers close idle ones without a word.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;

/// Longer than this an unused connection is not kept.
const IDLE_LIMIT: Duration = Duration::from_secs(90);

#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<VecDeque<(Instant, Box<Connection>)>>,
}

impl Pool {
    /// A connection that is open and at rest, if there is one.
    pub(crate) fn take(&self) -> Option<Box<Connection>> {
        loop {
            let (_since, mut connection) = self.idle.borrow_mut().pop_back()?;
            if connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose last answer has been read to its end.
    pub(crate) fn put(&self, connection: Box<Connection>) {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        idle.push_back((now, connection));
        while idle.front().is_some_and(|(since, _)| now - *since > IDLE_LIMIT) {
            let _too_old = idle.pop_front();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len()
    }
}
