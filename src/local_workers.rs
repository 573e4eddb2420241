//! Worker processes of this machine, started and ended by the run that they work for.
//!
//! Each is this program again. What it must know in secret (the cookie, the target's credentials) goes through its
//! standard input, so it is in no command line and no environment; the input stays open as long as this process
//! lives, and a worker whose input has closed ends, however this process ended. What it has to say to people comes back
//! through a pipe and is said by this process, in whole lines and under its name: a screen may own the terminal.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    num::NonZeroU32,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::Duration,
};

use client::Credentials;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{telemetry::Source, told};

/// Time for a worker whose input has closed, and that may have something to tell a collector.
const FAREWELL: Duration = Duration::from_secs(7);
/// How often its end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a user has set for workers of another fleet.
const OF_OTHER_FLEETS: [&str; 7] = [
    "TOKENSTORM_COORDINATOR",
    "TOKENSTORM_COOKIE",
    "TOKENSTORM_COOKIE_FILE",
    "TOKENSTORM_CERT",
    "TOKENSTORM_KEY",
    "TOKENSTORM_CA",
    "JOB_COMPLETION_INDEX",
];

/// How many, and what part of the machine each has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) count: NonZeroU32,
    /// The machine is divided among as many.
    pub(crate) divided_by: NonZeroU32,
}

/// The longest line that is passed on in one piece.
const LONGEST_LINE_BYTES: u64 = 64 << 10;

/// See the module's documentation; those that are left are killed when this is dropped.
pub(crate) struct LocalWorkers(Vec<LocalWorker>);

struct LocalWorker {
    child: Child,
    /// Passes on what it says, to its end.
    listening: Option<JoinHandle<()>>,
}

impl LocalWorkers {
    /// Starts them; they find the coordinator at `address`.
    pub(crate) fn start(
        share: Share,
        address: SocketAddr,
        inherited: &Inherited,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let processors = std::thread::available_parallelism()?.get();
        let Share { count, divided_by } = share;
        let each = (processors / divided_by.get() as usize).max(1);
        let mut all = Self(Vec::new());
        for ordinal in 0..count.get() {
            let mut command = Command::new(&program);
            command
                .args(["worker", "--from-parent", "--coordinator", &address.to_string()])
                .args(["--ordinal", &ordinal.to_string(), "--processors", &each.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped());
            for name in OF_OTHER_FLEETS {
                command.env_remove(name);
            }
            // Ctrl-C is for the coordinator alone: it lets open requests end.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            let mut child = command.spawn()?;
            let words = child.stderr.take();
            let input = child.stdin.as_mut().map(|input| writeln!(input, "{}", inherited.text()));
            all.0.push(LocalWorker { child, listening: None });
            input.transpose()?;
            let thread = std::thread::Builder::new().name(format!("worker-{ordinal}"));
            let listening = words.map(|words| {
                thread.spawn(move || pass_on(words, |line| told::tell(named(ordinal, line))))
            });
            if let Some(worker) = all.0.last_mut() {
                worker.listening = listening.transpose()?;
            }
        }
        Ok(all)
    }

    /// Lets them end, and sees to it.
    pub(crate) async fn end(mut self) {
        self.0.iter_mut().for_each(|worker| drop(worker.child.stdin.take()));
        let deadline = Instant::now() + FAREWELL;
        let runs = |worker: &mut LocalWorker| matches!(worker.child.try_wait(), Ok(None));
        while self.0.iter_mut().any(runs) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for LocalWorkers {
    fn drop(&mut self) {
        for LocalWorker { child, listening } in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
            let _ = listening.take().map(JoinHandle::join);
        }
    }
}

/// Which worker says it.
fn named(ordinal: u32, line: &str) -> String {
    format!("worker {ordinal}: {line}")
}

/// Hands over each line of what is said, to its end.
fn pass_on(words: impl Read, mut say: impl FnMut(&str)) {
    let mut words = BufReader::new(words);
    let mut line = Vec::new();
    loop {
        line.clear();
        match words.by_ref().take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            say(text);
        }
    }
}

/// What a worker gets from the process that started it: one line of JSON.
pub(crate) struct Inherited {
    pub(crate) cookie: String,
    pub(crate) credentials: Credentials,
    pub(crate) telemetry: Source,
}

impl Inherited {
    fn text(&self) -> Value {
        let Self { cookie, credentials, telemetry } = self;
        json!({
            "cookie": cookie,
            "apiKey": credentials.api_key,
            "headers": credentials.headers,
            "body": credentials.body,
            "otlp": telemetry.endpoint,
            "otel": telemetry.otel,
        })
    }

    /// `None` for what is no such line.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
        let pair = |pair: &Value| {
            Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()))
        };
        let pairs =
            |key: &str| value.get(key)?.as_array()?.iter().map(pair).collect::<Option<Vec<_>>>();
        Some(Self {
            cookie: text("cookie")?,
            credentials: Credentials {
                api_key: text("apiKey"),
                headers: pairs("headers")?,
                body: text("body"),
            },
            telemetry: Source::new(text("otlp"), pairs("otel")?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_passed_on_in_lines() {
        let mut said = Vec::new();
        pass_on(&b"first\r\n\nsecond \xff\nno end"[..], |line| said.push(named(3, line)));
        assert_eq!(said, ["worker 3: first", "worker 3: second \u{fffd}", "worker 3: no end"]);
        let long = vec![b'a'; usize::try_from(LONGEST_LINE_BYTES).unwrap() + 1];
        let mut lengths = Vec::new();
        pass_on(long.as_slice(), |line| lengths.push(line.len()));
        assert_eq!(lengths, [65_536, 1]);
    }

    #[test]
    fn what_a_worker_is_told_is_read_as_it_was_written() {
        let credentials = Credentials {
            api_key: Some("sk-1".to_owned()),
            headers: vec![("x-pass".to_owned(), "p".to_owned())],
            body: None,
        };
        let otel = vec![("OTEL_EXPORTER_OTLP_HEADERS".to_owned(), "x-key=k".to_owned())];
        let telemetry = Source::new(Some("http://collector:4318".to_owned()), otel);
        let told = Inherited { cookie: "cookie".to_owned(), credentials, telemetry };
        let read = Inherited::read(&told.text().to_string()).unwrap();
        assert_eq!((read.cookie, read.credentials), (told.cookie, told.credentials));
        assert!(read.telemetry == told.telemetry);
        assert!(Inherited::read("").is_none());
        assert!(Inherited::read("{}").is_none());
    }
}
