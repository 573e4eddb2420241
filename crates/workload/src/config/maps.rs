//! Keys that hold a list of maps, and maps that are a section of the table again.
//!
//! A list cannot have a row of the table for each of its entries, so its row names the members that every
//! entry may have. They are read as keys are: by kind, with the nearest name for a misspelt one, and every
//! problem in a line of its own that says where it stands (`classes[1].weight`).

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::hint::nearest_of;
use super::key::{Key, Kind};
use super::keys::KEYS;
use super::sources::{Origin, absolute, bad_value_at, names_a_secret};

/// What one entry of a list may say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether each entry must have it.
    pub needed: Needed,
    /// What it means.
    pub meaning: &'static str,
}

/// Whether each entry of a list has a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// It must.
    Yes,
    /// It may; in words, what holds where it is left out.
    Else(&'static str),
}

/// Reads values and keeps what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) origin: &'a Origin,
    pub(super) problems: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    /// The value in its normal form; `None` where it is wrong, which is then among the problems.
    pub(super) fn value(&mut self, path: &str, kind: Kind, value: &Value) -> Option<Value> {
        match kind {
            Kind::Maps(members) => self.list(path, kind, members, value),
            Kind::Section(section) => self.section(path, kind, section, value),
            _ => match kind.read(value) {
                Some(read) => Some(absolute(kind, read, self.origin)),
                None => self.refuse(path, kind, value),
            },
        }
    }

    fn refuse(&mut self, path: &str, kind: Kind, value: &Value) -> Option<Value> {
        self.problems.push(bad_value_at(path, kind, value, self.origin));
        None
    }

    fn list(
        &mut self,
        path: &str,
        kind: Kind,
        members: &'static [Member],
        value: &Value,
    ) -> Option<Value> {
        let Some(entries) = value.as_array().filter(|entries| !entries.is_empty()) else {
            return self.refuse(path, kind, value);
        };
        let mut list = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let place = format!("{path}[{index}]");
            match entry.as_object() {
                Some(map) => list.extend(self.entry(&place, members, map)),
                None => _ = self.refuse(&place, Kind::Entry(members), entry),
            }
        }
        (list.len() == entries.len()).then_some(Value::Array(list))
    }

    fn entry(
        &mut self,
        place: &str,
        members: &'static [Member],
        map: &Map<String, Value>,
    ) -> Option<Value> {
        let before = self.problems.len();
        let mut read = Map::new();
        for (name, value) in map {
            let path = format!("{place}.{name}");
            match members.iter().find(|member| member.name == name) {
                Some(_) if value.is_null() => {}
                Some(member) => {
                    let value = self.value(&path, member.kind, value);
                    read.extend(value.map(|value| (name.clone(), value)));
                }
                None => {
                    let hint = nearest_of(name, members.iter().map(|member| member.name));
                    self.unknown(path, hint);
                }
            }
        }
        let origin = self.origin.to_string();
        let missing = members.iter().filter(|member| member.needed == Needed::Yes);
        for member in missing.filter(|member| map.get(member.name).is_none_or(Value::is_null)) {
            let (key, allowed) = (format!("{place}.{}", member.name), member.kind.allowed());
            self.problems.push(ConfigError::Missing { origin: origin.clone(), key, allowed });
        }
        (self.problems.len() == before).then_some(Value::Object(read))
    }

    /// A map of the keys of one section; in its normal form, by the keys' whole paths.
    fn section(
        &mut self,
        path: &str,
        kind: Kind,
        section: &'static str,
        value: &Value,
    ) -> Option<Value> {
        let Some(map) = value.as_object() else { return self.refuse(path, kind, value) };
        let before = self.problems.len();
        let mut read = Map::new();
        self.keys(path, section, map, &mut read);
        (self.problems.len() == before).then_some(Value::Object(read))
    }

    fn keys(
        &mut self,
        place: &str,
        prefix: &str,
        map: &Map<String, Value>,
        read: &mut Map<String, Value>,
    ) {
        for (name, value) in map {
            let (path, whole) = (format!("{place}.{name}"), format!("{prefix}.{name}"));
            let inner = format!("{whole}.");
            let is_section = KEYS.iter().any(|key| key.path.starts_with(&inner));
            match (KEYS.iter().find(|key| key.path == whole), value) {
                (Some(_), Value::Null) => {}
                (Some(key), _) => {
                    let value = self.value(&path, key.kind, value);
                    read.extend(value.map(|value| (name.clone(), value)));
                }
                (None, Value::Object(nested)) if is_section => {
                    let mut below = Map::new();
                    self.keys(&path, &whole, nested, &mut below);
                    _ = read.insert(name.clone(), Value::Object(below));
                }
                (None, Value::Null) if is_section => {}
                (None, other) if is_section => {
                    let example = format!("with keys such as `{inner}…`");
                    self.problems.push(ConfigError::NotASection {
                        origin: self.origin.to_string(),
                        key: path,
                        value: super::sources::shorten(&other.to_string()),
                        example,
                    });
                }
                (None, _) => {
                    let below = KEYS.iter().filter_map(|key| {
                        key.path.strip_prefix(prefix)?.strip_prefix('.')?.split('.').next()
                    });
                    self.unknown(path, nearest_of(name, below));
                }
            }
        }
    }

    fn unknown(&mut self, key: String, hint: Option<String>) {
        let origin = self.origin.to_string();
        self.problems.push(if names_a_secret(&key) {
            ConfigError::Secret { origin, key }
        } else {
            ConfigError::Unknown { origin, key, hint }
        });
    }
}

/// The keys of a section in a map of its members, by whole paths.
pub(super) fn flattened(section: &str, value: &Value) -> Vec<(&'static Key, Value)> {
    let mut found = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let path = format!("{section}.{name}");
        match KEYS.iter().find(|key| key.path == path) {
            Some(key) => found.push((key, value.clone())),
            None => found.extend(flattened(&path, value)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PARTS: &[Member] = &[
        Member {
            name: "weight",
            kind: Kind::Number { unit: "", min: 0.5, max: 9.0 },
            needed: Needed::Yes,
            meaning: "",
        },
        Member {
            name: "prompts",
            kind: Kind::Section("prompts"),
            needed: Needed::Else(""),
            meaning: "",
        },
    ];

    fn read(value: Value) -> Result<Value, Vec<String>> {
        let (origin, mut problems) = (Origin::Set, Vec::new());
        let mut reader = Reader { origin: &origin, problems: &mut problems };
        let read = reader.value("parts", Kind::Maps(PARTS), &value);
        assert_eq!(read.is_none(), !problems.is_empty());
        read.ok_or_else(|| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn entries_are_read_by_the_kinds_of_their_members() {
        let parts = read(json!([
            {"weight": 2.0, "prompts": {"inputLength": {"mean": 5.0}, "shuffle": true}},
            {"weight": 1, "prompts": null}
        ]))
        .unwrap();
        assert_eq!(
            parts,
            json!([
                {"weight": 2, "prompts": {"inputLength": {"mean": 5}, "shuffle": true}},
                {"weight": 1}
            ])
        );
        let keys: Vec<_> =
            flattened("prompts", &parts[0]["prompts"]).iter().map(|(key, _)| key.path).collect();
        assert_eq!(keys, ["prompts.inputLength.mean", "prompts.shuffle"]);
    }

    #[test]
    fn every_problem_is_a_line_that_says_where() {
        let lines = read(json!([
            {"weight": 0, "wieght": 1}, // misspelt
            {"prompts": {"inputLength": {"men": 5}, "shuffle": 3, "inputLenght": 1}}, // misspelt
            7
        ]))
        .unwrap_err();
        assert_eq!(
            lines,
            [
                "--set: `parts[0].weight` is 0: give a number from 0.5 to 9",
                "--set: unknown key `parts[0].wieght`; did you mean `weight`?", // misspelt
                "--set: unknown key `parts[1].prompts.inputLength.men`; did you mean `mean`?",
                "--set: `parts[1].prompts.shuffle` is 3: give `true` or `false`",
                "--set: unknown key `parts[1].prompts.inputLenght`; did you mean `inputLength`?", // misspelt
                "--set: `parts[1].weight` is missing: give a number from 0.5 to 9",
                "--set: `parts[2]` is 7: give a map with `weight`, `prompts`",
            ]
        );
        assert_eq!(
            read(json!([])).unwrap_err(),
            ["--set: `parts` is []: give a list of maps with `weight`, `prompts`"]
        );
    }
}
