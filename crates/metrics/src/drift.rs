//! Tokens as they were asked for, against tokens as the server counted them.
//!
//! A load is configured in tokens, and the server alone knows how many it had to work on: it adds its chat template, may
//! count by another tokenizer, and a model may end its answer early. So both sums are kept, of the same requests, and
//! their difference is told: figures of a load that was not the one asked for are not comparable with others'.

use std::fmt;

use crate::interval::Notes;
use crate::warning::Warning;

/// A drift beyond this share, to either side, is worth a warning.
const WORTH_A_WARNING: f64 = 0.1;
/// Of prompts only beyond so many tokens a request: a chat template takes some 10 to 40, whatever the prompt's length.
const TEMPLATE_TOKENS: u64 = 40;

/// Two sums of tokens, of the same completed requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// As the workload asked for.
    pub asked: u64,
    /// As the server counted.
    pub counted: u64,
}

impl Drift {
    /// (counted − asked) / asked; `None` where nothing was asked for, or no server counted.
    pub fn share(self) -> Option<f64> {
        (self.asked > 0).then(|| (self.counted as f64 - self.asked as f64) / self.asked as f64)
    }
}

impl Notes {
    /// Of prompts.
    pub fn input_drift(&self) -> Drift {
        Drift { asked: self.input_asked, counted: self.input_counted }
    }

    /// Of answers.
    pub fn output_drift(&self) -> Drift {
        Drift { asked: self.output_ordered, counted: self.output_counted }
    }
}

/// What a reader of the figures has to know.
pub(crate) fn warnings(notes: &Notes) -> Vec<Warning> {
    let templates = notes.usage_requests.saturating_mul(TEMPLATE_TOKENS);
    let (input, output) = (notes.input_drift(), notes.output_drift());
    let input = input.beyond(templates).map(|share| {
        let advice = "its chat template is among them, and another tokenizer counts otherwise: set `prompts.tokenizer` \
                      to the model's, or read the figures by `input_tokens`";
        told("input_drift", share, &format!("input tokens than were asked for ({input})"), advice)
    });
    let output = output.beyond(0).map(|share| {
        let advice = if share < 0.0 {
            "a model ends its answer when it has said all: set `target.ignoreEos: true` or `target.minTokens: true` \
             where the server knows them, or read the figures by `output_tokens`"
        } else {
            "the server does not keep to `max_tokens`: read the figures by `output_tokens`"
        };
        told("output_drift", share, &format!("output tokens than were ordered ({output})"), advice)
    });
    [input, output].into_iter().flatten().collect()
}

impl Drift {
    /// The share, where it is worth a warning and more than so many tokens.
    fn beyond(self, tokens: u64) -> Option<f64> {
        let share = self.share().filter(|share| share.abs() > WORTH_A_WARNING)?;
        (self.counted.abs_diff(self.asked) > tokens).then_some(share)
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} for {}", self.counted, self.asked)
    }
}

fn told(code: &str, share: f64, what: &str, advice: &str) -> Warning {
    let side = if share < 0.0 { "fewer" } else { "more" };
    let percent = share.abs() * 100.0;
    Warning::new(code, format!("the server counted {percent:.1} % {side} {what}: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(input: (u64, u64), output: (u64, u64)) -> Notes {
        Notes {
            input_asked: input.0,
            input_counted: input.1,
            output_ordered: output.0,
            output_counted: output.1,
            ..Notes::default()
        }
    }

    #[test]
    fn a_drift_is_the_difference_in_shares_of_what_was_asked() {
        let notes = notes((1_000, 1_050), (400, 300));
        assert_eq!(notes.input_drift().share(), Some(0.05));
        assert_eq!(notes.output_drift().share(), Some(-0.25));
        assert_eq!(Notes::default().input_drift().share(), None, "nothing was counted");
    }

    #[test]
    fn a_chat_template_is_no_drift_of_short_prompts() {
        let short = Notes { usage_requests: 10, ..notes((1_000, 1_400), (400, 400)) };
        assert_eq!(warnings(&short), []);
        assert_eq!(warnings(&Notes { input_counted: 1_401, ..short })[0].code, "input_drift");
    }

    #[test]
    fn a_tenth_is_let_pass_and_more_is_told_with_both_sums() {
        assert_eq!(warnings(&notes((1_000, 1_100), (400, 360))), []);
        let told = warnings(&notes((1_000, 1_101), (400, 300)));
        let codes: Vec<_> = told.iter().map(|warning| warning.code.as_str()).collect();
        assert_eq!(codes, ["input_drift", "output_drift"]);
        let begins = "the server counted 25.0 % fewer output tokens than were ordered (300 for 400): a model ends";
        assert!(told[1].message.starts_with(begins), "{}", told[1].message);
        let longer = warnings(&notes((0, 0), (400, 500)));
        assert!(
            longer[0].message.contains("25.0 % more") && longer[0].message.contains("max_tokens")
        );
    }
}
