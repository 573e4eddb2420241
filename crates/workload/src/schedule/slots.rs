//! When a closed loop's slots start, and the numbers of their requests.
//!
//! A slot is a user who asks again when answered. Slots that start together stay in step for ever, so
//! their start is staggered, or follows the ramp of slots where one is asked for.

use std::time::Duration;

use crate::plan::{Drive, Offered, Plan};

impl Plan {
    /// When `slot` starts, from the run's start; `None` in an open loop, or for a slot that it has not.
    ///
    /// Slots of the first stage's starting load start staggered over the ramp-up; the others when
    /// the ramp first exceeds their number.
    pub fn slot_start(&self, slot: u32) -> Option<Duration> {
        let Drive::Closed { slots, ramp_up, .. } = self.drive else { return None };
        let starting = self.starting_slots();
        if slot < starting {
            return Some(self.stages.first()?.start + scaled(ramp_up, slot, starting));
        }
        if slot >= slots.get() {
            return None;
        }
        let ramp =
            self.stages.iter().find(|stage| matches!(stage.offered, Offered::Linear { .. }))?;
        Some(ramp.start + scaled(ramp.length()?, slot - starting, slots.get() - starting))
    }

    /// The number of the `round`-th request (from 0) of `slot`: round · slots + slot; `None` for a
    /// slot that the loop has not, and from `requests` on.
    pub fn closed_request(&self, slot: u32, round: u64) -> Option<u64> {
        let Drive::Closed { slots, .. } = self.drive else { return None };
        let number = round.checked_mul(u64::from(slots.get()))?.checked_add(u64::from(slot))?;
        let limit = self.requests.unwrap_or(u64::MAX);
        (slot < slots.get() && number < limit).then_some(number)
    }

    /// How many slots the first stage starts with.
    fn starting_slots(&self) -> u32 {
        let level = self.stages.first().map_or(0.0, |stage| match stage.offered {
            Offered::Constant { level } | Offered::Burst { level, .. } => level,
            Offered::Linear { from, .. } => from,
        });
        level as u32
    }
}

/// `length` · part / whole, in nanoseconds.
fn scaled(length: Duration, part: u32, whole: u32) -> Duration {
    let nanoseconds = length.as_nanos() * u128::from(part) / u128::from(whole.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
