//! Reading one answer: its head, its body piece by piece, and when each piece arrived.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, LOCATION};
use http::{Response, StatusCode, Version};
use hyper::body::Incoming;
use metrics::FailureClass;

use crate::answer::Progress;
use crate::client::Client;
use crate::stream::Arrival;
use crate::transport::{Connection, KeepAlive, Read, Rest};
use crate::trouble::{Trouble, body_trouble};

/// Obsolete in RFC 9110, and still sent.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// An answer whose head has arrived.
#[derive(Debug)]
pub(crate) struct Reader<'client> {
    client: &'client Client,
    connection: Box<Connection>,
    head: http::response::Parts,
    body: Incoming,
    body_ended: bool,
    kept: Vec<u8>,
    arrival: Arrival,
    headers_at: Duration,
    lag_max: Duration,
    kernel_stamps: bool,
}

impl<'client> Reader<'client> {
    /// `reads_before` is the connection's count of reads when the request began.
    pub(crate) fn new(
        client: &'client Client,
        connection: Box<Connection>,
        reads_before: u64,
        response: Response<Incoming>,
        on: &mut impl FnMut(Progress),
    ) -> Self {
        let (head, body) = response.into_parts();
        let mut reader = Self {
            client,
            connection,
            head,
            body,
            body_ended: false,
            kept: Vec::new(),
            arrival: Arrival { at: Duration::ZERO, serial: reads_before },
            headers_at: Duration::ZERO,
            lag_max: Duration::ZERO,
            kernel_stamps: true,
        };
        reader.look(on);
        reader.headers_at = reader.arrival.at;
        reader
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers_at(&self) -> Duration {
        self.headers_at
    }

    pub(crate) fn arrival(&self) -> Arrival {
        self.arrival
    }

    pub(crate) fn lag_max(&self) -> Duration {
        self.lag_max
    }

    pub(crate) fn kernel_stamps(&self) -> bool {
        self.kernel_stamps
    }

    /// When the answer ended: the end of the connection where that ended it, else the last read.
    pub(crate) fn end_at(&self) -> Duration {
        let end =
            self.connection.stamps().end_ns().map(|end_ns| self.client.clock.offset_of(end_ns));
        end.filter(|_| self.body_ended).unwrap_or(self.arrival.at).max(self.arrival.at)
    }

    /// Where a redirect points.
    pub(crate) fn redirect(&self) -> Option<&str> {
        self.head.status.is_redirection().then(|| self.header(LOCATION)).flatten()
    }

    /// The content encoding, where there is one: none was asked for.
    pub(crate) fn encoding(&self) -> Option<&str> {
        self.header(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
    }

    /// What is wrong with the head of an answer of success.
    pub(crate) fn unasked(&self, stream: bool) -> Option<String> {
        if let Some(encoding) = self.encoding() {
            return Some(format!("the answer is encoded as {encoding}, which was not asked for"));
        }
        let content_type = self.header(CONTENT_TYPE).filter(|_| stream)?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is_stream = essence.eq_ignore_ascii_case("text/event-stream");
        (!is_stream).then(|| format!("a stream was asked for and the answer is {content_type}"))
    }

    /// The next bytes of the body, with [`arrival`](Self::arrival) brought up to them.
    pub(crate) async fn next(
        &mut self,
        on: &mut impl FnMut(Progress),
    ) -> Option<Result<Bytes, hyper::Error>> {
        let frame = self.connection.frame(&mut self.body).await;
        self.body_ended = !matches!(frame, Some(Ok(_)));
        self.look(on);
        frame
    }

    /// The rest of the body in one piece.
    pub(crate) async fn whole(
        &mut self,
        limit_bytes: usize,
        on: &mut impl FnMut(Progress),
    ) -> Result<Vec<u8>, Trouble> {
        while let Some(frame) = self.next(on).await {
            let bytes = frame.map_err(|error| {
                body_trouble(&error).map_or_else(
                    |trouble| trouble,
                    |words| Trouble::new(FailureClass::StreamCut, words),
                )
            })?;
            if self.kept.len() + bytes.len() > limit_bytes {
                let words = format!("the answer is longer than {limit_bytes} bytes");
                return Err(Trouble::new(FailureClass::Protocol, words));
            }
            self.kept.extend_from_slice(&bytes);
        }
        Ok(std::mem::take(&mut self.kept))
    }

    /// What [`whole`](Self::whole) had read when it failed.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Keeps the connection for the next request, with what may be left of the body, or closes it
    /// where the server is at its announced end.
    pub(crate) fn keep(mut self: Box<Self>) {
        let closes = self.head.version < Version::HTTP_11
            || self.header(CONNECTION).is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if closes {
            return;
        }
        let announced = self.header(KEEP_ALIVE).map(KeepAlive::parse).unwrap_or_default();
        let term = self.connection.term();
        term.answered(announced);
        if let Some(idle_limit) = term.idle_limit() {
            let body = (!self.body_ended).then_some(self.body);
            self.client.pool.put(Rest::new(self.connection, body), idle_limit);
        }
    }

    fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Notes a read that has not been noted yet.
    fn look(&mut self, on: &mut impl FnMut(Progress)) {
        let read = self.connection.stamps().last_read();
        if read.serial == self.arrival.serial {
            return;
        }
        let (at_ns, lag) = self.stamp(read);
        // Stamps of different clocks may cross by microseconds.
        let at = self.client.clock.offset_of(at_ns).max(self.arrival.at);
        self.arrival = Arrival { at, serial: read.serial };
        self.lag_max = self.lag_max.max(lag);
        on(Progress::Read { lag });
    }

    fn stamp(&mut self, read: Read) -> (u64, Duration) {
        let converter = self.client.stamps.get();
        let kernel = read.kernel_ns.and_then(|stamp| converter.monotonic_ns(stamp, read.read_ns));
        self.kernel_stamps &= kernel.is_some();
        let at_ns = kernel.unwrap_or(read.read_ns);
        (at_ns, Duration::from_nanos(read.read_ns - at_ns))
    }
}
