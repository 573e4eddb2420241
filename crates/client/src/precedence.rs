//! What is due goes before what has arrived.
//!
//! A lane is one thread, and its tasks take their turns in a queue. A token that waits there loses nothing: the kernel
//! has stamped it. A request that is due loses time, which would be `generator_lag`: at two thirds of a core the queue
//! was seen some hundred reads long, 2 to 9 ms. So each read looks at the instant that it stamps anyhow; the first one
//! that finds the next start overdue calls it, and the others behind it give their turns away until it has come.

use std::cell::Cell;

use tokio::sync::Notify;

/// No start is awaited.
const NEVER: u64 = u64::MAX;

/// What a lane's starts and its reads tell each other.
#[derive(Debug)]
pub struct Precedence {
    /// The next start that is awaited, on CLOCK_MONOTONIC.
    due_ns: Cell<u64>,
    /// Somebody was called and has not come yet.
    is_called: Cell<bool>,
    call: Notify,
}

/// The wait of one start; whoever else waits asks again after it.
struct Waiting<'a>(&'a Precedence);

impl Default for Precedence {
    fn default() -> Self {
        Self { due_ns: Cell::new(NEVER), is_called: Cell::new(false), call: Notify::new() }
    }
}

impl Precedence {
    /// Returns when a read finds that `due_ns` (CLOCK_MONOTONIC) is over, and now and then before: it takes the place
    /// of no timer. Where several wait, the earliest decides.
    pub async fn overdue(&self, due_ns: u64) {
        let _waiting = Waiting(self);
        self.due_ns.set(self.due_ns.get().min(due_ns));
        self.call.notified().await;
    }

    /// A read came back at this instant.
    pub(crate) fn saw(&self, now_ns: u64) {
        if now_ns >= self.due_ns.get() {
            self.due_ns.set(NEVER);
            self.is_called.set(true);
            self.call.notify_waiters();
        }
    }

    /// Whether somebody was called, so that a read gives its turn away.
    pub(crate) fn reads_wait(&self) -> bool {
        self.is_called.get()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.is_called.set(false);
        self.0.due_ns.set(NEVER);
        self.0.call.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::poll_fn, rc::Rc, task::Poll};

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    /// A queue of readers with a start due at 5: who had its turn, in order.
    async fn turns(readers: u64) -> Vec<String> {
        let (precedence, turns) = (Rc::new(Precedence::default()), Rc::new(RefCell::new(vec![])));
        let tasks = LocalSet::new();
        let (start, said) = (Rc::clone(&precedence), Rc::clone(&turns));
        let _start = tasks.spawn_local(async move {
            start.overdue(5).await;
            said.borrow_mut().push("start".to_owned());
        });
        for reader in 0..readers {
            let (precedence, turns) = (Rc::clone(&precedence), Rc::clone(&turns));
            let _reader = tasks.spawn_local(async move {
                poll_fn(|context| {
                    if !precedence.reads_wait() {
                        return Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    Poll::Pending
                })
                .await;
                precedence.saw(reader);
                turns.borrow_mut().push(reader.to_string());
            });
        }
        let long_enough = async {
            for _ in 0..100 {
                yield_now().await;
            }
        };
        tasks.run_until(long_enough).await;
        turns.take()
    }

    #[tokio::test]
    async fn the_reads_behind_one_that_finds_a_start_overdue_let_it_go_first() {
        assert_eq!(turns(8).await, ["0", "1", "2", "3", "4", "5", "start", "6", "7"]);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_start_that_is_not_due() {
        assert_eq!(turns(5).await, ["0", "1", "2", "3", "4"]);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_holds_nobody_up() {
        let precedence = Precedence::default();
        let waits = async {
            tokio::select! {
                biased;
                () = precedence.overdue(5) => {}
                () = yield_now() => {}
            }
        };
        let sees = async { precedence.saw(4) };
        tokio::join!(waits, sees);
        precedence.saw(9);
        assert!(!precedence.reads_wait());
    }
}
