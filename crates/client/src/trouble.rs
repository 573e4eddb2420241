//! Which class a failure belongs to (METRICS.md, `error_rate`), from what a connection says.

use std::error::Error;
use std::io;
use std::time::Duration;

use metrics::FailureClass;

use crate::event::{EventError, words_of};
use crate::transport::Fault;

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

/// A new connection ended before a byte of the request left.
pub(crate) fn unsent_trouble(fault: &Fault) -> Trouble {
    let words = format!("the connection ended before the request was sent: {fault}");
    Trouble::new(FailureClass::Connect, words)
}

/// A request that may have been sent got no answer's head. On a connection that had served before,
/// and that said nothing more, it is `stale`: the server closed it as the request left.
pub(crate) fn head_trouble(fault: &Fault, stale: bool) -> Trouble {
    let class = match fault {
        Fault::Io(error) if is_tls(error) => FailureClass::Tls,
        Fault::Malformed(_) => FailureClass::Protocol,
        Fault::Io(_) | Fault::Closed if stale => FailureClass::StaleConnection,
        Fault::Io(_) | Fault::Closed => FailureClass::StreamCut,
    };
    Trouble::new(class, format!("no answer's head: {fault}"))
}

/// A body broke: `Ok` with the words where it was cut, `Err` where its framing is none.
pub(crate) fn body_trouble(fault: &Fault) -> Result<String, Trouble> {
    match fault {
        Fault::Malformed(words) => Err(Trouble::new(FailureClass::Protocol, words.clone())),
        Fault::Io(_) | Fault::Closed => Ok(fault.to_string()),
    }
}

/// A whole answer that is not JSON of the API.
pub(crate) fn answer_trouble(error: &EventError, answer: &[u8]) -> Trouble {
    Trouble::new(FailureClass::Protocol, format!("{error}: {}", words_of(answer)))
}

fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
}
