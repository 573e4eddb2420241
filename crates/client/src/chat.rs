//! The chat completions API (OpenAI API reference, `POST /v1/chat/completions`), as vLLM, SGLang,
//! llama.cpp and gateways before them speak it: what is sent, and what an event says.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use std::fmt;
use workload::{Prompt, Target};

use crate::body::{BodyError, Members, request};
use crate::event::{Choice, Content, Count, Event, EventError, Filled, read_answer, read_event};

/// The body of a request for `prompt`.
///
/// # Errors
/// When the prompt's JSON, or the target's extra body, is none.
pub fn body(target: &Target, prompt: &Prompt, model: Option<&str>) -> Result<Bytes, BodyError> {
    request(target, prompt, model, |content| {
        let messages = match content {
            workload::Content::Text(text) => {
                let text = serde_json::to_string(text).map_err(BodyError::Prompt)?;
                format!(r#"[{{"role":"user","content":{text}}}]"#)
            }
            workload::Content::TokenIds(_) => return Err(BodyError::TokensNeedCompletions),
            workload::Content::Messages(messages) => messages.clone(),
            workload::Content::Body(body) => {
                return Members::parse(body).map_err(BodyError::Prompt);
            }
        };
        let mut members = Members::default();
        members.set("messages", messages);
        Ok(members)
    })
}

/// What one event of a stream says.
///
/// # Errors
/// When the data is not JSON of this API.
pub fn event(data: &[u8]) -> Result<Event, EventError> {
    read_event::<Chunk>(data)
}

/// What a whole answer that was not streamed says.
///
/// # Errors
/// When it is not JSON of this API.
pub fn answer(json: &[u8]) -> Result<Event, EventError> {
    read_answer::<Chunk>(json)
}

/// A choice of an event (`delta`) or of a whole answer (`message`).
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    delta: Option<Said>,
    #[serde(default)]
    message: Option<Said>,
    #[serde(default)]
    finish_reason: Filled,
    #[serde(default)]
    logprobs: Option<LogProbs>,
    /// vLLM's `return_token_ids`.
    #[serde(default)]
    token_ids: Count,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Filled,
    #[serde(default)]
    refusal: Filled,
    /// vLLM, SGLang, llama.cpp and DeepSeek.
    #[serde(default)]
    reasoning_content: Filled,
    /// OpenRouter and newer vLLM.
    #[serde(default)]
    reasoning: Filled,
    #[serde(default)]
    tool_calls: ToolCalls,
    /// The API before tools.
    #[serde(default)]
    function_call: Option<Function>,
}

#[derive(Deserialize)]
struct LogProbs {
    #[serde(default)]
    content: Count,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    arguments: Filled,
}

#[derive(Deserialize)]
struct ToolCall {
    #[serde(default)]
    function: Option<Function>,
}

/// Whether any tool call of the event carries arguments.
#[derive(Clone, Copy, Default)]
struct ToolCalls(bool);

impl<'de> Deserialize<'de> for ToolCalls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = ToolCalls;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of tool calls")
            }

            fn visit_unit<E>(self) -> Result<ToolCalls, E> {
                Ok(ToolCalls(false))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ToolCalls, A::Error> {
                let mut any = false;
                while let Some(call) = seq.next_element::<ToolCall>()? {
                    any |= call.function.is_some_and(|function| function.arguments.0);
                }
                Ok(ToolCalls(any))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Said {
    fn content(&self) -> Option<Content> {
        let called = self.function_call.as_ref().is_some_and(|function| function.arguments.0);
        if self.content.0 || self.refusal.0 {
            Some(Content::Visible)
        } else if self.tool_calls.0 || called {
            Some(Content::ToolCall)
        } else if self.reasoning_content.0 || self.reasoning.0 {
            Some(Content::Reasoning)
        } else {
            None
        }
    }
}

impl From<Chunk> for Choice {
    fn from(chunk: Chunk) -> Self {
        let said = chunk.delta.or(chunk.message);
        Self {
            content: said.and_then(|said| said.content()),
            finish_reason: chunk.finish_reason.0,
            tokens: chunk.token_ids.0.or_else(|| chunk.logprobs.and_then(|of| of.content.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Usage;

    fn said(delta: &str) -> Event {
        event(
            format!(
                r#"{{"choices":[{{"index":0,"delta":{delta},"finish_reason":null}}],"usage":null}}"#
            )
            .as_bytes(),
        )
        .unwrap()
    }

    #[test]
    fn text_reasoning_and_arguments_are_content_and_nothing_else_is() {
        assert_eq!(said(r#"{"content":" a"}"#).content, Some(Content::Visible));
        assert_eq!(said(r#"{"content":"\n\u00e9"}"#).content, Some(Content::Visible));
        assert_eq!(
            said(r#"{"reasoning_content":"hm","content":null}"#).content,
            Some(Content::Reasoning)
        );
        assert_eq!(said(r#"{"reasoning":"hm"}"#).content, Some(Content::Reasoning));
        let call = |arguments| {
            format!(
                r#"{{"tool_calls":[{{"index":0,"function":{{"name":"f","arguments":"{arguments}"}}}}]}}"#
            )
        };
        assert_eq!(said(&call("{")).content, Some(Content::ToolCall));
        for nothing in [
            r#"{"role":"assistant"}"#,
            r#"{"role":"assistant","content":"","tool_calls":null}"#,
            r#"{"content":null}"#,
            "{}",
            &call(""),
        ] {
            assert_eq!(said(nothing).content, None, "{nothing}");
        }
    }

    #[test]
    fn what_a_user_sees_wins_over_reasoning_in_the_same_event() {
        assert_eq!(said(r#"{"reasoning":"hm","content":"a"}"#).content, Some(Content::Visible));
    }

    #[test]
    fn usage_comes_with_or_without_choices_and_details() {
        let event = event(
            br#"{"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":40,"total_tokens":70,
                "prompt_tokens_details":{"cached_tokens":1},"completion_tokens_details":{"reasoning_tokens":7}}}"#,
        )
        .unwrap();
        let usage = Usage {
            prompt_tokens: Some(30),
            completion_tokens: Some(40),
            reasoning_tokens: Some(7),
            cached_tokens: Some(1),
        };
        assert_eq!(event, Event { usage: Some(usage), ..Event::default() });
    }

    #[test]
    fn tokens_are_counted_from_ids_or_log_probabilities() {
        let with = |more| {
            let json = format!(r#"{{"choices":[{{"delta":{{"content":"ab"}},{more}}}]}}"#);
            event(json.as_bytes()).unwrap().tokens
        };
        assert_eq!(with(r#""logprobs":{"content":[{"token":"a"},{"token":"b"}]}"#), Some(2));
        assert_eq!(with(r#""token_ids":[1,2,3]"#), Some(3));
        assert_eq!(with(r#""logprobs":null"#), None);
    }

    #[test]
    fn an_error_in_the_stream_is_found_with_its_words() {
        let event = event(br#"{"error":{"message":"out of memory","code":500}}"#).unwrap();
        assert_eq!(event.error.as_deref(), Some("out of memory"));
        let old = super::event(br#"{"object":"error","message":"too long","code":400}"#).unwrap();
        assert_eq!(old.error.as_deref(), Some("too long"));
    }

    #[test]
    fn a_whole_answer_has_its_text_in_a_message() {
        let answer = answer(
            br#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a b"},
                "finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#,
        )
        .unwrap();
        assert_eq!(answer.content, Some(Content::Visible));
        assert!(answer.finish_reason && answer.error.is_none());
        assert_eq!(answer.usage.unwrap().completion_tokens, Some(2));
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for garbage in ["", "{", "[]", "nonsense", r#"{"choices":[{"delta":{"content":"a"#] {
            assert!(event(garbage.as_bytes()).is_err(), "{garbage}");
        }
    }
}
