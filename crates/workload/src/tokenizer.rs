//! Counts tokens as the model does, by its `tokenizer.json`.
//!
//! Prompts are made exact in tokens without tokenizing while the run measures: out of the vocabulary
//! comes a table of plain words of which any concatenation encodes to one token a word
//! ([`Words`]). Nothing is parsed until it is needed: the bundled vocabulary takes some tenths of
//! a second.

mod words;

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub use words::Words;

/// The bundled `tokenizer.json` (see `assets/README.md`).
const BUNDLED: &[u8] = include_bytes!("../assets/qwen3-tokenizer.json.gz");

/// What the report calls the bundled tokenizer.
const BUNDLED_NAME: &str = "bundled (Qwen3)";

/// Why a tokenizer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The file cannot be read.
    #[error("cannot read tokenizer `{name}`: {reason}")]
    Unreadable {
        /// Its path.
        name: String,
        /// The system's words.
        reason: String,
    },
    /// Not a tokenizer.
    #[error("`{name}` is not a tokenizer.json: {reason}")]
    Invalid {
        /// Path, or the bundled one's name.
        name: String,
        /// The parser's words.
        reason: String,
    },
    /// A text that it cannot encode.
    #[error("tokenizer `{name}` cannot encode a prompt: {reason}")]
    Encode {
        /// Path, or the bundled one's name.
        name: String,
        /// The library's words.
        reason: String,
    },
    /// Lines of verse do not add up.
    #[error(
        "tokenizer `{name}` counts {counted} tokens where lines of the sonnets have {made} one by one, so prompts of them would not be exact: use `prompts.text: words`"
    )]
    Lines {
        /// Path, or the bundled one's name.
        name: String,
        /// Tokens of the lines one by one.
        made: u32,
        /// Tokens of the whole text.
        counted: u32,
    },
    /// No table of words can be made.
    #[error(
        "tokenizer `{name}` has {found} plain words that stay one token in any text, synthetic prompts need {needed}: use prompts from a file"
    )]
    FewWords {
        /// Path, or the bundled one's name.
        name: String,
        /// How many there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
}

/// A loaded tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    name: String,
    inner: tokenizers::Tokenizer,
    words: OnceLock<Result<Words, TokenizerError>>,
}

impl Tokenizer {
    /// The one inside the program: Qwen3's, under Apache-2.0. It is parsed once for all.
    ///
    /// # Errors
    /// The asset is damaged.
    pub fn bundled() -> Result<Arc<Self>, TokenizerError> {
        static PARSED: OnceLock<Result<Arc<Tokenizer>, TokenizerError>> = OnceLock::new();
        PARSED.get_or_init(|| Self::parse(BUNDLED_NAME, &unpacked(BUNDLED)?).map(Arc::new)).clone()
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read or is no tokenizer.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let name = path.display().to_string();
        match std::fs::read(path) {
            Ok(json) => Self::parse(&name, &json),
            Err(error) => Err(TokenizerError::Unreadable { name, reason: error.to_string() }),
        }
    }

    /// Reads the bytes of a `tokenizer.json`. Truncation and padding that it may ask for are dropped:
    /// they would make every count a lie.
    ///
    /// # Errors
    /// It is no tokenizer.
    pub fn parse(name: &str, json: &[u8]) -> Result<Self, TokenizerError> {
        let invalid = |reason: String| TokenizerError::Invalid {
            name: name.to_owned(),
            reason: one_line(&reason),
        };
        let mut inner =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| invalid(error.to_string()))?;
        _ = inner
            .with_truncation(None)
            .map_err(|error| invalid(error.to_string()))?
            .with_padding(None);
        Ok(Self { name: name.to_owned(), inner, words: OnceLock::new() })
    }

    /// Tokens of `text`, without special ones around it.
    ///
    /// # Errors
    /// The tokenizer has no token for something in it.
    pub fn count(&self, text: &str) -> Result<u32, TokenizerError> {
        match self.inner.encode_fast(text, false) {
            Ok(encoding) => Ok(u32::try_from(encoding.len()).unwrap_or(u32::MAX)),
            Err(error) => Err(TokenizerError::Encode {
                name: self.name.clone(),
                reason: one_line(&error.to_string()),
            }),
        }
    }

    /// The tokens of `text` by their numbers, without special ones around it.
    ///
    /// # Errors
    /// As [`Tokenizer::count`].
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.inner.encode_fast(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(error) => Err(TokenizerError::Encode {
                name: self.name.clone(),
                reason: one_line(&error.to_string()),
            }),
        }
    }

    /// What the report calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The table of words, made and checked when it is asked for first.
    ///
    /// # Errors
    /// The vocabulary has too few of them.
    pub fn words(&self) -> Result<&Words, TokenizerError> {
        self.words.get_or_init(|| Words::find(self)).as_ref().map_err(Clone::clone)
    }

    /// The vocabulary's tokens that are `wanted`, by id, as they stand in the file.
    fn tokens_by_id(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let vocabulary = self.inner.get_vocab(false).into_iter();
        let mut tokens: Vec<(u32, String)> =
            vocabulary.filter(|(token, _)| wanted(token)).map(|(token, id)| (id, token)).collect();
        // An id has one token: to compare ids alone is faster than pairs.
        tokens.sort_unstable_by_key(|(id, _)| *id);
        tokens.into_iter().map(|(_, token)| token).collect()
    }
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>, TokenizerError> {
    let mut json = Vec::new();
    match flate2::read::GzDecoder::new(packed).read_to_end(&mut json) {
        Ok(_) => Ok(json),
        Err(error) => Err(TokenizerError::Invalid {
            name: BUNDLED_NAME.to_owned(),
            reason: error.to_string(),
        }),
    }
}

fn one_line(reason: &str) -> String {
    reason.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
pub(crate) mod toy;

#[cfg(test)]
mod tests {
    use super::toy::toy;
    use super::*;

    #[test]
    fn what_is_no_tokenizer_is_one_clear_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, "{\"not\": \"a tokenizer\"}").unwrap();
        let line = Tokenizer::load(&path).unwrap_err().to_string();
        assert!(line.contains("is not a tokenizer.json") && !line.contains('\n'), "{line}");
        let missing = Tokenizer::load(Path::new("/nonexistent/t.json")).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read tokenizer `/nonexistent/t.json`"), "{missing}");
    }

    #[test]
    fn truncation_in_the_file_does_not_shorten_a_count() {
        let words = ["alpha"; 600].join(" ");
        assert_eq!(toy().count(&words).unwrap(), 600);
    }

    #[test]
    fn the_bundled_tokenizer_counts_and_has_words() {
        let tokenizer = Tokenizer::bundled().unwrap();
        // "Hello", ",", " world", "!": four tokens of Qwen's vocabulary.
        assert_eq!(tokenizer.count("Hello, world!").unwrap(), 4);
        assert_eq!(tokenizer.words().unwrap().len(), words::MOST);
        assert!(Arc::ptr_eq(&tokenizer, &Tokenizer::bundled().unwrap()));
    }
}
