//! Traffic classes and targets: several kinds of requests in one load, and several services that get it.
//!
//! Which class and which target a request has is drawn from its number, each from a stream of its own, so
//! that any number of workers sends the same mix. A pair of both is a *cell*: samples are kept by cell, and
//! classes and targets are two ways of adding the same cells up.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::build::Builder;
use super::{Api, Plan, PlanError, PromptPlan, Target, endpoint};
use crate::config::{Config, looks_like_credential};
use crate::random::{Purpose, Random};

/// More cells would make snapshots of megabytes.
pub(super) const MOST_CELLS: usize = 64;

/// A kind of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficClass {
    /// Its name in results.
    pub name: String,
    /// How often, against the sum of all.
    pub weight: f64,
    /// What is asked.
    pub prompts: PromptPlan,
    /// The model, or LoRA adapter, if it is not the target's.
    pub model: Option<String>,
    /// Headers over the target's; none of them is a credential.
    pub headers: Vec<(String, String)>,
    /// A JSON object merged over each body, after the target's.
    pub extra_body: Option<String>,
    /// What its own figures must reach.
    pub slos: metrics::Slos,
}

/// One of several services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightedTarget {
    /// Its name in results.
    pub name: String,
    /// How often, against the sum of all.
    pub weight: f64,
    /// The complete URL that is posted to.
    pub url: String,
    /// The model, if it has another name there.
    pub model: Option<String>,
}

/// The class, the target and the turn of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Index of the traffic class; 0 where there are none.
    pub class: usize,
    /// Index of the target; 0 where there is one.
    pub target: usize,
    /// The turn of a session, from 0; the last one stands for all that follow.
    pub turn: usize,
}

/// Weights, from which a request's cell is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    seed: u64,
    classes: Vec<f64>,
    targets: Vec<f64>,
}

impl Mix {
    /// The cell of request `number`.
    pub(crate) fn cell_of(&self, number: u64) -> u16 {
        let class = drawn(self.seed, Purpose::Classes, number, &self.classes);
        let target = drawn(self.seed, Purpose::Targets, number, &self.targets);
        u16::try_from(class * self.targets.len().max(1) + target).unwrap_or(0)
    }
}

impl Plan {
    /// How many combinations of class, target and turn there are; at least 1.
    pub fn cells(&self) -> u16 {
        let turns = self.sessions.as_ref().map_or(1, |sessions| sessions.buckets.max(1));
        self.first_cells().saturating_mul(turns)
    }

    /// A cell's class, target and turn.
    pub fn cell(&self, cell: u16) -> Cell {
        let (cell, first) = (usize::from(cell), usize::from(self.first_cells()));
        let (turn, inside) = (cell / first, cell % first);
        let targets = self.targets.len().max(1);
        Cell { class: inside / targets, target: inside % targets, turn }
    }

    /// The cell of request `number`, or of a session's first turn.
    pub fn cell_of(&self, number: u64) -> u16 {
        if self.first_cells() == 1 { 0 } else { self.mix().cell_of(number) }
    }

    /// What decides on cells, without the rest of the plan.
    pub(crate) fn mix(&self) -> Mix {
        Mix {
            seed: self.seed,
            classes: self.classes.iter().map(|class| class.weight).collect(),
            targets: self.targets.iter().map(|target| target.weight).collect(),
        }
    }

    /// Where a cell's requests go and how they are asked: the plan's target, with what class and target
    /// set in its place.
    pub fn target_of(&self, cell: u16) -> Target {
        let Cell { class, target: place, .. } = self.cell(cell);
        let mut target = self.target.clone();
        if let Some(own) = self.targets.get(place) {
            target.url.clone_from(&own.url);
            choose(&mut target, own.model.as_ref());
        }
        if let Some(own) = self.classes.get(class) {
            choose(&mut target, own.model.as_ref());
            target.headers.retain(|(name, _)| own.headers.iter().all(|(other, _)| other != name));
            target.headers.extend(own.headers.iter().cloned());
            target.extra_body = merged(target.extra_body, own.extra_body.as_deref());
        }
        target
    }

    /// What each class asks, in their order; that of the run where there are none.
    pub fn prompts_by_class(&self) -> Vec<&PromptPlan> {
        let own: Vec<_> = self.classes.iter().map(|class| &class.prompts).collect();
        if own.is_empty() { vec![&self.prompts] } else { own }
    }

    /// The same, to be changed.
    pub fn prompts_by_class_mut(&mut self) -> Vec<&mut PromptPlan> {
        let own = self.classes.iter_mut().map(|class| &mut class.prompts);
        std::iter::once(&mut self.prompts).chain(own).collect()
    }

    /// A figure of the classes' prompts, on average by their weights.
    pub(crate) fn averaged(&self, of: impl Fn(&PromptPlan) -> f64) -> f64 {
        let all: f64 = self.classes.iter().map(|class| class.weight).sum();
        if self.classes.is_empty() {
            return of(&self.prompts);
        }
        self.classes.iter().map(|class| class.weight * of(&class.prompts)).sum::<f64>() / all
    }
}

/// A model of one's own is chosen.
fn choose(target: &mut Target, model: Option<&String>) {
    if let Some(model) = model {
        target.model = Some(model.clone());
        target.model_is_chosen = true;
    }
}

/// An index by weight; 0 for one or none.
fn drawn(seed: u64, purpose: Purpose, number: u64, weights: &[f64]) -> usize {
    if weights.len() < 2 {
        return 0;
    }
    Random::new(seed, purpose, number).weighted(weights.iter().copied()).unwrap_or(0)
}

/// A JSON object over another, member by member; objects merge, null stays for the body to take out.
fn merged(under: Option<String>, over: Option<&str>) -> Option<String> {
    let parsed = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    match (under, over) {
        (under, None) => under,
        (None, Some(over)) => Some(over.to_owned()),
        (Some(under), Some(over)) => {
            let mut whole = parsed(&under);
            overlay(&mut whole, parsed(over));
            Some(Value::Object(whole).to_string())
        }
    }
}

fn overlay(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Object(below)), Value::Object(above)) => overlay(below, above),
            (_, value) => _ = under.insert(name, value),
        }
    }
}

impl Builder<'_> {
    /// The classes of the configuration; none in the place of one that cannot be made.
    pub(super) fn classes(&mut self) -> Vec<Option<TrafficClass>> {
        let entries = self.config.entries("classes");
        let name = |entry| Map::get(entry, "name").and_then(Value::as_str);
        self.refuse_alike("classes", entries.iter().filter_map(name));
        entries.iter().enumerate().map(|(index, entry)| self.class(index, entry)).collect()
    }

    fn class(&mut self, index: usize, entry: &Map<String, Value>) -> Option<TrafficClass> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        let own = Config::overlaid(self.config, "prompts", entry.get("prompts"));
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method by its name is of one lifetime, and this builder has another"
        )]
        let prompts = self.within(&own, &format!("classes[{index}]"), |builder| builder.prompts());
        Some(TrafficClass {
            name: text("name").unwrap_or_default(),
            weight: entry.get("weight").and_then(Value::as_f64).unwrap_or(1.0),
            model: text("model"),
            headers: self.class_headers(index, entry),
            extra_body: self.class_body(index, entry),
            slos: self.slos_of_a_part(&format!("classes[{index}].slos"), entry.get("slos")),
            prompts: prompts?,
        })
    }

    fn class_headers(&mut self, index: usize, entry: &Map<String, Value>) -> Vec<(String, String)> {
        let headers = entry.get("headers").and_then(Value::as_object);
        let headers = headers
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        let headers: Vec<_> = headers.collect();
        for (name, _) in &headers {
            if looks_like_credential(name) {
                let key = format!("classes[{index}].headers");
                self.refuse(PlanError::ClassSecret { key, name: name.clone() });
            }
            self.check_header(name);
        }
        headers
    }

    /// The members to merge over a body; `priority` is one of them (vLLM).
    fn class_body(&mut self, index: usize, entry: &Map<String, Value>) -> Option<String> {
        let mut body = Map::new();
        if let Some(priority) = entry.get("priority") {
            _ = body.insert("priority".to_owned(), json!(priority));
        }
        if let Some(extra) = entry.get("extraBody").and_then(Value::as_object) {
            for name in crate::config::secret_members(extra) {
                let key = format!("classes[{index}].extraBody");
                self.refuse(PlanError::ClassSecret { key, name });
            }
            body.extend(extra.clone());
        }
        (!body.is_empty()).then(|| Value::Object(body).to_string())
    }

    /// The targets of the configuration, all of which speak one API.
    pub(super) fn targets(
        &mut self,
        wanted: Option<Api>,
    ) -> Option<(Vec<WeightedTarget>, Option<Api>)> {
        let entries = self.config.entries("targets");
        if entries.is_empty() {
            return Some((Vec::new(), None));
        }
        for other in ["target.endpoint", "simulator.listen"] {
            if self.config.has(other)
                || (other != "target.endpoint" && self.config.simulator().is_some())
            {
                let advice = "name every service under `targets`";
                self.refuse(PlanError::Excluded { first: "targets", second: other, advice });
                return None;
            }
        }
        let (mut targets, mut api) = (Vec::new(), wanted);
        for (index, entry) in entries.iter().enumerate() {
            let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
            match endpoint::complete(&text("endpoint").unwrap_or_default(), api) {
                Err(problem) => {
                    self.refuse(PlanError::OfTarget { index, problem: Box::new(problem) });
                }
                Ok((url, its)) => {
                    _ = api.get_or_insert(its);
                    let weight = entry.get("weight").and_then(Value::as_f64).unwrap_or(1.0);
                    let name = text("name").unwrap_or_else(|| host_of(&url));
                    targets.push(WeightedTarget { name, weight, url, model: text("model") });
                }
            }
        }
        self.refuse_alike("targets", targets.iter().map(|target| target.name.as_str()));
        (targets.len() == entries.len()).then_some((targets, api))
    }

    /// Two of one name could not be told apart; a line for each such name.
    fn refuse_alike<'n>(&mut self, key: &'static str, names: impl Iterator<Item = &'n str>) {
        let (mut seen, mut told) = (BTreeSet::new(), BTreeSet::new());
        for name in names {
            if !seen.insert(name) && told.insert(name) {
                self.refuse(PlanError::NamedAlike { key, name: name.to_owned() });
            }
        }
    }

    /// Each cell has histograms of its own.
    pub(super) fn check_cells(&mut self, classes: usize, targets: usize) {
        let cells = classes.max(1) * targets.max(1);
        if cells > MOST_CELLS {
            self.refuse(PlanError::TooManyCells { cells, most: MOST_CELLS });
        }
    }
}

/// `http://host:port/…` → `host:port`.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests;
