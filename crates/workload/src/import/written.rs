//! Our configuration as it is being written: keys of the table with values that they take, and where each comes from.

use serde_json::Value;

use super::Lost;
use crate::config::KEYS;

/// The lines so far.
#[derive(Debug, Default)]
pub(super) struct Written {
    entries: Vec<Entry>,
    refused: Vec<Lost>,
}

#[derive(Debug)]
struct Entry {
    /// Place in the table of keys.
    index: usize,
    value: Value,
    from: String,
}

impl Written {
    /// Writes a key; `from` is the path of what it was made of. A value that the key does not take is lost.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>, from: &str) {
        let value = value.into();
        let Some(index) = KEYS.iter().position(|known| known.path == key) else {
            debug_assert!(false, "no such key: {key}");
            return;
        };
        match KEYS[index].kind.read(&value) {
            Some(value) => {
                self.entries.retain(|entry| entry.index != index);
                self.entries.push(Entry { index, value, from: from.to_owned() });
            }
            None => {
                let shown = crate::config::shortened(&value.to_string());
                let reason = format!(
                    "{shown} is nothing that `{key}` takes: {}",
                    KEYS[index].kind.allowed()
                );
                self.refused.push(Lost { path: from.to_owned(), reason });
            }
        }
    }

    /// Whether the key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| KEYS[entry.index].path == key)
    }

    /// What was refused.
    pub(super) fn into_refused(self) -> Vec<Lost> {
        self.refused
    }

    /// The file, its keys in the table's order.
    pub(super) fn yaml(&mut self, format: &str) -> String {
        self.entries.sort_by_key(|entry| entry.index);
        let mut text =
            format!("# Imported from settings of {format}; each line says what it was made of.\n");
        let mut open: Vec<&str> = Vec::new();
        for entry in &self.entries {
            let mut parts: Vec<&str> = KEYS[entry.index].path.split('.').collect();
            let name = parts.pop().unwrap_or_default();
            let shared = open.iter().zip(&parts).take_while(|(one, other)| one == other).count();
            for (depth, section) in parts.iter().enumerate().skip(shared) {
                text.push_str(&format!("{}{section}:\n", "  ".repeat(depth)));
            }
            text.push_str(&line(&"  ".repeat(parts.len()), name, entry));
            open = parts;
        }
        text
    }
}

/// The entries of a list of maps have a line each.
fn line(indent: &str, name: &str, entry: &Entry) -> String {
    let comment = if entry.from.is_empty() { String::new() } else { format!(" # {}", entry.from) };
    match &entry.value {
        Value::Array(maps) if maps.iter().all(Value::is_object) => {
            let entries: String =
                maps.iter().map(|map| format!("{indent}  - {}\n", flow(map))).collect();
            format!("{indent}{name}:{comment}\n{entries}")
        }
        value => format!("{indent}{name}: {}{comment}\n", flow(value)),
    }
}

/// A value in one line. JSON is YAML, but for people names are bare and spaced.
fn flow(value: &Value) -> String {
    let list = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Object(map) => {
            let pair =
                |(name, value): (&String, &Value)| format!("{}: {}", bare(name), flow(value));
            format!("{{{}}}", list(map.iter().map(pair).collect()))
        }
        Value::Array(values) => format!("[{}]", list(values.iter().map(flow).collect())),
        Value::String(text) => bare(text),
        other => other.to_string(),
    }
}

/// A text without quotes where that cannot be misread.
fn bare(text: &str) -> String {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_ascii_lowercase().as_str());
    if begins && !is_word && text.chars().all(plain) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_stand_in_the_tables_order_with_their_origins() {
        let mut written = Written::default();
        written.set("prompts.inputLength.mean", 50.0, "data.mean");
        written.set("load.rate", 2.5, "rate");
        written.set("prompts.inputLength.stddev", 0, "data.std");
        written.set("benchmark.duration", "5m", "duration");
        written.set("load.concurrency", 0, "streams");
        written.set("stages", json!([{"rate": 1, "duration": 30}]), "");
        let expected = "\
# Imported from settings of x; each line says what it was made of.
benchmark:
  duration: 300 # duration
load:
  rate: 2.5 # rate
stages:
  - {rate: 1, duration: 30}
prompts:
  inputLength:
    mean: 50 # data.mean
    stddev: 0 # data.std
";
        assert_eq!(written.yaml("x"), expected);
        let refused = written.into_refused();
        assert_eq!(refused.len(), 1);
        assert!(
            refused[0]
                .to_string()
                .starts_with("`streams`: 0 is nothing that `load.concurrency` takes")
        );
    }
}
