//! Which class a failure belongs to (METRICS.md, `error_rate`), from what hyper and the socket say.

use std::error::Error;
use std::io;
use std::time::Duration;

use metrics::FailureClass;

use crate::event::{EventError, words_of};

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) class: FailureClass,
    pub(crate) words: String,
    /// When it was seen, where that was not just now.
    pub(crate) at: Option<Duration>,
    pub(crate) refused_by_gate: bool,
}

impl Trouble {
    pub(crate) fn new(class: FailureClass, words: String) -> Self {
        Self { class, words, at: None, refused_by_gate: false }
    }

    /// It was seen at that instant: its words may have been waited for since.
    pub(crate) fn seen(self, at: Duration) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Not sent, and nobody's fault: the caller books it by its own reason.
    pub(crate) fn refused_by_gate() -> Self {
        let words = "not sent: permission was refused in the socket's write".to_owned();
        Self { class: FailureClass::Internal, words, at: None, refused_by_gate: true }
    }
}

/// A new connection ended before a byte of the request left; one that spoke first is no HTTP server.
pub(crate) fn unsent_trouble(error: &hyper::Error, spoke_first: bool) -> Trouble {
    let class = if spoke_first { FailureClass::Protocol } else { FailureClass::Connect };
    Trouble::new(
        class,
        format!("the connection ended before the request was sent: {}", chain(error)),
    )
}

/// A request that may have been sent got no answer's head. On a connection that had served before,
/// and that said nothing more, it is `stale`: the server closed it as the request left.
pub(crate) fn head_trouble(error: &hyper::Error, stale: bool) -> Trouble {
    let io = source::<io::Error>(error);
    let class = if io.is_some_and(is_tls) {
        FailureClass::Tls
    } else if error.is_parse() {
        FailureClass::Protocol
    } else if stale {
        FailureClass::StaleConnection
    } else if error.is_incomplete_message() || io.is_some() {
        FailureClass::StreamCut
    } else {
        FailureClass::Internal
    };
    Trouble::new(class, format!("no answer's head: {}", chain(error)))
}

/// A body broke: `Ok` with the words where it was cut, `Err` where its framing is none.
pub(crate) fn body_trouble(error: &hyper::Error) -> Result<String, Trouble> {
    let framing = source::<io::Error>(error).is_some_and(|io| {
        matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
    });
    match framing {
        true => Err(Trouble::new(FailureClass::Protocol, chain(error))),
        false => Ok(chain(error)),
    }
}

/// A whole answer that is not JSON of the API.
pub(crate) fn answer_trouble(error: &EventError, answer: &[u8]) -> Trouble {
    Trouble::new(FailureClass::Protocol, format!("{error}: {}", words_of(answer)))
}

fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}

fn source<E: Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// An error with its causes: hyper's own text leaves them out.
fn chain(error: &hyper::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}
