//! A comparison for people: a table on a terminal, one page with the distributions on top of each other, Markdown for a
//! pull request.
//!
//! The figures and whether they differ come from [`metrics::compare`]; what is decided here is only how it is said. The
//! page and the Markdown are those of a run's report, with another content.

mod charts;
mod json;
mod rule;
mod tables;
mod text;
mod view;

pub use json::comparison_json;
pub use rule::{Rule, RuleError, RuleOutcome, figure_named};
pub use text::comparison_text;
pub use view::{comparison_html, comparison_markdown};

use metrics::Compared;

use crate::stored::StoredRun;

/// One run, or several repeats that stand for one thing.
#[derive(Debug, Clone)]
pub struct ComparedSide {
    /// What it is called: of several runs the first one's name.
    pub name: String,
    /// At least one.
    pub runs: Vec<StoredRun>,
}

/// A key of the configuration that is not the same on all sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationDifference {
    /// Dotted.
    pub key: String,
    /// Its value on each side, the baseline's first; `None` where it is not set.
    pub values: Vec<Option<String>>,
}

/// A rule with what became of it, for each candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleResult {
    /// The rule.
    pub rule: Rule,
    /// By candidate.
    pub outcomes: Vec<RuleOutcome>,
}

/// All that is said of a comparison.
#[derive(Debug, Clone)]
pub struct ComparisonView {
    /// What the others are held against.
    pub baseline: ComparedSide,
    /// At least one.
    pub candidates: Vec<ComparedSide>,
    /// By candidate, in the order of the figures.
    pub compared: Vec<Vec<Compared>>,
    /// What must not be.
    pub rules: Vec<RuleResult>,
    /// Where the configurations are not alike.
    pub configuration: Vec<ConfigurationDifference>,
    /// What a reader must know, a line each.
    pub remarks: Vec<String>,
}

impl ComparedSide {
    /// Its name, with how many runs it has if they are several.
    pub(crate) fn title(&self) -> String {
        match self.runs.len() {
            1 => self.name.clone(),
            runs => format!("{} ({runs} runs)", self.name),
        }
    }
}

impl ComparisonView {
    /// Holds the rules against what was compared.
    pub fn judge(rules: Vec<Rule>, compared: &[Vec<Compared>]) -> Vec<RuleResult> {
        let outcome = |rule: &Rule, figures: &Vec<Compared>| {
            let found = figures.iter().find(|one| one.figure == rule.figure);
            found.map_or(RuleOutcome::Undecided, |one| rule.outcome(one))
        };
        let judged = |rule: Rule| {
            let outcomes = compared.iter().map(|figures| outcome(&rule, figures)).collect();
            RuleResult { rule, outcomes }
        };
        rules.into_iter().map(judged).collect()
    }

    /// Whether a rule is broken by any candidate.
    pub fn is_any_rule_broken(&self) -> bool {
        self.rules.iter().any(|rule| rule.outcomes.contains(&RuleOutcome::Broken))
    }

    /// The baseline and then the candidates.
    pub(crate) fn sides(&self) -> impl Iterator<Item = &ComparedSide> {
        std::iter::once(&self.baseline).chain(&self.candidates)
    }

    /// Every compared figure with its candidate.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&ComparedSide, &Compared)> {
        let pairs = self.candidates.iter().zip(&self.compared);
        pairs.flat_map(|(side, figures)| figures.iter().map(move |one| (side, one)))
    }
}

#[cfg(test)]
mod tests;
