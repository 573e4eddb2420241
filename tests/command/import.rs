//! Settings of other tools, imported, planned, and run for two seconds.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Bench, Ended, number, run_in, tokenstorm};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import").join(name)
}

/// What `import` prints: our configuration, and what is not in it.
fn imported(name: &str, more: &[&str]) -> (String, String) {
    let output = tokenstorm().arg("import").arg(fixture(name)).args(more).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(output.stderr));
    (text(output.stdout), text(output.stderr))
}

/// Runs it against a simulator of this process, cut to two seconds; the summary's books.
fn run_for_two_seconds(name: &str, more: &[&str], cut: &[&str]) {
    let (yaml, _) = imported(name, more);
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
    let file = bench.folder.path().join("imported.yaml");
    std::fs::write(&file, &yaml).unwrap();
    let mut planned = tokenstorm();
    planned.args(["plan", "--config"]).arg(&file).args(cut);
    if !yaml.contains("endpoint:") {
        planned.args(["--endpoint", "http://127.0.0.1:9"]);
    }
    let planned = planned.output().unwrap();
    assert_eq!(
        planned.status.code(),
        Some(0),
        "{name}: {}",
        String::from_utf8_lossy(&planned.stderr)
    );

    // A base with the path that the API has, as it was imported.
    let api = if yaml.contains("/completions") && !yaml.contains("/chat/") {
        "/v1/completions"
    } else {
        ""
    };
    let endpoint = format!("{}{api}", bench.simulator.base_url().trim_end_matches("/v1"));
    let mut command = run_in(bench.folder.path());
    command.arg("--config").arg(&file).args(["--endpoint", &endpoint, "--model", "simulated"]);
    // Adapters are models that the simulator does not have.
    command.args(["--set", "metrics.prometheus.endpoint=http://127.0.0.1:9"]).args(cut);
    let ended = Ended::from(command.output().unwrap(), bench.folder.path());
    let summary = ended.summary();
    assert!(number(&summary, "/books/completed") > 0, "{name}: {}", ended.all_output());
    assert_eq!(number(&summary, "/books/failed"), 0, "{name}: {summary:#}");
    assert_eq!(number(&summary, "/books/lost"), 0, "{name}: {summary:#}");
}

const SHORT: [&str; 4] = ["--set", "benchmark.duration=2", "--set", "benchmark.warmup=0"];

#[test]
fn inference_perf_in_stages() {
    run_for_two_seconds("inference-perf-random.yml", &[], &SHORT);
}

#[test]
fn inference_perf_with_shared_prefixes() {
    run_for_two_seconds(
        "inference-perf-shared-prefix.yml",
        &[],
        &[&SHORT[..], &["--set", "classes=[{name: one, weight: 1}]"]].concat(),
    );
}

#[test]
fn guidellm_scenarios_and_commands() {
    run_for_two_seconds("guidellm-rag.json", &[], &SHORT);
    run_for_two_seconds("guidellm-concurrent.yaml", &[], &SHORT);
    run_for_two_seconds("guidellm-command.sh", &[], &SHORT);
}

#[test]
fn vllm_commands_suites_and_options() {
    run_for_two_seconds("vllm-random.sh", &[], &SHORT);
    run_for_two_seconds("vllm-suite.json", &["--test", "serving_random_128_8"], &SHORT);
    let cut = [&SHORT[..], &["--set", "load.ramp.over=1"]].concat();
    run_for_two_seconds("vllm-options.json", &[], &cut);
}

#[test]
fn conversations_of_all_three() {
    let short =
        [&SHORT[..], &["--set", "sessions.thinkTime.mean=50ms", "--set", "load.rampUp=0.5"]]
            .concat();
    run_for_two_seconds("inference-perf-multi-turn.yml", &[], &short);
    run_for_two_seconds("guidellm-turns.sh", &[], &SHORT);
    let users = [&SHORT[..], &["--set", "load.concurrency=2"]].concat();
    run_for_two_seconds("vllm-conversations.json", &[], &users);
}

#[test]
fn what_is_not_carried_over_is_told_and_credentials_are_in_neither() {
    let (yaml, told) = imported("inference-perf-shared-prefix.yml", &[]);
    assert!(told.contains("not carried over: `server.api_key`: a credential"), "{told}");
    assert!(!yaml.contains("not-for-a-file") && !told.contains("not-for-a-file"));
    assert!(told.starts_with("read as settings of inference-perf\n"), "{told}");
}

#[test]
fn a_file_that_cannot_be_imported_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.yaml");
    for (text, words) in [
        ("nothing: 1\n", "it is not known whose settings these are"),
        ("benchmark: {name: x}\nload: {rate: 5}\n", "it is a configuration of tokenstorm already"),
        ("a: [1\n", "it is neither YAML nor a known command"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = tokenstorm().arg("import").arg(&file).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
        assert!(stderr.contains(words) && stderr.contains("x.yaml"), "{stderr}");
    }
    let several = tokenstorm().arg("import").arg(fixture("vllm-suite.json")).output().unwrap();
    let stderr = String::from_utf8(several.stderr).unwrap();
    assert!(stderr.contains("choose one with `--test`: serving_sharegpt"), "{stderr}");
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("mine.yaml");
    let import = || {
        let mut command = tokenstorm();
        command.arg("import").arg(fixture("guidellm-rag.json")).arg("--output").arg(&out);
        command.output().unwrap().status.code()
    };
    assert_eq!(import(), Some(0));
    let first = std::fs::read_to_string(&out).unwrap();
    assert!(first.contains("arrivals: poisson # profile"), "{first}");
    assert_eq!(import(), Some(2));
}
