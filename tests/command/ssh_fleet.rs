//! `scripts/ssh-fleet.sh`, with a stand-in for ssh that runs everything here.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::json;

use crate::{
    fleet_support::{free_port, read_json, results_in},
    support::{Bench, assert_exit, number},
};

/// As ssh: options, a host, a command for its shell. It keeps a list of the commands, and refuses the host `down`.
const STAND_IN: &str = r#"#!/bin/sh
while :; do case $1 in -o | -R) shift 2 ;; -*) shift ;; *) break ;; esac; done
host=$1
shift
[ "$host" != down ] || { echo "no route to host" >&2; exit 255; }
printf '%s: %s\n' "$host" "$*" >>"$STAND_IN_LOG"
SSH_CONNECTION="127.0.0.1 50022 127.0.0.1 22" exec sh -c "$*"
"#;
const KEY: &str = "sk-none-of-your-business";

struct Hosts {
    bench: Bench,
    ssh: PathBuf,
}

impl Hosts {
    fn new() -> Self {
        let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1, "apiKey": KEY}));
        let folder = bench.folder.path();
        let ssh = folder.join("stand-in");
        fs::write(&ssh, STAND_IN).unwrap();
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.join("far")).unwrap();
        let target = bench.simulator.base_url();
        let run = format!(
            "benchmark: {{name: hosts, requests: 80}}\ntarget: {{endpoint: '{target}'}}\n\
             load: {{rate: 40}}\nprompts: {{outputLength: {{mean: 4}}}}\n"
        );
        fs::write(folder.join("run.yaml"), run).unwrap();
        Self { bench, ssh }
    }

    fn run(&self, hosts: &str, more: &[&str]) -> Output {
        let folder = self.bench.folder.path();
        fs::write(folder.join("hosts.txt"), hosts).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/ssh-fleet.sh");
        let mut command = Command::new(script);
        command.args(["hosts.txt", "run.yaml"]).args(more).current_dir(folder).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("TMPDIR", folder.join("far")).env("STAND_IN_LOG", folder.join("log"));
        command.env("SSH", &self.ssh).env("TOKENSTORM", env!("CARGO_BIN_EXE_tokenstorm"));
        command.env("OPENAI_API_KEY", KEY).output().unwrap()
    }

    fn left_behind(&self) -> usize {
        fs::read_dir(self.bench.folder.path().join("far")).unwrap().count()
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn hosts_offer_one_run_and_nothing_stays_on_them() {
    let hosts = Hosts::new();
    let port = free_port().to_string();
    let ended = hosts.run("# two of them\none\nuser@two  # the second\n", &["--port", &port]);
    let folder = hosts.bench.folder.path();
    let summary = read_json(&results_in(folder).join("summary.json"));
    assert_exit(ended.status.code(), 0, &summary, &words(&ended));
    assert_eq!(number(&summary, "/books/completed"), 80, "{summary:#}");
    let workers = summary["workers"].as_array().unwrap();
    let names: Vec<_> = workers.iter().map(|worker| worker["host"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "user@two"]);

    assert_eq!(hosts.left_behind(), 0, "{}", words(&ended));
    let commands = fs::read_to_string(folder.join("log")).unwrap();
    assert!(commands.contains("one: cd "), "{commands}");
    assert!(!commands.contains(KEY) && !words(&ended).contains(KEY), "{commands}");
}

#[test]
fn a_host_that_cannot_be_reached_is_named_and_the_others_are_cleared_out() {
    let hosts = Hosts::new();
    let ended = hosts.run("one\ndown\n", &["--address", "127.0.0.1"]);
    assert_eq!(ended.status.code(), Some(1), "{}", words(&ended));
    assert!(words(&ended).contains("error: down cannot be made a worker"), "{}", words(&ended));
    assert_eq!(hosts.left_behind(), 0);
    assert_eq!(hosts.bench.simulator.truth().received, 0);
}

#[test]
fn what_is_missing_is_one_line() {
    let hosts = Hosts::new();
    for (file, more, line) in [
        ("# nobody\n", &[][..], "error: hosts.txt names no host"),
        ("one\n", &["--port", "x"][..], "error: --port takes a number, not `x`"),
        ("one\n", &["--prot", "1"][..], "error: --prot is no option: --help lists them"), // misspelt
    ] {
        let ended = hosts.run(file, more);
        assert_eq!(ended.status.code(), Some(2), "{}", words(&ended));
        assert_eq!(words(&ended).trim(), line);
    }
}
