use super::*;
use serde_json::json;
use std::path::Path;

fn load_text(yaml: &str) -> Result<Config, Vec<ConfigError>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, yaml).unwrap();
    Config::load(Sources { file: Some(file), ..Sources::default() })
}

/// The lines a user sees, without the path of the temporary file.
fn refusal(yaml: &str) -> Vec<String> {
    let problems = load_text(yaml).expect_err("this configuration is refused");
    problems
        .iter()
        .map(std::string::ToString::to_string)
        .map(|line| line[line.find("run.yaml").unwrap_or(0)..].to_owned())
        .collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_problem_is_reported_at_once_with_the_nearest_key() {
    let lines = refusal(
        "benchmark: {durration: 5, warmup: soon, seed: -1}\nload: {rate: 0, type: sharegpt, concurrency: 1.5}\nprompt: {}\ntarget: 7\nrate: 3\n",
    );
    assert_eq!(
        lines,
        [
            "run.yaml: unknown key `benchmark.durration`; did you mean `benchmark.duration`?",
            "run.yaml: `benchmark.warmup` is \"soon\": give a duration from 0 to 86400 seconds (a number of seconds, or a text such as `500ms` or `5m`)",
            "run.yaml: `benchmark.seed` is -1: give a whole number, at least 0",
            "run.yaml: `load.rate` is 0: give a number of requests per second from 0.000001 to 1000000",
            "run.yaml: `load.type` is \"sharegpt\": give one of `constant`, `ramp`, `burst`, `sine`, `onOff`, `schedule`, `shareGPT`; did you mean `shareGPT`?",
            "run.yaml: `load.concurrency` is 1.5: give a whole number of requests in flight from 1 to 1000000",
            "run.yaml: unknown key `prompt`; did you mean `prompts`?",
            "run.yaml: `target` is 7: give a map with keys such as `target.endpoint`",
            "run.yaml: unknown key `rate`; did you mean `load.rate`?",
        ]
    );
}

#[test]
fn syntax_errors_and_duplicate_keys_name_their_line() {
    let lines = refusal("load:\n  rate: 5\n  rate: 6\n");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("run.yaml:3:") && lines[0].contains("duplicate"), "{lines:?}");
    let lines = refusal("load:\n  rate: [5\nx: y\n");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("run.yaml:"), "{lines:?}");
    assert!(!lines[0].contains('\n'));
}

#[test]
fn keys_that_stand_twice_are_told_with_all_the_rest() {
    assert_eq!(
        refusal(
            "load: {rate: 5}\nbenchmark: {seed: x, seed: 2}\nload:\n  rate: 6\n  raet: 7\n" // misspelt
        ),
        [
            "run.yaml:3:1: duplicate mapping key: load",
            "run.yaml: unknown key `load.raet`; did you mean `load.rate`?", // misspelt
            "run.yaml:2:22: duplicate mapping key: seed",
        ]
    );
}

#[test]
fn the_parsers_words_are_for_users_and_name_the_place_once() {
    let line = |yaml: &str| refusal(yaml).concat();
    assert_eq!(
        line("load: {rate: 5}\nload: {rate: 6}\n"),
        "run.yaml:2:1: duplicate mapping key: load"
    );
    assert_eq!(line("load: [1, 2\n"), "run.yaml:1:7: unclosed bracket '['");
    assert_eq!(
        line("load: {}\n---\nload: {}\n"),
        "run.yaml:3:1: multiple YAML documents detected: a configuration is one"
    );
    let lists = line("load: {rate: 5\nbenchmark: {duration: 3}\n");
    assert_eq!(
        lists,
        "run.yaml:2:10: while parsing a flow mapping, did not find expected ',' or '}'"
    );
}

#[test]
fn a_number_where_a_section_belongs_gets_an_example_of_that_section() {
    assert_eq!(
        refusal("load: {ramp: 5}\n"),
        [
            "run.yaml: `load.ramp` is 5: give a map such as `{from: 1, to: 20, over: 30s}` beside `type: ramp`"
        ]
    );
    assert_eq!(
        refusal("prompts: {inputLength: 500}\n"),
        ["run.yaml: `prompts.inputLength` is 500: give a map such as `{mean: 550, stddev: 150}`"]
    );
}

#[test]
fn a_section_can_be_given_by_the_environment() {
    let env = |name: &str, text: &str| {
        let env = vec![(name.to_owned(), text.to_owned())];
        Config::load(Sources { env, ..Sources::default() })
    };
    let empty = env("TOKENSTORM__SIMULATOR", "{}").unwrap();
    assert_eq!(empty.simulator(), Some(json!({})));
    let lengths = env("tokenstorm__prompts__inputlength", "{mean: 20, max: 30}").unwrap();
    assert_eq!(lengths.get("prompts.inputLength.max"), Some(&json!(30)));
    let refused = env("TOKENSTORM__LOAD__RAMP", "5").unwrap_err();
    assert!(refused[0].to_string().contains("TOKENSTORM__LOAD__RAMP"), "{}", refused[0]);
}

#[test]
fn a_file_that_is_missing_or_not_utf8_is_one_clear_line() {
    let missing =
        Config::load(Sources { file: Some("/nonexistent/run.yaml".into()), ..Sources::default() })
            .unwrap_err();
    assert_eq!(
        missing[0].to_string(),
        "cannot read configuration `/nonexistent/run.yaml`: No such file or directory (os error 2)"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, b"benchmark: {name: \"\xff\"}").unwrap();
    let broken = Config::load(Sources { file: Some(file), ..Sources::default() }).unwrap_err();
    assert!(broken[0].to_string().ends_with("not UTF-8 at byte 19"), "{}", broken[0]);
}

#[test]
fn an_empty_file_and_empty_sections_are_fine() {
    assert_eq!(load_text("").unwrap().simulator(), None);
    let config = load_text("load:\nsimulator: {}\nbenchmark: {name: null}\n").unwrap();
    assert_eq!(config.simulator(), Some(json!({})));
    assert!(!config.has("benchmark.name"));
}

#[test]
fn flags_win_over_set_over_environment_over_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.yaml");
    std::fs::write(
        &file,
        "load: {rate: 1, concurrency: 1, arrivals: poisson}\nbenchmark: {warmup: 1}\n",
    )
    .unwrap();
    let mut sources = Sources {
        file: Some(file),
        env: pairs(&[
            ("TOKENSTORM__LOAD__RATE", "2"),
            ("tokenstorm__load__Concurrency", "2"),
            ("TOKENSTORM__BENCHMARK__WARMUP", ""),
        ]),
        sets: vec!["load.rate=3".to_owned()],
        flags: Vec::new(),
        sweep: None,
    };
    let config = Config::load(sources.clone()).unwrap();
    assert_eq!(
        (config.number("load.rate"), config.integer("load.concurrency")),
        (Some(3.0), Some(2))
    );
    assert_eq!(config.text("load.arrivals"), Some("poisson"));
    assert_eq!(config.duration("benchmark.warmup"), Some(Duration::from_secs(1)));
    sources.flags =
        vec![("load.rate".to_owned(), json!(4)), ("load.concurrency".to_owned(), json!("5"))];
    let config = Config::load(sources).unwrap();
    assert_eq!(
        (config.number("load.rate"), config.integer("load.concurrency")),
        (Some(4.0), Some(5))
    );
}

#[test]
fn mistakes_outside_the_file_name_their_source() {
    let problems = Config::load(Sources {
        file: None,
        env: pairs(&[("TOKENSTORM__LOAD__RAET", "2"), ("OTHER", "x")]),
        sets: vec!["load.rate".to_owned(), "load.rate=fast".to_owned()],
        flags: vec![("benchmark.duration".to_owned(), json!("never"))],
        sweep: None,
    })
    .unwrap_err();
    let lines: Vec<String> = problems.iter().map(std::string::ToString::to_string).collect();
    assert_eq!(
        lines[0],
        "environment variable TOKENSTORM__LOAD__RAET: unknown key `load.raet`; did you mean `load.rate`?"
    );
    assert_eq!(lines[1], "--set load.rate: give key=value, such as `load.rate=80`");
    assert_eq!(
        lines[2],
        "--set: `load.rate` is \"fast\": give a number of requests per second from 0.000001 to 1000000"
    );
    assert!(lines[3].starts_with("command line: `benchmark.duration` is \"never\""));
}

#[test]
fn relative_paths_start_at_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, "load: {dataset: data/chat.json}\nprompts: {tokenizer: bundled}\n")
        .unwrap();
    let sources = Sources {
        file: Some(file),
        sets: vec!["prompts.file=a.txt".to_owned()],
        ..Sources::default()
    };
    let config = Config::load(sources).unwrap();
    assert_eq!(config.path("load.dataset"), Some(folder.path().join("data/chat.json")));
    assert_eq!(config.path("prompts.file"), Some(std::path::absolute(Path::new("a.txt")).unwrap()));
    assert_eq!(config.text("prompts.tokenizer"), Some("bundled"));
}

#[test]
fn the_endpoint_of_openais_clients_is_a_default() {
    let env = pairs(&[("OPENAI_API_BASE", "http://base/v1")]);
    let endpoint = |sets: &[&str]| {
        let sources = Sources {
            env: env.clone(),
            sets: sets.iter().map(|set| (*set).to_owned()).collect(),
            ..Sources::default()
        };
        Config::load(sources).unwrap().text("target.endpoint").map(str::to_owned)
    };
    assert_eq!(endpoint(&[]).as_deref(), Some("http://base/v1"));
    assert_eq!(endpoint(&["target.endpoint=http://other/v1"]).as_deref(), Some("http://other/v1"));
    assert_eq!(endpoint(&["simulator.fixed=true"]), None);
}

#[test]
fn a_simulator_excludes_an_endpoint_but_not_the_one_that_the_run_sets() {
    let lines = refusal("simulator: {fixed: true}\ntarget: {endpoint: \"http://x/v1\"}\n");
    assert!(lines[0].contains("`simulator` and `target.endpoint` exclude each other"), "{lines:?}");
    let mut config =
        load_text("simulator: {fixed: true, faults: {stall: {rate: 0.1, seconds: 2}}}\n").unwrap();
    config.set("target.endpoint", json!("http://127.0.0.1:1234/v1")).unwrap();
    assert_eq!(
        config.simulator(),
        Some(json!({"fixed": true, "faults": {"stall": {"rate": 0.1, "seconds": 2}}}))
    );
    assert!(config.has("target.endpoint") && !config.is_users("target.endpoint"));
    assert!(!config.to_yaml().contains("endpoint"));
}

#[test]
fn an_api_key_is_refused_without_being_repeated() {
    let lines = refusal("target: {apiKey: sk-very-secret}\napi_key: sk-very-secret\n");
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert!(line.contains("OPENAI_API_KEY") && !line.contains("sk-very"), "{line}");
    }
    let lines = refusal(
        "target: {headers: {authorization: [sk-very-secret]}, endpoint: [\"http://me:sk-very-secret@host\"]}\n",
    );
    assert!(
        lines.iter().all(|line| !line.contains("sk-very-secret") || line.contains("endpoint")),
        "{lines:?}"
    );
}

#[test]
fn credential_headers_are_kept_apart_and_redacted() {
    let config = load_text(
        "target: {headers: {Authorization: Bearer abc, X-Team: blue, x-api-key: k, Cookie: c}}\n",
    )
    .unwrap();
    let mut names: Vec<String> =
        config.credential_headers().into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["authorization", "cookie", "x-api-key"]);
    assert_eq!(config.harmless_headers(), pairs(&[("x-team", "blue")]));
    let yaml = config.to_yaml();
    assert!(yaml.contains("blue") && yaml.contains(REDACTED) && !yaml.contains("abc"), "{yaml}");
    let refused = load_text(&yaml).unwrap_err();
    assert_eq!(refused.len(), 3, "a redacted value is not sent as if it were one: {refused:?}");
    assert!(refused[0].to_string().contains("`target.headers.authorization` is `[redacted]`"));
}

#[test]
fn what_was_redacted_can_be_given_again() {
    let yaml = "target: {headers: {x-token: '[redacted]', X-Team: blue}, extraBody: {a: {password: '[redacted]'}}}\n";
    assert_eq!(load_text(yaml).unwrap_err().len(), 2);
    let sets = ["target.headers.x-token=t", "target.extraBody={a: {password: p}}"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, yaml).unwrap();
    let load = |sets: &[&str]| {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::load(Sources { file: Some(file.clone()), sets, ..Sources::default() })
    };
    let config = load(&sets).unwrap();
    assert_eq!(config.credential_headers(), pairs(&[("x-token", "t")]));
    assert_eq!(config.harmless_headers(), pairs(&[("x-team", "blue")]));
    let half = load(&sets[..1]).unwrap_err();
    assert_eq!(half.len(), 1);
    assert!(half[0].to_string().contains("`target.extraBody.a.password` is"), "{}", half[0]);
}

#[test]
fn entries_of_maps_are_set_one_by_one() {
    let sets =
        ["target.extraBody.top_k=5", "target.extraBody.stop=[a]", "target.headers.X-Team=blue"];
    let sources =
        Sources { sets: sets.iter().map(|set| (*set).to_owned()).collect(), ..Sources::default() };
    let config = Config::load(sources).unwrap();
    assert_eq!(config.get("target.extraBody"), Some(&json!({"top_k": 5, "stop": ["a"]})));
    assert_eq!(config.get("target.headers"), Some(&json!({"x-team": "blue"})));
}

#[test]
fn a_section_can_be_set_as_a_map_and_as_nothing_else() {
    let load =
        |set: &str| Config::load(Sources { sets: vec![set.to_owned()], ..Sources::default() });
    let config = load("prompts.inputLength={mean: 20, stddev: 3}").unwrap();
    assert_eq!(config.number("prompts.inputLength.mean"), Some(20.0));
    assert_eq!(config.number("prompts.inputLength.stddev"), Some(3.0));
    assert!(load("simulator={}").unwrap().simulator().is_some(), "an empty section counts too");
    for (set, line) in [
        ("prompts.inputLength=20", "`prompts.inputLength`"),
        ("prompts.inputLength={men: 20}", "did you mean `prompts.inputLength.mean`?"), // misspelt
    ] {
        let problems = load(set).unwrap_err();
        assert!(problems[0].to_string().contains(line), "{}", problems[0]);
    }
}

#[test]
fn the_configuration_as_run_can_be_run_again() {
    let yaml = "benchmark: {name: \"yes\", duration: 1h, seed: 18446744073709551615}\nload: {rate: 0.1, ramp: {from: 0}}\ntarget: {extraBody: {a: [1, null, {b: \"1\"}]}}\nmetrics: {collect: [ttft, errors]}\nsimulator: {}\n";
    let mut config = load_text(yaml).unwrap();
    config.set("benchmark.promptSalt", json!(7)).unwrap();
    let again = load_text(&config.to_yaml()).unwrap();
    assert_eq!(again.to_yaml(), config.to_yaml());
    for key in KEYS {
        assert_eq!(again.get(key.path), config.get(key.path), "{}", key.path);
    }
    assert_eq!(again.text("benchmark.name"), Some("yes"));
    assert_eq!(again.simulator(), Some(json!({})));
    assert!(load_text("").unwrap().to_yaml().contains("seed: 42"));
}

#[test]
fn the_run_cannot_set_what_does_not_exist() {
    let mut config = load_text("").unwrap();
    assert!(config.set("load.rats", json!(1)).is_err());
    assert!(config.set("load.rate", json!("x")).is_err());
    assert!(!config.has("load.rate"));
}

#[test]
fn no_key_stands_twice_in_the_table_and_none_is_a_section_of_another() {
    for (index, key) in KEYS.iter().enumerate() {
        assert_eq!(key_index(key.path), Some(index), "{}", key.path);
        assert!(
            !KEYS.iter().any(|other| other.path.starts_with(&format!("{}.", key.path))),
            "{}",
            key.path
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z:{}\\[\\],\"'#&*!|>% \n0-9.-]{0,80}") {
        if let Err(problems) = load_text(&text) {
            proptest::prop_assert!(!problems.is_empty());
            for problem in problems {
                proptest::prop_assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
    }

    #[test]
    fn no_text_set_for_any_key_makes_the_reader_panic(index in 0..KEYS.len(), text in "\\PC{0,20}") {
        let set = format!("{}={text}", KEYS[index].path);
        let loaded = Config::load(Sources { sets: vec![set], ..Sources::default() });
        proptest::prop_assert!(loaded.is_ok() || loaded.is_err_and(|problems| !problems.is_empty()));
    }
}
