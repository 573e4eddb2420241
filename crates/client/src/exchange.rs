//! One request from its body to its outcome. The shell: it awaits and stamps, and leaves what an
//! answer means to [`crate::stream`].

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use metrics::FailureClass;
use tokio::time::timeout;
use workload::Api;

use crate::answer::{Answer, Failure, Progress};
use crate::client::Client;
use crate::endpoint::{head, head_of_http2};
use crate::event::{bounded, words_of};
use crate::reader::Reader;
use crate::stream::{Arrival, BodyEnd, Broken, Stream};
use crate::transport::{
    Body, ConnectError, Connection, Head, HeadError, Http2, Outgoing, SendError, Source, Taken,
    Write,
};
use crate::trouble::{Trouble, answer_trouble, body_trouble, head_trouble, unsent_trouble};
use crate::{chat, completions};

/// The longest answer that is read whole.
const WHOLE_ANSWER_BYTES: usize = 16 << 20;

/// An error's words are read so far, and waited for so long.
const WORDS_BYTES: usize = 64 << 10;
const WORDS_TIME: Duration = Duration::from_secs(5);

/// What is known of a request so far, outside of its future: a deadline that drops the future must
/// not lose it.
#[derive(Debug, Default)]
struct Trace {
    connected_at: Cell<Option<Duration>>,
    connect: Cell<Option<Duration>>,
    sent: Cell<Option<Duration>>,
    write_call: Cell<Duration>,
    reconnected: Cell<bool>,
    /// An answer has come on the connection that it used.
    answered: Cell<bool>,
    events: Cell<u64>,
}

impl Trace {
    fn failure(&self, trouble: Trouble, client: &Client) -> Failure {
        Failure {
            class: trouble.class,
            at: trouble.at.unwrap_or_else(|| client.clock.now()),
            sent: self.sent.get(),
            connected_at: self.connected_at.get(),
            connect: self.connect.get(),
            reconnected: self.reconnected.get(),
            connection_answered: self.answered.get(),
            events: self.events.get(),
            detail: bounded(&client.credentials.redact(&trouble.words)),
            refused_by_gate: trouble.refused_by_gate,
        }
    }
}

/// What a request asks of HTTP.
#[derive(Debug)]
struct Ask {
    method: Method,
    path: Uri,
    /// Kept until it has been sent, over HTTP/2 until the answer has begun, as the server may refuse to look
    /// at it; a long prompt must not lie here while its answer comes.
    /// Whose headers.
    kind: usize,
    body: RefCell<Bytes>,
}

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
        self.exchange_as(0, body, gate, on).await
    }

    /// The same with the headers of a kind of requests ([`Client::with_kinds`]).
    ///
    /// # Errors
    /// A failed request, with its class.
    pub async fn exchange_as(
        &self,
        kind: usize,
        body: Bytes,
        gate: impl FnMut() -> bool,
        mut on: impl FnMut(Progress),
    ) -> Result<Answer, Failure> {
        let trace = Trace::default();
        let ask = Ask {
            method: Method::POST,
            path: self.endpoint.path.clone(),
            kind,
            body: RefCell::new(body),
        };
        self.within(&trace, self.answer(&trace, ask, gate, &mut on)).await
    }

    /// Reads a whole answer of any kind (`GET path`), outside of any measurement.
    pub(crate) async fn fetch(&self, path: Uri) -> Result<Vec<u8>, Failure> {
        let trace = Trace::default();
        let ask = Ask { method: Method::GET, path, kind: 0, body: RefCell::default() };
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

    /// Sends the request on a connection of the pool or on a new one, and reads the answer's head.
    async fn ask(
        &self,
        trace: &Trace,
        ask: Ask,
        mut gate: impl FnMut() -> bool,
        on: &mut impl FnMut(Progress),
    ) -> Result<Box<Reader<'_>>, Trouble> {
        if let Some(http2) = &self.http2 {
            return Box::pin(self.ask_http2(http2, trace, ask, gate, on)).await;
        }
        let mut pooled = self.pool.take().await;
        loop {
            let rested = pooled.as_ref().map(|taken| taken.rested);
            let mut connection = match pooled.take() {
                Some(Taken { connection, .. }) => connection,
                // Rare paths are boxed: they would widen every request's future.
                None => Box::pin(self.connect(trace)).await?,
            };
            trace.connected_at.set(Some(self.clock.now()));
            let reads_before = connection.stamps().last_read().serial;
            trace.answered.set(rested.is_some());
            let on_sent = |write| {
                drop(ask.body.take());
                self.sent(trace, write, on);
            };
            let head = connection.head(self.outgoing(&ask), &mut gate, on_sent).await;
            match head {
                Ok(head) => {
                    self.sent_early(trace, &connection, on);
                    let source = Source::Http1(connection);
                    return Ok(self.reader(trace, source, reads_before, head, on));
                }
                Err(HeadError::Refused) => return Err(Trouble::refused_by_gate()),
                Err(HeadError::Unsent(fault)) => {
                    let Some(rested) = rested else {
                        return Err(unsent_trouble(&fault));
                    };
                    self.pool.found_closed(rested);
                    trace.reconnected.set(true);
                }
                Err(HeadError::Failed(fault)) => {
                    trace.answered.set(rested.is_some() || connection.has_answered());
                    let stale = rested.filter(|_| !connection.has_answered());
                    if let Some(rested) = stale {
                        self.pool.found_closed(rested);
                    }
                    return Err(head_trouble(&fault, stale.is_some()));
                }
            }
        }
    }

    /// As [`ask`](Self::ask), on a shared connection.
    async fn ask_http2(
        &self,
        http2: &Http2,
        trace: &Trace,
        ask: Ask,
        mut gate: impl FnMut() -> bool,
        on: &mut impl FnMut(Progress),
    ) -> Result<Box<Reader<'_>>, Trouble> {
        loop {
            let ready = http2.take(&self.connector).await.map_err(connect_trouble)?;
            trace.connect.set(ready.took.or(trace.connect.get()));
            let moved = trace.reconnected.replace(trace.reconnected.get() || ready.replaced);
            let request =
                head_of_http2(&self.endpoint, &ask.method, &ask.path, self.headers_of(&ask))
                    .map_err(|error| Trouble::new(FailureClass::Internal, error.to_string()))?;
            let gate = || {
                trace.connected_at.set(Some(self.clock.now()));
                gate()
            };
            // Told once: a server that did not look at the request has made its user wait all the same.
            let on_sent = |write| {
                if trace.sent.get().is_none() {
                    self.sent(trace, write, on);
                }
            };
            let body = ask.body.borrow().clone();
            let answer = ready.send(request, body, gate, on_sent).await;
            trace.answered.set(ready.has_answered());
            match answer {
                Ok((head, stream)) => {
                    drop(ask.body.take());
                    return Ok(self.reader(trace, Source::Http2(stream), 0, head, on));
                }
                Err(SendError::Refused) => return Err(Trouble::refused_by_gate()),
                Err(SendError::Unsent(_)) if !moved => trace.reconnected.set(true),
                Err(SendError::Unsent(fault)) if trace.sent.get().is_none() => {
                    return Err(unsent_trouble(&fault));
                }
                Err(SendError::Unsent(fault) | SendError::Failed(fault)) => {
                    return Err(head_trouble(&fault, false));
                }
            }
        }
    }

    /// Reads on, after the head of an answer.
    fn reader(
        &self,
        trace: &Trace,
        source: Source,
        reads_before: u64,
        head: Head,
        on: &mut impl FnMut(Progress),
    ) -> Box<Reader<'_>> {
        trace.answered.set(true);
        let before = Arrival { at: trace.sent.get().unwrap_or_default(), serial: reads_before };
        Box::new(Reader::new(self, source, before, head, on))
    }

    async fn connect(&self, trace: &Trace) -> Result<Box<Connection>, Trouble> {
        let connection = self.connector.connect().await.map_err(connect_trouble)?;
        trace.connect.set(Some(connection.took()));
        Ok(connection)
    }

    /// A kind that is not there has the first one's.
    fn headers_of(&self, ask: &Ask) -> &HeaderMap {
        self.headers.get(ask.kind).unwrap_or(&self.headers[0])
    }

    fn outgoing(&self, ask: &Ask) -> Outgoing {
        let body = ask.body.borrow().clone();
        Outgoing { head: head(&ask.method, &ask.path, self.headers_of(ask), body.len()), body }
    }

    fn sent(&self, trace: &Trace, write: Write, on: &mut impl FnMut(Progress)) {
        let at = self.clock.offset_of(write.at_ns);
        trace.sent.set(Some(at));
        trace.write_call.set(Duration::from_nanos(write.call_ns));
        on(Progress::Sent { at });
    }

    /// A server may answer before it has the whole request: then the last write so far is what was sent.
    fn sent_early(&self, trace: &Trace, connection: &Connection, on: &mut impl FnMut(Progress)) {
        if let (None, Some(write)) = (trace.sent.get(), connection.stamps().last_write()) {
            self.sent(trace, write, on);
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
        let end = read_stream(&mut stream, trace, &mut reader, on).await?;
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
                Ok(answer)
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
                event => Ok(Answer { usage: event.usage, ..self.answered(trace, &reader) }),
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
        }
    }
}

/// Reads until `[DONE]` or the end of the body.
async fn read_stream(
    stream: &mut Stream,
    trace: &Trace,
    reader: &mut Reader<'_>,
    on: &mut impl FnMut(Progress),
) -> Result<BodyEnd, Trouble> {
    loop {
        let mut pushed = Ok(());
        let body = reader.next(on, |bytes, arrival, on| {
            if pushed.is_ok() {
                pushed = stream.push(bytes, arrival, on);
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

fn connect_trouble(error: ConnectError) -> Trouble {
    let class = match error {
        ConnectError::Tcp { .. } => FailureClass::Connect,
        ConnectError::Tls { .. } => FailureClass::Tls,
        ConnectError::Http2 { .. } => FailureClass::Protocol,
    };
    Trouble::new(class, error.to_string())
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
