//! What a plan demands and what would end it early, part by part.

use report::PlannedRules;
use workload::{Plan, Stage};

/// Of the run, its stages and its classes, as far as they have any.
pub(super) fn of(plan: &Plan) -> Vec<PlannedRules> {
    let run = PlannedRules { of: None, slos: plan.slos.clone(), stop_when: plan.stop_when.clone() };
    let classes = plan.classes.iter().map(|class| PlannedRules {
        of: Some(format!("class {}", class.name)),
        slos: class.slos.clone(),
        stop_when: metrics::StopRules::default(),
    });
    let stages = plan.stages.iter().enumerate();
    let stages = stages.filter(|(index, stage)| !goes_on(stage, &plan.stages[index + 1..]));
    let stages = stages.map(|(_, stage)| of_stage(stage));
    let all = std::iter::once(run).chain(stages).chain(classes);
    all.filter(|rules| !rules.slos.is_empty() || !rules.stop_when.is_empty()).collect()
}

/// The way to a level has its rules, which are told with the level.
fn goes_on(stage: &Stage, later: &[Stage]) -> bool {
    let is_same = |other: &Stage| {
        other.own.entry == stage.own.entry && other.own.stop_when == stage.own.stop_when
    };
    stage.own.slos.is_empty() && later.first().is_some_and(is_same)
}

fn of_stage(stage: &Stage) -> PlannedRules {
    PlannedRules {
        of: Some(format!("stage {}", stage.name)),
        slos: stage.own.slos.clone(),
        stop_when: stage.own.stop_when.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use workload::{Config, PlanInputs, Sources};

    use super::*;

    #[test]
    fn every_part_that_has_rules_is_named() {
        let flags = [
            ("target.endpoint", json!("http://h")),
            ("slos", json!({"error_rate": 0.1})),
            ("classes", json!([{"name": "chat", "weight": 1, "slos": {"ttft": {"p50": 1}}}])),
            (
                "stages",
                json!([
                    {"name": "low", "rate": 1, "duration": 5},
                    {"name": "high", "rate": 2, "duration": 5, "type": "ramp", "ramp": {"over": 1},
                     "stopWhen": {"overload": true}},
                ]),
            ),
        ];
        let flags = flags.map(|(key, value)| (key.to_owned(), value)).into();
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let inputs = PlanInputs { model: None, prompt_salt: 0 };
        let rules = of(&Plan::from_config(&config, &inputs).unwrap().0);
        let named: Vec<_> = rules.iter().map(|rules| rules.of.as_deref()).collect();
        assert_eq!(named, [None, Some("stage high"), Some("class chat")]);
        assert!(rules[1].stop_when.overload && rules[1].slos.is_empty());
    }
}
