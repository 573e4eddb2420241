//! What leaves for other tools: the interval log and their own files, read back by the libraries that they use.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{Bench, Ended, number, tokenstorm};

/// One stage, no warm-up: the headline is all that was recorded.
fn finished() -> (Bench, PathBuf) {
    let bench = Bench::new(json!({"ttftMs": 20, "itlMs": 4}));
    let ended = bench.run(&["--rate", "40", "--requests", "120", "--label", "gpu=h100"]);
    let results = ended.results.clone().unwrap_or_else(|| panic!("{}", ended.all_output()));
    (bench, results)
}

pub(crate) fn report(results: &Path, arguments: &[&str]) -> Ended {
    let folder = results.parent().unwrap().parent().unwrap();
    let mut command = tokenstorm();
    command.args(["report", "--input"]).arg(results).args(arguments).current_dir(folder);
    Ended::from(command.output().unwrap(), folder)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The Python of the gate's tools, else the machine's.
fn python() -> Command {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let own = cache.map(|cache| cache.join("tokenstorm/python/bin/python"));
    let python = own.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("python3"));
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-exports.py"));
    command
}

/// What the script says; `None` where Python or a package of it is missing.
pub(crate) fn checked(arguments: &[&Path], verb: &str) -> Option<(Option<i32>, String)> {
    let output = python().arg(verb).args(arguments).output().ok()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(3) {
        eprintln!("skipped: {words}");
        return None;
    }
    assert!(output.status.code() != Some(2) && !words.contains("Traceback"), "{words}");
    Some((output.status.code(), String::from_utf8(output.stdout).unwrap()))
}

/// ⌈q·n⌉ is ours; theirs rounds to the nearest.
fn ranks_agree(q: f64, count: u64) -> bool {
    let product = q * count as f64;
    (product - 1e-9).ceil() as u64 == (product + 0.5).floor() as u64
}

#[test]
fn the_interval_log_is_read_by_hdr_histogram_bucket_by_bucket() {
    let (_bench, results) = finished();
    let ended = report(&results, &["--format", "hdr"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    let log = results.join("intervals.hlog");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("#[Histogram log format version 1.3]\n"));
    let Some((_, found)) = checked(&[&log], "hlog") else { return };
    let found: Value = serde_json::from_str(&found).unwrap();
    let (metrics, summary) =
        (json_of(&results.join("metrics.json")), json_of(&results.join("summary.json")));
    let ours = metrics["stages"][0]["histograms"].as_object().unwrap();
    assert!(ours.len() > 15, "{}", ours.len());
    let mut compared = 0;
    for (name, histogram) in ours.iter().filter(|(_, histogram)| histogram["unit"] != "per_s") {
        assert_eq!(found[name]["count"], histogram["count"], "{name}");
        assert_eq!(found[name]["buckets"], histogram["buckets"], "{name}");
        let (count, max) = (number(histogram, "/count"), number(histogram, "/max"));
        for (key, percent) in [("p50", "50.0"), ("p90", "90.0"), ("p99", "99.0")] {
            let q: f64 = percent.parse::<f64>().unwrap() / 100.0;
            let figures = &summary["stages"][0]["metrics"][name];
            let Some(figure) = figures[key].as_u64().filter(|_| ranks_agree(q, count)) else {
                continue;
            };
            let theirs = number(&found[name]["percentiles"], &format!("/{percent}")).min(max);
            assert_eq!(theirs, figure, "{name} {key}");
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared} percentiles");
    // Of three seconds; what a busy machine tells late it may tell of two at once.
    assert!(number(&found["ttft"], "/lines") >= 2, "a line a second");
}

#[test]
fn without_a_journal_there_is_no_interval_log_and_that_is_said() {
    let (_bench, results) = finished();
    fs::remove_file(results.join("journal")).unwrap();
    let ended = report(&results, &["--format", "hlog"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("the intervals are in no other file"), "{}", ended.stderr);
    assert!(!results.join("intervals.hlog").exists());
    let exported = report(&results, &["--compat", "vllm"]);
    assert_eq!(exported.code, Some(0), "{}", exported.all_output());
    assert!(exported.stderr.contains("what was asked for"), "{}", exported.stderr);
}

#[test]
fn every_tool_gets_its_own_files_with_the_figures_of_the_run() {
    let (_bench, results) = finished();
    let summary = json_of(&results.join("summary.json"));
    let completed = &summary["books"]["completed"];
    let ttft_p50_us = number(&summary, "/overall/metrics/ttft/p50") as f64;
    for tool in ["llmperf", "vllm", "inference-perf", "llm-d"] {
        let ended = report(&results, &["--compat", tool]);
        assert_eq!(ended.code, Some(0), "{}", ended.all_output());
        assert!(ended.stdout.contains(&format!("compat/{tool}/")), "{}", ended.stdout);
    }
    let only = |tool: &str, part: &str| {
        let files = fs::read_dir(results.join("compat").join(tool)).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        paths
            .find(|path| path.to_string_lossy().contains(part))
            .unwrap_or_else(|| panic!("no {part}"))
    };
    let close = |seconds: &Value, factor: f64| {
        let us = seconds.as_f64().unwrap() * factor;
        assert!((us - ttft_p50_us).abs() < 1.0, "{us} {ttft_p50_us}");
    };
    let llmperf = json_of(&only("llmperf", "_summary.json"));
    assert_eq!(&llmperf["results_num_completed_requests"], completed);
    assert_eq!((&llmperf["mean_input_tokens"], &llmperf["gpu"]), (&json!(550.0), &json!("h100")));
    close(&llmperf["results_ttft_s_quantiles_p50"], 1e6);
    let vllm = json_of(&only("vllm", ".json"));
    assert_eq!((&vllm["completed"], &vllm["request_rate"]), (completed, &json!(40.0)));
    close(&vllm["median_ttft_ms"], 1e3);
    let inference_perf = json_of(&only("inference-perf", "stage_0"));
    assert_eq!(&inference_perf["successes"]["count"], completed);
    close(&inference_perf["successes"]["latency"]["time_to_first_token"]["median"], 1e6);
    let text = fs::read_to_string(only("llm-d", "run_metadata")).unwrap();
    assert!(text.contains("harness_rc: 0"), "{text}");
    let stage = only("llm-d", "stage_0");
    let Some(schema) = schema() else {
        eprintln!("skipped: the schema of llm-d's report is not at hand");
        return;
    };
    let Some((code, problems)) = checked(&[&schema, &stage], "schema") else { return };
    assert_eq!((code, problems.trim()), (Some(0), ""));
}

/// llm-d-benchmark's own schema: named by a variable, or in a folder beside this project's.
fn schema() -> Option<PathBuf> {
    const NAME: &str = "br_v0_2_1_json_schema.json";
    if let Some(named) = std::env::var_os("LLM_D_REPORT_SCHEMA") {
        return Some(named.into());
    }
    let around = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent()?).ok()?;
    let mut paths = around.filter_map(|folder| Some(folder.ok()?.path().join(NAME)));
    paths.find(|path| path.exists())
}

#[test]
fn one_file_goes_to_stdout_and_several_need_a_folder() {
    let (bench, results) = finished();
    let one = report(&results, &["--compat", "vllm", "--output", "-"]);
    let value: Value = serde_json::from_str(&one.stdout).unwrap();
    assert_eq!(value["backend"], "openai-chat");
    let several = report(&results, &["--compat", "llm-d", "--output", "-"]);
    assert_eq!((several.code, several.stderr.lines().count()), (Some(2), 1), "{}", several.stderr);
    let folder = bench.folder.path().join("out");
    let named = report(&results, &["--compat", "llm-d", "--output", folder.to_str().unwrap()]);
    assert_eq!(named.code, Some(0), "{}", named.all_output());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "a stage and the metadata");
    let both = report(&results, &["--compat", "vllm", "--format", "csv"]);
    assert_eq!(both.code, Some(2));
}
