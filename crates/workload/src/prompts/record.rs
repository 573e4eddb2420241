//! What one record of a data set asks.

use super::Content;

/// One usable record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) content: Content,
    pub(super) answer: Answer,
}

/// What the data set says about the answer's length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Unknown,
    /// So many tokens.
    Tokens(u32),
    /// As many tokens as this text.
    Text(String),
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) reason: String,
    /// Does it look as if the rest was cut off?
    pub(super) is_cut: bool,
}

impl Unreadable {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_cut: false }
    }

    /// The parser's words, without the line and column that it counts inside the record.
    pub(super) fn from_json(error: &serde_json::Error) -> Self {
        let words = error.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        Self {
            reason: format!("not JSON: {words} (column {})", error.column()),
            is_cut: error.is_eof(),
        }
    }
}
