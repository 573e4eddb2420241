//! A configuration's text as it was written, keys that stand twice included.
//!
//! To the parser the first such key is the end. Here each is one problem among others: what stands under all of them is
//! read, so that nothing of it is missed a second time.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, Spanned};

use super::error::ConfigError;

/// A file's value, and every key that is there again.
pub(super) struct Written {
    pub(super) value: Value,
    pub(super) repeated: Vec<Repeated>,
}

/// A key that is there again.
#[derive(Debug)]
pub(super) struct Repeated {
    /// Its dotted path.
    pub(super) path: String,
    pub(super) problem: ConfigError,
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Written, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        unreadable(format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to()))
    })?;
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::PassThrough };
    let tree: Tree = serde_saphyr::from_str_with_options(&text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        ConfigError::Syntax { path: path.to_owned(), line, column, message: one_line(&error) }
    })?;
    let mut repeated = Vec::new();
    let value = tree.into_value(path, "", &mut repeated);
    Ok(Written { value, repeated })
}

/// A value whose keys know where they stand.
enum Tree {
    Leaf(Value),
    List(Vec<Tree>),
    Map(Vec<(String, Location, Tree)>),
}

impl Tree {
    fn into_value(self, file: &Path, place: &str, repeated: &mut Vec<Repeated>) -> Value {
        match self {
            Self::Leaf(value) => value,
            Self::List(items) => {
                let item = |(index, item): (usize, Self)| {
                    item.into_value(file, &format!("{place}[{index}]"), repeated)
                };
                Value::Array(items.into_iter().enumerate().map(item).collect())
            }
            Self::Map(entries) => {
                let mut map = Map::new();
                for (name, at, value) in entries {
                    let path =
                        if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                    if map.contains_key(&name) {
                        let problem = ConfigError::Syntax {
                            path: file.to_owned(),
                            line: at.line(),
                            column: at.column(),
                            message: format!("duplicate mapping key: {name}"),
                        };
                        repeated.push(Repeated { path: path.clone(), problem });
                    }
                    let value = value.into_value(file, &path, repeated);
                    add(&mut map, name, value);
                }
                Value::Object(map)
            }
        }
    }
}

/// The members of maps of one name are put together; of other values the last stands, and where it stands.
fn add(map: &mut Map<String, Value>, name: String, value: Value) {
    match (map.get_mut(&name), value) {
        (Some(Value::Object(known)), Value::Object(more)) => {
            more.into_iter().for_each(|(name, value)| add(known, name, value));
        }
        (_, value) => {
            _ = map.shift_remove(&name);
            _ = map.insert(name, value);
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyTree)
    }
}

/// As `serde_json::Value` reads, but for maps.
struct AnyTree;

impl<'de> Visitor<'de> for AnyTree {
    type Value = Tree;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::from(value)))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut map = Vec::new();
        while let Some(name) = entries.next_key::<Spanned<String>>()? {
            map.push((name.value, name.referenced, entries.next_value()?));
        }
        Ok(Tree::Map(map))
    }
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
