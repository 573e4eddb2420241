//! Who runs and who waits: the engine's batch, with a cap and a first-come-first-served queue.
//!
//! The cap is what makes an overloaded server overloaded: beyond it TTFT is made of waiting. Pure,
//! so that the order of service can be checked by counting instead of by time.

use std::collections::VecDeque;

/// The running sequences and the queue; `W` is whatever wakes a waiting request.
#[derive(Debug)]
pub(crate) struct Batch<W> {
    cap: Option<usize>,
    running: usize,
    waiting: VecDeque<(u64, W)>,
}

/// What a request is told when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Running,
    Queued,
}

impl<W> Batch<W> {
    /// `None` never queues.
    pub(crate) fn new(cap: Option<usize>) -> Self {
        Self { cap, running: 0, waiting: VecDeque::new() }
    }

    /// Request `id` comes. It runs at once if there is room; otherwise `waker` is kept until it does.
    pub(crate) fn arrive(&mut self, id: u64, waker: W) -> Admission {
        if self.cap.is_none_or(|cap| self.running < cap) {
            self.running += 1;
            return Admission::Running;
        }
        self.waiting.push_back((id, waker));
        Admission::Queued
    }

    /// Request `id` goes, from the batch or from the queue. Returns who runs in its place.
    pub(crate) fn leave(&mut self, id: u64) -> Option<W> {
        if let Some(position) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            let _gave_up = self.waiting.remove(position);
            return None;
        }
        match self.waiting.pop_front() {
            Some((_, next)) => Some(next), // the place changes hands: `running` stays
            None => {
                self.running -= 1;
                None
            }
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_cap_requests_wait_and_run_in_order() {
        let mut batch = Batch::new(Some(2));
        let told: Vec<_> = (1..=4).map(|id| batch.arrive(id, id)).collect();
        assert_eq!(
            told,
            [Admission::Running, Admission::Running, Admission::Queued, Admission::Queued]
        );
        assert_eq!((batch.running(), batch.waiting()), (2, 2));
        assert_eq!(batch.leave(2), Some(3));
        assert_eq!(batch.leave(1), Some(4));
        assert_eq!((batch.leave(3), batch.leave(4)), (None, None));
        assert_eq!((batch.running(), batch.waiting()), (0, 0));
    }

    #[test]
    fn who_gives_up_in_the_queue_frees_no_place() {
        let mut batch = Batch::new(Some(1));
        let _told: Vec<_> = (1..=3).map(|id| batch.arrive(id, id)).collect();
        assert_eq!(batch.leave(2), None);
        assert_eq!((batch.running(), batch.waiting()), (1, 1));
        assert_eq!(batch.leave(1), Some(3));
    }

    #[test]
    fn without_a_cap_nobody_waits() {
        let mut batch = Batch::new(None);
        assert!((0..10_000).all(|id| batch.arrive(id, ()) == Admission::Running));
        assert_eq!(batch.running(), 10_000);
    }
}
