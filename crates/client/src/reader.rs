//! Reading one answer: its head, its body piece by piece, and when each piece arrived.

use std::future::poll_fn;
use std::time::Duration;

use http::StatusCode;
use metrics::FailureClass;

use crate::answer::Progress;
use crate::client::Client;
use crate::stream::Arrival;
use crate::transport::{Body, Fault, Head, Read, Rest, Source};
use crate::trouble::{Trouble, body_trouble};

/// An answer whose head has arrived.
#[derive(Debug)]
pub(crate) struct Reader<'client> {
    client: &'client Client,
    source: Source,
    head: Head,
    kept: Vec<u8>,
    seen: Seen,
    headers_at: Duration,
}

/// What the reads so far have told.
#[derive(Debug)]
struct Seen {
    arrival: Arrival,
    lag_max: Duration,
    kernel_stamps: bool,
    body_ended: bool,
}

impl<'client> Reader<'client> {
    /// `reads_before` is the connection's count of reads when the request began.
    pub(crate) fn new(
        client: &'client Client,
        source: Source,
        reads_before: u64,
        head: Head,
        on: &mut impl FnMut(Progress),
    ) -> Self {
        let arrival = Arrival { at: Duration::ZERO, serial: reads_before };
        let mut seen =
            Seen { arrival, lag_max: Duration::ZERO, kernel_stamps: true, body_ended: false };
        seen.look(client, source.last_read(), on);
        let headers_at = seen.arrival.at;
        Self { client, source, head, kept: Vec::new(), seen, headers_at }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers_at(&self) -> Duration {
        self.headers_at
    }

    pub(crate) fn lag_max(&self) -> Duration {
        self.seen.lag_max
    }

    pub(crate) fn kernel_stamps(&self) -> bool {
        self.seen.kernel_stamps
    }

    /// When the answer ended: the end of the connection where that ended it, else the last read.
    pub(crate) fn end_at(&self) -> Duration {
        let end = self.source.end_ns().map(|end_ns| self.client.clock.offset_of(end_ns));
        let arrived = self.seen.arrival.at;
        end.filter(|_| self.seen.body_ended).unwrap_or(arrived).max(arrived)
    }

    /// Where a redirect points.
    pub(crate) fn redirect(&self) -> Option<&str> {
        self.head.location.as_deref().filter(|_| self.head.status.is_redirection())
    }

    /// The content encoding, where there is one: none was asked for.
    pub(crate) fn encoding(&self) -> Option<&str> {
        let encoding = self.head.content_encoding.as_deref();
        encoding.filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))
    }

    /// What is wrong with the head of an answer of success.
    pub(crate) fn unasked(&self, stream: bool) -> Option<String> {
        if let Some(encoding) = self.encoding() {
            return Some(format!("the answer is encoded as {encoding}, which was not asked for"));
        }
        let content_type = self.head.content_type.as_deref().filter(|_| stream)?;
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is_stream = essence.eq_ignore_ascii_case("text/event-stream");
        (!is_stream).then(|| format!("a stream was asked for and the answer is {content_type}"))
    }

    /// Waits for the next read and hands over what it brought of the body, each piece with its arrival.
    pub(crate) async fn next<F: FnMut(Progress)>(
        &mut self,
        on: &mut F,
        piece: impl FnMut(&[u8], Arrival, &mut F),
    ) -> Result<Body, Fault> {
        self.seen.next(self.client, &mut self.source, on, piece).await
    }

    /// The rest of the body in one piece.
    pub(crate) async fn whole(
        &mut self,
        limit_bytes: usize,
        on: &mut impl FnMut(Progress),
    ) -> Result<Vec<u8>, Trouble> {
        let Self { client, source, seen, kept, .. } = self;
        loop {
            // Kept where a deadline that drops this future leaves it.
            let body = seen.next(client, source, on, |bytes, _, _| kept.extend_from_slice(bytes));
            let body = body.await.map_err(|fault| {
                let cut = |words| Trouble::new(FailureClass::StreamCut, words);
                body_trouble(&fault).map_or_else(|trouble| trouble, cut)
            })?;
            if kept.len() > limit_bytes {
                kept.truncate(limit_bytes);
                let words = format!("the answer is longer than {limit_bytes} bytes");
                return Err(Trouble::new(FailureClass::Protocol, words));
            }
            if body == Body::Ended {
                return Ok(std::mem::take(kept));
            }
        }
    }

    /// What [`whole`](Self::whole) had read when it failed.
    pub(crate) fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Keeps the connection for the next request, with what may be left of the body, or closes it
    /// where the server is at its announced end.
    pub(crate) fn keep(self: Box<Self>) {
        let Source::Http1(mut connection) = self.source else { return };
        if !connection.keeps() {
            return;
        }
        let term = connection.term();
        term.answered(self.head.keep_alive);
        if let Some(idle_limit) = term.idle_limit() {
            self.client.pool.put(Rest::new(connection), idle_limit);
        }
    }
}

impl Seen {
    async fn next<F: FnMut(Progress)>(
        &mut self,
        client: &Client,
        source: &mut Source,
        on: &mut F,
        mut piece: impl FnMut(&[u8], Arrival, &mut F),
    ) -> Result<Body, Fault> {
        let body = poll_fn(|context| {
            source.poll_body(context, |bytes, read| {
                self.look(client, read, on);
                piece(bytes, self.arrival, on);
            })
        });
        let body = body.await;
        // A read may have brought nothing but framing.
        self.look(client, source.last_read(), on);
        self.body_ended = !matches!(body, Ok(Body::More));
        body
    }

    /// Notes a read that has not been noted yet.
    fn look(&mut self, client: &Client, read: Read, on: &mut impl FnMut(Progress)) {
        if read.serial == self.arrival.serial {
            return;
        }
        let (at_ns, lag) = self.stamp(client, read);
        // Stamps of different clocks may cross by microseconds.
        let at = client.clock.offset_of(at_ns).max(self.arrival.at);
        self.arrival = Arrival { at, serial: read.serial };
        self.lag_max = self.lag_max.max(lag);
        on(Progress::Read { lag });
    }

    fn stamp(&mut self, client: &Client, read: Read) -> (u64, Duration) {
        let converter = client.stamps.get();
        let kernel = read.kernel_ns.and_then(|stamp| converter.monotonic_ns(stamp, read.read_ns));
        self.kernel_stamps &= kernel.is_some();
        let at_ns = kernel.unwrap_or(read.read_ns);
        (at_ns, Duration::from_nanos(read.read_ns - at_ns))
    }
}
