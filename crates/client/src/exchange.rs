//! One request from its body to its outcome. The shell: it awaits and stamps, and leaves what an
//! answer means to [`crate::stream`].

mod ask;

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Uri};
use metrics::{FailureClass, TraceContext};
use tokio::time::timeout;
use workload::Api;

use crate::answer::{Answer, Failure, Progress};
use crate::client::Client;
use crate::event::words_of;
use crate::reader::Reader;
use crate::said::Said;
use crate::stream::{BodyEnd, Broken, Stream};
use crate::transport::Body;
use crate::trouble::{Trouble, answer_trouble, body_trouble};
use crate::{chat, completions};
use ask::{Ask, Trace};

/// The longest answer that is read whole.
const WHOLE_ANSWER_BYTES: usize = 16 << 20;

/// An error's words are read so far, and waited for so long.
const WORDS_BYTES: usize = 64 << 10;
const WORDS_TIME: Duration = Duration::from_secs(5);

impl Client {
    /// Sends one request and reads its answer. `gate` is asked in the socket's write, immediately
    /// before the request's first byte leaves (again if the request moves to a new connection); where
    /// it says no, nothing is sent. Over HTTP/2 it is asked before the stream is opened and again when the
    /// server has room for the first byte of the body; where it says no then, the stream's head may have
    /// left, its body has not. `on` is told what happens as it happens. Dropping the future closes the
    /// connection, or resets the stream on a shared one.
    ///
    /// # Errors
    /// A failed request, with its class.
    pub async fn exchange(
        &self,
        body: Bytes,
        gate: impl FnMut() -> bool,
        on: impl FnMut(Progress),
    ) -> Result<Answer, Failure> {
        self.exchange_as(0, None, body, gate, on).await
    }

    /// The same with the headers of a kind of requests ([`Client::with_kinds`]), and with a `traceparent` where the request
    /// is to be known by one.
    ///
    /// # Errors
    /// A failed request, with its class.
    pub async fn exchange_as(
        &self,
        kind: usize,
        context: Option<TraceContext>,
        body: Bytes,
        gate: impl FnMut() -> bool,
        mut on: impl FnMut(Progress),
    ) -> Result<Answer, Failure> {
        let trace = Trace::default();
        let ask = Ask {
            method: Method::POST,
            path: self.endpoint.path.clone(),
            kind,
            context,
            body: RefCell::new(body),
        };
        self.within(&trace, self.answer(&trace, ask, gate, &mut on)).await
    }

    /// Reads a whole answer of any kind (`GET path`), outside of any measurement.
    pub(crate) async fn fetch(&self, path: Uri) -> Result<Vec<u8>, Failure> {
        self.whole_of(Ask::plain(Method::GET, path, Bytes::new())).await
    }

    /// The same of a `POST path`.
    pub(crate) async fn post(&self, path: Uri, body: Bytes) -> Result<Vec<u8>, Failure> {
        self.whole_of(Ask::plain(Method::POST, path, body)).await
    }

    async fn whole_of(&self, ask: Ask) -> Result<Vec<u8>, Failure> {
        let trace = Trace::default();
        let fetched = async {
            let mut on = |_| {};
            let mut reader = self.ask(&trace, ask, || true, &mut on).await?;
            if !reader.status().is_success() {
                return self.refused(reader, &mut on).await;
            }
            let whole = reader.whole(WHOLE_ANSWER_BYTES, &mut on).await?;
            reader.keep();
            Ok(whole)
        };
        self.within(&trace, fetched).await
    }

    /// Puts the request's deadline on it. Nothing is waited for once its outcome is known.
    async fn within<T>(
        &self,
        trace: &Trace,
        run: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Failure> {
        let outcome = timeout(self.request_timeout, run).await.unwrap_or_else(|_| {
            let words = format!("not done within {} s", self.request_timeout.as_secs_f64());
            Err(Trouble::new(FailureClass::Timeout, words))
        });
        outcome.map_err(|trouble| trace.failure(trouble, self))
    }

    async fn answer(
        &self,
        trace: &Trace,
        ask: Ask,
        gate: impl FnMut() -> bool,
        on: &mut impl FnMut(Progress),
    ) -> Result<Answer, Trouble> {
        let reader = self.ask(trace, ask, gate, on).await?;
        if !reader.status().is_success() {
            return Box::pin(self.refused(reader, on)).await;
        }
        if let Some(words) = reader.unasked(self.stream) {
            return Box::pin(unasked(reader, words, on)).await;
        }
        match self.stream {
            true => self.streamed(trace, reader, on).await,
            false => Box::pin(self.whole(trace, reader, on)).await,
        }
    }

    /// An answer with a status that is none of success: the status is the class, the body its words.
    async fn refused<T>(
        &self,
        mut reader: Box<Reader<'_>>,
        on: &mut impl FnMut(Progress),
    ) -> Result<T, Trouble> {
        let status = reader.status();
        let class = FailureClass::Status(status.as_u16());
        if let Some(place) = reader.redirect() {
            let words =
                format!("{status}: redirects are not followed: set `target.endpoint` to {place}");
            return Err(Trouble::new(class, words));
        }
        let (words, whole) = words(&mut reader, on).await;
        let words = if words.is_empty() { status.to_string() } else { words };
        let trouble = Trouble::new(class, words).seen(reader.end_at());
        if whole {
            reader.keep();
        }
        Err(trouble)
    }

    async fn streamed(
        &self,
        trace: &Trace,
        mut reader: Box<Reader<'_>>,
        on: &mut impl FnMut(Progress),
    ) -> Result<Answer, Trouble> {
        let mut stream = Stream::new(self.api);
        let mut said = self.keeps_text.then(Said::default);
        let end = read_stream(&mut stream, said.as_mut(), trace, &mut reader, on).await?;
        match stream.end(reader.end_at(), &end) {
            Ok(ended) => {
                let story = stream.story();
                let answer = Answer {
                    first_token: story.first_token,
                    last_token: story.last_token,
                    finished: ended.finished,
                    events: story.events,
                    usage: story.usage,
                    no_done: ended.no_done,
                    ..self.answered(trace, &reader)
                };
                reader.keep();
                Ok(Answer { text: said.map(Said::into_text), ..answer })
            }
            Err(broken) => {
                if broken.class == FailureClass::Empty {
                    reader.keep();
                }
                Err(broken.into())
            }
        }
    }

    async fn whole(
        &self,
        trace: &Trace,
        mut reader: Box<Reader<'_>>,
        on: &mut impl FnMut(Progress),
    ) -> Result<Answer, Trouble> {
        let json = reader.whole(WHOLE_ANSWER_BYTES, on).await?;
        let parsed = match self.api {
            Api::Chat => chat::answer(&json),
            Api::Completions => completions::answer(&json),
        };
        let outcome =
            parsed.map_err(|error| answer_trouble(&error, &json)).and_then(|event| match event {
                event if event.error.is_some() => {
                    Err(Trouble::new(FailureClass::InBandError, event.error.unwrap_or_default()))
                }
                event if event.content.is_none() => {
                    let words = "the answer holds no generated content".to_owned();
                    Err(Trouble::new(FailureClass::Empty, words))
                }
                event => Ok(Answer {
                    usage: event.usage,
                    text: self.keeps_text.then(|| Said::whole(&json)),
                    ..self.answered(trace, &reader)
                }),
            });
        reader.keep();
        outcome
    }

    /// What is known of every answer, the stream's own instants aside.
    fn answered(&self, trace: &Trace, reader: &Reader<'_>) -> Answer {
        let connected_at = trace.connected_at.get().unwrap_or_default();
        Answer {
            connect: trace.connect.get(),
            connected_at,
            sent: trace.sent.get().unwrap_or(connected_at),
            write_call: trace.write_call.get(),
            headers: reader.headers_at(),
            first_token: None,
            last_token: None,
            finished: reader.end_at(),
            events: 0,
            usage: None,
            no_done: false,
            reconnected: trace.reconnected.get(),
            status: reader.status().as_u16(),
            kernel_stamps: reader.kernel_stamps(),
            text: None,
        }
    }
}

/// Reads until `[DONE]` or the end of the body.
async fn read_stream(
    stream: &mut Stream,
    mut said: Option<&mut Said>,
    trace: &Trace,
    reader: &mut Reader<'_>,
    on: &mut impl FnMut(Progress),
) -> Result<BodyEnd, Trouble> {
    loop {
        let mut pushed = Ok(());
        let body = reader.next(on, |bytes, arrival, on| {
            if pushed.is_ok() {
                pushed = stream.push(bytes, arrival, on);
                if let Some(said) = &mut said {
                    said.push(bytes);
                }
            }
        });
        let body = body.await;
        trace.events.set(stream.story().events);
        pushed?;
        match body {
            _ if stream.is_done() => return Ok(BodyEnd::Clean),
            Ok(Body::More) => {}
            Ok(Body::Ended) => return Ok(BodyEnd::Clean),
            Err(fault) => return body_trouble(&fault).map(BodyEnd::Cut),
        }
    }
}

/// An answer of success that is not what was asked for.
async fn unasked<T>(
    mut reader: Box<Reader<'_>>,
    what: String,
    on: &mut impl FnMut(Progress),
) -> Result<T, Trouble> {
    let (words, _whole) = words(&mut reader, on).await;
    let trouble = Trouble::new(FailureClass::Protocol, format!("{what}: {words}"));
    Err(trouble.seen(reader.end_at()))
}

/// The words in the body of an answer that is an error, and whether it was read to its end.
async fn words(reader: &mut Reader<'_>, on: &mut impl FnMut(Progress)) -> (String, bool) {
    if let Some(encoding) = reader.encoding() {
        return (format!("(a body encoded as {encoding})"), false);
    }
    match timeout(WORDS_TIME, reader.whole(WORDS_BYTES, on)).await {
        Ok(Ok(body)) => (words_of(&body), true),
        Ok(Err(_)) | Err(_) => (words_of(reader.kept()), false),
    }
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        Self::new(broken.class, broken.words)
    }
}
