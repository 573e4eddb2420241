//! The text of an answer, for who goes on with the conversation.
//!
//! A measurement needs no text, and reading it costs an allocation an event; so it is read a second time here, apart from
//! what is measured, and only by clients that were told to keep it. Reasoning and tool calls are not what the server said.

use std::borrow::Cow;

use serde::Deserialize;

use crate::event::is_done;
use crate::sse::Sse;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Message<'a>>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

/// What a server has said so far.
#[derive(Debug, Default)]
pub(crate) struct Said {
    sse: Sse,
    text: String,
    done: bool,
}

impl Said {
    /// What an answer in one piece says.
    pub(crate) fn whole(json: &[u8]) -> String {
        let mut text = String::new();
        append(json, &mut text);
        text
    }

    /// Feeds a part of a stream, cut anywhere.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let Self { sse, text, done } = self;
        // A stream that is none has failed for who measures it, and its text is asked for by nobody.
        let _read = sse.push(bytes, |message| {
            *done |= is_done(message.data);
            if !*done {
                append(message.data, text);
            }
        });
    }

    /// All of it.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Adds what one event, or one whole answer, says; of several choices the first.
fn append(json: &[u8], said: &mut String) {
    let Ok(frame) = serde_json::from_slice::<Frame<'_>>(json) else { return };
    let Some(choice) = frame.choices.into_iter().next() else { return };
    let message = choice.delta.or(choice.message).and_then(|message| message.content);
    if let Some(text) = message.or(choice.text) {
        said.push_str(&text);
    }
}

/// A message of a chat, as JSON.
pub fn message(role: &str, text: &str) -> String {
    let [role, text] = [role, text].map(|text| serde_json::Value::from(text).to_string());
    format!(r#"{{"role":{role},"content":{text}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(events: &[&str]) -> String {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let mut said = Said::default();
        // Cut anywhere: here into pieces of seven bytes, in the middle of letters too.
        stream.as_bytes().chunks(7).for_each(|piece| said.push(piece));
        said.into_text()
    }

    #[test]
    fn the_answers_text_without_roles_reasoning_and_usage() {
        let events = [
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
            r#"{"choices":[{"delta":{"content":"a \"b\""}},{"delta":{"content":"other"}}]}"#,
            r#"{"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}"#,
            r#"{"choices":[{"delta":{"content":" ü"}}]}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":1}}"#,
            "[DONE]",
            r#"{"choices":[{"delta":{"content":"no more"}}]}"#,
        ];
        assert_eq!(said(&events), "a \"b\" ü");
        assert_eq!(
            Said::whole(br#"{"choices":[{"message":{"role":"assistant","content":"whole"}}]}"#),
            "whole"
        );
        assert_eq!(said(&[r#"{"choices":[{"text":"c"}]}"#]), "c");
        assert_eq!(message("user", "a\n\"b\""), r#"{"role":"user","content":"a\n\"b\""}"#);
    }
}
