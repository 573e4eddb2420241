//! The figures that an objective can be about, and their names.
//!
//! A name is the metric's and a statistic's (`ttft` and `p95`), or that of a rate or share of the whole window
//! (`error_rate`). Whether more is better is a property of the figure, so that nobody has to write it and nobody can
//! write it wrong: latencies, token counts, errors and slow shares have an upper limit, rates a lower one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metric::{Kind, Metric};

/// On which side of the limit the figure must be. The limit itself is within.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Bound {
    /// Less is better.
    AtMost,
    /// More is better.
    AtLeast,
}

impl Bound {
    /// More is better of rates, less of everything else.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Latency | Kind::Count => Self::AtMost,
            Kind::Rate => Self::AtLeast,
        }
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::AtMost => "atMost",
            Self::AtLeast => "atLeast",
        }
    }

    /// Whether the figure is within the limit.
    pub fn holds(self, figure: f64, limit: f64) -> bool {
        match self {
            Self::AtMost => figure <= limit,
            Self::AtLeast => figure >= limit,
        }
    }
}

/// One number that says something of many samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Statistic {
    /// In ten-thousandths, above 0 and under 10,000: the 99.9th is 9,990.
    Percentile(u16),
    /// Arithmetic mean.
    Mean,
    /// Smallest sample.
    Min,
    /// Largest sample.
    Max,
}

impl Statistic {
    /// `p50`, `p99.9` (or `p99_9`), `median`, `mean`, `min`, `max`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "mean" => return Some(Self::Mean),
            "median" => return Some(Self::Percentile(5_000)),
            "min" => return Some(Self::Min),
            "max" => return Some(Self::Max),
            _ => {}
        }
        let written = name.strip_prefix('p')?.replace('_', ".");
        let (whole, part) = written.split_once('.').unwrap_or((&written, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || whole.len() > 2 || part.len() > 2 || !digits(whole) || !digits(part)
        {
            return None;
        }
        let scaled: u16 = format!("{whole}{part:0<2}").parse().ok()?;
        (scaled > 0).then_some(Self::Percentile(scaled))
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Percentile(scaled) => {
                let (whole, part) = (scaled / 100, format!("{:02}", scaled % 100));
                let part = part.trim_end_matches('0');
                let point = if part.is_empty() { "" } else { "." };
                write!(formatter, "p{whole}{point}{part}")
            }
            Self::Mean => formatter.write_str("mean"),
            Self::Min => formatter.write_str("min"),
            Self::Max => formatter.write_str("max"),
        }
    }
}

/// A rate or share of a whole window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of METRICS.md's table, in RATES below")]
pub enum RateFigure {
    Throughput,
    TokensPerSecond,
    InputTokensPerSecond,
    TotalTokensPerSecond,
    Goodput,
    SloAttainment,
    OfferedRate,
    AchievedRate,
    ErrorRate,
    TtftOver3s,
}

const RATES: [(RateFigure, &str, &str, Bound); 10] = [
    (RateFigure::Throughput, "throughput", "per_s", Bound::AtLeast),
    (RateFigure::TokensPerSecond, "tokens_per_second", "per_s", Bound::AtLeast),
    (RateFigure::InputTokensPerSecond, "input_tokens_per_second", "per_s", Bound::AtLeast),
    (RateFigure::TotalTokensPerSecond, "total_tokens_per_second", "per_s", Bound::AtLeast),
    (RateFigure::Goodput, "goodput", "per_s", Bound::AtLeast),
    (RateFigure::SloAttainment, "slo_attainment", "share", Bound::AtLeast),
    (RateFigure::OfferedRate, "offered_rate", "per_s", Bound::AtLeast),
    (RateFigure::AchievedRate, "achieved_rate", "per_s", Bound::AtLeast),
    (RateFigure::ErrorRate, "error_rate", "share", Bound::AtMost),
    (RateFigure::TtftOver3s, "ttft_over_3s", "share", Bound::AtMost),
];

impl RateFigure {
    /// Every one, in the order of the reference.
    pub fn all() -> impl Iterator<Item = Self> {
        RATES.iter().map(|entry| entry.0)
    }

    /// The figure of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::all().find(|figure| figure.name() == name)
    }

    /// The name in files and configurations.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// Whether it is a share, 0 to 1, and not a rate per second.
    pub fn is_share(self) -> bool {
        self.entry().2 == "share"
    }

    fn entry(self) -> &'static (RateFigure, &'static str, &'static str, Bound) {
        &RATES[self as usize]
    }
}

/// What an objective is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Figure {
    /// A statistic of a metric's samples.
    Of(Metric, Statistic),
    /// A rate or share.
    Rate(RateFigure),
}

impl Figure {
    /// The metric's or the rate's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Of(metric, _) => metric.name(),
            Self::Rate(rate) => rate.name(),
        }
    }

    /// The statistic, where there is one.
    pub fn statistic(self) -> Option<Statistic> {
        match self {
            Self::Of(_, statistic) => Some(statistic),
            Self::Rate(_) => None,
        }
    }

    /// `us`, `tokens`, `per_s` or `share`.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Of(metric, _) => metric.kind().unit(),
            Self::Rate(rate) => rate.entry().2,
        }
    }

    /// On which side of the limit it must be.
    pub fn bound(self) -> Bound {
        match self {
            Self::Of(metric, _) => Bound::of(metric.kind()),
            Self::Rate(rate) => rate.entry().3,
        }
    }
}

impl fmt::Display for Figure {
    /// `ttft p95`, `error_rate`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        self.statistic().map_or(Ok(()), |statistic| write!(formatter, " {statistic}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_by_name_and_back() {
        let cases = [
            ("p50", 5_000, "p50"),
            ("median", 5_000, "p50"),
            ("p99.9", 9_990, "p99.9"),
            ("p99_9", 9_990, "p99.9"),
            ("p99.99", 9_999, "p99.99"),
            ("p5", 500, "p5"),
            ("p0.1", 10, "p0.1"),
        ];
        for (name, scaled, shown) in cases {
            let statistic = Statistic::from_name(name);
            assert_eq!(statistic, Some(Statistic::Percentile(scaled)), "{name}");
            assert_eq!(statistic.unwrap().to_string(), shown);
        }
        for name in ["p100", "p0", "p", "p-5", "p99.999", "99", "P99", "p9x", "p+9", "avg"] {
            assert_eq!(Statistic::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn every_rate_stands_at_its_own_place_and_leads_back() {
        for (place, figure) in RateFigure::all().enumerate() {
            assert_eq!(figure as usize, place);
            assert_eq!(RateFigure::from_name(figure.name()), Some(figure));
            assert_eq!(Metric::from_name(figure.name()), None, "one name, one thing");
        }
    }

    #[test]
    fn more_is_better_of_rates_only() {
        let p99 = Statistic::Percentile(9_900);
        assert_eq!(Figure::Of(Metric::Ttft, p99).bound(), Bound::AtMost);
        assert_eq!(Figure::Of(Metric::TokenRatePerUser, p99).bound(), Bound::AtLeast);
        assert_eq!(Figure::Rate(RateFigure::ErrorRate).bound(), Bound::AtMost);
        assert!(Bound::AtMost.holds(1.0, 1.0) && !Bound::AtMost.holds(1.1, 1.0));
        assert!(Bound::AtLeast.holds(1.0, 1.0) && !Bound::AtLeast.holds(0.9, 1.0));
    }
}
