//! One real request before the load, so that a wrong address is found by one request and not by all.
//!
//! It is sent as the load will be, with `max_tokens: 1`, by a client of its own; it is in no book and
//! no histogram. What fails is told in the server's own words, with what to do about it.

use std::time::Duration;

use metrics::FailureClass;
use serde::Deserialize;
use tokio::task::LocalSet;
use workload::{Prompt, Target};

use crate::answer::{Answer, Failure};
use crate::client::{Client, ClientError, ClientOptions};
use crate::clock::Clock;
use crate::event::Usage;

/// The most names of models that a hint repeats.
const NAMES_SHOWN: usize = 10;

/// What the probe saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// DNS, TCP and TLS together.
    pub connect: Option<Duration>,
    /// Headers after the request was sent.
    pub ttfb: Duration,
    /// First content event after the request was sent; `None` where not streamed, or where the one
    /// token had no text.
    pub ttft: Option<Duration>,
    /// Mean distance of content events; `None` where there were not two.
    pub token_gap: Option<Duration>,
    /// End of the answer after the request was sent.
    pub e2e: Duration,
    /// The server's own count.
    pub usage: Option<Usage>,
    /// The socket gives kernel stamps.
    pub kernel_stamps: bool,
}

/// The target is not ready for a load.
#[derive(Debug, thiserror::Error)]
#[error("{what}\n  {hint}")]
pub struct ProbeError {
    /// What happened, in the server's own words where it had some.
    pub what: String,
    /// What to do about it.
    pub hint: String,
    /// The failure's class; `None` where no request could be made.
    pub class: Option<FailureClass>,
}

impl ProbeError {
    fn new(what: String, hint: &str) -> Self {
        Self { what, hint: hint.to_owned(), class: None }
    }
}

impl From<ClientError> for ProbeError {
    fn from(error: ClientError) -> Self {
        Self::new(error.to_string(), "correct the configuration")
    }
}

/// Sends one request for as many tokens as the prompt says (one, where it says nothing) and reads its answer.
///
/// # Errors
/// When the target cannot serve the load that is planned, with a hint.
pub async fn probe(
    target: &Target,
    options: &ClientOptions,
    prompt: &Prompt,
    model: Option<&str>,
) -> Result<Probe, ProbeError> {
    let client = Client::new(target, options.clone(), Clock::start_now())?;
    let body = crate::body::few_tokens(target, prompt, model).map_err(|error| {
        ProbeError::new(error.to_string(), "correct the prompts or `target.extraBody`")
    })?;
    let probing = async {
        match client.exchange(body, || true, |_| {}).await {
            Ok(answer) => Ok(Probe::of(&answer)),
            // One token may well be one that is not shown, such as the end of the text.
            Err(failure) if failure.class == FailureClass::Empty => {
                Ok(Probe::without_content(&failure))
            }
            Err(failure) => Err(explained(&client, target, model, failure).await),
        }
    };
    LocalSet::new().run_until(probing).await
}

/// A model of the server's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its name in a request.
    pub id: String,
    /// The most tokens that a request and its answer may have together, where the server says (`max_model_len`, as vLLM
    /// and SGLang do).
    pub context: Option<u64>,
}

/// The models that the server lists (`GET /v1/models`), in its order.
///
/// # Errors
/// When there is no such list.
pub async fn models(target: &Target, options: &ClientOptions) -> Result<Vec<Model>, ProbeError> {
    let client = Client::new(target, options.clone(), Clock::start_now())?;
    let hint = "name the model with `target.model`";
    let listing = LocalSet::new();
    let listed = listing.run_until(listed(&client)).await;
    listed.map_err(|(what, class)| ProbeError { class, ..ProbeError::new(what, hint) })
}

/// How many tokens the server itself counts in a text, special ones left out: `POST /tokenize`, as vLLM and SGLang have it
/// (`prompt`, answered by `count`) and llama.cpp (`content`, answered by `tokens`). Each ignores the others' members.
///
/// # Errors
/// When it has no such page, or one that says nothing.
pub async fn count_tokens(
    target: &Target,
    options: &ClientOptions,
    text: &str,
) -> Result<u64, ProbeError> {
    let client = Client::new(target, options.clone(), Clock::start_now())?;
    let asked = serde_json::json!({
        "model": target.model,
        "prompt": text,
        "content": text,
        "add_special_tokens": false,
    });
    let path = client.endpoint.tokenize().path;
    let no = |reason: String| {
        ProbeError::new(format!("{path} counts no tokens: {reason}"), "set `prompts.tokenizer`")
    };
    let posted = client.post(path.clone(), asked.to_string().into());
    let json = LocalSet::new().run_until(posted).await.map_err(|failure| no(failure.detail))?;
    let told: Tokenized = serde_json::from_slice(&json).map_err(|error| no(error.to_string()))?;
    let count = told.count.or(told.tokens.map(|tokens| tokens.len() as u64));
    count.filter(|count| *count > 0).ok_or_else(|| no("its answer has no count".to_owned()))
}

#[derive(Deserialize)]
struct Tokenized {
    count: Option<u64>,
    tokens: Option<Vec<serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<ModelEntry>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
    max_model_len: Option<u64>,
}

/// The list, or in words why there is none, with the failure's class where the request failed.
async fn listed(client: &Client) -> Result<Vec<Model>, (String, Option<FailureClass>)> {
    let path = client.endpoint.models().path;
    let words = |reason: String| format!("no list of models at {path}: {reason}");
    let fetched = client.fetch(path.clone()).await;
    let json = fetched.map_err(|failure| (words(failure.detail), Some(failure.class)))?;
    let list: ModelList =
        serde_json::from_slice(&json).map_err(|error| (words(error.to_string()), None))?;
    let model = |entry: ModelEntry| Model { id: entry.id, context: entry.max_model_len };
    Ok(list.data.into_iter().map(model).collect())
}

impl Probe {
    /// About how long a request for so many tokens takes, by this one; where its tokens came in one piece, as if each had
    /// taken the same time.
    #[must_use]
    pub fn request_of(&self, tokens: f64) -> Duration {
        let tokens = tokens.max(1.0);
        match (self.ttft, self.token_gap) {
            (Some(ttft), Some(gap)) => ttft + gap.mul_f64(tokens - 1.0),
            _ => {
                let counted =
                    self.usage.and_then(|usage| usage.completion_tokens).unwrap_or(1).max(1);
                self.e2e.div_f64(counted as f64).mul_f64(tokens)
            }
        }
    }

    fn of(answer: &Answer) -> Self {
        Self {
            connect: answer.connect,
            ttfb: answer.headers.saturating_sub(answer.sent),
            ttft: answer.first_token.map(|at| at.saturating_sub(answer.sent)),
            token_gap: token_gap(answer),
            e2e: answer.finished.saturating_sub(answer.sent),
            usage: answer.usage,
            kernel_stamps: answer.kernel_stamps,
        }
    }

    fn without_content(failure: &Failure) -> Self {
        let took = failure.at.saturating_sub(failure.sent.unwrap_or(failure.at));
        Self {
            connect: failure.connect,
            ttfb: took,
            ttft: None,
            token_gap: None,
            e2e: took,
            usage: None,
            kernel_stamps: false,
        }
    }
}

fn token_gap(answer: &Answer) -> Option<Duration> {
    let gaps = u32::try_from(answer.events.checked_sub(1)?).ok().filter(|gaps| *gaps > 0)?;
    Some(answer.last_token?.saturating_sub(answer.first_token?) / gaps)
}

async fn explained(
    client: &Client,
    target: &Target,
    model: Option<&str>,
    failure: Failure,
) -> ProbeError {
    let hint = match failure.class {
        FailureClass::Connect => "is the server running, and is `target.endpoint` its address?".to_owned(),
        FailureClass::Tls => {
            "is it `https` that the server speaks? If so, set `target.caFile` to the authority that signed its certificate, \
             or `target.insecureSkipVerify: true`".to_owned()
        }
        FailureClass::Timeout => "raise `client.timeouts.request`, or look why the server does not answer".to_owned(),
        FailureClass::Status(401 | 403) => "set OPENAI_API_KEY or `target.apiKeyFile` to a key that the server accepts".to_owned(),
        FailureClass::Status(400 | 404 | 422) => about_model(client, model.or(target.model.as_deref())).await,
        FailureClass::Status(429) => "the server refuses more load before any was offered: wait, or raise its limit".to_owned(),
        FailureClass::Protocol if target.stream => {
            "does the server stream (`target.stream`), and is `target.api` the one it speaks?".to_owned()
        }
        FailureClass::StreamCut if !client.endpoint.tls && !failure.connection_answered => {
            "it was asked in plain HTTP: does it speak `https` at this port?".to_owned()
        }
        _ => "try the request by hand; `--no-probe` goes on without".to_owned(),
    };
    let what = format!("{} failed ({}): {}", target_name(client), failure.class, failure.detail);
    ProbeError { what, hint, class: Some(failure.class) }
}

fn target_name(client: &Client) -> String {
    let scheme = if client.endpoint.tls { "https" } else { "http" };
    format!("POST {scheme}://{}{}", client.endpoint.authority, client.endpoint.path)
}

/// A server that does not know a model, or a path, says 404 to both: its list of models tells which.
async fn about_model(client: &Client, model: Option<&str>) -> String {
    let Ok(models) = listed(client).await else {
        return "check `target.endpoint` (its path too) and `target.model`: the server has no list of models".to_owned();
    };
    let names: Vec<_> = models.into_iter().map(|model| model.id).collect();
    let shown = names.iter().take(NAMES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match model {
        Some(model) if names.iter().any(|name| name == model) => {
            format!(
                "the server has the model `{model}`: check the path of `target.endpoint` and the request's settings"
            )
        }
        Some(model) => {
            format!("the server has no model `{model}`; set `target.model` to one of: {shown}")
        }
        None => format!("set `target.model` to one of: {shown}"),
    }
}
