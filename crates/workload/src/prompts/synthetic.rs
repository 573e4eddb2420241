//! Prompts that are made: exact in tokens, different in every run, alike only where asked.
//!
//! A prompt's text comes from a stream keyed by (salt, number), so that no two prompts share more than
//! a word or two (or a line of verse) by accident; the common prefix comes from one stream of the salt alone, of which
//! longer prompts take more.

use std::sync::Arc;

use super::lengths::draw;
use super::material::{Append, Material};
use super::prefixes::Prefixes;
use crate::plan::{LengthPlan, Plan, PromptPlan};
use crate::random::{Purpose, Random};
use crate::schedule::{BLOCK_TOKENS, Rows};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Makes synthetic prompts.
#[derive(Debug)]
pub(super) struct Synthetic {
    material: Material,
    seed: u64,
    salt: u64,
    length: LengthPlan,
    prefix_ratio: f64,
    /// Of a plan that goes by a file, whose rows have lengths.
    rows: Option<Arc<Rows>>,
    prefixes: Prefixes,
    scale: Scale,
}

/// A prompt's text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) text: String,
    /// Tokens that were asked for, as the server counts.
    pub(super) asked: u32,
    /// Tokens that it was made of, as our tokenizer counts.
    pub(super) made: u32,
}

/// How many tokens of ours make one of the server's, where it counts otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale(f64);

impl Scale {
    /// Of a server that counts so many tokens for one of ours.
    pub(super) fn by(servers_per_ours: f64) -> Self {
        Self(1.0 / servers_per_ours)
    }

    /// Ours for so many of the server's; at least one for any.
    pub(super) fn ours(self, servers: u32) -> u32 {
        if self.0 == 1.0 {
            return servers;
        }
        ((f64::from(servers) * self.0).round() as u32).max(servers.min(1))
    }
}

impl Synthetic {
    pub(super) fn new(
        plan: &Plan,
        prompts: &PromptPlan,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Self, TokenizerError> {
        let scale = Scale::by(prompts.token_scale);
        Ok(Self {
            material: Material::new(prompts.text, tokenizer)?,
            seed: plan.seed,
            salt: plan.prompt_salt,
            length: prompts.input_length.clone(),
            prefix_ratio: prompts.prefix_ratio,
            rows: plan.rows().cloned(),
            prefixes: Prefixes::new(&prompts.prefixes, plan.seed, plan.prompt_salt, scale),
            scale,
        })
    }

    /// The text of request `number`.
    pub(super) fn text(&self, number: u64) -> Result<Made, TokenizerError> {
        let material = self.material.get()?;
        let told = self.rows.as_ref().and_then(|rows| rows.input_tokens(number));
        let tokens =
            told.unwrap_or_else(|| draw(&self.length, self.seed, Purpose::InputLengths, number));
        let blocks = self.rows.as_ref().map_or(&[][..], |rows| rows.blocks(number));
        let (mut text, common, mut made) = match blocks {
            [] => {
                let common = (self.prefix_ratio * f64::from(tokens)).round() as u32;
                let ours = self.scale.ours(common);
                (common_prefix(material, self.salt, ours), common, ours)
            }
            blocks => self.shared_blocks(material, blocks, tokens),
        };
        let begun = self.prefixes.append(material, &mut text, number, tokens);
        let own = self.scale.ours(tokens.saturating_sub(common + begun.inside));
        material.append(&mut text, &mut Random::new(self.salt, Purpose::Text, number), own);
        made += begun.made + own;
        Ok(Made { text, asked: tokens + begun.beside, made })
    }

    /// What a later turn of a session adds, by its own stream: the beginning that others share is in the first one.
    pub(super) fn addition(&self, stream: u64) -> Result<Made, TokenizerError> {
        let asked = draw(&self.length, self.seed, Purpose::InputLengths, stream);
        let mut text = String::with_capacity(asked as usize * 8);
        let made = self.scale.ours(asked);
        let material = self.material.get()?;
        material.append(&mut text, &mut Random::new(self.salt, Purpose::Text, stream), made);
        Ok(Made { text, asked, made })
    }

    /// Blocks of a trace, as far as they fit in so many tokens: the text of a block is that of its number, and
    /// the last one is as long as what is left. With it the tokens that it takes, the server's and ours.
    fn shared_blocks(
        &self,
        material: &dyn Append,
        blocks: &[u64],
        tokens: u32,
    ) -> (String, u32, u32) {
        let mut text = String::with_capacity(tokens as usize * 8);
        let (mut taken, mut made) = (0, 0);
        for block in blocks {
            let length = BLOCK_TOKENS.min(tokens - taken);
            let mut random = Random::new(self.salt, Purpose::SharedBlock, *block);
            let ours = self.scale.ours(length);
            material.append(&mut text, &mut random, ours);
            taken += length;
            made += ours;
        }
        (text, taken, made)
    }
}

/// The first `tokens` tokens of the run's common prefix.
pub(super) fn common_prefix(material: &dyn Append, salt: u64, tokens: u32) -> String {
    let mut text = String::with_capacity(tokens as usize * 8);
    material.append(&mut text, &mut Random::new(salt, Purpose::CommonPrefix, 0), tokens);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_of_ours_make_those_of_a_server_that_counts_more() {
        let scale = Scale::by(1.5);
        assert_eq!([0, 1, 2, 300].map(|servers| scale.ours(servers)), [0, 1, 1, 200]);
        assert_eq!([0, 1, 550].map(|servers| Scale::by(1.0).ours(servers)), [0, 1, 550]);
        assert_eq!(Scale::by(0.5).ours(10), 20);
    }
}
