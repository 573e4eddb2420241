//! What synthetic text is made of: plain words, or lines of verse. Either way so many tokens are appended, exactly.

use std::sync::Arc;

use super::sonnets::Sonnets;
use crate::plan::TextMaterial;
use crate::random::Random;
use crate::tokenizer::{Tokenizer, TokenizerError, Words};

/// See the module's documentation.
#[derive(Debug)]
pub(super) enum Material {
    /// Words of the tokenizer's table.
    Words(Arc<Tokenizer>),
    /// Lines of the sonnets.
    Sonnets(Box<Sonnets>),
}

/// Something of which any number of tokens can be appended to a text.
pub(super) trait Append {
    /// Appends `count` tokens to `text`.
    fn append(&self, text: &mut String, random: &mut Random, count: u32);
}

impl Append for Words {
    fn append(&self, text: &mut String, random: &mut Random, count: u32) {
        Words::append(self, text, random, count);
    }
}

impl Append for Sonnets {
    fn append(&self, text: &mut String, random: &mut Random, count: u32) {
        Sonnets::append(self, text, random, count);
    }
}

impl Material {
    /// Made and tried now, so that what the tokenizer lacks is reported before the run starts.
    pub(super) fn new(
        material: TextMaterial,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Self, TokenizerError> {
        _ = tokenizer.words()?;
        Ok(match material {
            TextMaterial::Words => Self::Words(Arc::clone(tokenizer)),
            TextMaterial::Sonnets => Self::Sonnets(Box::new(Sonnets::new(tokenizer)?)),
        })
    }

    /// What is appended from.
    pub(super) fn get(&self) -> Result<&dyn Append, TokenizerError> {
        match self {
            Self::Words(tokenizer) => Ok(tokenizer.words()?),
            Self::Sonnets(sonnets) => Ok(&**sonnets),
        }
    }
}
