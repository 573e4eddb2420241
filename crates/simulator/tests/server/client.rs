//! The plainest HTTP client: what it sends and reads can be followed byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Only ends a test that hangs.
const HANGING: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as its head announced.
    pub(crate) is_whole: bool,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(HANGING)).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &str, body: &str) {
        let length = body.len();
        self.write(format!("{method} {path} HTTP/1.1\r\nhost: h\r\n{headers}content-length: {length}\r\n\r\n{body}").as_bytes());
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Response {
        self.send("POST", path, "", body);
        self.response()
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send("GET", path, "", "");
        self.response()
    }

    /// Reads up to and including the next `end`; `None` if the server closes before.
    pub(crate) fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                return Some(self.unread.drain(..at + end.len()).collect());
            }
            self.read_more()?;
        }
    }

    fn read_exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.unread.len() < length {
            self.read_more()?;
        }
        Some(self.unread.drain(..length).collect())
    }

    fn read_more(&mut self) -> Option<()> {
        let mut bytes = [0; 65_536];
        let count = self.stream.read(&mut bytes).expect("the server should have answered by now");
        self.unread.extend_from_slice(&bytes[..count]);
        (count > 0).then_some(())
    }

    pub(crate) fn head(&mut self) -> (u16, String) {
        let head = String::from_utf8(self.read_until(b"\r\n\r\n").expect("no response")).unwrap();
        (head[9..12].parse().unwrap(), head)
    }

    pub(crate) fn response(&mut self) -> Response {
        let (status, head) = self.head();
        let mut body = Vec::new();
        let is_whole = self.body_into(&head, &mut body).is_some();
        Response { status, head, body, is_whole }
    }

    fn body_into(&mut self, head: &str, body: &mut Vec<u8>) -> Option<()> {
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(length) = header("content-length:") {
            while body.len() < length.parse().unwrap() {
                body.extend(self.read_exactly(1)?);
            }
            return Some(());
        }
        assert_eq!(header("transfer-encoding:"), Some("chunked"));
        loop {
            let line = String::from_utf8(self.read_until(b"\r\n")?).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let chunk = self.read_exactly(size + 2)?;
            assert!(chunk.ends_with(b"\r\n"));
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return Some(());
            }
        }
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&mut self) -> bool {
        assert!(self.unread.is_empty());
        self.read_more().is_none()
    }
}

impl Response {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The data of every event.
    pub(crate) fn data(&self) -> Vec<&str> {
        self.text()
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap())
            .collect()
    }

    /// Every event that is JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        self.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// The texts of the events that carry any.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let text = |event: &Value| {
            let choice = &event["choices"][0];
            choice["delta"]["content"].as_str().or(choice["text"].as_str()).map(str::to_owned)
        };
        self.events().iter().filter_map(text).filter(|text| !text.is_empty()).collect()
    }

    /// The usage of the last event that has one.
    pub(crate) fn usage(&self) -> Value {
        self.events()
            .into_iter()
            .rev()
            .find_map(|mut event| event.get_mut("usage").map(Value::take))
            .unwrap()
    }
}
