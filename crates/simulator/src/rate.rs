//! How often a fault strikes: by chance, or exactly every n-th request.
//!
//! A probability is what a long run wants; a test of fifty requests wants to know *which* of them
//! fail. Both are one value, so that every fault has both without a second setting.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// How often something happens: `0.05` is a probability per request, `1/20` exactly every 20th.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Chance per request, 0 to 1, drawn from the seed.
    Probability(f64),
    /// Requests number n, 2n, 3n …, counted from 1 since the simulator's start.
    EveryNth(NonZeroU64),
}

/// A rate that cannot be understood.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("`{text}` is not a rate: give a probability from 0 to 1, or `1/n` for every n-th request")]
pub struct RateError {
    text: String,
}

impl Rate {
    /// It never happens.
    pub const NEVER: Self = Self::Probability(0.0);

    /// Whether it strikes request `number` (from 1), given a uniform draw in [0, 1).
    pub(crate) fn strikes(self, number: u64, draw: f64) -> bool {
        match self {
            Self::Probability(chance) => draw < chance,
            Self::EveryNth(every) => number > 0 && number.is_multiple_of(every.get()),
        }
    }

    fn probability(chance: f64) -> Result<Self, RateError> {
        if (0.0..=1.0).contains(&chance) {
            return Ok(Self::Probability(chance));
        }
        Err(RateError { text: chance.to_string() })
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self::NEVER
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let refused = || RateError { text: text.to_owned() };
        match text.trim().split_once('/') {
            Some(("1", every)) => every.parse().map(Self::EveryNth).map_err(|_| refused()),
            Some(_) => Err(refused()),
            None => Self::probability(text.trim().parse().map_err(|_| refused())?),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probability(chance) => write!(out, "{chance}"),
            Self::EveryNth(every) => write!(out, "1/{every}"),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Probability(chance) => serializer.serialize_f64(*chance),
            Self::EveryNth(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a probability from 0 to 1, or `1/n` for every n-th request")
    }

    fn visit_f64<E: de::Error>(self, chance: f64) -> Result<Rate, E> {
        Rate::probability(chance).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Rate, E> {
        whole.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Rate, E> {
        whole.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_probability_or_every_nth() {
        assert_eq!("0.25".parse(), Ok(Rate::Probability(0.25)));
        assert_eq!("1/20".parse(), Ok(Rate::EveryNth(NonZeroU64::new(20).unwrap())));
        for wrong in ["1.5", "-0.1", "2/20", "1/0", "often", "NaN", ""] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong} was taken");
        }
    }

    #[test]
    fn every_third_strikes_requests_3_6_and_9_whatever_is_drawn() {
        let third = Rate::EveryNth(NonZeroU64::new(3).unwrap());
        let struck: Vec<u64> = (0..=10).filter(|number| third.strikes(*number, 0.0)).collect();
        assert_eq!(struck, [3, 6, 9]);
    }

    #[test]
    fn a_probability_compares_with_the_draw() {
        assert!(Rate::Probability(0.5).strikes(1, 0.49));
        assert!(!Rate::Probability(0.5).strikes(1, 0.5));
        assert!(!Rate::NEVER.strikes(1, 0.0));
        assert!(Rate::Probability(1.0).strikes(1, 0.999));
    }

    #[test]
    fn json_and_display_round_trip() {
        for text in ["0.25", "\"1/20\"", "0.0"] {
            let rate: Rate = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&rate).unwrap(), text);
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
        assert!(serde_json::from_str::<Rate>("7").is_err());
    }
}
