//! Which settings are secret by their names.
//!
//! They are sent and nowhere written: they are in no plan, so in no message and no journal, and `config.yaml` has a word
//! in their place. Names are all that there is to go by, so for headers the net is wide: one too many costs nothing but
//! its value in a file. Bodies have a list of their own, as `max_tokens` is no credential.

use serde_json::{Map, Value};

use super::value::REDACTED;

/// Does a header of this name carry a credential?
pub fn looks_like_credential(header: &str) -> bool {
    const WORDS: [&str; 7] = ["auth", "cookie", "key", "token", "secret", "pass", "credential"];
    let name = header.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// Does a key that is in no table carry a credential?
pub(super) fn names_a_secret(path: &str) -> bool {
    let last: String =
        path.rsplit('.').next().unwrap_or(path).chars().filter(char::is_ascii_alphabetic).collect();
    ["apikey", "openaiapikey", "token", "apitoken", "secret", "password", "authorization"]
        .contains(&last.to_lowercase().as_str())
}

/// Does a parameter of a URL of this name carry a credential? It is refused, so the net is narrower.
pub(crate) fn is_secret_parameter(name: &str) -> bool {
    const WORDS: [&str; 5] = ["authorization", "key", "token", "secret", "password"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// Does a member of a request's body of this name hold a credential?
fn is_secret_member(name: &str) -> bool {
    const WORDS: [&str; 15] = [
        "accesskey",
        "accesstoken",
        "apikey",
        "apitoken",
        "authorization",
        "authtoken",
        "bearer",
        "credential",
        "passphrase",
        "passwd",
        "password",
        "privatekey",
        "refreshtoken",
        "secret",
        "sessiontoken",
    ];
    const WHOLE: [&str; 5] = ["auth", "jwt", "pass", "pwd", "token"];
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let name: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    WHOLE.contains(&name.as_str()) || WORDS.iter().any(|word| name.contains(word))
}

/// Is there a credential at any depth?
fn holds_secret(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, value)| is_secret_member(name) || holds_secret(value))
        }
        Value::Array(values) => values.iter().any(holds_secret),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The members of a body that hold no credential, and those that do; whole members, as a body is merged by them.
pub(super) fn split(body: &Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    let owned = body.iter().map(|(name, value)| (name.clone(), value.clone()));
    let (secret, harmless): (Vec<_>, Vec<_>) =
        owned.partition(|(name, value)| is_secret_member(name) || holds_secret(value));
    (harmless.into_iter().collect(), secret.into_iter().collect())
}

/// The names of the members of a body that hold a credential.
pub(crate) fn secret_members(body: &Map<String, Value>) -> Vec<String> {
    split(body).1.keys().cloned().collect()
}

/// A body as it may be written down.
pub(super) fn hidden(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let shown = |(name, value): (&String, &Value)| {
                let value =
                    if is_secret_member(name) { Value::from(REDACTED) } else { hidden(value) };
                (name.clone(), value)
            };
            Value::Object(members.iter().map(shown).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(hidden).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn headers_named_like_a_credential() {
        for name in ["x-pass", "X-Auth", "client-secret", "x-password", "Ocp-Apim-Subscription-Key"]
        {
            assert!(looks_like_credential(name), "{name}");
        }
        for name in ["x-team", "accept", "user-agent"] {
            assert!(!looks_like_credential(name), "{name}");
        }
    }

    #[test]
    fn members_named_like_a_credential_and_those_that_only_sound_so() {
        for name in [
            "api_key",
            "apiKey",
            "password",
            "client_secret",
            "Authorization",
            "auth-token",
            "token",
        ] {
            assert!(is_secret_member(name), "{name}");
        }
        for name in
            ["max_tokens", "stop_token_ids", "prompt_cache_key", "top_k", "author", "bypass"]
        {
            assert!(!is_secret_member(name), "{name}");
        }
    }

    #[test]
    fn a_credential_is_hidden_at_any_depth_and_its_member_kept_apart() {
        let body =
            json!({"top_k": 5, "store": {"user": "u", "api_key": "k"}, "list": [{"password": 3}]});
        assert_eq!(
            hidden(&body),
            json!({"top_k": 5, "store": {"user": "u", "api_key": REDACTED}, "list": [{"password": REDACTED}]})
        );
        let (harmless, secret) = split(body.as_object().unwrap());
        assert_eq!(Value::from(harmless), json!({"top_k": 5}));
        assert_eq!(secret.keys().collect::<Vec<_>>(), ["store", "list"]);
    }
}
