//! What can be wrong with a configuration.

use std::path::PathBuf;

use serde_json::Value;

use super::hint::nearest_word;
use super::key::{Key, Kind};
use super::keys::KEYS;
use super::sources::Origin;

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
    /// A secret that was not written down.
    #[error(
        "{origin}: `{key}` is `{}`, which stands for a secret: give its value again, by `--set` or in the file",
        super::REDACTED
    )]
    Redacted {
        /// Where it stands.
        origin: String,
        /// The way to it.
        key: String,
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

pub(super) fn not_a_section(origin: &Origin, path: &str, value: &Value) -> ConfigError {
    const EXAMPLES: [(&str, &str); 8] = [
        ("load.ramp", "{from: 1, to: 20, over: 30s}` beside `type: ramp"),
        ("load.sine", "{amplitude: 10, period: 1h}` beside `type: sine"),
        ("load.onOff", "{on: 10s, off: 30s}` beside `type: onOff"),
        ("load.rounds", "{size: 5, minSeconds: 60}"),
        ("load.thinkTime", "{mean: 5s}"),
        ("load.burst", "{size: 20, width: 1s}` beside `type: burst"),
        ("prompts.inputLength", "{mean: 550, stddev: 150}"),
        ("prompts.outputLength", "{mean: 150, stddev: 10}"),
    ];
    let of_section =
        |key: &&Key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    let key =
        || format!("with keys such as `{}`", KEYS.iter().find(of_section).unwrap_or(&KEYS[0]).path);
    let written_out = EXAMPLES.iter().find(|(section, _)| *section == path);
    let example = written_out.map_or_else(key, |(_, example)| format!("such as `{example}`"));
    ConfigError::NotASection {
        origin: origin.to_string(),
        key: path.to_owned(),
        value: shorten(&value.to_string()),
        example,
    }
}

pub(super) fn bad_value(key: &Key, written: &Value, origin: &Origin) -> ConfigError {
    let shown = may_be_shown(key.kind, written) && !key.is_secret();
    bad(key.path, key.kind, written, origin, shown)
}

/// The same for a member of a list's entry.
pub(super) fn bad_value_at(
    path: &str,
    kind: Kind,
    written: &Value,
    origin: &Origin,
) -> ConfigError {
    bad(path, kind, written, origin, may_be_shown(kind, written))
}

fn bad(path: &str, kind: Kind, written: &Value, origin: &Origin, shown: bool) -> ConfigError {
    let value = if shown {
        shorten(&written.to_string())
    } else {
        "not usable (not shown here)".to_owned()
    };
    let hint = written.as_str().and_then(|word| nearest_word(word, kind.words()));
    ConfigError::Value {
        origin: origin.to_string(),
        key: path.to_owned(),
        value,
        allowed: kind.allowed(),
        hint,
    }
}

/// Headers, bodies, keys and the user part of a URL may be secret.
fn may_be_shown(kind: Kind, written: &Value) -> bool {
    let secret_url = kind == Kind::Url && written.as_str().is_some_and(|url| url.contains('@'));
    !kind.may_hide_secrets() && !secret_url
}

pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}
