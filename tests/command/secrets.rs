//! No credential is in any output or file.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
};

use serde_json::json;

use crate::support::{Bench, Ended, run_in};

const KEY: &str = "sk-very-secret-0123456789";

fn leaked(ended: &Ended) -> Vec<String> {
    let mut places = Vec::new();
    if ended.all_output().contains(KEY) {
        places.push("the terminal".to_owned());
    }
    for entry in std::fs::read_dir(ended.results.as_ref().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue; // pictures
        }
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
        let mut command = bench.command(&["--concurrency", "1", "--requests", "10"]);
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

/// One request is taken, refused in words that repeat its body, and returned.
fn repeating_server() -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let start = head.len();
            reader.read_line(&mut head).unwrap();
            let line = head[start..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let refusal = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(refusal.as_bytes()).unwrap();
        head + &body
    });
    (url, server)
}

#[test]
fn a_credential_in_the_body_or_in_any_header_is_sent_and_never_shown() {
    let (url, server) = repeating_server();
    let folder = tempfile::tempdir().unwrap();
    let mut command = run_in(folder.path());
    command.args(["--endpoint", &url, "--model", "m", "--no-probe"]);
    command.args(["--rate", "1", "--requests", "1", "--set"]);
    command.arg(format!("target.extraBody={{top_k: 5, store: {{user: u, api_key: {KEY}}}}}"));
    command.args(["--set", &format!("target.headers.x-pass={KEY}")]);
    command.env("TOKENSTORM_LOG", "trace");
    let ended = Ended::from(command.output().unwrap(), folder.path());
    assert_eq!(ended.code, Some(5), "{}", ended.stderr);
    let sent = server.join().unwrap();
    assert!(sent.contains(&format!("x-pass: {KEY}")), "{sent}");
    assert!(sent.contains(&format!(r#""store":{{"user":"u","api_key":"{KEY}"}}"#)), "{sent}");
    assert!(sent.contains(r#""top_k":5"#), "{sent}");
    assert_eq!(leaked(&ended), Vec::<String>::new());
    let config = std::fs::read_to_string(ended.results.unwrap().join("config.yaml")).unwrap();
    assert!(config.contains("[redacted]") && config.contains("top_k: 5"), "{config}");
}
