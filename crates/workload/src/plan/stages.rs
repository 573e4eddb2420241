//! The stages that a load makes within `duration`: ramp and hold.
//!
//! Whether a level means requests per second or slots is the drive's affair: the shapes are the same.

use std::num::NonZeroU32;
use std::time::Duration;

use super::build::Builder;
use super::{ArrivalProcess, Offered, OwnRules, PlanError, StageKind};

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
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) kind: StageKind,
    pub(super) length: Option<Duration>,
    pub(super) offered: Offered,
    pub(super) arrivals: ArrivalProcess,
    pub(super) own: OwnRules,
}

impl Part {
    pub(super) fn new(kind: StageKind, length: Option<Duration>, offered: Offered) -> Self {
        let name = kind.name().to_owned();
        let (arrivals, own) = (ArrivalProcess::Even, OwnRules::default());
        Self { name, kind, length, offered, arrivals, own }
    }

    pub(super) fn starts_at_nothing(&self) -> bool {
        matches!(self.offered, Offered::Linear { from: 0.0, .. })
    }

    /// The same for a shorter time; the shape keeps its slope.
    pub(super) fn cut_to(&mut self, length: Duration) {
        let share = self.length.map_or(1.0, |whole| length.div_duration_f64(whole));
        match &mut self.offered {
            Offered::Linear { from, to } => *to = *from + (*to - *from) * share,
            Offered::Exponential { from, to } => *to = *from * libm::pow(*to / *from, share),
            _ => {}
        }
        self.length = Some(length);
    }
}

/// How long a ramp takes where nothing says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RampShare {
    /// Half of the duration, and then its level is held.
    Half,
    /// All of it: a stage of a list.
    Whole,
}

impl Builder<'_> {
    /// The parts of a load at `level` that lasts so long.
    pub(super) fn parts(
        &mut self,
        level: Level,
        duration: Option<Duration>,
        ramps: RampShare,
    ) -> Vec<Part> {
        let hold = |offered| vec![Part::new(StageKind::Hold, duration, offered)];
        let mut parts = match self.config.text("load.type") {
            Some("ramp") => self.ramp(level, duration, ramps),
            Some("burst") => self.burst(level).map(hold).unwrap_or_default(),
            Some("sine") => self.sine(level, duration).map(hold).unwrap_or_default(),
            Some("onOff") => self.on_off(level).map(hold).unwrap_or_default(),
            _ => hold(Offered::Constant { level: level.value() }),
        };
        let arrivals = self.arrivals();
        for part in &mut parts {
            part.arrivals = arrivals;
        }
        parts
    }

    /// How an open loop's arrivals are placed. A burstiness of 1 is Poisson, bit for bit.
    fn arrivals(&mut self) -> ArrivalProcess {
        let burstiness = self.config.number("load.burstiness");
        match (self.config.text("load.arrivals"), burstiness) {
            (Some("gamma"), None) => {
                self.refuse(PlanError::Needs {
                    what: "load.arrivals: gamma",
                    needs: "`load.burstiness`",
                });
                ArrivalProcess::Poisson
            }
            (Some("gamma") | None, Some(burstiness)) if burstiness != 1.0 => {
                ArrivalProcess::Gamma { burstiness }
            }
            (Some("gamma") | None, Some(_)) | (Some("poisson"), _) => ArrivalProcess::Poisson,
            _ => ArrivalProcess::Even,
        }
    }

    fn ramp(&mut self, level: Level, duration: Option<Duration>, ramps: RampShare) -> Vec<Part> {
        let by_default = |duration: Duration| match ramps {
            RampShare::Half => duration / 2,
            RampShare::Whole => duration,
        };
        let over = self.config.duration("load.ramp.over").or_else(|| duration.map(by_default));
        let Some(over) = over else {
            self.refuse(PlanError::Needs {
                what: "load.type: ramp",
                needs: "`load.ramp.over` or `benchmark.duration`",
            });
            return Vec::new();
        };
        if let Some(whole) = duration.filter(|duration| over > *duration) {
            self.refuse(PlanError::TooLong {
                key: "load.ramp.over",
                length: over,
                whole_name: match ramps {
                    RampShare::Half => "`benchmark.duration`",
                    RampShare::Whole => "its stage",
                },
                whole,
            });
        }
        let (from, to) = self.ramp_levels(level);
        let mut parts = self.climb(level, over, from, to);
        let rest = duration.map(|duration| duration.saturating_sub(over));
        if rest != Some(Duration::ZERO) {
            parts.push(Part::new(StageKind::Hold, rest, Offered::Constant { level: to }));
        } else if ramps == RampShare::Half {
            self.warn("no_headline", "the ramp takes the whole duration, so there is no held load for a headline: lengthen `benchmark.duration`");
        }
        parts
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
        }
        (from, to)
    }

    /// The way from one level to the other.
    fn climb(&mut self, level: Level, over: Duration, from: f64, to: f64) -> Vec<Part> {
        let one = |offered| vec![Part::new(StageKind::Ramp, Some(over), offered)];
        match self.config.text("load.ramp.shape") {
            Some("exponential") => {
                if from <= 0.0 {
                    self.refuse(PlanError::Needs {
                        what: "load.ramp.shape: exponential",
                        needs: "`load.ramp.from` above 0",
                    });
                }
                one(Offered::Exponential { from, to })
            }
            Some("steps") => self.steps(level, over, from, to),
            _ => one(Offered::Linear { from, to }),
        }
    }

    /// Levels of equal distance, held for equal times; `to` itself is what comes after them.
    fn steps(&mut self, level: Level, over: Duration, from: f64, to: f64) -> Vec<Part> {
        let configured = self.config.integer("load.ramp.steps");
        let Some(steps) = configured.and_then(|steps| u32::try_from(steps).ok()) else {
            self.refuse(PlanError::Needs {
                what: "load.ramp.shape: steps",
                needs: "`load.ramp.steps`, their number",
            });
            return Vec::new();
        };
        let height = (to - from) / f64::from(steps);
        if matches!(level, Level::Slots(_)) && height.fract() != 0.0 {
            self.refuse(PlanError::Fraction { key: "load.ramp.steps", level: from + height });
        }
        let step = |step: u32| {
            let level = from + height * f64::from(step);
            let offered = Offered::Constant { level };
            let mut part = Part::new(StageKind::Ramp, Some(over / steps), offered);
            part.name = format!("{}-{}", part.name, step + 1);
            part
        };
        (0..steps).map(step).collect()
    }

    /// Shapes that need a rate.
    fn rate_of(&mut self, level: Level, what: &'static str, needs: &'static str) -> Option<f64> {
        let Level::Rate(rate) = level else {
            self.refuse(PlanError::Needs { what, needs });
            return None;
        };
        Some(rate)
    }

    fn burst(&mut self, level: Level) -> Option<Offered> {
        let rate = self.rate_of(level, "load.type: burst", "`load.rate`, its mean rate")?;
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
        let random = [
            (self.config.text("load.arrivals") == Some("poisson"), "load.arrivals: poisson"),
            (self.config.text("load.arrivals") == Some("gamma"), "load.arrivals: gamma"),
        ];
        for (_, first) in random.into_iter().filter(|(is_set, _)| *is_set) {
            let advice = "a burst's own times are its arrivals";
            self.refuse(PlanError::Excluded { first, second: "load.type: burst", advice });
        }
        Some(Offered::Burst { level: rate, size, width })
    }

    fn sine(&mut self, level: Level, duration: Option<Duration>) -> Option<Offered> {
        let rate = self.rate_of(level, "load.type: sine", "`load.rate`, its mean rate")?;
        let amplitude = self.config.number("load.sine.amplitude").unwrap_or(rate / 2.0);
        if amplitude > rate {
            self.refuse(PlanError::Amplitude { amplitude, rate });
        }
        let Some(period) = self.config.duration("load.sine.period").or(duration) else {
            self.refuse(PlanError::Needs {
                what: "load.type: sine",
                needs: "`load.sine.period` or `benchmark.duration`",
            });
            return None;
        };
        Some(Offered::Sine { level: rate, amplitude, period })
    }

    fn on_off(&mut self, level: Level) -> Option<Offered> {
        let rate = self.rate_of(level, "load.type: onOff", "`load.rate`, the rate while on")?;
        let on = self.config.duration("load.onOff.on");
        let off = self.config.duration("load.onOff.off");
        let (Some(on), Some(off)) = (on, off) else {
            self.refuse(PlanError::Needs {
                what: "load.type: onOff",
                needs: "`load.onOff.on` and `load.onOff.off`",
            });
            return None;
        };
        let off_level = self.config.number("load.onOff.offRate").unwrap_or(0.0);
        Some(Offered::OnOff { level: rate, off_level, on, off })
    }
}
