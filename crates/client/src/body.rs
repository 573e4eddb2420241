//! The JSON body of a request, put together from text that is already JSON.
//!
//! A record of a data set must reach the server as it was recorded: a number must not come out
//! rounded, nor a key reordered. So members are kept as the text they came in, and only the settings
//! that this run decides are replaced.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use workload::{Content, Prompt, Target};

/// A request's body cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The prompt is a JSON text that is none.
    #[error("the prompt is no usable JSON: {0}")]
    Prompt(serde_json::Error),
    /// The extra body is no JSON object.
    #[error("`target.extraBody` is no JSON object: {0}")]
    ExtraBody(serde_json::Error),
    /// A list of messages has no place in the completions API.
    #[error(
        "the prompt is a list of messages, which `target.api: completions` cannot send: use `chat`"
    )]
    MessagesNeedChat,
    /// A message is text.
    #[error(
        "the prompt is a list of token ids, which `target.api: chat` cannot send: use `completions`"
    )]
    TokensNeedCompletions,
}

/// The body of one request: the prompt's members as the API's `content` makes them, then this run's
/// settings, then the extra body merged over all (RFC 7396: objects merge, null takes a member out).
/// A prompt that is a body itself keeps everything but its stream settings, and its model where one was chosen.
pub(crate) fn request(
    target: &Target,
    prompt: &Prompt,
    model: Option<&str>,
    content: impl FnOnce(&Content) -> Result<Members, BodyError>,
) -> Result<Bytes, BodyError> {
    let mut members = Members::default();
    if let Some(model) = model.or(target.model.as_deref()) {
        members.set("model", serde_json::to_string(model).map_err(BodyError::Prompt)?);
    }
    let whole = matches!(prompt.content, Content::Body(_));
    let mut prompted = content(&prompt.content)?;
    if whole {
        // Nobody chose the model: the server's first is meant for bodies that name none.
        if target.model_is_chosen || prompted.get("model").is_none_or(|own| own == "null") {
            prompted.overlay(members);
        }
        members = prompted;
    } else {
        members.overlay(prompted);
        settings(&mut members, target, prompt.output_tokens);
    }
    streaming(&mut members, target).map_err(BodyError::Prompt)?;
    if let Some(extra) = &target.extra_body {
        members
            .merge(Members::parse(extra).map_err(BodyError::ExtraBody)?)
            .map_err(BodyError::ExtraBody)?;
    }
    Ok(Bytes::from(members.to_json()))
}

fn settings(members: &mut Members, target: &Target, output_tokens: Option<u32>) {
    if let Some(tokens) = output_tokens {
        members.set("max_tokens", tokens.to_string());
        if target.min_tokens {
            members.set("min_tokens", tokens.to_string());
        }
    }
    if target.ignore_eos {
        members.set("ignore_eos", "true".to_owned());
    }
}

fn streaming(members: &mut Members, target: &Target) -> Result<(), serde_json::Error> {
    members.set("stream", target.stream.to_string());
    if target.stream {
        members.merge(Members::parse(r#"{"stream_options":{"include_usage":true}}"#)?)
    } else {
        members.remove("stream_options");
        Ok(())
    }
}

/// The body of a probe: as the load's, but for the prompt's few tokens (one, where it says nothing), and with nothing that
/// asks for more.
pub(crate) fn few_tokens(
    target: &Target,
    prompt: &Prompt,
    model: Option<&str>,
) -> Result<Bytes, BodyError> {
    let body = crate::body(target, prompt, model)?;
    let mut members: Members = serde_json::from_slice(&body).map_err(BodyError::Prompt)?;
    // Some models know the newer name only, and the extra body says so.
    let limit = match members.get("max_completion_tokens") {
        Some(_) => "max_completion_tokens",
        None => "max_tokens",
    };
    members.set(limit, prompt.output_tokens.unwrap_or(1).to_string());
    members.remove("min_tokens");
    members.remove("ignore_eos");
    Ok(Bytes::from(members.to_json()))
}

/// The members of a JSON object in their order, each value as the text it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(Vec<(String, String)>);

impl Members {
    pub(crate) fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }

    /// Puts `json`, which must be JSON, at `key`: in its place where the key is there, else last.
    pub(crate) fn set(&mut self, key: &str, json: String) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, value)) => *value = json,
            None => self.0.push((key.to_owned(), json)),
        }
    }

    fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, json)| json.as_str())
    }

    /// Sets each member of `other`, whatever it held before.
    fn overlay(&mut self, other: Self) {
        for (key, json) in other.0 {
            self.set(&key, json);
        }
    }

    /// Merges a patch as RFC 7396 says.
    fn merge(&mut self, patch: Self) -> Result<(), serde_json::Error> {
        for (key, json) in patch.0 {
            if json == "null" {
                self.remove(&key);
            } else if json.starts_with('{') {
                let mut inner = match self.get(&key) {
                    Some(held) if held.starts_with('{') => Self::parse(held)?,
                    _ => Self::default(),
                };
                inner.merge(Self::parse(&json)?)?;
                self.set(&key, inner.to_json());
            } else {
                self.set(&key, json);
            }
        }
        Ok(())
    }

    fn to_json(&self) -> String {
        let mut json = String::with_capacity(
            self.0.iter().map(|(key, value)| key.len() + value.len() + 4).sum(),
        );
        json.push('{');
        for (index, (key, value)) in self.0.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(key.as_str()).to_string());
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Members::default();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    members.set(&key, value.get().to_owned());
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use workload::Api;

    use super::*;

    fn target() -> Target {
        Target {
            url: "http://127.0.0.1/v1/chat/completions".into(),
            api: Api::Chat,
            stream: true,
            model: Some("m".into()),
            model_is_chosen: true,
            headers: Vec::new(),
            extra_body: None,
            ignore_eos: false,
            min_tokens: false,
        }
    }

    fn prompt(content: Content, output_tokens: Option<u32>) -> Prompt {
        Prompt { number: 0, class: 0, content, input_tokens: None, output_tokens }
    }

    fn text(body: Bytes) -> String {
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn a_chat_request_asks_for_its_usage_and_length() {
        let body =
            crate::chat::body(&target(), &prompt(Content::Text("say \"a\"".into()), Some(7)), None);
        assert_eq!(
            text(body.unwrap()),
            r#"{"model":"m","messages":[{"role":"user","content":"say \"a\""}],"max_tokens":7,"stream":true,"stream_options":{"include_usage":true}}"#
        );
    }

    #[test]
    fn a_completion_that_is_not_streamed_has_no_stream_options() {
        let target = Target { stream: false, ignore_eos: true, min_tokens: true, ..target() };
        let body = crate::completions::body(
            &target,
            &prompt(Content::Text("a".into()), Some(7)),
            Some("other"),
        );
        assert_eq!(
            text(body.unwrap()),
            r#"{"model":"other","prompt":"a","max_tokens":7,"min_tokens":7,"ignore_eos":true,"stream":false}"#
        );
    }

    #[test]
    fn messages_are_sent_as_they_are_recorded_and_only_to_chat() {
        let recorded = r#"[{"role":"system","content":"x", "weight":1.000000000000000000001}]"#;
        let prompt = prompt(Content::Messages(recorded.into()), None);
        let body = text(crate::chat::body(&target(), &prompt, None).unwrap());
        assert!(body.contains(recorded), "{body}");
        let refused = crate::completions::body(&target(), &prompt, None);
        assert!(matches!(refused, Err(BodyError::MessagesNeedChat)));
    }

    #[test]
    fn a_recorded_body_changes_in_its_model_and_stream_settings_only() {
        let recorded = r#"{"big":123456789012345678901234567890,"model":"old","stream":false,"max_tokens":5,"messages":[],"stream_options":{"continuous_usage_stats":true}}"#;
        let target = Target { ignore_eos: true, ..target() };
        let body =
            crate::chat::body(&target, &prompt(Content::Body(recorded.into()), Some(9)), None);
        assert_eq!(
            text(body.unwrap()),
            r#"{"big":123456789012345678901234567890,"model":"m","stream":true,"max_tokens":5,"messages":[],"stream_options":{"continuous_usage_stats":true,"include_usage":true}}"#
        );
    }

    #[test]
    fn a_model_that_nobody_chose_stands_only_in_recorded_bodies_that_name_none() {
        let found = Target { model_is_chosen: false, ..target() };
        let model = |target: &Target, recorded: &str| {
            let prompt = prompt(Content::Body(recorded.into()), None);
            let body = text(crate::chat::body(target, &prompt, target.model.as_deref()).unwrap());
            serde_json::from_str::<serde_json::Value>(&body).unwrap()["model"].clone()
        };
        let (own, none) = (r#"{"model":"old","messages":[]}"#, r#"{"messages":[]}"#);
        assert_eq!((model(&found, own), model(&target(), own)), ("old".into(), "m".into()));
        for unnamed in [none, r#"{"model":null,"messages":[]}"#] {
            assert_eq!(model(&found, unnamed), "m", "{unnamed}");
        }
        let unknown = Target { model: None, ..found };
        assert_eq!(
            (model(&unknown, own), model(&unknown, none)),
            ("old".into(), serde_json::Value::Null)
        );
    }

    #[test]
    fn token_ids_are_the_prompt_of_a_completion_and_no_message() {
        let prompt = prompt(Content::TokenIds(vec![9707, 0]), None);
        let body = text(crate::completions::body(&target(), &prompt, None).unwrap());
        assert!(body.starts_with(r#"{"model":"m","prompt":[9707,0],"#), "{body}");
        let refused = crate::chat::body(&target(), &prompt, None);
        assert!(matches!(refused, Err(BodyError::TokensNeedCompletions)));
    }

    #[test]
    fn the_extra_body_is_merged_over_and_null_takes_out() {
        let extra = r#"{"max_tokens":null,"max_completion_tokens":9,"stream_options":{"continuous_usage_stats":true},"a":{"b":null,"c":{"d":1}}}"#;
        let target = Target { extra_body: Some(extra.into()), ..target() };
        let body =
            crate::completions::body(&target, &prompt(Content::Text("a".into()), Some(7)), None);
        assert_eq!(
            text(body.unwrap()),
            r#"{"model":"m","prompt":"a","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},"max_completion_tokens":9,"a":{"c":{"d":1}}}"#
        );
    }

    #[test]
    fn a_probe_orders_few_tokens_by_the_name_that_the_load_uses() {
        let target = Target { ignore_eos: true, min_tokens: true, ..target() };
        let prompt = prompt(Content::Text("a".into()), Some(7));
        let body = text(few_tokens(&target, &prompt, None).unwrap());
        assert!(body.contains(r#""max_tokens":7,"stream":true"#), "{body}");
        let extra = Some(r#"{"max_tokens":null,"max_completion_tokens":9}"#.into());
        let body =
            text(few_tokens(&Target { extra_body: extra, ..target }, &prompt, None).unwrap());
        assert!(
            body.contains(r#""max_completion_tokens":7"#) && !body.contains("max_tokens"),
            "{body}"
        );
    }

    #[test]
    fn what_is_no_json_is_refused_with_the_settings_name() {
        let broken = Target { extra_body: Some("[1]".into()), ..target() };
        let body = crate::chat::body(&broken, &prompt(Content::Text("a".into()), None), None);
        assert!(body.unwrap_err().to_string().contains("target.extraBody"));
        let broken = crate::chat::body(&target(), &prompt(Content::Body("{".into()), None), None);
        assert!(matches!(broken, Err(BodyError::Prompt(_))));
    }
}
