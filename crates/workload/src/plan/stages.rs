//! The stages that a load makes: warm-up, ramp, hold.
//!
//! The warm-up precedes `duration` and offers the first stage's starting load; a ramp is part of
//! `duration`. Whether a level means requests per second or slots is the drive's affair: the shapes are
//! the same.

use std::num::NonZeroU32;
use std::time::Duration;

use super::build::Builder;
use super::{Offered, PlanError, Stage, StageKind};

/// The level of the load, in the unit of its drive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Level {
    /// Requests per second.
    Rate(f64),
    /// Slots.
    Slots(u32),
}

impl Level {
    pub(super) fn value(self) -> f64 {
        match self {
            Self::Rate(rate) => rate,
            Self::Slots(slots) => f64::from(slots),
        }
    }
}

/// The parts of `duration`, one after the other; the last may be without a length.
struct Part {
    kind: StageKind,
    length: Option<Duration>,
    offered: Offered,
}

impl Part {
    fn starts_at_nothing(&self) -> bool {
        matches!(self.offered, Offered::Linear { from: 0.0, .. })
    }
}

impl Builder<'_> {
    /// The stages of a load at `level`.
    pub(super) fn stages(&mut self, level: Level) -> Vec<Stage> {
        let duration = self.duration();
        let warmup = self.config.duration("benchmark.warmup").unwrap_or_default();
        let parts = match self.config.text("load.type") {
            Some("ramp") => self.ramp(level, duration),
            Some("burst") => self.burst(level, duration),
            _ => vec![Part {
                kind: StageKind::Hold,
                length: duration,
                offered: Offered::Constant { level: level.value() },
            }],
        };
        if !warmup.is_zero() && parts.first().is_some_and(Part::starts_at_nothing) {
            self.warn("warmup_idle", "the warm-up offers nothing, because `load.ramp.from` is 0: set it, or leave out `benchmark.warmup`");
        }
        lay_out(warmup, parts)
    }

    /// `benchmark.duration`; without it a number of requests ends the run, and without both a minute.
    fn duration(&self) -> Option<Duration> {
        let configured = self.config.duration("benchmark.duration");
        configured
            .or_else(|| (!self.config.has("benchmark.requests")).then_some(Duration::from_secs(60)))
    }

    fn ramp(&mut self, level: Level, duration: Option<Duration>) -> Vec<Part> {
        let (from, to) = self.ramp_levels(level);
        let over = self
            .config
            .duration("load.ramp.over")
            .or_else(|| duration.map(|duration| duration / 2));
        let Some(over) = over else {
            self.refuse(PlanError::Needs {
                shape: "ramp",
                needs: "`load.ramp.over` or `benchmark.duration`",
            });
            return Vec::new();
        };
        if let Some(whole) = duration.filter(|duration| over > *duration) {
            self.refuse(PlanError::TooLong {
                key: "load.ramp.over",
                length: over,
                whole_name: "`benchmark.duration`",
                whole,
            });
        }
        let ramp = Part {
            kind: StageKind::Ramp,
            length: Some(over),
            offered: Offered::Linear { from, to },
        };
        let rest = duration.map(|duration| duration.saturating_sub(over));
        if rest == Some(Duration::ZERO) {
            self.warn("no_headline", "the ramp takes the whole duration, so there is no held load for a headline: lengthen `benchmark.duration`");
            return vec![ramp];
        }
        vec![
            ramp,
            Part { kind: StageKind::Hold, length: rest, offered: Offered::Constant { level: to } },
        ]
    }

    fn ramp_levels(&mut self, level: Level) -> (f64, f64) {
        let from = self.config.number("load.ramp.from").unwrap_or(0.0);
        let to = self.config.number("load.ramp.to").unwrap_or(level.value());
        if let Level::Slots(_) = level {
            for (key, level) in [("load.ramp.from", from), ("load.ramp.to", to)] {
                if level.fract() != 0.0 {
                    self.refuse(PlanError::Fraction { key, level });
                }
            }
            if from > to {
                self.refuse(PlanError::FallingRamp { from, to });
            }
        }
        (from, to)
    }

    fn burst(&mut self, level: Level, duration: Option<Duration>) -> Vec<Part> {
        let Level::Rate(rate) = level else {
            self.refuse(PlanError::Needs { shape: "burst", needs: "`load.rate`, its mean rate" });
            return Vec::new();
        };
        let configured =
            self.config.integer("load.burst.size").and_then(|size| u32::try_from(size).ok());
        let size =
            NonZeroU32::new(configured.unwrap_or(rate.ceil() as u32)).unwrap_or(NonZeroU32::MIN);
        let width = self.config.duration("load.burst.width").unwrap_or_default();
        let between =
            Duration::try_from_secs_f64(f64::from(size.get()) / rate).unwrap_or(Duration::MAX);
        if width > between {
            self.refuse(PlanError::TooLong {
                key: "load.burst.width",
                length: width,
                whole_name: "the time between bursts",
                whole: between,
            });
        }
        if self.config.text("load.arrivals") == Some("poisson") {
            let advice = "a burst's own times are its arrivals";
            self.refuse(PlanError::Excluded {
                first: "load.arrivals: poisson",
                second: "load.type: burst",
                advice,
            });
        }
        vec![Part {
            kind: StageKind::Hold,
            length: duration,
            offered: Offered::Burst { level: rate, size, width },
        }]
    }
}

/// Puts the parts one after the other, behind a warm-up.
fn lay_out(warmup: Duration, mut parts: Vec<Part>) -> Vec<Stage> {
    if let Some(first) = parts.first().filter(|_| !warmup.is_zero()) {
        let offered = starting_load(first.offered);
        parts.insert(0, Part { kind: StageKind::Warmup, length: Some(warmup), offered });
    }
    let mut start = Duration::ZERO;
    let mut stages = Vec::with_capacity(parts.len());
    for Part { kind, length, offered } in parts {
        let end = length.map(|length| start + length);
        stages.push(Stage { name: kind.name().to_owned(), kind, start, end, offered });
        start = end.unwrap_or(start);
    }
    stages
}

fn starting_load(offered: Offered) -> Offered {
    match offered {
        Offered::Linear { from, .. } => Offered::Constant { level: from },
        Offered::Constant { .. } | Offered::Burst { .. } => offered,
    }
}

impl StageKind {
    /// The name of such a stage.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Ramp => "ramp",
            Self::Hold => "hold",
        }
    }
}
