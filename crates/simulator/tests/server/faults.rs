//! Every fault does what its name says, to the requests that its rate says, and to no other.

use simulator::{
    CutFault, FaultConfig, PlainFault, Rate, SlowHeadersFault, StallFault, StatusFault,
};

use crate::client::Client;
use crate::{CHAT, chat, start_with, whole_chat};

fn always() -> Rate {
    "1".parse().unwrap()
}

fn every_second() -> Rate {
    "1/2".parse().unwrap()
}

#[test]
fn every_second_request_gets_the_status_and_says_when_to_retry() {
    let status = StatusFault { code: 429, rate: every_second() };
    let server = start_with(FaultConfig { status, ..FaultConfig::default() });
    let mut client = Client::connect(server.addr());
    let responses: Vec<_> = (0..6).map(|_| client.post(CHAT, &chat(2))).collect();
    assert_eq!(
        responses.iter().map(|response| response.status).collect::<Vec<_>>(),
        [200, 429, 200, 429, 200, 429]
    );
    assert!(responses[1].head.contains("retry-after: 1"));
    assert_eq!(responses[1].json()["error"]["type"], "rate_limit_error");
    assert_eq!((server.truth().completed, server.truth().failed), (3, 3));
}

#[test]
fn a_cut_stream_ends_after_its_tokens_without_its_end() {
    let cut = CutFault { rate: always(), after_tokens: 3 };
    let server = start_with(FaultConfig { cut, ..FaultConfig::default() });
    let response = Client::connect(server.addr()).post(CHAT, &chat(8));
    assert_eq!((response.status, response.is_whole, response.tokens().len()), (200, false, 3));
    let whole = Client::connect(server.addr()).post(CHAT, &whole_chat(8));
    assert!(!whole.is_whole && !whole.body.is_empty());
    assert_eq!((server.truth().failed, server.truth().completed), (2, 0));
}

#[test]
fn a_malformed_event_stands_between_whole_ones() {
    let malformed = PlainFault { rate: always() };
    let server = start_with(FaultConfig { malformed, ..FaultConfig::default() });
    let mut client = Client::connect(server.addr());
    let response = client.post(CHAT, &chat(4));
    assert_eq!(response.data().len(), 1 + 4 + 1 + 1 + 1, "one event more than without the fault");
    let broken: Vec<_> = response
        .data()
        .iter()
        .map(|data| serde_json::from_str::<serde_json::Value>(data).is_err())
        .collect();
    assert_eq!(
        broken,
        [false, false, false, true, false, false, false, true],
        "the middle one, and [DONE]"
    );
    assert_eq!(response.tokens().len(), 4);
    let whole = client.post(CHAT, &whole_chat(4));
    assert!(whole.is_whole && serde_json::from_slice::<serde_json::Value>(&whole.body).is_err());
}

#[test]
fn an_error_in_the_stream_takes_the_place_of_the_rest() {
    let in_band_error = PlainFault { rate: always() };
    let server = start_with(FaultConfig { in_band_error, ..FaultConfig::default() });
    let response = Client::connect(server.addr()).post(CHAT, &chat(6));
    assert_eq!((response.status, response.is_whole, response.tokens().len()), (200, true, 3));
    let events = response.events();
    assert_eq!(events.last().unwrap()["error"]["type"], "server_error");
    assert!(response.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(Client::connect(server.addr()).post(CHAT, &whole_chat(6)).status, 500);
    assert_eq!(server.truth().failed, 2);
}

#[test]
fn without_done_the_body_still_ends_cleanly() {
    let no_done = PlainFault { rate: every_second() };
    let server = start_with(FaultConfig { no_done, ..FaultConfig::default() });
    let mut client = Client::connect(server.addr());
    assert!(client.post(CHAT, &chat(2)).text().contains("[DONE]"));
    let without = client.post(CHAT, &chat(2));
    assert!(without.is_whole && !without.text().contains("[DONE]"));
    assert_eq!(without.events()[2]["choices"][0]["finish_reason"], "length");
}

#[test]
fn an_empty_answer_has_a_finish_reason_and_no_token() {
    let empty = PlainFault { rate: always() };
    let server = start_with(FaultConfig { empty, ..FaultConfig::default() });
    let mut client = Client::connect(server.addr());
    let response = client.post(CHAT, &chat(5));
    assert_eq!(
        (response.tokens().len(), response.usage()["completion_tokens"].clone()),
        (0, 0.into())
    );
    assert_eq!(response.events()[1]["choices"][0]["finish_reason"], "stop");
    assert!(response.text().ends_with("data: [DONE]\n\n"));
    let truth = server.truth();
    assert_eq!((truth.completed, truth.output_tokens, truth.ttft_us.count), (1, 0, 0));
}

#[test]
fn a_short_answer_stops_half_way_although_its_end_is_not_allowed() {
    let short = PlainFault { rate: every_second() };
    let server = start_with(FaultConfig { short, ..FaultConfig::default() });
    let mut client = Client::connect(server.addr());
    assert_eq!(client.post(CHAT, &chat(6)).tokens().len(), 6);
    let response = client.post(CHAT, &chat(6));
    assert_eq!(response.tokens().len(), 3);
    assert_eq!(response.usage()["completion_tokens"], 3);
    // One token has no half.
    assert_eq!(client.post(CHAT, &chat(1)).tokens().len(), 1);
    assert_eq!(client.post(CHAT, &chat(1)).tokens().len(), 1);
}

#[test]
fn a_stall_delays_the_rest_of_the_stream() {
    let stall = StallFault { rate: always(), after_tokens: 2, seconds: 0.2 };
    let server = start_with(FaultConfig { stall, ..FaultConfig::default() });
    assert_eq!(Client::connect(server.addr()).post(CHAT, &chat(5)).tokens().len(), 5);
    let truth = server.truth();
    assert!(truth.e2e_us.min.unwrap() >= 200_000 + 2_000 + 4 * 1_000, "{truth:?}");
    assert_eq!(truth.icl_us.count, 4);
}

#[test]
fn slow_headers_come_before_the_first_token_and_late() {
    let slow_headers = SlowHeadersFault { rate: always(), seconds: 0.1 };
    let server = start_with(FaultConfig { slow_headers, ..FaultConfig::default() });
    assert_eq!(Client::connect(server.addr()).post(CHAT, &chat(2)).tokens().len(), 2);
    // 100 ms until the headers, then the fixed 2 ms.
    assert!(server.truth().ttft_us.min.unwrap() >= 102_000);
}
