//! The configuration: from file, environment and flags, refused with every problem at once.
//!
//! One table of keys drives reading, the advice for misspelt keys, the environment's names and the
//! reference in `docs/configuration.md`, so that they cannot disagree. What is read here has the right
//! types and ranges; whether the parts fit each other is the plan's affair.

mod duration;
mod error;
mod gathered;
mod guess;
mod hint;
mod judged;
mod key;
mod keys;
mod maps;
mod places;
mod reference;
mod secret;
mod sources;
mod value;
mod written;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

pub use error::ConfigError;
pub(crate) use error::shorten as shortened;
pub(crate) use hint::nearest_word;
pub use key::{Key, Kind};
pub use keys::KEYS;
pub use maps::{Member, Needed};
pub use reference::reference;
pub(crate) use secret::is_secret_parameter;
pub use secret::looks_like_credential;
pub(crate) use secret::secret_members;
pub use sources::Sources;
pub use value::REDACTED;
pub(crate) use value::read_seconds as seconds;

use gathered::{Gathered, Setting, key_index};
use guess::Guess;
use judged::Read;
use places::Places;
use sources::Origin;

/// `benchmark.seed` where it is not set.
pub const DEFAULT_SEED: u64 = 42;

/// The merged configuration: known keys with values of their kind and range.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// By index into [`KEYS`].
    settings: BTreeMap<usize, Setting>,
    has_simulator: bool,
    places: Places,
}

impl Config {
    /// Reads and merges all sources.
    ///
    /// # Errors
    /// Every problem of every source.
    pub fn load(sources: Sources) -> Result<Self, Vec<ConfigError>> {
        let read = Read::of(&sources, Guess::Nothing);
        if read.findings.problems.is_empty() {
            Ok(read.config)
        } else {
            Err(read.findings.into_problems())
        }
    }

    /// Sets a key to what the run has decided (a fresh salt, the simulator's address).
    ///
    /// # Errors
    /// The key is unknown, or the value is not of its kind.
    pub fn set(&mut self, path: &str, value: Value) -> Result<(), ConfigError> {
        let mut gathered = Gathered::default();
        gathered.typed(path, &value, &Origin::Run);
        if let Some((_, problem)) = gathered.findings.problems.pop() {
            return Err(problem);
        }
        self.settings.append(&mut gathered.settings);
        Ok(())
    }

    /// The same configuration with some keys set otherwise: keys, maps of sections or entries of maps, by dotted paths;
    /// `null` takes one out. They count as written where the key `stands` was.
    ///
    /// # Errors
    /// Every path that is unknown, and every value that is not of its kind.
    pub fn overridden(
        &self,
        overrides: &[(String, Value)],
        stands: &str,
    ) -> Result<Self, Vec<ConfigError>> {
        let origin = self.setting(stands).map_or(Origin::Run, |setting| setting.origin.clone());
        let mut gathered = Gathered { settings: self.settings.clone(), ..Gathered::default() };
        for (path, value) in overrides {
            gathered.dotted(path, value, &origin);
        }
        gathered.refuse_redacted();
        let has_simulator = self.has_simulator || gathered.has_simulator();
        let Gathered { settings, findings, .. } = gathered;
        if findings.problems.is_empty() {
            Ok(Self { settings, has_simulator, places: self.places.clone() })
        } else {
            Err(findings.into_problems())
        }
    }

    /// The same configuration without the keys of one section.
    #[must_use]
    pub fn without(&self, section: &str) -> Self {
        let mut config = self.clone();
        let of_section = format!("{section}.");
        config.settings.retain(|index, _| !KEYS[*index].path.starts_with(&of_section));
        config
    }

    /// Is the key set, by whomever?
    pub fn has(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// Is the key set by the user, and not by the run?
    pub fn is_users(&self, path: &str) -> bool {
        self.setting(path).is_some_and(|setting| setting.origin != Origin::Run)
    }

    /// A key's value, if it is set: durations are numbers of seconds, paths are absolute.
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.setting(path).map(|setting| &setting.value)
    }

    /// A text (or choice, or URL).
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(Value::as_str)
    }

    /// A list of texts; empty where it is not set.
    pub fn texts(&self, path: &str) -> Vec<String> {
        let list = self.get(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Name and query of each of `metrics.prometheus.queries`.
    pub fn named_queries(&self) -> impl Iterator<Item = (String, String)> {
        let text = |map: &Map<String, Value>, key: &str| Some(map.get(key)?.as_str()?.to_owned());
        let entries = self.entries("metrics.prometheus.queries").into_iter();
        entries.filter_map(move |map| Some((text(&map, "name")?, text(&map, "query")?)))
    }

    /// A whole number.
    pub fn integer(&self, path: &str) -> Option<u64> {
        self.get(path).and_then(Value::as_u64)
    }

    /// A number.
    pub fn number(&self, path: &str) -> Option<f64> {
        self.get(path).and_then(Value::as_f64)
    }

    /// A duration, to the nanosecond.
    pub fn duration(&self, path: &str) -> Option<Duration> {
        Duration::try_from_secs_f64(self.number(path)?).ok()
    }

    /// A switch; one that is not set is off.
    pub fn switch(&self, path: &str) -> bool {
        self.get(path).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A path.
    pub fn path(&self, path: &str) -> Option<PathBuf> {
        self.text(path).map(PathBuf::from)
    }

    /// The settings of the section `simulator`, as a JSON object; `None` if the configuration has no
    /// such section.
    pub fn simulator(&self) -> Option<Value> {
        let mut root = Map::new();
        for (index, setting) in &self.settings {
            if let Some(inner) = KEYS[*index].path.strip_prefix("simulator.") {
                yaml::place(&mut root, inner, setting.value.clone());
            }
        }
        self.has_simulator.then_some(Value::Object(root))
    }

    /// The entries of `stages`, in order; `None` where there is no such list.
    pub(crate) fn stage_list(&self) -> Option<Vec<&Map<String, Value>>> {
        Some(self.get("stages")?.as_array()?.iter().filter_map(Value::as_object).collect())
    }

    /// The configuration as one entry of `stages` sees it: the entry's load above that of `load`. An entry
    /// that sets users and no rate is a closed loop, whatever rate `load` has.
    pub(crate) fn of_stage(&self, entry: &Map<String, Value>) -> Self {
        let mut config = self.clone();
        if entry.contains_key("concurrency") && !entry.contains_key("rate") {
            config.forget("load.rate");
        }
        config.put("load", &Value::Object(entry.clone()));
        config
    }

    /// The configuration with the rules of one stage in place of the run's; the window over which shares are taken is
    /// the run's where the stage has none.
    pub(crate) fn with_stop_rules(&self, written: &Value) -> Self {
        let mut config = self.clone();
        for rule in ["stopWhen.overload", "stopWhen.errorRate", "stopWhen.saturation"] {
            config.forget(rule);
        }
        config.put("stopWhen", written);
        config
    }

    /// Sets the keys of a section from a map of its members.
    fn put(&mut self, section: &str, members: &Value) {
        for (key, value) in maps::flattened(section, members) {
            if let Some(index) = key_index(key.path) {
                let setting = Setting { value, origin: Origin::Run };
                _ = self.settings.insert(index, setting);
            }
        }
    }

    fn forget(&mut self, path: &str) {
        if let Some(index) = key_index(path) {
            _ = self.settings.remove(&index);
        }
    }

    /// Where the API key is read from, if a file is named.
    pub fn api_key_file(&self) -> Option<PathBuf> {
        self.path("target.apiKeyFile")
    }

    /// Headers whose names look like a credential's; they are in no plan.
    pub fn credential_headers(&self) -> Vec<(String, String)> {
        self.headers().filter(|(name, _)| looks_like_credential(name)).collect()
    }

    /// The members of `target.extraBody` that hold a credential, as a JSON object; they are in no plan.
    pub fn credential_body(&self) -> Option<String> {
        let (_, secret) = secret::split(self.get("target.extraBody")?.as_object()?);
        (!secret.is_empty()).then(|| Value::Object(secret).to_string())
    }

    /// The others.
    pub(crate) fn harmless_body(&self) -> Option<String> {
        let (harmless, _) = secret::split(self.get("target.extraBody")?.as_object()?);
        Some(Value::Object(harmless).to_string())
    }

    /// Headers that anybody may see.
    pub(crate) fn harmless_headers(&self) -> Vec<(String, String)> {
        self.headers().filter(|(name, _)| !looks_like_credential(name)).collect()
    }

    fn headers(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let map = self.get("target.headers").and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
    }

    /// The maps of a list; none where it is not set.
    pub(crate) fn entries(&self, path: &str) -> Vec<Map<String, Value>> {
        let list = self.get(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_object).cloned().collect()
    }

    /// The same configuration with the keys of one section's map in place of its own. Keys that say one
    /// thing together are replaced together: where prompts come from, a distribution, what is shared.
    pub(crate) fn overlaid(base: &Self, section: &str, own: Option<&Value>) -> Self {
        const TOGETHER: [&[&str]; 5] = [
            &["prompts.tokenizer", "prompts.tokenScale"],
            &["prompts.type", "prompts.file", "prompts.dataset", "load.dataset"],
            &["prompts.inputLength."],
            &["prompts.outputLength."],
            &["prompts.prefixRatio", "load.prefixRatio", "prompts.prefixes"],
        ];
        let mut config = base.clone();
        let own = own.map(|own| maps::flattened(section, own)).unwrap_or_default();
        let is_of = |path: &str, group: &[&str]| group.iter().any(|key| path.starts_with(key));
        for group in
            TOGETHER.iter().filter(|group| own.iter().any(|(key, _)| is_of(key.path, group)))
        {
            config.settings.retain(|index, _| !is_of(KEYS[*index].path, group));
        }
        for (key, value) in own {
            let setting = Setting { value, origin: Origin::Run };
            config.settings.extend(key_index(key.path).map(|index| (index, setting)));
        }
        config
    }

    fn setting(&self, path: &str) -> Option<&Setting> {
        let index = key_index(path);
        debug_assert!(index.is_some(), "no such key: {path}");
        self.settings.get(&index?)
    }
}

#[cfg(test)]
mod tests;
