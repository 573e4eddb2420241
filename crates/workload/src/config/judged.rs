//! What is wrong with a configuration, in form and in sense, told at once.
//!
//! Form is what one value shows: its key, its type, its range. Sense is what only the whole shows, and rules elsewhere
//! know it: the plan's, the sweep's, the simulator's. They judge what can be read; what they say only because a value
//! cannot be read is left out ([`super::guess`]).

use serde_json::{Map, Value};

use super::Config;
use super::error::ConfigError;
use super::gathered::{Findings, Gathered};
use super::guess::{Guess, independent};
use super::sources::Sources;

/// As much of a configuration as can be read.
pub(super) struct Read {
    pub(super) config: Config,
    pub(super) findings: Findings,
    /// A file could not be read at all.
    is_blind: bool,
}

impl Read {
    pub(super) fn of(sources: &Sources, guess: Guess) -> Self {
        let mut gathered = Gathered::from_sources(sources, guess);
        gathered.refuse_redacted();
        let has_simulator = gathered.has_simulator();
        let Gathered { settings, mut findings, is_blind, .. } = gathered;
        let places = findings.places.clone();
        let config = Config { settings, has_simulator, places };
        if has_simulator && config.has("target.endpoint") {
            let conflict = ConfigError::Conflict {
                first: "simulator".to_owned(),
                second: "target.endpoint".to_owned(),
                advice: "remove the section to measure the endpoint, or the endpoint to measure the simulator".to_owned(),
            };
            let at = config.places.of_line(&conflict.to_string());
            findings.problems.push((at, conflict));
        }
        Self { config, findings, is_blind }
    }
}

impl Config {
    /// As [`Config::load`]; beside mistakes of form everything is told that `judge` says of what can be read, but for what
    /// only follows from them.
    ///
    /// # Errors
    /// Every problem of form and of sense in one line each, in the order of the settings in their sources.
    pub fn judged(
        sources: &Sources,
        judge: impl Fn(&Self) -> Vec<String>,
    ) -> Result<Self, Vec<String>> {
        let Read { config, findings, is_blind } = Read::of(sources, Guess::Nothing);
        if findings.problems.is_empty() {
            return Ok(config);
        }
        let told = if is_blind { Vec::new() } else { judge(&config) };
        let mut guessed = Vec::new();
        if !told.is_empty() {
            let guesses = Guess::all().map(|guess| Read::of(sources, guess).config);
            let others = guesses.filter(|other| other.settings != config.settings);
            guessed.extend(others.map(|other| judge(&other)));
        }
        let of_sense = independent(told, &guessed);
        let of_sense = of_sense.into_iter().map(|line| (config.place_of(&line), line));
        let of_form = findings.problems.into_iter().map(|(at, problem)| (at, problem.to_string()));
        let mut lines: Vec<_> = of_form.chain(of_sense).collect();
        lines.sort_by_key(|(at, _)| *at);
        Err(lines.into_iter().map(|(_, line)| line).collect())
    }

    /// Lines about settings, in the order in which those stand.
    #[must_use]
    pub fn in_order(&self, mut lines: Vec<String>) -> Vec<String> {
        lines.sort_by_key(|line| self.place_of(line));
        lines
    }

    /// Where a line about settings belongs. Lines about a stage have its name.
    fn place_of(&self, line: &str) -> usize {
        let name = line.strip_prefix("stage `").and_then(|rest| rest.split('`').next());
        let stages = self.stage_list().unwrap_or_default();
        let is_named = |(index, entry): (usize, &&Map<String, Value>)| match entry.get("name") {
            Some(own) => own.as_str() == name,
            None => name.is_some_and(|name| name == format!("stage-{}", index + 1)),
        };
        let stage = stages.iter().enumerate().position(is_named).filter(|_| name.is_some());
        let place = stage.and_then(|index| self.places.of(&format!("stages[{index}]")));
        place.unwrap_or_else(|| self.places.of_line(line))
    }
}
