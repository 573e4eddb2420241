//! Where settings come from: the file, the environment, `--set` and flags, the strongest last.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::{ConfigError, not_a_section, shorten};
use super::gathered::{Gathered, entry_of_map, is_section, key_index};
use super::guess::Guess;
use super::key::Kind;
use super::keys::KEYS;
use super::written::{self, Repeated};

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

impl Gathered {
    pub(crate) fn from_sources(sources: &Sources, guess: Guess) -> Self {
        let mut gathered = Self { guess, ..Self::default() };
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
        gathered.tell_repeated();
        gathered
    }

    /// Now that it is known where each of them stands.
    fn tell_repeated(&mut self) {
        for Repeated { path, problem } in std::mem::take(&mut self.repeated) {
            let at = self.findings.places.of(&path).unwrap_or(usize::MAX);
            self.findings.problems.push((at, problem));
        }
    }

    /// A list of points, points by name, a grid, or what stands under `sweep` in a configuration.
    fn sweep_file(&mut self, path: &Path) {
        let origin = Origin::File(path.to_owned());
        for replaced in ["sweep.grid", "sweep.points"] {
            self.dotted(replaced, &Value::Null, &origin);
        }
        let Some(read) = self.written(path) else { return };
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

    fn file(&mut self, path: &Path) {
        let origin = Origin::File(path.to_owned());
        match self.written(path) {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => self.section("", &map, &origin),
            Some(other) => {
                self.is_blind = true;
                self.findings.refuse(not_a_section(&origin, "(the whole file)", &other));
            }
        }
    }

    /// What a file holds. Keys that are there again are told where they stand.
    fn written(&mut self, path: &Path) -> Option<Value> {
        match written::read(path) {
            Ok(read) => {
                self.repeated.extend(read.repeated);
                Some(read.value)
            }
            Err(problem) => {
                self.is_blind = true;
                self.findings.refuse(problem);
                None
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
                self.findings.places.walk(KEYS[index].path);
                self.insert(
                    index,
                    KEYS[index].kind.read_written(text),
                    &Value::from(text),
                    &origin,
                );
            }
            None => match section_named(&path) {
                Some(section) => self.set_section(&section, text, &origin),
                None => self.unknown(&path.to_lowercase(), &Value::from(text), &origin),
            },
        }
    }

    fn set_text(&mut self, text: &str) {
        let Some((path, written)) =
            text.split_once('=').map(|(path, written)| (path.trim(), written))
        else {
            return self.findings.refuse(ConfigError::Set { text: shorten(text) });
        };
        self.findings.places.walk(path);
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
            None => self.unknown(path, &Value::from(written), &Origin::Set),
        }
    }

    /// `--set prompts.inputLength={mean: 20}`: some keys of a section, beside those that it has.
    fn set_section(&mut self, path: &str, written: &str, origin: &Origin) {
        match serde_saphyr::from_str(written) {
            Ok(Value::Object(map)) => {
                _ = self.sections.insert(path.to_owned());
                self.section(path, &map, origin);
            }
            Ok(_) | Err(_) => self.no_section(path, &Value::from(written), origin),
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
}

/// The section of that name, in any case.
fn section_named(path: &str) -> Option<String> {
    KEYS.iter().find_map(|key| {
        let parent = key.path.get(..path.len()).filter(|start| start.eq_ignore_ascii_case(path))?;
        key.path[path.len()..].starts_with('.').then(|| parent.to_owned())
    })
}
