//! A simulator, the command, and its results directory.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use simulator::{Running, Simulator, SimulatorConfig, Truth};
use tempfile::TempDir;

/// A simulator of this process and a folder for results.
pub(crate) struct Bench {
    pub(crate) simulator: Running,
    pub(crate) folder: TempDir,
}

impl Bench {
    /// Settings as under `simulator:` in a configuration.
    pub(crate) fn new(settings: Value) -> Self {
        let config: SimulatorConfig = serde_json::from_value(settings).unwrap();
        Self { simulator: Simulator::start(config).unwrap(), folder: TempDir::new().unwrap() }
    }

    /// `tokenstorm run` against the simulator, with prompts that are the same each time the test runs: chance in them is
    /// no reason to fail. A salt among the arguments, or of a configuration's own run, comes after and wins.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = run_in(self.folder.path());
        command.args(["--set", "benchmark.promptSalt=1"]);
        command.args(["--endpoint", &self.simulator.base_url()]).args(arguments);
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap(), self.folder.path())
    }

    /// The server's own account once nothing is open there: a thread that has written the end of an answer may be kept
    /// from booking it until the client is long gone.
    pub(crate) fn settled(&self) -> Truth {
        wait_until("the server has closed every request", || self.simulator.truth().open == 0);
        self.simulator.truth()
    }
}

/// `tokenstorm run` with its results in `folder`, and nothing inherited that could change it.
pub(crate) fn run_in(folder: &Path) -> Command {
    let mut command = tokenstorm();
    command.args(["run", "--output"]).arg(folder.join("results"));
    command
}

pub(crate) fn tokenstorm() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenstorm"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// What a command left.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The results directory, if it made one.
    pub(crate) results: Option<PathBuf>,
}

impl Ended {
    pub(crate) fn from(output: Output, folder: &Path) -> Self {
        let results = std::fs::read_dir(folder.join("results"));
        let results = results.ok().and_then(|mut found| Some(found.next()?.unwrap().path()));
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            results,
        }
    }

    pub(crate) fn all_output(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    pub(crate) fn summary(&self) -> Value {
        let results =
            self.results.as_ref().unwrap_or_else(|| panic!("no results:\n{}", self.stderr));
        serde_json::from_str(&std::fs::read_to_string(results.join("summary.json")).unwrap())
            .unwrap()
    }

    /// The summary of a run that went through: it ended with 0, or with 4 where its generator alone was late.
    pub(crate) fn went_through(&self) -> Value {
        let summary = self.summary();
        assert_exit(self.code, 0, &summary, &self.all_output());
        summary
    }
}

/// How many of the requests that a load by time has due were begun, which are all completed. What a busy machine comes to
/// after their stage's end is not sent, and booked as that (METRICS.md, windows): these are few.
pub(crate) fn begun_of(due: u64, books: &Value) -> u64 {
    let late = books["notSentBy"]["stage_ended"].as_u64().unwrap_or_default();
    let booked = (number(books, "/due"), number(books, "/completed") + late);
    assert_eq!(booked, (due, due), "{books:#}");
    assert!(late * 4 <= due, "{books:#}");
    due - late
}

/// A number in a JSON value, by a pointer such as `/books/due`.
pub(crate) fn number(value: &Value, pointer: &str) -> u64 {
    let found = value.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {value:#}"));
    found.as_u64().unwrap_or_else(|| panic!("{pointer} is {found}"))
}

/// The reasons of a summary's verdict, by their codes.
pub(crate) fn codes(summary: &Value) -> Vec<&str> {
    let reasons = summary.pointer("/verdict/reasons").and_then(Value::as_array).unwrap();
    reasons.iter().map(|reason| reason["code"].as_str().unwrap()).collect()
}

/// The exit code of a run that went as it should, on a machine that may take its cores away for a while: `wanted`, or 4
/// where the run is INVALID and says that its generator alone was late. `words` are shown where it is neither.
pub(crate) fn assert_exit(code: Option<i32>, wanted: i32, summary: &Value, words: &str) {
    let expected = if of_the_generator_alone(summary) { 4 } else { wanted };
    assert_eq!(code, Some(expected), "{words}\n{summary:#}");
}

/// Is the run invalid, and for nothing else than its generator?
pub(crate) fn of_the_generator_alone(summary: &Value) -> bool {
    let reasons = summary["verdict"]["reasons"].as_array().unwrap();
    let mut invalid = reasons.iter().filter(|reason| reason["status"] == "INVALID").peekable();
    let of_the_generator = ["generator_lag", "generator_limit"];
    invalid.peek().is_some()
        && invalid.all(|reason| of_the_generator.iter().any(|code| reason["code"] == *code))
}

/// Starts a command with its output kept.
pub(crate) fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Sends a process a signal by its name, such as `INT`.
pub(crate) fn signal(process: u32, name: &str) {
    let kill = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(kill.unwrap().success());
}

/// Waits until a condition holds; panics after a minute.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !holds() {
        assert!(tokio::time::Instant::now() < limit, "waited too long until {what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Whether there is a browser; says that the test is skipped where there is none.
pub(crate) fn has_browser() -> bool {
    let found = Command::new("chromium").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no chromium");
    }
    found
}

/// A page as the browser has it in the end, and its charts: eight or more, all drawn, and not a word on the console.
pub(crate) fn drawn_without_complaint(page: &Path) -> (String, usize) {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--v=0", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}", std::fs::canonicalize(page).unwrap().display()))
        .output()
        .unwrap();
    let [dom, log] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let complaints: Vec<_> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    let places = dom.matches("class=\"chart\"").count();
    assert!(places >= 8, "{places} charts");
    assert!(dom.contains(&format!("data-charts-drawn=\"{places}\"")), "all {places} are drawn");
    (dom, places)
}
