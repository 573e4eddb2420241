//! Prompts made of words: exact in tokens, different in every run, alike only where asked.
//!
//! A prompt's words come from a stream keyed by (salt, number), so that no two prompts share more than
//! a word or two by accident; the common prefix comes from one stream of the salt alone, of which
//! longer prompts take more.

use std::sync::Arc;

use super::lengths::draw;
use super::prefixes::Prefixes;
use crate::plan::{LengthPlan, Plan, PromptPlan};
use crate::random::{Purpose, Random};
use crate::schedule::{BLOCK_TOKENS, Rows};
use crate::tokenizer::{Tokenizer, TokenizerError, Words};

/// Makes synthetic prompts.
#[derive(Debug)]
pub(super) struct Synthetic {
    tokenizer: Arc<Tokenizer>,
    seed: u64,
    salt: u64,
    length: LengthPlan,
    prefix_ratio: f64,
    /// Of a plan that goes by a file, whose rows have lengths.
    rows: Option<Arc<Rows>>,
    prefixes: Prefixes,
}

impl Synthetic {
    pub(super) fn new(
        plan: &Plan,
        prompts: &PromptPlan,
        tokenizer: Arc<Tokenizer>,
    ) -> Result<Self, TokenizerError> {
        // Finding the words now reports their lack before the run starts.
        _ = tokenizer.words()?;
        Ok(Self {
            tokenizer,
            seed: plan.seed,
            salt: plan.prompt_salt,
            length: prompts.input_length.clone(),
            prefix_ratio: prompts.prefix_ratio,
            rows: plan.rows().cloned(),
            prefixes: Prefixes::new(&prompts.prefixes, plan.seed, plan.prompt_salt),
        })
    }

    /// The text of request `number` and its length in tokens.
    pub(super) fn text(&self, number: u64) -> Result<(String, u32), TokenizerError> {
        let words = self.tokenizer.words()?;
        let told = self.rows.as_ref().and_then(|rows| rows.input_tokens(number));
        let tokens =
            told.unwrap_or_else(|| draw(&self.length, self.seed, Purpose::InputLengths, number));
        let blocks = self.rows.as_ref().map_or(&[][..], |rows| rows.blocks(number));
        let (mut text, common) = match blocks {
            [] => {
                let common = (self.prefix_ratio * f64::from(tokens)).round() as u32;
                (common_prefix(words, self.salt, common), common)
            }
            blocks => self.shared_blocks(words, blocks, tokens),
        };
        let begun = self.prefixes.append(words, &mut text, number, tokens);
        words.append(
            &mut text,
            &mut Random::new(self.salt, Purpose::Text, number),
            tokens.saturating_sub(common + begun.inside),
        );
        Ok((text, tokens + begun.beside))
    }
}

impl Synthetic {
    /// Blocks of a trace, as far as they fit in so many tokens: the text of a block is that of its number, and
    /// the last one is as long as what is left.
    fn shared_blocks(&self, words: &Words, blocks: &[u64], tokens: u32) -> (String, u32) {
        let mut text = String::with_capacity(tokens as usize * 8);
        let mut taken = 0;
        for block in blocks {
            let length = BLOCK_TOKENS.min(tokens - taken);
            let mut random = Random::new(self.salt, Purpose::SharedBlock, *block);
            words.append(&mut text, &mut random, length);
            taken += length;
        }
        (text, taken)
    }
}

/// The first `tokens` words of the run's common prefix.
pub(super) fn common_prefix(words: &Words, salt: u64, tokens: u32) -> String {
    let mut text = String::with_capacity(tokens as usize * 8);
    words.append(&mut text, &mut Random::new(salt, Purpose::CommonPrefix, 0), tokens);
    text
}
