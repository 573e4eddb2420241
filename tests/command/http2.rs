//! A run over HTTP/2, from the list of models and the probe to the books.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Ended, number, run_in};

/// A server of streams over HTTP/2 without TLS, for as long as the test runs; it counts its completions.
fn server() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let completions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&completions);
    let _serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                let _connection = tokio::spawn(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        let _answer = tokio::spawn(answer(request, respond, Arc::clone(&counted)));
                    }
                });
            }
        });
    });
    (address, completions)
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    completions: Arc<AtomicU64>,
) {
    let head = |status: u16, kind| {
        Response::builder().status(status).header("content-type", kind).body(()).unwrap()
    };
    if request.uri().path() != "/v1/chat/completions" {
        let _stream = respond.send_response(head(404, "text/plain"), true).unwrap();
        return;
    }
    let _before = completions.fetch_add(1, Ordering::SeqCst);
    let mut body = request.into_body();
    while let Some(Ok(piece)) = body.data().await {
        body.flow_control().release_capacity(piece.len()).unwrap();
    }
    let mut stream = respond.send_response(head(200, "text/event-stream"), false).unwrap();
    for word in ["one", " two"] {
        let event = json!({"choices": [{"index": 0, "delta": {"content": word}}]});
        stream.send_data(format!("data: {event}\n\n").into(), false).unwrap();
    }
    stream.send_data(Bytes::from_static(b"data: [DONE]\n\n"), true).unwrap();
}

#[test]
fn a_run_over_http2_goes_from_the_probe_to_the_books() {
    let (address, completions) = server();
    let folder = TempDir::new().unwrap();
    let mut command = run_in(folder.path());
    command.args([
        "--endpoint",
        &format!("http://{address}"),
        "--rate",
        "100",
        "--requests",
        "100",
    ]);
    for setting in ["client.http=2", "prompts.inputLength.mean=16", "prompts.outputLength.mean=2"] {
        command.args(["--set", setting]);
    }
    let ended = Ended::from(command.output().unwrap(), folder.path());
    let summary = ended.went_through();
    assert_eq!(number(&summary, "/books/due"), 100);
    assert_eq!(number(&summary, "/books/completed"), 100);
    assert_eq!(completions.load(Ordering::SeqCst), 101, "100 and the probe");
}
