use std::time::Duration;

use super::*;
use crate::{Config, Plan, PlanInputs, Sources};

/// The translation, and what our own reader makes of it.
fn planned(text: &str, test: Option<&str>) -> (Imported, Config, Plan) {
    let imported = import(text, None, test).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, &imported.yaml).unwrap();
    let config = Config::load(Sources { file: Some(file), ..Sources::default() });
    let config = config.unwrap_or_else(|errors| panic!("{errors:?}\n{}", imported.yaml));
    let planned = Plan::from_config(&config, &PlanInputs { model: None, prompt_salt: 1 });
    let (plan, _) = planned.unwrap_or_else(|errors| panic!("{errors:?}\n{}", imported.yaml));
    (imported, config, plan)
}

fn lost(imported: &Imported) -> Vec<&str> {
    imported.lost.iter().map(|lost| lost.path.as_str()).collect()
}

#[test]
fn stages_lengths_and_objectives_of_inference_perf() {
    let text = include_str!("../../../../tests/fixtures/import/inference-perf-random.yml");
    let (imported, config, plan) = planned(text, None);
    assert_eq!(imported.format, SettingsFormat::InferencePerf);
    assert_eq!(config.text("load.arrivals"), Some("poisson"));
    assert_eq!(config.get("stages").unwrap()[1]["rate"], 8);
    assert_eq!(config.number("prompts.inputLength.stddev"), Some(10.0), "`std` is `std_dev`");
    assert_eq!(config.number("prompts.outputLength.max"), Some(20.0));
    assert_eq!(config.get("slos").unwrap()["perRequest"]["ttft"], "1000ms");
    assert_eq!(plan.target.url, "http://127.0.0.1:8000/v1/chat/completions");
    assert_eq!(plan.stages.len(), 2);
    let all = [
        "report",
        "load.interval",
        "load.num_workers",
        "load.worker_max_concurrency",
        "metrics.prometheus.scrape_interval",
        "tokenizer",
        "data.input_distribution.total_count",
        "data.output_distribution.total_count",
    ];
    assert_eq!(lost(&imported), all);
}

#[test]
fn shared_prefixes_and_adapters_of_inference_perf() {
    let text = include_str!("../../../../tests/fixtures/import/inference-perf-shared-prefix.yml");
    let (imported, config, plan) = planned(text, None);
    let levels = config.get("prompts.prefixes").unwrap();
    assert_eq!((&levels[0]["groups"], &levels[0]["tokens"]), (&10.into(), &100.into()));
    assert_eq!((&levels[1]["groups"], &levels[1]["share"]), (&10.into(), &1.into()));
    assert_eq!(config.get("classes").unwrap()[0]["model"], "adapter_1");
    assert!(!config.switch("target.stream"), "not streamed unless it says so");
    assert_eq!(plan.target.url, "http://127.0.0.1:8000/v1/completions");
    assert!(!imported.yaml.contains("not-for-a-file"), "{}", imported.yaml);
    assert!(lost(&imported).contains(&"server.api_key"));
}

#[test]
fn stages_that_requests_end_are_runs_of_their_own() {
    let text = include_str!("../../../../tests/fixtures/import/inference-perf-concurrent.yml");
    let imported = import(text, None, None).unwrap();
    let point = "    - {load.concurrency: 8, benchmark.requests: 24}";
    assert!(imported.yaml.contains(point), "{}", imported.yaml);
    assert!(lost(&imported).contains(&"load.sweep_note"));
}

#[test]
fn a_scenario_of_guidellm_in_its_newer_and_its_older_layout() {
    let text = include_str!("../../../../tests/fixtures/import/guidellm-rag.json");
    let (imported, config, plan) = planned(text, None);
    assert_eq!(imported.format, SettingsFormat::GuideLlm);
    assert_eq!(
        (config.number("load.rate"), config.text("load.arrivals")),
        (Some(6.0), Some("poisson"))
    );
    // A tenth of 20 s is warm-up, and there a part of it.
    assert_eq!(config.number("benchmark.warmup"), Some(2.0));
    assert_eq!(config.number("benchmark.duration"), Some(18.0));
    assert_eq!(lost(&imported), ["outputs"]);
    assert!(plan.sessions.is_none(), "one turn is no conversation");

    let text = include_str!("../../../../tests/fixtures/import/guidellm-concurrent.yaml");
    let (imported, config, plan) = planned(text, None);
    assert_eq!(config.get("stages").unwrap()[2]["concurrency"], 4);
    assert_eq!(plan.stages.len(), 3);
    assert_eq!(config.number("stopWhen.errorRate"), Some(0.1));
    assert_eq!(plan.target.url, "http://127.0.0.1:8000/v1/completions");
    assert_eq!(lost(&imported), [""; 0]);
}

#[test]
fn a_command_of_guidellm() {
    let text = include_str!("../../../../tests/fixtures/import/guidellm-command.sh");
    let (imported, config, _) = planned(text, None);
    assert_eq!(config.number("load.rate"), Some(5.0));
    assert_eq!(config.integer("benchmark.requests"), Some(200));
    assert_eq!(config.number("prompts.inputLength.mean"), Some(64.0));
    assert_eq!(lost(&imported), ["processor", "output_path"]);
}

#[test]
fn a_command_of_vllm() {
    let text = include_str!("../../../../tests/fixtures/import/vllm-random.sh");
    let (imported, config, _) = planned(text, None);
    assert_eq!(imported.format, SettingsFormat::VllmBenchServe);
    assert_eq!(
        (config.number("load.rate"), config.number("load.burstiness")),
        (Some(10.0), Some(0.5))
    );
    assert_eq!(config.integer("load.concurrency"), Some(64), "a cap");
    // 128 · (1 ± 0.5)
    assert_eq!(config.integer("prompts.inputLength.min"), Some(64));
    assert_eq!(config.integer("prompts.inputLength.max"), Some(192));
    assert_eq!(config.get("prompts.prefixes").unwrap()[0]["tokens"], 32);
    assert_eq!(config.get("target.extraBody").unwrap()["temperature"], 0);
    assert_eq!(config.get("slos").unwrap()["perRequest"]["tpot"], "50ms");
    assert_eq!(lost(&imported), ["percentile_metrics", "metric_percentiles", "save_result"]);
}

#[test]
fn one_test_of_a_suite_of_vllm() {
    let text = include_str!("../../../../tests/fixtures/import/vllm-suite.json");
    let (_, config, plan) = planned(text, Some("serving_random_128_8"));
    assert_eq!(config.integer("load.concurrency"), Some(4));
    assert_eq!(config.integer("benchmark.requests"), Some(40));
    assert_eq!(plan.name, "serving_random_128_8");
    let error = import(text, None, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it holds 2 tests: choose one with `--test`: serving_sharegpt, serving_random_128_8"
    );
}

#[test]
fn a_ramp_takes_as_long_as_its_prompts() {
    let text = include_str!("../../../../tests/fixtures/import/vllm-options.json");
    let (_, config, plan) = planned(text, None);
    // 60 = T · (5 + 25) / 2
    assert_eq!(config.number("load.ramp.over"), Some(4.0));
    assert_eq!(plan.target.url, "http://127.0.0.1:8000/v1/completions");
}

#[test]
fn all_at_once_is_one_burst() {
    let (_, config, plan) = planned("dataset_name: random\nnum_prompts: 7\nmodel: m\n", None);
    assert_eq!(config.text("load.type"), Some("burst"));
    let due: Vec<_> = plan.arrivals(crate::Shard::WHOLE).map(|arrival| arrival.due).collect();
    assert_eq!(due, [Duration::ZERO; 7]);
}

#[test]
fn users_of_shared_prefixes_who_talk_on() {
    let text = include_str!("../../../../tests/fixtures/import/inference-perf-multi-turn.yml");
    let (imported, config, plan) = planned(text, None);
    // 20 users share 10 requests a second for 30 s: 15 each, one every 2 s.
    assert_eq!(config.integer("load.concurrency"), Some(20));
    assert_eq!(config.number("sessions.turns.mean"), Some(15.0));
    assert_eq!(config.duration("sessions.thinkTime.mean"), Some(Duration::from_secs(2)));
    assert_eq!(config.get("prompts.prefixes").unwrap()[0]["groups"], 2);
    assert_eq!(plan.sessions.unwrap().most.get(), 15);
    assert_eq!(plan.target.url, "http://127.0.0.1:8000/v1/chat/completions");
    assert_eq!(lost(&imported), ["load.stages"]);
}

#[test]
fn conversations_of_inference_perf() {
    let text = include_str!("../../../../tests/fixtures/import/inference-perf-conversations.yml");
    let imported = import(text, None, None).unwrap();
    // 60 requests are 10 conversations of 6 turns.
    for line in [
        "- {benchmark.requests: 10, load.concurrency: 4}",
        "stddev: 2 # data.conversation_replay.turns_per_conversation.std_dev",
        "max: 10 # data.conversation_replay.turns_per_conversation.max",
        "distribution: lognormal # data.conversation_replay.tool_call_latency_sec",
        "- {name: \"system prompt\", tokens: 64}",
        "- {name: conversation, groups: 40, tokens: 30}",
        "api: chat # a completion has no turns",
    ] {
        assert!(imported.yaml.contains(line), "no {line} in {}", imported.yaml);
    }
    let told = ["dynamic_system_prompt_len", "tool_call_latency_sec"];
    let told = told.map(|name| format!("data.conversation_replay.{name}"));
    assert_eq!(lost(&imported), told);
}

#[test]
fn turns_of_guidellm_divide_its_rates() {
    let text = include_str!("../../../../tests/fixtures/import/guidellm-turns.sh");
    let (imported, config, plan) = planned(text, None);
    assert_eq!(config.number("load.rate"), Some(3.0), "9 requests of 3 turns");
    assert_eq!(config.integer("benchmark.requests"), Some(34), "100 / 3, and what is left");
    assert_eq!(plan.sessions.unwrap().turns.unwrap().mean(), 3.0);
    assert_eq!(config.text("target.api"), Some("chat"));
    assert_eq!(lost(&imported), ["request_type"]);
}

#[test]
fn a_command_of_vllms_conversations() {
    let text = include_str!("../../../../tests/fixtures/import/vllm-multi-turn.sh");
    let imported = import(text, None, None).unwrap();
    for line in [
        "endpoint: \"http://127.0.0.1:8000\"",
        "model: Llama",
        "concurrency: 2 # num_clients",
        "max: 4 # max_turns: of messages",
        "mean: 0.25 # request_rate",
        "minTokens: true",
    ] {
        assert!(imported.yaml.contains(line), "no {line} in {}", imported.yaml);
    }
    assert_eq!(
        lost(&imported),
        ["model", "max_active_conversations", "input_file", "excel_output"]
    );
}

#[test]
fn a_file_of_vllms_conversations() {
    let text = include_str!("../../../../tests/fixtures/import/vllm-conversations.json");
    let imported = import(text, None, None).unwrap();
    // 3 to 8 messages are rounded up to whole turns; mean and median / mean of a lognormal are 8 and 0.8.
    for line in ["min: 2 #", "max: 4 #", "requests: 20", "distribution: lognormal", "stddev: 6 #"] {
        assert!(imported.yaml.contains(line), "no {line} in {}", imported.yaml);
    }
    let levels = "- {name: common, tokens: 32}\n    - {name: conversation, groups: 20, tokens: 40}";
    assert!(imported.yaml.contains(levels), "{}", imported.yaml);
    assert_eq!(lost(&imported), ["filetype", "prompt_input.prefix_num_tokens", "text_files"]);
}

#[test]
fn settings_of_nobody_are_told_as_such() {
    assert_eq!(import("a: 1\n", None, None).unwrap_err(), ImportError::Unknown);
    assert!(matches!(import("a: [1\n", None, None), Err(ImportError::Syntax(_))));
    let forced = import("a: 1\n", Some(SettingsFormat::GuideLlm), None).unwrap();
    assert!(lost(&forced).contains(&"a"), "{:?}", forced.lost);
}

#[test]
fn our_own_configurations_are_nobody_elses() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let ours: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|yaml| yaml == "yaml")).collect();
    assert!(ours.len() > 20);
    for file in ours {
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(import(&text, None, None), Err(ImportError::Ours), "{}", file.display());
    }
    let bare = "prompts: {inputLength: {mean: 5}}\nload: {rate: 5}\n";
    assert_eq!(import(bare, None, None), Err(ImportError::Ours));
    let told = import(bare, Some(SettingsFormat::InferencePerf), None).unwrap();
    assert!(!told.lost.is_empty(), "who says whose it is is believed");
}
