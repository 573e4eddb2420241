//! Connections of a lane that wait for their next request.
//!
//! The one used last is taken first, so that those which a smaller load does not need grow old, and
//! are closed. A connection is looked at before it is used: servers close idle ones without a word,
//! some at once after an answer ([`Trust`]), some after a time that they announce
//! ([`Term`](super::term::Term)).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::rest::{Rest, State};
use super::trust::{REST, Trust};

#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<VecDeque<Idle>>,
    trust: Cell<Trust>,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    until: Instant,
    rest: Rest,
}

/// A connection of the pool, and how long after its last answer it was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) connection: Box<Connection>,
    pub(crate) rested: Duration,
}

impl Pool {
    /// A connection that can be used, if there is one. Where the only ones are such that the end of their
    /// last answer has not arrived yet, it waits for that, no longer than a connection may take to
    /// rest: after that a new one is cheaper.
    pub(crate) async fn take(&self) -> Option<Taken> {
        let now = Instant::now();
        if let Some(taken) = self.at_rest(now) {
            return Some(taken);
        }
        let idle = self.ending(now)?;
        Box::pin(self.ended(idle)).await
    }

    /// Keeps a connection for its next request, for as long as `idle_limit`, unless it is seen to have
    /// closed already.
    pub(crate) fn put(&self, mut rest: Rest, idle_limit: Duration) {
        match rest.poll_state(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(State::Closed) => return self.found_closed(Duration::ZERO),
            Poll::Ready(State::Endless) => return,
            Poll::Ready(State::Open) | Poll::Pending => {}
        }
        let since = Instant::now();
        let mut idle = self.idle.borrow_mut();
        idle.push_back(Idle { since, until: since + idle_limit, rest });
        while idle.front().is_some_and(|oldest| oldest.until <= since) {
            let _too_old = idle.pop_front();
        }
    }

    /// The server closed a connection that was in use again, that long after its last answer.
    pub(crate) fn found_closed(&self, rested: Duration) {
        self.trust.set(self.trust.get().found_closed(rested));
    }

    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// The last used connection that has rested, if it must, and can be used at once.
    fn at_rest(&self, now: Instant) -> Option<Taken> {
        let mut idle = self.idle.borrow_mut();
        for place in (0..idle.len()).rev() {
            let one = &mut idle[place];
            let rested = now - one.since;
            if !self.trust.get().allows(rested) {
                continue;
            }
            let state = one.rest.poll_state(&mut Context::from_waker(Waker::noop()));
            if state.is_pending() && rested < REST {
                continue;
            }
            let in_time = now < one.until;
            let one = idle.remove(place)?;
            if in_time
                && let Poll::Ready(state) = state
                && let Some(taken) = self.judged(one, rested, state)
            {
                return Some(taken);
            }
        }
        None
    }

    /// The last used connection whose answer is about to end.
    fn ending(&self, now: Instant) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let place = idle.iter().rposition(|one| self.trust.get().allows(now - one.since))?;
        idle.remove(place)
    }

    async fn ended(&self, mut one: Idle) -> Option<Taken> {
        let state = poll_fn(|context| one.rest.poll_state(context));
        let state = timeout_at(one.since + REST, state).await.ok()?;
        let rested = one.since.elapsed();
        self.judged(one, rested, state)
    }

    /// Learns from what a connection was found to be.
    fn judged(&self, one: Idle, rested: Duration, state: State) -> Option<Taken> {
        match state {
            State::Open => {
                self.trust.set(self.trust.get().found_open(rested));
                Some(Taken { connection: one.rest.into_connection(), rested })
            }
            State::Closed => {
                self.found_closed(rested);
                None
            }
            State::Endless => None,
        }
    }
}
