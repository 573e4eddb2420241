//! HTTP/1.1 as far as an inference server needs it: requests out of bytes, responses into bytes.
//!
//! The server is written on sockets because its truth is the instant at which bytes arrive and leave;
//! a library's buffers and tasks would stand between. Parsing is pure: bytes in any chunking go in,
//! whole requests come out. Heads are parsed by `httparse`; framing follows RFC 9112.

use std::fmt::Write;

/// By what a client names the span that its request is of (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Other,
}

/// A whole request; header names are in lower case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) keep_alive: bool,
    pub(crate) authorization: Option<String>,
    /// Headers named `x-…` and `traceparent`, in order.
    pub(crate) listed_headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The client's span, as the client names it.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        let found = self.listed_headers.iter().find(|(name, _)| name == TRACEPARENT);
        found.map(|(_, value)| value.as_str())
    }
}

/// Bytes that are not a request that this server can take; the connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("the request is not valid HTTP/1.1")]
    Malformed,
    #[error(
        "the request's head is larger than {MAX_HEAD_BYTES} bytes or has more than {MAX_HEADERS} headers"
    )]
    HeadTooLarge,
    #[error("the request's body is larger than {MAX_BODY_BYTES} bytes")]
    BodyTooLarge,
}

impl HttpError {
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::HeadTooLarge => 431,
            Self::BodyTooLarge => 413,
        }
    }
}

/// What the bytes so far amount to.
#[derive(Debug, PartialEq)]
pub(crate) enum Progress {
    NeedMore,
    /// The client waits for `100 Continue` before it sends the body.
    ExpectsContinue,
    Complete(Request),
}

/// Turns a connection's bytes, cut anywhere, into requests.
#[derive(Debug, Default)]
pub(crate) struct RequestReader {
    buffer: Vec<u8>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    Sized {
        request: Request,
        length: usize,
    },
    Chunked {
        request: Request,
        part: ChunkPart,
    },
}

#[derive(Clone, Copy, Debug)]
enum ChunkPart {
    Size,
    Content(usize),
    Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Sized(usize),
    Chunked,
}

struct Head {
    request: Request,
    framing: Framing,
    expects_continue: bool,
}

impl RequestReader {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Goes as far as the bytes allow. After an error the connection is of no more use.
    pub(crate) fn advance(&mut self) -> Result<Progress, HttpError> {
        match std::mem::take(&mut self.state) {
            State::Head => self.head(),
            State::Sized { request, length } => Ok(self.sized(request, length)),
            State::Chunked { request, part } => self.chunked(request, part),
        }
    }

    fn head(&mut self) -> Result<Progress, HttpError> {
        let Some((head, used)) = parse_head(&self.buffer)? else {
            let is_too_large = self.buffer.len() > MAX_HEAD_BYTES;
            return if is_too_large {
                Err(HttpError::HeadTooLarge)
            } else {
                Ok(Progress::NeedMore)
            };
        };
        self.consume(used);
        let waits = head.expects_continue && self.buffer.is_empty();
        let request = head.request;
        self.state = match head.framing {
            Framing::Sized(length) => State::Sized { request, length },
            Framing::Chunked => State::Chunked { request, part: ChunkPart::Size },
        };
        if waits { Ok(Progress::ExpectsContinue) } else { self.advance() }
    }

    fn sized(&mut self, mut request: Request, length: usize) -> Progress {
        if self.buffer.len() < length {
            self.buffer.reserve(length - self.buffer.len());
            self.state = State::Sized { request, length };
            return Progress::NeedMore;
        }
        let rest = self.buffer.split_off(length);
        request.body = std::mem::replace(&mut self.buffer, rest);
        Progress::Complete(request)
    }

    fn chunked(&mut self, mut request: Request, start: ChunkPart) -> Result<Progress, HttpError> {
        let mut part = start;
        let mut used = 0;
        while let Some((next, taken)) = take_part(&self.buffer[used..], part, &mut request.body)? {
            used += taken;
            match next {
                Some(following) => part = following,
                None => {
                    self.consume(used);
                    return Ok(Progress::Complete(request));
                }
            }
        }
        self.consume(used);
        self.state = State::Chunked { request, part };
        Ok(Progress::NeedMore)
    }

    fn consume(&mut self, used: usize) {
        self.buffer.copy_within(used.., 0);
        self.buffer.truncate(self.buffer.len() - used);
    }
}

/// What follows a part of a chunked body (`None`: the body's end), and the bytes it took.
type TakenPart = (Option<ChunkPart>, usize);

/// Takes one part off the front of `bytes`; `Ok(None)` if it is not all there yet.
fn take_part(
    bytes: &[u8],
    part: ChunkPart,
    body: &mut Vec<u8>,
) -> Result<Option<TakenPart>, HttpError> {
    match part {
        ChunkPart::Size => match httparse::parse_chunk_size(bytes) {
            Ok(httparse::Status::Complete((used, 0))) => {
                Ok(Some((Some(ChunkPart::Trailers), used)))
            }
            Ok(httparse::Status::Complete((used, size))) => {
                let length = usize::try_from(size).map_err(|_| HttpError::BodyTooLarge)?;
                if length > MAX_BODY_BYTES - body.len() {
                    return Err(HttpError::BodyTooLarge);
                }
                Ok(Some((Some(ChunkPart::Content(length)), used)))
            }
            Ok(httparse::Status::Partial) if bytes.len() > MAX_HEAD_BYTES => {
                Err(HttpError::Malformed)
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Err(_) => Err(HttpError::Malformed),
        },
        ChunkPart::Content(length) => {
            let Some(content) = bytes.get(..length + 2) else { return Ok(None) };
            if !content.ends_with(b"\r\n") {
                return Err(HttpError::Malformed);
            }
            body.extend_from_slice(&content[..length]);
            Ok(Some((Some(ChunkPart::Size), length + 2)))
        }
        ChunkPart::Trailers => {
            let Some(line_end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
                return if bytes.len() > MAX_HEAD_BYTES {
                    Err(HttpError::Malformed)
                } else {
                    Ok(None)
                };
            };
            let next = (line_end > 0).then_some(ChunkPart::Trailers);
            Ok(Some((next, line_end + 2)))
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let used = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(used)) if used <= MAX_HEAD_BYTES => used,
        Ok(httparse::Status::Complete(_)) | Err(httparse::Error::TooManyHeaders) => {
            return Err(HttpError::HeadTooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(HttpError::Malformed),
    };
    let (path, query) = split_target(parsed.path.unwrap_or_default());
    let mut head = Head {
        request: Request {
            method: method(parsed.method.unwrap_or_default()),
            path,
            query,
            keep_alive: parsed.version == Some(1),
            authorization: None,
            listed_headers: Vec::new(),
            body: Vec::new(),
        },
        framing: Framing::Sized(0),
        expects_continue: false,
    };
    for header in parsed.headers.iter() {
        apply_header(&mut head, header)?;
    }
    Ok(Some((head, used)))
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "POST" => Method::Post,
        _ => Method::Other,
    }
}

/// Path and query of a target in origin form, or in absolute form as sent to a proxy.
fn split_target(target: &str) -> (String, String) {
    let after_scheme = target.strip_prefix("http://");
    let origin =
        after_scheme.map_or(target, |rest| rest.find('/').map_or("/", |slash| &rest[slash..]));
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    (path.to_owned(), query.to_owned())
}

fn apply_header(head: &mut Head, header: &httparse::Header<'_>) -> Result<(), HttpError> {
    let name = header.name.to_ascii_lowercase();
    let text = String::from_utf8_lossy(header.value);
    let value = text.trim();
    match name.as_str() {
        "content-length" => {
            let length: usize = value.parse().map_err(|_| HttpError::Malformed)?;
            if length > MAX_BODY_BYTES {
                return Err(HttpError::BodyTooLarge);
            }
            // Both framings at once are how requests are smuggled (RFC 9112 §6.3): refused.
            if head.framing != Framing::Sized(0) {
                return Err(HttpError::Malformed);
            }
            head.framing = Framing::Sized(length);
        }
        "transfer-encoding" => {
            if !value.eq_ignore_ascii_case("chunked") || head.framing != Framing::Sized(0) {
                return Err(HttpError::Malformed);
            }
            head.framing = Framing::Chunked;
        }
        "connection" if has_token(value, "close") => head.request.keep_alive = false,
        "connection" if has_token(value, "keep-alive") => head.request.keep_alive = true,
        "expect" => head.expects_continue = value.eq_ignore_ascii_case("100-continue"),
        "authorization" => head.request.authorization = Some(value.to_owned()),
        _ if name.starts_with("x-") || name == TRACEPARENT => {
            head.request.listed_headers.push((name, value.to_owned()));
        }
        _ => {}
    }
    Ok(())
}

fn has_token(list: &str, token: &str) -> bool {
    list.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    Length(usize),
    Chunked,
}

/// A response's head, blank line included. `extra` holds whole header lines.
pub(crate) fn response_head(
    status: u16,
    content_type: &str,
    framing: BodyFraming,
    keep_alive: bool,
    extra: &[&str],
) -> Vec<u8> {
    let mut head =
        format!("HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\n", reason(status));
    match framing {
        BodyFraming::Length(bytes) => write!(head, "content-length: {bytes}\r\n"),
        BodyFraming::Chunked => {
            write!(head, "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n")
        }
    }
    .expect("writing to a string cannot fail");
    if !keep_alive {
        head.push_str("connection: close\r\n");
    }
    for line in extra {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Appends `payload` as one chunk of a chunked body.
pub(crate) fn push_chunk(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", payload.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// The end of a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces and returns every request that came out.
    fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Vec<Request>, HttpError> {
        let mut reader = RequestReader::default();
        let mut requests = Vec::new();
        for part in bytes.chunks(piece) {
            reader.push(part);
            loop {
                match reader.advance()? {
                    Progress::Complete(request) => requests.push(request),
                    Progress::ExpectsContinue => {}
                    Progress::NeedMore => break,
                }
            }
        }
        Ok(requests)
    }

    const TWO: &[u8] = b"POST /v1/completions?a=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\
        X-Request-Id: r-1\r\nAuthorization: Bearer k\r\n\r\nhelloPOST /b HTTP/1.1\r\n\
        Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;ext=1\r\nabc\r\nA\r\n0123456789\r\n\
        0\r\nTrailer: t\r\n\r\n";

    #[test]
    fn any_chunking_gives_the_same_two_requests() {
        let whole = read_in_pieces(TWO, TWO.len()).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].path.as_str(), whole[0].query.as_str()), ("/v1/completions", "a=1"));
        assert_eq!((whole[0].body.as_slice(), whole[0].keep_alive), (&b"hello"[..], true));
        assert_eq!(whole[0].listed_headers, [("x-request-id".to_owned(), "r-1".to_owned())]);
        assert_eq!(whole[0].authorization.as_deref(), Some("Bearer k"));
        assert_eq!((whole[1].body.as_slice(), whole[1].keep_alive), (&b"abc0123456789"[..], false));
        for piece in 1..TWO.len() {
            assert_eq!(read_in_pieces(TWO, piece).unwrap(), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn continue_is_asked_for_once_and_only_while_the_body_is_missing() {
        let mut reader = RequestReader::default();
        reader.push(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        assert_eq!(reader.advance(), Ok(Progress::ExpectsContinue));
        assert_eq!(reader.advance(), Ok(Progress::NeedMore));
        reader.push(b"ok");
        assert!(
            matches!(reader.advance(), Ok(Progress::Complete(request)) if request.body == b"ok")
        );
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_status() {
        let status = |bytes: &[u8]| read_in_pieces(bytes, bytes.len()).unwrap_err().status();
        assert_eq!(status(b"hello\r\n\r\n"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
        assert_eq!(
            status(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400
        );
        assert_eq!(status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), 413);
        assert_eq!(
            status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n"),
            413
        );
        assert_eq!(
            status(&[b"GET / HTTP/1.1\r\nA: ".as_slice(), &[b'a'; MAX_HEAD_BYTES]].concat()),
            431
        );
    }

    #[test]
    fn http_1_0_closes_unless_it_asks_to_stay() {
        let keep_alive = |bytes: &[u8]| read_in_pieces(bytes, 1_000).unwrap()[0].keep_alive;
        assert!(!keep_alive(b"GET / HTTP/1.0\r\n\r\n"));
        assert!(keep_alive(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    }

    #[test]
    fn an_absolute_target_keeps_its_path() {
        assert_eq!(
            split_target("http://h:1/v1/models?x"),
            ("/v1/models".to_owned(), "x".to_owned())
        );
        assert_eq!(split_target("http://h"), ("/".to_owned(), String::new()));
    }

    #[test]
    fn responses_are_framed_as_announced() {
        let head = response_head(503, "a/b", BodyFraming::Length(7), false, &["retry-after: 1"]);
        let text = String::from_utf8(head).unwrap();
        assert_eq!(
            text,
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: a/b\r\ncontent-length: 7\r\n\
             connection: close\r\nretry-after: 1\r\n\r\n"
        );
        let mut out = Vec::new();
        push_chunk(&mut out, b"0123456789abcdef");
        assert_eq!(out, b"10\r\n0123456789abcdef\r\n");
    }
}
