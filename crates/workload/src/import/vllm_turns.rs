//! Conversations of vLLM's benchmarks: the options of `benchmark_serving_multi_turn.py`, and the file that describes what it
//! generates (`"filetype": "generate_conversations"`).
//!
//! The two are files of their own, so each is imported for itself. A turn is a message there, whoever's it is; here it is
//! a question with its answer.

use serde_json::{Map, Value, json};

use super::Lost;
use super::source::Source;
use super::written::Written;

/// The ratio of a lognormal distribution's median to its mean, where only the mean is told.
const MEDIAN_RATIO: f64 = 0.85;

const NO_RETRIES: &str =
    "a request that may have been sent is never repeated: it is counted as failed";
const WHOLE_REPORT: &str = "not needed: every percentile and every format is made of each run";
const REASONS: &[(&str, &str)] = &[
    ("text_files", "synthetic text is made of words: nothing is read for it"),
    ("max_retries", NO_RETRIES),
    ("output_file", "no request's own text is kept"),
    ("print_content", "no request's own text is kept"),
    ("verify_output", "answers are not held against recorded ones"),
    ("excel_output", WHOLE_REPORT),
    ("stats_json_output", WHOLE_REPORT),
    ("warmup_step", "a warm-up has a length: `benchmark.warmup`"),
    ("warmup_percentages", "a warm-up has a length: `benchmark.warmup`"),
    ("no_early_stop", "a load ends for all users together"),
    ("conversation_sampling", "each user has one conversation at a time"),
    ("trust_remote_code", "no code of a model is run"),
    ("max_num_requests", "a number of requests here is one of conversations: `benchmark.requests`"),
    ("send_conversation_id", "requests have no names of their own"),
];

/// Whether a file's names, or a command's options, are these.
pub(super) fn is_one(root: &Map<String, Value>) -> bool {
    let names = ["filetype", "input_file", "num_clients", "max_active_conversations"];
    root.keys().any(|key| names.contains(&key.replace('-', "_").as_str()))
}

/// Writes our keys; what is left is the loss.
pub(super) fn translate(mut source: Source, written: &mut Written) -> Vec<Lost> {
    if source.has("filetype") {
        conversations(&mut source, written);
    } else {
        target(&mut source, written);
        load(&mut source, written);
    }
    source.pass(&["filetype", "print_stats", "verbose"]);
    source.finish(REASONS)
}

fn target(source: &mut Source, written: &mut Written) {
    let url = source.text("url").unwrap_or_else(|| "http://localhost:8000".to_owned());
    written.set("target.endpoint", url, "url");
    let served = source.text("served_model_name");
    if let Some(model) = served.clone() {
        written.set("target.model", model, "served_model_name");
        source.lose("model", "the server knows it as `served_model_name`");
    } else if let Some(model) = source.text("model") {
        written.set("target.model", model, "model");
    }
    if source.switch("no_stream") == Some(true) {
        written.set("target.stream", false, "no_stream");
    }
    if let Some(seconds) = source.number("request_timeout_sec") {
        written.set("client.timeouts.request", seconds, "request_timeout_sec");
    }
}

fn load(source: &mut Source, written: &mut Written) {
    let clients = source.count("num_clients").unwrap_or(1);
    written.set("load.concurrency", clients, "num_clients");
    if source.count("max_active_conversations").is_some_and(|active| active != clients) {
        source.tell(
            "max_active_conversations",
            "there a client has several conversations by turns; here each user has one",
        );
    }
    if let Some(seed) = source.count("seed") {
        written.set("benchmark.seed", seed, "seed");
    }
    if let Some(rate) = source.number("request_rate").filter(|rate| *rate > 0.0) {
        let from = "request_rate: of each client, in gaps of an exponential distribution";
        for key in ["sessions.thinkTime.mean", "load.thinkTime.mean"] {
            written.set(key, 1.0 / rate, from);
        }
    }
    if let Some(messages) = source.count("max_turns") {
        written.set("sessions.turns.max", messages.div_ceil(2), "max_turns: of messages");
    }
    let (least, most) = (source.number("limit_min_tokens"), source.number("limit_max_tokens"));
    if let (Some(least), Some(most)) = (least, most)
        && least > 0.0
        && most > 0.0
    {
        written.set("prompts.outputLength.mean", most, "limit_max_tokens");
        match least == most {
            true => written.set("target.minTokens", true, "limit_min_tokens"),
            false => {
                source
                    .tell("limit_min_tokens", "a server is asked for all tokens, or for no least");
            }
        }
    }
    source.lose(
        "input_file",
        "a file that describes conversations is imported for itself, and its keys go beside these; conversations of ShareGPT are named by `prompts.dataset` as they are published",
    );
}

fn conversations(source: &mut Source, written: &mut Written) {
    let count = source.count("num_conversations").unwrap_or(1);
    written.set("benchmark.requests", count, "num_conversations");
    source.tell("filetype", "users and rates are options of the command: set `target` and `load`");
    distribution(source, written, "prompt_input.num_turns", TURNS);
    distribution(source, written, "prompt_input.num_tokens", INPUT);
    distribution(source, written, "prompt_output.num_tokens", OUTPUT);
    let mut levels = Vec::new();
    let common = fixed(source, "prompt_input.common_prefix_num_tokens");
    levels.extend(common.map(|tokens| json!({"name": "common", "tokens": tokens})));
    let own = fixed(source, "prompt_input.prefix_num_tokens");
    let of_one = |tokens: u64| json!({"name": "conversation", "groups": count, "tokens": tokens});
    levels.extend(own.map(of_one));
    if !levels.is_empty() {
        written.set("prompts.prefixes", Value::Array(levels), "prompt_input, its prefixes");
    }
}

/// The keys of one distribution of ours, and how many of theirs are one.
struct Keys {
    mean: &'static str,
    stddev: &'static str,
    min: &'static str,
    max: &'static str,
    distribution: &'static str,
    in_one: f64,
}

const TURNS: Keys = Keys {
    mean: "sessions.turns.mean",
    stddev: "sessions.turns.stddev",
    min: "sessions.turns.min",
    max: "sessions.turns.max",
    distribution: "sessions.turns.distribution",
    in_one: 2.0,
};
const INPUT: Keys = Keys {
    mean: "prompts.inputLength.mean",
    stddev: "prompts.inputLength.stddev",
    min: "prompts.inputLength.min",
    max: "prompts.inputLength.max",
    distribution: "prompts.inputLength.distribution",
    in_one: 1.0,
};
const OUTPUT: Keys = Keys {
    mean: "prompts.outputLength.mean",
    stddev: "prompts.outputLength.stddev",
    min: "prompts.outputLength.min",
    max: "prompts.outputLength.max",
    distribution: "prompts.outputLength.distribution",
    in_one: 1.0,
};

/// One of theirs, read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Drawn {
    Constant(f64),
    Uniform(f64, f64),
    /// Mean and standard deviation.
    Lognormal(f64, f64),
    /// The same of a normal one that stands for another.
    Normal(f64, f64),
}

fn distribution(source: &mut Source, written: &mut Written, path: &str, keys: Keys) {
    let Some((drawn, max)) = drawn(source, path) else { return };
    let whole = |messages: f64| (messages / keys.in_one).ceil();
    let max = max.map(whole);
    match drawn {
        Drawn::Constant(value) => {
            written.set(keys.mean, whole(value), path);
            written.set(keys.distribution, "fixed", path);
        }
        Drawn::Uniform(min, max) => {
            written.set(keys.distribution, "uniform", path);
            written.set(keys.min, whole(min), path);
            written.set(keys.max, whole(max), path);
        }
        Drawn::Lognormal(mean, stddev) | Drawn::Normal(mean, stddev) => {
            written.set(keys.mean, rounded(mean / keys.in_one), path);
            written.set(keys.stddev, rounded(stddev / keys.in_one), path);
            if matches!(drawn, Drawn::Lognormal(..)) {
                written.set(keys.distribution, "lognormal", path);
            }
            if let Some(max) = max {
                written.set(keys.max, max, path);
            }
        }
    }
}

/// To thousandths, so that a file has figures that people write.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// A length that all have: of a distribution its mean, and that is told.
fn fixed(source: &mut Source, path: &str) -> Option<u64> {
    let (drawn, _) = drawn(source, path)?;
    let mean = match drawn {
        Drawn::Constant(value) => return Some(value as u64).filter(|tokens| *tokens > 0),
        Drawn::Uniform(min, max) => f64::midpoint(min, max),
        Drawn::Lognormal(mean, _) | Drawn::Normal(mean, _) => mean,
    };
    source.tell(path, "a shared beginning has one length: the mean");
    Some(mean.round() as u64).filter(|tokens| *tokens > 0)
}

/// A distribution, and the bound on it.
fn drawn(source: &mut Source, path: &str) -> Option<(Drawn, Option<f64>)> {
    let kind = source.text(&format!("{path}.distribution"))?;
    let mut number = |name: &str| source.number(&format!("{path}.{name}"));
    let max = number("max");
    let read = match kind.as_str() {
        "constant" => number("value").map(Drawn::Constant),
        "uniform" => number("min").zip(max).map(|(min, max)| Drawn::Uniform(min, max)),
        "lognormal" => match number("average") {
            Some(average) => {
                // median / mean = exp(−σ² / 2), and so the deviation is mean · √(exp(σ²) − 1).
                let ratio = number("median_ratio").unwrap_or(MEDIAN_RATIO);
                Some(Drawn::Lognormal(average, average * (1.0 / (ratio * ratio) - 1.0).sqrt()))
            }
            None => number("mean").zip(number("sigma")).map(|(mu, sigma)| {
                let mean = (mu + sigma * sigma / 2.0).exp();
                Drawn::Lognormal(mean, mean * ((sigma * sigma).exp() - 1.0).sqrt())
            }),
        },
        "poisson" => number("alpha").map(|mean| Drawn::Normal(mean, mean.sqrt())),
        _ => None,
    };
    match read {
        Some(Drawn::Normal(..)) => {
            source.tell(path, "a normal distribution of the same mean and deviation instead");
        }
        None => source.tell(path, format!("`{kind}` is not drawn here: set it by hand")),
        Some(_) => {}
    }
    Some((read?, max))
}
