//! What each turn of a session adds, and how many turns there are: functions of (plan, number, turn).
//!
//! What was said before is not here: half of it is the server's own, and is put before these texts where it is known.

use super::class::{ClassPrompts, TextSource};
use super::lengths::draw;
use super::synthetic::Made;
use super::{Content, Prompt, PromptError, PromptSource};
use crate::plan::{SessionPlan, stream_of};
use crate::random::Purpose;

impl PromptSource {
    /// How many turns session `number` has; 1 where the plan has no sessions.
    ///
    /// # Errors
    /// The data set has changed or cannot be read any more.
    pub fn turns(&self, number: u64) -> Result<u32, PromptError> {
        let Some(sessions) = &self.plan.sessions else { return Ok(1) };
        self.class(self.plan.cell_of(number)).turns(sessions, number)
    }

    /// What turn `turn` (from 0) of session `number` adds to what was said before.
    ///
    /// # Errors
    /// As [`PromptSource::prompt`], or the conversation has no such turn.
    pub fn turn(&self, number: u64, turn: u32) -> Result<Prompt, PromptError> {
        if turn == 0 {
            return self.prompt(number);
        }
        let class = self.class(self.plan.cell_of(number));
        let prompt = class.later_turn(number, turn)?;
        Ok(Prompt { class: self.plan.cell_of_turn(number, turn), ..prompt })
    }
}

impl ClassPrompts {
    fn turns(&self, sessions: &SessionPlan, number: u64) -> Result<u32, PromptError> {
        let drawn =
            sessions.turns.as_ref().map(|turns| draw(turns, self.seed, Purpose::Turns, number));
        let wanted = drawn.unwrap_or(u32::MAX).min(sessions.most.get());
        let TextSource::Dataset(dataset) = &self.text else { return Ok(wanted) };
        // Reading the conversation costs more than the answer is worth where one turn is wanted.
        if wanted == 1 {
            return Ok(1);
        }
        let recorded = dataset.exchanges(dataset.place(number))?.len();
        Ok(wanted.min(u32::try_from(recorded).unwrap_or(u32::MAX)))
    }

    fn later_turn(&self, number: u64, turn: u32) -> Result<Prompt, PromptError> {
        let stream = stream_of(number, turn);
        let (text, tokens, recorded) = match &self.text {
            TextSource::Synthetic(synthetic) => {
                let Made { text, asked, .. } = synthetic.addition(stream)?;
                (text, asked, None)
            }
            TextSource::Dataset(dataset) => {
                let mut exchanges = dataset.exchanges(dataset.place(number))?;
                let place = (turn as usize).min(exchanges.len().saturating_sub(1));
                let (text, reply) = exchanges.swap_remove(place);
                let tokens = self.tokenizer.count(&text)?;
                (text, tokens, Some(self.tokenizer.count(&reply)?))
            }
        };
        Ok(Prompt {
            number,
            class: 0,
            content: Content::Text(text),
            input_tokens: Some(tokens),
            output_tokens: self.ordered(stream, recorded.filter(|tokens| *tokens > 0)),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{Config, Plan, PlanInputs, Sources};

    fn source(keys: &[(&str, Value)]) -> PromptSource {
        let mut flags = vec![
            ("target.endpoint".to_owned(), json!("http://h")),
            ("load.concurrency".to_owned(), json!(2)),
        ];
        flags.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        let (plan, _) =
            Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap();
        PromptSource::open(&plan).unwrap().0
    }

    fn text(prompt: Prompt) -> String {
        match prompt.content {
            Content::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn turns_have_texts_of_their_own_and_share_no_prefix() {
        let keys = [
            ("sessions.turns.distribution", json!("uniform")),
            ("sessions.turns.min", json!(2)),
            ("sessions.turns.max", json!(4)),
            ("prompts.inputLength.mean", json!(20)),
            ("prompts.prefixRatio", json!(0.5)),
        ];
        let source = source(&keys);
        let turns: Vec<u32> = (0..200).map(|number| source.turns(number).unwrap()).collect();
        assert!([2, 3, 4].iter().all(|count| turns.contains(count)));
        assert!(turns.iter().all(|count| (2..=4).contains(count)));
        let [first, second, third] = [0, 1, 2].map(|turn| text(source.turn(5, turn).unwrap()));
        assert!(first != second && second != third);
        assert_eq!(text(source.prompt(5).unwrap()), first);
        let other = text(source.turn(6, 1).unwrap());
        assert_ne!(other.split(' ').next(), second.split(' ').next());
        assert_eq!(source.turn(5, 2).unwrap().input_tokens, Some(20));
        assert_eq!(source.turn(5, 2).unwrap(), source.turn(5, 2).unwrap());
    }

    #[test]
    fn a_recorded_conversation_is_asked_turn_by_turn() {
        let talk = |turns: &[&str]| {
            let say = |(place, value): (usize, &&str)| json!({"from": if place % 2 == 0 { "human" } else { "gpt" }, "value": value});
            json!({"id": "x", "conversations": turns.iter().enumerate().map(say).collect::<Vec<_>>()})
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("talks.json");
        let talks = json!([
            talk(&["one", "yes", "two", "yes yes yes", "three", "no"]),
            talk(&["only", "so"])
        ]);
        std::fs::write(&file, talks.to_string()).unwrap();
        let source = source(&[("prompts.dataset", json!(file)), ("sessions.turns.max", json!(2))]);
        assert_eq!([0, 1].map(|number| source.turns(number).unwrap()), [2, 1], "cut to two turns");
        let second = source.turn(0, 1).unwrap();
        assert!(second.output_tokens > source.turn(0, 0).unwrap().output_tokens);
        assert_eq!(text(second), "two");
    }
}
