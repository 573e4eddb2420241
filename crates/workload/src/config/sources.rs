//! Gathers settings from all sources, the strongest last, and every problem with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::hint::{nearest_key, nearest_word};
use super::key::{Key, Kind};
use super::keys::KEYS;
use super::maps::Reader;

/// Where settings come from, weakest last: flags, `--set`, environment, file.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The YAML file.
    pub file: Option<PathBuf>,
    /// The environment, or as much of it as may be read.
    pub env: Vec<(String, String)>,
    /// Texts such as `load.rate=80`.
    pub sets: Vec<String>,
    /// Keys (by path) with the values that flags of the command line give them.
    pub flags: Vec<(String, Value)>,
    /// A file of overrides, of which each set is a run: in place of the sweep that the others name.
    pub sweep: Option<PathBuf>,
}

/// Who gave a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    Env(String),
    Set,
    Flag,
    /// Decided by the run itself.
    Run,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
            Self::Flag => f.write_str("command line"),
            Self::Run => f.write_str("this run"),
        }
    }
}

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
    pub(crate) problems: Vec<ConfigError>,
}

impl Gathered {
    pub(crate) fn from_sources(sources: &Sources) -> Self {
        let mut gathered = Self::default();
        if let Some(path) = &sources.file {
            gathered.file(path);
        }
        for (name, text) in &sources.env {
            gathered.variable(name, text);
        }
        for text in &sources.sets {
            gathered.set_text(text);
        }
        for (path, value) in &sources.flags {
            gathered.typed(path, value, &Origin::Flag);
        }
        if let Some(path) = &sources.sweep {
            gathered.sweep_file(path);
        }
        gathered.default_endpoint(&sources.env);
        gathered
    }

    /// A list of points, points by name, a grid, or what stands under `sweep` in a configuration.
    fn sweep_file(&mut self, path: &Path) {
        let origin = Origin::File(path.to_owned());
        for replaced in ["sweep.grid", "sweep.points"] {
            self.dotted(replaced, &Value::Null, &origin);
        }
        let read = match parse_file(path) {
            Ok(read) => read,
            Err(problem) => return self.problems.push(problem),
        };
        let all = |is: fn(&Value) -> bool| {
            read.as_object().is_some_and(|map| !map.is_empty() && map.values().all(is))
        };
        let is_section = |map: &Map<String, Value>| {
            map.keys().all(|name| key_index(&format!("sweep.{name}")).is_some())
        };
        match &read {
            Value::Object(map) if is_section(map) => self.section("sweep", map, &origin),
            Value::Object(map) if map.len() == 1 && map.contains_key("sweep") => {
                self.section("", map, &origin);
            }
            Value::Object(map) if all(Value::is_object) => {
                let points = map.values().cloned().collect::<Vec<_>>();
                self.dotted("sweep.points", &Value::Array(points), &origin);
            }
            Value::Object(_) => self.dotted("sweep.grid", &read, &origin),
            _ => self.dotted("sweep.points", &read, &origin),
        }
    }

    /// A key with a value that has a type; texts are also read as if they were written.
    pub(crate) fn typed(&mut self, path: &str, value: &Value, origin: &Origin) {
        let Some(index) = key_index(path) else { return self.unknown(path, origin) };
        let kind = KEYS[index].kind;
        let read = kind.read(value).or_else(|| kind.read_written(value.as_str()?));
        self.insert(index, read, value, origin);
    }

    fn file(&mut self, path: &Path) {
        match parse_file(path) {
            Ok(Value::Null) => {}
            Ok(Value::Object(map)) => self.section("", &map, &Origin::File(path.to_owned())),
            Ok(other) => self.problems.push(not_a_section(
                &Origin::File(path.to_owned()),
                "(the whole file)",
                &other,
            )),
            Err(problem) => self.problems.push(problem),
        }
    }

    fn section(&mut self, prefix: &str, map: &Map<String, Value>, origin: &Origin) {
        for (name, value) in map {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match (key_index(&path), value) {
                (Some(_), Value::Null) => {}
                (Some(index), _) => self.insert(index, KEYS[index].kind.read(value), value, origin),
                (None, _) if !is_section(&path) => self.unknown(&path, origin),
                (None, Value::Null) => _ = self.sections.insert(path),
                (None, Value::Object(inner)) => {
                    _ = self.sections.insert(path.clone());
                    self.section(&path, inner, origin);
                }
                (None, other) => self.problems.push(not_a_section(origin, &path, other)),
            }
        }
    }

    /// One environment variable; an empty one is as good as none.
    fn variable(&mut self, name: &str, text: &str) {
        const PREFIX: &str = "TOKENSTORM__";
        let ours = name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        if !ours || text.is_empty() {
            return;
        }
        let path = name[PREFIX.len()..].replace("__", ".");
        let origin = Origin::Env(name.to_owned());
        match KEYS.iter().position(|key| key.path.eq_ignore_ascii_case(&path)) {
            Some(index) => {
                self.insert(
                    index,
                    KEYS[index].kind.read_written(text),
                    &Value::from(text),
                    &origin,
                );
            }
            None => match section_named(&path) {
                Some(section) => self.set_section(&section, text, &origin),
                None => self.unknown(&path.to_lowercase(), &origin),
            },
        }
    }

    fn set_text(&mut self, text: &str) {
        let Some((path, written)) =
            text.split_once('=').map(|(path, written)| (path.trim(), written))
        else {
            return self.problems.push(ConfigError::Set { text: shorten(text) });
        };
        if let Some(index) = key_index(path) {
            return self.insert(
                index,
                KEYS[index].kind.read_written(written),
                &Value::from(written),
                &Origin::Set,
            );
        }
        if is_section(path) {
            return self.set_section(path, written, &Origin::Set);
        }
        match entry_of_map(path) {
            Some((index, entry)) => self.set_entry(index, entry, written),
            None => self.unknown(path, &Origin::Set),
        }
    }

    /// `--set prompts.inputLength={mean: 20}`: some keys of a section, beside those that it has.
    fn set_section(&mut self, path: &str, written: &str, origin: &Origin) {
        match serde_saphyr::from_str(written) {
            Ok(Value::Object(map)) => {
                _ = self.sections.insert(path.to_owned());
                self.section(path, &map, origin);
            }
            Ok(_) | Err(_) => {
                self.problems.push(not_a_section(origin, path, &Value::from(written)));
            }
        }
    }

    /// `--set target.extraBody.top_k=5`: one entry of a map, beside those that it has.
    fn set_entry(&mut self, index: usize, entry: &str, written: &str) {
        let kind = KEYS[index].kind;
        let value = match kind {
            Kind::Object | Kind::Slos | Kind::Grid => {
                serde_saphyr::from_str(written).unwrap_or_else(|_| Value::from(written))
            }
            _ => Value::from(written.trim()),
        };
        self.entry(index, entry, value, &Origin::Set);
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
            (None, other) if is_section(path) => {
                self.problems.push(not_a_section(origin, path, other));
            }
            (None, _) => match entry_of_map(path) {
                Some((index, entry)) => self.entry(index, entry, value.clone(), origin),
                None => self.unknown(path, origin),
            },
        }
    }

    /// One entry of a map, beside those that it has.
    fn entry(&mut self, index: usize, entry: &str, value: Value, origin: &Origin) {
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

    /// What OpenAI's own clients read: the endpoint, where nothing else names a target.
    fn default_endpoint(&mut self, env: &[(String, String)]) {
        const NAME: &str = "OPENAI_API_BASE";
        let Some((_, text)) = env.iter().find(|(name, text)| name == NAME && !text.is_empty())
        else {
            return;
        };
        let has = |path| key_index(path).is_some_and(|index| self.settings.contains_key(&index));
        let named = has("target.endpoint") || has("targets");
        if !named && !self.has_simulator() {
            self.typed(
                "target.endpoint",
                &Value::from(text.as_str()),
                &Origin::Env(NAME.to_owned()),
            );
        }
    }

    pub(crate) fn has_simulator(&self) -> bool {
        self.sections.contains("simulator")
            || self.settings.keys().any(|index| KEYS[*index].path.starts_with("simulator."))
    }

    fn insert(&mut self, index: usize, read: Option<Value>, written: &Value, origin: &Origin) {
        let key = &KEYS[index];
        let Some(value) = read else { return self.problems.push(bad_value(key, written, origin)) };
        let value = match key.kind {
            Kind::Maps(_) => {
                let mut reader = Reader { origin, problems: &mut self.problems };
                let Some(list) = reader.value(key.path, key.kind, &value) else { return };
                list
            }
            kind => absolute(kind, value, origin),
        };
        _ = self.settings.insert(index, Setting { value, origin: origin.clone() });
    }

    fn unknown(&mut self, path: &str, origin: &Origin) {
        let (origin, key) = (origin.to_string(), shorten(path));
        self.problems.push(if names_a_secret(path) {
            ConfigError::Secret { origin, key }
        } else {
            ConfigError::Unknown { origin, hint: nearest_key(path), key }
        });
    }
}

/// The index of a key in the table.
pub(crate) fn key_index(path: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.path == path)
}

fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The section of that name, in any case.
fn section_named(path: &str) -> Option<String> {
    KEYS.iter().find_map(|key| {
        let parent = key.path.get(..path.len()).filter(|start| start.eq_ignore_ascii_case(path))?;
        key.path[path.len()..].starts_with('.').then(|| parent.to_owned())
    })
}

/// `target.headers.x-team` is entry `x-team` of the map `target.headers`.
fn entry_of_map(path: &str) -> Option<(usize, &str)> {
    let (index, key) =
        KEYS.iter().enumerate().find(|(_, key)| key.kind.is_map() && path.starts_with(key.path))?;
    let entry = path[key.path.len()..].strip_prefix('.').filter(|entry| !entry.is_empty())?;
    Some((index, entry))
}

pub(super) fn names_a_secret(path: &str) -> bool {
    let last: String =
        path.rsplit('.').next().unwrap_or(path).chars().filter(char::is_ascii_alphabetic).collect();
    ["apikey", "openaiapikey", "token", "apitoken", "secret", "password", "authorization"]
        .contains(&last.to_lowercase().as_str())
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

fn parse_file(path: &Path) -> Result<Value, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        unreadable(format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })?;
    serde_saphyr::from_str(&text).map_err(|error| {
        let (line, column) =
            error.location().map_or((1, 1), |location| (location.line(), location.column()));
        ConfigError::Syntax { path: path.to_owned(), line, column, message: one_line(&error) }
    })
}

/// The parser's words without its drawing of the place, the place itself, and its advice to programmers.
fn one_line(error: &serde_saphyr::Error) -> String {
    let words = error.without_snippet().to_string();
    let line = words.lines().next().unwrap_or_default();
    let line = line.rsplit_once(" at line ").map_or(line, |(words, _)| words);
    let of_the_parser = |clause: &str| clause.contains("Options") || clause.contains("from_");
    let advice = ["; ", ", ", ". "].iter().filter_map(|end| {
        let (at, _) = line.match_indices(end).find(|(at, _)| of_the_parser(&line[*at..]))?;
        Some(at)
    });
    let told = advice.min().map_or(line, |at| &line[..at]);
    let more =
        if told.contains("multiple YAML documents") { ": a configuration is one" } else { "" };
    format!("{}{more}", told.trim())
}

fn not_a_section(origin: &Origin, path: &str, value: &Value) -> ConfigError {
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

fn bad_value(key: &Key, written: &Value, origin: &Origin) -> ConfigError {
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
