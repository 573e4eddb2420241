//! Sessions: conversations of several turns, each of which sends all that was said before.
//!
//! The unit that a worker owns stays an arrival, or a slot's round, and its number: a session *is* that unit, and its first
//! turn is due as a single request would be. What follows is a function of (plan, number, turn) and of what the server
//! answered: later turns are due on answer + think time, so no schedule knows them. Each turn has figures of its own: the
//! turn is a dimension of the cell, outermost, so that classes and targets keep their places inside it.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::build::Builder;
use super::classes::MOST_CELLS;
use super::{
    Api, LengthPlan, Plan, PlanError, PromptKind, PromptPlan, Target, ThinkTime, TrafficClass,
};
use crate::schedule::thought;

/// Turns with figures of their own, at the most; the last stands for all that follow.
const MOST_BUCKETS: usize = 8;
/// As many turns as a session has at the most where nothing bounds them.
const MOST_TURNS: u32 = 1_000;
/// Bits of a stream's number that are the request's; those above are the turn's.
const NUMBER_BITS: u32 = 48;

/// Conversations instead of single requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionPlan {
    /// How many turns a session has; `None`: as many as the conversation of the data set.
    pub turns: Option<LengthPlan>,
    /// No session has more.
    pub most: NonZeroU32,
    /// Between an answer and the next turn; `None`: at once.
    pub think: Option<ThinkTime>,
    /// Turns with figures of their own; at least 1.
    pub buckets: u16,
}

/// The stream of random numbers of one turn; that of the first is the request's own.
pub(crate) fn stream_of(number: u64, turn: u32) -> u64 {
    number.wrapping_add(u64::from(turn) << NUMBER_BITS)
}

impl Plan {
    /// The cell of one turn (from 0) of session `number`.
    pub fn cell_of_turn(&self, number: u64, turn: u32) -> u16 {
        let first = self.cell_of(number);
        let Some(sessions) = &self.sessions else { return first };
        let bucket =
            u16::try_from(turn).unwrap_or(u16::MAX).min(sessions.buckets.saturating_sub(1));
        bucket.saturating_mul(self.first_cells()).saturating_add(first)
    }

    /// The cells of first turns: those below this number.
    pub fn first_cells(&self) -> u16 {
        let cells = self.classes.len().max(1) * self.targets.len().max(1);
        u16::try_from(cells).unwrap_or(u16::MAX)
    }

    /// When a user who was answered at `answered` sends turn `turn` of session `number`.
    pub fn next_turn_at(&self, number: u64, turn: u32, answered: Duration) -> Duration {
        let think = self.sessions.as_ref().and_then(|sessions| sessions.think);
        let pause = think.map(|time| thought(time, self.seed, stream_of(number, turn)));
        answered.saturating_add(pause.unwrap_or_default())
    }

    /// The names of the turns with figures of their own; none without sessions.
    pub fn turn_names(&self) -> Vec<String> {
        let Some(sessions) = &self.sessions else { return Vec::new() };
        let last = sessions.buckets;
        let more = u32::from(last) < sessions.most.get();
        let name = |turn: u16| {
            let on = if turn == last && more { " and later" } else { "" };
            format!("turn {turn}{on}")
        };
        (1..=last).map(name).collect()
    }
}

impl Builder<'_> {
    /// The section `sessions`, if there is one.
    pub(super) fn sessions(
        &mut self,
        target: &Target,
        prompts: &PromptPlan,
        classes: &[TrafficClass],
        targets: usize,
    ) -> Option<SessionPlan> {
        if !self.has_sessions() {
            return None;
        }
        if target.api == Api::Completions {
            let needs = "`target.api: chat`: a completion has no turns";
            self.refuse(PlanError::Needs { what: "sessions", needs });
        }
        if self.config.has("load.schedule") {
            let advice = "rows of a file are single requests";
            self.refuse(PlanError::Excluded { first: "sessions", second: "load.schedule", advice });
        }
        let fields = self.length_fields("sessions.turns");
        let own: Vec<_> = classes.iter().map(|class| &class.prompts.kind).collect();
        let kinds = if own.is_empty() { vec![&prompts.kind] } else { own };
        self.check_kinds(&kinds, fields.is_drawn());
        let turns = match fields.is_drawn() {
            true => Some(self.lengths(&fields, &LengthPlan::normal(1.0, 0.0))?),
            false => None,
        };
        let bound = self.config.integer("sessions.turns.max");
        let bound = bound.and_then(|max| u32::try_from(max).ok());
        let exact = turns.as_ref().filter(|turns| turns.stddev() == 0.0).map(LengthPlan::mean);
        let most = bound.or(exact.map(|mean| mean.round() as u32)).and_then(NonZeroU32::new);
        let most = most.or(NonZeroU32::new(MOST_TURNS)).unwrap_or(NonZeroU32::MIN);
        let cells = classes.len().max(1) * targets.max(1);
        let buckets = (MOST_CELLS / cells).min(MOST_BUCKETS).min(most.get() as usize);
        if buckets < 2 && most.get() > 1 {
            self.refuse(PlanError::TooManyCells { cells, most: MOST_CELLS / 2 });
        }
        let think = self.pause_of("sessions.thinkTime");
        self.warn_of_idle_pauses();
        Some(SessionPlan { turns, most, think, buckets: u16::try_from(buckets).unwrap_or(1) })
    }

    /// Each kind of prompts must have turns; those of a data set need not be drawn.
    fn check_kinds(&mut self, kinds: &[&PromptKind], drawn: bool) {
        if kinds.iter().any(|kind| matches!(kind, PromptKind::File { .. })) {
            let advice = "its records are single requests; use synthetic prompts or ShareGPT";
            self.refuse(PlanError::Excluded { first: "sessions", second: "prompts.file", advice });
        }
        let synthetic = kinds.iter().any(|kind| matches!(kind, PromptKind::Synthetic));
        if synthetic && !drawn {
            let needs = "`sessions.turns.mean`, or a `distribution`";
            self.refuse(PlanError::Needs { what: "sessions", needs });
        }
    }

    fn has_sessions(&self) -> bool {
        self.says("sessions.turns") || self.says("sessions.thinkTime")
    }

    /// A think time, where one is configured.
    fn pause_of(&mut self, section: &'static str) -> Option<ThinkTime> {
        if self.says(section) { self.think_time(section) } else { None }
    }

    /// Bounds and a deviation that the distribution has no use for.
    fn warn_of_idle_pauses(&mut self) {
        let word = self.config.text("sessions.thinkTime.distribution").unwrap_or("exponential");
        let all = [
            ("sessions.thinkTime.mean", word == "uniform", "a uniform time has `min` and `max`"),
            ("sessions.thinkTime.stddev", word != "lognormal", "it is not `lognormal`"),
            ("sessions.thinkTime.min", word != "uniform", "it is not `uniform`"),
            ("sessions.thinkTime.max", word != "uniform", "it is not `uniform`"),
        ];
        for (key, is_idle, reason) in all {
            if is_idle && self.config.has(key) {
                self.warn("key_unused", format!("`{key}` has no effect: {reason}"));
            }
        }
    }

    /// Whether any key of a distribution is set.
    fn says(&self, section: &str) -> bool {
        let keys = ["mean", "distribution", "stddev", "min", "max"];
        keys.iter().any(|key| self.config.has(&format!("{section}.{key}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Config, PlanInputs, Sources};

    fn planned(keys: &[(&str, Value)]) -> Result<Plan, Vec<String>> {
        let mut flags = vec![
            ("target.endpoint".to_owned(), json!("http://h")),
            ("load.rate".to_owned(), json!(2)),
        ];
        flags.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let planned = Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 });
        planned.map(|(plan, _)| plan).map_err(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn turns_are_cells_outside_of_classes_and_targets() {
        let classes = json!([{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]);
        let plan = planned(&[("classes", classes), ("sessions.turns.mean", json!(3))]).unwrap();
        assert_eq!((plan.first_cells(), plan.cells()), (2, 6));
        for number in 0..20 {
            let first = plan.cell_of_turn(number, 0);
            assert_eq!(first, plan.cell_of(number));
            let cells: Vec<u16> = (0..5).map(|turn| plan.cell_of_turn(number, turn)).collect();
            assert_eq!(cells, [first, first + 2, first + 4, first + 4, first + 4]);
            let class = plan.cell(first).class;
            assert!(cells.iter().all(|cell| plan.cell(*cell).class == class));
            assert_eq!(plan.cell(cells[2]).turn, 2);
        }
        assert_eq!(plan.turn_names(), ["turn 1", "turn 2", "turn 3"]);
    }

    #[test]
    fn late_turns_share_their_figures() {
        let shape =
            [("sessions.turns.distribution", json!("uniform")), ("sessions.turns.min", json!(2))];
        let plan = planned(&[&shape[..], &[("sessions.turns.max", json!(30))]].concat()).unwrap();
        assert_eq!(plan.cells(), 8);
        assert_eq!(plan.turn_names()[7], "turn 8 and later");
        let single = planned(&[]).unwrap();
        assert_eq!((single.cells(), single.turn_names().len()), (1, 0));
        assert_eq!(single.cell_of_turn(3, 9), 0);
    }

    #[test]
    fn a_turn_has_figures_beside_the_first_ones_or_the_plan_is_refused() {
        let classes: Vec<Value> =
            (0..33).map(|n| json!({"name": format!("c{n}"), "weight": 1})).collect();
        let of = |classes: &[Value]| {
            planned(&[("classes", json!(classes)), ("sessions.turns.mean", json!(3))])
        };
        let plan = of(&classes[..32]).unwrap();
        assert_eq!((plan.first_cells(), plan.cells()), (32, 64));
        assert_eq!(plan.turn_names(), ["turn 1", "turn 2 and later"]);
        assert!(of(&classes).unwrap_err()[0].contains("33"));
    }

    #[test]
    fn every_class_must_have_turns() {
        let talks = json!([
            {"name": "a", "weight": 1, "prompts": {"file": "questions.txt"}},
            {"name": "b", "weight": 1, "prompts": {"dataset": "talks.json"}},
            {"name": "c", "weight": 1},
        ]);
        let lines = planned(&[("classes", talks), ("sessions.turns.max", json!(3))]).unwrap_err();
        assert!(lines[0].contains("`prompts.file`"), "{lines:?}");
        assert!(lines[1].contains("`sessions.turns.mean`"), "{lines:?}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn think_times_are_the_turns_own_and_the_same_everywhere() {
        let plan =
            planned(&[("sessions.turns.mean", json!(3)), ("sessions.thinkTime.mean", json!(2))])
                .unwrap();
        let at = |turn| plan.next_turn_at(7, turn, Duration::from_secs(10));
        assert_eq!(at(1), at(1));
        assert_ne!(at(1), at(2));
        let fixed = [
            ("sessions.thinkTime.distribution", json!("fixed")),
            ("sessions.thinkTime.mean", json!(2)),
        ];
        let plan = planned(&[&fixed[..], &[("sessions.turns.mean", json!(2))]].concat()).unwrap();
        assert_eq!(plan.next_turn_at(7, 1, Duration::from_secs(10)), Duration::from_secs(12));
    }

    #[test]
    fn what_has_no_turns_is_refused() {
        let lines =
            planned(&[("target.api", json!("completions")), ("sessions.thinkTime.mean", json!(1))]);
        let lines = lines.unwrap_err();
        assert!(lines[0].contains("`sessions` needs `target.api: chat`"), "{lines:?}");
        assert!(lines[1].contains("`sessions.turns.mean`"), "{lines:?}");
    }
}
