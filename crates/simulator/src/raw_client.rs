//! The least that a client can do: the loop to hold a real client's cost against.
//!
//! One thread, `epoll`, non-blocking sockets, a prepared request, a byte scan for the ends of events. No
//! HTTP library, no JSON, no stamps, no histograms: what a measuring client spends beyond this is what
//! measuring costs, and the share of sockets and kernel is the same in both. It understands the answers
//! of this crate's simulator and of nothing else.

mod scan;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::Serialize;

use crate::clock::MonoTime;
use scan::{AnswerScan, Scanner};

const READ_BYTES: usize = 64 * 1024;
const EVENTS_A_TURN: usize = 1_024;
/// Events of an answer that carry no token, as this client asks: the role, the usage, `[DONE]`.
const EVENTS_WITHOUT_TOKEN: u64 = 3;
/// Sixteen tokens, in as many bytes as the synthetic prompt of a real run has.
const PROMPT: &str =
    "homes template love county upt kit illegal don pair apis selected tel aka cle guess eng";

/// A closed loop of so many streams.
#[derive(Clone, Debug)]
pub struct RawLoad {
    /// The simulator.
    pub addr: SocketAddr,
    /// Connections, each with one request at a time.
    pub streams: NonZeroUsize,
    /// Tokens that each answer is asked to have.
    pub output_tokens: u64,
    /// Model that the simulator serves.
    pub model: String,
    /// Over how long the first requests are spread.
    pub ramp_up: Duration,
    /// What comes before this is not measured.
    pub warmup: Duration,
    /// When no further request is started.
    pub end: RawEnd,
}

/// When no further request is started; those that are open are read to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawEnd {
    /// So long after the warm-up.
    After(Duration),
    /// When so many were started.
    Requests(u64),
}

/// What the loop did between the end of its warm-up and its end, and what that cost its thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RawReport {
    /// Answers read to their end.
    pub requests: u64,
    /// Events that carried a token.
    pub events: u64,
    /// Time that passed.
    pub wall_seconds: f64,
    /// CPU time in the program.
    pub user_seconds: f64,
    /// CPU time in the kernel.
    pub system_seconds: f64,
    /// Reads that brought something.
    pub reads: u64,
    /// `events` by time.
    pub events_per_second: f64,
    /// `requests` by time.
    pub requests_per_second: f64,
    /// CPU time by `events`; `None` without any.
    pub cpu_us_per_event: Option<f64>,
}

/// Why the loop could not go on.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// The server closed a connection in an answer.
    #[error("the server closed a connection before the end of an answer")]
    Closed,
    /// The server answered with something else than a stream of status 200.
    #[error("not an answer with status 200: {0:?}")]
    Answer(String),
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> RawError {
    move |source| RawError::System { what, source }
}

impl RawLoad {
    /// Offers the load on the calling thread and says what it cost.
    ///
    /// # Errors
    /// A refused connection, and every answer that is not the simulator's stream.
    pub fn run(&self) -> Result<RawReport, RawError> {
        let mut run = Run::connect(self)?;
        run.drive()?;
        Ok(run.report())
    }

    fn request(&self) -> Vec<u8> {
        let body = serde_json::json!({
            "model": self.model,
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": self.output_tokens,
            "stream": true,
            "stream_options": {"include_usage": true},
        })
        .to_string();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\nuser-agent: tokenstorm-raw\r\n\
             accept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.addr,
            body.len()
        )
        .into_bytes()
    }
}

/// Counters at an instant.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at: MonoTime,
    cpu: [Duration; 2],
    sums: Sums,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    requests: u64,
    events: u64,
    reads: u64,
}

struct Stream {
    socket: TcpStream,
    answer: AnswerScan,
}

struct Run<'a> {
    load: &'a RawLoad,
    request: Vec<u8>,
    scanner: Scanner,
    epoll: Epoll,
    streams: Vec<Stream>,
    buffer: Vec<u8>,
    began: MonoTime,
    /// Streams that had their first request.
    begun: usize,
    started: u64,
    open: usize,
    sums: Sums,
    warm: Option<Mark>,
    done: Option<Mark>,
}

impl<'a> Run<'a> {
    fn connect(load: &'a RawLoad) -> Result<Self, RawError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| failed("make an epoll")(errno.into()))?;
        let mut streams = Vec::with_capacity(load.streams.get());
        for number in 0..load.streams.get() {
            let socket = TcpStream::connect(load.addr).map_err(failed("connect"))?;
            socket.set_nodelay(true).map_err(failed("switch off Nagle's algorithm"))?;
            socket.set_nonblocking(true).map_err(failed("make a socket non-blocking"))?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
            epoll.add(&socket, event).map_err(|errno| failed("watch a socket")(errno.into()))?;
            streams.push(Stream { socket, answer: AnswerScan::default() });
        }
        Ok(Self {
            load,
            request: load.request(),
            scanner: Scanner::new(),
            epoll,
            streams,
            buffer: vec![0; READ_BYTES],
            began: MonoTime::now(),
            begun: 0,
            started: 0,
            open: 0,
            sums: Sums::default(),
            warm: None,
            done: None,
        })
    }

    fn drive(&mut self) -> Result<(), RawError> {
        let mut ready = [EpollEvent::empty(); EVENTS_A_TURN];
        loop {
            let wait = self.turn(MonoTime::now())?;
            if self.done.is_some() && self.open == 0 {
                return Ok(());
            }
            let count = match self.epoll.wait(&mut ready, wait) {
                Err(nix::Error::EINTR) => 0,
                waited => waited.map_err(|errno| failed("wait for sockets")(errno.into()))?,
            };
            for event in &ready[..count] {
                self.read(usize::try_from(event.data()).expect("it was an index of `streams`"))?;
            }
        }
    }

    /// Sets marks and begins the streams that are due; how long to wait then.
    fn turn(&mut self, now: MonoTime) -> Result<EpollTimeout, RawError> {
        let elapsed = now.since(self.began);
        if self.warm.is_none() && elapsed >= self.load.warmup {
            self.warm = Some(self.mark(now));
        }
        if self.done.is_none() && self.is_over(now) {
            self.done = Some(self.mark(now));
        }
        while self.begun < self.streams.len() && self.may_start() {
            if elapsed < self.start_of(self.begun) {
                // A millisecond is as fine as this call waits.
                return Ok(EpollTimeout::from(1_u8));
            }
            self.begun += 1;
            self.send(self.begun - 1)?;
        }
        Ok(EpollTimeout::from(10_u8))
    }

    fn start_of(&self, stream: usize) -> Duration {
        self.load.ramp_up.mul_f64(stream as f64 / self.streams.len() as f64)
    }

    /// The window begins where its mark was made, be that late, and is as long as it was asked to be.
    fn is_over(&self, now: MonoTime) -> bool {
        match self.load.end {
            RawEnd::After(duration) => self.warm.is_some_and(|warm| now.since(warm.at) >= duration),
            RawEnd::Requests(requests) => self.sums.requests >= requests,
        }
    }

    fn may_start(&self) -> bool {
        let RawEnd::Requests(requests) = self.load.end else { return self.done.is_none() };
        self.started < requests
    }

    fn mark(&self, at: MonoTime) -> Mark {
        let usage = getrusage(UsageWho::RUSAGE_THREAD);
        let usage = usage.expect("a thread may ask for its own usage");
        let cpu = [usage.user_time(), usage.system_time()].map(duration);
        Mark { at, cpu, sums: self.sums }
    }

    fn send(&mut self, stream: usize) -> Result<(), RawError> {
        self.started += 1;
        self.open += 1;
        // An idle connection's socket buffer holds a request whole.
        self.streams[stream].socket.write_all(&self.request).map_err(failed("write a request"))
    }

    fn read(&mut self, number: usize) -> Result<(), RawError> {
        let stream = &mut self.streams[number];
        let count = match stream.socket.read(&mut self.buffer) {
            Ok(0) => return Err(RawError::Closed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            read => read.map_err(failed("read an answer"))?,
        };
        let bytes = &self.buffer[..count];
        let seen = stream.answer.push(&self.scanner, bytes).map_err(RawError::Answer)?;
        self.sums.reads += 1;
        self.sums.events += seen.events;
        if seen.is_end {
            self.sums.requests += 1;
            self.open -= 1;
            if self.may_start() {
                self.send(number)?;
            }
        }
        Ok(())
    }

    fn report(&self) -> RawReport {
        let warm = self.warm.unwrap_or_default();
        let done = self.done.unwrap_or(warm);
        let wall_seconds = done.at.since(warm.at).as_secs_f64();
        let [user, system] =
            [0, 1].map(|part| done.cpu[part].saturating_sub(warm.cpu[part]).as_secs_f64());
        let requests = done.sums.requests - warm.sums.requests;
        let all_events = done.sums.events - warm.sums.events;
        let events = all_events.saturating_sub(requests * EVENTS_WITHOUT_TOKEN);
        RawReport {
            requests,
            events,
            wall_seconds,
            user_seconds: user,
            system_seconds: system,
            reads: done.sums.reads - warm.sums.reads,
            events_per_second: events as f64 / wall_seconds,
            requests_per_second: requests as f64 / wall_seconds,
            cpu_us_per_event: (events > 0).then(|| (user + system) * 1e6 / events as f64),
        }
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
