//! Whether requests fit the model's context, as far as that is known before they are made.

use metrics::Warning;

use super::{OutputLengths, Plan, PlanError, PromptKind, PromptPlan};

impl Plan {
    /// Holds the lengths of synthetic prompts against a context of so many tokens, input and output
    /// together. A data set's lengths are known only when it is read, and a chat template adds some.
    ///
    /// # Errors
    /// A request of average length does not fit.
    pub fn check_context(&self, context: u64) -> Result<Option<Warning>, PlanError> {
        let mut longest = 0;
        for prompts in self.prompts_by_class() {
            longest = longest.max(longest_of(prompts, context)?);
        }
        let message = || {
            format!(
                "requests may have up to {longest} tokens, the model's context is {context}: those beyond it \
                 will be refused by the server; set `prompts.inputLength.max` or `prompts.outputLength.max`"
            )
        };
        Ok((longest > context).then(|| Warning::new("beyond_context", message())))
    }
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
            Err(PlanError::BeyondContext { tokens: 600, context: 599 })
        );
    }
}
