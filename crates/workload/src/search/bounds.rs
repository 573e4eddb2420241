//! Where the capacity can lie by what is known of all levels, and which level would tell the most.
//!
//! Two things bound it from above, and only one of them is the service: a level that fails, and a level that the generator
//! could not offer. They are kept apart to the end, so that neither is told as the other.

use super::{Found, Judgement, Level, Outcome, SearchRules};

/// The lowest level that fails, the highest below it that holds, and what lies between.
#[derive(Default)]
pub(super) struct Bounds {
    holds: Option<(f64, bool)>,
    fails: Option<(f64, bool)>,
    /// The highest level under `fails` that no probe could judge.
    blind: Option<f64>,
    /// The lowest level between all that was offered and `fails` at which the generator gave up.
    not_offered: Option<f64>,
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
                // What is offered at a higher level was no limit at a lower one.
                Judgement::Holds { certain } => {
                    bounds.holds = Some((level, certain));
                    bounds.not_offered = None;
                }
                Judgement::Blind => {
                    bounds.blind = Some(level);
                    bounds.not_offered = None;
                }
                Judgement::NotOffered => {
                    bounds.not_offered = bounds.not_offered.or(Some(level));
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

    /// The lowest level that it does not help to go to.
    fn ceiling(&self) -> Option<f64> {
        self.not_offered.or(self.fails.map(|(level, _)| level))
    }

    /// What is said where the highest level that was offered holds; where it could not be judged it is another thing.
    fn if_it_holds(&self, outcome: Outcome) -> Outcome {
        let holds = self.holds.map(|(level, _)| level);
        if holds == self.floor() { outcome } else { Outcome::TooFewSamples }
    }

    pub(super) fn ended(&self, rules: &SearchRules) -> Option<Outcome> {
        if self.open {
            return None;
        }
        let is_narrow = |low: f64, high: f64| {
            (high - low) <= low * rules.precision * (1.0 + 1e-9)
                || (rules.whole && high - low <= 1.0)
        };
        match (self.floor(), self.fails, self.ceiling()) {
            (Some(low), Some((high, _)), _) if is_narrow(low, high) => {
                Some(self.if_it_holds(Outcome::Bracketed))
            }
            // Not narrow up to what fails: it is a level that was not offered.
            (Some(low), _, Some(high)) if is_narrow(low, high) => Some(Outcome::GeneratorLimit),
            (Some(low), _, None) if low >= rules.most => Some(self.if_it_holds(Outcome::AtLeast)),
            (None, _, Some(high)) if high <= rules.least => Some(match self.not_offered {
                Some(_) => Outcome::GeneratorLimit,
                None => Outcome::NoneHolds,
            }),
            _ => None,
        }
    }

    /// Twice or half of the only bound, else the middle of both by ratio.
    pub(super) fn between(&self, rules: &SearchRules) -> f64 {
        let level = match (self.floor(), self.ceiling()) {
            (None, None) => rules.from,
            (Some(low), None) => low * 2.0,
            (None, Some(high)) => high / 2.0,
            (Some(low), Some(high)) => (low * high).sqrt(),
        };
        let level = level.clamp(rules.least, rules.most);
        if !rules.whole {
            return level;
        }
        let low = self.floor().map_or(rules.least, |low| low + 1.0);
        let high = self.ceiling().map_or(rules.most, |high| high - 1.0);
        level.round().clamp(low, high.max(low))
    }

    pub(super) fn found(&self, outcome: Outcome) -> Found {
        let certain = [self.holds, self.fails]
            .into_iter()
            .all(|bound| bound.is_some_and(|(_, certain)| certain));
        Found {
            outcome,
            holds: self.holds.map(|(level, _)| level),
            fails: self.fails.map(|(level, _)| level),
            not_offered: self.not_offered,
            certain,
        }
    }
}
