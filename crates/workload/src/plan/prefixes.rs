//! Beginnings that prompts share: in groups, of which some are more popular than others, and in levels.
//!
//! A level stands inside the one before it, as a tenant's system prompt stands inside the tenant: which
//! text a group has follows from the groups above it. Only the last level may be a share of the prompt's
//! length: what followed it would begin at another place in each prompt, and so be shared by none.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::build::Builder;
use super::{PlanError, PromptPlan};

/// Ways through all levels: their number is part of a stream's.
const MOST_PATHS: u64 = 1 << 48;

/// One level of shared beginnings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrefixLevel {
    /// For people: `tenant`, `system prompt`.
    pub name: String,
    /// Groups inside each group of the level above.
    pub groups: NonZeroU32,
    /// How long the shared text is.
    pub size: PrefixSize,
    /// Group g (from 1) is drawn with a chance in proportion to 1 / g^zipf; 0: all alike.
    pub zipf: f64,
}

/// How long a shared beginning is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum PrefixSize {
    /// So many tokens, beside those of the prompt's own length.
    Tokens(NonZeroU32),
    /// That share of the prompt's own length; in the last level only.
    Share(f64),
}

impl PromptPlan {
    /// Tokens of shared beginnings that stand beside the prompt's own length.
    pub fn prefix_tokens(&self) -> u64 {
        let tokens = |level: &PrefixLevel| match level.size {
            PrefixSize::Tokens(tokens) => u64::from(tokens.get()),
            PrefixSize::Share(_) => 0,
        };
        self.prefixes.iter().map(tokens).sum()
    }

    /// Tokens of a synthetic prompt on average, shared beginnings included.
    pub fn mean_input_tokens(&self) -> f64 {
        self.input_length.mean() + self.prefix_tokens() as f64
    }

    /// The share of all input tokens that others have too: what a prefix cache could hit once it has seen
    /// every group.
    pub fn shared(&self) -> f64 {
        let of_length = |level: &PrefixLevel| match level.size {
            PrefixSize::Tokens(_) => None,
            PrefixSize::Share(share) => Some(share),
        };
        let share = self.prefixes.iter().find_map(of_length).unwrap_or(self.prefix_ratio);
        let shared = self.prefix_tokens() as f64 + share * self.input_length.mean();
        shared / self.mean_input_tokens()
    }
}

impl Builder<'_> {
    /// The levels of `prompts.prefixes`, outermost first.
    pub(super) fn prefixes(&mut self, synthetic: bool) -> Option<Vec<PrefixLevel>> {
        let levels = self.config.get("prompts.prefixes").and_then(Value::as_array);
        let Some(levels) = levels.cloned() else { return Some(Vec::new()) };
        for (other, refused) in [
            ("prompts.prefixRatio", self.config.has("prompts.prefixRatio")),
            ("load.prefixRatio", self.config.has("load.prefixRatio")),
            ("prompts.file", !synthetic),
        ] {
            if refused {
                let advice = match other {
                    "prompts.file" => "shared beginnings in levels are those of synthetic prompts",
                    _ => "a level with `share` says the same",
                };
                let first = "prompts.prefixes";
                self.refuse(PlanError::Excluded { first, second: other, advice });
                return None;
            }
        }
        let last = levels.len() - 1;
        let read: Vec<_> = levels
            .iter()
            .enumerate()
            .map(|(index, level)| self.prefix_level(index, last, level))
            .collect();
        let read: Vec<PrefixLevel> = read.into_iter().collect::<Option<_>>()?;
        let paths = read
            .iter()
            .try_fold(1u64, |paths, level| paths.checked_mul(level.groups.get().into()))
            .filter(|paths| *paths < MOST_PATHS);
        if paths.is_none() {
            self.refuse(PlanError::Prefix {
                level: last,
                problem: "with the levels above makes more than 10^14 groups: use fewer",
            });
        }
        paths.map(|_| read)
    }

    fn prefix_level(&mut self, index: usize, last: usize, level: &Value) -> Option<PrefixLevel> {
        let tokens = level["tokens"].as_u64().and_then(|tokens| u32::try_from(tokens).ok());
        let share = level["share"].as_f64();
        let size = match (tokens.and_then(NonZeroU32::new), share) {
            (Some(tokens), None) => Ok(PrefixSize::Tokens(tokens)),
            (None, Some(share)) if index == last => Ok(PrefixSize::Share(share)),
            (None, Some(_)) => Err("has a `share`, which only the last level can: give `tokens`"),
            (Some(_), Some(_)) => Err("has both `tokens` and `share`: give one of them"),
            (None, None) => Err("needs `tokens`, or in the last level `share`"),
        };
        let size = size.map_err(|problem| self.refuse(PlanError::Prefix { level: index, problem }));
        let groups = level["groups"].as_u64().and_then(|groups| u32::try_from(groups).ok());
        Some(PrefixLevel {
            name: level["name"]
                .as_str()
                .map_or_else(|| format!("level {}", index + 1), str::to_owned),
            groups: groups.and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
            size: size.ok()?,
            zipf: level["zipf"].as_f64().unwrap_or(0.0),
        })
    }
}
