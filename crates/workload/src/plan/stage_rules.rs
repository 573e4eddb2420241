//! What an entry of `stages` demands of itself: `slos` of its own figures, `stopWhen` that ends it alone.
//!
//! A rule that ends a stage leaves the schedule as it is: what is left of the stage is not offered, and the next one
//! begins when it was planned to. So every arrival keeps its instant and its number, whatever a rule does, and the
//! service has the rest of the stage to recover in.

use std::ops::RangeInclusive;

use metrics::{Slos, StopRules};
use serde_json::{Map, Value};

use super::build::Builder;
use super::stages::{Level, Part};
use super::{Offered, OwnRules, Plan};

impl Plan {
    /// Whether any rule may end anything early.
    pub fn has_stop_rules(&self) -> bool {
        !self.stop_when.is_empty()
            || self.stages.iter().any(|stage| !stage.own.stop_when.is_empty())
    }

    /// The rules that are judged in a stage: its own, and without any those of the run.
    pub fn rules_in(&self, stage: u16) -> &StopRules {
        let own = self.stages.get(usize::from(stage)).map(|stage| &stage.own.stop_when);
        own.filter(|rules| !rules.is_empty()).unwrap_or(&self.stop_when)
    }

    /// The stages that end when a rule speaks in this one: it and what follows of its entry. `None` where that is the
    /// whole load, because the rule is the run's or nothing follows.
    pub fn ended_with(&self, stage: u16) -> Option<RangeInclusive<u16>> {
        let own = &self.stages.get(usize::from(stage))?.own;
        let others = |at: &u16| {
            self.stages.get(usize::from(*at)).is_some_and(|other| {
                other.own.entry != own.entry || other.own.stop_when != own.stop_when
            })
        };
        let all = u16::try_from(self.stages.len()).ok()?;
        let next = (stage..all).find(others).filter(|_| !own.stop_when.is_empty())?;
        Some(stage..=next - 1)
    }
}

impl Builder<'_> {
    /// The own rules of the entry with this index.
    pub(super) fn own_rules(
        &mut self,
        index: usize,
        entry: &Map<String, Value>,
        level: Level,
        parts: &[Part],
    ) -> OwnRules {
        let place = format!("stages[{index}]");
        let slos = self.slos_of_a_part(&format!("{place}.slos"), entry.get("slos"));
        let stop_when = self.own_stop_rules(&place, entry.get("stopWhen"), level, parts);
        OwnRules { entry: u16::try_from(index).unwrap_or(u16::MAX), slos, stop_when }
    }

    /// Limits of the figures of a part of the requests. Single requests are counted by the run's limits alone.
    pub(super) fn slos_of_a_part(&mut self, path: &str, written: Option<&Value>) -> Slos {
        let Some(map) = written.and_then(Value::as_object) else { return Slos::default() };
        let slos = self.slos(path, map);
        if !slos.per_request.is_empty() {
            self.refuse(super::PlanError::PartPerRequest { path: path.to_owned() });
        }
        slos
    }

    fn own_stop_rules(
        &mut self,
        place: &str,
        written: Option<&Value>,
        level: Level,
        parts: &[Part],
    ) -> StopRules {
        let Some(written) = written else { return StopRules::default() };
        let config = self.config.with_stop_rules(written);
        let closed = matches!(level, Level::Slots(_));
        let rules = self.within(&config, place, |builder| builder.stop_rules(closed));
        let is_level = |part: &Part| matches!(part.offered, Offered::Constant { .. });
        if rules.saturation && !closed && !parts.iter().any(is_level) {
            self.warn("key_unused", format!("`{place}.stopWhen.saturation` has no effect: a stage that offers no one level has no trend of the service's own"));
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Figure, Metric, Statistic};
    use serde_json::{Value, json};

    use super::super::{Plan, PlanInputs};
    use crate::{Config, Sources};

    fn planned(stages: Value, more: &[(&str, Value)]) -> Result<(Plan, Vec<String>), Vec<String>> {
        let flags = [("target.endpoint", json!("http://t/v1")), ("stages", stages)];
        let flags = flags.iter().chain(more);
        let flags = flags.map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let config = Config::load(Sources { flags, ..Sources::default() })
            .map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let inputs = PlanInputs { model: Some("m".to_owned()), prompt_salt: 1 };
        match Plan::from_config(&config, &inputs) {
            Ok((plan, warnings)) => {
                Ok((plan, warnings.into_iter().map(|warning| warning.message).collect()))
            }
            Err(all) => Err(all.iter().map(ToString::to_string).collect()),
        }
    }

    #[test]
    fn an_entry_has_objectives_and_rules_of_its_own() {
        let stages = json!([
            {"name": "low", "rate": 1, "duration": 10},
            {"name": "high", "rate": 9, "duration": 20, "type": "ramp", "ramp": {"over": 5},
             "slos": {"ttft": {"p95": "2s"}}, "stopWhen": {"overload": true, "window": 5}},
            {"name": "after", "rate": 1, "duration": 10},
        ]);
        let run = [("stopWhen.errorRate", json!(0.5)), ("stopWhen.window", json!(30))];
        let (plan, warnings) = planned(stages, &run).unwrap();
        assert_eq!(warnings, [""; 0]);
        let names: Vec<_> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["low", "high-ramp", "high", "after"]);
        let objectives: Vec<_> =
            plan.stages.iter().map(|stage| stage.own.slos.limits.len()).collect();
        assert_eq!(objectives, [0, 0, 1, 0], "the level's, not those of the way to it");
        let figure = plan.stages[2].own.slos.limits[0].figure;
        assert_eq!(figure, Figure::Of(Metric::Ttft, Statistic::Percentile(9_500)));
        // In the entry its own rules hold, elsewhere the run's.
        let rules = |stage| (plan.rules_in(stage).overload, plan.rules_in(stage).error_rate);
        assert_eq!([0, 1, 2, 3].map(rules)[..2], [(false, Some(0.5)), (true, None)]);
        assert_eq!([plan.rules_in(2).window_s, plan.rules_in(3).window_s], [5, 30]);
        assert_eq!(
            [0, 1, 2, 3].map(|s| plan.ended_with(s)),
            [None, Some(1..=2), Some(2..=2), None]
        );
        assert!(plan.has_stop_rules());
    }

    #[test]
    fn an_own_rule_of_the_last_entry_ends_the_load_unless_a_cool_down_follows() {
        let stages = json!([
            {"rate": 1, "duration": 10},
            {"rate": 9, "duration": 20, "stopWhen": {"errorRate": 0.2}},
        ]);
        assert_eq!(planned(stages.clone(), &[]).unwrap().0.ended_with(1), None);
        let cooldown = [("benchmark.cooldown", json!(5))];
        assert_eq!(planned(stages, &cooldown).unwrap().0.ended_with(1), Some(1..=1));
    }

    #[test]
    fn what_cannot_be_demanded_of_a_stage_is_said_where_it_stands() {
        let stages = json!([
            {"rate": 1, "duration": 10, "slos": {"tfft": {"p95": 1}, "perRequest": {"ttft": 1}}},
            {"concurrency": 3, "duration": 10, "stopWhen": {"saturation": true}},
        ]);
        let problems = planned(stages, &[]).unwrap_err();
        assert_eq!(problems[0], "`stages[0].slos.tfft` is no metric: did you mean `ttft`?");
        assert!(
            problems[1].starts_with("`stages[0].slos.perRequest` is not counted by"),
            "{problems:?}"
        );
        assert!(problems[2].starts_with("stages[1]: `stopWhen.saturation`"), "{problems:?}");
        let wrong = json!([{"rate": 1, "duration": 1, "stopWhen": {"overlode": true}}]);
        let line = planned(wrong, &[]).unwrap_err().remove(0);
        let advice = "`stages[0].stopWhen.overlode`; did you mean `overload`?";
        assert!(line.ends_with(advice), "{line}");
    }

    #[test]
    fn a_rule_that_can_never_speak_is_a_warning() {
        let stages =
            json!([{"type": "sine", "rate": 5, "duration": 60, "stopWhen": {"saturation": true}}]);
        let (_, warnings) = planned(stages, &[]).unwrap();
        assert!(
            warnings[0].starts_with("`stages[0].stopWhen.saturation` has no effect"),
            "{warnings:?}"
        );
    }
}
