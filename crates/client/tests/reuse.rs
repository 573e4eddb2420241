//! When a connection is used again: against servers that keep it, close it without a word, or announce
//! its end. Time is frozen, so that no test depends on how fast its machine is.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "support/scripted.rs"]
mod scripted;

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, Client, Clock, Failure, Progress};
use metrics::FailureClass;
use scripted::{FrozenTime, LAST_CHUNK, OK_STREAM, REST, Server, done, two_words, word};

async fn exchange(client: &Client) -> Result<Answer, Failure> {
    client.exchange(Bytes::from_static(b"{}"), || true, |_| {}).await
}

/// The worst a server can do that closes after each answer and announces the contrary: its close comes
/// just after the next request.
#[tokio::test]
async fn a_server_that_closes_after_each_answer_fails_no_request() {
    let _time = FrozenTime::begin();
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        let keep_alive = "200 OK\r\nkeep-alive: timeout=5, max=100";
        peer.send(two_words().replace("200 OK", keep_alive));
        let _one_more = peer.request();
    });
    let client = server.client();
    for _ in 0..5 {
        assert!(exchange(&client).await.unwrap().connect.is_some());
    }
    assert_eq!((server.connections(), server.requests().len()), (5, 5));
}

#[tokio::test]
async fn a_server_that_kept_a_connection_is_asked_again_on_it_at_once() {
    let time = FrozenTime::begin();
    let server = Server::run(|mut peer| {
        while peer.request().is_some() {
            peer.send(two_words());
        }
    });
    let client = server.client();
    assert!(exchange(&client).await.is_ok());
    time.pass(REST).await;
    for _ in 0..5 {
        assert!(exchange(&client).await.unwrap().connect.is_none());
    }
    assert_eq!((server.connections(), server.requests().len()), (1, 6));
}

#[tokio::test]
async fn after_a_close_at_once_every_connection_rests_before_it_is_used_again() {
    let time = FrozenTime::begin();
    let (tell_closed, was_closed) = mpsc::channel();
    let tell_closed = Mutex::new(tell_closed);
    let server = Server::run(move |mut peer| {
        let mut answers = 0;
        while peer.request().is_some() {
            peer.send(two_words());
            answers += 1;
            if (peer.number, answers) == (0, 2) {
                drop(peer);
                return tell_closed.lock().unwrap().send(()).unwrap();
            }
        }
    });
    let client = server.client();
    assert!(exchange(&client).await.is_ok());
    time.pass(REST).await;
    assert!(exchange(&client).await.unwrap().connect.is_none(), "it is trusted");
    was_closed.recv().unwrap();
    for _ in 0..2 {
        assert!(exchange(&client).await.unwrap().connect.is_some(), "none has rested");
    }
    time.pass(REST).await;
    assert!(exchange(&client).await.unwrap().connect.is_none());
    assert!(exchange(&client).await.unwrap().connect.is_none(), "the other one");
    assert!(exchange(&client).await.unwrap().connect.is_some(), "none has rested");
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn a_stale_connection_teaches_the_next_ones_to_rest() {
    let time = FrozenTime::begin();
    let server = Server::run(|mut peer| {
        let _first = peer.request();
        peer.send(two_words());
        let _second = peer.request();
    });
    let client = server.client();
    assert!(exchange(&client).await.is_ok());
    time.pass(REST).await;
    let stale = exchange(&client).await.unwrap_err();
    assert_eq!(stale.class, FailureClass::StaleConnection);
    for _ in 0..3 {
        assert!(exchange(&client).await.unwrap().connect.is_some());
    }
}

/// How many connections three requests take, with `pause` between them, where each answer announces
/// `keep_alive`.
async fn connections_for_three(keep_alive: &str, pause: Duration) -> usize {
    let answer = two_words().replace("200 OK", &format!("200 OK\r\nKeep-Alive: {keep_alive}"));
    let time = FrozenTime::begin();
    let server = Server::run(move |mut peer| {
        while peer.request().is_some() {
            peer.send(&answer);
        }
    });
    let client = server.client();
    for _ in 0..3 {
        assert!(exchange(&client).await.is_ok());
        time.pass(pause).await;
    }
    server.connections()
}

#[tokio::test]
async fn a_connection_is_given_up_before_its_announced_time() {
    assert_eq!(connections_for_three("timeout=5", Duration::from_millis(4_500)).await, 3);
}

#[tokio::test]
async fn a_connection_is_kept_within_its_announced_time() {
    assert_eq!(connections_for_three("timeout=5", Duration::from_millis(3_500)).await, 1);
}

#[tokio::test]
async fn a_connection_is_given_up_at_its_announced_number_of_requests() {
    assert_eq!(connections_for_three("timeout=5, max=2", REST).await, 2);
}

/// A server that ends each body only when it is told to, and tells when it has.
struct Told {
    server: Server,
    end: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Told {
    fn run() -> Self {
        let (end, asked) = mpsc::channel();
        let (tell, ended) = mpsc::channel();
        let script = Mutex::new((asked, tell));
        let server = Server::run(move |mut peer| {
            while peer.request().is_some() {
                peer.send(OK_STREAM.to_owned() + &word("a") + &done());
                let script = script.lock().unwrap();
                if script.0.recv().is_ok() {
                    peer.send(LAST_CHUNK);
                    let _test_is_over = script.1.send(());
                }
            }
        });
        Self { server, end, ended }
    }

    /// A client that trusts this server, its connection in the middle of an answer's end.
    async fn trusting_client(&self, time: &FrozenTime) -> Client {
        let client = self.server.client();
        assert!(exchange(&client).await.is_ok());
        self.end.send(()).unwrap();
        self.ended.recv().unwrap();
        time.pass(REST).await;
        assert!(exchange(&client).await.unwrap().connect.is_none());
        client
    }
}

#[tokio::test]
async fn an_answer_is_handed_over_before_the_end_of_its_body() {
    let _time = FrozenTime::begin();
    let told = Told::run();
    assert_eq!(exchange(&told.server.client()).await.unwrap().events, 1);
}

#[tokio::test]
async fn a_request_waits_for_the_end_of_the_body_before_it_on_a_server_that_is_trusted() {
    let time = FrozenTime::begin();
    let told = Told::run();
    let client = told.trusting_client(&time).await;
    // The next one asks first; only then does the body before it end.
    let (third, ()) = tokio::join!(exchange(&client), async { told.end.send(()).unwrap() });
    assert!(third.unwrap().connect.is_none());
    assert_eq!(told.server.connections(), 1);
}

#[tokio::test]
async fn a_body_that_does_not_end_is_not_waited_for_longer_than_a_rest() {
    let time = FrozenTime::begin();
    let told = Told::run();
    let client = told.trusting_client(&time).await;
    let (third, ()) = tokio::join!(exchange(&client), time.pass(REST));
    assert!(third.unwrap().connect.is_some());
    assert_eq!(told.server.connections(), 2);
}

/// The words of an error are waited for; the error itself was seen with its last byte.
#[tokio::test]
async fn a_failure_is_as_old_as_what_was_seen_of_it() {
    let time = FrozenTime::begin();
    let server = Server::run(|mut peer| {
        let _request = peer.request();
        peer.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 100\r\n\r\nbusy");
        peer.wait();
    });
    let client = server.client();
    let read = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&read);
    let on = move |progress| {
        if matches!(progress, Progress::Read { .. }) {
            told.notify_one();
        }
    };
    let long = Duration::from_millis(50);
    let waiting = async {
        read.notified().await;
        std::thread::sleep(long);
        time.pass(Duration::from_secs(6)).await;
    };
    let clock = Clock::start_now();
    let (failure, ()) =
        tokio::join!(client.exchange(Bytes::from_static(b"{}"), || true, on), waiting);
    let failure = failure.unwrap_err();
    assert_eq!((failure.class, failure.detail.as_str()), (FailureClass::Status(503), "busy"));
    let whole = clock.now();
    assert!(failure.at - failure.connected_at.unwrap() + long <= whole, "{failure:?} in {whole:?}");
}
