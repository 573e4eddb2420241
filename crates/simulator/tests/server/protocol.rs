//! What real clients rely on: shapes, framing, refusals.

use serde_json::{Value, json};
use simulator::SimulatorConfig;

use crate::client::Client;
use crate::{CHAT, COMPLETIONS, chat, quick, start, whole_chat};

#[test]
fn a_chat_stream_is_role_tokens_usage_done_with_one_token_an_event() {
    let server = start(quick());
    let response = Client::connect(server.addr()).post(CHAT, &chat(5));
    assert_eq!((response.status, response.is_whole), (200, true));
    assert!(response.head.contains("content-type: text/event-stream"));
    let data = response.data();
    assert_eq!(data.len(), 1 + 5 + 1 + 1);
    let events = response.events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    let finishes: Vec<&Value> =
        events[1..6].iter().map(|event| &event["choices"][0]["finish_reason"]).collect();
    assert_eq!(
        finishes,
        [&Value::Null, &Value::Null, &Value::Null, &Value::Null, &json!("length")]
    );
    assert_eq!(response.tokens().len(), 5);
    // "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n" is 55 bytes.
    let usage = json!({"prompt_tokens": 14, "total_tokens": 19, "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 0}});
    assert_eq!((&events[6]["choices"], &events[6]["usage"]), (&json!([]), &usage));
    assert_eq!(data[7], "[DONE]");
}

#[test]
fn usage_is_sent_only_where_it_was_asked_for() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    let without = chat(3).replace(r#""include_usage":true"#, r#""include_usage":false"#);
    assert!(client.post(CHAT, &without).events().iter().all(|event| event.get("usage").is_none()));
    let continuous = chat(3).replace(r#""include_usage":true"#, r#""continuous_usage_stats":true"#);
    let response = client.post(CHAT, &continuous);
    let counts: Vec<_> = response.events()[1..]
        .iter()
        .map(|event| event["usage"]["completion_tokens"].clone())
        .collect();
    assert_eq!(counts, [1, 2, 3]);
}

#[test]
fn a_completion_stream_has_texts_and_no_role() {
    let server = start(quick());
    let body = r#"{"model": "simulated", "prompt": "12345678", "max_tokens": 3, "stream": true, "ignore_eos": true}"#;
    let response = Client::connect(server.addr()).post(COMPLETIONS, body);
    assert_eq!(response.data().len(), 3 + 1);
    assert_eq!(response.events()[0]["object"], "text_completion");
    assert_eq!(response.tokens().len(), 3);
}

#[test]
fn tokens_are_counted_as_for_a_completion_and_nothing_is_answered() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    let counted = client.post("/tokenize", r#"{"model": "simulated", "prompt": "123456789"}"#);
    let json: Value = serde_json::from_slice(&counted.body).unwrap();
    assert_eq!(
        (counted.status, &json["count"], &json["tokens"]),
        (200, &json!(3), &json!([0, 1, 2]))
    );
    // "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n" is 55 bytes.
    let messages = r#"{"messages": [{"role": "user", "content": "hello"}]}"#;
    let json: Value = serde_json::from_slice(&client.post("/tokenize", messages).body).unwrap();
    assert_eq!(json["count"], 14);
    assert_eq!(client.post("/tokenize", "{}").status, 400);
    assert_eq!(client.get("/tokenize").status, 405);
    assert_eq!(server.truth().received, 0);
}

#[test]
fn streamed_and_whole_answers_say_the_same_for_the_same_body_and_seed() {
    let body = r#"{"model": "simulated", "prompt": "x", "max_tokens": 8}"#;
    let ask = |seed: u64| {
        let server = start(SimulatorConfig { seed, ..quick() });
        let mut client = Client::connect(server.addr());
        let whole = client.post(COMPLETIONS, body).json();
        assert_eq!(whole["usage"]["completion_tokens"], 8);
        assert_eq!(whole["choices"][0]["finish_reason"], "length");
        assert_eq!(
            client.post(COMPLETIONS, body).json()["choices"][0]["text"],
            whole["choices"][0]["text"]
        );
        whole["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(1), ask(1));
    assert_ne!(ask(1), ask(2));
    assert_eq!(ask(1).len(), 8 * 5);
}

#[test]
fn a_connection_serves_any_number_of_requests_in_any_framing() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    for tokens in 1..=4 {
        assert_eq!(client.post(CHAT, &chat(tokens)).tokens().len(), tokens as usize);
        assert_eq!(
            client.post(CHAT, &whole_chat(tokens)).json()["usage"]["completion_tokens"],
            tokens
        );
    }
    let body = chat(2);
    let (first, second) = body.split_at(10);
    client.write(format!("POST {CHAT} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n").as_bytes());
    for part in [first, second, ""] {
        client.write(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes());
    }
    assert_eq!(client.response().tokens().len(), 2);
    client.send("POST", CHAT, "connection: close\r\n", &body);
    assert!(client.response().head.contains("connection: close"));
    assert!(client.is_closed());
}

#[test]
fn a_client_that_expects_100_continue_is_told_to_go_on() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    let body = chat(2);
    client.write(
        format!(
            "POST {CHAT} HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    assert_eq!(client.head().0, 100);
    client.write(body.as_bytes());
    assert_eq!(client.response().tokens().len(), 2);
}

#[test]
fn refusals_have_openais_shape_and_keep_the_connection() {
    let server = start(SimulatorConfig { context_length: 50, ..quick() });
    let mut client = Client::connect(server.addr());
    let unknown = chat(1).replace("simulated", "other");
    let cases = [
        (CHAT, "{nonsense".to_owned(), 400, Value::Null),
        (CHAT, r#"{"model": "simulated"}"#.to_owned(), 400, Value::Null),
        (CHAT, chat(51), 400, json!("context_length_exceeded")),
        (CHAT, unknown, 404, json!("model_not_found")),
        ("/v1/elsewhere", chat(1), 404, Value::Null),
    ];
    for (path, body, status, code) in cases {
        let response = client.post(path, &body);
        assert_eq!(response.status, status, "{path} {body}");
        assert_eq!(response.json()["error"]["code"], code);
    }
    let wrong_method = client.get(CHAT);
    assert_eq!(wrong_method.status, 405);
    assert!(wrong_method.head.contains("allow: POST"));
    assert_eq!(client.post(CHAT, &chat(1)).status, 200);
}

#[test]
fn what_is_not_http_is_refused_and_the_connection_closed() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    client.write(b"hello there\r\n\r\n");
    assert_eq!(client.response().status, 400);
    assert!(client.is_closed());
}

#[test]
fn an_api_key_opens_v1_and_nothing_else_needs_one() {
    let server = start(SimulatorConfig { api_key: Some("open sesame".to_owned()), ..quick() });
    let mut client = Client::connect(server.addr());
    assert_eq!(client.post(CHAT, &chat(1)).json()["error"]["code"], "invalid_api_key");
    assert_eq!(client.get("/v1/models").status, 401);
    assert_eq!(client.get("/health").status, 200);
    client.send("POST", CHAT, "authorization: Bearer wrong\r\n", &chat(1));
    assert_eq!(client.response().status, 401);
    client.send("POST", CHAT, "Authorization: Bearer open sesame\r\n", &chat(1));
    assert_eq!(client.response().status, 200);
    assert_eq!(server.truth().failed, 2);
}

#[test]
fn models_health_and_metrics_describe_the_server() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    assert_eq!(client.get("/v1/models").json()["data"][0]["id"], "simulated");
    let health = client.get("/health").json();
    assert_eq!((&health["status"], &health["fixed"]), (&json!("ok"), &json!(true)));
    assert!(health["promptTokens"].as_str().unwrap().contains("bytes / 4"));
    let _answer = client.post(CHAT, &chat(3));
    let metrics = client.get("/metrics");
    assert!(metrics.text().contains("vllm:generation_tokens_total{model_name=\"simulated\"} 3\n"));
    assert!(metrics.text().contains("vllm:num_requests_running{model_name=\"simulated\"} 0\n"));
}

#[test]
fn eos_ends_answers_early_unless_it_is_to_be_ignored() {
    let server = start(SimulatorConfig { eos_probability: 1.0, ..quick() });
    let mut client = Client::connect(server.addr());
    let answer = client.post(CHAT, &whole_chat(9)).json();
    assert_eq!(
        (&answer["usage"]["completion_tokens"], &answer["choices"][0]["finish_reason"]),
        (&json!(1), &json!("stop"))
    );
    let with = |extra: &str| whole_chat(9).replacen('{', &format!("{{{extra},"), 1);
    let forced = client.post(CHAT, &with(r#""min_tokens":4"#)).json();
    assert_eq!(forced["usage"]["completion_tokens"], 4);
    let ignored = client.post(CHAT, &with(r#""ignore_eos":true"#)).json();
    assert_eq!(
        (&ignored["usage"]["completion_tokens"], &ignored["choices"][0]["finish_reason"]),
        (&json!(9), &json!("length"))
    );
}
