//! Configurations and inputs that cannot be used: every problem at once, exit code 2, nothing left behind.

use std::path::Path;

use serde_json::json;

use crate::support::{Bench, Ended, run_in};

fn run_config(folder: &Path, yaml: &str, arguments: &[&str]) -> Ended {
    let config = folder.join("benchmark.yaml");
    std::fs::write(&config, yaml).unwrap();
    let output = run_in(folder).arg("--config").arg(&config).args(arguments).output().unwrap();
    Ended::from(output, folder)
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "\
benchmark: {name: x, duration: -3}
target: {endpoint: 'http://127.0.0.1:1', modle: m}  # misspelt
load: {type: steady, rate: fast}
";
    let ended = run_config(folder.path(), yaml, &[]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    for (key, advice) in [
        ("benchmark.duration", "-3"),
        ("target.modle", "target.model"), // misspelt
        ("load.type", "constant"),
        ("load.rate", "fast"),
    ] {
        let line = ended.stderr.lines().find(|line| line.contains(key));
        let line = line.unwrap_or_else(|| panic!("{key} is not named:\n{}", ended.stderr));
        assert!(line.contains(advice), "{line}");
    }
    assert!(ended.results.is_none());
}

/// Mistakes of form and of sense, in the order in which they stand.
const MANY_MISTAKES: &str = "\
benchmark:
  name: bad
  durration: 30  # misspelt
  warmup: soon
target:
  stream: true
  headers: {Transfer-Encoding: chunked}
  extraBody: 7
  stream: true
classes:
  - {name: chat, weight: 0}
  - {name: chat, weight: 1, slos: {tfft: {p95: 1s}}, prompts: {inputLength: {mean: 450}}}
load:
  type: sharegpt
  rate: -5
  concurrency: 0
  schedule: trace.csv
stages:
  - {rate: 3, duration: 0}
prompts:
  inputLength: {mean: 900, max: 400}
  outputLength: {mean: 100}
answers: {require: [length]}
slos: {goodput: 5}
stopWhen: {errorRate: 2}
simulator: {contextLength: 500, ttftMs: -1}
";

#[test]
fn mistakes_of_form_and_of_sense_are_told_in_one_pass_in_the_order_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "scheduled_offset_s,input_tokens,output_tokens\n1,10,10\n0.5,10,10\nsoon,10,10\n";
    std::fs::write(folder.path().join("trace.csv"), rows).unwrap();
    let ended = run_config(folder.path(), MANY_MISTAKES, &["--set", "client.lanes=none"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    let expected = [
        "unknown key `benchmark.durration`", // misspelt
        "`benchmark.warmup` is \"soon\"",
        "`target.headers` has transfer-encoding",
        "`target.extraBody`",
        "benchmark.yaml:9:3: duplicate mapping key: stream",
        "`classes` has two named `chat`",
        "`classes[0].weight` is 0",
        "classes[1]: `prompts.inputLength.mean` and `prompts.outputLength.mean` make requests of 550 tokens",
        "`classes[1].slos.tfft` is no metric: did you mean `ttft`?", // misspelt
        "`load.type` is \"sharegpt\"",
        "`load.rate` is -5",
        "`load.concurrency` is 0",
        "trace.csv:3:",
        "trace.csv:4:",
        "`stages[0].duration` is 0",
        "`prompts.inputLength.mean` is 900, outside of 1 … 400",
        "`answers.require: [length]` fails every answer",
        "`slos.goodput` counts requests by `slos.perRequest`",
        "`stopWhen.errorRate` is 2",
        "`simulator.ttftMs` is -1",
        "`client.lanes` is \"none\"",
    ];
    let lines: Vec<&str> = ended.stderr.lines().collect();
    for (line, part) in lines.iter().zip(expected) {
        assert!(line.contains(part), "{part} is not told by {line}\n{}", ended.stderr);
    }
    assert_eq!(lines.len(), expected.len(), "{}", ended.stderr);
    assert!(ended.results.is_none());
}

#[test]
fn what_only_follows_from_a_mistake_is_not_a_second_one() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |yaml: &str| {
        let ended = run_config(folder.path(), yaml, &[]);
        assert_eq!(ended.code, Some(2), "{}", ended.all_output());
        ended.stderr.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for (yaml, line) in [
        ("simulator: {}\nload: {raet: 5}\n", "`load.raet`"), // misspelt
        ("simulator: {}\nload: 5\n", "`load` is 5"),
        ("simulator: {}\nload: {rate: fast}\nstopWhen: {saturation: true}\n", "`load.rate`"),
        ("target: {endpiont: 'http://h'}\nload: {rate: 1}\n", "`target.endpiont`"), // misspelt
        ("simulator: 7\nload: {rate: 1}\n", "`simulator` is 7"),
        (
            "simulator: {}\nload: {rate: 1, type: ramp, ramp: {over: 5m}}\nbenchmark: {duration: ten}\n",
            "`benchmark.duration`",
        ),
        ("simulator: {}\nstages: [{duration: 5, rate: x}]\n", "`stages[0].rate`"),
        ("simulator: {}\nload: {rate: 1}\nprompts: {type: file, file: [a]}\n", "`prompts.file`"),
        ("simulator: {}\nsweep: {grid: {load.rate: 5}}\n", "`sweep.grid`"),
        ("load: {rate: 1\n", ":1:7:"),
    ] {
        let lines = refused(yaml);
        assert!(lines.len() == 1 && lines[0].contains(line), "{yaml}{lines:#?}");
    }
}

#[test]
fn a_missing_prompt_file_is_found_before_the_load_and_leaves_no_results() {
    let bench = Bench::new(json!({}));
    let ended =
        bench.run(&["--prompts", "/no/such/prompts.jsonl", "--rate", "5", "--duration", "1"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("/no/such/prompts.jsonl"), "{}", ended.stderr);
    assert!(ended.results.is_none());
    assert!(bench.simulator.truth().received <= 1);
}

#[test]
fn a_data_set_that_ends_inside_a_record_is_used_up_to_there_with_a_warning() {
    let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1}));
    let data = bench.folder.path().join("sharegpt.json");
    let record = r#"{"id":"a","conversations":[{"from":"human","value":"How are you?"},{"from":"gpt","value":"I am well."}]}"#;
    std::fs::write(&data, format!("[{record},{record},{}", &record[..40])).unwrap();
    let prompts = format!("sharegpt:{}", data.display());
    let ended = bench.run(&["--prompts", &prompts, "--concurrency", "1", "--requests", "4"]);
    assert_eq!(ended.code, Some(0), "{}", ended.all_output());
    assert!(ended.stdout.contains("dataset_truncated"), "{}", ended.stdout);
}

#[test]
fn certificates_that_cannot_be_used_are_a_mistake_of_the_configuration_probed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    let load = ["--endpoint", "https://127.0.0.1:1", "--requests", "5", "--concurrency", "1"];
    // A target that is waited for is not waited for in vain.
    for more in [&["--no-probe", "--model", "m"][..], &[], &["--wait-for-target", "60s"]] {
        for file in ["/no/such/ca.pem", empty.to_str().unwrap()] {
            let mut run = run_in(folder.path());
            run.args(load).args(more).args(["--set", &format!("target.caFile={file}")]);
            let ended = Ended::from(run.output().unwrap(), folder.path());
            assert_eq!(ended.code, Some(2), "{more:?}: {}", ended.all_output());
            assert!(ended.stderr.contains(file), "{}", ended.stderr);
            assert!(ended.results.is_none());
        }
    }
}

#[test]
fn requests_beyond_the_models_context_are_refused_before_the_load() {
    let bench = Bench::new(json!({"contextLength": 500}));
    let ended = bench.run(&["--rate", "5", "--duration", "1"]);
    assert_eq!(ended.code, Some(2), "{}", ended.all_output());
    assert!(ended.stderr.contains("context of 500"), "{}", ended.stderr);
    assert!(ended.results.is_none());
    assert_eq!(bench.simulator.truth().received, 0);
}
