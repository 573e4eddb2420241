//! What a run leaves for people: the page, the pictures, and the verbs that read a results directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{Bench, Ended, drawn_without_complaint, has_browser, tokenstorm};

const RUN: [&str; 8] =
    ["--rate", "40", "--duration", "3", "--label", "gpu=<none>", "--note", "a & b"];

fn finished() -> (Bench, PathBuf) {
    let bench = Bench::new(json!({"ttftMs": 20, "itlMs": 4, "faults": {"status": {"rate": 0.1}}}));
    let ended = bench.run(&RUN);
    let results = ended.results.clone().unwrap_or_else(|| panic!("{}", ended.all_output()));
    (bench, results)
}

fn verb(arguments: &[&str], folder: &Path) -> Ended {
    Ended::from(tokenstorm().args(arguments).current_dir(folder).output().unwrap(), folder)
}

#[test]
fn a_run_leaves_a_page_and_pictures_and_names_them() {
    let bench = Bench::new(json!({"ttftMs": 20, "itlMs": 4}));
    let ended = bench.run(&RUN);
    let results = ended.results.clone().unwrap();
    assert!(ended.stdout.contains("report.html, pictures in"), "{}", ended.all_output());
    let page = fs::read_to_string(results.join("report.html")).unwrap();
    assert!(page.contains("gpu=&#60;none&#62;") && page.contains("a &#38; b"));
    for name in
        ["ttft_distribution", "itl_distribution", "throughput_over_time", "latency_percentiles"]
    {
        let picture = fs::read(results.join(format!("plots/{name}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG\r\n"), "{name}");
    }
    let check = ["--check", "--quiet", "SHA256SUMS"];
    let checked = Command::new("sha256sum").args(check).current_dir(&results).status();
    assert!(checked.is_ok_and(|status| status.success()));
    assert_eq!(ended.summary()["run"]["labels"], json!({"gpu": "<none>"}));
    assert!(ended.summary()["run"]["environment"]["kernel"].is_string());
}

#[test]
fn a_report_replaces_nothing_that_the_run_left_and_no_device() {
    let (bench, results) = finished();
    let journal = fs::read(results.join("journal")).unwrap();
    for name in ["journal", "summary.json"] {
        let place = results.join(name).display().to_string();
        let refused =
            verb(&["report", "--format", "md", "-i", "results", "-o", &place], bench.folder.path());
        assert_eq!(refused.code, Some(2), "{}", refused.all_output());
        assert!(
            refused.stderr.contains("a file of that run, which stays as it is"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(fs::read(results.join("journal")).unwrap(), journal);
    // A pipe that nobody reads would wait: what is at the other end is read by a thread.
    let pipe = bench.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    let place = pipe.display().to_string();
    let piped =
        verb(&["report", "--format", "md", "-i", "results", "-o", &place], bench.folder.path());
    assert_eq!(piped.code, Some(0), "{}", piped.all_output());
    assert!(reader.join().unwrap().starts_with("## "));
    assert!(!pipe.is_file());
}

#[test]
fn where_no_results_can_be_nothing_is_sent() {
    let bench = Bench::new(json!({"fixed": true}));
    let place = bench.folder.path().join("file");
    fs::write(&place, "").unwrap();
    let mut run = tokenstorm();
    run.args(["run", "--endpoint", &bench.simulator.base_url(), "--rate", "5", "--duration", "1"]);
    let ended = Ended::from(run.arg("--output").arg(&place).output().unwrap(), bench.folder.path());
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("it is no directory; choose another one"), "{}", ended.stderr);
    assert_eq!(bench.simulator.truth().received, 0);
    // Where a directory seems writable and is not.
    let mut run = tokenstorm();
    run.args(["run", "--endpoint", &bench.simulator.base_url(), "--rate", "5", "--duration", "1"]);
    let ended = Ended::from(run.args(["--output", "/proc/nope"]).output().unwrap(), &place);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("/proc/nope"), "{}", ended.stderr);
}

#[test]
fn a_report_that_cannot_be_written_is_a_mistake_of_the_command_line() {
    let (bench, _) = finished();
    let folder = bench.folder.path();
    let compare = ["compare", "--baseline", "results", "--candidate", "results"];
    fs::create_dir(folder.join("a.html")).unwrap();
    for verb_of in [&["report"][..], &compare] {
        for (output, words) in
            [("nodir/x.html", "there is no directory nodir"), ("a.html", "it is a directory")]
        {
            let ended = verb(&[verb_of, &["--output", output]].concat(), folder);
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
            assert!(ended.stderr.contains(words), "{}", ended.stderr);
        }
    }
    fs::write(
        folder.join("theirs.sh"),
        "guidellm benchmark run --target http://127.0.0.1:1 --rate 5 --rate-type constant\n",
    )
    .unwrap();
    let imported = verb(&["import", "theirs.sh", "--output", "nodir/x.yaml"], folder);
    assert_eq!(imported.code, Some(2), "{}", imported.all_output());
}

#[test]
fn every_format_follows_its_extension() {
    let (bench, results) = finished();
    let folder = bench.folder.path();
    for (name, begins) in [
        ("r.html", "<!DOCTYPE html>"),
        ("r.pdf", "%PDF-"),
        ("r.md", "## "),
        ("r.csv", "run,stage,"),
    ] {
        // The root means its newest run.
        let ended = verb(&["report", "--input", "results", "--output", name], folder);
        assert_eq!(ended.code, Some(0), "{}", ended.all_output());
        assert!(ended.stderr.contains("the newest of 1 runs"), "{}", ended.stderr);
        let content = fs::read(folder.join(name)).unwrap();
        assert!(content.starts_with(begins.as_bytes()), "{name}");
    }
    let printed =
        verb(&["report", "--input", results.to_str().unwrap(), "--format", "json"], folder);
    let again: Value = serde_json::from_str(&printed.stdout).unwrap();
    let written = fs::read_to_string(results.join("summary.json")).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(&written).unwrap(), "read back as written");
    let unclear = verb(&["report", "--output", "r.xyz"], folder);
    assert_eq!(unclear.code, Some(2));
    assert!(unclear.stderr.contains("names no format"), "{}", unclear.stderr);
}

#[test]
fn what_is_no_run_and_what_was_cut_off_is_said() {
    let (bench, results) = finished();
    let folder = bench.folder.path();
    let nothing = verb(&["report", "--input", "nowhere"], folder);
    assert_eq!((nothing.code, nothing.stderr.lines().count()), (Some(2), 1), "{}", nothing.stderr);
    fs::remove_file(results.join("summary.json")).unwrap();
    fs::remove_file(results.join("metrics.json")).unwrap();
    let cut = verb(&["report", "--format", "md"], folder);
    assert_eq!(cut.code, Some(0), "{}", cut.all_output());
    assert!(cut.stderr.contains("was cut off"), "{}", cut.stderr);
    assert!(cut.stdout.contains("| ttft | ms |"), "{}", cut.stdout);
    let shown = verb(&["results", "show"], folder);
    assert!(
        shown.stderr.contains("not as the run wrote them: metrics.json, summary.json"),
        "{}",
        shown.stderr
    );
}

#[test]
fn results_are_listed_and_removed() {
    let (bench, results) = finished();
    let folder = bench.folder.path();
    let listed = verb(&["results", "ls"], folder);
    let name = results.file_name().unwrap().to_str().unwrap();
    assert!(
        listed.stdout.contains(name) && listed.stdout.contains("gpu=<none>"),
        "{}",
        listed.stdout
    );
    let refused = verb(&["results", "rm", "results", "nowhere"], folder);
    assert_eq!((refused.code, refused.stderr.lines().count()), (Some(2), 2), "{}", refused.stderr);
    assert!(results.exists());
    let removed = verb(&["results", "rm", results.to_str().unwrap()], folder);
    assert_eq!(removed.code, Some(0), "{}", removed.stderr);
    assert!(!results.exists());
}

/// Where there is a browser: the page of a real run, its charts drawn, and not a word on its console.
#[test]
#[ignore = "long mode: needs chromium"]
fn a_browser_draws_every_chart_without_a_complaint() {
    if !has_browser() {
        return;
    }
    let (_bench, results) = finished();
    let (dom, places) = drawn_without_complaint(&results.join("report.html"));
    assert!(dom.matches("<canvas").count() >= places);
}
