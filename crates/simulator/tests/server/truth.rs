//! Ground truth: counts, hashes and instants of what was really sent.

use sha2::{Digest, Sha256};
use simulator::{Outcome, Simulator, SimulatorConfig, SimulatorError, Truth};

use crate::client::Client;
use crate::{CHAT, chat, chat_about, quick, start, whole_chat};

fn hex_sha256(body: &str) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn counts_hashes_and_headers_are_those_of_what_was_sent() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    let bodies: Vec<_> =
        (1..=20).map(|number| chat_about(&format!("prompt {number}"), number)).collect();
    for (number, body) in bodies.iter().enumerate() {
        client.send("POST", CHAT, &format!("x-number: {number}\r\nx-api-key: hush\r\n"), body);
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(client.post(CHAT, "{").status, 400);

    let truth: Truth = serde_json::from_slice(&client.get("/truth?requests=1").body).unwrap();
    assert_eq!((truth.received, truth.completed, truth.failed, truth.open), (21, 20, 1, 0));
    // 1 + 2 + … + 20 tokens; every token but a stream's first has a gap.
    assert_eq!((truth.output_tokens, truth.icl_us.count), (210, 190));
    assert_eq!((truth.ttft_us.count, truth.e2e_us.count), (20, 20));
    let requests = truth.requests.unwrap();
    let listed: Vec<_> = requests.iter().map(|request| request.body_sha256.clone()).collect();
    let sent: Vec<_> = bodies.iter().map(String::as_str).chain(["{"]).map(hex_sha256).collect();
    assert_eq!(listed, sent);
    assert_eq!(requests[7].headers[0], ("x-number".to_owned(), "7".to_owned()));
    assert_eq!(requests[7].headers[1], ("x-api-key".to_owned(), "[redacted]".to_owned()));
    assert_eq!(
        (requests[20].status, requests[20].outcome, requests[20].ttft_us),
        (Some(400), Outcome::Failed, None)
    );
    assert!(requests.is_sorted_by_key(|request| request.arrival_us));
}

#[test]
fn nothing_is_earlier_than_the_latency_model_says_and_stamps_are_the_kernels() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    for _ in 0..10 {
        let _answer = client.post(CHAT, &chat(5));
    }
    let truth = server.truth_with_requests();
    assert_eq!(truth.user_space_stamps, 0);
    assert!(truth.ttft_us.min.unwrap() >= 2_000);
    assert!(truth.e2e_us.min.unwrap() >= 2_000 + 4 * 1_000);
    assert!(truth.loop_lag_us.count > 0);
    assert_eq!(truth.pacing_lag_us.count, 50);
    assert!(truth.own_lag_p99_us().is_some());
    let first = &truth.requests.unwrap()[0];
    let since_start_us = (first.arrival_unix_ns - truth.started_unix_ns) / 1_000;
    // Both clocks tell the same story, unless the real one was stepped during this test.
    assert!(
        since_start_us.abs_diff(first.arrival_us) < 1_000_000,
        "{since_start_us} {}",
        first.arrival_us
    );
}

#[test]
fn an_answer_that_is_not_streamed_has_tokens_but_no_ttft_and_no_gaps() {
    let server = start(quick());
    let _answer = Client::connect(server.addr()).post(CHAT, &whole_chat(4));
    let truth = server.truth();
    assert_eq!((truth.completed, truth.output_tokens), (1, 4));
    assert_eq!((truth.ttft_us.count, truth.icl_us.count, truth.e2e_us.count), (0, 0, 1));
    assert!(truth.e2e_us.min.unwrap() >= 2_000 + 3 * 1_000);
}

#[test]
fn a_reset_forgets_and_what_comes_after_counts() {
    let server = start(quick());
    let mut client = Client::connect(server.addr());
    let _before = client.post(CHAT, &chat(2));
    assert_eq!(client.post("/truth/reset", "").status, 200);
    assert_eq!(server.truth().received, 0);
    let _after = client.post(CHAT, &chat(3));
    let truth = server.truth_with_requests();
    assert_eq!((truth.received, truth.output_tokens, truth.requests.unwrap().len()), (1, 3, 1));
    server.reset();
    assert_eq!(server.truth().output_tokens, 0);
}

#[test]
fn the_same_seed_paces_and_answers_the_same() {
    let ask = || {
        let server = start(SimulatorConfig { fixed: false, eos_probability: 0.2, ..quick() });
        let mut client = Client::connect(server.addr());
        (0..5)
            .map(|number| client.post(CHAT, &chat_about(&number.to_string(), 50)).tokens())
            .collect::<Vec<_>>()
    };
    let answers = ask();
    assert_eq!(answers, ask());
    assert!(
        answers.iter().any(|answer| answer.len() < 50),
        "a fifth of the tokens should end their answer"
    );
}

#[test]
fn stopping_and_dropping_close_the_port() {
    let server = start(quick());
    let addr = server.addr();
    let mut client = Client::connect(addr);
    let _answer = client.post(CHAT, &chat(2));
    assert_eq!(server.stop().completed, 1);
    assert!(client.is_closed());
    assert!(std::net::TcpStream::connect(addr).is_err());
    drop(start(SimulatorConfig { listen: addr.to_string(), ..quick() }));
}

#[test]
fn what_cannot_work_is_refused_before_anything_starts() {
    let refused = |config| Simulator::start(config).unwrap_err();
    let wrong = SimulatorConfig { itl_ms: -1.0, jitter: 9.0, ..quick() };
    let message = refused(wrong).to_string();
    assert!(
        message.contains("`simulator.itlMs` is -1") && message.contains("`simulator.jitter` is 9"),
        "{message}"
    );
    let taken = start(quick());
    let same = SimulatorConfig { listen: taken.addr().to_string(), ..quick() };
    assert!(matches!(refused(same), SimulatorError::Listen { .. }));
    let nowhere = SimulatorConfig { listen: "not an address".to_owned(), ..quick() };
    assert!(matches!(refused(nowhere), SimulatorError::Listen { .. }));
    let no_tokenizer =
        SimulatorConfig { tokenizer: Some("/nowhere/tokenizer.json".into()), ..quick() };
    assert!(matches!(refused(no_tokenizer), SimulatorError::Tokenizer { .. }));
}
