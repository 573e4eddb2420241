//! Values that are taken from a file one by one, so that what nobody took is known at the end.

use serde_json::{Map, Value};

use super::Lost;

/// Settings of another tool, and what of them could not be used.
#[derive(Debug)]
pub(super) struct Source {
    root: Map<String, Value>,
    lost: Vec<Lost>,
}

impl Source {
    /// Names as they are written.
    pub(super) fn new(root: Map<String, Value>) -> Self {
        Self { root, lost: Vec::new() }
    }

    /// `max-seconds` and `max_seconds` are one name.
    pub(super) fn underscored(root: Map<String, Value>) -> Self {
        Self::new(underscored(root))
    }

    /// Takes a value by its path, such as `load.stages`; an empty one is none.
    pub(super) fn take(&mut self, path: &str) -> Option<Value> {
        taken(&mut self.root, path).filter(|value| !value.is_null())
    }

    /// Whether it is there.
    pub(super) fn has(&self, path: &str) -> bool {
        self.peek(path).is_some()
    }

    /// Looks at a value that stays where it is.
    pub(super) fn peek(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let first = parts.next().and_then(|first| self.root.get(first));
        parts.fold(first, |value, part| value?.get(part)).filter(|value| !value.is_null())
    }

    /// Takes a value if it is of some kind.
    pub(super) fn take_if(&mut self, path: &str, is: impl Fn(&Value) -> bool) -> Option<Value> {
        let value = self.take(path)?;
        if is(&value) {
            return Some(value);
        }
        self.put(path, value);
        None
    }

    /// Puts a value back, or in place of what was taken; a path of one name.
    pub(super) fn put(&mut self, name: &str, value: Value) {
        _ = self.root.insert(name.to_owned(), value);
    }

    /// Values that stood one level deeper.
    pub(super) fn join(&mut self, inner: Map<String, Value>) {
        self.root.extend(inner);
    }

    /// A number inside a map, where it is one.
    pub(super) fn number_in(&mut self, section: &str, name: &str) -> Option<f64> {
        self.has(&format!("{section}.{name}")).then(|| self.number(&format!("{section}.{name}")))?
    }

    /// A number, also where it is written as text.
    pub(super) fn number(&mut self, path: &str) -> Option<f64> {
        let value = self.take(path)?;
        number(&value).or_else(|| self.refuse(path, &value, "a number"))
    }

    /// A whole number.
    pub(super) fn count(&mut self, path: &str) -> Option<u64> {
        let value = self.take(path)?;
        whole(&value).or_else(|| self.refuse(path, &value, "a whole number"))
    }

    /// A text; a number is one too.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        let value = self.take(path)?;
        match &value {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => self.refuse(path, &value, "a text"),
        }
    }

    /// A switch. A flag without a value is on, and so is the empty text that stands for one.
    pub(super) fn switch(&mut self, path: &str) -> Option<bool> {
        let value = self.take(path)?;
        match &value {
            Value::Bool(on) => Some(*on),
            Value::String(text) if text.is_empty() => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => self.refuse(path, &value, "a switch"),
        }
    }

    /// A list; one value is a list of it, a text with commas one of its parts.
    pub(super) fn list(&mut self, path: &str) -> Vec<Value> {
        match self.take(path) {
            None => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(Value::String(text)) => {
                let text = text.trim_matches(['[', ']']);
                text.split(',').map(|part| Value::from(part.trim())).collect()
            }
            Some(value) => vec![value],
        }
    }

    /// Numbers of a list.
    pub(super) fn numbers(&mut self, path: &str) -> Vec<f64> {
        let values = self.list(path);
        let (read, wrong): (Vec<_>, Vec<_>) =
            values.iter().map(|value| (number(value), value)).partition(|(read, _)| read.is_some());
        for (_, value) in wrong {
            let _none: Option<f64> = self.refuse(path, value, "a number");
        }
        read.into_iter().filter_map(|(number, _)| number).collect()
    }

    /// Passes over what says nothing here and is no loss.
    pub(super) fn pass(&mut self, paths: &[&str]) {
        for path in paths {
            let _passed = self.take(path);
        }
    }

    /// Takes it, if it is there, and tells why it is not carried over.
    pub(super) fn lose(&mut self, path: &str, reason: &str) {
        if self.take(path).is_some() {
            self.tell(path, reason);
        }
    }

    /// Tells of something that was taken already.
    pub(super) fn tell(&mut self, path: &str, reason: impl Into<String>) {
        self.lost.push(Lost { path: path.to_owned(), reason: reason.into() });
    }

    /// All that is lost: what was told of, and everything that is still there, by the reason of its nearest section.
    pub(super) fn finish(mut self, reasons: &[(&str, &str)]) -> Vec<Lost> {
        for (path, reason) in reasons {
            self.lose(path, reason);
        }
        let mut left = Vec::new();
        leaves("", &Value::Object(std::mem::take(&mut self.root)), &mut left);
        for path in left {
            self.tell(&path, "there is nothing like it here");
        }
        self.lost
    }

    fn refuse<T>(&mut self, path: &str, value: &Value, wanted: &str) -> Option<T> {
        let shown = crate::config::shortened(&value.to_string());
        self.tell(path, format!("{shown} is not {wanted}"));
        None
    }
}

/// A number, also as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.trim().parse().ok())
        .filter(|number: &f64| number.is_finite())
}

/// A whole number, also as text or with a fraction of nothing.
pub(super) fn whole(value: &Value) -> Option<u64> {
    if let Some(whole) = value.as_u64() {
        return Some(whole);
    }
    let number = number(value)?;
    (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
}

fn taken(map: &mut Map<String, Value>, path: &str) -> Option<Value> {
    let Some((first, rest)) = path.split_once('.') else { return map.shift_remove(path) };
    let inner = map.get_mut(first)?.as_object_mut()?;
    let value = taken(inner, rest);
    if inner.is_empty() {
        let _empty = map.shift_remove(first);
    }
    value
}

/// Where values stand that nobody took; a list is one.
fn leaves(place: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            for (name, value) in map {
                let path = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                leaves(&path, value, found);
            }
        }
        _ => found.push(place.to_owned()),
    }
}

fn underscored(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .map(|(name, value)| {
            let value = match value {
                // What a server is told is its own, and so are the names in it.
                Value::Object(inner) if name != "extra_body" && name != "headers" => {
                    Value::Object(underscored(inner))
                }
                other => other,
            };
            (name.replace('-', "_"), value)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(value: Value) -> Source {
        Source::underscored(value.as_object().unwrap().clone())
    }

    #[test]
    fn what_nobody_took_is_told() {
        let mut source =
            source(json!({"a-b": {"c": 1, "d": "2", "e": null}, "f": [1], "g": {"h": 0}}));
        assert_eq!(source.number("a_b.d"), Some(2.0));
        source.pass(&["g.h"]);
        let lost: Vec<String> =
            source.finish(&[("f", "because"), ("g", "gone")]).iter().map(Lost::to_string).collect();
        assert_eq!(lost, ["`f`: because", "`a_b.c`: there is nothing like it here"]);
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        let mut source = source(json!({"n": "1.5", "w": 3.0, "on": "", "l": "1, 2", "bad": "x"}));
        assert_eq!(source.number("n"), Some(1.5));
        assert_eq!(source.count("w"), Some(3));
        assert_eq!(source.switch("on"), Some(true));
        assert_eq!(source.numbers("l"), [1.0, 2.0]);
        assert_eq!(source.number("bad"), None);
        assert_eq!(source.finish(&[])[0].to_string(), "`bad`: \"x\" is not a number");
    }
}
