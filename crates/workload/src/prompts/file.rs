//! Records of prompt files: a text, a list of chat messages, or a whole OpenAI request body.
//!
//! What a JSON object is, its keys tell: `model` or a sampling parameter makes it a request body, which
//! is sent unaltered; else `messages` or `prompt` is what is asked, and keys that mean nothing to the
//! API (an id, a category) are not sent.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::Content;
use super::record::{Answer, Record, Unreadable};
use crate::plan::Api;

/// Keys that only a request body has. (Sources: the API reference of OpenAI, and of vLLM for its extensions.)
const BODY_KEYS: [&str; 20] = [
    "frequency_penalty",
    "ignore_eos",
    "logit_bias",
    "logprobs",
    "min_tokens",
    "model",
    "n",
    "presence_penalty",
    "repetition_penalty",
    "response_format",
    "seed",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user",
    "min_p",
];

/// Keys with the number of tokens to order.
const ANSWER_KEYS: [&str; 3] = ["max_tokens", "max_completion_tokens", "output_tokens"];

/// A line of text; `None` for a blank one.
pub(super) fn text_record(text: &str) -> Option<Record> {
    let content = Content::Text(text.to_owned());
    (!text.trim().is_empty()).then_some(Record { content, answer: Answer::Unknown })
}

/// A JSON value.
pub(super) fn json_record(json: &str, api: Api) -> Result<Record, Unreadable> {
    match json.trim_start().bytes().next() {
        Some(b'"') => text_value(json).map(|content| Record { content, answer: Answer::Unknown }),
        Some(b'{') => object_record(json, api),
        _ => {
            _ = serde_json::from_str::<serde::de::IgnoredAny>(json)
                .map_err(|error| Unreadable::from_json(&error))?;
            Err(Unreadable::new("neither a text nor an object with `prompt` or `messages`"))
        }
    }
}

fn object_record(json: &str, api: Api) -> Result<Record, Unreadable> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(json).map_err(|error| Unreadable::from_json(&error))?;
    let (prompt, messages) = (fields.get("prompt"), fields.get("messages"));
    let answer = ANSWER_KEYS
        .iter()
        .find_map(|key| fields.get(*key))
        .map_or(Ok(Answer::Unknown), |raw| answer_tokens(raw))?;
    let is_body = BODY_KEYS.iter().any(|key| fields.contains_key(*key));
    let content = match (prompt, messages) {
        (Some(_), Some(_)) => return Err(Unreadable::new("it has both `prompt` and `messages`")),
        (None, None) => return Err(Unreadable::new("it has neither `prompt` nor `messages`")),
        (None, Some(_)) if api == Api::Completions => {
            return Err(Unreadable::new(
                "it has `messages`, but the target speaks the completions API",
            ));
        }
        (None, Some(messages)) => {
            check_messages(messages.get())?;
            if is_body {
                Content::Body(json.trim().to_owned())
            } else {
                Content::Messages(messages.get().to_owned())
            }
        }
        (Some(prompt), None) if is_body || !prompt.get().starts_with('"') => {
            let is_prompt = prompt.get().starts_with(['"', '[']);
            if api == Api::Chat && is_body && is_prompt {
                return Err(Unreadable::new(
                    "it is a request body with `prompt`, but the target speaks the chat API",
                ));
            }
            if api == Api::Chat {
                return Err(Unreadable::new("its `prompt` must be a text"));
            }
            if !is_prompt {
                return Err(Unreadable::new("its `prompt` must be a text or a list"));
            }
            Content::Body(json.trim().to_owned())
        }
        (Some(prompt), None) => text_value(prompt.get())?,
    };
    Ok(Record { content, answer })
}

fn text_value(json: &str) -> Result<Content, Unreadable> {
    let text: String = serde_json::from_str(json).map_err(|error| Unreadable::from_json(&error))?;
    if text.trim().is_empty() {
        Err(Unreadable::new("the prompt is empty"))
    } else {
        Ok(Content::Text(text))
    }
}

fn check_messages(json: &str) -> Result<(), Unreadable> {
    match serde_json::from_str::<Vec<BTreeMap<String, serde::de::IgnoredAny>>>(json) {
        Ok(messages) if messages.is_empty() => Err(Unreadable::new("`messages` is empty")),
        Ok(messages) if messages.iter().all(|message| message.contains_key("role")) => Ok(()),
        Ok(_) | Err(_) => Err(Unreadable::new("`messages` is not a list of objects with `role`")),
    }
}

fn answer_tokens(raw: &RawValue) -> Result<Answer, Unreadable> {
    match raw.get().parse::<u32>() {
        Ok(tokens) if tokens > 0 => Ok(Answer::Tokens(tokens)),
        _ if raw.get() == "null" => Ok(Answer::Unknown),
        _ => Err(Unreadable::new(format!("{} is not a number of tokens to order", raw.get()))),
    }
}

/// Where the columns of a CSV file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    prompt: usize,
    answer: Option<usize>,
}

impl Columns {
    /// From the first record.
    pub(super) fn from_header(header: &str) -> Result<Self, Unreadable> {
        let names = fields_of(header)?;
        let place =
            |wanted: &str| names.iter().position(|name| name.trim().eq_ignore_ascii_case(wanted));
        let answer = ANSWER_KEYS.iter().find_map(|key| place(key));
        place("prompt").map(|prompt| Self { prompt, answer }).ok_or_else(|| {
            let shown: Vec<String> =
                names.iter().take(8).map(|name| format!("`{}`", name.trim())).collect();
            Unreadable::new(format!("no column `prompt` among {}", shown.join(", ")))
        })
    }

    /// One record after the header.
    pub(super) fn record(self, line: &str) -> Result<Record, Unreadable> {
        let mut fields = fields_of(line)?;
        let answer =
            match self.answer.and_then(|answer| fields.get(answer)).map(|field| field.trim()) {
                None | Some("") => Answer::Unknown,
                Some(field) => match field.parse::<u32>() {
                    Ok(tokens) if tokens > 0 => Answer::Tokens(tokens),
                    _ => {
                        return Err(Unreadable::new(format!(
                            "`{field}` is not a number of tokens to order"
                        )));
                    }
                },
            };
        if self.prompt >= fields.len() {
            return Err(Unreadable::new(format!(
                "it has {} fields, column `prompt` is number {}",
                fields.len(),
                self.prompt + 1
            )));
        }
        text_record(&fields.swap_remove(self.prompt))
            .map(|record| Record { answer, ..record })
            .ok_or_else(|| Unreadable::new("the prompt is empty"))
    }
}

/// The fields of one CSV record (RFC 4180: quotes around a field, doubled inside).
fn fields_of(record: &str) -> Result<Vec<String>, Unreadable> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(Unreadable::new("text follows a closing quote")),
        }
    }
}

fn quoted_field(quoted: &str) -> Result<(String, &str), Unreadable> {
    let (mut field, mut rest) = (String::new(), quoted);
    loop {
        let Some(quote) = rest.find('"') else {
            return Err(Unreadable::new("a quote is not closed"));
        };
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        let Some(after_double) = rest.strip_prefix('"') else { return Ok((field, rest)) };
        field.push('"');
        rest = after_double;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(json: &str) -> Result<Record, String> {
        json_record(json, Api::Chat).map_err(|unreadable| unreadable.reason)
    }

    #[test]
    fn objects_are_what_their_keys_say() {
        let content = |json: &str| chat(json).unwrap().content;
        assert_eq!(content("\"plain\""), Content::Text("plain".to_owned()));
        assert_eq!(content("{\"prompt\": \"a\\nb\", \"id\": 7}"), Content::Text("a\nb".to_owned()));
        let messages = "[{\"role\": \"user\",  \"content\": 1.0}]";
        assert_eq!(
            content(&format!("{{\"messages\": {messages}}}")),
            Content::Messages(messages.to_owned())
        );
        let body = format!("{{\"model\": \"m\", \"messages\": {messages}, \"temperature\": 0.10}}");
        assert_eq!(content(&format!(" {body} ")), Content::Body(body));
        let tokens = "{\"prompt\": [1, 2, 3]}";
        assert_eq!(
            json_record(tokens, Api::Completions).unwrap().content,
            Content::Body(tokens.to_owned())
        );
    }

    #[test]
    fn the_length_of_the_answer_is_read() {
        assert_eq!(
            chat("{\"prompt\": \"a\", \"max_tokens\": 5}").unwrap().answer,
            Answer::Tokens(5)
        );
        assert_eq!(
            chat("{\"prompt\": \"a\", \"max_tokens\": null}").unwrap().answer,
            Answer::Unknown
        );
        assert_eq!(
            chat("{\"prompt\": \"a\", \"output_tokens\": 0}").unwrap_err(),
            "0 is not a number of tokens to order"
        );
    }

    #[test]
    fn unusable_objects_say_why() {
        for (json, reason) in [
            ("{\"promt\": \"a\"}", "it has neither `prompt` nor `messages`"), // misspelt
            ("{\"prompt\": \"a\", \"messages\": []}", "it has both `prompt` and `messages`"),
            ("{\"messages\": []}", "`messages` is empty"),
            (
                "{\"messages\": [{\"content\": \"x\"}]}",
                "`messages` is not a list of objects with `role`",
            ),
            ("{\"prompt\": \" \"}", "the prompt is empty"),
            ("{\"prompt\": [1]}", "its `prompt` must be a text"),
            ("{\"prompt\": 5}", "its `prompt` must be a text"),
            ("{\"prompt\": null, \"model\": \"m\"}", "its `prompt` must be a text"),
            (
                "{\"prompt\": \"a\", \"model\": \"m\"}",
                "it is a request body with `prompt`, but the target speaks the chat API",
            ),
            ("{\"prompt\" \"a\"}", "not JSON: expected `:` (column 11)"),
            ("17", "neither a text nor an object with `prompt` or `messages`"),
        ] {
            assert_eq!(chat(json).unwrap_err(), reason, "{json}");
        }
        assert!(json_record("{\"prompt\": \"a", Api::Chat).unwrap_err().is_cut);
        assert_eq!(
            json_record("{\"prompt\": 5}", Api::Completions).unwrap_err().reason,
            "its `prompt` must be a text or a list"
        );
        assert!(
            json_record("{\"messages\": [{\"role\": 1}]}", Api::Completions)
                .unwrap_err()
                .reason
                .contains("completions API")
        );
    }

    #[test]
    fn csv_fields_are_unquoted() {
        let columns = Columns::from_header("id, Prompt ,max_tokens").unwrap();
        let record = columns.record("1,\"say \"\"hi\"\", then\nstop\",12").unwrap();
        assert_eq!(
            record,
            Record {
                content: Content::Text("say \"hi\", then\nstop".to_owned()),
                answer: Answer::Tokens(12)
            }
        );
        assert_eq!(columns.record("1,plain,").unwrap().answer, Answer::Unknown);
        for (line, reason) in [
            ("1", "it has 1 fields, column `prompt` is number 2"),
            ("1,\"a\"b,2", "text follows a closing quote"),
            ("1,\"a", "a quote is not closed"),
            ("1,,2", "the prompt is empty"),
            ("1,a,x", "`x` is not a number of tokens to order"),
        ] {
            assert_eq!(columns.record(line).unwrap_err().reason, reason, "{line}");
        }
        assert_eq!(
            Columns::from_header("id,text").unwrap_err().reason,
            "no column `prompt` among `id`, `text`"
        );
    }
}
