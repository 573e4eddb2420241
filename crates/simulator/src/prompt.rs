//! How many tokens a prompt has: ⌈bytes/4⌉, or exactly with a tokenizer.
//!
//! Four bytes a token is what English text comes to with today's vocabularies. It needs no file and
//! can be checked with `wc -c`, so it is the default, and `/health` says so. Counting with a
//! tokenizer runs on the server's only thread and costs about 1 µs a token: not for speed tests.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::openai::Prompt;

const BYTES_PER_TOKEN: usize = 4;

/// Counts the tokens of rendered prompts.
#[derive(Debug)]
pub(crate) enum TokenCounter {
    QuarterOfBytes,
    Exact { tokenizer: Box<Tokenizer>, file: String },
}

impl TokenCounter {
    /// Reads a `tokenizer.json`, or takes the rule of thumb if there is none.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, tokenizers::Error> {
        let Some(path) = file else { return Ok(Self::QuarterOfBytes) };
        let tokenizer = Box::new(Tokenizer::from_file(path)?);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self::Exact { tokenizer, file })
    }

    /// A prompt that the tokenizer refuses is counted by its bytes: it must still be answered.
    pub(crate) fn count(&self, prompt: &Prompt) -> u64 {
        let by_bytes = prompt.bytes().len().div_ceil(BYTES_PER_TOKEN) as u64;
        match (self, prompt) {
            (Self::Exact { tokenizer, .. }, Prompt::Text(text)) => tokenizer
                .encode_fast(text.as_str(), false)
                .map_or(by_bytes, |tokens| tokens.len() as u64),
            (Self::QuarterOfBytes, _) | (Self::Exact { .. }, Prompt::TokenIds(_)) => by_bytes,
        }
    }

    /// For people who wonder where `prompt_tokens` comes from.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::QuarterOfBytes => "ceil(bytes / 4) of the rendered prompt".to_owned(),
            Self::Exact { file, .. } => format!("exact, by {file}, of the rendered prompt"),
        }
    }
}

/// How many of `prompt_tokens` the cached bytes amount to: in proportion, and never all of them,
/// since an engine must compute at least the last token to go on from it.
pub(crate) fn cached_tokens(prompt_tokens: u64, prompt_bytes: usize, cached_bytes: usize) -> u64 {
    if prompt_bytes == 0 {
        return 0;
    }
    let share = u128::from(prompt_tokens) * cached_bytes as u128 / prompt_bytes as u128;
    u64::try_from(share).unwrap_or(u64::MAX).min(prompt_tokens.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_four_bytes_begun() {
        let count = |text: &str| TokenCounter::QuarterOfBytes.count(&Prompt::Text(text.to_owned()));
        assert_eq!((count("abcd"), count("abcde"), count("a")), (1, 2, 1));
        assert_eq!(TokenCounter::QuarterOfBytes.count(&Prompt::TokenIds(vec![0; 12])), 3);
    }

    #[test]
    fn a_tokenizer_file_counts_exactly() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let toy = r#"{"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "added_tokens": [],
            "model": {"type": "WordLevel", "vocab": {"one": 0, "two": 1, "[UNK]": 2}, "unk_token": "[UNK]"}}"#;
        std::io::Write::write_all(&mut file, toy.as_bytes()).unwrap();
        let counter = TokenCounter::load(Some(file.path())).unwrap();
        assert_eq!(counter.count(&Prompt::Text("one two twenty".to_owned())), 3);
        assert!(counter.describe().starts_with("exact"));
        assert!(TokenCounter::load(Some(Path::new("/nowhere/tokenizer.json"))).is_err());
    }

    #[test]
    fn cached_tokens_are_the_cached_share_but_never_all() {
        assert_eq!(cached_tokens(100, 400, 64), 16);
        assert_eq!(cached_tokens(100, 400, 400), 99);
        assert_eq!(cached_tokens(10, 128, 64), 5);
        assert_eq!(cached_tokens(0, 0, 0), 0);
    }
}
