//! The flags that `run` and its relatives share, and how they become a configuration.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use client::Credentials;
use serde_json::{Value, json};
use workload::{Config, Sources};

use crate::{
    exit::{Exit, Stop},
    judge,
};

/// What to offer, and to whom. Every key of docs/configuration.md can be given with `--set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// A benchmark in YAML; without one, flags and environment say everything
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to measure: a host, a base URL ending in /v1, or a complete URL
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The model's name [default: the server's own, if it lists one]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Requests in flight; with --rate the most of them
    #[arg(long, value_name = "N")]
    concurrency: Option<u64>,
    /// Requests per second, offered whatever the server's state
    #[arg(long, value_name = "PER_SECOND", allow_negative_numbers = true)]
    rate: Option<String>,
    /// How long load is offered: seconds, or a text such as 5m
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    duration: Option<String>,
    /// Ends the run after so many requests
    #[arg(long, value_name = "N")]
    requests: Option<u64>,
    /// `synthetic`, or a file of prompts: .txt, .jsonl, .json, .csv, or ShareGPT as sharegpt:FILE
    #[arg(long, value_name = "KIND|FILE")]
    prompts: Option<String>,
    /// Any key, such as load.rate=80; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Runs to make one after the other, each with the keys that it sets: a list of maps, or a grid (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    sweep: Option<PathBuf>,
    /// Variables to read beside the environment's, which win; never logged
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

/// A configuration and what proves who we are; the second is in no file that we write.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) credentials: Credentials,
    /// The variables of OpenTelemetry, credentials among them.
    pub(crate) otel: Vec<(String, String)>,
}

impl Settings {
    /// Merges flags, `--set`, environment and file.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        self.load_or(None)
    }

    /// The same; without `--config` of another file.
    pub(crate) fn load_or(&self, file: Option<PathBuf>) -> anyhow::Result<Loaded> {
        let sources = Sources {
            file: self.config.clone().or(file),
            env: environment(self.env_file.as_deref())?,
            sets: self.sets.clone(),
            flags: self.flags(),
            sweep: self.sweep.clone(),
        };
        load(sources, judge::problems)
    }

    /// The variables of OpenTelemetry, for a run whose configuration is elsewhere.
    pub(crate) fn otel(&self) -> anyhow::Result<Vec<(String, String)>> {
        otel_variables(self.env_file.as_deref())
    }

    fn flags(&self) -> Vec<(String, Value)> {
        let given = [
            ("target.endpoint", self.endpoint.as_ref().map(|url| json!(url))),
            ("target.model", self.model.as_ref().map(|name| json!(name))),
            ("load.concurrency", self.concurrency.map(|n| json!(n))),
            ("load.rate", self.rate.as_deref().map(number_or_text)),
            ("benchmark.duration", self.duration.as_deref().map(number_or_text)),
            ("benchmark.requests", self.requests.map(|n| json!(n))),
        ];
        let given = given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let mut flags: Vec<_> = given.collect();
        flags.extend(self.prompts.iter().flat_map(|prompts| prompt_flags(prompts)));
        flags
    }
}

/// What a worker proves itself to the target with: its own environment, and of a configuration nothing else.
pub(crate) fn own_credentials(
    config: Option<PathBuf>,
    env_file: Option<PathBuf>,
) -> anyhow::Result<Credentials> {
    let env = environment(env_file.as_deref())?;
    // Whatever the load may be, it is not this worker's to judge.
    Ok(load(Sources { file: config, env, ..Sources::default() }, |_| Vec::new())?.credentials)
}

/// Those of the variables that are OpenTelemetry's.
fn otel_of(env: &[(String, String)]) -> Vec<(String, String)> {
    env.iter().filter(|(name, _)| name.starts_with("OTEL_")).cloned().collect()
}

/// The same of a program that has no configuration.
pub(crate) fn otel_variables(env_file: Option<&Path>) -> anyhow::Result<Vec<(String, String)>> {
    Ok(otel_of(&environment(env_file)?))
}

fn load(sources: Sources, judge: impl Fn(&Config) -> Vec<String>) -> anyhow::Result<Loaded> {
    let otel = otel_of(&sources.env);
    let api_key = sources.env.iter().find(|(name, _)| name == "OPENAI_API_KEY");
    let api_key = api_key.map(|(_, value)| value.trim().to_owned()).filter(|key| !key.is_empty());
    let config =
        Config::judged(&sources, &judge).map_err(|lines| Stop::bad_configuration(&lines))?;
    let api_key = match config.api_key_file().map(|path| read_key(&path)) {
        Some(Ok(key)) => Some(key),
        Some(Err(problem)) => {
            let mut lines = judge(&config);
            if !lines.contains(&problem) {
                lines.push(problem);
            }
            return Err(Stop::bad_configuration(&config.in_order(lines)).into());
        }
        None => api_key,
    };
    let headers = config.credential_headers();
    let body = config.credential_body();
    Ok(Loaded { config, credentials: Credentials { api_key, headers, body }, otel })
}

/// A length of time in a flag: `90s`, `5m`, `1h`, or a number of seconds.
pub(crate) fn length(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[number.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err("a length of time is a number with ms, s, m or h".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` holds no number"))?;
    let length = Duration::try_from_secs_f64(number * seconds);
    length.map_err(|_| format!("`{text}` is no length of time"))
}

/// The process's own variables win over those of `--env-file`.
fn environment(env_file: Option<&Path>) -> anyhow::Result<Vec<(String, String)>> {
    let own: Vec<_> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let Some(path) = env_file else { return Ok(own) };
    let unreadable = |reason: String| {
        let line = format!("cannot read `--env-file {}`: {reason}", path.display());
        Stop::new(Exit::BadConfiguration, line)
    };
    let mut all = Vec::new();
    for variable in dotenvy::from_path_iter(path).map_err(|error| unreadable(error.to_string()))? {
        // The library's error quotes the line, which may hold a secret.
        let (name, value) =
            variable.map_err(|_| unreadable("a line is no NAME=VALUE".to_owned()))?;
        if own.iter().all(|(known, _)| *known != name) {
            all.push((name, value));
        }
    }
    all.extend(own);
    Ok(all)
}

/// `30` is a number, `5m` a text with a unit. What no number of JSON can be (`nan`, `1e309`) stays as it was given, so
/// that the refusal can show it.
fn number_or_text(text: &str) -> Value {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.map_or_else(|| json!(text), |number| json!(number))
}

fn prompt_flags(prompts: &str) -> Vec<(String, Value)> {
    let key = |path: &str, value: &str| (path.to_owned(), json!(value));
    match prompts.split_once(':') {
        _ if prompts == "synthetic" => vec![key("prompts.type", "synthetic")],
        Some((kind, file)) if kind.eq_ignore_ascii_case("sharegpt") => {
            vec![key("prompts.type", "shareGPT"), key("prompts.dataset", file)]
        }
        Some(_) | None => vec![key("prompts.type", "file"), key("prompts.file", prompts)],
    }
}

/// The key in a file, or why there is none.
pub(crate) fn read_key(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read `target.apiKeyFile` {shown}: {error}"))?;
    let key = text.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(format!("`target.apiKeyFile` {shown} holds no key in one line"));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_none_is_refused_as_it_was_given() {
        assert_eq!(number_or_text("0.5"), json!(0.5));
        assert_eq!(number_or_text("5m"), json!("5m"));
        for given in ["nan", "inf", "-inf", "1e309", "fast"] {
            let flags = vec![("load.rate".to_owned(), number_or_text(given))];
            let refused = Config::load(Sources { flags, ..Sources::default() }).unwrap_err();
            let told = refused[0].to_string();
            assert!(told.contains(&format!("`load.rate` is \"{given}\": give a number")), "{told}");
        }
    }

    #[test]
    fn lengths_of_time_have_units() {
        let seconds = |text| length(text).map(|length| length.as_secs_f64());
        let read = ["90", "1.5s", "250ms", "2m", "1h"].map(|text| seconds(text).unwrap());
        assert_eq!(read, [90.0, 1.5, 0.25, 120.0, 3_600.0]);
        for bad in ["", "s", "-1s", "5x", "1e400"] {
            assert!(length(bad).is_err(), "{bad}");
        }
    }
}
