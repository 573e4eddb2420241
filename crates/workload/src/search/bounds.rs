//! Where the capacity can lie by what is known of all levels, and which level would tell the most.

use super::{Found, Judgement, Level, Outcome, SearchRules};

/// The lowest level that fails, the highest below it that holds, and what lies between.
#[derive(Default)]
pub(super) struct Bounds {
    holds: Option<(f64, bool)>,
    fails: Option<(f64, bool)>,
    /// The highest level under `fails` that no probe could judge.
    blind: Option<f64>,
    /// `fails` is where the generator gave up.
    not_offered: bool,
    /// A level is still in doubt.
    open: bool,
}

impl Bounds {
    /// Of levels in rising order.
    pub(super) fn of(levels: &[Level], rules: &SearchRules) -> Self {
        let mut bounds = Self::default();
        for judged in levels {
            let level = judged.level;
            match judged.judgement(rules.repeats) {
                Judgement::Holds { certain } => bounds.holds = Some((level, certain)),
                Judgement::Blind => bounds.blind = Some(level),
                Judgement::NotOffered => {
                    bounds.not_offered = true;
                    bounds.fails = Some((level, false));
                    break;
                }
                Judgement::Fails { certain } => {
                    bounds.fails = Some((level, certain));
                    break;
                }
                Judgement::Open => bounds.open = true,
            }
        }
        bounds
    }

    /// The highest level above which the capacity may lie.
    fn floor(&self) -> Option<f64> {
        self.holds.map(|(level, _)| level).into_iter().chain(self.blind).max_by(f64::total_cmp)
    }

    pub(super) fn ended(&self, rules: &SearchRules) -> Option<Outcome> {
        if self.open {
            return None;
        }
        let narrow = |low: f64, high: f64| {
            (high - low) <= low * rules.precision * (1.0 + 1e-9)
                || (rules.whole && high - low <= 1.0)
        };
        match (self.floor(), self.fails) {
            (Some(floor), None) if floor >= rules.most => Some(match self.holds {
                Some((level, _)) if level == floor => Outcome::AtLeast,
                _ => Outcome::TooFewSamples,
            }),
            (None, Some((high, _))) if high <= rules.least => Some(Outcome::NoneHolds),
            (Some(low), Some((high, _))) if narrow(low, high) => Some(if self.not_offered {
                Outcome::GeneratorLimit
            } else if self.holds.is_some_and(|(level, _)| level == low) {
                Outcome::Bracketed
            } else {
                Outcome::TooFewSamples
            }),
            _ => None,
        }
    }

    /// Twice or half of the only bound, else the middle of both by ratio.
    pub(super) fn between(&self, rules: &SearchRules) -> f64 {
        let level = match (self.floor(), self.fails) {
            (None, None) => rules.from,
            (Some(low), None) => low * 2.0,
            (None, Some((high, _))) => high / 2.0,
            (Some(low), Some((high, _))) => (low * high).sqrt(),
        };
        let level = level.clamp(rules.least, rules.most);
        if !rules.whole {
            return level;
        }
        let low = self.floor().map_or(rules.least, |low| low + 1.0);
        let high = self.fails.map_or(rules.most, |(high, _)| high - 1.0);
        level.round().clamp(low, high.max(low))
    }

    pub(super) fn found(&self, outcome: Outcome) -> Found {
        let certain = [self.holds, self.fails]
            .into_iter()
            .all(|bound| bound.is_some_and(|(_, certain)| certain));
        Found {
            outcome,
            holds: self.holds.map(|(level, _)| level),
            fails: self.fails.filter(|_| !self.not_offered).map(|(level, _)| level),
            certain,
        }
    }
}
