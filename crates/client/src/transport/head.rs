//! The head of an answer: its status, and the few headers that a request's outcome depends on.
//!
//! Parsed by `httparse`; what its fields mean for the body and the connection is RFC 9112 §6 and §9.

use http::StatusCode;
use httparse::{EMPTY_HEADER, Header, Response, Status};

use super::Fault;
use super::chunked::Chunked;
use super::framing::Framing;
use super::term::KeepAlive;

/// The longest head of an answer.
pub(super) const HEAD_BYTES: usize = 64 << 10;

const HEADERS: usize = 128;

/// The most answers of information (1xx) before the one that was asked for.
const INFORMATION_LIMIT: u32 = 16;

/// What an answer says before its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<Box<str>>,
    pub(crate) content_encoding: Option<Box<str>>,
    pub(crate) location: Option<Box<str>>,
}

/// What a head of HTTP/1.1 says about its body and its connection; HTTP/2 has frames for both.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) framing: Framing,
    /// The server would take another request on the same connection.
    pub(crate) keeps: bool,
    pub(crate) keep_alive: KeepAlive,
}

/// A whole head of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) head: Head,
    pub(crate) delivery: Delivery,
    pub(crate) length_bytes: usize,
}

impl Parsed {
    /// The head that `bytes` begin with; `None` before it is whole.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, Fault> {
        let mut headers = [EMPTY_HEADER; HEADERS];
        let mut response = Response::new(&mut headers);
        match response.parse(bytes) {
            Ok(Status::Complete(length_bytes)) if length_bytes <= HEAD_BYTES => {
                let delivery = Delivery::of(&response)?;
                let head = Head::of(response.headers, status(&response)?);
                Ok(Some(Self { head, delivery, length_bytes }))
            }
            Ok(Status::Partial) if bytes.len() <= HEAD_BYTES => Ok(None),
            Ok(_) => Err(Fault::Malformed(format!("the head is longer than {HEAD_BYTES} bytes"))),
            Err(error) => Err(Fault::Malformed(format!("no HTTP/1 answer: {error}"))),
        }
    }
}

/// The head of the answer that was asked for, if it is among `bytes`, and how many of them it and those
/// before it take: answers of information are passed over, and counted.
pub(crate) fn answer(bytes: &[u8], informed: &mut u32) -> Result<(Option<Parsed>, usize), Fault> {
    let mut taken = 0;
    while let Some(parsed) = Parsed::parse(&bytes[taken..])? {
        taken += parsed.length_bytes;
        if !parsed.head.status.is_informational() {
            return Ok((Some(parsed), taken));
        }
        *informed += 1;
        if *informed > INFORMATION_LIMIT {
            let words = format!("more than {INFORMATION_LIMIT} answers of information (1xx)");
            return Err(Fault::Malformed(words));
        }
    }
    Ok((None, taken))
}

impl Delivery {
    fn of(response: &Response<'_, '_>) -> Result<Self, Fault> {
        let headers = &*response.headers;
        let (framing, agreed) = framing(status(response)?, headers)?;
        let old = response.version != Some(1);
        if old && matches!(framing, Framing::Chunked(_)) {
            return Err(Fault::Malformed("an answer of HTTP/1.0 is said to be chunked".to_owned()));
        }
        let keeps = agreed
            && !old
            && framing != Framing::UntilClose
            && !tokens(headers, "connection").any(|token| token.eq_ignore_ascii_case("close"));
        let keep_alive = text(headers, "keep-alive").map(KeepAlive::parse).unwrap_or_default();
        Ok(Self { framing, keeps, keep_alive })
    }
}

fn status(response: &Response<'_, '_>) -> Result<StatusCode, Fault> {
    StatusCode::from_u16(response.code.unwrap_or_default())
        .map_err(|error| Fault::Malformed(error.to_string()))
}

impl Head {
    fn of(headers: &[Header<'_>], status: StatusCode) -> Self {
        Self {
            status,
            content_type: text(headers, "content-type").map(Box::from),
            content_encoding: text(headers, "content-encoding").map(Box::from),
            location: text(headers, "location").map(Box::from),
        }
    }

    /// The head of a stream of HTTP/2.
    pub(crate) fn of_http2(parts: &http::response::Parts) -> Self {
        let text = |name| parts.headers.get(name)?.to_str().ok().map(Box::from);
        Self {
            status: parts.status,
            content_type: text("content-type"),
            content_encoding: text("content-encoding"),
            location: text("location"),
        }
    }
}

/// The body's framing, and whether the head says one thing about it only.
fn framing(status: StatusCode, headers: &[Header<'_>]) -> Result<(Framing, bool), Fault> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Fault::Malformed("the server switches to another protocol".to_owned()));
    }
    if status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    {
        return Ok((Framing::NONE, true));
    }
    let length = content_length(headers)?;
    // An empty part of a list is none (RFC 9110 §5.6.1).
    let codings = tokens(headers, "transfer-encoding").filter(|coding| !coding.is_empty());
    match codings.collect::<Vec<_>>()[..] {
        [] => Ok((length.map_or(Framing::UntilClose, Framing::Length), true)),
        [one] if one.eq_ignore_ascii_case("chunked") => {
            Ok((Framing::Chunked(Chunked::new()), length.is_none()))
        }
        // None other was asked for (`TE`), and none is undone here.
        ref other => {
            let words = format!("the answer's transfer coding is {}", other.join(", "));
            Err(Fault::Malformed(words))
        }
    }
}

fn content_length(headers: &[Header<'_>]) -> Result<Option<u64>, Fault> {
    let mut known = None;
    for text in tokens(headers, "content-length") {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let length = text.parse::<u64>().ok().filter(|_| digits);
        match (length, known) {
            (Some(length), None) => known = Some(length),
            (Some(length), Some(before)) if length == before => {}
            (Some(_) | None, _) => {
                return Err(Fault::Malformed(
                    "the length of the body is not one number".to_owned(),
                ));
            }
        }
    }
    Ok(known)
}

fn text<'head>(headers: &[Header<'head>], name: &str) -> Option<&'head str> {
    values(headers, name).next()
}

/// The parts of a header that is a list, over all its lines.
fn tokens<'head>(headers: &[Header<'head>], name: &str) -> impl Iterator<Item = &'head str> {
    values(headers, name).flat_map(|value| value.split(',')).map(str::trim)
}

fn values<'head>(headers: &[Header<'head>], name: &str) -> impl Iterator<Item = &'head str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| std::str::from_utf8(header.value).unwrap_or("\u{fffd}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Delivery, Fault> {
        Parsed::parse(text.as_bytes()).map(|parsed| {
            let parsed = parsed.unwrap();
            assert_eq!(parsed.length_bytes, text.len());
            parsed.delivery
        })
    }

    fn delivery(lines: &str) -> Result<Delivery, Fault> {
        parse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
    }

    #[test]
    fn a_head_says_how_its_body_ends_and_whether_the_connection_stays() {
        for (lines, framing, keeps) in [
            ("content-length: 5\r\n", Framing::Length(5), true),
            ("Content-Length: 5\r\ncontent-length: 5\r\n", Framing::Length(5), true),
            ("content-length: 5, 5\r\n", Framing::Length(5), true),
            ("transfer-encoding: Chunked\r\n", Framing::Chunked(Chunked::new()), true),
            ("transfer-encoding: chunked,\r\n", Framing::Chunked(Chunked::new()), true),
            ("transfer-encoding: , ,chunked\r\n", Framing::Chunked(Chunked::new()), true),
            ("transfer-encoding:\r\ncontent-length: 5\r\n", Framing::Length(5), true),
            ("", Framing::UntilClose, false),
            ("content-length: 5\r\nconnection: Keep-Alive, Close\r\n", Framing::Length(5), false),
            (
                "content-length: 5\r\ntransfer-encoding: chunked\r\n",
                Framing::Chunked(Chunked::new()),
                false,
            ),
        ] {
            let delivery = delivery(lines).unwrap();
            assert_eq!((delivery.framing, delivery.keeps), (framing, keeps), "{lines:?}");
        }
    }

    #[test]
    fn a_coding_that_nobody_undoes_is_refused_by_its_name() {
        for (lines, coding) in [
            ("transfer-encoding: gzip, chunked\r\n", "gzip"),
            ("transfer-encoding: gzip\r\n", "gzip"),
            ("transfer-encoding: chunked\r\ntransfer-encoding: br\r\n", "br"),
            ("transfer-encoding: chunked, chunked\r\n", "chunked, chunked"),
            ("transfer-encoding: identity\r\n", "identity"),
        ] {
            let refused = delivery(lines).unwrap_err().to_string();
            assert!(refused.contains(coding), "{lines:?}: {refused}");
        }
        assert!(parse("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_length_that_is_not_one_number_is_refused() {
        for length in ["-1", "+5", "5x", "", "5, 6", "99999999999999999999"] {
            assert!(delivery(&format!("content-length: {length}\r\n")).is_err(), "{length}");
        }
        assert!(delivery("content-length: 5\r\ncontent-length: 6\r\n").is_err());
    }

    #[test]
    fn some_answers_have_no_body_whatever_they_say() {
        for status in ["204 No Content", "304 Not Modified", "100 Continue", "103 Early Hints"] {
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: 7\r\n\r\n");
            assert_eq!(parse(&text).unwrap().framing, Framing::NONE, "{status}");
        }
        assert!(Parsed::parse(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").is_err());
    }

    #[test]
    fn an_old_server_closes_after_its_answer() {
        assert!(!parse("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").unwrap().keeps);
    }

    #[test]
    fn a_head_in_pieces_is_waited_for_and_an_endless_one_is_not() {
        assert!(Parsed::parse(b"HTTP/1.1 200 OK\r\ncontent-").unwrap().is_none());
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES));
        assert!(matches!(Parsed::parse(endless.as_bytes()), Err(Fault::Malformed(_))));
        assert!(matches!(Parsed::parse(b"SSH-2.0-x\r\n"), Err(Fault::Malformed(_))));
    }
}
