//! Looks for the highest load at which a service still meets its objectives.
//!
//! A pure state machine: [`Search::next`] says which level to try, [`Search::record`] takes what came of it. First the
//! level is doubled, or halved, until one holds and one fails (bracketing); then the bracket is halved, by ratio, until it
//! is as narrow as was asked for (bisection). A probe is a measurement, and near the capacity its figure lies near the
//! limit: there one run can say either. So each level has a *judgement with its certainty*: a probe whose figure is further
//! from the limit than its own 95 % interval reaches decides at once; another is repeated, and the mean of all decides,
//! with certainty where its interval leaves zero out, else by its sign. A level that the generator could not offer bounds
//! the search, but says nothing of the service, and is told apart from one that fails. What the searching run knows nothing
//! of (pauses, fresh prompts, fleets) is its caller's.

mod bounds;
mod level;
mod rules;

use bounds::Bounds;
pub use level::{Judgement, Level, Reading};
pub use rules::{SearchBy, SearchError, SearchRules, pause};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Try this level.
    Probe(f64),
    /// It is over.
    Done(Found),
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The capacity lies between two levels.
    Bracketed,
    /// The highest level that may be tried holds.
    AtLeast,
    /// The lowest level fails.
    NoneHolds,
    /// The generator reached its limit before the service did, be it at the lowest level.
    GeneratorLimit,
    /// Probes are too short for their objectives.
    TooFewSamples,
    /// The bracket is wider than was asked for.
    ProbesUsedUp,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// How it ended.
    pub outcome: Outcome,
    /// The highest level that holds: the capacity's lower bound, and what can be relied on.
    pub holds: Option<f64>,
    /// The lowest that fails: its upper bound.
    pub fails: Option<f64>,
    /// The lowest under it, and above all that were offered, that the generator could not offer: no bound of the service.
    pub not_offered: Option<f64>,
    /// Both bounds are more than chance.
    pub certain: bool,
}

/// A search.
#[derive(Clone, Debug)]
pub struct Search {
    rules: SearchRules,
    levels: Vec<Level>,
}

impl Search {
    /// Nothing is known yet.
    pub fn new(rules: SearchRules) -> Self {
        Self { rules, levels: Vec::new() }
    }

    /// Every level that was tried, ascending.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The rules.
    pub fn rules(&self) -> &SearchRules {
        &self.rules
    }

    /// What a probe at a level showed.
    pub fn record(&mut self, level: f64, reading: Reading) {
        match self.levels.iter_mut().find(|known| known.level == level) {
            Some(known) => known.readings.push(reading),
            None => {
                self.levels.push(Level { level, readings: vec![reading] });
                self.levels.sort_by(|one, other| one.level.total_cmp(&other.level));
            }
        }
    }

    /// Probes so far.
    pub fn probes(&self) -> usize {
        self.levels.iter().map(|level| level.readings.len()).sum()
    }

    /// The next step: a function of what was recorded, and of nothing else.
    pub fn next(&self) -> Next {
        let bounds = Bounds::of(&self.levels, &self.rules);
        if let Some(outcome) = bounds.ended(&self.rules) {
            return Next::Done(bounds.found(outcome));
        }
        if self.probes() >= self.rules.probes {
            return Next::Done(bounds.found(Outcome::ProbesUsedUp));
        }
        if let Some(open) = self.judged().find(|(_, judgement)| *judgement == Judgement::Open) {
            return Next::Probe(open.0);
        }
        Next::Probe(bounds.between(&self.rules))
    }

    /// What is known before the end.
    pub fn so_far(&self) -> Found {
        Bounds::of(&self.levels, &self.rules).found(Outcome::ProbesUsedUp)
    }

    fn judged(&self) -> impl Iterator<Item = (f64, Judgement)> {
        self.levels.iter().map(|level| (level.level, level.judgement(self.rules.repeats)))
    }
}

/// The load at which throughput divided by latency is greatest (Kleinrock, "Power and deterministic rules of thumb for
/// probabilistic problems in computer communications", ICC 1979): under it requests could be had for little more waiting,
/// over it they cost more than they bring. Pairs of throughput and latency, both above 0; the place of the greatest.
pub fn knee(curve: &[(f64, f64)]) -> Option<usize> {
    let power = |place: &usize| curve[*place].0 / curve[*place].1;
    let usable = (0..curve.len()).filter(|place| curve[*place].0 > 0.0 && curve[*place].1 > 0.0);
    usable.max_by(|one, other| power(one).total_cmp(&power(other)))
}

#[cfg(test)]
mod tests;
