//! Processes of a fleet whose words are read while they live.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Bench, tokenstorm};

/// The cookie of a test's fleet.
pub(crate) const COOKIE: &str = "c00c1e-0123456789abcdef-0123456789abcdef";
/// Longer than anything here takes, on a machine that has other work.
const LIMIT: Duration = Duration::from_secs(90);

/// A process; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Words,
    stderr: Words,
}

/// What a process has written so far.
struct Words {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Words {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let mut text = kept.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn all(&mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.so_far()
    }
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = Words::of(child.stdout.take().unwrap());
        let stderr = Words::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The names of its threads, as far as they are still there when they are asked for.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        };
        tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
    }

    /// Everything on stderr so far.
    pub(crate) fn words(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until stderr has these words.
    pub(crate) fn said(&self, what: &str) {
        self.until(what, |words| words.contains(what));
    }

    /// Waits until its progress is told of that second of the run or a later one: a busy machine leaves seconds out,
    /// even the load's last ("12 s drain" follows "8/11 s hold" there).
    pub(crate) fn reached(&self, second: u32) {
        let told = |line: &str| {
            let (second, rest) = line.split_at(line.find(|c: char| !c.is_ascii_digit())?);
            let is_progress = rest.starts_with('/') || rest.starts_with(" s ");
            second.parse::<u32>().ok().filter(|_| is_progress)
        };
        let what = format!("second {second}");
        self.until(&what, |words| words.lines().filter_map(told).any(|told| told >= second));
    }

    fn until(&self, what: &str, reached: impl Fn(&str) -> bool) {
        let limit = Instant::now() + LIMIT;
        while !reached(&self.words()) {
            assert!(Instant::now() < limit, "never said {what:?}, but:\n{}", self.words());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its end, which it finds itself.
    pub(crate) fn finished(mut self) -> Finished {
        let limit = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < limit, "it does not end:\n{}", self.words());
            std::thread::sleep(Duration::from_millis(10));
        };
        let (stdout, stderr) = (self.stdout.all(), self.stderr.all());
        Finished { code: status.code(), stdout, stderr }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `tokenstorm coordinator` on any port of loopback, against the bench's simulator.
pub(crate) fn coordinator(bench: &Bench, workers: u32, more: &[&str]) -> Process {
    Process::start(coordinator_command(bench, workers, more))
}

pub(crate) fn coordinator_command(bench: &Bench, workers: u32, more: &[&str]) -> Command {
    let mut command = tokenstorm();
    command.args(["coordinator", "--expect-workers", &workers.to_string()]);
    if !more.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.args(["--set", "benchmark.promptSalt=1"]);
    command.args(["--endpoint", &bench.simulator.base_url()]).args(more);
    command.arg("--output").arg(bench.folder.path().join("results"));
    command.current_dir(bench.folder.path()).env("TOKENSTORM_COOKIE", COOKIE);
    command
}

/// Where it listens.
pub(crate) fn port(coordinator: &Process) -> u16 {
    coordinator.said("workers are here");
    let words = coordinator.words();
    let line = words.lines().find(|line| line.starts_with("listening on ")).unwrap();
    line.rsplit(':').next().unwrap().parse().unwrap()
}

/// `tokenstorm worker`, dialling that port.
pub(crate) fn worker(port: u16, more: &[&str]) -> Process {
    Process::start(worker_command(port, more))
}

pub(crate) fn worker_command(port: u16, more: &[&str]) -> Command {
    let mut command = tokenstorm();
    command.args(["worker", "--coordinator", &format!("127.0.0.1:{port}")]).args(more);
    command.args(["--processors", "1"]).env("TOKENSTORM_COOKIE", COOKIE);
    command
}

/// The only results directory in a folder.
pub(crate) fn results_in(folder: &Path) -> PathBuf {
    let mut found = std::fs::read_dir(folder.join("results")).unwrap();
    found.next().unwrap_or_else(|| panic!("no results in {}", folder.display())).unwrap().path()
}

pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A port that nobody listens at, and that nobody gets who asks for any: under the range that Linux gives out from
/// (32,768 by default), and each process looks from a place of its own.
pub(crate) fn free_port() -> u16 {
    let from = u16::try_from(std::process::id() % 1_000).unwrap();
    let mut ports = (0..1_000).map(|step| 12_000 + (from + step) % 1_000 * 20);
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// Why a process ended as it did.
pub(crate) fn errors(words: &str) -> Vec<&str> {
    words.lines().filter(|line| line.starts_with("error: ")).collect()
}

/// Lines that name a problem: errors and warnings.
pub(crate) fn complaints(words: &str) -> Vec<&str> {
    let is = |line: &&str| line.starts_with("error: ") || line.contains(" WARN ");
    words.lines().filter(is).collect()
}
