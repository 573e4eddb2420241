//! How long prompts and answers are: distributions of whole numbers of tokens.
//!
//! A distribution is part of the plan, the lengths of a file included, so that every worker draws from the
//! same one and nothing but the plan travels. What it means for request k is `prompts/lengths.rs`.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// A distribution of lengths in tokens; draws outside of `min` … `max` are drawn again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LengthPlan {
    /// Before the bounds act.
    pub shape: LengthShape,
    /// Shortest; at least 1.
    pub min: NonZeroU32,
    /// Longest, if there is a bound.
    pub max: Option<NonZeroU32>,
}

/// The distributions. Means and deviations are those of the lengths themselves, in tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LengthShape {
    /// Symmetrical; a deviation of 0 is one length.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        stddev: f64,
    },
    /// With a long tail, as lengths of real prompts are.
    LogNormal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        stddev: f64,
    },
    /// Each length from the plan's `min` to its `max`, which is there, as often as any other.
    Uniform,
    /// As counted in a file, ascending.
    Empirical(Vec<Counted>),
    /// One of several, by weight.
    Mixture(Vec<Component>),
}

/// A length of a file, and how often it was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The length.
    pub tokens: NonZeroU32,
    /// How often; at least 1.
    pub count: u32,
}

/// A part of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Above 0; against the sum of all.
    pub weight: f64,
    /// Its own distribution and bounds.
    pub length: LengthPlan,
}

/// How many tokens a request orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OutputLengths {
    /// Drawn.
    Drawn(LengthPlan),
    /// As the data set has them, and none ordered where it has none.
    Recorded {
        /// Longer ones are cut to this.
        max: Option<NonZeroU32>,
    },
}

/// Draws beyond so many standard deviations are too rare to be warned of (3 in 100,000).
const SPREAD: f64 = 4.0;

impl LengthPlan {
    /// Input lengths where none are configured: 550 ± 150.
    pub const INPUT: Self = Self::normal(550.0, 150.0);
    /// Output lengths where none are configured: 150 ± 10.
    pub const OUTPUT: Self = Self::normal(150.0, 10.0);

    /// A normal distribution without bounds but that of 1 token.
    pub const fn normal(mean: f64, stddev: f64) -> Self {
        Self { shape: LengthShape::Normal { mean, stddev }, min: NonZeroU32::MIN, max: None }
    }

    /// The mean, before the bounds act on a normal or lognormal one.
    pub fn mean(&self) -> f64 {
        match &self.shape {
            LengthShape::Normal { mean, .. } | LengthShape::LogNormal { mean, .. } => *mean,
            LengthShape::Uniform => f64::midpoint(self.lowest(), self.highest()),
            LengthShape::Empirical(lengths) => {
                weighted(lengths.iter().map(|one| (f64::from(one.count), one.tokens.get().into())))
            }
            LengthShape::Mixture(parts) => {
                weighted(parts.iter().map(|part| (part.weight, part.length.mean())))
            }
        }
    }

    /// The standard deviation, before the bounds act on a normal or lognormal one.
    pub fn stddev(&self) -> f64 {
        (self.second_moment() - self.mean().powi(2)).max(0.0).sqrt()
    }

    /// The longest draw that is likely enough to be seen.
    pub fn longest(&self) -> u64 {
        let likely = match &self.shape {
            LengthShape::Normal { mean, stddev } => (mean + SPREAD * stddev).round() as u64,
            LengthShape::LogNormal { mean, stddev } => {
                let (mu, sigma) = log_parameters(*mean, *stddev);
                libm::exp(mu + SPREAD * sigma).round() as u64
            }
            LengthShape::Uniform => self.highest() as u64,
            LengthShape::Empirical(lengths) => {
                lengths.last().map_or(1, |longest| longest.tokens.get().into())
            }
            LengthShape::Mixture(parts) => {
                parts.iter().map(|part| part.length.longest()).max().unwrap_or(1)
            }
        };
        self.max.map_or(likely, |max| likely.min(max.get().into()))
    }

    /// E(length²).
    fn second_moment(&self) -> f64 {
        match &self.shape {
            LengthShape::Normal { mean, stddev } | LengthShape::LogNormal { mean, stddev } => {
                mean.powi(2) + stddev.powi(2)
            }
            LengthShape::Uniform => {
                let lengths = self.highest() - self.lowest() + 1.0;
                self.mean().powi(2) + (lengths.powi(2) - 1.0) / 12.0
            }
            LengthShape::Empirical(lengths) => {
                let square = |one: &Counted| f64::from(one.tokens.get()).powi(2);
                weighted(lengths.iter().map(|one| (f64::from(one.count), square(one))))
            }
            LengthShape::Mixture(parts) => {
                weighted(parts.iter().map(|part| (part.weight, part.length.second_moment())))
            }
        }
    }

    fn lowest(&self) -> f64 {
        f64::from(self.min.get())
    }

    fn highest(&self) -> f64 {
        self.max.map_or(f64::from(u32::MAX), |max| f64::from(max.get()))
    }
}

impl OutputLengths {
    /// Tokens ordered on average; the default, or the bound where it is lower, where the data set says.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Drawn(length) => length.mean(),
            Self::Recorded { max } => {
                let bound = max.map_or(f64::MAX, |max| f64::from(max.get()));
                LengthPlan::OUTPUT.mean().min(bound)
            }
        }
    }
}

/// The parameters of the normal distribution of the logarithm: σ² = ln(1 + s²/m²), μ = ln m − σ²/2.
pub(crate) fn log_parameters(mean: f64, stddev: f64) -> (f64, f64) {
    let variance = libm::log1p((stddev / mean).powi(2));
    (libm::log(mean) - variance / 2.0, libm::sqrt(variance))
}

/// The mean of values with weights; 0 for none.
fn weighted(values: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (sum, weights) =
        values.fold((0.0, 0.0), |(sum, all), (weight, value)| (sum + weight * value, all + weight));
    if weights > 0.0 { sum / weights } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    #[test]
    fn moments_worked_by_hand() {
        let uniform =
            LengthPlan { shape: LengthShape::Uniform, min: tokens(1), max: Some(tokens(5)) };
        // 1 to 5: mean 3, variance (25 − 1) / 12 = 2.
        assert_eq!((uniform.mean(), uniform.longest()), (3.0, 5));
        assert!((uniform.stddev() - 2f64.sqrt()).abs() < 1e-12);
        let counted = |length, count| Counted { tokens: tokens(length), count };
        let empirical = LengthPlan {
            shape: LengthShape::Empirical(vec![counted(10, 3), counted(50, 1)]),
            ..LengthPlan::INPUT
        };
        // (3 · 10 + 50) / 4 = 20; E(x²) = (300 + 2,500) / 4 = 700; 700 − 400 = 300.
        assert_eq!((empirical.mean(), empirical.longest()), (20.0, 50));
        assert!((empirical.stddev() - 300f64.sqrt()).abs() < 1e-9);
        let part = |weight, length| Component { weight, length };
        let parts = vec![part(3.0, LengthPlan::normal(100.0, 0.0)), part(1.0, uniform)];
        let mixture = LengthPlan { shape: LengthShape::Mixture(parts), ..LengthPlan::INPUT };
        // (3 · 100 + 3) / 4 = 75.75.
        assert_eq!((mixture.mean(), mixture.longest()), (75.75, 100));
    }

    #[test]
    fn a_lognormal_is_given_by_its_own_mean_and_deviation() {
        // s = m: σ² = ln 2, μ = ln 100 − ln 2 / 2; the mean of exp(N(μ, σ)) is exp(μ + σ²/2) = 100.
        let (mu, sigma) = log_parameters(100.0, 100.0);
        assert!((sigma.powi(2) - 2f64.ln()).abs() < 1e-12);
        assert!(((mu + sigma.powi(2) / 2.0).exp() - 100.0).abs() < 1e-9);
        assert_eq!(log_parameters(64.0, 0.0).1, 0.0);
    }
}
