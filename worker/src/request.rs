//! One request, from its body to its books.

use std::{cell::Cell, time::Duration};

use client::{Clock, Progress};
use metrics::{FailureClass, NotSent, Notes};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    bodies::{Body, Ordered},
    booking::Booking,
    lane::Lane,
};

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// No connection could be opened for it.
    WithoutConnection,
    /// Anywhere else.
    Far,
}

/// By what a request is permitted: the plan names it the same on every clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Open loop: by when it is due.
    Due(Duration),
    /// Closed loop: by the round of its slot.
    Round(u64),
}

impl Permission {
    /// Whether the lease covers it now.
    pub(crate) fn is_granted(self, lane: &Lane) -> bool {
        let now = Clock::boottime_ns();
        match self {
            Self::Due(due) => lane.gate.may_write(due, now),
            Self::Round(round) => lane.gate.may_write_round(round, now),
        }
    }
}

/// Sends what was ordered and books what becomes of it. The permit is held until it is over.
pub(crate) async fn request(
    lane: &Lane,
    mut booking: Booking,
    ordered: Ordered,
    stage: u16,
    permission: Permission,
    _permit: Option<OwnedSemaphorePermit>,
) -> Came {
    let mut body = match collect(&booking, ordered).await {
        Ok(body) => body,
        Err(reason) => {
            booking.broken(reason);
            // A closed loop whose bodies all fail must not keep the lane's thread for itself.
            tokio::task::yield_now().await;
            return Came::Far;
        }
    };
    let ready = lane.clock.now();
    let end = lane.stage_end(stage);
    let before_end = |at| end.is_none_or(|end| at < end);
    // After the end it will not be sent: a generator that comes to it then has not kept up with it.
    if before_end(ready) {
        booking.started(ready);
    }
    // Asked in the socket's write, as near to the first byte as can be.
    let held_back = Cell::new(NotSent::StageEnded);
    let gate = || {
        let reason = match before_end(lane.clock.now()) {
            false => NotSent::StageEnded,
            true if permission.is_granted(lane) => return true,
            true => NotSent::NoLease,
        };
        held_back.set(reason);
        false
    };
    let on = |progress: Progress| booking.progress(&progress);
    // Given away: a long prompt must not lie here while its answer comes.
    let bytes = std::mem::take(&mut body.bytes);
    match lane.client.exchange(bytes, gate, on).await {
        Ok(answer) => {
            booking.completed(ready, &body, &answer);
            Came::Far
        }
        Err(failure) => {
            let refused = matches!(failure.class, FailureClass::Connect | FailureClass::Tls);
            match failure.refused_by_gate {
                true => booking.not_sent(held_back.get()),
                false => booking.failed(failure),
            }
            if refused { Came::WithoutConnection } else { Came::Far }
        }
    }
}

async fn collect(booking: &Booking, mut ordered: Ordered) -> Result<Body, String> {
    let body = match ordered.at_hand() {
        Some(built) => built?,
        None => {
            booking.note(&Notes { queue_empty: 1, ..Notes::default() });
            ordered.collect().await?
        }
    };
    booking.built(body.took);
    if body.wrapped {
        booking.note(&Notes { prompts_wrapped: 1, ..Notes::default() });
    }
    if let Some(recount) = body.recount {
        let inexact = u64::from(recount.asked != recount.counted);
        booking.note(&Notes { prompts_checked: 1, prompts_inexact: inexact, ..Notes::default() });
    }
    Ok(body)
}
