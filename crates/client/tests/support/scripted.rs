//! Servers that do what a test's script says, on threads of their own and real loopback sockets.
#![expect(dead_code, reason = "each test binary uses a part of its own")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use client::{Client, ClientOptions, Clock, Progress};
use tokio::net::TcpSocket;
use workload::{Api, Content, Prompt, Target};

pub(crate) const OK_STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
pub(crate) const LAST_CHUNK: &str = "0\r\n\r\n";

/// A server on a free port; each connection is a thread that runs the script.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Every request as it came, in order.
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

/// The server's end of one connection.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    /// The number of the connection, from 0.
    pub(crate) number: usize,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn run(script: impl Fn(Peer) + Send + Sync + 'static) -> Self {
        Self::wrapped(Some, script)
    }

    /// As [`run`](Self::run), with a layer such as TLS around each connection; `None` gives it up.
    pub(crate) fn wrapped<S: 'static>(
        wrap: impl Fn(TcpStream) -> Option<S> + Send + Sync + 'static,
        script: impl Fn(Peer<S>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (connections, requests) =
            (Arc::clone(&server.connections), Arc::clone(&server.requests));
        let script = Arc::new((wrap, script));
        let _accepting = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_nodelay(true).unwrap();
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let (script, requests) = (Arc::clone(&script), Arc::clone(&requests));
                let _serving = std::thread::spawn(move || {
                    let (wrap, script) = &*script;
                    if let Some(stream) = wrap(stream) {
                        script(Peer { stream, number, requests });
                    }
                });
            }
        });
        server
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn target(&self) -> Target {
        target(&format!("http://{}/v1/chat/completions", self.address))
    }

    pub(crate) fn client(&self) -> Client {
        client(&self.target())
    }
}

impl<S: Read + Write> Peer<S> {
    /// Reads one request, head and body; `None` once the client has closed.
    pub(crate) fn request(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) | Err(_) => return None,
            }
        }
        let mut request = String::from_utf8(head).unwrap();
        let length =
            request.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.stream.read_exact(&mut body).ok()?;
        request.push_str(std::str::from_utf8(&body).unwrap());
        self.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// Writes in one call; a client that has closed is no matter here.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _gone = self.stream.write_all(bytes.as_ref()).and_then(|()| self.stream.flush());
    }

    /// Waits until the client closes.
    pub(crate) fn wait(&mut self) {
        while matches!(self.stream.read(&mut [0; 1024]), Ok(1..)) {}
    }
}

impl Peer {
    /// Closes with a reset instead of an end.
    pub(crate) fn reset(self) {
        reset(&self.stream);
    }
}

pub(crate) fn reset(stream: &TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
    // The last descriptor must go for the reset to be sent: the caller drops its own.
}

/// An address at which nobody listens, and nobody else can as long as the socket is held.
pub(crate) fn nobody() -> (TcpSocket, SocketAddr) {
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap();
    (held, address)
}

pub(crate) fn target(url: &str) -> Target {
    Target {
        url: url.to_owned(),
        api: Api::Chat,
        stream: true,
        model: Some("m".to_owned()),
        model_is_chosen: true,
        headers: Vec::new(),
        extra_body: None,
        ignore_eos: false,
        min_tokens: false,
    }
}

pub(crate) fn client(target: &Target) -> Client {
    Client::new(target, ClientOptions::default(), Clock::start_now()).unwrap()
}

pub(crate) fn prompt() -> Prompt {
    Prompt {
        number: 0,
        class: 0,
        content: Content::Text("hello".to_owned()),
        input_tokens: None,
        output_tokens: Some(4),
    }
}

/// One chunk of a chunked body.
pub(crate) fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A chunk with one event that carries `text`.
pub(crate) fn word(text: &str) -> String {
    chunk(&format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
    ))
}

pub(crate) fn done() -> String {
    chunk("data: [DONE]\n\n")
}

/// A whole streamed answer of two words.
pub(crate) fn two_words() -> String {
    [OK_STREAM.to_owned(), word("a"), word("b"), done(), LAST_CHUNK.to_owned()].concat()
}

/// An answer with a length.
pub(crate) fn plain(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Longer than a connection rests before it is used on a server that is not known yet.
pub(crate) const REST: Duration = Duration::from_millis(30);

/// Time that moves only where a test says so, beside sockets that are real: while a blocking task
/// runs, tokio's paused clock does not skip what is idle.
pub(crate) struct FrozenTime {
    _until_dropped: mpsc::Sender<()>,
}

impl FrozenTime {
    pub(crate) fn begin() -> Self {
        tokio::time::pause();
        let (until_dropped, dropped) = mpsc::channel::<()>();
        let _blocking = tokio::task::spawn_blocking(move || dropped.recv());
        Self { _until_dropped: until_dropped }
    }

    pub(crate) async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        // The sockets too have their turn: what has arrived is known after it.
        tokio::task::yield_now().await;
    }
}

pub(crate) fn contents(progress: &[Progress]) -> usize {
    progress.iter().filter(|progress| matches!(progress, Progress::Content { .. })).count()
}
