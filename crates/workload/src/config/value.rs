//! Reading one value by its kind: out comes the value in its one normal form, or nothing.
//!
//! In the normal form durations are numbers of seconds, whole numbers are integers, and headers are a
//! map of texts, so that what is written to `config.yaml` does not depend on where it came from.

use std::net::IpAddr;

use serde_json::{Map, Number, Value};

use super::duration::parse_seconds;
use super::key::Kind;

/// The word that stands for a secret in everything that is written; refused where it is read again and nothing comes
/// after it.
pub const REDACTED: &str = "[redacted]";

impl Kind {
    /// Reads a value that has a type already (YAML, a flag); `None` if it is not allowed.
    pub(crate) fn read(&self, value: &Value) -> Option<Value> {
        match self {
            Self::Text => read_text(value),
            Self::Url | Self::Path | Self::PathOr(_) => {
                read_text(value).filter(|_| value.is_string())
            }
            Self::Switch => value.as_bool().map(Value::Bool),
            Self::Choice(words) => {
                value.as_str().filter(|word| words.contains(word)).map(Value::from)
            }
            Self::Choices(words) => read_choices(words, value),
            Self::Texts => read_texts(value),
            Self::Addresses => read_addresses(value),
            Self::Integer { min, max, .. } => {
                read_integer(value).filter(|n| (min..=max).contains(&n)).map(Value::from)
            }
            Self::Number { min, max, .. } => read_number(value.as_f64()?, *min, *max),
            Self::Duration { min_s, max_s } => read_number(read_seconds(value)?, *min_s, *max_s),
            Self::Signed => value.as_i64().map(Value::from),
            Self::Headers => read_headers(value),
            Self::Object => value.is_object().then(|| value.clone()),
            Self::Queries => read_queries(value),
            // Their members are read one by one: see `maps`.
            Self::Maps(_) => value.is_array().then(|| value.clone()),
            Self::Entry(_) | Self::Section(_) => value.is_object().then(|| value.clone()),
            Self::Slos => value.is_object().then(|| value.clone()),
            Self::Grid => read_grid(value),
            Self::Points => read_points(value),
        }
    }

    /// Reads a value written as text (`--set`, the environment).
    pub(crate) fn read_written(&self, text: &str) -> Option<Value> {
        match self {
            Self::Text
            | Self::Url
            | Self::Path
            | Self::PathOr(_)
            | Self::Choice(_)
            | Self::Duration { .. } => self.read(&Value::from(text.trim())),
            Self::Switch => self.read(&Value::Bool(text.trim().parse().ok()?)),
            Self::Signed => self.read(&Value::from(text.trim().parse::<i64>().ok()?)),
            Self::Integer { .. } | Self::Number { .. } => {
                self.read(&Value::Number(read_written_number(text.trim())?))
            }
            Self::Choices(_) | Self::Addresses | Self::Texts if !text.contains('[') => {
                let words = text.split(',').map(|word| Value::from(word.trim())).collect();
                self.read(&Value::Array(words))
            }
            Self::Choices(_)
            | Self::Addresses
            | Self::Texts
            | Self::Headers
            | Self::Object
            | Self::Queries
            | Self::Maps(_)
            | Self::Entry(_)
            | Self::Section(_)
            | Self::Slos
            | Self::Grid
            | Self::Points => self.read(&serde_saphyr::from_str(text).ok()?),
        }
    }
}

/// Every key with at least one value.
fn read_grid(value: &Value) -> Option<Value> {
    let map = value.as_object().filter(|map| !map.is_empty())?;
    let has_values = |values: &Value| values.as_array().is_some_and(|values| !values.is_empty());
    map.values().all(has_values).then(|| value.clone())
}

/// Every point with at least one key.
fn read_points(value: &Value) -> Option<Value> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    let has_keys = |point: &Value| point.as_object().is_some_and(|point| !point.is_empty());
    list.iter().all(has_keys).then(|| value.clone())
}

fn read_texts(value: &Value) -> Option<Value> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    list.iter().map(read_text).collect::<Option<Vec<_>>>().map(Value::Array)
}

fn read_addresses(value: &Value) -> Option<Value> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    let addresses = list.iter().map(|one| one.as_str()?.parse::<IpAddr>().ok());
    let texts = addresses.map(|one| Some(Value::from(one?.to_string())));
    texts.collect::<Option<Vec<_>>>().map(Value::Array)
}

fn read_text(value: &Value) -> Option<Value> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let usable = !text.trim().is_empty() && text != REDACTED && !text.contains(char::is_control);
    usable.then_some(Value::String(text))
}

/// A later source may give the secret.
fn read_text_or_redacted(value: &Value) -> Option<Value> {
    if value == REDACTED { Some(value.clone()) } else { read_text(value) }
}

/// The paths below `path` at which the word for a secret stands: it is not the secret.
pub(super) fn redacted_in(path: &str, value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let inner =
                |(name, value): (&String, &Value)| redacted_in(&format!("{path}.{name}"), value);
            members.iter().flat_map(inner).collect()
        }
        Value::Array(values) => {
            let inner =
                |(index, value): (usize, &Value)| redacted_in(&format!("{path}[{index}]"), value);
            values.iter().enumerate().flat_map(inner).collect()
        }
        other if other == REDACTED => vec![path.to_owned()],
        _ => Vec::new(),
    }
}

fn read_written_number(text: &str) -> Option<Number> {
    if let Ok(integer) = text.parse::<u64>() {
        return Some(Number::from(integer));
    }
    Number::from_f64(text.parse().ok()?)
}

/// A whole number, also where it is written as `1e3` or `100.0`.
fn read_integer(value: &Value) -> Option<u64> {
    if let Some(integer) = value.as_u64() {
        return Some(integer);
    }
    let float = value.as_f64()?;
    let exact = float.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&float);
    exact.then_some(float as u64)
}

/// Seconds as a number, or as people write them.
pub(crate) fn read_seconds(value: &Value) -> Option<f64> {
    value.as_str().map_or_else(|| value.as_f64(), parse_seconds)
}

fn read_number(number: f64, min: f64, max: f64) -> Option<Value> {
    (min..=max).contains(&number).then(|| number_value(number))
}

/// Whole numbers as integers: `300`, not `300.0`.
fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        Value::from(number as i64)
    } else {
        Value::from(number)
    }
}

fn read_choices(words: &[&str], value: &Value) -> Option<Value> {
    let list = value.as_array()?;
    let known = list.iter().all(|word| word.as_str().is_some_and(|word| words.contains(&word)));
    known.then(|| value.clone())
}

fn read_headers(value: &Value) -> Option<Value> {
    let mut headers = Map::new();
    for (name, value) in value.as_object()? {
        let text = match value {
            Value::Bool(switch) => Value::from(switch.to_string()),
            Value::Null
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => read_text_or_redacted(value)?,
        };
        if !is_header_name(name) || headers.insert(name.to_ascii_lowercase(), text).is_some() {
            return None;
        }
    }
    Some(Value::Object(headers))
}

/// A token of RFC 9110, section 5.6.2.
fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn read_queries(value: &Value) -> Option<Value> {
    let complete = |query: &Value| {
        let map = query.as_object()?;
        let texts =
            ["name", "query"].iter().all(|field| map.get(*field).and_then(read_text).is_some());
        (texts && map.len() == 2).then_some(())
    };
    let all_complete = value.as_array()?.iter().all(|query| complete(query).is_some());
    all_complete.then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECONDS: Kind = Kind::Duration { min_s: 0.0, max_s: 100.0 };
    const COUNT: Kind = Kind::Integer { unit: "1", min: 1, max: 10 };

    #[test]
    fn typed_and_written_values_have_one_normal_form() {
        assert_eq!(SECONDS.read(&json!("500ms")), Some(json!(0.5)));
        assert_eq!(SECONDS.read(&json!(30.0)), Some(json!(30)));
        assert_eq!(SECONDS.read_written("30"), Some(json!(30)));
        assert_eq!(COUNT.read(&json!(5.0)), Some(json!(5)));
        assert_eq!(COUNT.read_written("1e1"), Some(json!(10)));
        assert_eq!(Kind::Switch.read_written("true"), Some(json!(true)));
        assert_eq!(Kind::Choices(&["a", "b"]).read_written("a, b"), Some(json!(["a", "b"])));
        assert_eq!(Kind::Choices(&["a", "b"]).read_written("[b]"), Some(json!(["b"])));
        let addresses = json!(["10.0.0.1", "::1"]);
        assert_eq!(Kind::Addresses.read_written("10.0.0.1, 0::1"), Some(addresses.clone()));
        assert_eq!(Kind::Addresses.read(&addresses), Some(addresses));
        for wrong in [json!([]), json!("10.0.0.1"), json!(["gateway"]), json!([1])] {
            assert_eq!(Kind::Addresses.read(&wrong), None, "{wrong}");
        }
        assert_eq!(
            Kind::Headers.read(&json!({"X-A": 1, "x-b": true})),
            Some(json!({"x-a": "1", "x-b": "true"}))
        );
        assert_eq!(Kind::Object.read_written("{top_k: 3}"), Some(json!({"top_k": 3})));
        assert_eq!(
            Kind::Integer { unit: "1", min: 0, max: u64::MAX }.read(&json!(u64::MAX)),
            Some(json!(u64::MAX))
        );
    }

    #[test]
    fn what_is_out_of_range_or_of_another_type_is_refused() {
        for (kind, value) in [
            (COUNT, json!(0)),
            (COUNT, json!(11)),
            (COUNT, json!(-1)),
            (COUNT, json!(1.5)),
            (COUNT, json!("5")),
            (SECONDS, json!("soon")),
            (SECONDS, json!(true)),
            (SECONDS, json!(101)),
            (Kind::Switch, json!("true")),
            (Kind::Choice(&["a"]), json!("A")),
            (Kind::Choices(&["a"]), json!(["a", "c"])),
            (Kind::Headers, json!({"bad name": "x"})),
            (Kind::Headers, json!({"a": "line\nbreak"})),
            (Kind::Headers, json!({"a": "1", "A": "2"})),
            (Kind::Object, json!("top_k")),
            (Kind::Queries, json!([{"name": "x"}])),
            (Kind::Text, json!("")),
            (Kind::Text, json!([1])),
        ] {
            assert_eq!(kind.read(&value), None, "{kind:?} {value}");
        }
        assert_eq!(COUNT.read_written("NaN"), None);
    }
}
