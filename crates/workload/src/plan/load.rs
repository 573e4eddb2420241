//! The load of a run: its stages, the shape of each, and who decides when a request starts.
//!
//! A shape says what the level is at each instant of a stage; whether a level means requests per second
//! or slots is the drive's affair. What a shape's integral is, and when it reaches a value, is the
//! schedule's.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A part of the run with one description of its load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The stage's name in results.
    pub name: String,
    /// Whether it counts for the headline.
    pub kind: StageKind,
    /// Start, from the run's start.
    pub start: Duration,
    /// End, from the run's start; `None`: until `requests` are sent.
    pub end: Option<Duration>,
    /// The load, as a function of the time since `start`.
    pub offered: Offered,
    /// How an open loop places this stage's arrivals; of no matter in a closed one.
    pub arrivals: ArrivalProcess,
    /// What its entry of `stages` demands of itself.
    pub own: OwnRules,
}

/// What an entry of `stages` demands of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnRules {
    /// Index of the entry: the way to a level and the level itself are of one.
    pub entry: u16,
    /// What its own figures must reach.
    pub slos: metrics::Slos,
    /// What ends it before its time, and it alone.
    pub stop_when: metrics::StopRules,
}

/// What a stage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StageKind {
    /// Before the measurement; out of the headline.
    Warmup,
    /// The load is on its way to its level; out of the headline.
    Ramp,
    /// The load is as asked for.
    Hold,
    /// After the measurement: keeps the load up while the last measured answers come; out of the headline.
    Cooldown,
    /// Measured and shown, but not among the stages that were chosen for the headline.
    Aside,
}

/// The load of a stage. A level is requests per second in an open loop, and slots in a closed one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Offered {
    /// One level throughout.
    Constant {
        /// The level.
        level: f64,
    },
    /// Linear in time over the whole stage, which has an end.
    Linear {
        /// Level at the stage's start.
        from: f64,
        /// Level at the stage's end.
        to: f64,
    },
    /// Open loop only: `size` arrivals at once, again every `size / level` seconds.
    Burst {
        /// Mean requests per second.
        level: f64,
        /// Arrivals in a burst.
        size: NonZeroU32,
        /// Over which a burst's arrivals are spread evenly; at most the time between bursts.
        width: Duration,
    },
    /// Grows (or falls) by the same factor in equal times, over the whole stage, which has an end.
    Exponential {
        /// Level at the stage's start; above 0.
        from: f64,
        /// Level at the stage's end; above 0.
        to: f64,
    },
    /// Open loop only: `level + amplitude · sin(2π·t / period)`.
    Sine {
        /// Mean requests per second.
        level: f64,
        /// At most the mean.
        amplitude: f64,
        /// Of one wave.
        period: Duration,
    },
    /// Open loop only: two levels in turn, beginning with `level`.
    OnOff {
        /// Requests per second while on.
        level: f64,
        /// Requests per second while off.
        off_level: f64,
        /// How long it is on.
        on: Duration,
        /// How long it is off.
        off: Duration,
    },
    /// Open loop only: when the rows of the plan's schedule say.
    Listed {
        /// Their mean rate.
        level: f64,
    },
}

/// Who decides when a request starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Drive {
    /// The schedule does, whatever the server's state (open loop).
    Open {
        /// Most requests in flight at once; what it holds back or drops is counted.
        cap: Option<NonZeroU32>,
        /// What becomes of an arrival that finds the cap used up.
        policy: CapPolicy,
    },
    /// The end of the slot's last request does (closed loop).
    Closed {
        /// Requests in flight when the load is at its highest level.
        slots: NonZeroU32,
        /// The slots' first requests are spread evenly over this time.
        ramp_up: Duration,
        /// Where `ramp_up` comes from.
        ramp_up_source: RampUp,
        /// What a slot does between an answer and its next request.
        pause: Pause,
    },
}

/// What becomes of an arrival that finds the cap on requests in flight used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapPolicy {
    /// It waits until a request ends, or its stage.
    #[default]
    Hold,
    /// It is not sent at all.
    Drop,
}

/// What a slot of a closed loop does between an answer and its next request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pause {
    /// Nothing: it asks again at once.
    None,
    /// It thinks.
    Think(ThinkTime),
    /// It waits for the next multiple of this time since the run's start, so that at most as many
    /// requests as there are slots start in any such stretch.
    Rounds {
        /// From one round to the next.
        every: Duration,
    },
}

/// How long a slot thinks; a draw is a function of (seed, number of the request that was answered).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ThinkTime {
    /// Always so long.
    Fixed {
        /// That long.
        time: Duration,
    },
    /// Exponential.
    Exponential {
        /// Mean.
        mean: Duration,
    },
    /// Lognormal.
    Lognormal {
        /// Mean of the time itself.
        mean: Duration,
        /// Standard deviation of the time itself.
        stddev: Duration,
    },
    /// Uniform.
    Uniform {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
}

/// How an open loop's schedule places arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ArrivalProcess {
    /// At equal distances (of the integral of the rate).
    Even,
    /// As independent users do: exponential gaps.
    Poisson,
    /// Gamma-distributed gaps: burstier than Poisson below a burstiness of 1, more even above it.
    Gamma {
        /// The distribution's shape, above 0; what `vllm bench serve` calls burstiness. The gaps' coefficient
        /// of variation is 1 / √shape.
        burstiness: f64,
    },
}

/// Where the stagger of a closed loop's start comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RampUp {
    /// The configuration.
    Configured,
    /// Not fixed yet: the probe of the target tells how long a request takes.
    Open,
    /// The probe ([`Plan::with_ramp_up`](super::Plan::with_ramp_up)).
    Probed,
    /// The load is itself a ramp of slots, or goes in rounds, whose start is staggered (or meant to be together) by that.
    NotNeeded,
}

impl Stage {
    /// Is `at` inside [start, end)?
    pub fn holds(&self, at: Duration) -> bool {
        self.start <= at && self.end.is_none_or(|end| at < end)
    }

    /// How long it lasts, where it has an end.
    pub fn length(&self) -> Option<Duration> {
        Some(self.end?.saturating_sub(self.start))
    }

    /// The level at an instant since its start, of bursts their mean; for show, where a last bit is of no
    /// matter.
    pub fn level_at(&self, into: Duration) -> f64 {
        let share = self.length().map_or(0.0, |length| {
            if length.is_zero() { 1.0 } else { into.div_duration_f64(length).min(1.0) }
        });
        match self.offered {
            Offered::Constant { level }
            | Offered::Burst { level, .. }
            | Offered::Listed { level } => level,
            Offered::Linear { from, to } => from + (to - from) * share,
            Offered::Exponential { from, to } => from * (to / from).powf(share),
            Offered::Sine { level, amplitude, period } => {
                level + amplitude * (std::f64::consts::TAU * into.div_duration_f64(period)).sin()
            }
            Offered::OnOff { level, off_level, on, off } => {
                let phase_ns = into.as_nanos() % (on + off).as_nanos().max(1);
                if phase_ns < on.as_nanos() { level } else { off_level }
            }
        }
    }
}

impl Offered {
    /// The level at the stage's start.
    pub fn starting(&self) -> f64 {
        match *self {
            Self::Linear { from, .. } | Self::Exponential { from, .. } => from,
            Self::Constant { level }
            | Self::Burst { level, .. }
            | Self::Sine { level, .. }
            | Self::OnOff { level, .. }
            | Self::Listed { level } => level,
        }
    }

    /// The level at the stage's end, of waves their mean.
    pub fn ending(&self) -> f64 {
        match *self {
            Self::Linear { to, .. } | Self::Exponential { to, .. } => to,
            Self::Constant { level }
            | Self::Burst { level, .. }
            | Self::Sine { level, .. }
            | Self::OnOff { level, .. }
            | Self::Listed { level } => level,
        }
    }

    /// The highest level; of bursts their mean.
    pub fn highest(&self) -> f64 {
        match *self {
            Self::Sine { level, amplitude, .. } => level + amplitude,
            Self::OnOff { level, off_level, .. } => level.max(off_level),
            _ => self.starting().max(self.ending()),
        }
    }

    /// How many requests start together.
    pub fn together(&self) -> u32 {
        match self {
            Self::Burst { size, width, .. } if width.is_zero() => size.get(),
            _ => 1,
        }
    }
}

impl StageKind {
    /// The name of such a stage.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Ramp => "ramp",
            Self::Hold | Self::Aside => "hold",
            Self::Cooldown => "cooldown",
        }
    }
}
