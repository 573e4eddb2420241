//! Who owns which part of the load, as it is told and written down.
//!
//! At Arm the worker of rank i owns residue class i. Only a lost worker's classes ever move, from a whole
//! second of run time on; a class that is spread over several heirs is split as lanes split one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use workload::Shard;

use crate::{Covers, Limit, WorkerId};

/// A worker is gone: the end of what it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Which one, for ever: its next incarnation is another worker.
    pub worker: WorkerId,
    /// Nothing at or beyond it was ever written by this worker.
    pub limit: Limit,
    /// Run time at which it was noticed.
    pub noticed_at: Duration,
    /// How it came.
    pub cause: LossCause,
}

/// How a worker was lost. Append only: this is the wire and the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LossCause {
    /// Unheard for too long.
    Silent,
    /// It said goodbye, naming its limit; what it still reports is taken.
    Left,
    /// What it reported cannot be right.
    Broken,
}

/// One class goes to a new owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// What goes: a residue class of arrivals or slots.
    pub class: Shard,
    /// Who had it.
    pub from: WorkerId,
    /// Who gets it.
    pub to: WorkerId,
    /// Closed loop: the round at which its slots go on. 0 in an open loop.
    pub first_round: u64,
}

/// One change of the table of owners. It is on disk before anybody is told, and its instant never moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Rising without a gap, from 1; 0 is the table as it was at Arm.
    pub epoch: u64,
    /// From this second of run time on. Open loop: what is due then. Closed loop: when the slots go on.
    pub from_second: u32,
    /// What goes to whom.
    pub moves: Vec<Move>,
}

impl Change {
    /// What one worker has to know of it: the moves to it.
    #[must_use]
    pub fn told_to(&self, worker: WorkerId) -> Self {
        let moves = self.moves.iter().filter(|one| one.to == worker).copied().collect();
        Self { epoch: self.epoch, from_second: self.from_second, moves }
    }
}

/// The seconds of one class that a delta answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCovers {
    /// Which class.
    pub class: Shard,
    /// Which seconds.
    pub covers: Covers,
}
