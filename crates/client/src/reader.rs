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

/// After so much of a body the lane's other requests have their turn: the runtime's own limit is so many
/// reads, of any size.
const TURN_BYTES: usize = 256 << 10;

/// Stamps of different clocks may cross by microseconds; what is further off is a clock that was set.
const CROSSING: Duration = Duration::from_millis(1);

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
    turn_bytes: usize,
    kernel_stamps: bool,
    body_ended: bool,
}

impl<'client> Reader<'client> {
    /// `before` is the end of the request, and the connection's count of reads when it began.
    pub(crate) fn new(
        client: &'client Client,
        source: Source,
        before: Arrival,
        head: Head,
        on: &mut impl FnMut(Progress),
    ) -> Self {
        let mut seen =
            Seen { arrival: before, turn_bytes: 0, kernel_stamps: true, body_ended: false };
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
        let mut connection = match self.source {
            Source::Http1(connection) => connection,
            Source::Http2(stream) => return stream.keep(),
        };
        if let Some(idle_limit) = connection.idle_limit() {
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
                self.turn_bytes += bytes.len();
                piece(bytes, self.arrival, on);
            })
        });
        let body = body.await;
        // A read may have brought nothing but framing.
        self.look(client, source.last_read(), on);
        self.body_ended = !matches!(body, Ok(Body::More));
        if self.turn_bytes >= TURN_BYTES {
            self.turn_bytes = 0;
            tokio::task::yield_now().await;
        }
        body
    }

    /// Notes a read that has not been noted yet.
    fn look(&mut self, client: &Client, read: Read, on: &mut impl FnMut(Progress)) {
        if read.serial == self.arrival.serial {
            return;
        }
        let (at_ns, lag) = self.stamp(client, read);
        let at = client.clock.offset_of(at_ns).max(self.arrival.at);
        self.arrival = Arrival { at, serial: read.serial };
        on(Progress::Read { lag });
    }

    /// The instant of a read on CLOCK_MONOTONIC, and what the kernel's stamp says of its lag. A stamp from
    /// before what came before it is of a clock that was set back since the last flush.
    fn stamp(&mut self, client: &Client, read: Read) -> (u64, Option<Duration>) {
        let converter = client.stamps.get();
        let kernel = read.kernel_ns.and_then(|stamp| converter.monotonic_ns(stamp, read.read_ns));
        let credible = |at_ns: &u64| client.clock.offset_of(*at_ns) + CROSSING >= self.arrival.at;
        let kernel = kernel.filter(credible);
        self.kernel_stamps &= kernel.is_some();
        let lag = kernel.map(|at_ns| Duration::from_nanos(read.read_ns - at_ns));
        (kernel.unwrap_or(read.read_ns), lag)
    }
}

#[cfg(test)]
mod tests {
    use workload::{Api, Target};

    use super::*;
    use crate::client::ClientOptions;
    use crate::clock::Clock;

    fn client() -> Client {
        let target = Target {
            url: "http://127.0.0.1:9/v1/chat/completions".into(),
            api: Api::Chat,
            stream: true,
            model: None,
            model_is_chosen: false,
            headers: Vec::new(),
            extra_body: None,
            ignore_eos: false,
            min_tokens: false,
        };
        let running = Clock::start_at(Clock::monotonic_ns() - 10_000_000_000);
        Client::new(&target, ClientOptions::default(), running).unwrap()
    }

    /// What a read comes to whose kernel stamp is `early` before its time, after a request that was sent
    /// just now: its lag, and whether its stamp was believed.
    fn stamped(early: Duration) -> (Option<Duration>, bool) {
        let client = client();
        let sent = client.clock.now();
        let arrival = Arrival { at: sent, serial: 0 };
        let mut seen = Seen { arrival, turn_bytes: 0, kernel_stamps: true, body_ended: false };
        let kernel_ns = Clock::realtime_ns() - u64::try_from(early.as_nanos()).unwrap();
        let read = Read { serial: 1, kernel_ns: Some(kernel_ns), read_ns: Clock::monotonic_ns() };
        let mut lag = None;
        seen.look(&client, read, &mut |progress| {
            if let Progress::Read { lag: told } = progress {
                lag = told;
            }
        });
        assert!(seen.arrival.at >= sent);
        (lag, seen.kernel_stamps)
    }

    #[test]
    fn a_stamp_from_before_the_request_was_sent_is_of_a_clock_that_was_set_back() {
        assert_eq!(stamped(Duration::from_millis(900)), (None, false));
        let (lag, kernel_stamps) = stamped(Duration::from_micros(10));
        assert!(lag.is_some() && kernel_stamps);
    }
}
