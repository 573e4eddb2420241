//! What each request asks: a pure function of (plan, number), made ahead of its due time.

use std::path::PathBuf;

use metrics::Warning;

use crate::plan::Plan;

/// What one request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The request's number.
    pub number: u64,
    /// Its traffic class.
    pub class: u16,
    /// What is asked.
    pub content: Content,
    /// Input tokens asked, content only; `None` where they are not counted.
    pub input_tokens: Option<u32>,
    /// Output tokens ordered (`max_tokens`); `None`: not set.
    pub output_tokens: Option<u32>,
}

/// The shapes a prompt has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Plain text: one user message, or the prompt of a completion.
    Text(String),
    /// A JSON array of chat messages.
    Messages(String),
    /// A JSON object: an OpenAI request body, sent unaltered but for model and stream settings.
    Body(String),
}

/// A file that prompts are read from, to be compared between workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// Where it was read.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
}

/// The result of counting a prompt's tokens again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthCheck {
    /// Tokens that the prompt was made to have.
    pub asked: u32,
    /// Tokens that the tokenizer counts.
    pub counted: u32,
}

/// A prompt file or data set is unusable, or a tokenizer is.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
}

/// Makes the prompts of a run; shared by the threads that build requests.
#[derive(Debug)]
pub struct PromptSource {}

impl PromptSource {
    /// Reads what the plan's prompts need.
    ///
    /// # Errors
    /// Every problem found, in one line each.
    pub fn open(plan: &Plan) -> Result<(Self, Vec<Warning>), Vec<PromptError>> {
        let _ = plan;
        Err(Vec::new())
    }

    /// The prompt of request `number`.
    ///
    /// # Errors
    /// The data set has changed or cannot be read any more.
    pub fn prompt(&self, number: u64) -> Result<Prompt, PromptError> {
        Ok(Prompt {
            number,
            class: 0,
            content: Content::Text(String::new()),
            input_tokens: None,
            output_tokens: None,
        })
    }

    /// Counts the tokens of the prompt of request `number` again, for 1 request in 1,000: `None` for the others.
    ///
    /// # Errors
    /// As [`PromptSource::prompt`].
    pub fn check(&self, number: u64) -> Result<Option<LengthCheck>, PromptError> {
        let _ = number;
        Ok(None)
    }

    /// After how many requests the data set starts again; `None` for synthetic prompts.
    pub fn wraps_at(&self) -> Option<u64> {
        None
    }

    /// The files read.
    pub fn inputs(&self) -> Vec<InputFile> {
        Vec::new()
    }

    /// The name of the tokenizer that counts, if one is loaded.
    pub fn tokenizer_name(&self) -> Option<&str> {
        None
    }
}
