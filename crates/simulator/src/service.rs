//! The engine that all connections share: its batch, prefix cache, latency model and books.
//!
//! Everything lives on one thread, so plain cells do; nothing is borrowed across an `await`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use crate::batch::{Admission, Batch};
use crate::clock::{ClockPair, MonoTime};
use crate::config::SimulatorConfig;
use crate::connection::{Connection, Gone, Written};
use crate::exposition::{Counters, Gauges};
use crate::http::Request;
use crate::model::LatencyModel;
use crate::openai::Prompt;
use crate::pacer::{Pacer, ProbeHold};
use crate::prefix_cache::PrefixCache;
use crate::prompt::{TokenCounter, cached_tokens};
use crate::served::Served;
use crate::truth::{Arrival, Books, Closing, Outcome, RequestList, Ticket, Truth};

/// The simulated engine.
pub(crate) struct Service {
    pub(crate) config: SimulatorConfig,
    pub(crate) counter: TokenCounter,
    pub(crate) latency: LatencyModel,
    pub(crate) pacer: Rc<Pacer>,
    pub(crate) books: RefCell<Books>,
    pub(crate) counters: Counters,
    pub(crate) created_unix_s: u64,
    batch: RefCell<Batch<oneshot::Sender<()>>>,
    cache: RefCell<PrefixCache>,
    answered: Cell<u64>,
    served: Option<SyncSender<Served>>,
}

impl Service {
    pub(crate) fn new(
        config: SimulatorConfig,
        counter: TokenCounter,
        pacer: Rc<Pacer>,
        served: Option<SyncSender<Served>>,
    ) -> Rc<Self> {
        let started = MonoTime::now();
        let started_real = ClockPair::now().to_real(started);
        let cap = (!config.fixed && config.max_concurrency > 0).then_some(config.max_concurrency);
        let blocks = if config.fixed { 0 } else { config.prefix_cache_blocks };
        Rc::new(Self {
            latency: LatencyModel::new(&config),
            pacer,
            books: RefCell::new(Books::new(started, started_real)),
            counters: Counters::default(),
            created_unix_s: started_real.unix_seconds(),
            batch: RefCell::new(Batch::new(cap)),
            cache: RefCell::new(PrefixCache::new(blocks)),
            answered: Cell::new(0),
            served,
            counter,
            config,
        })
    }

    /// Numbers the requests that are not refused, from 1: faults are drawn by it.
    pub(crate) fn next_number(&self) -> u64 {
        self.answered.set(self.answered.get() + 1);
        self.answered.get()
    }

    pub(crate) fn running(&self) -> usize {
        self.batch.borrow().running()
    }

    /// Prefill: how many of the prompt's tokens were cached; from now on its blocks are.
    pub(crate) fn prefill(&self, prompt: &Prompt, prompt_tokens: u64) -> u64 {
        let bytes = prompt.bytes();
        let cached_bytes = self.cache.borrow_mut().visit(bytes);
        let cached = cached_tokens(prompt_tokens, bytes.len(), cached_bytes);
        self.counters.prefilled(prompt_tokens, cached);
        cached
    }

    pub(crate) fn truth(&self, list: RequestList) -> Truth {
        self.books.borrow().truth(list)
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let batch = self.batch.borrow();
        let cache_usage = self.cache.borrow().usage();
        Gauges { running: batch.running(), waiting: batch.waiting(), cache_usage }
    }
}

/// Whether a request had to wait for its seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seating {
    AtOnce,
    AfterWaiting,
}

/// A place in the batch, or in its queue; dropping it makes room for the next.
pub(crate) struct Seat {
    service: Rc<Service>,
    number: u64,
}

impl Seat {
    /// Waits until request `number` runs, or its client goes away.
    pub(crate) async fn take(
        service: &Rc<Service>,
        number: u64,
        connection: &mut Connection,
    ) -> Result<(Self, Seating), Gone> {
        let (waker, admitted) = oneshot::channel();
        let admission = service.batch.borrow_mut().arrive(number, waker);
        let seat = Self { service: Rc::clone(service), number };
        if admission == Admission::Running {
            return Ok((seat, Seating::AtOnce));
        }
        // The sender lives in the queue until it is used: `Err` could only mean a dropped service.
        connection.while_connected(admitted).await?.map_err(|_| Gone)?;
        Ok((seat, Seating::AfterWaiting))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let next = self.service.batch.borrow_mut().leave(self.number);
        if let Some(waker) = next {
            // Its receiver is gone only if that request is being dropped too; its own seat then passes on the place.
            let _unheard = waker.send(());
        }
    }
}

/// A received request in the books. Dropped without an end, it was given up by its client.
pub(crate) struct OpenRequest {
    service: Rc<Service>,
    ticket: Ticket,
    arrival: Arrival,
    body_sha256: [u8; 32],
    status: Option<u16>,
    first_token: Option<MonoTime>,
    last_token: Option<MonoTime>,
    output_tokens: u64,
    prompt_tokens: u64,
    /// The client's span, where somebody is told of ours.
    traceparent: Option<String>,
    is_closed: bool,
    _probe: ProbeHold,
}

impl OpenRequest {
    pub(crate) fn receive(service: &Rc<Service>, request: &Request, arrival: Arrival) -> Self {
        let body_sha256: [u8; 32] = Sha256::digest(&request.body).into();
        let ticket =
            service.books.borrow_mut().receive(arrival, body_sha256, &request.listed_headers);
        let traceparent = service.served.as_ref().and_then(|_| request.traceparent());
        Self {
            service: Rc::clone(service),
            ticket,
            arrival,
            body_sha256,
            status: None,
            first_token: None,
            last_token: None,
            output_tokens: 0,
            prompt_tokens: 0,
            traceparent: traceparent.map(str::to_owned),
            is_closed: false,
            _probe: service.pacer.probe(),
        }
    }

    pub(crate) fn arrived_at(&self) -> MonoTime {
        self.arrival.at
    }

    /// Distinguishes bodies, for what must depend on the body only.
    pub(crate) fn body_number(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.body_sha256;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    pub(crate) fn prefilled(&mut self, prompt_tokens: u64, cached_tokens: u64) {
        self.prompt_tokens = prompt_tokens;
        self.service.books.borrow_mut().prompt(self.ticket, prompt_tokens, cached_tokens);
    }

    pub(crate) fn status(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// A token's event was written; `stamp` was taken immediately before.
    pub(crate) fn token_written(&mut self, stamp: MonoTime, due: MonoTime, written: Written) {
        let gap = self.last_token.map(|last| stamp.since(last));
        let _first = self.first_token.get_or_insert(stamp);
        self.last_token = Some(stamp);
        self.token(gap, stamp.since(due));
        if written == Written::SocketFull {
            self.service.books.borrow_mut().full_socket_write();
        }
    }

    /// A token of an answer that is not streamed was made: it has no event, hence no gap.
    pub(crate) fn token_kept(&mut self, stamp: MonoTime, due: MonoTime) {
        self.token(None, stamp.since(due));
    }

    fn token(&mut self, gap: Option<Duration>, lag: Duration) {
        self.output_tokens += 1;
        self.service.counters.generated_token();
        self.service.books.borrow_mut().token(self.ticket, gap, lag);
    }

    /// The answer's last bytes were written; `stamp` was taken immediately before.
    pub(crate) fn complete(mut self, stamp: MonoTime) {
        let e2e = Some(stamp.since(self.arrival.at));
        self.close(Outcome::Completed, e2e);
    }

    pub(crate) fn fail(mut self) {
        self.close(Outcome::Failed, None);
    }

    fn close(&mut self, outcome: Outcome, e2e: Option<Duration>) {
        self.is_closed = true;
        let ttft = self.first_token.map(|first| first.since(self.arrival.at));
        let closing =
            Closing { outcome, status: self.status, ttft, e2e, output_tokens: self.output_tokens };
        self.service.books.borrow_mut().close(self.ticket, closing);
        self.tell(outcome, ttft, e2e);
    }

    /// Hands what is known of a traced request to whoever wants it. A queue that is full loses it: the loop never waits.
    fn tell(&mut self, outcome: Outcome, ttft: Option<Duration>, e2e: Option<Duration>) {
        let Some(traceparent) = self.traceparent.take() else { return };
        let took = e2e.unwrap_or_else(|| MonoTime::now().since(self.arrival.at));
        let request = Served {
            traceparent,
            arrival_unix_ns: self.arrival.real.unix_nanos(),
            took,
            ttft,
            prompt_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            status: self.status,
            outcome,
        };
        let _full = self.service.served.as_ref().map(|served| served.try_send(request));
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        if !self.is_closed {
            self.close(Outcome::Cancelled, None);
        }
    }
}
