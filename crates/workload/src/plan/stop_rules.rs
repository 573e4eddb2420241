//! `stopWhen`: what ends the load early.

use std::time::Duration;

use metrics::StopRules;

use super::PlanError;
use super::build::Builder;

/// Over how long shares are taken, where nothing is configured.
const WINDOW: Duration = Duration::from_secs(10);

impl Builder<'_> {
    pub(super) fn stop_rules(&mut self, closed: bool) -> StopRules {
        let window = self.config.duration("stopWhen.window").unwrap_or(WINDOW);
        let window_s = window.as_secs() + u64::from(window.subsec_nanos() > 0);
        let rules = StopRules {
            overload: self.config.switch("stopWhen.overload"),
            error_rate: self.config.number("stopWhen.errorRate"),
            saturation: self.config.switch("stopWhen.saturation"),
            window_s: u32::try_from(window_s).unwrap_or(u32::MAX).max(1),
        };
        if rules.saturation && closed {
            let advice = "a closed loop waits for its answers, so nothing piles up; set `load.rate`, or use `stopWhen.overload`";
            self.refuse(PlanError::Excluded {
                first: "stopWhen.saturation",
                second: "a closed loop",
                advice,
            });
        }
        let streamed =
            self.config.get("target.stream").and_then(serde_json::Value::as_bool).unwrap_or(true);
        if rules.overload && !streamed {
            let advice = "without a stream there is no first token; use `stopWhen.errorRate` or `stopWhen.saturation`";
            self.refuse(PlanError::Excluded {
                first: "stopWhen.overload",
                second: "target.stream: false",
                advice,
            });
        }
        if rules.is_empty() && self.config.has("stopWhen.window") {
            self.warn("key_unused", "`stopWhen.window` has no effect: no rule is set");
        }
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Plan, PlanInputs};
    use crate::{Config, Sources};

    fn planned(sets: &[&str]) -> Result<Plan, Vec<String>> {
        let sets = ["target.endpoint=http://t/v1"].iter().chain(sets);
        let sets = sets.map(|set| (*set).to_owned()).collect();
        let config = Config::load(Sources { sets, ..Sources::default() }).unwrap();
        let plan = Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 });
        plan.map(|(plan, _)| plan).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn rules_are_off_unless_set() {
        assert!(planned(&["load.rate=1"]).unwrap().stop_when.is_empty());
        let rules = planned(&[
            "load.rate=1",
            "stopWhen={overload: true, errorRate: 0.2, saturation: true, window: 1500ms}",
        ]);
        let rules = rules.unwrap().stop_when;
        assert_eq!((rules.overload, rules.error_rate, rules.saturation), (true, Some(0.2), true));
        assert_eq!(rules.window_s, 2, "whole seconds are looked at");
    }

    #[test]
    fn rules_that_could_never_speak_are_refused() {
        let problems = planned(&[
            "load.concurrency=1",
            "target.stream=false",
            "stopWhen={overload: true, saturation: true}",
        ]);
        let problems = problems.unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("`stopWhen.saturation` does not go with `a closed loop`"));
    }
}
