//! A generator without a share of the processor that it needs: it must accuse itself, not the server.
//!
//! The cause is made on purpose, so that the machine's own speed decides nothing: a client that shares one processor with
//! spinning neighbours, or one that is frozen again and again while the server goes on.

use std::{
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    fleet_support::read_json,
    support::{Bench, Ended, codes, number, signal, start, wait_until},
};

/// Processes that do nothing else than use a processor, until they are dropped.
struct Neighbours(Vec<Child>);

/// The same before they may begin: on a busy machine it takes a second to make a process, and no load waits for that.
struct Asleep(Neighbours);

impl Neighbours {
    /// They stop themselves, and wait to be woken.
    fn asleep(processor: &str, count: usize) -> Asleep {
        let asleep = || {
            let mut command = Command::new("taskset");
            command.args(["-c", processor, "sh", "-c", "kill -STOP $$; while :; do :; done"]);
            command.spawn().unwrap()
        };
        let asleep = Asleep(Self((0..count).map(|_| asleep()).collect()));
        wait_until("the neighbours are asleep", || {
            asleep.0.0.iter().all(|child| state(child.id()) == Some('T'))
        });
        asleep
    }
}

impl Asleep {
    fn spin(self) -> Neighbours {
        self.0.0.iter().for_each(|child| signal(child.id(), "CONT"));
        self.0
    }
}

/// As the kernel tells it (proc(5)): `T` of one that is stopped.
fn state(process: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already is as good.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

/// The first processor that this process may use.
fn a_processor() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    allowed.trim().chars().take_while(char::is_ascii_digit).collect()
}

/// A run on one processor that it shares, from its first request on, with three who never rest, against a server that
/// answers at once. What comes before the load is not the matter here, and gives way to the neighbours: it would take
/// half a minute beside them.
fn beside_neighbours(load: &[&str]) -> Value {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 0, "itlMs": 0}));
    let processor = a_processor();
    let short = [
        "--no-probe",
        "--set",
        "client.lanes=1",
        "--set",
        "prompts.inputLength.mean=8",
        "--set",
        "prompts.outputLength.mean=2",
    ];
    let run = bench.command(&[load, &short[..]].concat());
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &processor]).arg(run.get_program()).args(run.get_args());
    pinned.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let neighbours = Neighbours::asleep(&processor, 3);
    let running = start(pinned);
    wait_until("the load has begun", || bench.simulator.truth().received > 0);
    let _neighbours = neighbours.spin();
    Ended::from(running.wait_with_output().unwrap(), bench.folder.path()).summary()
}

/// A quarter of a processor would have to start 10,000 requests a second.
#[test]
fn a_load_beyond_what_the_generator_can_start_is_invalid() {
    let summary = beside_neighbours(&["--rate", "10000", "--duration", "2"]);
    assert!(codes(&summary).contains(&"generator_limit"), "{summary:#}");
    assert_eq!(summary.pointer("/verdict/status"), Some(&json!("INVALID")));
    assert!(number(&summary, "/books/notSentBy/stage_ended") > 0, "{summary:#}");
}

/// A light load is started whatever the neighbours do: it would take a second without any processor time to leave
/// two of two requests a second behind.
#[test]
fn a_light_load_on_the_same_processor_is_not() {
    let summary = beside_neighbours(&["--rate", "2", "--requests", "6"]);
    assert!(!codes(&summary).contains(&"generator_limit"), "{summary:#}");
    assert_eq!(number(&summary, "/books/completed"), 6, "{summary:#}");
}

/// Twenty streams with a token every 150 ms.
fn twenty_streams() -> Bench {
    Bench::new(json!({"fixed": true, "ttftMs": 20, "itlMs": 150}))
}

const TWENTY_USERS: [&str; 12] = [
    "--concurrency",
    "20",
    "--duration",
    "3",
    "--no-probe",
    "--set",
    "load.rampUp=0.1",
    "--set",
    "prompts.inputLength.mean=8",
    "--set",
    "prompts.outputLength={mean: 20, stddev: 0}",
    "--json",
];

/// Frozen for longer than the time between two tokens, a client finds a token on every stream that has waited, by
/// half that time on average: far more than 1 % of all reads are late.
#[test]
fn a_client_that_reads_late_says_so() {
    let bench = twenty_streams();
    let running = start(bench.command(&TWENTY_USERS));
    wait_until("all streams are open", || bench.simulator.truth().received >= 20);
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(100));
        signal(running.id(), "STOP");
        std::thread::sleep(Duration::from_millis(300));
        signal(running.id(), "CONT");
    }
    let ended = Ended::from(running.wait_with_output().unwrap(), bench.folder.path());
    let summary = ended.summary();
    assert!(codes(&summary).contains(&"read_lag"), "{summary:#}");
    assert!(number(&summary, "/overall/metrics/read_lag/p99") > 10_000, "{summary:#}");
}

/// A client that a busy machine does not leave in peace may well read late, and then has to say so: the kernel's own
/// account tells that its lane was ready to run and was not let, for more than 10 ms in some second.
#[test]
fn a_client_that_is_left_in_peace_does_not() {
    let bench = twenty_streams();
    let ended = bench.run(&TWENTY_USERS);
    let summary = ended.went_through();
    let series = read_json(&ended.results.unwrap().join("metrics.json"));
    let seconds = series["seconds"].as_array().unwrap().iter();
    let waited = seconds.map(|second| number(second, "/counts/laneWaitPermilleMax")).max();
    let is_late = codes(&summary).contains(&"read_lag");
    assert!(!is_late || waited >= Some(10), "{waited:?} thousandths without a core: {summary:#}");
}

/// Name and niceness of each thread of a process, as the kernel tells them (proc(5): `comm` and field 19 of `stat`).
fn threads(process: u32) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let told =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    told.map(|stat| {
        let (before, after) = stat.rsplit_once(") ").unwrap();
        let name = before.split_once('(').unwrap().1.to_owned();
        (name, after.split(' ').nth(16).unwrap().parse().unwrap())
    })
    .collect()
}

/// Whatever shares a processor with a lane delays its stamps: so all else of this process gives way to the lanes.
#[test]
fn a_lane_goes_before_all_else_of_its_process() {
    let bench = twenty_streams();
    let running = start(bench.command(&TWENTY_USERS));
    wait_until("all streams are open", || bench.simulator.truth().received >= 20);
    let threads = threads(running.id());
    let niceness = |name: &str| {
        let of_name = threads.iter().filter(|(thread, _)| thread.starts_with(name));
        of_name.map(|(_, niceness)| *niceness).collect::<Vec<_>>()
    };
    let (lanes, others) = (niceness("lane-0"), [niceness("control"), niceness("bodies")].concat());
    assert_eq!(lanes.len(), 1, "{threads:?}");
    assert!(others.len() >= 2, "{threads:?}");
    assert!(others.iter().all(|other| *other > lanes[0]), "{threads:?}");
    running.wait_with_output().unwrap();
}
