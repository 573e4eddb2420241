//! What the limits of a grant are made of, by the plan.

use std::time::Duration;

use protocol::{LEASE, LONG_LEASE, Limit};
use workload::{Drive, OnWorkerLoss, Plan};

/// By what a grant is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Open loop: what is due before an instant.
    Due,
    /// Closed loop: so many rounds of each slot.
    Rounds,
    /// Closed loop whose slots nobody can ever take over: nothing can be sent twice, so nothing is held back.
    AnyRound,
}

/// What the limits are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long a grant lasts.
    pub length: Duration,
    /// How far it reaches.
    pub reach: Reach,
}

impl Terms {
    /// As a plan demands.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let (length, rounds) = match plan.on_worker_loss {
            OnWorkerLoss::Takeover => (LEASE, Reach::Rounds),
            OnWorkerLoss::Continue | OnWorkerLoss::Abort => (LONG_LEASE, Reach::AnyRound),
        };
        let reach = match plan.drive {
            Drive::Open { .. } => Reach::Due,
            Drive::Closed { .. } => rounds,
        };
        Self { length, reach }
    }

    /// Of a worker that is alone and stays so.
    #[must_use]
    pub fn without_heirs(self) -> Self {
        let reach = match self.reach {
            Reach::Due => Reach::Due,
            Reach::Rounds | Reach::AnyRound => Reach::AnyRound,
        };
        Self { reach, ..self }
    }

    /// Nothing is granted.
    pub(super) fn nothing(self) -> Limit {
        match self.reach {
            Reach::Due => Limit::Due(Duration::ZERO),
            Reach::Rounds | Reach::AnyRound => Limit::Round(0),
        }
    }
}
