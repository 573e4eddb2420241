//! Keys that hold a list of maps, and maps that are a section of the table again.
//!
//! A list cannot have a row of the table for each of its entries, so its row names the members that every
//! entry may have. They are read as keys are: by kind, with the nearest name for a misspelt one, and every
//! problem in a line of its own that says where it stands (`classes[1].weight`).

use serde_json::{Map, Value};

use super::error::{ConfigError, bad_value_at, shorten};
use super::gathered::{Findings, absolute};
use super::guess::Guess;
use super::hint::nearest_of;
use super::key::{Key, Kind};
use super::keys::KEYS;
use super::secret::names_a_secret;
use super::sources::Origin;

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
    pub(super) findings: &'a mut Findings,
    /// What stands in for values that cannot be read.
    pub(super) guess: Guess,
}

impl Reader<'_> {
    /// The value in its normal form. What is wrong with it is then among the findings: of a list or a section the rest
    /// is there all the same, else what stands in for it, if anything does.
    pub(super) fn value(&mut self, path: &str, kind: Kind, value: &Value) -> Option<Value> {
        self.findings.places.walk(path);
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
        self.findings.refuse(bad_value_at(path, kind, value, self.origin));
        self.guess.of(kind)
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
            self.findings.places.walk(&place);
            // Those that follow keep their number.
            let read = match entry.as_object() {
                Some(map) => Some(self.entry(&place, members, map)),
                None => self.refuse(&place, Kind::Entry(members), entry),
            };
            list.push(read.unwrap_or_else(|| Value::Object(Map::new())));
        }
        Some(Value::Array(list))
    }

    fn entry(
        &mut self,
        place: &str,
        members: &'static [Member],
        map: &Map<String, Value>,
    ) -> Value {
        let (mut read, mut meant) = (Map::new(), Vec::new());
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
                    meant.extend(hint.clone().map(|hint| (hint, value)));
                    self.unknown(path, hint);
                }
            }
        }
        let is_there = |name: &str| map.get(name).is_some_and(|value| !value.is_null());
        for member in members.iter().filter(|member| !is_there(member.name)) {
            let misspelt = meant.iter().find(|(name, _)| name == member.name);
            if misspelt.is_none() && member.needed == Needed::Yes {
                self.miss(place, member);
            }
            if misspelt.is_some() || member.needed == Needed::Yes {
                let usable = misspelt.and_then(|(_, value)| member.kind.read(value));
                let value = self.guess.of(member.kind).map(|guess| usable.unwrap_or(guess));
                read.extend(value.map(|value| (member.name.to_owned(), value)));
            }
        }
        Value::Object(read)
    }

    fn miss(&mut self, place: &str, member: &Member) {
        self.findings.refuse(ConfigError::Missing {
            origin: self.origin.to_string(),
            key: format!("{place}.{}", member.name),
            allowed: member.kind.allowed(),
        });
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
        let mut read = Map::new();
        self.keys(path, section, map, &mut read);
        Some(Value::Object(read))
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
                    self.findings.refuse(ConfigError::NotASection {
                        origin: self.origin.to_string(),
                        key: path,
                        value: shorten(&other.to_string()),
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
        self.findings.places.walk(&key);
        self.findings.refuse(if names_a_secret(&key) {
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

    fn read(value: Value, guess: Guess) -> (Value, Vec<String>) {
        let (origin, mut findings) = (Origin::Set, Findings::default());
        let mut reader = Reader { origin: &origin, findings: &mut findings, guess };
        let read = reader.value("parts", Kind::Maps(PARTS), &value).unwrap_or_default();
        (read, findings.into_problems().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn entries_are_read_by_the_kinds_of_their_members() {
        let written = json!([
            {"weight": 2.0, "prompts": {"inputLength": {"mean": 5.0}, "shuffle": true}},
            {"weight": 1, "prompts": null}
        ]);
        let (parts, problems) = read(written, Guess::Nothing);
        assert_eq!(problems, [""; 0]);
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
        let written = json!([
            {"weight": 0, "wieght": 1}, // misspelt
            {"prompts": {"inputLength": {"men": 5}, "shuffle": 3, "inputLenght": 1}}, // misspelt
            7
        ]);
        let (parts, lines) = read(written.clone(), Guess::Nothing);
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
        assert_eq!(parts, json!([{}, {"prompts": {"inputLength": {}}}, {}]), "what can be read");
        let (parts, _) = read(written, Guess::Nth(0));
        let weights = parts.as_array().unwrap().iter().map(|part| part["weight"].clone());
        assert_eq!(weights.collect::<Vec<_>>(), [1.0, 1.0, 1.0]);
        let (_, lines) = read(json!([]), Guess::Nothing);
        assert_eq!(lines, ["--set: `parts` is []: give a list of maps with `weight`, `prompts`"]);
    }

    #[test]
    fn what_is_misspelt_is_not_missing_too() {
        let written = json!([{"wieght": 2}]); // misspelt
        let (parts, lines) = read(written.clone(), Guess::Nothing);
        let line = "--set: unknown key `parts[0].wieght`; did you mean `weight`?"; // misspelt
        assert_eq!((parts, lines), (json!([{}]), vec![line.to_owned()]));
        assert_eq!(read(written, Guess::Nth(1)).0, json!([{"weight": 2}]));
    }
}
