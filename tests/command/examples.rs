//! Every file in configs/ can be planned, and runs; every run.yaml of Kubernetes can be planned.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::json;
use workload::{Config, Plan, PlanInputs, Sources};

use crate::support::{Bench, Ended, assert_exit, number, run_in, tokenstorm};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

/// The file of the test of this name.
fn file(test: &str) -> PathBuf {
    folder().join(test.replace('_', "-")).with_extension("yaml")
}

/// Two tests for each example, so that they need not wait for each other; they are named as its file is.
macro_rules! examples {
    ($($name:ident)*) => {
        /// Those that have their tests.
        const TESTED: &[&str] = &[$(stringify!($name)),*];

        mod is_planned_as_it_stands {
            $(#[test] fn $name() { super::is_planned_as_it_stands(stringify!($name)); })*
        }

        mod runs_for_two_seconds {
            $(#[test] fn $name() { super::runs_for_two_seconds(stringify!($name)); })*
        }
    };
}

examples! {
    bursty
    cache_effectiveness
    cap_drop
    closed_loop
    concurrency_sweep
    constant
    day
    demo
    empirical_lengths
    fleet
    objectives
    on_off
    ramp_steps
    recorded_bodies
    rounds
    schedule
    sessions
    shared_prefixes
    sonnets
    stage_rules
    stages
    targets
    telemetry
    think_time
    throughput_test
    token_ids
    trace_replay
    traffic_classes
}

#[test]
fn every_example_has_its_tests() {
    let all = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files = all.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    let files: BTreeSet<_> = files.collect();
    assert_eq!(files, TESTED.iter().map(|test| file(test)).collect());
}

/// What a file needs that is not at hand here: its endpoint and data set, by flags.
fn at_hand(file: &Path, bench: &Bench) -> Vec<String> {
    let sources = Sources { file: Some(file.to_owned()), ..Sources::default() };
    let config = Config::load(sources).unwrap();
    let mut flags = Vec::new();
    if config.has("targets") {
        let url = bench.simulator.base_url();
        let targets = format!(
            "[{{name: one, endpoint: '{url}', weight: 9}}, {{name: other, endpoint: '{url}'}}]"
        );
        flags.extend(["--set".to_owned(), format!("targets={targets}")]);
        flags.extend(["--model".to_owned(), "simulated".to_owned()]);
    } else if config.simulator().is_none() {
        flags.extend(["--endpoint".to_owned(), bench.simulator.base_url()]);
        flags.extend(["--model".to_owned(), "simulated".to_owned()]);
    }
    for key in ["load.dataset", "prompts.dataset", "prompts.file"] {
        if let Some(named) = config.path(key).filter(|named| !named.exists()) {
            let data_set = small_data_set(bench.folder.path(), &named, key);
            flags.extend(["--set".to_owned(), format!("{key}={}", data_set.display())]);
        }
    }
    // Parts of a duration that is about to be cut to 2 s, and objectives that a busy machine's simulator may miss.
    for (key, value) in [
        ("load.ramp.over", "1"),
        ("load.rampUp", "0.5"),
        ("slos", "{ttft: {p95: 5s}, itl: {p99: 5s}, goodput: 1, perRequest: {e2e: 20s}}"),
    ] {
        if config.has(key) {
            flags.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
    }
    flags
}

/// Twenty prompts in the format that the name and the key ask for.
fn small_data_set(folder: &Path, named: &Path, key: &str) -> PathBuf {
    let ending = named.extension().unwrap().to_str().unwrap();
    let prompt = |index: usize| format!("What is {index} times {index}");
    let text = match (key, ending) {
        ("prompts.file", "txt") => (0..20).map(|index| prompt(index) + "\n").collect(),
        ("prompts.file", "jsonl") => {
            (0..20).map(|index| json!({"prompt": prompt(index)}).to_string() + "\n").collect()
        }
        ("prompts.file", "csv") => {
            (0..20).fold("prompt\n".to_owned(), |csv, index| csv + &prompt(index) + "\n")
        }
        ("prompts.file", _) => json!((0..20).map(prompt).collect::<Vec<_>>()).to_string(),
        _ => {
            let talk = |index| {
                let human = json!({"from": "human", "value": prompt(index)});
                json!({"id": "x", "conversations": [human, {"from": "gpt", "value": "Much indeed."}]})
            };
            json!((0..20).map(talk).collect::<Vec<_>>()).to_string()
        }
    };
    let path = folder.join(named.file_name().unwrap());
    std::fs::write(&path, text).unwrap();
    path
}

fn is_planned_as_it_stands(test: &str) {
    let (bench, file) = (Bench::new(json!({})), file(test));
    let mut command = tokenstorm();
    command.args(["plan", "--config"]).arg(&file).args(at_hand(&file, &bench));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(bench.simulator.truth().received, 0);
}

fn runs_for_two_seconds(test: &str) {
    let (bench, file) = (Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1})), file(test));
    let mut command = run_in(bench.folder.path());
    command.arg("--config").arg(&file).args(at_hand(&file, &bench));
    let short = ["--set", "benchmark.duration=2", "--set", "benchmark.warmup=0"];
    let ended = Ended::from(command.args(short).output().unwrap(), bench.folder.path());
    let summary = ended.summary();
    // A machine too busy to carry the example's load has to say so, and that is all it may say.
    assert_exit(ended.code, 0, &summary, &ended.all_output());
    assert!(number(&summary, "/books/completed") > 0, "{summary:#}");
    assert_eq!(number(&summary, "/books/failed"), 0, "{summary:#}");
    assert_eq!(number(&summary, "/books/lost"), 0, "{summary:#}");
}

/// Their targets are names in a cluster, and their loads are no single machine's: they are read and checked, no more.
#[test]
fn every_run_of_kubernetes_is_a_plan() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("k8s");
    for name in ["base", "overlays/demo", "overlays/fleet-100", "overlays/single"] {
        let file = folder.join(name).join("run.yaml");
        let config = Config::load(Sources { file: Some(file), ..Sources::default() }).unwrap();
        let (plan, _) =
            Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 }).unwrap();
        assert!(config.text("target.endpoint").is_some_and(|url| plan.target.url.starts_with(url)));
    }
}
