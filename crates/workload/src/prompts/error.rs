//! What can be wrong with prompts.

use std::path::PathBuf;

use crate::tokenizer::TokenizerError;

/// A prompt file or data set is unusable, or a tokenizer is. One line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// The file cannot be read.
    #[error("cannot read prompts `{}`: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A record that is not what the file's kind says.
    #[error("prompts `{}`, {place}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Line, or record and byte offset.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// More of the same.
    #[error("prompts `{}`: and {count} more records like these", path.display())]
    More {
        /// The file.
        path: PathBuf,
        /// How many more.
        count: u64,
    },
    /// Nothing to send.
    #[error("prompts `{}`: {reason}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A record that was there when the run started is not there any more.
    #[error("prompts `{}` changed while the run used it: {reason}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// How it shows.
        reason: String,
    },
    /// No tokens can be counted or made.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}
