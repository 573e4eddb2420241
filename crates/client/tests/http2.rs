//! HTTP/2: requests share connections, and say that their stamps are those of user space.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use client::{Answer, Client, ClientOptions, Clock, Failure, Progress};
use metrics::FailureClass;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use workload::{Api, HttpVersion, Target};

#[derive(Clone, Copy, Default)]
struct Script {
    /// Answers after which a connection is closed; 0: none.
    answers: usize,
    status: u16,
}

/// A server of streams on a free port, on this thread's runtime; it counts its connections.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn run(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let _accepting = tokio::task::spawn_local(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let _before = counted.fetch_add(1, Ordering::SeqCst);
                let _serving = tokio::task::spawn_local(serve(tcp, script));
            }
        });
        Self { address, connections }
    }

    fn client(&self) -> Client {
        let target = Target {
            url: format!("http://{}/v1/chat/completions", self.address),
            api: Api::Chat,
            stream: true,
            model: None,
            headers: Vec::new(),
            extra_body: None,
            ignore_eos: false,
            min_tokens: false,
        };
        let http = HttpVersion::Http2 { connections: NonZeroU16::MIN };
        let options = ClientOptions { http, ..ClientOptions::default() };
        Client::new(&target, options, Clock::start_now()).unwrap()
    }
}

async fn serve(tcp: tokio::net::TcpStream, script: Script) {
    let mut connection = h2::server::handshake(tcp).await.unwrap();
    let mut answers = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        answers += 1;
        if answers == script.answers {
            connection.graceful_shutdown();
        }
        let _answering = tokio::task::spawn_local(async move {
            assert_eq!(request.uri().path(), "/v1/chat/completions");
            let mut body = request.into_body();
            let mut received = 0;
            while let Some(Ok(piece)) = body.data().await {
                received += piece.len();
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            assert!(received > 0);
            let head = http::Response::builder()
                .status(if script.status == 0 { 200 } else { script.status })
                .header("content-type", "text/event-stream")
                .body(())
                .unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            for word in ["a", "b", "c"] {
                let event =
                    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n");
                stream.send_data(event.into(), false).unwrap();
                tokio::task::yield_now().await;
            }
            stream.send_data(Bytes::from_static(b"data: [DONE]\n\n"), true).unwrap();
        });
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
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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
        let client = Server { address, connections: Arc::default() }.client();
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
