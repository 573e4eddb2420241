//! One request against servers that do what servers do: answer, dawdle, break off, close, talk nonsense.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/scripted.rs"]
mod scripted;

use std::cell::Cell;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, Client, ClientOptions, Clock, Credentials, Failure, Progress};
use metrics::FailureClass;
use scripted::{
    FrozenTime, LAST_CHUNK, OK_STREAM, Peer, REST, Server, chunk, client, done, plain, reset,
    target, two_words, word,
};
use tokio::sync::Notify;
use workload::{Api, Target};

async fn exchange(client: &Client) -> Result<Answer, Failure> {
    client.exchange(Bytes::from_static(b"{}"), || true, |_| {}).await
}

/// The failure of a request to a server that answers its first request with `answer` and closes.
async fn failure(answer: impl Into<Vec<u8>>) -> Failure {
    let answer = answer.into();
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(&answer);
    });
    exchange(&server.client()).await.unwrap_err()
}

#[tokio::test]
async fn a_streamed_answer_is_told_event_by_event_and_summed_up() {
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM);
        peer.send(chunk(
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        ));
        peer.send(chunk("data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n"));
        peer.send(word("a"));
        peer.send(word("b") + &word("c"));
        peer.send(chunk(
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":4}}\n\n",
        ));
        peer.send(done() + LAST_CHUNK);
        peer.wait();
    });
    let (client, mut told) = (server.client(), Vec::new());
    let answer =
        client.exchange(Bytes::from_static(b"{}"), || true, |progress| told.push(progress));
    let answer = answer.await.unwrap();

    assert!(matches!(told[0], Progress::Sent { at } if at == answer.sent), "{told:?}");
    let events: Vec<_> = told
        .iter()
        .filter_map(|progress| match progress {
            Progress::Content { at, tokens, visible, .. } => Some((*at, *tokens, *visible)),
            Progress::Sent { .. } | Progress::Read { .. } => None,
        })
        .collect();
    assert_eq!(
        events.iter().map(|(_, tokens, visible)| (*tokens, *visible)).collect::<Vec<_>>(),
        [(1, false), (1, true), (1, true), (1, true)]
    );
    assert_eq!(answer.events, 4);
    assert_eq!(answer.first_token, Some(events[0].0));
    assert_eq!(answer.last_token, Some(events[3].0));
    assert_eq!(answer.usage.unwrap().completion_tokens, Some(4));
    assert_eq!((answer.status, answer.no_done, answer.reconnected), (200, false, false));
    assert!(answer.kernel_stamps, "loopback has kernel stamps");
    assert!(answer.connect.is_some());

    let instants = [
        answer.connected_at,
        answer.sent,
        answer.headers,
        answer.first_token.unwrap(),
        answer.last_token.unwrap(),
        answer.finished,
    ];
    assert!(instants.is_sorted(), "{instants:?}");
}

#[tokio::test]
async fn events_of_one_read_share_their_instant_and_say_so() {
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send(two_words());
        peer.wait();
    });
    let (client, mut told) = (server.client(), Vec::new());
    let answer =
        client.exchange(Bytes::from_static(b"{}"), || true, |progress| told.push(progress));
    let answer = answer.await.unwrap();
    assert_eq!(answer.first_token, answer.last_token);
    let shared: Vec<_> = told
        .iter()
        .filter_map(|progress| match progress {
            Progress::Content { gap_shared, .. } => Some(*gap_shared),
            Progress::Sent { .. } | Progress::Read { .. } => None,
        })
        .collect();
    assert_eq!(shared, [false, true]);
}

/// The client is kept from reading until the server has sent and the clock has moved on; the stamp is
/// the kernel's all the same.
#[tokio::test]
async fn an_arrival_is_the_kernels_and_not_that_of_a_late_reader() {
    let (ask_second, asked_second) = mpsc::channel();
    let (tell_sent, was_sent) = mpsc::channel();
    let script = Mutex::new((asked_second, tell_sent));
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM.to_owned() + &word("a"));
        let script = script.lock().unwrap();
        script.0.recv().unwrap();
        peer.send(word("b") + &done() + LAST_CHUNK);
        script.1.send(()).unwrap();
        peer.wait();
    });
    let clock = Clock::start_now();
    let client = Client::new(&server.target(), ClientOptions::default(), clock).unwrap();
    let mut read_after = None;
    let mut lag_of_second = Duration::ZERO;
    let answer = client.exchange(
        Bytes::from_static(b"{}"),
        || true,
        |progress| match progress {
            Progress::Content { .. } if read_after.is_none() => {
                ask_second.send(()).unwrap();
                was_sent.recv().unwrap();
                std::thread::sleep(Duration::from_millis(5));
                read_after = Some(clock.now());
            }
            Progress::Read { lag } => lag_of_second = lag.unwrap_or_default(),
            Progress::Content { .. } | Progress::Sent { .. } => {}
        },
    );
    let answer = answer.await.unwrap();
    assert!(
        answer.last_token.unwrap() + Duration::from_millis(5) <= read_after.unwrap(),
        "{answer:?}"
    );
    assert!(lag_of_second >= Duration::from_millis(5));
}

#[tokio::test]
async fn the_request_arrives_as_it_was_made() {
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send(two_words());
    });
    let target = Target { headers: vec![("X-Tenant".into(), "a".into())], ..server.target() };
    let credentials = Credentials { api_key: Some("sk-secret".into()), ..Credentials::default() };
    let options = ClientOptions { credentials, ..ClientOptions::default() };
    let client = Client::new(&target, options, Clock::start_now()).unwrap();
    let body = client::body(&target, &scripted::prompt(), None).unwrap();
    let answer = client.exchange(body.clone(), || true, |_| {}).await.unwrap();
    assert_eq!(answer.events, 2);
    let request = &server.requests()[0];
    let (head, sent_body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("host: {}", server.address),
        "x-tenant: a".into(),
        "authorization: Bearer sk-secret".into(),
        "accept: text/event-stream".into(),
        "content-type: application/json".into(),
        format!("content-length: {}", body.len()),
    ] {
        assert!(head.lines().any(|header| header == line), "{line} is missing in {head}");
    }
    assert_eq!(sent_body.as_bytes(), body);
}

#[tokio::test]
async fn a_body_larger_than_the_sockets_buffers_leaves_whole_before_it_counts_as_sent() {
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send(two_words());
        peer.wait();
    });
    let body = Bytes::from(vec![b'x'; 16 << 20]);
    let answer = server.client().exchange(body.clone(), || true, |_| {}).await.unwrap();
    assert!(answer.sent > answer.connected_at && answer.sent < answer.headers);
    assert_eq!(server.requests()[0].split_once("\r\n\r\n").unwrap().1.len(), body.len());
}

#[tokio::test]
async fn a_connection_is_used_again_and_only_the_first_request_pays_for_it() {
    let (tell_ended, ended) = mpsc::channel();
    let tell_ended = Mutex::new(tell_ended);
    let server = Server::run(move |mut peer| {
        while peer.request().is_some() {
            // The end of the body comes in a packet of its own, as some servers send it.
            peer.send(OK_STREAM.to_owned() + &word("a") + &done());
            peer.send(LAST_CHUNK);
            let _test_is_over = tell_ended.lock().unwrap().send(());
        }
    });
    let client = server.client();
    let first = exchange(&client).await.unwrap();
    assert_eq!(client.idle_connections(), 1);
    ended.recv().unwrap();
    tokio::time::sleep(REST).await;
    let second = exchange(&client).await.unwrap();
    assert!(first.connect.is_some() && second.connect.is_none());
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_body_that_does_not_end_after_done_costs_its_connection_and_nothing_else() {
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM.to_owned() + &word("a") + &done());
        peer.wait();
    });
    let client = server.client();
    let answer = exchange(&client).await.unwrap();
    assert!(answer.finished >= answer.last_token.unwrap());
    tokio::time::sleep(REST).await;
    let second = exchange(&client).await.unwrap();
    assert!(second.connect.is_some() && !second.reconnected);
    assert_eq!((server.connections(), client.idle_connections()), (2, 1));
}

#[tokio::test]
async fn requests_at_the_same_time_have_connections_of_their_own() {
    let server = Server::run(|mut peer| {
        while peer.request().is_some() {
            peer.send(two_words());
        }
    });
    let client = server.client();
    let (one, two, three) = tokio::join!(exchange(&client), exchange(&client), exchange(&client));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!((server.connections(), client.idle_connections()), (3, 3));
}

#[tokio::test]
async fn a_connection_that_closed_while_it_was_idle_is_not_used() {
    let (tell_closed, was_closed) = mpsc::channel();
    let tell_closed = Mutex::new(tell_closed);
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(two_words());
        if peer.number == 0 {
            drop(peer);
            tell_closed.lock().unwrap().send(()).unwrap();
        } else {
            peer.wait();
        }
    });
    let client = server.client();
    assert!(exchange(&client).await.is_ok());
    was_closed.recv().unwrap();
    tokio::time::sleep(REST).await;
    let second = exchange(&client).await.unwrap();
    assert!(second.connect.is_some() && !second.reconnected, "it was never handed the request");
}

/// Runs a request whose connection is reset between the look at it and its first byte: the gate is
/// asked there.
#[tokio::test]
async fn a_request_that_comes_back_unsent_moves_once_to_a_new_connection() {
    let held = Arc::new(Mutex::new(None));
    let script = Arc::clone(&held);
    let server = Server::run(move |mut peer: Peer| {
        let _request = peer.request();
        peer.send(two_words());
        if peer.number == 0 {
            *script.lock().unwrap() = Some(peer.stream);
        } else {
            peer.wait();
        }
    });
    let client = server.client();
    assert!(exchange(&client).await.is_ok());
    tokio::time::sleep(REST).await;
    while held.lock().unwrap().is_none() {
        std::thread::yield_now();
    }
    let mut asked = 0;
    let gate = || {
        asked += 1;
        if let Some(stream) = held.lock().unwrap().take() {
            reset(&stream);
        }
        true
    };
    let answer = client.exchange(Bytes::from_static(b"{}"), gate, |_| {}).await.unwrap();
    assert!(answer.reconnected && answer.connect.is_some());
    assert_eq!((asked, server.connections(), server.requests().len()), (2, 2, 2));
}

#[tokio::test]
async fn what_may_have_been_sent_on_a_used_connection_is_never_repeated() {
    let server = Server::run(|mut peer| {
        let _first = peer.request();
        peer.send(two_words());
        let _second = peer.request();
    });
    let client = server.client();
    assert!(exchange(&client).await.is_ok());
    tokio::time::sleep(REST).await;
    let failure = exchange(&client).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::StaleConnection);
    assert!(failure.sent.is_some() && !failure.reconnected && failure.connection_answered);
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_new_connection_that_closes_without_a_word_is_a_cut() {
    let failure = failure("").await;
    assert_eq!(failure.class, FailureClass::StreamCut);
    assert!(failure.sent.is_some() && !failure.connection_answered, "{failure:?}");
}

#[tokio::test]
async fn a_gate_that_says_no_keeps_every_byte_back() {
    let server = Server::run(|mut peer| {
        assert!(peer.request().is_none(), "a byte arrived");
    });
    let client = server.client();
    let mut asked = 0;
    let gate = || {
        asked += 1;
        false
    };
    let failure = client
        .exchange(Bytes::from_static(b"{}"), gate, |progress| panic!("{progress:?}"))
        .await
        .unwrap_err();
    assert!(failure.refused_by_gate && failure.sent.is_none() && failure.connected_at.is_some());
    assert_eq!((asked, client.idle_connections()), (1, 0));
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn dropping_the_future_closes_the_connection() {
    let (tell_closed, was_closed) = mpsc::channel();
    let tell_closed = Mutex::new(tell_closed);
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM.to_owned() + &word("a"));
        peer.wait();
        tell_closed.lock().unwrap().send(()).unwrap();
    });
    let client = server.client();
    let (tell_content, has_content) = tokio::sync::oneshot::channel();
    let mut tell_content = Some(tell_content);
    let request = client.exchange(
        Bytes::from_static(b"{}"),
        || true,
        |progress| {
            if let (Progress::Content { .. }, Some(tell)) =
                (progress, tell_content.take_if(|_| matches!(progress, Progress::Content { .. })))
            {
                tell.send(()).unwrap();
            }
        },
    );
    tokio::select! {
        answer = request => panic!("{answer:?}"),
        told = has_content => told.unwrap(),
    }
    was_closed.recv().unwrap();
    assert_eq!(client.idle_connections(), 0);
}

#[tokio::test]
async fn nobody_listens() {
    let (_held, address) = scripted::nobody();
    let url = format!("http://{address}/v1/chat/completions");
    let failure = exchange(&client(&target(&url))).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Connect);
    assert!(failure.detail.contains("refused") && failure.sent.is_none(), "{failure:?}");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_no_connection() {
    let failure =
        exchange(&client(&target("http://nobody.invalid/v1/chat/completions"))).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Connect);
    assert!(failure.detail.contains("nobody.invalid:80"), "{failure:?}");
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_time_is_a_timeout_with_what_was_known() {
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM.to_owned() + &word("a"));
        peer.wait();
    });
    let time = FrozenTime::begin();
    let request_timeout = Duration::from_secs(300);
    let options = ClientOptions { request_timeout, ..ClientOptions::default() };
    let client = Client::new(&server.target(), options, Clock::start_now()).unwrap();
    let (read, told) = (Notify::new(), Cell::new(false));
    let on = |progress| {
        if matches!(progress, Progress::Content { .. }) && !told.replace(true) {
            read.notify_one();
        }
    };
    let too_long = async {
        read.notified().await;
        time.pass(request_timeout + Duration::from_secs(1)).await;
    };
    let (failure, ()) =
        tokio::join!(client.exchange(Bytes::from_static(b"{}"), || true, on), too_long);
    let failure = failure.unwrap_err();
    assert_eq!((failure.class, failure.events), (FailureClass::Timeout, 1));
    assert!(failure.sent.is_some() && failure.connected_at.is_some());
}

#[tokio::test]
async fn a_stream_that_never_ends_neither_blocks_the_lane_nor_grows() {
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM);
        let flood = chunk(&": still here\n".repeat(2_000));
        while std::io::Write::write_all(&mut peer.stream, flood.as_bytes()).is_ok() {}
    });
    let options =
        ClientOptions { request_timeout: Duration::from_millis(300), ..ClientOptions::default() };
    let client = Client::new(&server.target(), options, Clock::start_now()).unwrap();
    let failure = exchange(&client).await.unwrap_err();
    assert_eq!((failure.class, failure.events), (FailureClass::Timeout, 0));
}

#[tokio::test]
async fn a_stream_without_done_completes_by_its_finish_reason_and_clean_end() {
    let finish = chunk("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    let whole = [OK_STREAM, &word("a"), &finish, LAST_CHUNK].concat();
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(&whole);
        peer.wait();
    });
    let client = server.client();
    let answer = exchange(&client).await.unwrap();
    assert!(answer.no_done && answer.finished >= answer.last_token.unwrap());
    assert_eq!(client.idle_connections(), 1);
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_complete_when_it_says_so() {
    let answer = "HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n";
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(answer);
    });
    let client = server.client();
    assert_eq!(exchange(&client).await.unwrap().events, 1);
    assert_eq!(client.idle_connections(), 0);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_cut_in_every_way_it_can() {
    let begun = OK_STREAM.to_owned() + &word("a");
    let finish = chunk("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    for answer in [
        begun.clone(),
        begun.clone() + &finish,
        begun.clone() + LAST_CHUNK,
        begun.clone() + "40\r\ndata: {\"choices\":[{\"del",
        begun.clone() + &chunk("data: {\"choices\":[{\"del") + LAST_CHUNK,
        OK_STREAM.to_owned(),
    ] {
        let failure = failure(answer.as_str()).await;
        assert_eq!(failure.class, FailureClass::StreamCut, "{answer}: {failure:?}");
        assert_eq!(failure.events, u64::from(answer != OK_STREAM), "{answer}");
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_is_a_cut() {
    let (ask_reset, asked_reset) = mpsc::channel();
    let asked_reset = Mutex::new(asked_reset);
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM.to_owned() + &word("a"));
        asked_reset.lock().unwrap().recv().unwrap();
        peer.reset();
    });
    let client = server.client();
    let failure = client.exchange(
        Bytes::from_static(b"{}"),
        || true,
        |progress| {
            if matches!(progress, Progress::Content { .. }) {
                ask_reset.send(()).unwrap();
            }
        },
    );
    let failure = failure.await.unwrap_err();
    assert_eq!((failure.class, failure.events), (FailureClass::StreamCut, 1));
    assert!(failure.detail.contains("reset"), "{failure:?}");
}

#[tokio::test]
async fn a_status_is_its_class_with_the_servers_words_and_no_key_in_them() {
    let answers = [
        plain(
            "401 Unauthorized",
            "application/json",
            r#"{"error":{"message":"bad key sk-secret-key"}}"#,
        ),
        plain("429 Too Many Requests", "text/plain", "slow down"),
        plain("500 Internal Server Error", "text/html", ""),
    ];
    let (number, server) = (Mutex::new(0), answers);
    let server = Server::run(move |mut peer| {
        while peer.request().is_some() {
            let mut number = number.lock().unwrap();
            peer.send(&server[*number]);
            *number += 1;
        }
    });
    let credentials =
        Credentials { api_key: Some("sk-secret-key".into()), ..Credentials::default() };
    let options = ClientOptions { credentials, ..ClientOptions::default() };
    let client = Client::new(&server.target(), options, Clock::start_now()).unwrap();
    for (status, words) in
        [(401, "bad key [redacted]"), (429, "slow down"), (500, "500 Internal Server Error")]
    {
        let failure = exchange(&client).await.unwrap_err();
        assert_eq!((failure.class, failure.detail.as_str()), (FailureClass::Status(status), words));
        assert!(failure.sent.is_some());
        tokio::time::sleep(REST).await;
    }
    assert_eq!(server.connections(), 1, "an error with an end leaves the connection usable");
}

#[tokio::test]
async fn an_endless_error_is_cut_off() {
    let body = "x".repeat(200_000);
    let failure = failure(plain("503 Service Unavailable", "text/plain", &body)).await;
    assert_eq!(failure.class, FailureClass::Status(503));
    assert!(failure.detail.len() <= 512 && failure.detail.starts_with("xxx"), "{failure:?}");
}

#[tokio::test]
async fn an_answer_before_the_whole_request_was_read_is_an_answer() {
    let server = Server::run(|mut peer| {
        std::io::Read::read_exact(&mut peer.stream, &mut [0; 100]).unwrap();
        peer.send(plain("413 Payload Too Large", "text/plain", "too much"));
        peer.wait();
    });
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let failure = server.client().exchange(body, || true, |_| {}).await.unwrap_err();
    assert_eq!((failure.class, failure.detail.as_str()), (FailureClass::Status(413), "too much"));
}

#[tokio::test]
async fn a_success_before_the_whole_request_was_read_is_none() {
    let server = Server::run(|mut peer| {
        std::io::Read::read_exact(&mut peer.stream, &mut [0; 100]).unwrap();
        peer.send(OK_STREAM);
        let _whole = peer.request();
        peer.send(word("a") + &done() + LAST_CHUNK);
    });
    let body = Bytes::from(vec![b'x'; 32 << 20]);
    let failure = server.client().exchange(body, || true, |_| {}).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Protocol);
    assert!(failure.detail.contains("before it had the whole request"), "{failure:?}");
}

/// A stream faster than its reader: between two turns of others lies no more than some reads.
#[tokio::test]
async fn a_flood_leaves_the_others_of_its_lane_their_turns() {
    let flood =
        [OK_STREAM.to_owned(), word("a").repeat(60_000), done(), LAST_CHUNK.into()].concat();
    let flood_bytes = flood.len();
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(&flood);
        peer.wait();
    });
    let client = server.client();
    let (turns, turn, events, most) =
        (Cell::new(0), Cell::new(0), Cell::new(0_usize), Cell::new(0_usize));
    let on = |progress| {
        if matches!(progress, Progress::Content { .. }) {
            events.set(if turn.replace(turns.get()) == turns.get() { events.get() + 1 } else { 1 });
            most.set(most.get().max(events.get()));
            if events.get() % 200 == 0 {
                // A reader that is slower than its server finds every buffer full.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    };
    let others = async {
        loop {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let answer = async {
        let answer = client.exchange(Bytes::from_static(b"{}"), || true, on).await.unwrap();
        assert_eq!(answer.events, 60_000);
    };
    tokio::select! {
        biased;
        () = others => {}
        () = answer => {}
    }
    let event_bytes = flood_bytes / 60_000;
    let most_bytes = most.get() * event_bytes;
    assert!(most_bytes <= 384 << 10, "{most_bytes} bytes in one turn");
}

#[tokio::test]
async fn a_flood_of_information_is_cut_off() {
    let early = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let few =
        failure(early.repeat(16) + &plain("503 Service Unavailable", "text/plain", "x")).await;
    assert_eq!(few.class, FailureClass::Status(503));
    let many = failure(early.repeat(17)).await;
    assert_eq!(many.class, FailureClass::Protocol, "{many:?}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let failure = failure("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(failure.class, FailureClass::Status(307));
    assert!(failure.detail.contains("http://elsewhere/"), "{failure:?}");
}

#[tokio::test]
async fn answers_that_are_not_what_was_asked_for_break_the_protocol() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
    for (answer, words) in [
        (format!("{head}content-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x0b\x08"), "gzip"),
        (plain("200 OK", "application/json", r#"{"error":"no streams here"}"#), "no streams here"),
        (format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"), "chunk"),
        (format!("{head}transfer-encoding: chunked\r\n\r\n{}XX", &word("a")), "chunk"),
        (OK_STREAM.to_owned() + &chunk("data: <html>\n\n"), "<html>"),
        (OK_STREAM.to_owned() + &chunk("data: [1, 2]\n\n"), "[1, 2]"),
        ("SSH-2.0-OpenSSH_9.2\r\n".to_owned(), "no answer's head"),
        (format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000)), "no answer's head"),
    ] {
        let failure = failure(answer.as_str()).await;
        assert_eq!(failure.class, FailureClass::Protocol, "{failure:?}");
        assert!(failure.detail.contains(words), "{words} is missing in {}", failure.detail);
    }
}

#[tokio::test]
async fn a_line_longer_than_a_mebibyte_breaks_the_protocol() {
    let long = chunk(&format!("data: {}", "x".repeat(1 << 20)));
    let failure = failure(OK_STREAM.to_owned() + &long).await;
    assert_eq!(failure.class, FailureClass::Protocol);
    assert!(failure.detail.contains("longer than"), "{failure:?}");
}

#[tokio::test]
async fn answers_of_information_are_passed_over() {
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n");
        peer.send(two_words());
        peer.wait();
    });
    assert_eq!(exchange(&server.client()).await.unwrap().status, 200);
}

#[tokio::test]
async fn an_event_may_be_cut_inside_a_letter() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"größe\"}}]}\n\n".as_bytes();
    let cut = event.iter().position(|byte| *byte > 127).unwrap() + 1;
    let pieces = [&event[..cut], &event[cut..]]
        .map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    let server = Server::run(move |mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM);
        peer.send(&pieces[0]);
        peer.send(&pieces[1]);
        peer.send(done() + LAST_CHUNK);
        peer.wait();
    });
    assert_eq!(exchange(&server.client()).await.unwrap().events, 1);
}

#[tokio::test]
async fn an_error_in_the_stream_is_a_failure_with_its_words() {
    let error = chunk("data: {\"error\":{\"message\":\"out of memory\"}}\n\n");
    let failure = failure(OK_STREAM.to_owned() + &word("a") + &error + &done() + LAST_CHUNK).await;
    assert_eq!(
        (failure.class, failure.detail.as_str()),
        (FailureClass::InBandError, "out of memory")
    );
    assert_eq!(failure.events, 1);
}

#[tokio::test]
async fn a_complete_stream_without_content_is_empty() {
    let failure = failure(OK_STREAM.to_owned() + &done() + LAST_CHUNK).await;
    assert_eq!(failure.class, FailureClass::Empty);
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_read_whole() {
    let chat = r#"{"choices":[{"message":{"content":"a b"},"finish_reason":"stop"}],"usage":{"completion_tokens":2}}"#;
    let text =
        r#"{"choices":[{"text":"a b","finish_reason":"stop"}],"usage":{"completion_tokens":2}}"#;
    for (api, json) in [(Api::Chat, chat), (Api::Completions, text)] {
        let server = Server::run(move |mut peer| {
            let _request = peer.request();
            let (one, two) = json.split_at(30);
            peer.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{one}", json.len()));
            peer.send(two);
            peer.wait();
        });
        let client = client(&Target { api, stream: false, ..server.target() });
        let answer = exchange(&client).await.unwrap();
        assert_eq!((answer.events, answer.first_token), (0, None));
        assert_eq!(answer.usage.unwrap().completion_tokens, Some(2));
        assert!(answer.finished >= answer.headers);
        assert_eq!(client.idle_connections(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_fails_by_its_own_classes() {
    for (body, class) in [
        (r#"{"choices":[{"message":{"content":""}}]}"#, FailureClass::Empty),
        (r#"{"error":{"message":"no"}}"#, FailureClass::InBandError),
        ("data: {}\n\n", FailureClass::Protocol),
    ] {
        let server = Server::run(move |mut peer| {
            let _request = peer.request();
            peer.send(plain("200 OK", "application/json", body));
        });
        let failure =
            exchange(&client(&Target { stream: false, ..server.target() })).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure:?}");
    }
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\"");
    });
    let failure =
        exchange(&client(&Target { stream: false, ..server.target() })).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::StreamCut);
}

/// Ten thousand of them must fit beside each other.
#[tokio::test]
async fn the_future_of_a_request_is_small() {
    let client = client(&target("http://127.0.0.1:9/v1/chat/completions"));
    let future = client.exchange(Bytes::new(), || true, |_| {});
    eprintln!("FUTURE {}", size_of_val(&future));
    assert!(size_of_val(&future) <= 4_096, "{} bytes", size_of_val(&future));
}
