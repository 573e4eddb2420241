//! One attempt for all who wait for it.
//!
//! A name to be looked up, a connection to be shared: many requests may want it at the same instant. One
//! of them tries, the others wait and share what came of it, a failure too: one attempt each, one after
//! the other, would make the last of them wait for all.

use std::cell::{Cell, RefCell};

use tokio::sync::Mutex;

#[derive(Debug)]
pub(super) struct Attempt<T> {
    trying: Mutex<()>,
    ended: Cell<u64>,
    outcome: RefCell<Option<T>>,
}

/// What came of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tried<T> {
    /// It was the caller's own.
    Here(T),
    /// It ended while the caller waited.
    Elsewhere(T),
}

impl<T: Clone> Attempt<T> {
    pub(super) fn new() -> Self {
        Self { trying: Mutex::default(), ended: Cell::default(), outcome: RefCell::default() }
    }

    /// What the last attempt came to, if there was one.
    pub(super) fn outcome(&self) -> Option<T> {
        self.outcome.borrow().clone()
    }

    /// Makes an attempt, or waits for the one that is being made. One that is dropped is nobody's: the
    /// next who waits makes another.
    pub(super) async fn join(&self, attempt: impl Future<Output = T>) -> Tried<T> {
        let before = self.ended.get();
        let _trying = self.trying.lock().await;
        if self.ended.get() != before
            && let Some(outcome) = self.outcome()
        {
            return Tried::Elsewhere(outcome);
        }
        let outcome = attempt.await;
        self.ended.set(self.ended.get() + 1);
        *self.outcome.borrow_mut() = Some(outcome.clone());
        Tried::Here(outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_attempt_shares_its_outcome_and_who_comes_later_tries_anew() {
        let (attempt, tries) = (Attempt::new(), Cell::new(0));
        let try_it = || async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            tries.set(tries.get() + 1);
            tries.get()
        };
        let together = tokio::join!(attempt.join(try_it()), attempt.join(try_it()));
        assert_eq!(together, (Tried::Here(1), Tried::Elsewhere(1)));
        assert_eq!(attempt.join(try_it()).await, Tried::Here(2));
        assert_eq!(attempt.outcome(), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_given_up_is_made_by_the_next_who_waits() {
        let attempt = Attempt::new();
        let given_up = tokio::time::timeout(
            Duration::from_secs(1),
            attempt.join(std::future::pending::<u8>()),
        );
        let (given_up, tried) = tokio::join!(given_up, attempt.join(async { 7 }));
        assert!(given_up.is_err());
        assert_eq!(tried, Tried::Here(7));
    }
}
