//! The probe tells what is wrong with a target, in the server's words, and what to do about it.

#[path = "support/scripted.rs"]
mod scripted;

use std::time::Duration;

use client::{ClientOptions, Credentials, Probe, ProbeError, Usage, count_tokens, models, probe};
use metrics::FailureClass;
use scripted::{LAST_CHUNK, OK_STREAM, Server, done, plain, prompt, target, two_words};

const MODELS: &str = r#"{"object":"list","data":[{"id":"llama-70b"},{"id":"qwen"}]}"#;

async fn probed(server: &Server) -> Result<Probe, ProbeError> {
    probe(&server.target(), &ClientOptions::default(), &prompt(), None).await
}

/// A server that answers completions with `answer` and has a list of models.
fn server(answer: String) -> Server {
    Server::run(move |mut peer| {
        while let Some(request) = peer.request() {
            match request.starts_with("GET /v1/models ") {
                true => peer.send(plain("200 OK", "application/json", MODELS)),
                false => peer.send(&answer),
            }
        }
    })
}

#[tokio::test]
async fn a_target_that_answers_is_ready_and_was_asked_for_so_few_tokens() {
    let server = server(two_words());
    let probe = probed(&server).await.unwrap();
    assert!(probe.connect.is_some() && probe.kernel_stamps);
    assert!(probe.ttfb <= probe.ttft.unwrap() && probe.ttft.unwrap() <= probe.e2e);
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].contains(r#""max_tokens":4,"stream":true"#), "{}", requests[0]);
}

#[test]
fn how_long_a_request_takes_is_told_by_the_distance_of_tokens() {
    let ms = Duration::from_millis;
    let usage = |completion_tokens| {
        Some(Usage { completion_tokens: Some(completion_tokens), ..Usage::default() })
    };
    let streamed = Probe {
        connect: None,
        ttfb: ms(2),
        ttft: Some(ms(200)),
        token_gap: Some(ms(10)),
        e2e: ms(270),
        usage: usage(8),
        kernel_stamps: true,
    };
    assert_eq!(streamed.request_of(1.0), ms(200));
    assert_eq!(streamed.request_of(150.0), ms(200 + 149 * 10));
    let at_once = Probe { ttft: None, token_gap: None, e2e: ms(400), ..streamed };
    assert_eq!(at_once.request_of(150.0), ms(50 * 150));
    let untold = Probe { usage: None, ..at_once };
    assert_eq!(untold.request_of(2.0), ms(800));
}

#[tokio::test]
async fn one_token_without_text_is_enough() {
    let server = server(OK_STREAM.to_owned() + &done() + LAST_CHUNK);
    assert_eq!(probed(&server).await.unwrap().ttft, None);
}

#[tokio::test]
async fn nobody_listens() {
    let (_held, address) = scripted::nobody();
    let target = target(&format!("http://{address}/v1/chat/completions"));
    let error = probe(&target, &ClientOptions::default(), &prompt(), None).await.unwrap_err();
    assert_eq!(error.class, Some(FailureClass::Connect));
    let text = error.to_string();
    assert!(text.contains("refused") && text.contains("target.endpoint"), "{text}");
}

/// What a front of TLS does with a request in plain HTTP.
#[tokio::test]
async fn who_hangs_up_without_a_word_may_want_tls() {
    let server = Server::run(|mut peer| drop(peer.request()));
    let error = probed(&server).await.unwrap_err();
    assert_eq!(error.class, Some(FailureClass::StreamCut));
    assert!(error.hint.contains("`https`"), "{error}");
}

#[tokio::test]
async fn a_key_that_is_refused_is_not_repeated() {
    let words = r#"{"error":{"message":"Incorrect API key provided: sk-wrong-key"}}"#;
    let server = server(plain("401 Unauthorized", "application/json", words));
    let credentials =
        Credentials { api_key: Some("sk-wrong-key".into()), ..Credentials::default() };
    let options = ClientOptions { credentials, ..ClientOptions::default() };
    let error = probe(&server.target(), &options, &prompt(), None).await.unwrap_err().to_string();
    assert!(error.contains("Incorrect API key") && error.contains("OPENAI_API_KEY"), "{error}");
    assert!(!error.contains("sk-wrong-key"), "{error}");
}

#[tokio::test]
async fn a_model_that_the_server_does_not_have_is_told_from_those_that_it_has() {
    let words = r#"{"error":{"message":"The model `m` does not exist."}}"#;
    let server = server(plain("404 Not Found", "application/json", words));
    let error = probed(&server).await.unwrap_err().to_string();
    assert!(error.contains("does not exist") && error.contains("no model `m`"), "{error}");
    assert!(error.contains("llama-70b, qwen"), "{error}");
    let known = probe(&server.target(), &ClientOptions::default(), &prompt(), Some("qwen")).await;
    assert!(known.unwrap_err().to_string().contains("has the model `qwen`"));
}

#[tokio::test]
async fn an_answer_that_is_no_stream_asks_for_the_settings() {
    let server = server(plain("200 OK", "application/json", r#"{"choices":[]}"#));
    let error = probed(&server).await.unwrap_err().to_string();
    assert!(error.contains("a stream was asked for") && error.contains("target.stream"), "{error}");
}

#[tokio::test]
async fn the_models_of_a_server_are_listed_in_its_order() {
    let server = server(two_words());
    let listed = models(&server.target(), &ClientOptions::default()).await.unwrap();
    let names: Vec<_> = listed.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(names, ["llama-70b", "qwen"]);
    let none = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send(plain("404 Not Found", "text/plain", "nothing here"));
    });
    let error = models(&none.target(), &ClientOptions::default()).await.unwrap_err().to_string();
    assert!(error.contains("/v1/models") && error.contains("nothing here"), "{error}");
}

/// What a server says that answers `POST /tokenize` like this.
async fn counted(status: &'static str, answer: &'static str) -> (Result<u64, String>, Vec<String>) {
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(plain(status, "application/json", answer));
    });
    let count = count_tokens(&server.target(), &ClientOptions::default(), "from \"fairest\"").await;
    (count.map_err(|error| error.to_string()), server.requests())
}

#[tokio::test]
async fn a_server_that_counts_tokens_is_understood_in_either_dialect() {
    let (count, requests) =
        counted("200 OK", r#"{"count":5,"max_model_len":9,"tokens":[1,2,3,4,5]}"#).await;
    assert_eq!(count, Ok(5), "vLLM");
    assert!(requests[0].starts_with("POST /tokenize "), "{}", requests[0]);
    for member in [
        r#""prompt":"from \"fairest\"""#,
        r#""content":"from \"fairest\"""#,
        r#""add_special_tokens":false"#,
        r#""model":"m""#,
    ] {
        assert!(requests[0].contains(member), "no {member} in {}", requests[0]);
    }
    assert_eq!(counted("200 OK", r#"{"tokens":[{"id":1},7]}"#).await.0, Ok(2), "llama.cpp");
}

#[tokio::test]
async fn a_server_that_counts_nothing_says_so() {
    for (status, answer) in [
        ("404 Not Found", r#"{"detail":"Not Found"}"#),
        ("200 OK", r#"{"tokens":[]}"#),
        ("200 OK", "<html>"),
    ] {
        let line = counted(status, answer).await.0.unwrap_err();
        assert!(line.starts_with("/tokenize counts no tokens: "), "{line}");
    }
}
