//! What can be wrong with a configuration.

use std::path::PathBuf;

/// One problem, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration `{}`: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The file is not YAML, or has a key twice.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// The parser's words.
        message: String,
    },
    /// A key that the table does not have.
    #[error("{origin}: unknown key `{key}`{}", meant(hint))]
    Unknown {
        /// Where it stands.
        origin: String,
        /// The key as written.
        key: String,
        /// The nearest known key.
        hint: Option<String>,
    },
    /// A value of another type or out of range.
    #[error("{origin}: `{key}` is {value}: give {allowed}{}", meant(hint))]
    Value {
        /// Where it stands.
        origin: String,
        /// The key.
        key: String,
        /// The value as written, shortened.
        value: String,
        /// What is allowed.
        allowed: String,
        /// The nearest allowed word.
        hint: Option<String>,
    },
    /// A member that every entry of a list must have.
    #[error("{origin}: `{key}` is missing: give {allowed}")]
    Missing {
        /// Where the list stands.
        origin: String,
        /// The member.
        key: String,
        /// What is allowed.
        allowed: String,
    },
    /// A value where a map of keys belongs.
    #[error("{origin}: `{key}` is {value}: give a map {example}")]
    NotASection {
        /// Where it stands.
        origin: String,
        /// The section.
        key: String,
        /// The value as written, shortened.
        value: String,
        /// A key of this section, or the whole of one, in words.
        example: String,
    },
    /// A text of `--set` without `=`.
    #[error("--set {text}: give key=value, such as `load.rate=80`")]
    Set {
        /// The text as written.
        text: String,
    },
    /// A secret where it would be written to disk.
    #[error(
        "{origin}: `{key}` does not belong in a configuration: put the key into OPENAI_API_KEY, or into a file named by `target.apiKeyFile`"
    )]
    Secret {
        /// Where it stands.
        origin: String,
        /// The key, never its value.
        key: String,
    },
    /// Two keys that exclude each other.
    #[error("`{first}` and `{second}` exclude each other: {advice}")]
    Conflict {
        /// A key.
        first: String,
        /// The other.
        second: String,
        /// Which to keep when.
        advice: String,
    },
}

fn meant(hint: &Option<String>) -> String {
    hint.as_ref().map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"))
}
