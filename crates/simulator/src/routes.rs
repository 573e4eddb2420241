//! Which path answers what, and the pages that are no completions.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::json;
use tokio::net::TcpStream;

use crate::config::SimulatorConfig;
use crate::connection::{Connection, Gone, NoRequest, ReadBuffers};
use crate::generate::generate;
use crate::http::{BodyFraming, Method, Request, response_head};
use crate::openai::{Api, Refusal, tokenized_prompt};
use crate::service::Service;
use crate::truth::{Arrival, RequestList};

pub(crate) const JSON: &str = "application/json";
/// The content type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What happens to the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    KeepAlive,
    Close,
}

impl After {
    pub(crate) fn of(request: &Request) -> Self {
        if request.keep_alive { Self::KeepAlive } else { Self::Close }
    }
}

/// Serves one connection until either side ends it.
pub(crate) async fn serve(
    service: Rc<Service>,
    stream: TcpStream,
    buffers: Rc<RefCell<ReadBuffers>>,
) {
    let mut connection = Connection::new(stream, buffers);
    loop {
        let ended = match connection.next_request().await {
            Ok((request, arrival)) => respond(&service, &mut connection, request, arrival).await,
            Err(NoRequest::Gone) => Err(Gone),
            Err(NoRequest::Refused(error)) => {
                let refusal = Refusal::new(error.status(), error.to_string());
                send_refusal(&mut connection, &refusal, After::Close).await
            }
        };
        match ended {
            Ok(After::KeepAlive) => {}
            Ok(After::Close) | Err(Gone) => return,
        }
    }
}

async fn respond(
    service: &Rc<Service>,
    connection: &mut Connection,
    request: Request,
    arrival: Arrival,
) -> Result<After, Gone> {
    let after = After::of(&request);
    let page = match (request.path.as_str(), request.method) {
        ("/v1/chat/completions", Method::Post) => {
            return generate(service, connection, Api::Chat, request, arrival).await;
        }
        ("/v1/completions", Method::Post) => {
            return generate(service, connection, Api::Completions, request, arrival).await;
        }
        ("/v1/models", Method::Get) => models(service, &request),
        ("/tokenize", Method::Post) => tokenize(service, &request),
        ("/health", Method::Get) => Page::json(health(service)),
        ("/metrics", Method::Get) => Page {
            body: service.counters.page(service.gauges(), &service.config.model),
            content_type: EXPOSITION,
            ..Page::EMPTY
        },
        ("/truth", Method::Get) => truth(service, &request),
        ("/truth/reset", Method::Post) => {
            service.books.borrow_mut().reset();
            Page::json(json!({"reset": true}))
        }
        (path, _) => elsewhere(path),
    };
    page.send(connection, after).await?;
    Ok(after)
}

struct Page {
    status: u16,
    content_type: &'static str,
    extra: &'static [&'static str],
    body: String,
}

impl Page {
    const EMPTY: Self = Self { status: 200, content_type: JSON, extra: &[], body: String::new() };

    fn json(body: serde_json::Value) -> Self {
        Self { body: body.to_string(), ..Self::EMPTY }
    }

    fn refusal(refusal: &Refusal) -> Self {
        let extra: &[&str] = match refusal.status {
            // Both tell a client when to come back (RFC 9110 §10.2.3).
            429 | 503 => &["retry-after: 1"],
            401 => &["www-authenticate: Bearer"],
            _ => &[],
        };
        Self { status: refusal.status, extra, body: refusal.body(), ..Self::EMPTY }
    }

    async fn send(&self, connection: &mut Connection, after: After) -> Result<(), Gone> {
        let length = BodyFraming::Length(self.body.len());
        let mut bytes = response_head(
            self.status,
            self.content_type,
            length,
            after == After::KeepAlive,
            self.extra,
        );
        bytes.extend_from_slice(self.body.as_bytes());
        let _written = connection.send(&bytes)?;
        connection.flush().await
    }
}

/// Sends an error status with OpenAI's body.
pub(crate) async fn send_refusal(
    connection: &mut Connection,
    refusal: &Refusal,
    after: After,
) -> Result<After, Gone> {
    Page::refusal(refusal).send(connection, after).await.map(|()| after)
}

fn models(service: &Service, request: &Request) -> Page {
    let config = &service.config;
    if !is_authorized(config, request) {
        return Page::refusal(&Refusal::wrong_key());
    }
    let model = json!({"id": config.model, "object": "model", "created": service.created_unix_s,
        "owned_by": "tokenstorm-simulator", "max_model_len": config.context_length});
    Page::json(json!({"object": "list", "data": [model]}))
}

/// How many tokens a prompt has, as vLLM's page of that name tells. Which ones they are only a tokenizer knows: they are
/// numbered.
fn tokenize(service: &Service, request: &Request) -> Page {
    let config = &service.config;
    if !is_authorized(config, request) {
        return Page::refusal(&Refusal::wrong_key());
    }
    match tokenized_prompt(&request.body) {
        Err(refusal) => Page::refusal(&refusal),
        Ok(prompt) => {
            let count = service.counter.count(&prompt);
            let tokens: Vec<u64> = (0..count).collect();
            Page::json(
                json!({"count": count, "max_model_len": config.context_length, "tokens": tokens}),
            )
        }
    }
}

fn health(service: &Service) -> serde_json::Value {
    json!({"status": "ok", "model": service.config.model, "fixed": service.config.fixed,
        "seed": service.config.seed, "promptTokens": service.counter.describe(),
        "chatTemplate": "ChatML: <|im_start|>role\\ncontent<|im_end|>\\n"})
}

fn truth(service: &Service, request: &Request) -> Page {
    let wants_list = request.query.split('&').any(|pair| pair == "requests=1");
    let list = if wants_list { RequestList::Included } else { RequestList::LeftOut };
    let body =
        serde_json::to_string(&service.truth(list)).expect("numbers and strings are always JSON");
    Page { body, ..Page::EMPTY }
}

/// A known path with another method, or an unknown path.
fn elsewhere(path: &str) -> Page {
    let allowed: &[&str] = match path {
        "/v1/chat/completions" | "/v1/completions" | "/tokenize" | "/truth/reset" => {
            &["allow: POST"]
        }
        "/v1/models" | "/health" | "/metrics" | "/truth" => &["allow: GET"],
        _ => return Page::refusal(&Refusal::new(404, format!("There is nothing at {path}."))),
    };
    let refusal = Refusal::new(405, format!("{path} does not take this method."));
    Page { extra: allowed, ..Page::refusal(&refusal) }
}

/// Whether the request may use `/v1`.
pub(crate) fn is_authorized(config: &SimulatorConfig, request: &Request) -> bool {
    let Some(key) = &config.api_key else { return true };
    let given = request.authorization.as_deref().and_then(|value| value.split_once(' '));
    given
        .is_some_and(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && token.trim() == key)
}
