//! What the answer says and how it looks on the wire: words, events, usage.
//!
//! Every word has the same length, so that a stream's token event is one template with five bytes to
//! overwrite: per token nothing is formatted and nothing allocated. The words depend on (seed, body)
//! only, so that a conversation's history can be checked by whoever holds both.

use crate::http::push_chunk;
use crate::openai::Api;
use crate::seeded::{Purpose, Seeded};

pub(crate) const WORD_BYTES: usize = 5;
const PLACEHOLDER: &str = " @@@@";

/// The text that a simulator of this seed answers a body with, by the body's hash: so that others can hold what they got
/// against what was said.
pub fn answer_text(seed: u64, body_sha256: [u8; 32], tokens: u64) -> String {
    let [a, b, c, d, e, f, g, h, ..] = body_sha256;
    let mut words = Seeded::new(seed, Purpose::Text, u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    (0..tokens).map(|_| String::from_utf8_lossy(&word(words.bits())).into_owned()).collect()
}

/// One token's text: a blank and two syllables, 4,096 different ones.
pub(crate) fn word(bits: u32) -> [u8; WORD_BYTES] {
    const CONSONANTS: &[u8; 16] = b"bcdfghjklmnprstv";
    const VOWELS: &[u8; 4] = b"aeio";
    let pick = |letters: &[u8], shift: u32| letters[(bits >> shift) as usize % letters.len()];
    [b' ', pick(CONSONANTS, 0), pick(VOWELS, 4), pick(CONSONANTS, 6), pick(VOWELS, 10)]
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinishReason {
    Length,
    Stop,
}

/// As it stands in an event; one that does not end has none.
fn finish_json(finish: Option<FinishReason>) -> &'static str {
    match finish {
        None => "null",
        Some(FinishReason::Length) => r#""length""#,
        Some(FinishReason::Stop) => r#""stop""#,
    }
}

/// How long an answer of at most `limit` tokens gets. The end may come after each token from
/// `min_tokens` on, so the length beyond it is geometric.
pub(crate) fn output_length(
    limit: u64,
    min_tokens: u64,
    eos_probability: f64,
    lengths: &mut Seeded,
) -> (u64, FinishReason) {
    if eos_probability <= 0.0 {
        return (limit, FinishReason::Length);
    }
    // Inverse of the geometric distribution; ln(1 - p) is -∞ for p = 1, which gives 0 more tokens.
    let more = ((1.0 - lengths.uniform()).ln() / (1.0 - eos_probability).ln()).floor();
    let tokens = min_tokens.max(1).saturating_add(more as u64);
    if tokens < limit { (tokens, FinishReason::Stop) } else { (limit, FinishReason::Length) }
}

/// Token counts of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: u64,
    pub(crate) cached_tokens: u64,
    pub(crate) completion_tokens: u64,
}

impl Usage {
    fn json(self) -> String {
        let Self { prompt_tokens, cached_tokens, completion_tokens } = self;
        format!(
            r#"{{"prompt_tokens":{prompt_tokens},"total_tokens":{},"completion_tokens":{completion_tokens},"prompt_tokens_details":{{"cached_tokens":{cached_tokens}}}}}"#,
            prompt_tokens + completion_tokens
        )
    }
}

/// The parts of an answer that are the same in all of its events, as JSON.
///
/// Events are put together as text: a tree of values for each was most of what a request cost, and a
/// request that takes long to begin delays the tokens of all others.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    api: Api,
    id: String,
    created_unix_s: u64,
    model: String,
}

impl Answer {
    /// `number` becomes the answer's id.
    pub(crate) fn new(api: Api, number: u64, created_unix_s: u64, model: &str) -> Self {
        let kind = match api {
            Api::Chat => "chatcmpl",
            Api::Completions => "cmpl",
        };
        Self { api, id: format!("{kind}-{number:016x}"), created_unix_s, model: quoted(model) }
    }

    /// Real chat servers open with an event that names the role and holds no content.
    pub(crate) fn role_event(&self) -> Option<String> {
        let choice = || chat_choice(r#"{"role":"assistant","content":""}"#, "null");
        (self.api == Api::Chat).then(|| self.event(&choice(), None))
    }

    pub(crate) fn token_event(
        &self,
        text: &str,
        finish: Option<FinishReason>,
        usage: Option<Usage>,
    ) -> String {
        let (text, finish) = (quoted(text), finish_json(finish));
        let choice = match self.api {
            Api::Chat => chat_choice(&format!(r#"{{"content":{text}}}"#), finish),
            Api::Completions => text_choice(&text, finish),
        };
        self.event(&choice, usage)
    }

    /// The last event before `[DONE]` if usage was asked for: no choices.
    pub(crate) fn usage_event(&self, usage: Usage) -> String {
        self.event("", Some(usage))
    }

    /// The body of an answer that is not streamed.
    pub(crate) fn whole(&self, text: &str, finish: FinishReason, usage: Usage) -> String {
        let (text, finish) = (quoted(text), finish_json(Some(finish)));
        let choice = match self.api {
            Api::Chat => format!(
                r#"{{"index":0,"message":{{"role":"assistant","content":{text}}},"logprobs":null,"finish_reason":{finish}}}"#
            ),
            Api::Completions => text_choice(&text, finish),
        };
        let object = match self.api {
            Api::Chat => "chat.completion",
            Api::Completions => "text_completion",
        };
        self.json(object, &choice, Some(usage))
    }

    fn event(&self, choices: &str, usage: Option<Usage>) -> String {
        let object = match self.api {
            Api::Chat => "chat.completion.chunk",
            Api::Completions => "text_completion",
        };
        self.json(object, choices, usage)
    }

    fn json(&self, object: &str, choices: &str, usage: Option<Usage>) -> String {
        let Self { id, created_unix_s, model, .. } = self;
        let usage = usage.map(|usage| format!(r#","usage":{}"#, usage.json())).unwrap_or_default();
        format!(
            r#"{{"id":"{id}","object":"{object}","created":{created_unix_s},"model":{model},"choices":[{choices}]{usage}}}"#
        )
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn chat_choice(delta: &str, finish: &str) -> String {
    format!(r#"{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}"#)
}

fn text_choice(text: &str, finish: &str) -> String {
    format!(r#"{{"index":0,"text":{text},"logprobs":null,"finish_reason":{finish}}}"#)
}

/// Appends `json` as one server-sent event in one chunk.
pub(crate) fn push_event(out: &mut Vec<u8>, json: &str) {
    push_chunk(out, format!("data: {json}\n\n").as_bytes());
}

/// A token event ready to send, but for its word.
#[derive(Clone, Debug)]
pub(crate) struct TokenFrame {
    bytes: Vec<u8>,
    word_at: usize,
}

impl TokenFrame {
    pub(crate) fn new(answer: &Answer) -> Self {
        let mut bytes = Vec::new();
        push_event(&mut bytes, &answer.token_event(PLACEHOLDER, None, None));
        // The last one: a model's name stands earlier and may hold anything.
        let found = bytes.windows(WORD_BYTES).rposition(|window| window == PLACEHOLDER.as_bytes());
        let word_at = found.expect("the event was made with the placeholder in it");
        Self { bytes, word_at }
    }

    /// The event with this word.
    pub(crate) fn with_word(&mut self, word: [u8; WORD_BYTES]) -> &[u8] {
        self.bytes[self.word_at..self.word_at + WORD_BYTES].copy_from_slice(&word);
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::seeded::Purpose;

    fn answer(api: Api) -> Answer {
        Answer::new(api, 1, 7, "m\" @@@@")
    }

    fn parse(event: &str) -> serde_json::Value {
        serde_json::from_str(event).unwrap()
    }

    #[test]
    fn words_are_ascii_of_one_length_and_cover_all_4096() {
        let words: std::collections::HashSet<_> = (0..4_096).map(word).collect();
        assert_eq!(words.len(), 4_096);
        assert!(
            words
                .iter()
                .all(|word| word[0] == b' ' && word[1..].iter().all(u8::is_ascii_lowercase))
        );
    }

    #[test]
    fn a_frame_is_the_event_with_another_word() {
        for api in [Api::Chat, Api::Completions] {
            let mut frame = TokenFrame::new(&answer(api));
            for bits in [3, 77] {
                let text = String::from_utf8(word(bits).to_vec()).unwrap();
                let mut expected = Vec::new();
                push_event(&mut expected, &answer(api).token_event(&text, None, None));
                assert_eq!(frame.with_word(word(bits)), expected);
            }
        }
    }

    #[test]
    fn chat_opens_with_a_role_and_no_content() {
        let event = parse(&answer(Api::Chat).role_event().unwrap());
        assert_eq!(event["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        assert_eq!(event["model"], "m\" @@@@");
        assert_eq!(answer(Api::Completions).role_event(), None);
    }

    #[test]
    fn usage_comes_without_choices_and_names_cached_tokens() {
        let usage = Usage { prompt_tokens: 10, cached_tokens: 4, completion_tokens: 3 };
        let event = parse(&answer(Api::Chat).usage_event(usage));
        assert_eq!(event["choices"], json!([]));
        assert_eq!(event["usage"]["total_tokens"], 13);
        assert_eq!(event["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
        assert!(parse(&answer(Api::Chat).token_event(" a", None, None)).get("usage").is_none());
    }

    #[test]
    fn whole_answers_have_their_apis_shape() {
        let usage = Usage { prompt_tokens: 1, cached_tokens: 0, completion_tokens: 1 };
        let chat = parse(&answer(Api::Chat).whole(" hi", FinishReason::Stop, usage));
        assert_eq!(chat["choices"][0]["message"]["content"], " hi");
        assert_eq!(
            (&chat["object"], &chat["choices"][0]["finish_reason"]),
            (&json!("chat.completion"), &json!("stop"))
        );
        let text = parse(&answer(Api::Completions).whole(" hi", FinishReason::Length, usage));
        assert_eq!(
            (&text["object"], &text["choices"][0]["text"]),
            (&json!("text_completion"), &json!(" hi"))
        );
    }

    #[test]
    fn without_an_eos_chance_an_answer_is_as_long_as_it_may() {
        let mut lengths = Seeded::new(1, Purpose::Length, 1);
        assert_eq!(output_length(9, 0, 0.0, &mut lengths), (9, FinishReason::Length));
        assert_eq!(output_length(9, 0, 1.0, &mut lengths), (1, FinishReason::Stop));
        assert_eq!(output_length(9, 4, 1.0, &mut lengths), (4, FinishReason::Stop));
        assert_eq!(output_length(9, 9, 1.0, &mut lengths), (9, FinishReason::Length));
    }

    #[test]
    fn an_eos_chance_of_a_tenth_gives_ten_tokens_on_average() {
        let mut lengths = Seeded::new(1, Purpose::Length, 1);
        let total: u64 = (0..10_000).map(|_| output_length(10_000, 0, 0.1, &mut lengths).0).sum();
        // Mean 1/p = 10, standard error √(0.9)/0.1/√10,000 = 0.095.
        assert!((9.5..10.5).contains(&(total as f64 / 10_000.0)), "{total}");
    }
}
