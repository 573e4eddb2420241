//! Writes the configuration as run, without secrets.

use serde_json::{Map, Value};

use super::key::Kind;
use super::keys::KEYS;
use super::maps::Member;
use super::secret::{hidden, looks_like_credential};
use super::sources::Origin;
use super::value::REDACTED;
use super::{Config, DEFAULT_SEED};

impl Config {
    /// The configuration as run, in YAML: merged, with the seed and what [`Config::set`] has fixed, and
    /// without secrets. It can be run again: the address of a simulator, which changes, is left out.
    pub fn to_yaml(&self) -> String {
        let mut root = Map::new();
        if self.simulator().is_some() {
            _ = root.insert("simulator".to_owned(), Value::Object(Map::new()));
        }
        for (index, key) in KEYS.iter().enumerate() {
            match self.settings.get(&index) {
                Some(setting) if self.is_repeatable(key.path, &setting.origin) => {
                    place(&mut root, key.path, redacted(key.kind, key.is_secret(), &setting.value));
                }
                None if key.path == "benchmark.seed" => {
                    place(&mut root, key.path, Value::from(DEFAULT_SEED));
                }
                Some(_) | None => {}
            }
        }
        in_order(root).map_or_else(String::new, |ordered| {
            serde_saphyr::to_string(&ordered).unwrap_or_default()
        })
    }

    fn is_repeatable(&self, path: &str, origin: &Origin) -> bool {
        let simulators_address = path == "target.endpoint" && *origin == Origin::Run;
        !(simulators_address && self.simulator().is_some())
    }
}

/// The sections in the table's order; nothing for an empty configuration.
fn in_order(mut root: Map<String, Value>) -> Option<Value> {
    let mut ordered = Map::new();
    for key in KEYS {
        let section = key.path.split('.').next().unwrap_or(key.path);
        if let Some(value) = root.shift_remove(section) {
            _ = ordered.insert(section.to_owned(), value);
        }
    }
    (!ordered.is_empty()).then_some(Value::Object(ordered))
}

/// Puts a value at its path, making the maps on the way.
pub(crate) fn place(root: &mut Map<String, Value>, path: &str, value: Value) {
    let Some((section, rest)) = path.split_once('.') else {
        _ = root.insert(path.to_owned(), value);
        return;
    };
    let inner = root.entry(section).or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(map) = inner {
        place(map, rest, value);
    }
}

fn redacted(kind: Kind, secret: bool, value: &Value) -> Value {
    match (kind, value) {
        (Kind::Headers, Value::Object(headers)) => {
            let shown = |name: &String, value: &Value| {
                if looks_like_credential(name) { Value::from(REDACTED) } else { value.clone() }
            };
            Value::Object(
                headers.iter().map(|(name, value)| (name.clone(), shown(name, value))).collect(),
            )
        }
        (Kind::Object, body) => hidden(body),
        (Kind::Maps(members), Value::Array(entries)) => {
            let shown = |entry: &Value| shown_entry(members, entry);
            Value::Array(entries.iter().map(shown).collect())
        }
        _ if secret => Value::from(REDACTED),
        _ => value.clone(),
    }
}

fn shown_entry(members: &[Member], entry: &Value) -> Value {
    let kind = |name: &str| members.iter().find(|member| member.name == name);
    let shown = |(name, value): (&String, &Value)| {
        let value = kind(name).map_or(Value::Null, |member| redacted(member.kind, false, value));
        (name.clone(), value)
    };
    Value::Object(entry.as_object().into_iter().flatten().map(shown).collect())
}
