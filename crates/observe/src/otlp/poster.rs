//! One message on its way to a collector, and what its answer means.
//!
//! By the specification's rules for OTLP/HTTP: some answers mean "later", all others "never"; an answer of success may
//! still refuse a part.

use std::{io::Write, time::Duration};

use flate2::{Compression, write::GzEncoder};
use prost::Message;
use reqwest::{
    Certificate, Client, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
    redirect::Policy,
};

use super::settings::Signal;
use crate::promql::reason;

/// Of an answer that is read: a collector's words are few.
const MOST_BYTES: usize = 64 << 10;
/// The longest wait that a collector may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Sends messages of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Poster {
    client: Client,
    signal: Signal,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It may be sent again, after so long where the collector says so.
    ForNow(Option<Duration>, String),
    /// It may not.
    ForGood(String),
}

impl Refused {
    pub(crate) fn words(&self) -> &str {
        match self {
            Self::ForNow(_, words) | Self::ForGood(words) => words,
        }
    }
}

impl Poster {
    pub(crate) fn new(signal: &Signal) -> Result<Self, String> {
        // A redirect would carry headers, which may be credentials, to somebody else.
        let mut builder =
            Client::builder().redirect(Policy::none()).connect_timeout(signal.timeout);
        if let Some(path) = &signal.certificates {
            let unusable = |error: &dyn std::fmt::Display| {
                format!(
                    "the collector's certificates in {} cannot be used: {error}",
                    path.display()
                )
            };
            let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
            let own = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&error))?;
            builder = builder.tls_certs_only(own);
        }
        let client = builder.build().map_err(|error| reason(&error))?;
        Ok(Self { client, signal: signal.clone() })
    }

    /// Sends one message, and reads the answer to it.
    pub(crate) async fn post<A: Message + Default>(
        &self,
        message: &impl Message,
    ) -> Result<A, Refused> {
        let mut body = message.encode_to_vec();
        let mut request = self
            .client
            .post(&self.signal.url)
            .headers(self.signal.headers.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .timeout(self.signal.timeout);
        if self.signal.gzip {
            body = gzipped(&body);
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        let for_now = |error: reqwest::Error| Refused::ForNow(None, reason(&error));
        let mut answer = request.body(body).send().await.map_err(for_now)?;
        let (status, wait) = (answer.status(), wait_of(&answer));
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(for_now)? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                break;
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            // An empty body is an empty message; what is none was taken all the same.
            return Ok(A::decode(bytes.as_slice()).unwrap_or_default());
        }
        Err(refused(status, wait, &bytes))
    }
}

/// The specification's list of answers after which a message may be sent again.
fn refused(status: StatusCode, wait: Option<Duration>, body: &[u8]) -> Refused {
    let said = printable(body);
    let words = format!("status {status}{}{said}", if said.is_empty() { "" } else { ": " });
    match status.as_u16() {
        429 | 502..=504 => Refused::ForNow(wait, words),
        404 => Refused::ForGood(format!(
            "{words}; is it the collector's address for OTLP over HTTP, usually port 4318?"
        )),
        _ => Refused::ForGood(words),
    }
}

fn wait_of(answer: &reqwest::Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

/// The words in an answer, which may be text, or a status in protobuf.
fn printable(body: &[u8]) -> String {
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(body);
    let plain = text.chars().filter(|letter| !letter.is_control() && *letter != '\u{fffd}');
    plain.take(MOST).collect::<String>().trim().to_owned()
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes);
    written.and_then(|()| encoder.finish()).expect("memory takes what is written to it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_sent_again_is_told_apart() {
        let answer = |code: u16| refused(StatusCode::from_u16(code).unwrap(), None, b"busy\n");
        for code in [429, 502, 503, 504] {
            assert!(matches!(answer(code), Refused::ForNow(..)), "{code}");
        }
        for code in [400, 401, 404, 500, 307] {
            assert!(matches!(answer(code), Refused::ForGood(_)), "{code}");
        }
        assert_eq!(answer(400).words(), "status 400 Bad Request: busy");
        assert!(answer(404).words().contains("4318"));
    }

    #[test]
    fn words_are_short_and_hold_no_control_characters() {
        assert_eq!(printable(b"\x12\x07no room\x1b[31m"), "no room[31m");
        assert_eq!(printable(&[b'a'; 10_000]).len(), 200);
    }
}
