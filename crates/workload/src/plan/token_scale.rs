//! How many tokens the server counts for one of ours, where nobody named the model's tokenizer.
//!
//! Lengths are meant in the server's tokens. Without its tokenizer the bundled one makes the prompts, and the server,
//! asked before the load, says what such text comes to.

use super::{Plan, PromptKind, PromptPlan, TokenizerChoice};

/// Most and least that can be meant; beyond it something else was counted.
const MEANT: std::ops::RangeInclusive<f64> = 0.05..=20.0;
/// A server that differs by less counts as we do.
const ALIKE: f64 = 0.005;

impl PromptPlan {
    /// Whether its lengths are those of the bundled tokenizer for want of the model's.
    fn is_ours(&self) -> bool {
        self.kind == PromptKind::Synthetic
            && self.tokenizer == TokenizerChoice::Bundled
            && !self.as_token_ids
    }
}

impl Plan {
    /// A plan whose prompts are such as the server is to be asked about; `None` where there are none.
    pub fn to_be_scaled(&self) -> Option<Self> {
        let prompts =
            self.prompts_by_class().into_iter().find(|prompts| prompts.is_ours())?.clone();
        Some(Self {
            prompts,
            classes: Vec::new(),
            targets: Vec::new(),
            schedule: None,
            ..self.clone()
        })
    }

    /// The scale by what a server counted in texts of so many tokens of ours; `None` where that cannot be meant.
    pub fn token_scale(ours: u64, servers: u64) -> Option<f64> {
        let scale = servers as f64 / ours as f64;
        let scale = if (scale - 1.0).abs() < ALIKE { 1.0 } else { (scale * 1e4).round() / 1e4 };
        MEANT.contains(&scale).then_some(scale)
    }

    /// The same plan with prompts made by a scale, as far as they are of the bundled tokenizer.
    #[must_use]
    pub fn with_token_scale(mut self, scale: f64) -> Self {
        let prompts = self.prompts_by_class_mut().into_iter();
        prompts.filter(|prompts| prompts.is_ours()).for_each(|prompts| prompts.token_scale = scale);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_the_servers_count_to_ours_where_it_can_be_meant() {
        assert_eq!(Plan::token_scale(1_000, 1_525), Some(1.525));
        assert_eq!(Plan::token_scale(3, 1), Some(0.3333));
        assert_eq!(Plan::token_scale(1_000, 1_004), Some(1.0));
        assert_eq!((Plan::token_scale(1_000, 7), Plan::token_scale(0, 9)), (None, None));
    }
}
