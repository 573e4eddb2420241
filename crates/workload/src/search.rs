//! Looks for the highest load at which a service still meets its objectives.
//!
//! A pure state machine: [`Search::next`] says which level to try, [`Search::record`] takes what came of it. First the
//! level is doubled, or halved, until one holds and one fails (bracketing); then the bracket is halved, by ratio, until it
//! is as narrow as was asked for (bisection). A probe is a measurement, and near the capacity its figure lies near the
//! limit: there one run can say either. So each level has a *judgement with its certainty*: a probe whose figure is further
//! from the limit than its own 95 % interval reaches decides at once; another is repeated, and the mean of all decides,
//! with certainty where its interval leaves zero out, else by its sign. What the searching run knows nothing of (pauses,
//! fresh prompts, fleets) is its caller's.

use std::time::Duration;

use crate::config::Config;

/// A level that no probe can judge is tried so often at most.
const BLIND: usize = 2;
/// Without an interval of its own a probe decides alone from this distance on: twice the limit, or half of it.
const FAR: f64 = 0.5;
/// One-sided 95 % quantiles of Student's t with 1, 2, … degrees of freedom.
const T95: [f64; 9] = [6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833];
/// That of the normal distribution.
const Z95: f64 = 1.645;
/// A 95 % interval reaches so many standard errors to either side.
const HALF_WIDTH: f64 = 1.96;

/// What is looked for, and how exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchRules {
    /// The first level.
    pub from: f64,
    /// None below it is tried.
    pub least: f64,
    /// None above it is tried.
    pub most: f64,
    /// The bracket's width as a share of its lower end, at which it is narrow enough.
    pub precision: f64,
    /// Probes of one level, where it is in doubt.
    pub repeats: usize,
    /// Probes in all.
    pub probes: usize,
    /// Levels are whole numbers.
    pub whole: bool,
}

/// Which load is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchBy {
    /// `load.rate`.
    Rate,
    /// `load.concurrency`.
    Concurrency,
}

/// What a probe showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// How far the objective that is nearest to its limit is from it, as a share of the limit: above 0 it is met.
    Margin {
        /// The share.
        margin: f64,
        /// Half of the margin's 95 % interval, where it is known.
        half_width: Option<f64>,
    },
    /// An objective had too few samples.
    Blind,
    /// The generator could not offer the level.
    NotOffered,
}

/// What is known of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The objectives hold.
    Holds {
        /// By more than chance explains.
        certain: bool,
    },
    /// They do not.
    Fails {
        /// By more than chance explains.
        certain: bool,
    },
    /// Too few samples.
    Blind,
    /// The generator could not offer it.
    NotOffered,
    /// Another probe is needed.
    Open,
}

/// One level with all that was seen of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// Requests per second, or in flight.
    pub level: f64,
    /// In the order of the probes.
    pub readings: Vec<Reading>,
}

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
    /// The generator reached its limit before the service did.
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
    /// Both bounds are more than chance.
    pub certain: bool,
}

/// A search.
#[derive(Clone, Debug)]
pub struct Search {
    rules: SearchRules,
    levels: Vec<Level>,
}

/// Why a configuration cannot be searched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// Nothing to hold.
    #[error(
        "--find-capacity needs objectives that a load can miss: set `slos`, such as `{{ttft: {{p95: 500ms}}}}`"
    )]
    NoObjective,
    /// Nothing to vary.
    #[error(
        "--find-capacity needs a level to begin with: set `load.rate`, `load.concurrency` or `search.from`"
    )]
    NoLevel,
    /// A list of loads has no level.
    #[error("--find-capacity varies one level: remove `{0}`")]
    Several(&'static str),
    /// The bounds exclude the start.
    #[error("`search.from` is above `search.most`")]
    Bounds,
}

impl SearchRules {
    /// As a configuration has them, and which load is varied.
    ///
    /// # Errors
    /// Everything that speaks against a search.
    pub fn of(config: &Config) -> Result<(SearchBy, Self), Vec<SearchError>> {
        let mut problems = Vec::new();
        if config.get("slos").is_none() {
            problems.push(SearchError::NoObjective);
        }
        for several in ["stages", "load.schedule", "sweep.grid", "sweep.points"] {
            if config.has(several) {
                problems.push(SearchError::Several(several));
            }
        }
        let by = match config.text("search.by") {
            Some("rate") => SearchBy::Rate,
            Some(_) => SearchBy::Concurrency,
            None if config.has("load.rate") || !config.has("load.concurrency") => SearchBy::Rate,
            None => SearchBy::Concurrency,
        };
        let from = config.number("search.from").or_else(|| config.number(by.key()));
        let most = config.number("search.most").unwrap_or(1e6);
        if from.is_none() {
            problems.push(SearchError::NoLevel);
        }
        if from.is_some_and(|from| from > most) {
            problems.push(SearchError::Bounds);
        }
        let count = |key: &str, usual: usize| {
            config.integer(key).map_or(usual, |count| usize::try_from(count).unwrap_or(usize::MAX))
        };
        let (Some(from), true) = (from, problems.is_empty()) else { return Err(problems) };
        let whole = by == SearchBy::Concurrency;
        let rules = Self {
            from: if whole { from.round().max(1.0) } else { from },
            least: if whole { 1.0 } else { from / 1_024.0 },
            most: if whole { most.floor() } else { most },
            precision: config.number("search.precision").unwrap_or(0.05),
            repeats: count("search.repeats", 3),
            probes: count("search.probes", 40),
            whole,
        };
        Ok((by, rules))
    }
}

/// `search.pause`.
pub fn pause(config: &Config) -> Duration {
    config.duration("search.pause").unwrap_or(Duration::from_secs(5))
}

impl SearchBy {
    /// The key of the load.
    pub fn key(self) -> &'static str {
        match self {
            Self::Rate => "load.rate",
            Self::Concurrency => "load.concurrency",
        }
    }

    /// What a level counts.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Rate => "requests/s",
            Self::Concurrency => "requests in flight",
        }
    }
}

impl Level {
    /// What its probes say, of which at most `repeats` are run.
    pub fn judgement(&self, repeats: usize) -> Judgement {
        if self.readings.contains(&Reading::NotOffered) {
            return Judgement::NotOffered;
        }
        let margins: Vec<(f64, Option<f64>)> = self
            .readings
            .iter()
            .filter_map(|reading| match reading {
                Reading::Margin { margin, half_width } => Some((*margin, *half_width)),
                Reading::Blind | Reading::NotOffered => None,
            })
            .collect();
        if margins.is_empty() {
            let tried = self.readings.len() >= BLIND.min(repeats);
            return if tried { Judgement::Blind } else { Judgement::Open };
        }
        let (mean, reach) = mean_and_reach(&margins);
        let certain = mean.abs() > reach;
        match certain || self.readings.len() >= repeats {
            false => Judgement::Open,
            true if mean >= 0.0 => Judgement::Holds { certain },
            true => Judgement::Fails { certain },
        }
    }

    /// The mean margin of its probes.
    pub fn margin(&self) -> Option<f64> {
        let margins = self.readings.iter().filter_map(|reading| match reading {
            Reading::Margin { margin, .. } => Some(*margin),
            Reading::Blind | Reading::NotOffered => None,
        });
        let margins: Vec<f64> = margins.collect();
        (!margins.is_empty()).then(|| margins.iter().sum::<f64>() / margins.len() as f64)
    }
}

/// The mean of some margins, and how far from zero it must be to be no chance: by their own intervals and by how they
/// differ from each other, whichever is more.
fn mean_and_reach(margins: &[(f64, Option<f64>)]) -> (f64, f64) {
    let count = margins.len() as f64;
    let mean = margins.iter().map(|(margin, _)| margin).sum::<f64>() / count;
    let widths: Option<Vec<f64>> = margins.iter().map(|(_, width)| *width).collect();
    let own = widths.map(|widths| {
        let squares: f64 = widths.iter().map(|width| (width / HALF_WIDTH).powi(2)).sum();
        Z95 * squares.sqrt() / count
    });
    if margins.len() == 1 {
        return (mean, own.unwrap_or(FAR));
    }
    let squares: f64 = margins.iter().map(|(margin, _)| (margin - mean).powi(2)).sum();
    let error = (squares / (count - 1.0) / count).sqrt();
    // Two probes say little of how probes differ, where each says so itself.
    let quantile = match own {
        Some(_) => Z95,
        None => T95.get(margins.len() - 2).copied().unwrap_or(Z95),
    };
    (mean, own.unwrap_or(0.0).max(quantile * error))
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
        let bounds = self.bounds();
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

    fn judged(&self) -> impl Iterator<Item = (f64, Judgement)> {
        self.levels.iter().map(|level| (level.level, level.judgement(self.rules.repeats)))
    }

    /// The lowest level that fails, the highest below it that holds, and what lies between.
    fn bounds(&self) -> Bounds {
        let mut bounds = Bounds::default();
        for (level, judgement) in self.judged() {
            match judgement {
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
}

#[derive(Default)]
struct Bounds {
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
    /// The highest level above which the capacity may lie.
    fn floor(&self) -> Option<f64> {
        self.holds.map(|(level, _)| level).into_iter().chain(self.blind).max_by(f64::total_cmp)
    }

    fn ended(&self, rules: &SearchRules) -> Option<Outcome> {
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
    fn between(&self, rules: &SearchRules) -> f64 {
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

    fn found(&self, outcome: Outcome) -> Found {
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
