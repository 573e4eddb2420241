//! What one event, or one whole answer, of an OpenAI-style API says that a measurement needs.
//!
//! Read without a tree and without keeping text: of a string only whether it is empty, of a list only
//! how long it is. The pieces here are those that chat and completions share; each API's own file
//! says where they stand.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The longest text of the server's own that is kept with a failure.
pub const DETAIL_BYTES: usize = 512;

/// What one event says. A role-only, empty or usage-only event has no content (METRICS.md, `event[i]`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The kind of generated content, where there is any.
    pub content: Option<Content>,
    /// The model has finished.
    pub finish_reason: bool,
    /// The usage so far, or of the whole request.
    pub usage: Option<Usage>,
    /// Generated tokens in this event, from token ids or log probabilities where the server sends them.
    pub tokens: Option<u32>,
    /// The server's words, where the event reports an error.
    pub error: Option<String>,
}

impl Event {
    /// Whether it says that there is content, and nothing else.
    pub(crate) fn is_plain_content(&self) -> bool {
        let Self { content, finish_reason, usage, tokens, error } = self;
        content.is_some()
            && !finish_reason
            && usage.is_none()
            && tokens.is_none()
            && error.is_none()
    }
}

/// The kinds of generated content, what a user sees last and highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// Reasoning that is not part of the answer.
    Reasoning,
    /// Arguments of a tool call.
    ToolCall,
    /// Text of the answer.
    Visible,
}

/// The server's own count of a request's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Generated tokens, reasoning included.
    pub completion_tokens: Option<u64>,
    /// Generated tokens that were reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Tokens of the prompt that a cache held.
    pub cached_tokens: Option<u64>,
}

/// An event's data, or an answer, is not what the API speaks.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not JSON of this API: {source}")]
pub struct EventError {
    /// What could not be read.
    what: &'static str,
    source: serde_json::Error,
}

/// Reads what one event of a stream says; `C` is the API's choice.
pub(crate) fn read_event<C>(data: &[u8]) -> Result<Event, EventError>
where
    C: for<'de> Deserialize<'de> + Into<Choice>,
{
    read::<C>(data).map_err(|source| EventError { what: "an event's data", source })
}

/// Reads what a whole answer says.
pub(crate) fn read_answer<C>(json: &[u8]) -> Result<Event, EventError>
where
    C: for<'de> Deserialize<'de> + Into<Choice>,
{
    read::<C>(json).map_err(|source| EventError { what: "the answer", source })
}

fn read<C>(json: &[u8]) -> Result<Event, serde_json::Error>
where
    C: for<'de> Deserialize<'de> + Into<Choice>,
{
    // serde would take a list for an object, its elements for the members in order.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde::de::Error::custom("expected an object"));
    }
    serde_json::from_slice::<Frame<'_, C>>(json).map(Frame::into_event)
}

/// Whether an event's data says that the stream is complete.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii() == b"[DONE]"
}

/// Folded over the choices of an event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) content: Option<Content>,
    pub(crate) finish_reason: bool,
    pub(crate) tokens: Option<u32>,
}

impl Choice {
    fn join(self, other: Self) -> Self {
        Self {
            content: self.content.max(other.content),
            finish_reason: self.finish_reason || other.finish_reason,
            tokens: match (self.tokens, other.tokens) {
                (Some(one), Some(two)) => Some(one.saturating_add(two)),
                (one, two) => one.or(two),
            },
        }
    }
}

/// The frame that all events and answers share; `C` is the API's choice.
#[derive(Deserialize)]
#[serde(bound = "C: Deserialize<'de> + Into<Choice>")]
struct Frame<'a, C> {
    #[serde(default)]
    choices: Choices<C>,
    #[serde(default)]
    usage: Option<UsageFields>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// Older vLLM reports an error as `{"object": "error", "message": …}`.
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

impl<C> Frame<'_, C> {
    fn into_event(self) -> Event {
        let Choice { content, finish_reason, tokens } = self.choices.joined;
        let error = self.error.filter(|error| is_filled(error)).or_else(|| {
            self.message.filter(|_| self.object.is_some_and(|object| object.get() == r#""error""#))
        });
        Event {
            content,
            finish_reason,
            usage: self.usage.map(Usage::from),
            tokens,
            error: error.map(|error| words_of(error.get().as_bytes())),
        }
    }
}

/// The list of choices, folded as it is read, so that no list is built.
struct Choices<C> {
    joined: Choice,
    of: std::marker::PhantomData<C>,
}

impl<C> Default for Choices<C> {
    fn default() -> Self {
        Self { joined: Choice::default(), of: std::marker::PhantomData }
    }
}

impl<'de, C: Deserialize<'de> + Into<Choice>> Deserialize<'de> for Choices<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fold<C>(Choices<C>);
        impl<'de, C: Deserialize<'de> + Into<Choice>> Visitor<'de> for Fold<C> {
            type Value = Choices<C>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of choices")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(self.0)
            }

            fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self::Value, A::Error> {
                while let Some(choice) = seq.next_element::<C>()? {
                    self.0.joined = self.0.joined.join(choice.into());
                }
                Ok(self.0)
            }
        }
        deserializer.deserialize_any(Fold(Self::default()))
    }
}

/// Whether a value says something: not null, and no empty string, list or object.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filled(pub(crate) bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The raw text of a value costs no copy, while a string with an escape in it would.
        <&RawValue>::deserialize(deserializer).map(|raw| Self(is_filled(raw)))
    }
}

fn is_filled(raw: &RawValue) -> bool {
    let text = raw.get();
    if text == "null" {
        return false;
    }
    let inside = match (text.as_bytes().first(), text.len()) {
        (Some(b'"' | b'[' | b'{'), 2..) => &text[1..text.len() - 1],
        _ => text,
    };
    // Spaces are content in a string and nothing in a list.
    if text.starts_with('"') { !inside.is_empty() } else { !inside.trim().is_empty() }
}

/// How long a list is; anything else counts as none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count(pub(crate) Option<u32>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Count;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0u32;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count = count.saturating_add(1);
                }
                Ok(Count(Some(count).filter(|count| *count > 0)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
        }
        deserializer.deserialize_any(Counting)
    }
}

#[derive(Deserialize)]
struct UsageFields {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

impl From<UsageFields> for Usage {
    fn from(fields: UsageFields) -> Self {
        Self {
            prompt_tokens: fields.prompt_tokens,
            completion_tokens: fields.completion_tokens,
            reasoning_tokens: fields.completion_tokens_details.and_then(|of| of.reasoning_tokens),
            cached_tokens: fields.prompt_tokens_details.and_then(|of| of.cached_tokens),
        }
    }
}

/// The words in a server's report of an error, at most [`DETAIL_BYTES`]: the message in the JSON
/// that servers send, else the text as it came.
pub(crate) fn words_of(report: &[u8]) -> String {
    let message = serde_json::from_slice::<Report>(report).ok().and_then(Report::message);
    let words = message.unwrap_or_else(|| {
        String::from_utf8_lossy(&report[..report.len().min(4 * DETAIL_BYTES)]).into_owned()
    });
    bounded(&words)
}

/// Text on one line, cut at [`DETAIL_BYTES`].
pub(crate) fn bounded(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|letter: char| letter.is_whitespace() || letter.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > DETAIL_BYTES {
            let room = DETAIL_BYTES - "…".len();
            let end = (0..=room).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
            line.truncate(end);
            line.push('…');
            return line;
        }
    }
    line
}

/// The shapes in which servers report errors: a bare string, `{"error": …}`, `{"message": …}` and
/// `{"detail": …}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Report {
    Text(String),
    Object(ReportObject),
}

#[derive(Deserialize)]
struct ReportObject {
    #[serde(default)]
    error: Option<Box<Report>>,
    #[serde(default)]
    message: Option<Box<Report>>,
    #[serde(default)]
    detail: Option<Box<Report>>,
}

impl Report {
    fn message(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object(object) => {
                let inner = object.error.or(object.message).or(object.detail)?;
                inner.message()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(json: &str) -> bool {
        serde_json::from_str::<Filled>(json).unwrap().0
    }

    #[test]
    fn null_and_empty_values_say_nothing() {
        for json in ["null", r#""""#, "[]", "{}", "[ ]"] {
            assert!(!filled(json), "{json}");
        }
        for json in [r#"" ""#, r#""\n""#, "[1]", r#"{"a":1}"#, "0", "false"] {
            assert!(filled(json), "{json}");
        }
    }

    #[test]
    fn the_servers_words_are_found_in_every_shape_of_report() {
        for report in [
            r#"{"error":{"message":"no such model","type":"x","code":404}}"#,
            r#"{"error":"no such model"}"#,
            r#"{"object":"error","message":"no such model"}"#,
            r#"{"detail":"no such model"}"#,
            r#""no such model""#,
            "no such\n   model\0",
        ] {
            assert_eq!(words_of(report.as_bytes()), "no such model", "{report}");
        }
    }

    #[test]
    fn words_are_cut_between_letters() {
        let words = words_of("ö".repeat(5_000).as_bytes());
        assert!(words.len() <= DETAIL_BYTES && words.ends_with("ö…"), "{} bytes", words.len());
    }

    #[test]
    fn done_is_done_with_spaces_around_it_too() {
        assert!(is_done(b"[DONE]") && is_done(b" [DONE] "));
        assert!(!is_done(b"{}"));
    }
}
