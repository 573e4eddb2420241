//! What proves who we are to the server measured. It is sent, and shown nowhere.

use std::fmt;

use serde_json::{Map, Value};
use workload::Target;

/// The shortest text that is looked for when words are cleaned: a shorter one would tear holes into
/// words that have nothing to do with it.
const SHORTEST_SECRET_BYTES: usize = 6;

/// An API key and headers that are credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Sent as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// Sent as they are, in place of headers of the same name.
    pub headers: Vec<(String, String)>,
    /// Members of `target.extraBody`, as a JSON object.
    pub body: Option<String>,
}

impl Credentials {
    /// The text with every credential in it replaced: servers like to repeat a wrong key.
    pub fn redact(&self, text: &str) -> String {
        let clean = |text: String, secret: &str| text.replace(secret, "[redacted]");
        let text = self.secrets().fold(text.to_owned(), clean);
        let mut of_body = Vec::new();
        texts_in(&self.body_members().into(), &mut of_body);
        of_body.iter().fold(text, |text, secret| clean(text, secret))
    }

    /// The target with what only we may know in its extra body.
    #[must_use]
    pub fn complete(&self, mut target: Target) -> Target {
        let secret = self.body_members();
        if !secret.is_empty() {
            let extra =
                target.extra_body.as_deref().and_then(|json| serde_json::from_str(json).ok());
            let mut members: Map<String, Value> = extra.unwrap_or_default();
            members.extend(secret);
            target.extra_body = Some(Value::Object(members).to_string());
        }
        target
    }

    fn body_members(&self) -> Map<String, Value> {
        let body = self.body.as_deref().and_then(|json| serde_json::from_str(json).ok());
        body.unwrap_or_default()
    }

    /// The secret texts; of a header like `Bearer abc` the part after the scheme too.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let of_headers = self.headers.iter().flat_map(|(_, value)| {
            let bare = value.split_once(' ').map(|(_, secret)| secret.trim());
            [Some(value.trim()), bare].into_iter().flatten()
        });
        self.api_key
            .iter()
            .map(|key| key.trim())
            .chain(of_headers)
            .filter(|secret| secret.len() >= SHORTEST_SECRET_BYTES)
    }
}

/// Every text of a value that is long enough to be a secret.
fn texts_in(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= SHORTEST_SECRET_BYTES => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts_in(value, texts)),
        Value::Object(members) => members.values().for_each(|value| texts_in(value, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        formatter
            .debug_struct("Credentials")
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .field("headers", &names)
            .field("body", &self.body.as_ref().map(|_| "[redacted]"))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            api_key: Some("sk-secret-1".into()),
            headers: vec![
                ("cookie".into(), "session=abcdef".into()),
                ("authorization".into(), "Basic Zm9vOmJhcg==".into()),
            ],
            body: Some(r#"{"store":{"api_key":"pk-deep-down"}}"#.into()),
        }
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let shown = format!("{:?}", credentials());
        assert!(
            !shown.contains("secret")
                && !shown.contains("abcdef")
                && !shown.contains("deep")
                && !shown.contains("Zm9"),
            "{shown}"
        );
    }

    #[test]
    fn what_a_plan_must_not_hold_is_sent_with_the_rest() {
        let target: Target = serde_json::from_value(serde_json::json!({
            "url": "http://t/v1/completions", "api": "Completions", "stream": true, "model": null, "model_is_chosen": false, "headers": [],
            "extra_body": r#"{"top_k":5}"#, "ignore_eos": false, "min_tokens": false,
        }))
        .unwrap();
        assert_eq!(Credentials::default().complete(target.clone()), target);
        let complete = credentials().complete(target).extra_body.unwrap();
        assert_eq!(complete, r#"{"top_k":5,"store":{"api_key":"pk-deep-down"}}"#);
    }

    #[test]
    fn a_key_that_the_server_repeats_is_taken_out_of_its_words() {
        let words = credentials()
            .redact("invalid key sk-secret-1, cookie session=abcdef, basic Zm9vOmJhcg==, store pk-deep-down");
        assert_eq!(
            words,
            "invalid key [redacted], cookie [redacted], basic [redacted], store [redacted]"
        );
    }
}
