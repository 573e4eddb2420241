//! HTTP/2: requests share connections, and say that their stamps are those of user space.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/scripted.rs"]
mod scripted;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, Client, ClientOptions, Clock, Failure, Progress, models, probe};
use h2::Reason;
use metrics::FailureClass;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use workload::{HttpVersion, Target};

#[derive(Clone, Copy, Default)]
struct Script {
    /// Answers after which a connection is closed; 0: none.
    answers: usize,
    status: u16,
    /// The end of an answer comes in a read of its own, some time after `[DONE]`.
    late_end: bool,
    /// A connection's first stream is refused, with this.
    refused_with: Option<Reason>,
    /// It answers before it has read the request, and reads no more of it than this.
    early_after_bytes: Option<usize>,
    /// Streams that one connection may have at a time.
    streams: Option<u32>,
}

/// A server of streams on a free port, on this thread's runtime; it counts its connections.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Of these, those that are over.
    ended: Arc<AtomicUsize>,
    /// Answers that the client broke off.
    broken_off: Arc<AtomicUsize>,
}

impl Server {
    async fn run(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self::at(address);
        let (counted, over) = (Arc::clone(&server.connections), Arc::clone(&server.ended));
        let breaks = Arc::clone(&server.broken_off);
        let _accepting = tokio::task::spawn_local(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let _before = counted.fetch_add(1, Ordering::SeqCst);
                let (over, serving) = (Arc::clone(&over), serve(tcp, script, Arc::clone(&breaks)));
                let _serving = tokio::task::spawn_local(async move {
                    serving.await;
                    let _before = over.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    /// One that somebody else runs, or nobody.
    fn at(address: SocketAddr) -> Self {
        let [connections, ended, broken_off] = std::array::from_fn(|_| Arc::default());
        Self { address, connections, ended, broken_off }
    }

    /// Waits until it has given up a connection, and for the client to have had its turn since.
    async fn has_given_up_one(&self) {
        while self.ended.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    fn client(&self) -> Client {
        Client::new(&self.target(), options(), Clock::start_now()).unwrap()
    }

    fn target(&self) -> Target {
        let url = format!("http://{}/v1/chat/completions", self.address);
        Target { model: None, model_is_chosen: false, ..scripted::target(&url) }
    }
}

fn options() -> ClientOptions {
    let http = HttpVersion::Http2 { connections: NonZeroU16::MIN };
    ClientOptions { http, ..ClientOptions::default() }
}

async fn serve(tcp: tokio::net::TcpStream, script: Script, broken_off: Arc<AtomicUsize>) {
    tcp.set_nodelay(true).unwrap();
    let mut builder = h2::server::Builder::new();
    if let Some(streams) = script.streams {
        let _builder = builder.max_concurrent_streams(streams);
    }
    let mut connection = builder.handshake::<_, Bytes>(tcp).await.unwrap();
    let mut answers = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        answers += 1;
        if answers == script.answers {
            connection.graceful_shutdown();
        }
        if answers == 1
            && let Some(reason) = script.refused_with
        {
            respond.send_reset(reason);
            continue;
        }
        let broken_off = Arc::clone(&broken_off);
        let _answering = tokio::task::spawn_local(answer(request, respond, script, broken_off));
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    script: Script,
    broken_off: Arc<AtomicUsize>,
) {
    assert_eq!(request.uri().path(), "/v1/chat/completions");
    let mut body = request.into_body();
    let mut received = 0;
    while let Some(Ok(piece)) = body.data().await {
        received += piece.len();
        body.flow_control().release_capacity(piece.len()).unwrap();
        if script.early_after_bytes.is_some_and(|bytes| received >= bytes) {
            break;
        }
    }
    assert!(received > 0);
    let head = http::Response::builder()
        .status(if script.status == 0 { 200 } else { script.status })
        .header("content-type", "text/event-stream")
        .body(())
        .unwrap();
    let mut stream = respond.send_response(head, false).unwrap();
    for word in ["a", "b", "c"] {
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n");
        if stream.send_data(event.into(), false).is_err() {
            return; // The client has given it up.
        }
        tokio::task::yield_now().await;
    }
    if stream.send_data(Bytes::from_static(b"data: [DONE]\n\n"), !script.late_end).is_err() {
        return;
    }
    if script.late_end {
        // The client knows by then what the answer came to.
        let given_up = std::future::poll_fn(|context| stream.poll_reset(context));
        match tokio::time::timeout(Duration::from_millis(20), given_up).await {
            Ok(Err(error)) => panic!("{error:?}"),
            Ok(_reset) => _ = broken_off.fetch_add(1, Ordering::SeqCst),
            Err(_in_time) => stream.send_data(Bytes::new(), true).unwrap(),
        }
    }
    if script.early_after_bytes.is_some() {
        std::future::pending::<()>().await;
    }
}

async fn exchange(client: &Client, bytes: usize) -> Result<Answer, Failure> {
    client.exchange(Bytes::from(vec![b'x'; bytes]), || true, |_| {}).await
}

#[tokio::test]
async fn a_stream_is_read_and_says_whose_its_stamps_are() {
    let test = async {
        let server = Server::run(Script::default()).await;
        let (client, mut told) = (server.client(), Vec::new());
        // Larger than any window: it leaves as the server makes room.
        let body = Bytes::from(vec![b'x'; 4 << 20]);
        let answer = client.exchange(body, || true, |progress| told.push(progress)).await.unwrap();
        assert_eq!((answer.events, answer.status, answer.kernel_stamps), (3, 200, false));
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
        assert!(matches!(told[0], Progress::Sent { at } if at == answer.sent));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn requests_share_the_stated_number_of_connections() {
    let test = async {
        let server = Server::run(Script::default()).await;
        let client = server.client();
        let (one, two, three) =
            tokio::join!(exchange(&client, 10), exchange(&client, 10), exchange(&client, 10));
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        assert!(exchange(&client, 10).await.unwrap().connect.is_none());
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_connection_that_the_server_gave_up_is_replaced() {
    let test = async {
        let server = Server::run(Script { answers: 1, ..Script::default() }).await;
        let client = server.client();
        let first = exchange(&client, 10).await.unwrap();
        server.has_given_up_one().await;
        let second = exchange(&client, 10).await.unwrap();
        assert!(!first.reconnected && second.reconnected && second.connect.is_some());
        assert_eq!(server.connections.load(Ordering::SeqCst), 2);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_status_and_a_server_of_another_version_are_failures_of_their_class() {
    let test = async {
        let server = Server::run(Script { status: 503, ..Script::default() }).await;
        let failure = exchange(&server.client(), 10).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Status(503));

        let old = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = old.local_addr().unwrap();
        let _old_server = std::thread::spawn(move || {
            let (mut tcp, _) = old.accept().unwrap();
            std::io::Write::write_all(&mut tcp, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            // A close with unread bytes would be a reset.
            let _read = std::io::copy(&mut tcp, &mut std::io::sink());
        });
        let client = Server::at(address).client();
        let failure = exchange(&client, 10).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Protocol, "{failure:?}");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_gate_that_says_no_sends_nothing() {
    let test = async {
        let server = Server::run(Script::default()).await;
        let refused = server.client().exchange(Bytes::from_static(b"x"), || false, |_| {}).await;
        assert!(refused.unwrap_err().refused_by_gate);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_probe_brings_what_a_shared_connection_needs() {
    let (address, served) = std::sync::mpsc::channel();
    let _server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let serving = async {
            address.send(Server::run(Script::default()).await).unwrap();
            std::future::pending::<()>().await;
        };
        LocalSet::new().block_on(&runtime, serving);
    });
    let server = served.recv().unwrap();
    let prompt = workload::Prompt {
        number: 0,
        class: 0,
        content: workload::Content::Text("hello".to_owned()),
        input_tokens: None,
        output_tokens: None,
    };
    assert!(probe(&server.target(), &options(), &prompt, Some("m")).await.unwrap().ttft.is_some());
    assert!(models(&server.target(), &options()).await.is_err(), "there is no such path");
}

#[tokio::test]
async fn an_answer_whose_end_comes_after_it_is_not_reset() {
    let test = async {
        let server = Server::run(Script { late_end: true, ..Script::default() }).await;
        let client = server.client();
        for _round in 0..40 {
            let together = (0..50).map(|_| exchange(&client, 10));
            for answer in futures_util::future::join_all(together).await {
                assert_eq!(answer.unwrap().events, 3);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let broken_off = server.broken_off.load(Ordering::SeqCst);
        assert_eq!((server.connections.load(Ordering::SeqCst), broken_off), (1, 0));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn many_requests_that_are_given_up_do_not_end_the_connection_of_the_others() {
    let test = async {
        let server = Server::run(Script::default()).await;
        let client = server.client();
        assert!(exchange(&client, 10).await.is_ok());
        for _request in 0..1_500 {
            let (sent, was_sent) = tokio::sync::oneshot::channel();
            let mut sent = Some(sent);
            let on = |progress| {
                if let (Progress::Sent { .. }, Some(sent)) = (progress, sent.take()) {
                    sent.send(()).unwrap();
                }
            };
            tokio::select! {
                biased;
                _ = was_sent => {}
                _ = client.exchange(Bytes::from_static(b"x"), || true, on) => {}
            }
        }
        assert!(exchange(&client, 10).await.is_ok());
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_request_that_the_server_did_not_look_at_is_sent_once_more() {
    let test = async {
        let refused_with = Some(Reason::REFUSED_STREAM);
        let server = Server::run(Script { refused_with, ..Script::default() }).await;
        let (client, mut sent) = (server.client(), 0);
        let on = |progress| sent += u32::from(matches!(progress, Progress::Sent { .. }));
        let answer = client.exchange(Bytes::from_static(b"x"), || true, on).await.unwrap();
        assert!(answer.reconnected && sent == 1, "{answer:?}, sent {sent} times");

        let refused_with = Some(Reason::INTERNAL_ERROR);
        let server = Server::run(Script { refused_with, ..Script::default() }).await;
        let failure = exchange(&server.client(), 10).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::StreamCut, "it may have been read");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn an_answer_before_the_whole_request_is_an_error_or_none() {
    let test = async {
        let early = Script { early_after_bytes: Some(1), ..Script::default() };
        let server = Server::run(Script { status: 413, ..early }).await;
        let failure = exchange(&server.client(), 8 << 20).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Status(413));
        let server = Server::run(early).await;
        let failure = exchange(&server.client(), 8 << 20).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Protocol, "{failure:?}");
    };
    LocalSet::new().run_until(test).await;
}

/// The gate says no to what waits for its turn on the server when that comes.
#[tokio::test]
async fn the_gate_is_asked_when_the_server_has_room() {
    let test = async {
        let server = Server::run(Script { streams: Some(1), ..Script::default() }).await;
        let client = server.client();
        assert!(exchange(&client, 10).await.is_ok());
        let over = std::cell::Cell::new(false);
        let first = async {
            let answer = exchange(&client, 10).await;
            over.set(true);
            answer
        };
        let second = client.exchange(Bytes::from_static(b"x"), || !over.get(), |_| {});
        // Of those that are woken together the first is asked first.
        let (first, second) = futures_util::future::join(first, second).await;
        let (first, second) = (first.unwrap(), second.unwrap_err());
        assert!(second.refused_by_gate && second.connected_at.unwrap() >= first.sent);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn requests_that_wait_for_a_connection_share_its_failure() {
    let test = async {
        let (_held, address) = scripted::nobody();
        let client = Server::at(address).client();
        for answer in futures_util::future::join_all((0..5).map(|_| exchange(&client, 10))).await {
            assert_eq!(answer.unwrap_err().class, FailureClass::Connect);
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_dead_connection_is_replaced_by_one_for_all_who_found_it_dead() {
    let test = async {
        let server = Server::run(Script { answers: 1, ..Script::default() }).await;
        let client = server.client();
        assert!(exchange(&client, 10).await.is_ok());
        server.has_given_up_one().await;
        let (one, two) = tokio::join!(exchange(&client, 10), exchange(&client, 10));
        assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
        // The new one takes one request too: the other one moves.
        assert!(server.connections.load(Ordering::SeqCst) <= 3);
    };
    LocalSet::new().run_until(test).await;
}
