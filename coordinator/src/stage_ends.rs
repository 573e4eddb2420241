//! Stages that rules of their own have ended before their time.
//!
//! Part of the books: what was due there and then is not due any more, for whoever asks what is missing.

use std::{collections::BTreeMap, time::Duration};

use metrics::{StopReason, StoppedEarly};
use protocol::StageEnd;
use workload::Arrival;

/// See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageEnds {
    by_stage: BTreeMap<u16, StoppedEarly>,
}

impl StageEnds {
    /// A rule has ended these; what had ended before keeps its end.
    pub fn take(&mut self, ends: &[StageEnd], reason: &StopReason) {
        for StageEnd { stage, at } in ends {
            let stop = || StoppedEarly { at: *at, reason: reason.clone() };
            self.by_stage.entry(*stage).or_insert_with(stop);
        }
    }

    /// Whether any has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_stage.is_empty()
    }

    /// Why and when this one ended.
    #[must_use]
    pub fn of(&self, stage: u16) -> Option<&StoppedEarly> {
        self.by_stage.get(&stage)
    }

    /// Whether an arrival of the plan is still due.
    #[must_use]
    pub fn leave(&self, arrival: &Arrival) -> bool {
        self.of(arrival.stage).is_none_or(|stop| arrival.due < stop.at)
    }

    /// As they are told to workers.
    #[must_use]
    pub fn to_tell(&self) -> Vec<StageEnd> {
        self.by_stage.iter().map(|(stage, stop)| StageEnd { stage: *stage, at: stop.at }).collect()
    }

    /// The instant at which a stage ended, if a rule ended it.
    #[must_use]
    pub fn end_of(&self, stage: u16) -> Option<Duration> {
        self.of(stage).map(|stop| stop.at)
    }
}
