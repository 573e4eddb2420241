//! Settings as they are gathered, and every problem with them.
//!
//! One way in for all sources: a key is found, its value read by its kind, and what is wrong is kept beside the place
//! where it stands. Nothing ends the reading, so that one pass tells all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::{ConfigError, bad_value, not_a_section, shorten};
use super::guess::{Guess, swept_keys};
use super::hint::nearest_key;
use super::key::Kind;
use super::keys::KEYS;
use super::maps::Reader;
use super::places::Places;
use super::secret::names_a_secret;
use super::sources::Origin;
use super::value::redacted_in;
use super::written::Repeated;

/// A value in its kind's normal form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// What has been read so far. Settings are by index into [`KEYS`].
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) settings: BTreeMap<usize, Setting>,
    /// Sections that stand in the file, be they empty.
    pub(crate) sections: BTreeSet<String>,
    pub(crate) findings: Findings,
    /// A file could not be read at all: what is not set may stand there.
    pub(crate) is_blind: bool,
    /// What stands in for values that cannot be read.
    pub(super) guess: Guess,
    /// Keys of a file that are there again.
    pub(super) repeated: Vec<Repeated>,
}

/// What is found while settings are read.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) places: Places,
    /// Each with the place that was read then.
    pub(crate) problems: Vec<(usize, ConfigError)>,
}

impl Findings {
    pub(super) fn refuse(&mut self, problem: ConfigError) {
        self.problems.push((self.places.here(), problem));
    }

    /// The problems alone, in the order of their places.
    pub(crate) fn into_problems(mut self) -> Vec<ConfigError> {
        self.problems.sort_by_key(|(at, _)| *at);
        self.problems.into_iter().map(|(_, problem)| problem).collect()
    }
}

impl Gathered {
    /// A key with a value that has a type; texts are also read as if they were written.
    pub(crate) fn typed(&mut self, path: &str, value: &Value, origin: &Origin) {
        let Some(index) = key_index(path) else { return self.unknown(path, value, origin) };
        self.findings.places.walk(path);
        let kind = KEYS[index].kind;
        let read = kind.read(value).or_else(|| kind.read_written(value.as_str()?));
        self.insert(index, read, value, origin);
    }

    pub(super) fn section(&mut self, prefix: &str, map: &Map<String, Value>, origin: &Origin) {
        for (name, value) in map {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let index = key_index(&path);
            if index.is_some() || is_section(&path) {
                self.findings.places.walk(&path);
            }
            match (index, value) {
                (Some(_), Value::Null) => {}
                (Some(index), _) => self.insert(index, KEYS[index].kind.read(value), value, origin),
                (None, _) if !is_section(&path) => self.unknown(&path, value, origin),
                (None, Value::Null) => _ = self.sections.insert(path),
                (None, Value::Object(inner)) => {
                    _ = self.sections.insert(path.clone());
                    self.section(&path, inner, origin);
                }
                (None, other) => self.no_section(&path, other, origin),
            }
        }
    }

    /// A value where a section belongs.
    pub(super) fn no_section(&mut self, path: &str, value: &Value, origin: &Origin) {
        self.findings.refuse(not_a_section(origin, path, value));
        self.stand_in_for_section(path);
    }

    /// A key, a section's map or one entry of a map, by its dotted path; nothing takes it out.
    pub(crate) fn dotted(&mut self, path: &str, value: &Value, origin: &Origin) {
        let of_section = format!("{path}.");
        match (key_index(path), value) {
            (Some(index), Value::Null) => _ = self.settings.remove(&index),
            (Some(_), _) => self.typed(path, value, origin),
            (None, Value::Null) if is_section(path) => {
                self.settings.retain(|index, _| !KEYS[*index].path.starts_with(&of_section));
            }
            (None, Value::Object(map)) if is_section(path) => self.section(path, map, origin),
            (None, other) if is_section(path) => self.no_section(path, other, origin),
            (None, _) => match entry_of_map(path) {
                Some((index, entry)) => self.entry(index, entry, value.clone(), origin),
                None => self.unknown(path, value, origin),
            },
        }
    }

    /// One entry of a map, beside those that it has.
    pub(super) fn entry(&mut self, index: usize, entry: &str, value: Value, origin: &Origin) {
        let kind = KEYS[index].kind;
        let mut map = self
            .settings
            .get(&index)
            .and_then(|setting| setting.value.as_object())
            .cloned()
            .unwrap_or_default();
        match (kind, entry.split_once('.')) {
            (Kind::Headers, _) => _ = map.insert(entry.to_ascii_lowercase(), value),
            // `ttft.p99.9` is `p99.9` of `ttft`.
            (Kind::Slos, Some((metric, statistic))) => {
                let inner = map.entry(metric).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inner) = inner {
                    _ = inner.insert(statistic.to_owned(), value);
                }
            }
            _ => _ = map.insert(entry.to_owned(), value),
        }
        let whole = Value::Object(map);
        self.insert(index, kind.read(&whole), &whole, origin);
    }

    /// After all sources: the word for a secret stands nowhere any more.
    pub(super) fn refuse_redacted(&mut self) {
        for (index, setting) in &self.settings {
            for key in redacted_in(KEYS[*index].path, &setting.value) {
                let at = self.findings.places.of(KEYS[*index].path).unwrap_or(usize::MAX);
                let origin = setting.origin.to_string();
                self.findings.problems.push((at, ConfigError::Redacted { origin, key }));
            }
        }
    }

    pub(crate) fn has_simulator(&self) -> bool {
        self.sections.contains("simulator")
            || self.settings.keys().any(|index| KEYS[*index].path.starts_with("simulator."))
    }

    pub(super) fn insert(
        &mut self,
        index: usize,
        read: Option<Value>,
        written: &Value,
        origin: &Origin,
    ) {
        let key = &KEYS[index];
        let Some(value) = read else {
            self.findings.refuse(bad_value(key, written, origin));
            return self.stand_in(index, written);
        };
        let value = match key.kind {
            Kind::Maps(_) => {
                let findings = &mut self.findings;
                let mut reader = Reader { origin, findings, guess: self.guess };
                let Some(list) = reader.value(key.path, key.kind, &value) else { return };
                list
            }
            kind => absolute(kind, value, origin),
        };
        let is_path = matches!(key.kind, Kind::Path | Kind::PathOr(_));
        if let Some(file) = value.as_str().filter(|file| is_path && Path::new(file).is_absolute()) {
            self.findings.places.name_file(file);
        }
        _ = self.settings.insert(index, Setting { value, origin: origin.clone() });
    }

    pub(super) fn unknown(&mut self, path: &str, written: &Value, origin: &Origin) {
        let (shown, key) = (origin.to_string(), shorten(path));
        self.findings.places.walk(path);
        if names_a_secret(path) {
            return self.findings.refuse(ConfigError::Secret { origin: shown, key });
        }
        let hint = nearest_key(path);
        self.findings.refuse(ConfigError::Unknown { origin: shown, hint: hint.clone(), key });
        if let Some(meant) = hint {
            self.take_for(&meant, written, origin);
        }
    }

    /// Where anything stands in for what cannot be read: an unknown key is what it may have been meant to be.
    fn take_for(&mut self, meant: &str, written: &Value, origin: &Origin) {
        if self.guess == Guess::Nothing {
            return;
        }
        let told = self.findings.problems.len();
        match (key_index(meant), written) {
            (Some(index), _) if !self.settings.contains_key(&index) => {
                let kind = KEYS[index].kind;
                let read = kind.read(written).or_else(|| kind.read_written(written.as_str()?));
                self.insert(index, read, written, origin);
            }
            (Some(_), _) => {}
            (None, Value::Object(map)) => {
                _ = self.sections.insert(meant.to_owned());
                self.section(meant, map, origin);
            }
            (None, _) => self.stand_in_for_section(meant),
        }
        self.findings.problems.truncate(told);
    }

    /// What may stand in for an unreadable value; beside an unreadable sweep, also for what it would set.
    fn stand_in(&mut self, index: usize, written: &Value) {
        let swept = swept_keys(KEYS[index].kind, written);
        for index in swept.into_iter().filter_map(key_index).chain([index]) {
            if let (false, Some(value)) =
                (self.settings.contains_key(&index), self.guess.of(KEYS[index].kind))
            {
                _ = self.settings.insert(index, Setting { value, origin: Origin::Run });
            }
        }
    }

    fn stand_in_for_section(&mut self, path: &str) {
        if self.guess == Guess::Nothing {
            return;
        }
        _ = self.sections.insert(path.to_owned());
        let of_section = format!("{path}.");
        for index in (0..KEYS.len()).filter(|index| KEYS[*index].path.starts_with(&of_section)) {
            self.stand_in(index, &Value::Null);
        }
    }
}

/// The index of a key in the table.
pub(crate) fn key_index(path: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.path == path)
}

pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// `target.headers.x-team` is entry `x-team` of the map `target.headers`.
pub(super) fn entry_of_map(path: &str) -> Option<(usize, &str)> {
    let (index, key) =
        KEYS.iter().enumerate().find(|(_, key)| key.kind.is_map() && path.starts_with(key.path))?;
    let entry = path[key.path.len()..].strip_prefix('.').filter(|entry| !entry.is_empty())?;
    Some((index, entry))
}

/// Relative paths count from the file that names them, else from the working directory.
pub(super) fn absolute(kind: Kind, value: Value, origin: &Origin) -> Value {
    let path = match kind {
        Kind::Path => value.as_str(),
        Kind::PathOr(word) => value.as_str().filter(|text| *text != word),
        _ => None,
    };
    let Some(text) = path else { return value };
    let from_folder = match origin {
        Origin::File(file) => {
            file.parent().map_or_else(|| PathBuf::from(text), |folder| folder.join(text))
        }
        Origin::Env(_) | Origin::Set | Origin::Flag | Origin::Run => PathBuf::from(text),
    };
    let path = std::path::absolute(&from_folder).unwrap_or(from_folder);
    Value::from(path.to_string_lossy())
}
