//! TLS over the same socket: kernel stamps stay, trust is checked, and each refusal is told apart.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/scripted.rs"]
mod scripted;

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use client::{Answer, Client, ClientOptions, Clock, Failure, Progress};
use metrics::FailureClass;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use scripted::{
    LAST_CHUNK, OK_STREAM, Peer, REST, Server, contents, done, target, two_words, word,
};
use workload::Target;

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// A server with a certificate of its own for 127.0.0.1, and that certificate in PEM.
fn server(script: impl Fn(Peer<Tls>) + Send + Sync + 'static) -> (Server, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |tcp| {
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp);
        tls.conn.complete_io(&mut tls.sock).ok().map(|_| tls)
    };
    (Server::wrapped(wrap, script), made.cert.pem())
}

fn answering(mut peer: Peer<Tls>) {
    while peer.request().is_some() {
        peer.send(OK_STREAM);
        peer.send(word("a"));
        peer.send(word("b") + &done() + LAST_CHUNK);
    }
}

fn https(server: &Server) -> Target {
    target(&format!("https://{}/v1/chat/completions", server.address))
}

/// The certificate in a file that lives as long as the test.
fn ca_file(pem: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), pem).unwrap();
    file
}

async fn exchange(target: &Target, options: ClientOptions) -> Result<Answer, Failure> {
    let client = Client::new(target, options, Clock::start_now()).unwrap();
    client.exchange(Bytes::from_static(b"{}"), || true, |_| {}).await
}

#[tokio::test]
async fn a_trusted_server_is_measured_with_kernel_stamps_and_its_connection_kept() {
    let (server, pem) = server(answering);
    let file = ca_file(&pem);
    let options =
        ClientOptions { ca_file: Some(file.path().to_owned()), ..ClientOptions::default() };
    let client = Client::new(&https(&server), options, Clock::start_now()).unwrap();
    let mut told: Vec<Progress> = Vec::new();
    let first = client
        .exchange(Bytes::from_static(b"{}"), || true, |progress| told.push(progress))
        .await
        .unwrap();
    assert!(first.kernel_stamps && first.connect.is_some());
    assert_eq!((first.events, contents(&told)), (2, 2));
    let instants = [
        first.sent,
        first.headers,
        first.first_token.unwrap(),
        first.last_token.unwrap(),
        first.finished,
    ];
    assert!(instants.is_sorted(), "{instants:?}");

    tokio::time::sleep(REST).await;
    let second = client.exchange(Bytes::from(vec![b'x'; 1 << 20]), || true, |_| {}).await.unwrap();
    assert!(second.connect.is_none() && second.sent < second.headers);
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

/// The farewell of TLS comes as bytes, and is no answer.
#[tokio::test]
async fn a_farewell_instead_of_a_second_answer_is_a_stale_connection() {
    let (server, _pem) = server(|mut peer| {
        let _first = peer.request();
        peer.send(two_words());
        let _second = peer.request();
        peer.stream.conn.send_close_notify();
        let _gone = peer.stream.flush();
    });
    let options = ClientOptions { insecure_skip_verify: true, ..ClientOptions::default() };
    let client = Client::new(&https(&server), options, Clock::start_now()).unwrap();
    let exchange = || client.exchange(Bytes::from_static(b"{}"), || true, |_| {});
    assert!(exchange().await.is_ok());
    tokio::time::sleep(REST).await;
    assert_eq!(exchange().await.unwrap_err().class, FailureClass::StaleConnection);
    assert_eq!((server.connections(), server.requests().len()), (1, 2));
}

#[tokio::test]
async fn a_gate_that_says_no_keeps_every_byte_of_the_request_back() {
    let (server, _pem) = server(|mut peer| assert!(peer.request().is_none(), "a request arrived"));
    let options = ClientOptions { insecure_skip_verify: true, ..ClientOptions::default() };
    let client = Client::new(&https(&server), options, Clock::start_now()).unwrap();
    let failure = client.exchange(Bytes::from_static(b"{}"), || false, |_| {}).await.unwrap_err();
    assert!(failure.refused_by_gate && failure.sent.is_none());
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_unless_all_are_accepted() {
    let (server, _pem) = server(answering);
    let refused = exchange(&https(&server), ClientOptions::default()).await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Tls);
    assert!(refused.detail.contains("certificate") && refused.sent.is_none(), "{refused:?}");
    let anybody = ClientOptions { insecure_skip_verify: true, ..ClientOptions::default() };
    assert_eq!(exchange(&https(&server), anybody).await.unwrap().events, 2);
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_refused() {
    let (server, pem) = server(answering);
    let file = ca_file(&pem);
    let options =
        ClientOptions { ca_file: Some(file.path().to_owned()), ..ClientOptions::default() };
    let elsewhere =
        target(&format!("https://localhost:{}/v1/chat/completions", server.address.port()));
    let refused = exchange(&elsewhere, options).await.unwrap_err();
    assert_eq!(refused.class, FailureClass::Tls, "{refused:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let server = Server::run(|mut peer| {
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        peer.wait();
    });
    let anybody = ClientOptions { insecure_skip_verify: true, ..ClientOptions::default() };
    let failure = exchange(&https(&server), anybody).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Tls, "{failure:?}");
    assert!(failure.detail.contains("no TLS, but perhaps plain `http://`"), "{failure:?}");
}

#[tokio::test]
async fn a_connection_that_ends_without_farewell_is_a_cut() {
    let (server, _pem) = server(|mut peer| {
        let _request = peer.request();
        peer.send(OK_STREAM.to_owned() + &word("a"));
    });
    let anybody = ClientOptions { insecure_skip_verify: true, ..ClientOptions::default() };
    let failure = exchange(&https(&server), anybody).await.unwrap_err();
    assert_eq!((failure.class, failure.events), (FailureClass::StreamCut, 1));
}

#[tokio::test]
async fn many_events_in_one_record_share_its_instant() {
    let (server, _pem) = server(|mut peer| {
        let _request = peer.request();
        peer.send(two_words());
        peer.wait();
    });
    let anybody = ClientOptions { insecure_skip_verify: true, ..ClientOptions::default() };
    let answer = exchange(&https(&server), anybody).await.unwrap();
    assert_eq!(answer.first_token, answer.last_token);
}

#[test]
fn an_unusable_ca_file_is_refused_by_its_settings_name() {
    let refused = |path: PathBuf| {
        let options = ClientOptions { ca_file: Some(path), ..ClientOptions::default() };
        Client::new(&target("https://gateway/v1/chat/completions"), options, Clock::start_now())
            .unwrap_err()
            .to_string()
    };
    let missing = refused("/nonexistent.pem".into());
    assert!(missing.contains("target.caFile") && missing.contains("/nonexistent.pem"), "{missing}");
    let empty = refused(ca_file("nothing").path().to_owned());
    assert!(empty.contains("no certificate"), "{empty}");
}
