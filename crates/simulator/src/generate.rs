//! Answers one completion request, from its arrival to its last byte: the order of a generation.
//!
//! Head (and role event) at once, then the queue, prefill, and one write per token at its due
//! instant. Due instants follow from each other and not from when the last token was really
//! written, so that a late wake-up delays one token and never the rest of the stream.

use std::rc::Rc;
use std::time::Duration;

use crate::answer::{
    Answer, FinishReason, TokenFrame, Usage, WORD_BYTES, output_length, push_event, word,
};
use crate::clock::MonoTime;
use crate::connection::{Connection, Gone};
use crate::faults::{FaultPlan, Interruption};
use crate::http::{BodyFraming, LAST_CHUNK, Request, push_chunk, response_head};
use crate::openai::{Api, Ask, Refusal};
use crate::pacer::Alarm;
use crate::routes::{After, JSON, is_authorized, send_refusal};
use crate::seeded::{Purpose, Seeded};
use crate::service::{OpenRequest, Seat, Seating, Service};
use crate::truth::Arrival;

const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
const DONE: &[u8] = b"data: [DONE]\n\n";
const NOT_JSON: &[u8] = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\n\n";

/// Answers `request`, which arrived at one of the two completion paths.
pub(crate) async fn generate(
    service: &Rc<Service>,
    connection: &mut Connection,
    api: Api,
    request: Request,
    arrival: Arrival,
) -> Result<After, Gone> {
    let mut open = OpenRequest::receive(service, &request, arrival);
    let after = After::of(&request);
    match Generation::plan(service, api, &request, &open) {
        Err(refusal) => {
            open.status(refusal.status);
            open.fail();
            send_refusal(connection, &refusal, after).await
        }
        Ok(generation) if generation.ask.stream => generation.stream(connection, open, after).await,
        Ok(generation) => generation.whole(connection, open, after).await,
    }
}

/// One answer in the making.
struct Generation {
    service: Rc<Service>,
    number: u64,
    ask: Ask,
    answer: Answer,
    usage: Usage,
    output_tokens: u64,
    finish: FinishReason,
    faults: FaultPlan,
    words: Seeded,
    jitter: Seeded,
    alarm: Alarm,
    /// When the next token is due.
    due: MonoTime,
}

impl Generation {
    /// Everything about the answer that is known before it begins.
    fn plan(
        service: &Rc<Service>,
        api: Api,
        request: &Request,
        open: &OpenRequest,
    ) -> Result<Self, Refusal> {
        let (ask, prompt_tokens, limit) = accept(service, api, request)?;
        let config = &service.config;
        let eos_probability = if ask.ignore_eos { 0.0 } else { config.eos_probability };
        let mut lengths = Seeded::new(config.seed, Purpose::Length, open.body_number());
        let planned = output_length(limit, ask.min_tokens, eos_probability, &mut lengths);

        let number = service.next_number();
        let faults = FaultPlan::draw(&config.faults, config.seed, number, planned.0);
        if let Some(status) = faults.status {
            return Err(Refusal::new(status, "The simulator was told to fail this request."));
        }
        let (output_tokens, finish) = match planned {
            _ if faults.empty => (0, FinishReason::Stop),
            (whole, _) if faults.short => ((whole / 2).max(1), FinishReason::Stop),
            whole => whole,
        };
        Ok(Self {
            service: Rc::clone(service),
            number,
            answer: Answer::new(api, number, service.created_unix_s, &ask.model),
            usage: Usage { prompt_tokens, ..Usage::default() },
            output_tokens,
            finish,
            faults,
            words: Seeded::new(config.seed, Purpose::Text, open.body_number()),
            jitter: Seeded::new(config.seed, Purpose::Jitter, number),
            alarm: service.pacer.alarm(),
            due: open.arrived_at(),
            ask,
        })
    }

    async fn stream(
        mut self,
        connection: &mut Connection,
        mut open: OpenRequest,
        after: After,
    ) -> Result<After, Gone> {
        let start = self.hold_back_headers(connection).await?;
        open.status(200);
        let _written = connection.send(&self.opening(after))?;
        let _seat = self.begin(connection, &mut open, start).await?;
        let mut frame = TokenFrame::new(&self.answer);
        for index in 0..self.output_tokens {
            while let Some(interruption) = self.faults.next_before(index) {
                if let Next::End(end) =
                    self.interrupt_stream(connection, interruption, after).await?
                {
                    open.fail();
                    connection.flush().await?;
                    return Ok(end);
                }
            }
            self.reach_due(connection).await?;
            let text = word(self.words.bits());
            self.usage.completion_tokens = index + 1;
            let is_last = index + 1 == self.output_tokens;
            let formatted = if is_last {
                Some(self.ending(&text))
            } else {
                self.ask.continuous_usage.then(|| self.event_with_usage(&text))
            };
            let bytes = formatted.as_deref().unwrap_or_else(|| frame.with_word(text));
            let stamp = MonoTime::now();
            let written = connection.send(bytes)?;
            open.token_written(stamp, self.due, written);
            if is_last {
                self.finished(open, stamp);
                connection.flush().await?;
                return Ok(after);
            }
            self.schedule_next();
        }
        self.end_empty(connection, open, after).await
    }

    /// The head, and for chats the role event, which real servers send before any token.
    fn opening(&self, after: After) -> Vec<u8> {
        let mut bytes =
            response_head(200, EVENT_STREAM, BodyFraming::Chunked, after == After::KeepAlive, &[]);
        if let Some(role) = self.answer.role_event() {
            push_event(&mut bytes, &role);
        }
        bytes
    }

    fn event_with_usage(&self, text: &[u8; WORD_BYTES]) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_event(
            &mut bytes,
            &self.answer.token_event(&String::from_utf8_lossy(text), None, Some(self.usage)),
        );
        bytes
    }

    /// The last token's event and everything after it: one write, as the token is one.
    fn ending(&self, text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let usage = self.ask.continuous_usage.then_some(self.usage);
        let last =
            self.answer.token_event(&String::from_utf8_lossy(text), Some(self.finish), usage);
        push_event(&mut bytes, &last);
        if self.ask.include_usage {
            push_event(&mut bytes, &self.answer.usage_event(self.usage));
        }
        if !self.faults.no_done {
            push_chunk(&mut bytes, DONE);
        }
        bytes.extend_from_slice(LAST_CHUNK);
        bytes
    }

    /// An answer without tokens still takes its time, and still has a finish reason and usage.
    async fn end_empty(
        mut self,
        connection: &mut Connection,
        open: OpenRequest,
        after: After,
    ) -> Result<After, Gone> {
        self.reach_due(connection).await?;
        let stamp = MonoTime::now();
        let _written = connection.send(&self.ending(b""))?;
        self.finished(open, stamp);
        connection.flush().await?;
        Ok(after)
    }

    fn finished(&self, open: OpenRequest, stamp: MonoTime) {
        open.complete(stamp);
        self.service.counters.finished(self.finish);
    }

    async fn interrupt_stream(
        &mut self,
        connection: &mut Connection,
        interruption: Interruption,
        after: After,
    ) -> Result<Next, Gone> {
        let mut bytes = Vec::new();
        let next = match interruption {
            Interruption::Stall(pause) => {
                self.due = self.due + pause;
                return Ok(Next::Continue);
            }
            Interruption::Malformed => {
                push_chunk(&mut bytes, NOT_JSON);
                Next::Continue
            }
            Interruption::InBandError => {
                push_event(&mut bytes, &in_band_error().body());
                push_chunk(&mut bytes, DONE);
                bytes.extend_from_slice(LAST_CHUNK);
                Next::End(after)
            }
            Interruption::Cut => Next::End(After::Close),
        };
        self.reach_due(connection).await?;
        let _written = connection.send(&bytes)?;
        Ok(next)
    }

    /// Not streamed: the same tokens at the same pace, in one body at the end.
    async fn whole(
        mut self,
        connection: &mut Connection,
        mut open: OpenRequest,
        after: After,
    ) -> Result<After, Gone> {
        let start = self.hold_back_headers(connection).await?;
        let _seat = self.begin(connection, &mut open, start).await?;
        let mut text = String::new();
        let mut broken = None;
        for index in 0..self.output_tokens {
            while let Some(interruption) = self.faults.next_before(index) {
                match interruption {
                    Interruption::Stall(pause) => self.due = self.due + pause,
                    other => broken = Some(other),
                }
            }
            self.reach_due(connection).await?;
            open.token_kept(MonoTime::now(), self.due);
            text.push_str(&String::from_utf8_lossy(&word(self.words.bits())));
            if index + 1 < self.output_tokens {
                self.schedule_next();
            }
        }
        if self.output_tokens == 0 {
            self.reach_due(connection).await?;
        }
        self.usage.completion_tokens = self.output_tokens;
        let body = self.answer.whole(&text, self.finish, self.usage);
        match broken {
            None => self.send_whole(connection, open, after, body).await,
            Some(how) => self.send_broken(connection, open, after, body, how).await,
        }
    }

    async fn send_whole(
        self,
        connection: &mut Connection,
        mut open: OpenRequest,
        after: After,
        body: String,
    ) -> Result<After, Gone> {
        open.status(200);
        let stamp = MonoTime::now();
        let bytes = whole_response(&body, body.len(), after);
        let _written = connection.send(&bytes)?;
        self.finished(open, stamp);
        connection.flush().await?;
        Ok(after)
    }

    /// The faults of a stream, as far as one body can have them.
    async fn send_broken(
        self,
        connection: &mut Connection,
        mut open: OpenRequest,
        after: After,
        mut body: String,
        how: Interruption,
    ) -> Result<After, Gone> {
        let announced = body.len();
        body.truncate(announced / 2);
        match how {
            Interruption::Stall(_) | Interruption::Malformed => {
                self.send_whole(connection, open, after, body).await
            }
            Interruption::InBandError => {
                open.status(500);
                open.fail();
                send_refusal(connection, &in_band_error(), after).await
            }
            Interruption::Cut => {
                open.status(200);
                let _written = connection.send(&whole_response(&body, announced, after))?;
                open.fail();
                connection.flush().await?;
                Ok(After::Close)
            }
        }
    }

    /// Waits if the headers are to come late; returns from when on the answer may run.
    async fn hold_back_headers(&mut self, connection: &mut Connection) -> Result<MonoTime, Gone> {
        let arrived = self.due;
        let Some(delay) = self.faults.slow_headers else { return Ok(arrived) };
        self.due = arrived + delay;
        self.reach_due(connection).await?;
        Ok(self.due)
    }

    /// Waits for a place in the batch, prefills, and sets the first token's due instant.
    async fn begin(
        &mut self,
        connection: &mut Connection,
        open: &mut OpenRequest,
        start: MonoTime,
    ) -> Result<Seat, Gone> {
        let (seat, seating) = Seat::take(&self.service, self.number, connection).await?;
        let cached = self.service.prefill(&self.ask.prompt, self.usage.prompt_tokens);
        self.usage.cached_tokens = cached;
        open.prefilled(self.usage.prompt_tokens, cached);
        let ttft = self.service.latency.ttft(self.usage.prompt_tokens - cached, &mut self.jitter);
        let admitted = if seating == Seating::AtOnce { start } else { MonoTime::now() };
        self.due = due_after(admitted, ttft);
        Ok(seat)
    }

    fn schedule_next(&mut self) {
        let itl = self.service.latency.itl(self.service.running(), &mut self.jitter);
        self.due = due_after(self.due, itl);
    }

    async fn reach_due(&mut self, connection: &mut Connection) -> Result<(), Gone> {
        if connection.is_overfull() {
            connection.relieve().await?;
            // The client was slow, not this server: it must not count as our lag.
            self.due = self.due.max(MonoTime::now());
        }
        connection.while_connected(self.alarm.until(self.due)).await
    }
}

/// How a stream goes on after an interruption.
enum Next {
    Continue,
    End(After),
}

/// Reads a request that may be answered: its prompt's tokens, and how many the answer may have.
fn accept(service: &Service, api: Api, request: &Request) -> Result<(Ask, u64, u64), Refusal> {
    let config = &service.config;
    if !is_authorized(config, request) {
        return Err(Refusal::wrong_key());
    }
    let ask = Ask::parse(api, &request.body)?;
    if ask.model != config.model && !config.adapters.contains(&ask.model) {
        return Err(Refusal::unknown_model(&ask.model));
    }
    let prompt_tokens = service.counter.count(&ask.prompt);
    let limit = ask.token_limit(prompt_tokens, config.context_length)?;
    Ok((ask, prompt_tokens, limit))
}

/// No delay means "as soon as possible", which is never in the past: else a server without delays
/// would report its own throughput as lag.
fn due_after(earlier: MonoTime, delay: Duration) -> MonoTime {
    if delay.is_zero() { MonoTime::now() } else { earlier + delay }
}

/// A response that announces `length` bytes of body, and holds `body`.
fn whole_response(body: &str, length: usize, after: After) -> Vec<u8> {
    let keep_alive = after == After::KeepAlive;
    let mut bytes = response_head(200, JSON, BodyFraming::Length(length), keep_alive, &[]);
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

fn in_band_error() -> Refusal {
    Refusal::new(500, "The simulator was told to fail in mid-answer.")
}
