//! The integral Λ of a stage's rate, and when it reaches a value.
//!
//! Only `+ − × ÷ √` on doubles are used, which IEEE 754 rounds the same way everywhere, and where a shape
//! needs more the functions of `libm`, which are compiled in. Due times are rounded to the nanosecond, and
//! kept inside [start, end) where rounding would leave it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::listed::Rows;
use super::waves::{OnOff, Sine, exponential_integral, exponential_inverse};
use crate::plan::{ArrivalProcess, Offered, Stage};

/// Nanoseconds in a second, and nano-arrivals in an arrival.
pub(crate) const NANO: f64 = 1e9;

/// A stage as its schedule sees it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    offered: Offered,
    arrivals: ArrivalProcess,
    /// Of a stage that goes by a file.
    rows: Option<Arc<Rows>>,
    start: Duration,
    /// Nanoseconds; `None` without an end.
    length_ns: Option<u64>,
    total: u128,
    count: u64,
}

impl Span {
    pub(crate) fn new(stage: &Stage, rows: Option<&Arc<Rows>>) -> Self {
        let length_ns =
            stage.length().map(|length| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
        let total = length_ns.map_or(u128::MAX, |length| nano_total(&stage.offered, length));
        let count = match (stage.offered, length_ns) {
            (Offered::Burst { level, size, width }, Some(length)) => {
                Burst { level, size, width }.count(length)
            }
            (Offered::Listed { .. }, length) => {
                rows.map_or(0, |rows| length.map_or(rows.len(), |length| rows.before(length)))
            }
            _ => u64::try_from(total.div_ceil(NANO as u128)).unwrap_or(u64::MAX),
        };
        Self {
            offered: stage.offered,
            arrivals: stage.arrivals,
            rows: rows.filter(|_| matches!(stage.offered, Offered::Listed { .. })).cloned(),
            start: stage.start,
            length_ns,
            total,
            count,
        }
    }

    /// How its arrivals are placed; a burst's or a file's own times are its arrivals.
    pub(crate) fn process(&self) -> ArrivalProcess {
        match self.offered {
            Offered::Burst { .. } | Offered::Listed { .. } => ArrivalProcess::Even,
            _ => self.arrivals,
        }
    }

    /// Λ at the stage's end, in nano-arrivals.
    pub(crate) fn total(&self) -> u128 {
        self.total
    }

    /// How many even arrivals the stage has.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When the stage's even arrival `index` is due, from the run's start.
    pub(crate) fn due_of_even(&self, index: u64) -> Duration {
        match self.offered {
            Offered::Burst { level, size, width } => {
                self.inside(Burst { level, size, width }.due(index))
            }
            Offered::Listed { .. } => {
                let due_ns = self.rows.as_ref().and_then(|rows| rows.due_ns(index));
                self.start + Duration::from_nanos(due_ns.unwrap_or(u64::MAX))
            }
            _ => self.due(index as f64 * NANO),
        }
    }

    /// When Λ reaches `position` nano-arrivals, from the run's start.
    pub(crate) fn due_of_position(&self, position: u128) -> Duration {
        // Sums that leave 64 bits, 18 billion arrivals, cost a slower conversion.
        self.due(u64::try_from(position).map_or(position as f64, |position| position as f64))
    }

    fn due(&self, nano_arrivals: f64) -> Duration {
        let arrivals = nano_arrivals / NANO;
        self.inside(match self.offered {
            Offered::Constant { level }
            | Offered::Burst { level, .. }
            | Offered::Listed { level } => nano_arrivals / level,
            Offered::Linear { from, to } => {
                NANO * linear_inverse(from, (to - from) / self.seconds(), arrivals)
            }
            Offered::Exponential { from, to } => {
                NANO * exponential_inverse(from, to, self.seconds(), arrivals)
            }
            Offered::Sine { level, amplitude, period } => {
                NANO * Sine::new(level, amplitude, period).inverse(arrivals)
            }
            Offered::OnOff { level, off_level, on, off } => {
                NANO * OnOff::new(level, off_level, on, off).inverse(arrivals)
            }
        })
    }

    fn seconds(&self) -> f64 {
        self.length_ns.map_or(f64::INFINITY, |length| length as f64 / NANO)
    }

    fn inside(&self, nanoseconds: f64) -> Duration {
        let last = self.length_ns.map_or(u64::MAX, |length| length.saturating_sub(1));
        self.start + Duration::from_nanos(rounded(nanoseconds).min(last))
    }
}

/// The nearest whole number of a positive one; a cast and an addition, where `round` is a call.
pub(crate) fn rounded(positive: f64) -> u64 {
    (positive + 0.5) as u64
}

/// Λ after `length_ns` nanoseconds, rounded to nano-arrivals: level × length, or the trapezium.
fn nano_total(offered: &Offered, length_ns: u64) -> u128 {
    let seconds = length_ns as f64 / NANO;
    let total = match *offered {
        Offered::Constant { level } | Offered::Burst { level, .. } | Offered::Listed { level } => {
            level * length_ns as f64
        }
        Offered::Linear { from, to } => (from + to) / 2.0 * length_ns as f64,
        Offered::Exponential { from, to } => NANO * exponential_integral(from, to, seconds),
        Offered::Sine { level, amplitude, period } => {
            NANO * Sine::new(level, amplitude, period).integral(seconds)
        }
        Offered::OnOff { level, off_level, on, off } => {
            NANO * OnOff::new(level, off_level, on, off).integral(seconds)
        }
    };
    total.round() as u128
}

/// The time at which a·t + s·t²/2 reaches x: 2x / (a + √(a² + 2·s·x)), the form that neither divides
/// by a slope of 0 nor subtracts nearly equal numbers.
fn linear_inverse(a: f64, slope: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    2.0 * x / (a + (a * a + 2.0 * slope * x).max(0.0).sqrt())
}

/// Burst b is due at b·size/level seconds, its arrivals evenly over `width`.
struct Burst {
    level: f64,
    size: NonZeroU32,
    width: Duration,
}

impl Burst {
    /// Nanoseconds from the stage's start.
    fn due(&self, index: u64) -> f64 {
        let size = u64::from(self.size.get());
        let (burst, place) = (index / size, index % size);
        let opens = (burst * size) as f64 * NANO / self.level;
        opens + self.width.as_nanos() as f64 * place as f64 / size as f64
    }

    /// How many arrivals are due before `length_ns`, by bisection: due times never decrease.
    fn count(&self, length_ns: u64) -> u64 {
        let size = u64::from(self.size.get());
        let (mut low, mut high) = (0, (self.level * length_ns as f64 / NANO) as u64 + 2 * size);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.due(middle).round() < length_ns as f64 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}
