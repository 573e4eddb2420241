//! Sweeps with real processes: one table over all points, and the same one after a kill in the middle.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    fleet_support::read_json,
    support::{
        Bench, Ended, of_the_generator_alone, run_in, signal, start, tokenstorm, wait_until,
    },
};

const GRID: &str = "{load.rate: [20, 40, 60], prompts.prefixRatio: [0, 0.25, 0.5]}";

/// 3 × 3 points of half a second.
fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![
        "--duration",
        "0.5",
        "--set",
        "prompts.inputLength.mean=16",
        "--set",
        "prompts.outputLength.mean=2",
        "--set",
        "sweep.pause=0",
        "--no-probe",
    ];
    all.extend(more);
    all
}

pub(crate) fn server() -> Bench {
    Bench::new(json!({"fixed": true, "ttftMs": 2, "itlMs": 1}))
}

pub(crate) fn folder_of(bench: &Bench) -> Option<PathBuf> {
    let results = std::fs::read_dir(bench.folder.path().join("results")).ok()?;
    results.map(|entry| entry.unwrap().path()).find(|path| path.join("runs").is_dir())
}

pub(crate) fn table(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("sweep.json")).unwrap()).unwrap()
}

/// What of a table does not depend on how long an answer took: points, books, offered rates, in the table's order.
pub(crate) fn account(table: &Value) -> Vec<(String, u64, Value, Value)> {
    let runs = table["runs"].as_array().unwrap();
    let line = |run: &Value| {
        let due = run["books"]["due"].as_u64().unwrap_or(0);
        (
            run["id"].as_str().unwrap().to_owned(),
            due,
            run["overrides"].clone(),
            run["figures"]["offered_per_s"].clone(),
        )
    };
    runs.iter().map(line).collect()
}

pub(crate) fn whole_runs(folder: &Path) -> BTreeMap<String, Value> {
    let runs = table(folder)["runs"].as_array().unwrap().clone();
    runs.iter()
        .filter(|run| !run["verdict"].is_null())
        .map(|run| (run["directory"].as_str().unwrap().to_owned(), run.clone()))
        .collect()
}

/// It ended with 0, or with 4 for runs that this machine kept the generator from.
fn went_through(ended: &Ended, folder: &Path) {
    let of_run = |run: &String| read_json(&folder.join(run).join("summary.json"));
    let is_late = || whole_runs(folder).keys().any(|run| of_the_generator_alone(&of_run(run)));
    let expected = ended.code == Some(0) || ended.code == Some(4) && is_late();
    assert!(expected, "{:?}: {}", ended.code, ended.all_output());
}

#[test]
fn a_sweep_that_is_killed_and_gone_on_with_gives_the_same_table() {
    let grid = format!("sweep.grid={GRID}");
    let whole = server();
    let ended = whole.run(&arguments(&["--set", &grid]));
    let folder = folder_of(&whole).unwrap();
    went_through(&ended, &folder);
    let reference = table(&folder);
    assert_eq!(reference["runs"].as_array().unwrap().len(), 9);
    assert_eq!(account(&reference)[0].1, 10, "20 a second for half a second");

    let bench = server();
    let mut first = start(bench.command(&arguments(&["--set", &grid])));
    // In the middle of a run, at whatever instant that is.
    wait_until("four runs are done", || bench.simulator.truth().received > 10 + 10 + 10 + 20 + 5);
    signal(first.id(), "KILL");
    first.wait().unwrap();
    let folder = folder_of(&bench).unwrap();
    let before = whole_runs(&folder);
    assert!((3..9).contains(&before.len()), "{before:#?}");

    let shown = folder.display().to_string();
    let ended = bench.run(&arguments(&["--set", &grid, "--resume-sweep", &shown]));
    went_through(&ended, &folder);
    assert!(ended.stderr.contains("of 9 runs are done already"), "{}", ended.stderr);
    let after = table(&folder);
    assert_eq!(account(&after), account(&reference));
    let runs = whole_runs(&folder);
    assert_eq!(runs.len(), 9);
    for (directory, run) in before {
        assert_eq!(runs.get(&directory), Some(&run), "what was done is not run again");
    }
    // Once more: nothing is left, and nothing changes.
    let received = bench.simulator.truth().received;
    let ended = bench.run(&arguments(&["--set", &grid, "--resume-sweep", &shown]));
    went_through(&ended, &folder);
    assert_eq!(bench.simulator.truth().received, received);
    assert_eq!(table(&folder), after);
    for file in ["sweep.csv", "sweep.md", "sweep.html", "plots/sweep_ttft.png"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let csv = std::fs::read_to_string(folder.join("sweep.csv")).unwrap();
    assert_eq!(csv.lines().count(), 10);
    assert!(
        csv.starts_with("id,load.rate,prompts.prefixRatio,repeat,directory,verdict,due"),
        "{csv}"
    );
}

#[test]
fn a_sweep_that_is_interrupted_says_how_it_goes_on() {
    let bench = server();
    let slow = [
        "--set",
        "sweep.grid={load.rate: [10, 20]}",
        "--set",
        "sweep.repeats=2",
        "--set",
        "prompts.outputLength.mean=2",
        "--duration",
        "20",
        "--no-probe",
    ];
    let running = start(bench.command(&slow));
    wait_until("the first run runs", || bench.simulator.truth().received > 3);
    signal(running.id(), "INT");
    let ended = Ended::from(running.wait_with_output().unwrap(), bench.folder.path());
    assert_eq!(ended.code, Some(130), "{}", ended.all_output());
    assert!(
        ended.stderr.contains("0 of 4 runs are done: the sweep goes on with `--resume-sweep "),
        "{}",
        ended.stderr
    );
    assert!(ended.stdout.contains("load.rate=10"), "{}", ended.stdout);
}

#[test]
fn overrides_come_from_a_file_too_and_a_wrong_path_sends_nothing() {
    let bench = server();
    let file = bench.folder.path().join("points.json");
    std::fs::write(&file, r#"[{"load.rate": 20}, {"load.rate": null, "load.concurrency": 2}]"#)
        .unwrap();
    let shown = file.display().to_string();
    let ended = bench.run(&arguments(&["--sweep", &shown]));
    let folder = folder_of(&bench).unwrap();
    went_through(&ended, &folder);
    assert_eq!(table(&folder)["runs"].as_array().unwrap().len(), 2);

    let received = bench.simulator.truth().received;
    std::fs::write(&file, r#"{"load.raet": [20]}"#).unwrap();
    let ended = bench.run(&arguments(&["--sweep", &shown]));
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("points.json: unknown key `load.raet`; did you mean `load.rate`?"),
        "{}",
        ended.stderr
    );
    assert_eq!(bench.simulator.truth().received, received);
}

#[test]
fn a_sweep_is_not_gone_on_with_under_another_configuration() {
    let bench = server();
    let grid = ["--set", "sweep.grid={load.rate: [20, 30]}"];
    let ended = bench.run(&arguments(&grid));
    let folder = folder_of(&bench).unwrap();
    went_through(&ended, &folder);
    let shown = folder.display().to_string();
    let without_sweep = bench.folder.path().join("other.yaml");
    std::fs::write(&without_sweep, "load: {rate: 20}\n").unwrap();
    let other_file = without_sweep.to_str().unwrap();
    let ended = bench.run(&["--config", other_file, "--resume-sweep", &shown]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("that --config names has no sweep"), "{}", ended.stderr);
    let other =
        [&grid[..], &["--set", "prompts.outputLength.mean=3", "--resume-sweep", &shown]].concat();
    let ended = bench.run(&arguments(&other));
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("the first difference: mean: 3"), "{}", ended.stderr);
}

/// What was begun with flags goes on without them: the directory has it all.
#[test]
fn a_sweep_is_gone_on_with_by_its_directory_alone() {
    let bench = server();
    let ended = bench.run(&arguments(&["--set", "sweep.grid={load.rate: [20, 30]}"]));
    let folder = folder_of(&bench).unwrap();
    went_through(&ended, &folder);
    let (before, lost) = (table(&folder), folder.join(whole_runs(&folder).keys().next().unwrap()));
    std::fs::remove_dir_all(&lost).unwrap();
    let resume = |folder: &Path| {
        let mut command = run_in(bench.folder.path());
        command.arg("--resume-sweep").arg(folder);
        Ended::from(command.output().unwrap(), bench.folder.path())
    };
    let ended = resume(&folder);
    went_through(&ended, &folder);
    assert!(ended.stderr.contains("1 of 2 runs are done already"), "{}", ended.stderr);
    assert_eq!(account(&table(&folder)), account(&before));
    for (place, words) in [
        (folder.join("nowhere"), "there is no such directory"),
        (folder.join("runs"), "it is no sweep's directory"),
    ] {
        let ended = resume(&place);
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    // Who looks at its results finds them.
    let verb = |arguments: &[&str]| {
        let output = tokenstorm().args(arguments).current_dir(&bench.folder).output().unwrap();
        Ended::from(output, bench.folder.path())
    };
    let listed = verb(&["results", "ls"]);
    assert!(listed.stdout.contains("a sweep of 2 runs: `results ls results/"), "{}", listed.stdout);
    let shown = folder.display().to_string();
    let own = verb(&["results", "ls", &shown]);
    let listed = ["VALID", "SUSPECT"].map(|verdict| own.stdout.matches(verdict).count());
    assert_eq!(listed.iter().sum::<usize>(), 2, "also an INVALID one: {}", own.stdout);
    for arguments in [
        &["results", "show", &shown][..],
        &["report", "--input", &shown],
        &["compare", "--baseline", &shown, "--candidate", &shown],
    ] {
        let ended = verb(arguments);
        assert_eq!(ended.code, Some(2), "{}", ended.all_output());
        assert!(
            ended.stderr.contains("2 of a sweep or a search: name one of them, such as"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_plan_of_a_sweep_lists_its_points() {
    let output = tokenstorm()
        .args([
            "plan",
            "--endpoint",
            "http://h",
            "--set",
            "sweep.grid={load.rate: [2, 4]}",
            "--set",
            "sweep.repeats=3",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("sweep: 2 points, 3 of each, 6 runs in all"), "{text}");
    assert!(text.contains("load.rate=4"), "{text}");
}
