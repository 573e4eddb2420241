//! Whether requests fit the model's context, as far as that is known before they are made.

use metrics::Warning;

use super::build::Builder;
use super::{OutputLengths, Plan, PlanError, PromptKind, PromptPlan, TrafficClass};
use crate::schedule::Rows;

impl Plan {
    /// Holds the lengths of synthetic prompts, and of a trace's rows, against a context of so many tokens, input and output
    /// together. A data set's lengths are known only when it is read, and a chat template adds some.
    ///
    /// # Errors
    /// Every class whose requests of average length do not fit, or a trace of which no row does.
    pub fn check_context(&self, context: u64) -> Result<Option<Warning>, Vec<PlanError>> {
        if let Some(rows) = self.rows().filter(|rows| rows.tell_lengths()) {
            return of_rows(rows, context).map_err(|problem| vec![problem]);
        }
        let of_one = if self.classes.is_empty() {
            let longest = longest_of(&self.prompts, context).map_err(|problem| vec![problem])?;
            warning(longest, context)
        } else {
            of_classes(self.classes.iter().map(|class| Some(&class.prompts)), context)?
        };
        Ok(self.grown_beyond(context).or(of_one))
    }

    /// A session's last turn sends all that was said before it, and that is seldom meant to be cut.
    fn grown_beyond(&self, context: u64) -> Option<Warning> {
        let turns = self.sessions.as_ref()?.turns.as_ref()?.mean();
        let prompts = self.prompts_by_class().into_iter();
        let grown = prompts.filter_map(|prompts| grown(prompts, turns)).max()?;
        let message = || {
            format!(
                "a session of {turns:.1} turns, the average, comes to about {grown} tokens with all that was said \
                 before, the model's context is {context}: the server will refuse its later turns, and the session is \
                 cut; set fewer `sessions.turns`, or shorten `prompts.inputLength` and `prompts.outputLength`"
            )
        };
        (grown > context).then(|| Warning::new("beyond_context", message()))
    }
}

impl Builder<'_> {
    /// A server says its model's context when it is asked; of a simulator it is known.
    pub(super) fn check_simulators_context(
        &mut self,
        prompts: Option<&PromptPlan>,
        classes: &[Option<TrafficClass>],
        rows: Option<&Rows>,
    ) {
        let Some(context) = self.config.integer("simulator.contextLength") else { return };
        let of_prompts = |prompts: &PromptPlan| longest_of(prompts, context).err();
        let problems = match rows.filter(|rows| rows.tell_lengths()) {
            Some(rows) => of_rows(rows, context).err().into_iter().collect(),
            None if classes.is_empty() => prompts.and_then(of_prompts).into_iter().collect(),
            None => {
                let prompts = classes.iter().map(|class| Some(&class.as_ref()?.prompts));
                of_classes(prompts, context).err().unwrap_or_default()
            }
        };
        problems.into_iter().for_each(|problem| self.refuse(problem));
    }
}

/// Tokens of a session of so many turns; only the first has the shared beginnings. `None` where a data set decides.
fn grown(prompts: &PromptPlan, turns: f64) -> Option<u64> {
    let (PromptKind::Synthetic, OutputLengths::Drawn(output)) =
        (&prompts.kind, &prompts.output_length)
    else {
        return None;
    };
    let turn = prompts.input_length.mean() + output.mean();
    Some(prompts.prefix_tokens() + (turns * turn).round() as u64)
}

/// Each class by itself, as far as it is known what it asks.
fn of_classes<'a>(
    classes: impl Iterator<Item = Option<&'a PromptPlan>>,
    context: u64,
) -> Result<Option<Warning>, Vec<PlanError>> {
    let (mut problems, mut longest) = (Vec::new(), 0);
    for (index, prompts) in classes.enumerate() {
        match prompts.map_or(Ok(0), |prompts| longest_of(prompts, context)) {
            Ok(its) => longest = longest.max(its),
            Err(problem) => problems.push(PlanError::OfClass {
                place: format!("classes[{index}]"),
                problem: Box::new(problem),
            }),
        }
    }
    if problems.is_empty() { Ok(warning(longest, context)) } else { Err(problems) }
}

fn warning(longest: u64, context: u64) -> Option<Warning> {
    let message = || {
        format!(
            "requests may have up to {longest} tokens, the model's context is {context}: those beyond it \
             will be refused by the server; set `prompts.inputLength.max` or `prompts.outputLength.max`"
        )
    };
    (longest > context).then(|| Warning::new("beyond_context", message()))
}

/// A trace is offered as it is, but for nothing if the model can take none of it.
fn of_rows(rows: &Rows, context: u64) -> Result<Option<Warning>, PlanError> {
    let tokens = |row| {
        let told = rows.input_tokens(row).zip(rows.output_tokens(row));
        told.map_or(0, |(input, output)| u64::from(input) + u64::from(output))
    };
    let (mut beyond, mut shortest) = (0, u64::MAX);
    for tokens in (0..rows.len()).map(tokens) {
        beyond += u64::from(tokens > context);
        shortest = shortest.min(tokens);
    }
    if beyond > 0 && beyond == rows.len() {
        return Err(PlanError::RowsBeyondContext { tokens: shortest, context });
    }
    let message = || {
        format!(
            "{beyond} of the {} rows of `load.schedule` are longer than the model's context of {context}: \
             the server will refuse them",
            rows.len()
        )
    };
    Ok((beyond > 0).then(|| Warning::new("beyond_context", message())))
}

/// The longest request that is likely enough to be seen; 0 where a data set decides.
fn longest_of(prompts: &PromptPlan, context: u64) -> Result<u64, PlanError> {
    let (PromptKind::Synthetic, OutputLengths::Drawn(output)) =
        (&prompts.kind, &prompts.output_length)
    else {
        return Ok(0);
    };
    let average = (prompts.mean_input_tokens() + output.mean()).round() as u64;
    if average > context {
        return Err(PlanError::BeyondContext { tokens: average, context });
    }
    Ok(prompts.prefix_tokens() + prompts.input_length.longest() + output.longest())
}

#[cfg(test)]
mod tests {
    use crate::{Config, PlanInputs, Sources};
    use serde_json::{Value, json};

    use super::*;

    fn plan(keys: &[(&str, Value)]) -> Plan {
        let mut flags = vec![
            ("target.endpoint".to_owned(), json!("http://127.0.0.1:1")),
            ("load.rate".to_owned(), json!(1)),
        ];
        flags.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let config = Config::load(Sources { flags, ..Sources::default() }).unwrap();
        Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap().0
    }

    #[test]
    fn lengths_fit_may_not_fit_or_do_not_fit_the_context() {
        // 500 + 100 on average; at most 500 + 4 * 50 + 100 + 4 * 10 = 840.
        let plan = plan(&[
            ("prompts.inputLength.mean", json!(500)),
            ("prompts.inputLength.stddev", json!(50)),
            ("prompts.outputLength.mean", json!(100)),
            ("prompts.outputLength.stddev", json!(10)),
        ]);
        assert_eq!(plan.check_context(840), Ok(None));
        assert!(plan.check_context(839).unwrap().unwrap().message.contains("up to 840 tokens"));
        assert_eq!(
            plan.check_context(599),
            Err(vec![PlanError::BeyondContext { tokens: 600, context: 599 }])
        );
    }

    #[test]
    fn sessions_are_held_against_the_context_with_all_that_they_say() {
        // A turn is 100 + 50 tokens, four of them 600.
        let plan = plan(&[
            ("sessions.turns.mean", json!(4)),
            ("prompts.inputLength.mean", json!(100)),
            ("prompts.outputLength.mean", json!(50)),
        ]);
        assert_eq!(plan.check_context(600), Ok(None));
        let warning = plan.check_context(599).unwrap().unwrap();
        assert!(warning.message.starts_with("a session of 4.0 turns"), "{}", warning.message);
        assert!(warning.message.contains("about 600 tokens"), "{}", warning.message);
    }

    #[test]
    fn every_class_that_does_not_fit_is_told() {
        let class = |name: &str, mean: u64| json!({"name": name, "weight": 1, "prompts": {"inputLength": {"mean": mean}, "outputLength": {"mean": 10}}});
        let plan = plan(&[("classes", json!([class("a", 600), class("b", 90), class("c", 700)]))]);
        let problems = plan.check_context(500).unwrap_err();
        let places: Vec<String> =
            problems.iter().map(|problem| problem.to_string().chars().take(10).collect()).collect();
        assert_eq!(places, ["classes[0]", "classes[2]"]);
        assert_eq!(plan.check_context(710), Ok(None));
    }

    #[test]
    fn rows_of_a_trace_are_held_against_the_context_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.csv");
        std::fs::write(
            &file,
            "scheduled_offset_s,input_tokens,output_tokens\n0,100,20\n1,300,20\n",
        )
        .unwrap();
        let plan = plan(&[("load.schedule", json!(file))]);
        assert_eq!(plan.check_context(320), Ok(None));
        let warning = plan.check_context(200).unwrap().unwrap();
        assert!(warning.message.starts_with("1 of the 2 rows"), "{}", warning.message);
        let refused = PlanError::RowsBeyondContext { tokens: 120, context: 100 };
        assert_eq!(plan.check_context(100), Err(vec![refused]));
    }
}
