//! No credential is in any output or file.

use serde_json::json;

use crate::support::{Bench, Ended};

const KEY: &str = "sk-very-secret-0123456789";

fn leaked(ended: &Ended) -> Vec<String> {
    let mut places = Vec::new();
    if ended.all_output().contains(KEY) {
        places.push("the terminal".to_owned());
    }
    for entry in std::fs::read_dir(ended.results.as_ref().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()) {
            places.push(path.display().to_string());
        }
    }
    places
}

#[test]
fn a_key_from_the_environment_a_file_or_a_header_is_sent_and_never_shown() {
    for source in ["environment", "env file", "key file", "header"] {
        let bench = Bench::new(json!({"fixed": true, "ttftMs": 5, "itlMs": 1, "apiKey": KEY}));
        let file = bench.folder.path().join("secret");
        let mut command = bench.command(&["--rate", "10", "--duration", "1"]);
        match source {
            "environment" => command.env("OPENAI_API_KEY", KEY),
            "env file" => {
                std::fs::write(&file, format!("OPENAI_API_KEY={KEY}\n")).unwrap();
                command.arg("--env-file").arg(&file)
            }
            "key file" => {
                std::fs::write(&file, format!("{KEY}\n")).unwrap();
                command.arg("--set").arg(format!("target.apiKeyFile={}", file.display()))
            }
            _ => {
                let config = bench.folder.path().join("c.yaml");
                std::fs::write(
                    &config,
                    format!("target: {{headers: {{Authorization: 'Bearer {KEY}'}}}}\n"),
                )
                .unwrap();
                command.arg("--config").arg(config)
            }
        };
        command.env("TOKENSTORM_LOG", "trace");
        let ended = Ended::from(command.output().unwrap(), bench.folder.path());
        assert_eq!(
            ended.code,
            Some(0),
            "{source}: {}",
            ended.stderr.lines().last().unwrap_or_default()
        );
        assert_eq!(leaked(&ended), Vec::<String>::new(), "{source}");
    }
}

#[test]
fn a_server_that_repeats_a_wrong_key_does_not_get_it_printed() {
    let bench = Bench::new(json!({"apiKey": "another-key-altogether"}));
    let mut command = bench.command(&["--rate", "10", "--duration", "1", "--no-probe"]);
    command.env("OPENAI_API_KEY", KEY);
    let ended = Ended::from(command.output().unwrap(), bench.folder.path());
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    assert_eq!(leaked(&ended), Vec::<String>::new());
}
