//! What a key of the configuration is: its path, the values it takes, and why.

use super::maps::Member;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands, such as `load.ramp.over`.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds where it is not set, in words of the reference.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// The values a key takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// `http://…` or `https://…`; checked where it is used.
    Url,
    /// A path.
    Path,
    /// A path, or one word that stands for something built in.
    PathOr(&'static str),
    /// `true` or `false`.
    Switch,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A list of some words.
    Choices(&'static [&'static str]),
    /// A list of texts.
    Texts,
    /// A list of IP addresses.
    Addresses,
    /// A whole number of something.
    Integer {
        /// Of what; empty for a number of nothing.
        unit: &'static str,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A number of something.
    Number {
        /// Of what; empty for a number of nothing.
        unit: &'static str,
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// Seconds as a number, or a text such as `500ms`, `5m`, `1h30m`.
    Duration {
        /// Shortest, in seconds.
        min_s: f64,
        /// Longest, in seconds.
        max_s: f64,
    },
    /// A whole number that may be negative.
    Signed,
    /// HTTP header names with their values.
    Headers,
    /// Any JSON object.
    Object,
    /// A list of `{name, query}`.
    Queries,
    /// A list of maps, each with some of these members.
    Maps(&'static [Member]),
    /// One entry of such a list.
    Entry(&'static [Member]),
    /// A map of the keys of a section, such as `prompts`.
    Section(&'static str),
    /// Metrics with statistics and their limits; what is in it is the plan's affair.
    Slos,
    /// Keys of this table, each with a list of values; what is in it is the sweep's affair.
    Grid,
    /// A list of maps of keys of this table; what is in it is the sweep's affair.
    Points,
}

impl Key {
    /// The environment variable that sets it (its name is matched without regard to case).
    pub fn env_name(&self) -> String {
        format!("TOKENSTORM__{}", self.path.replace('.', "__").to_uppercase())
    }

    /// The last word of its path.
    pub fn last_segment(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// Is its value secret?
    pub(crate) fn is_secret(&self) -> bool {
        self.last_segment() == "apiKey"
    }
}

impl Kind {
    /// What is allowed, in words that continue "give …".
    pub fn allowed(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Url => "a URL with http:// or https://".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::PathOr(word) => format!("a path, or `{word}`"),
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Choice(words) => format!("one of {}", quoted(words)),
            Self::Choices(words) => format!("a list of {}", quoted(words)),
            Self::Texts => "a list of texts".to_owned(),
            Self::Addresses => "a list of IP addresses".to_owned(),
            Self::Integer { unit, min, max: u64::MAX } => {
                format!("a whole number{}, at least {min}", of(unit))
            }
            Self::Integer { unit, min, max } => {
                format!("a whole number{} from {min} to {max}", of(unit))
            }
            Self::Number { unit, min, max } => format!("a number{} from {min} to {max}", of(unit)),
            Self::Duration { min_s, max_s } => {
                format!(
                    "a duration from {min_s} to {max_s} seconds (a number of seconds, or a text such as `500ms` or `5m`)"
                )
            }
            Self::Signed => "a whole number".to_owned(),
            Self::Headers => "header names with their values".to_owned(),
            Self::Object => "a map".to_owned(),
            Self::Queries => "a list of maps with `name` and `query`".to_owned(),
            Self::Maps(members) => format!("a list of maps with {}", names(members)),
            Self::Entry(members) => format!("a map with {}", names(members)),
            Self::Section(section) => format!("a map of keys as under `{section}`"),
            Self::Slos => "a map such as `{ttft: {p95: 500ms}, error_rate: 0.01}`".to_owned(),
            Self::Grid => "a map of keys with lists, such as `{load.rate: [1, 2, 4]}`".to_owned(),
            Self::Points => {
                "a list of maps of keys, such as `[{load.rate: 1}, {load.rate: 8}]`".to_owned()
            }
        }
    }

    /// The words among which a misspelt one is looked for.
    pub(crate) fn words(&self) -> &'static [&'static str] {
        match self {
            Self::Choice(words) | Self::Choices(words) => words,
            Self::Text
            | Self::Url
            | Self::Path
            | Self::PathOr(_)
            | Self::Switch
            | Self::Integer { .. }
            | Self::Number { .. }
            | Self::Duration { .. }
            | Self::Signed
            | Self::Texts
            | Self::Headers
            | Self::Object
            | Self::Addresses
            | Self::Queries
            | Self::Maps(_)
            | Self::Entry(_)
            | Self::Section(_)
            | Self::Slos
            | Self::Grid
            | Self::Points => &[],
        }
    }

    /// Does it hold entries of its own, which `--set key.entry=value` reaches?
    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Self::Headers | Self::Object | Self::Slos | Self::Grid)
    }

    /// May what is in it be a secret?
    pub(crate) fn may_hide_secrets(&self) -> bool {
        matches!(self, Self::Headers | Self::Object)
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn names(members: &[Member]) -> String {
    quoted(&members.iter().map(|member| member.name).collect::<Vec<_>>())
}

/// " of requests"; nothing where a number is just a number.
fn of(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" of {unit}") }
}
