//! From a request to the head of its answer: the connection it goes out on, and what is known of it meanwhile.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use metrics::{FailureClass, TraceContext};

use crate::answer::{Failure, Progress};
use crate::client::Client;
use crate::endpoint::{RequestHead, head, head_of_http2};
use crate::event::bounded;
use crate::reader::Reader;
use crate::stream::Arrival;
use crate::transport::{
    ConnectError, Connection, Head, HeadError, Http2, Outgoing, SendError, Source, Taken, Write,
};
use crate::trouble::{Trouble, head_trouble, unsent_trouble};

/// What is known of a request so far, outside of its future: a deadline that drops the future must
/// not lose it.
#[derive(Debug, Default)]
pub(super) struct Trace {
    pub(super) connected_at: Cell<Option<Duration>>,
    pub(super) connect: Cell<Option<Duration>>,
    pub(super) sent: Cell<Option<Duration>>,
    pub(super) write_call: Cell<Duration>,
    pub(super) reconnected: Cell<bool>,
    /// An answer has come on the connection that it used.
    pub(super) answered: Cell<bool>,
    pub(super) events: Cell<u64>,
}

impl Trace {
    pub(super) fn failure(&self, trouble: Trouble, client: &Client) -> Failure {
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
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: Uri,
    /// Whose headers.
    pub(super) kind: usize,
    /// By what others know it in traces.
    pub(super) context: Option<TraceContext>,
    /// Kept until it has been sent, over HTTP/2 until the answer has begun, as the server may refuse to look
    /// at it; a long prompt must not lie here while its answer comes.
    pub(super) body: RefCell<Bytes>,
}

impl Ask {
    /// Outside of any measurement.
    pub(super) fn plain(method: Method, path: Uri, body: Bytes) -> Self {
        Self { method, path, kind: 0, context: None, body: RefCell::new(body) }
    }

    fn head<'a>(&'a self, headers: &'a HeaderMap) -> RequestHead<'a> {
        let Self { method, path, context, .. } = self;
        RequestHead { method, path, headers, context: context.as_ref() }
    }
}

impl Client {
    /// Sends the request on a connection of the pool or on a new one, and reads the answer's head.
    pub(super) async fn ask(
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
            let request = head_of_http2(&self.endpoint, &ask.head(self.headers_of(&ask)))
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
        Outgoing { head: head(&ask.head(self.headers_of(ask)), body.len()), body }
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
}

fn connect_trouble(error: ConnectError) -> Trouble {
    let class = match error {
        ConnectError::Tcp { .. } => FailureClass::Connect,
        ConnectError::Tls { .. } => FailureClass::Tls,
        ConnectError::Http2 { .. } => FailureClass::Protocol,
    };
    Trouble::new(class, error.to_string())
}
