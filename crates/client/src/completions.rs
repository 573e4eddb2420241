//! The completions API (OpenAI API reference, legacy `POST /v1/completions`), as vLLM, SGLang and
//! llama.cpp speak it: what is sent, and what an event says.

use bytes::Bytes;
use serde::Deserialize;
use workload::{Prompt, Target};

use crate::body::{BodyError, Members, request};
use crate::event::{Choice, Content, Count, Event, EventError, Filled, read_answer, read_event};

/// The body of a request for `prompt`.
///
/// # Errors
/// When the prompt is a list of messages, which this API has not, or when its JSON, or the target's
/// extra body, is none.
pub fn body(target: &Target, prompt: &Prompt, model: Option<&str>) -> Result<Bytes, BodyError> {
    request(target, prompt, model, |content| match content {
        workload::Content::Text(text) => {
            let mut members = Members::default();
            members.set("prompt", serde_json::to_string(text).map_err(BodyError::Prompt)?);
            Ok(members)
        }
        workload::Content::TokenIds(ids) => {
            let mut members = Members::default();
            members.set("prompt", serde_json::to_string(ids).map_err(BodyError::Prompt)?);
            Ok(members)
        }
        workload::Content::Messages(_) => Err(BodyError::MessagesNeedChat),
        workload::Content::Body(body) => Members::parse(body).map_err(BodyError::Prompt),
    })
}

/// What one event of a stream says.
///
/// # Errors
/// When the data is not JSON of this API.
pub fn event(data: &[u8]) -> Result<Event, EventError> {
    read_event::<Chunk>(data)
}

/// What a whole answer that was not streamed says: it has the shape of one event.
///
/// # Errors
/// When it is not JSON of this API.
pub fn answer(json: &[u8]) -> Result<Event, EventError> {
    read_answer::<Chunk>(json)
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    text: Filled,
    /// Some servers of reasoning models send it here too.
    #[serde(default)]
    reasoning: Filled,
    #[serde(default)]
    finish_reason: Filled,
    #[serde(default)]
    logprobs: Option<LogProbs>,
    /// vLLM's `return_token_ids`.
    #[serde(default)]
    token_ids: Count,
}

#[derive(Deserialize)]
struct LogProbs {
    #[serde(default)]
    tokens: Count,
}

impl From<Chunk> for Choice {
    fn from(chunk: Chunk) -> Self {
        let reasoning = chunk.reasoning.0.then_some(Content::Reasoning);
        Self {
            content: chunk.text.0.then_some(Content::Visible).or(reasoning),
            finish_reason: chunk.finish_reason.0,
            tokens: chunk.token_ids.0.or_else(|| chunk.logprobs.and_then(|of| of.tokens.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_content_and_the_empty_last_event_is_not() {
        let word =
            event(br#"{"choices":[{"text":" a","index":0,"logprobs":null,"finish_reason":null}]}"#);
        assert_eq!(word.unwrap().content, Some(Content::Visible));
        let last = event(
            br#"{"choices":[{"text":"","index":0,"finish_reason":"length"}],
                "usage":{"completion_tokens":16,"prompt_tokens":4,"total_tokens":20}}"#,
        )
        .unwrap();
        assert_eq!(last.content, None);
        assert!(last.finish_reason);
        assert_eq!(last.usage.unwrap().completion_tokens, Some(16));
    }

    #[test]
    fn tokens_are_counted_from_log_probabilities() {
        let event =
            event(br#"{"choices":[{"text":"ab","logprobs":{"tokens":["a","b"]}}]}"#).unwrap();
        assert_eq!(event.tokens, Some(2));
    }

    #[test]
    fn several_choices_of_one_event_are_taken_together() {
        let event =
            event(br#"{"choices":[{"text":"","token_ids":[]},{"text":"b","token_ids":[7]}]}"#)
                .unwrap();
        assert_eq!((event.content, event.tokens), (Some(Content::Visible), Some(1)));
    }
}
