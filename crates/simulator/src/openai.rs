//! What a client asked for: OpenAI's chat completions and completions requests, and their refusals.
//!
//! Field names and refusals follow the OpenAI API reference and vLLM's additions (`ignore_eos`,
//! `min_tokens`, `stream_options.continuous_usage_stats`). Unknown fields are ignored, as both do.

use serde::Deserialize;
use serde_json::json;

/// Which of the two endpoints was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Chat,
    Completions,
}

impl Api {
    /// Tokens of an answer whose request sets no limit: small, so that a forgotten limit shows
    /// quickly instead of streaming for an hour. 16 is the API's own default for completions.
    fn default_max_tokens(self) -> u64 {
        match self {
            Self::Chat => 128,
            Self::Completions => 16,
        }
    }
}

/// A request that can be answered, but for its model and length.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) api: Api,
    pub(crate) model: String,
    pub(crate) prompt: Prompt,
    max_tokens: Option<u64>,
    pub(crate) min_tokens: u64,
    pub(crate) ignore_eos: bool,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) continuous_usage: bool,
}

/// The prompt as the engine sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Prompt {
    Text(String),
    /// Token ids, four bytes each, so that ⌈bytes/4⌉ is their exact number.
    TokenIds(Vec<u8>),
}

impl Prompt {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::TokenIds(ids) => ids,
        }
    }
}

/// An error status with OpenAI's JSON body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) param: Option<&'static str>,
    pub(crate) code: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None }
    }

    pub(crate) fn unknown_model(asked: &str) -> Self {
        let message = format!("The model `{asked}` does not exist.");
        Self { param: Some("model"), code: Some("model_not_found"), ..Self::new(404, message) }
    }

    pub(crate) fn wrong_key() -> Self {
        Self { code: Some("invalid_api_key"), ..Self::new(401, "Incorrect or missing API key.") }
    }

    fn field(param: &'static str, message: impl Into<String>) -> Self {
        Self { param: Some(param), ..Self::new(400, message) }
    }

    /// The body: `{"error": {"message", "type", "param", "code"}}`.
    pub(crate) fn body(&self) -> String {
        let kind = match self.status {
            401 => "authentication_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let error =
            json!({"message": self.message, "type": kind, "param": self.param, "code": self.code});
        json!({ "error": error }).to_string()
    }
}

#[derive(Deserialize)]
struct RawAsk {
    model: Option<String>,
    messages: Option<Vec<RawMessage>>,
    prompt: Option<RawPrompt>,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    min_tokens: Option<u64>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<RawStreamOptions>,
    n: Option<u64>,
}

#[derive(Default, Deserialize)]
struct RawStreamOptions {
    include_usage: Option<bool>,
    continuous_usage_stats: Option<bool>,
}

#[derive(Deserialize)]
struct RawMessage {
    role: String,
    content: Option<RawContent>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawContent {
    Text(String),
    Parts(Vec<RawPart>),
}

#[derive(Deserialize)]
struct RawPart {
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawPrompt {
    Text(String),
    TokenIds(Vec<u32>),
    Texts(Vec<String>),
    ManyTokenIds(Vec<Vec<u32>>),
}

/// What is to be counted: a text as it is, or chat messages as the model would get them.
pub(crate) fn tokenized_prompt(body: &[u8]) -> Result<Prompt, Refusal> {
    #[derive(Deserialize)]
    struct RawCount {
        prompt: Option<String>,
        messages: Option<Vec<RawMessage>>,
    }
    let raw: RawCount = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, format!("The body is not a valid request: {error}")))?;
    match (raw.prompt, raw.messages) {
        (Some(text), _) => Ok(Prompt::Text(text)),
        (None, Some(messages)) => Ok(Prompt::Text(render_chat(&messages)?)),
        (None, None) => Err(Refusal::field("prompt", "`prompt` or `messages` is required.")),
    }
}

impl Ask {
    /// Reads a request's body.
    pub(crate) fn parse(api: Api, body: &[u8]) -> Result<Self, Refusal> {
        let raw: RawAsk = serde_json::from_slice(body).map_err(|error| {
            Refusal::new(400, format!("The body is not a valid request: {error}"))
        })?;
        let model = raw.model.ok_or_else(|| Refusal::field("model", "`model` is required."))?;
        if raw.n.is_some_and(|choices| choices != 1) {
            return Err(Refusal::field("n", "Only `n` = 1 is supported."));
        }
        let prompt = match api {
            Api::Chat => Prompt::Text(render_chat(raw.messages.as_deref().unwrap_or_default())?),
            Api::Completions => render_prompt(raw.prompt)?,
        };
        let options = raw.stream_options.unwrap_or_default();
        let stream = raw.stream.unwrap_or(false);
        Self {
            api,
            model,
            prompt,
            max_tokens: raw.max_completion_tokens.or(raw.max_tokens),
            min_tokens: raw.min_tokens.unwrap_or(0),
            ignore_eos: raw.ignore_eos.unwrap_or(false),
            stream,
            include_usage: options.include_usage.unwrap_or(false),
            continuous_usage: options.continuous_usage_stats.unwrap_or(false),
        }
        .with_limits_checked()
    }

    fn with_limits_checked(self) -> Result<Self, Refusal> {
        if self.max_tokens == Some(0) {
            return Err(Refusal::field("max_tokens", "`max_tokens` must be at least 1."));
        }
        if self.max_tokens.is_some_and(|limit| self.min_tokens > limit) {
            return Err(Refusal::field("min_tokens", "`min_tokens` must not exceed `max_tokens`."));
        }
        Ok(self)
    }

    /// How long the answer may get, given the prompt's length; a 400 in vLLM's words if both
    /// together exceed the context.
    pub(crate) fn token_limit(
        &self,
        prompt_tokens: u64,
        context_length: u64,
    ) -> Result<u64, Refusal> {
        let room = context_length.saturating_sub(prompt_tokens);
        let limit = self
            .max_tokens
            .unwrap_or_else(|| self.api.default_max_tokens().max(self.min_tokens).min(room));
        if limit >= 1 && limit <= room {
            return Ok(limit);
        }
        let asked = prompt_tokens.saturating_add(limit);
        let message = format!(
            "This model's maximum context length is {context_length} tokens. However, you requested {asked} tokens \
             ({prompt_tokens} in the messages, {limit} in the completion). Please reduce the length of the messages \
             or completion."
        );
        Err(Refusal { code: Some("context_length_exceeded"), ..Refusal::new(400, message) })
    }
}

/// The chat template, ChatML's; `/health` names it.
fn render_chat(messages: &[RawMessage]) -> Result<String, Refusal> {
    if messages.is_empty() {
        return Err(Refusal::field("messages", "`messages` is required and must not be empty."));
    }
    let mut rendered = String::new();
    for message in messages {
        rendered.push_str("<|im_start|>");
        rendered.push_str(&message.role);
        rendered.push('\n');
        match &message.content {
            Some(RawContent::Text(text)) => rendered.push_str(text),
            Some(RawContent::Parts(parts)) => {
                rendered.extend(parts.iter().filter_map(|part| part.text.as_deref()));
            }
            None => {}
        }
        rendered.push_str("<|im_end|>\n");
    }
    rendered.push_str("<|im_start|>assistant\n");
    Ok(rendered)
}

fn render_prompt(raw: Option<RawPrompt>) -> Result<Prompt, Refusal> {
    let ids = |ids: &[u32]| Prompt::TokenIds(ids.iter().flat_map(|id| id.to_le_bytes()).collect());
    let prompt = match raw {
        None => return Err(Refusal::field("prompt", "`prompt` is required.")),
        Some(RawPrompt::Text(text)) => Prompt::Text(text),
        Some(RawPrompt::TokenIds(list)) => ids(&list),
        Some(RawPrompt::Texts(mut texts)) if texts.len() == 1 => Prompt::Text(texts.remove(0)),
        Some(RawPrompt::ManyTokenIds(lists)) if lists.len() == 1 => ids(&lists[0]),
        Some(RawPrompt::Texts(_) | RawPrompt::ManyTokenIds(_)) => {
            return Err(Refusal::field("prompt", "Only one prompt a request is supported."));
        }
    };
    if prompt.bytes().is_empty() {
        return Err(Refusal::field("prompt", "`prompt` must not be empty."));
    }
    Ok(prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: &str) -> Result<Ask, Refusal> {
        Ask::parse(Api::Chat, body.as_bytes())
    }

    fn completion(body: &str) -> Result<Ask, Refusal> {
        Ask::parse(Api::Completions, body.as_bytes())
    }

    #[test]
    fn messages_are_rendered_by_the_template() {
        let ask = chat(
            r#"{"model": "m", "messages": [{"role": "system", "content": "S"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": null}]}"#,
        )
        .unwrap();
        let rendered = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nab<|im_end|>\n\
                        <|im_start|>assistant\n<|im_end|>\n<|im_start|>assistant\n";
        assert_eq!(ask.prompt, Prompt::Text(rendered.to_owned()));
        assert!(!ask.stream && !ask.include_usage && !ask.ignore_eos);
    }

    #[test]
    fn the_newer_limit_wins_and_the_default_is_small() {
        let limit = |body: &str| chat(body).unwrap().token_limit(10, 1_000).unwrap();
        let messages = r#""model": "m", "messages": [{"role": "user", "content": "x"}]"#;
        assert_eq!(
            limit(&format!(r#"{{{messages}, "max_tokens": 5, "max_completion_tokens": 6}}"#)),
            6
        );
        assert_eq!(limit(&format!(r#"{{{messages}, "max_tokens": 5}}"#)), 5);
        assert_eq!(limit(&format!("{{{messages}}}")), 128);
        let text = completion(r#"{"model": "m", "prompt": "x"}"#).unwrap();
        assert_eq!(text.token_limit(10, 1_000), Ok(16));
        assert_eq!(
            text.token_limit(990, 1_000),
            Ok(10),
            "an unset limit fits itself to the context"
        );
    }

    #[test]
    fn what_exceeds_the_context_is_refused_as_vllm_does() {
        let ask = completion(r#"{"model": "m", "prompt": "x", "max_tokens": 91}"#).unwrap();
        let refusal = ask.token_limit(10, 100).unwrap_err();
        assert_eq!((refusal.status, refusal.code), (400, Some("context_length_exceeded")));
        assert!(
            refusal.message.contains(
                "maximum context length is 100 tokens. However, you requested 101 tokens"
            )
        );
        assert!(ask.token_limit(9, 100).is_ok());
        let unset = completion(r#"{"model": "m", "prompt": "x"}"#).unwrap();
        assert!(unset.token_limit(100, 100).is_err(), "no room for a single token");
    }

    #[test]
    fn prompts_may_be_text_or_token_ids_but_only_one() {
        let bytes = |prompt: &str| {
            completion(&format!(r#"{{"model": "m", "prompt": {prompt}}}"#))
                .map(|ask| ask.prompt.bytes().len())
        };
        assert_eq!(bytes(r#""abc""#), Ok(3));
        assert_eq!(bytes(r#"["abc"]"#), Ok(3));
        assert_eq!(bytes("[7, 8, 9]"), Ok(12));
        assert_eq!(bytes("[[7, 8]]"), Ok(8));
        for refused in [r#""""#, "[]", r#"["a", "b"]"#, "[[1], [2]]", "null", "{}"] {
            assert_eq!(bytes(refused).unwrap_err().status, 400, "{refused}");
        }
    }

    #[test]
    fn missing_or_wrong_fields_are_a_400_that_names_them() {
        let param = |body: &str| chat(body).unwrap_err().param;
        assert_eq!(param("{}"), Some("model"));
        assert_eq!(param(r#"{"model": "m"}"#), Some("messages"));
        assert_eq!(param(r#"{"model": "m", "messages": []}"#), Some("messages"));
        let with = |extra: &str| {
            format!(
                r#"{{"model": "m", "messages": [{{"role": "user", "content": "x"}}], {extra}}}"#
            )
        };
        assert_eq!(param(&with(r#""max_tokens": 0"#)), Some("max_tokens"));
        assert_eq!(param(&with(r#""max_tokens": 3, "min_tokens": 4"#)), Some("min_tokens"));
        assert_eq!(param(&with(r#""n": 2"#)), Some("n"));
        assert_eq!(chat("{not json").unwrap_err().status, 400);
    }

    #[test]
    fn refusals_have_openais_shape() {
        let body: serde_json::Value =
            serde_json::from_str(&Refusal::unknown_model("a\"b").body()).unwrap();
        assert_eq!(body["error"]["message"], "The model `a\"b` does not exist.");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], "model_not_found");
    }
}
