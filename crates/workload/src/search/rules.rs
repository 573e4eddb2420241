//! What is looked for and how exactly, as a configuration has it.

use std::time::Duration;

use crate::config::Config;

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
