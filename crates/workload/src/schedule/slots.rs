//! When a closed loop's slots ask, and the numbers of their requests.
//!
//! A slot is a user who asks again when answered. Slots that start together stay in step for ever, so
//! their start is staggered, or follows the ramp of slots where one is asked for. A stage with fewer
//! slots than the one before lets the highest numbers rest; they go on, at the round that they had
//! reached, in the next stage that has a place for them.

use std::time::Duration;

use crate::plan::{Drive, Offered, Pause, Plan, Stage, ThinkTime};
use crate::random::{Purpose, Random};

/// Draws of a think time are cut here: longer than any run.
const LONGEST_THOUGHT_S: f64 = 1e9;

impl Plan {
    /// When `slot` starts, from the run's start; `None` in an open loop, or for a slot that it has not.
    ///
    /// Slots that a stage begins with and the one before had not start staggered over the ramp-up; those of
    /// a ramp when it first exceeds their number.
    pub fn slot_start(&self, slot: u32) -> Option<Duration> {
        self.slot_resumes(slot, Duration::ZERO)
    }

    /// The first instant, from `at` on, at which `slot` may ask; `None` if there is none any more.
    pub fn slot_resumes(&self, slot: u32, at: Duration) -> Option<Duration> {
        let Drive::Closed { slots, ramp_up, .. } = self.drive else { return None };
        if slot >= slots.get() {
            return None;
        }
        let mut before = 0;
        for stage in &self.stages {
            let stay = Stay::of(stage, slot, before, ramp_up);
            if let Some(Stay { from, to }) = stay.filter(|stay| stay.to.is_none_or(|to| at < to)) {
                debug_assert!(to.is_none_or(|to| at < to));
                return Some(at.max(from));
            }
            before = stage.offered.ending() as u32;
        }
        None
    }

    /// When a slot that was answered at `answered` wants to ask again; `number` is that of the answered
    /// request.
    pub fn asks_again(&self, number: u64, answered: Duration) -> Duration {
        match self.drive {
            Drive::Closed { pause: Pause::Think(time), .. } => {
                answered.saturating_add(thought(time, self.seed, number))
            }
            Drive::Closed { pause: Pause::Rounds { every }, .. } => {
                let (answered_ns, every_ns) = (answered.as_nanos(), every.as_nanos().max(1));
                nanoseconds((answered_ns / every_ns + 1) * every_ns)
            }
            Drive::Closed { pause: Pause::None, .. } | Drive::Open { .. } => answered,
        }
    }

    /// The number of the `round`-th request (from 0) of `slot`: round · slots + slot; `None` for a
    /// slot that the loop has not, and from `requests` on.
    pub fn closed_request(&self, slot: u32, round: u64) -> Option<u64> {
        let Drive::Closed { slots, .. } = self.drive else { return None };
        let number = round.checked_mul(u64::from(slots.get()))?.checked_add(u64::from(slot))?;
        let limit = self.requests.unwrap_or(u64::MAX);
        (slot < slots.get() && number < limit).then_some(number)
    }
}

/// The part of a stage in which a slot asks, from the run's start.
struct Stay {
    from: Duration,
    to: Option<Duration>,
}

impl Stay {
    /// `before`: how many slots the stage before ended with.
    fn of(stage: &Stage, slot: u32, before: u32, ramp_up: Duration) -> Option<Self> {
        let (from, to) = (stage.offered.starting() as u32, stage.offered.ending() as u32);
        if slot < from {
            let stagger = match slot.checked_sub(before) {
                Some(place) => scaled(ramp_up, place, from - before),
                None => Duration::ZERO,
            };
            let leaves = || Some(stage.start + passes(stage, slot)?);
            let end = if slot < to { stage.end } else { leaves() };
            return Some(Self { from: stage.start + stagger, to: end });
        }
        (slot < to).then(|| {
            let joins = passes(stage, slot).unwrap_or_default();
            Self { from: stage.start + joins, to: stage.end }
        })
    }
}

/// When a ramp of slots passes the level `slot`, from the stage's start.
fn passes(stage: &Stage, slot: u32) -> Option<Duration> {
    let length = stage.length()?;
    match stage.offered {
        Offered::Linear { from, to } => {
            let (from, to) = (from as u32, to as u32);
            Some(scaled(length, slot.abs_diff(from), from.abs_diff(to)))
        }
        Offered::Exponential { from, to } => {
            let share = libm::log(f64::from(slot) / from) / libm::log(to / from);
            Some(length.mul_f64(share.clamp(0.0, 1.0)))
        }
        _ => None,
    }
}

/// The think time after request `number`: drawn from a stream of its own, so that it is the same on
/// whichever worker the slot lives.
pub(crate) fn thought(time: ThinkTime, seed: u64, number: u64) -> Duration {
    let draw = || Random::new(seed, Purpose::ThinkTime, number);
    let seconds = match time {
        ThinkTime::Fixed { time } => return time,
        ThinkTime::Exponential { mean } => mean.as_secs_f64() * draw().exponential(),
        ThinkTime::Lognormal { mean, stddev } => {
            let (mean, stddev) = (mean.as_secs_f64(), stddev.as_secs_f64());
            // The mean m and the deviation s of the time itself: σ² = ln(1 + s²/m²), μ = ln m − σ²/2.
            let variance = libm::log1p((stddev / mean) * (stddev / mean));
            let mu = libm::log(mean) - variance / 2.0;
            libm::exp(mu + libm::sqrt(variance) * draw().normal())
        }
        ThinkTime::Uniform { min, max } => {
            min.as_secs_f64() + (max.as_secs_f64() - min.as_secs_f64()) * draw().unit()
        }
    };
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_THOUGHT_S))
}

/// `length` · part / whole.
fn scaled(length: Duration, part: u32, whole: u32) -> Duration {
    nanoseconds(length.as_nanos() * u128::from(part) / u128::from(whole.max(1)))
}

fn nanoseconds(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}
