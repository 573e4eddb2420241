//! How an answer ended, and what its tokens were counted by.

/// The server's own count of a request's tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Prompt tokens.
    pub input: u64,
    /// Prompt tokens that the prefix cache held, if the server says.
    pub cached: Option<u64>,
    /// Completion tokens, all of them.
    pub output: u64,
    /// Reasoning tokens among them that were not streamed.
    pub hidden_reasoning: u64,
}

impl TokenUsage {
    /// N: output tokens that were streamed.
    pub fn streamed(self) -> u64 {
        self.output.saturating_sub(self.hidden_reasoning)
    }
}

/// Where a request's output tokens were counted, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenSource {
    /// By the server.
    Usage,
    /// By our tokenizer.
    Tokenizer,
    /// As the number of content events.
    Events,
}

impl TokenSource {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Tokenizer => "tokenizer",
            Self::Events => "events",
        }
    }
}

/// What a completed request adds to its timeline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Completion {
    /// The stream ended cleanly, but without `[DONE]`.
    pub no_done: bool,
    /// It moved once, unsent, to a new connection.
    pub reconnected: bool,
    /// The server's count, if it sent one.
    pub usage: Option<TokenUsage>,
    /// Our tokenizer's count of the text, if it was kept.
    pub tokenizer_tokens: Option<u64>,
    /// The sum of the tokens handed to [`super::Recorder::event`].
    pub event_tokens: u64,
}

impl Completion {
    /// The source of the output tokens: usage, else tokenizer, else events.
    pub fn token_source(&self) -> TokenSource {
        match (self.usage, self.tokenizer_tokens) {
            (Some(_), _) => TokenSource::Usage,
            (None, Some(_)) => TokenSource::Tokenizer,
            (None, None) => TokenSource::Events,
        }
    }

    /// All output tokens: what belongs in [`crate::Timeline::output_tokens`].
    pub fn output_tokens(&self) -> u64 {
        let counted = self.usage.map(|usage| usage.output).or(self.tokenizer_tokens);
        counted.unwrap_or(self.event_tokens)
    }

    /// The streamed ones: what belongs in [`crate::Timeline::streamed_tokens`].
    pub fn streamed_tokens(&self) -> u64 {
        let counted = self.usage.map(TokenUsage::streamed).or(self.tokenizer_tokens);
        counted.unwrap_or(self.event_tokens)
    }

    /// Whether usage and events disagree; `None` without usage.
    ///
    /// One token more in the usage than in the events is agreement: servers count the end-of-sequence token, which has
    /// no text and so no event. What this must find is events that hold several tokens.
    pub fn tokens_disagree(&self) -> Option<bool> {
        let streamed = self.usage?.streamed();
        Some(streamed != self.event_tokens && streamed != self.event_tokens + 1)
    }
}
