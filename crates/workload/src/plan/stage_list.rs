//! The list `stages`: loads one after the other, each read as if it stood alone.

use std::time::Duration;

use serde_json::{Map, Value};

use super::build::Builder;
use super::stages::{Level, Part, RampShare};
use super::{PlanError, StageKind};
use crate::config::Config;

/// The parts of a list, and the levels by which each entry is driven.
pub(super) struct Listed {
    pub(super) parts: Vec<Part>,
    pub(super) levels: Vec<Level>,
}

impl Builder<'_> {
    /// Every entry's parts; `None` where none can be built.
    pub(super) fn listed(&mut self, list: &[&Map<String, Value>]) -> Option<Listed> {
        let names = self.names(list);
        let configs: Vec<Config> = list.iter().map(|entry| self.config.of_stage(entry)).collect();
        let mut listed = Listed { parts: Vec::new(), levels: Vec::new() };
        let (others_are, mut found) = (some_are_chosen(list), Vec::new());
        for (index, ((entry, name), config)) in list.iter().zip(&names).zip(&configs).enumerate() {
            let mut inner = Builder::new(config);
            let built = inner.of_entry(entry, name);
            found.push((name.as_str(), inner));
            if let Some((level, mut parts)) = built {
                let own = self.own_rules(index, entry, level, &parts);
                // The way to a level is not chosen with it, unless it is all that there is.
                let is_ramp_alone = parts.iter().all(|part| part.kind == StageKind::Ramp);
                for part in &mut parts {
                    let is_meant = part.kind == StageKind::Hold || is_ramp_alone;
                    part.kind = kind(part.kind, is_chosen(entry).filter(|_| is_meant), others_are);
                    part.own = own.clone();
                    if !is_meant {
                        part.own.slos = metrics::Slos::default();
                    }
                }
                listed.parts.extend(parts);
                listed.levels.push(level);
            }
        }
        self.absorb(found);
        self.warn_of_idle_keys(&configs.iter().collect::<Vec<_>>());
        self.one_drive(&names, &listed.levels);
        self.one_cap(&names, &configs);
        self.cut(&mut listed.parts);
        (listed.levels.len() == list.len()).then_some(listed)
    }

    fn names(&mut self, list: &[&Map<String, Value>]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (index, entry) in list.iter().enumerate() {
            let name = entry.get("name").and_then(Value::as_str);
            let name = name.map_or_else(|| format!("stage-{}", index + 1), str::to_owned);
            if names.contains(&name) {
                self.refuse(PlanError::SameName { name: name.clone() });
            }
            names.push(name);
        }
        names
    }

    /// The parts of one entry, by a configuration of its own. The one that is held has its name, and the way to it that
    /// with `-ramp`.
    fn of_entry(&mut self, entry: &Map<String, Value>, name: &str) -> Option<(Level, Vec<Part>)> {
        let length = entry.get("duration").and_then(Value::as_f64);
        let length = length.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let level = self.level();
        let mut parts =
            level.map(|level| self.parts(level, length, RampShare::Whole)).unwrap_or_default();
        let is_ramp_alone = parts.iter().all(|part| part.kind == StageKind::Ramp);
        for part in &mut parts {
            let suffix = part.name.strip_prefix(StageKind::Ramp.name()).map(str::to_owned);
            part.name = match suffix {
                Some(step) if is_ramp_alone => format!("{name}{step}"),
                Some(step) => format!("{name}-ramp{step}"),
                None => name.to_owned(),
            };
        }
        Some((level?, parts))
    }

    /// Permission to send is by due time in an open loop and by round in a closed one: a run is either.
    fn one_drive(&mut self, names: &[String], levels: &[Level]) {
        let named = |wanted: fn(&Level) -> bool| {
            names.iter().zip(levels).find(|(_, level)| wanted(level)).map(|(name, _)| name.clone())
        };
        let open = named(|level| matches!(level, Level::Rate(_)));
        let closed = named(|level| matches!(level, Level::Slots(_)));
        if let (Some(open), Some(closed)) = (open, closed) {
            self.refuse(PlanError::MixedLoops { open, closed });
        }
    }

    /// A cap is one for the whole run.
    fn one_cap(&mut self, names: &[String], configs: &[Config]) {
        let is_open = |config: &Config| config.has("load.rate");
        let cap = |config: &Config| config.integer("load.concurrency");
        let first = configs.iter().find(|config| is_open(config)).and_then(cap);
        let other =
            names.iter().zip(configs).find(|(_, config)| is_open(config) && cap(config) != first);
        if let Some((name, _)) = other {
            self.refuse(PlanError::SeveralCaps { stage: name.clone() });
        }
    }

    /// `benchmark.duration` ends the run, if it comes first.
    fn cut(&mut self, parts: &mut Vec<Part>) {
        let Some(most) = self.config.duration("benchmark.duration") else { return };
        let mut left = most;
        let mut kept = Vec::new();
        let mut shortened = Vec::new();
        for mut part in std::mem::take(parts) {
            let length = part.length.unwrap_or_default();
            if length > left {
                shortened.push(part.name.clone());
                part.cut_to(left);
            }
            left -= length.min(left);
            if part.length != Some(Duration::ZERO) {
                kept.push(part);
            }
        }
        *parts = kept;
        if !shortened.is_empty() {
            let stages = shortened.join("`, `");
            self.warn("stages_cut", format!("`benchmark.duration` ({most:?}) is shorter than the stages: `{stages}` cut short or left out"));
        } else if !left.is_zero() {
            self.warn(
                "key_unused",
                format!(
                    "`benchmark.duration` ({most:?}) has no effect: the stages end the run before"
                ),
            );
        }
    }
}

/// Does the user choose the stages of the headline?
fn some_are_chosen(list: &[&Map<String, Value>]) -> bool {
    list.iter().any(|entry| is_chosen(entry) == Some(true))
}

fn is_chosen(entry: &Map<String, Value>) -> Option<bool> {
    entry.get("headline").and_then(Value::as_bool)
}

/// All stages that are held count for the headline, or those that are chosen, and no other.
fn kind(of_shape: StageKind, chosen: Option<bool>, others_are: bool) -> StageKind {
    match (of_shape, chosen) {
        (StageKind::Ramp | StageKind::Hold, Some(true)) => StageKind::Hold,
        (StageKind::Hold, Some(false)) => StageKind::Aside,
        (StageKind::Hold, None) if others_are => StageKind::Aside,
        (kind, _) => kind,
    }
}
