//! A disk that is full, before the run or in its middle: what was measured is still shown, and what is wrong said once.
//!
//! The disk is a few kilobytes of memory, mounted where only the command sees it. That takes a privilege; without it
//! these tests say so and test nothing.

use std::process::Command;

use serde_json::json;

use crate::support::Bench;

/// Runs a command on a small disk, then shows how it ended and what it left there.
const SCRIPT: &str = r#"
mount -t tmpfs -o "$1" none "$2" || exit 77
disk=$2; shift 2
"$@"; echo "exit code $?"
find "$disk" -type f
"#;

struct Full {
    stdout: String,
    stderr: String,
}

/// `None` where nothing can be mounted.
fn run_on_a_disk_of(limits: &str, more: &[&str]) -> Option<Full> {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 2}));
    let disk = bench.folder.path().join("results");
    std::fs::create_dir(&disk).unwrap();
    let lengths = ["--set", "prompts.outputLength.mean=10"];
    let run = bench.command(&[&["--rate", "50", "--duration", "30"], &lengths[..], more].concat());
    let mut alone = Command::new("unshare");
    alone.args(["-m", "sh", "-c", SCRIPT, "sh", limits]).arg(&disk);
    alone.arg(run.get_program()).args(run.get_args());
    alone.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = alone.output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    if !stdout.contains("exit code") {
        println!("skipped: a small disk cannot be mounted here: {stderr}");
        return None;
    }
    Some(Full { stdout, stderr })
}

#[test]
fn a_disk_that_fills_up_ends_the_run_degraded_with_its_table() {
    let Some(Full { stdout, stderr }) = run_on_a_disk_of("size=20k", &[]) else { return };
    assert!(stdout.contains("exit code 1\n"), "{stdout}\n{stderr}");
    assert!(stdout.contains("requests/s"), "{stdout}");
    let warning = "warning degraded: the journal cannot be written: No space left on device";
    assert!(stdout.contains(warning), "{stdout}");
    assert!(stdout.contains("SUSPECT degraded"), "{stdout}");
    assert!(!stdout.contains(".part"), "{stdout}");
    assert!(stderr.contains("the run did not go as planned: the journal cannot"), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(
        last.starts_with(
            "error: the figures stand on stdout; with room again, `tokenstorm recover "
        ),
        "{stderr}"
    );
    assert_eq!(last.matches("No space left").count(), 1, "{last}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_fleet_whose_coordinator_has_a_full_disk_ends_degraded_and_its_workers_with_it() {
    let Some(Full { stdout, stderr }) = run_on_a_disk_of("size=48k", &["--workers", "3"]) else {
        return;
    };
    assert!(stdout.contains("exit code 1\n"), "{stdout}\n{stderr}");
    assert!(stdout.contains("with 3 workers"), "{stdout}");
    let warning = "warning degraded: the journal cannot be written: No space left on device";
    assert!(stdout.contains(warning), "{stdout}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_disk_that_is_full_from_the_start_is_one_line_and_leaves_nothing() {
    // Room for the configuration and not for the journal; room for the folders alone. A probe has lines of its own.
    for limits in ["size=4k", "size=4k,nr_inodes=3"] {
        let Some(Full { stdout, stderr }) = run_on_a_disk_of(limits, &["--no-probe"]) else {
            return;
        };
        assert_eq!(stdout.trim_end(), "exit code 1", "{limits}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{limits}: {stderr}");
        assert_eq!(stderr.matches("No space left").count(), 1, "{limits}: {stderr}");
    }
}

#[test]
fn records_never_fill_the_disk_that_the_figures_need() {
    let keep = ["--requests", "100", "--set", "records=all"];
    let Some(Full { stdout, stderr }) = run_on_a_disk_of("size=8m", &keep) else { return };
    assert!(stdout.contains("exit code 0\n"), "{stdout}\n{stderr}");
    let line = "0 of 100 records are in `records/`: the disk is full but for the 64 MiB";
    assert!(stdout.replace("\n  ", " ").contains(line), "{stdout}");
    assert!(stdout.contains("summary.json") && !stdout.contains(".part"), "{stdout}");
}
