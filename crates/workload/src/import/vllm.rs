//! Options of `vllm bench serve`.
//!
//! Its loads are ours under other names: a rate with `--burstiness` is a gamma process, `--max-concurrency` beside a rate
//! is a cap that holds back, alone it is a closed loop; an infinite rate without a cap is one burst of all prompts.

use serde_json::{Map, Value, json};

use super::Lost;
use super::source::{Source, number};
use super::written::Written;
use crate::config::looks_like_credential;

/// What it takes where nothing is said.
const PROMPTS: u64 = 1_000;
const INPUT: f64 = 1_024.0;
const OUTPUT: f64 = 128.0;
const CUSTOM_OUTPUT: f64 = 256.0;

const WHOLE_REPORT: &str = "not needed: every percentile and every format is made of each run";
const REASONS: &[(&str, &str)] = &[
    ("tokenizer", "name a tokenizer.json by `prompts.tokenizer`; the bundled one counts here"),
    ("tokenizer_mode", "a tokenizer.json needs no mode"),
    ("trust_remote_code", "no code of a model is run"),
    ("percentile_metrics", WHOLE_REPORT),
    ("metric_percentiles", WHOLE_REPORT),
    ("save_result", WHOLE_REPORT),
    ("save_detailed", "no request's own text is kept"),
    ("append_result", WHOLE_REPORT),
    ("result_dir", "where results go is `--output`"),
    ("result_filename", "where results go is `--output`"),
    ("metadata", "give it with the run, as `--label NAME=VALUE`"),
    ("profile", "the server's profiler is not driven"),
    ("num_warmups", "in a closed loop a warm-up has a length: `benchmark.warmup`"),
    ("ready_check_timeout_sec", "give it with the run, as `--wait-for-target TIME`"),
    ("logprobs", "ask for them with `target.extraBody`"),
    ("lora_modules", "name adapters as `classes` with a `model` each"),
    ("request_id_prefix", "requests have no names of their own"),
    ("skip_tokenizer_init", "nothing is set up but what is used"),
    ("no_oversample", "a data set that is used up begins again, and the result says so"),
];

/// Writes our keys; what is left is the loss.
pub(super) fn translate(mut source: Source, written: &mut Written) -> Vec<Lost> {
    target(&mut source, written);
    let prompts = source.count("num_prompts").unwrap_or(PROMPTS);
    load(&mut source, written, prompts);
    data(&mut source, written);
    limits(&mut source, written);
    source.pass(&["disable_tqdm", "disable_shuffle"]);
    source.finish(REASONS)
}

fn target(source: &mut Source, written: &mut Written) {
    if let Some(label) = source.text("label") {
        written.set("benchmark.name", label, "label");
    }
    let backend = source.text("backend").or_else(|| source.text("endpoint_type"));
    let backend = backend.unwrap_or_else(|| "openai".to_owned());
    let chat = backend == "openai-chat";
    if !["openai", "vllm", "openai-chat"].contains(&backend.as_str()) {
        source.tell("backend", format!("`{backend}` is spoken to as an OpenAI completions server"));
    }
    let base = source.text("base_url").unwrap_or_else(|| {
        let host = source.text("host").unwrap_or_else(|| "127.0.0.1".to_owned());
        format!("http://{host}:{}", source.count("port").unwrap_or(8_000))
    });
    source.pass(&["host", "port"]);
    let usual = if chat { "/v1/chat/completions" } else { "/v1/completions" };
    let path = source.text("endpoint").unwrap_or_else(|| usual.to_owned());
    let url = format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/'));
    written.set("target.endpoint", url, "base_url, host, port, endpoint");
    if let Some(model) = source.text("served_model_name") {
        written.set("target.model", model, "served_model_name");
        source.lose("model", "the server knows it as `served_model_name`");
    } else if let Some(model) = source.text("model") {
        written.set("target.model", model, "model");
    }
    for (name, key) in
        [("ignore_eos", "target.ignoreEos"), ("insecure", "target.insecureSkipVerify")]
    {
        if let Some(on) = source.switch(name) {
            written.set(key, on, name);
        }
    }
    headers(source, written);
    body(source, written);
}

/// `--header X=Y`; a credential is not copied into a file.
fn headers(source: &mut Source, written: &mut Written) {
    let mut headers = Map::new();
    for header in source.list("header") {
        let pair = header.as_str().and_then(|text| text.split_once('='));
        match pair {
            Some((name, _)) if looks_like_credential(name) => source.tell(
                &format!("header {name}"),
                "a credential: put a key into OPENAI_API_KEY or into `target.headers` by hand",
            ),
            Some((name, value)) => _ = headers.insert(name.to_owned(), Value::from(value)),
            None => source.tell("header", "a header is NAME=VALUE"),
        }
    }
    if !headers.is_empty() {
        written.set("target.headers", Value::Object(headers), "header");
    }
}

/// What is sent with each request beside the prompt.
fn body(source: &mut Source, written: &mut Written) {
    const SAMPLING: [&str; 7] = [
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
    ];
    let mut body = match source.take("extra_body") {
        Some(Value::Object(map)) => map,
        Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or_else(|_| {
            source.tell("extra_body", "it is no JSON");
            Map::new()
        }),
        Some(_) | None => Map::new(),
    };
    for name in SAMPLING {
        if let Some(value) = source.number(name) {
            let whole = value.fract() == 0.0;
            let value = if whole { json!(value as i64) } else { json!(value) };
            _ = body.insert(name.to_owned(), value);
        }
    }
    if !body.is_empty() {
        written.set("target.extraBody", Value::Object(body), "extra_body and sampling");
    }
}

fn load(source: &mut Source, written: &mut Written, prompts: u64) {
    if let Some(seed) = source.count("seed") {
        written.set("benchmark.seed", seed, "seed");
    }
    written.set("benchmark.requests", prompts, "num_prompts");
    let burstiness = source.number("burstiness").unwrap_or(1.0);
    if source.has("ramp_up_strategy") {
        return ramp(source, written, prompts);
    }
    let mut rates = levels(source, "request_rate", "qps_list");
    let mut users = levels(source, "max_concurrency", "max_concurrency_list");
    if rates.len().max(1) * users.len().max(1) > 1 {
        return several(written, &rates, &users, prompts);
    }
    match (rates.pop().flatten(), users.pop().flatten()) {
        (Some(rate), users) => {
            written.set("load.rate", rate, "request_rate");
            match burstiness == 1.0 {
                true => written.set("load.arrivals", "poisson", "burstiness 1"),
                false => written.set("load.burstiness", burstiness, "burstiness"),
            }
            if let Some(users) = users {
                written.set(
                    "load.concurrency",
                    users,
                    "max_concurrency: what it holds back is counted",
                );
            }
            if let Some(first) = source.count("num_warmups").filter(|first| *first > 0) {
                written.set("benchmark.warmupRequests", first, "num_warmups");
                written.set(
                    "benchmark.requests",
                    prompts.saturating_add(first),
                    "num_prompts and num_warmups",
                );
            }
        }
        (None, Some(users)) => written.set("load.concurrency", users, "max_concurrency"),
        (None, None) => {
            written.set("load.type", "burst", "an infinite rate: all at once");
            written.set("load.rate", prompts, "num_prompts");
            written.set("load.burst.size", prompts, "num_prompts");
        }
    }
}

/// The levels of one option, or of the list beside it; an infinite rate is `None`.
fn levels(source: &mut Source, option: &str, list: &str) -> Vec<Option<f64>> {
    let own = source.list(option);
    let listed = source.list(list);
    let values = if listed.is_empty() { own } else { listed };
    values.iter().map(number).collect()
}

/// Every pair of a rate and a number of users is a run of its own.
fn several(written: &mut Written, rates: &[Option<f64>], users: &[Option<f64>], prompts: u64) {
    let one = |levels: &[Option<f64>]| if levels.is_empty() { vec![None] } else { levels.to_vec() };
    let mut points = Vec::new();
    for rate in one(rates) {
        for users in one(users) {
            let mut point = Map::new();
            match (rate, users) {
                (None, None) => {
                    _ = point.insert("load.type".to_owned(), json!("burst"));
                    _ = point.insert("load.rate".to_owned(), json!(prompts));
                    _ = point.insert("load.burst.size".to_owned(), json!(prompts));
                }
                (rate, users) => {
                    point.extend(rate.map(|rate| ("load.rate".to_owned(), json!(rate))));
                    point.extend(
                        users.map(|users| ("load.concurrency".to_owned(), json!(users as u64))),
                    );
                }
            }
            points.push(Value::Object(point));
        }
    }
    if rates.iter().any(Option::is_some) {
        written.set("load.arrivals", "poisson", "burstiness 1");
    }
    written.set("sweep.points", Value::Array(points), "qps_list and max_concurrency_list");
}

/// N prompts on the way from one rate to another: linear N = T·(a + b)/2, by equal factors N = T·(b − a)/ln(b/a).
fn ramp(source: &mut Source, written: &mut Written, prompts: u64) {
    let shape = source.text("ramp_up_strategy").unwrap_or_default();
    let (from, to) = (source.number("ramp_up_start_rps"), source.number("ramp_up_end_rps"));
    let (Some(from), Some(to)) = (from, to) else {
        return source
            .tell("ramp_up_strategy", "it lacks `ramp_up_start_rps` or `ramp_up_end_rps`");
    };
    let n = prompts as f64;
    let seconds = match shape.as_str() {
        "exponential" if from > 0.0 && to != from => n * (to / from).ln() / (to - from),
        _ => 2.0 * n / (from + to),
    };
    written.set("load.type", "ramp", "ramp_up_strategy");
    written.set("load.arrivals", "poisson", "");
    written.set("load.rate", to, "ramp_up_end_rps");
    written.set("load.ramp.from", from, "ramp_up_start_rps");
    written.set("load.ramp.over", seconds, "as long as num_prompts takes");
    written.set(
        "load.ramp.shape",
        if shape == "exponential" { "exponential" } else { "linear" },
        "ramp_up_strategy",
    );
    written.set("benchmark.duration", seconds, "as long as num_prompts takes");
    if let Some(users) = source.number("max_concurrency") {
        written.set("load.concurrency", users, "max_concurrency");
    }
    source.pass(&["request_rate"]);
}

fn data(source: &mut Source, written: &mut Written) {
    let name = source.text("dataset_name").unwrap_or_else(|| "random".to_owned());
    let path = source.text("dataset_path");
    let input = source.number("input_len");
    let output = source.number("output_len");
    match name.as_str() {
        "random" => random(source, written, input, output),
        "prefix_repetition" => prefixes(source, written),
        "sharegpt" => {
            written.set("prompts.type", "shareGPT", "dataset_name");
            file(source, written, path, "prompts.dataset");
            if let Some(tokens) = source.number("sharegpt_output_len").or(output) {
                written.set("prompts.outputLength.mean", tokens, "sharegpt_output_len");
            }
        }
        "custom" => {
            written.set("prompts.type", "file", "dataset_name");
            file(source, written, path, "prompts.file");
            let tokens = source.number("custom_output_len").or(output).unwrap_or(CUSTOM_OUTPUT);
            written.set("prompts.outputLength.mean", tokens, "custom_output_len");
            source.lose("skip_chat_template", "chat prompts are sent as messages, and the server's template applies");
            source.lose("custom_skip_chat_template", "chat prompts are sent as messages, and the server's template applies");
        }
        other => source.tell("dataset_name", format!("`{other}` is not read here: synthetic prompts instead; a file can be named by `prompts.file`")),
    }
}

fn file(source: &mut Source, written: &mut Written, path: Option<String>, key: &'static str) {
    match path {
        Some(path) => {
            written.set(key, path, "dataset_path: a relative one counts from this file's folder");
        }
        None => source.tell("dataset_path", format!("it is not told: name the file by `{key}`")),
    }
}

/// Lengths are uniform in `len·(1 ± ratio)`; the ratio is a number, or one for input and one for output.
fn random(source: &mut Source, written: &mut Written, input: Option<f64>, output: Option<f64>) {
    let ratio = match source.take("random_range_ratio") {
        Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other.unwrap_or(Value::from(0)),
    };
    let of =
        |name: &str| ratio.get(name).and_then(number).or_else(|| number(&ratio)).unwrap_or(0.0);
    let (input_ratio, output_ratio) = (of("input"), of("output"));
    let input = source.number("random_input_len").or(input).unwrap_or(INPUT);
    let output = source.number("random_output_len").or(output).unwrap_or(OUTPUT);
    lengths(written, INPUT_KEYS, input, input_ratio, "random_input_len, random_range_ratio");
    lengths(written, OUTPUT_KEYS, output, output_ratio, "random_output_len, random_range_ratio");
    if let Some(tokens) = source.count("random_prefix_len").filter(|tokens| *tokens > 0) {
        written.set("prompts.prefixes", json!([{"tokens": tokens}]), "random_prefix_len");
    }
}

const INPUT_KEYS: [&str; 4] = [
    "prompts.inputLength.mean",
    "prompts.inputLength.distribution",
    "prompts.inputLength.min",
    "prompts.inputLength.max",
];
const OUTPUT_KEYS: [&str; 4] = [
    "prompts.outputLength.mean",
    "prompts.outputLength.distribution",
    "prompts.outputLength.min",
    "prompts.outputLength.max",
];

fn lengths(written: &mut Written, keys: [&'static str; 4], mean: f64, ratio: f64, from: &str) {
    let [mean_key, shape, min, max] = keys;
    if ratio <= 0.0 {
        written.set(mean_key, mean, from);
        return written.set(shape, "fixed", from);
    }
    written.set(shape, "uniform", from);
    written.set(min, (mean * (1.0 - ratio)).floor().max(1.0), from);
    written.set(max, (mean * (1.0 + ratio)).ceil(), from);
}

fn prefixes(source: &mut Source, written: &mut Written) {
    let mut tokens = |name: &str, usual: u64| source.count(name).unwrap_or(usual);
    let (prefix, suffix) =
        (tokens("prefix_repetition_prefix_len", 256), tokens("prefix_repetition_suffix_len", 256));
    let groups = tokens("prefix_repetition_num_prefixes", 10);
    let output = tokens("prefix_repetition_output_len", 128);
    written.set(
        "prompts.prefixes",
        json!([{"groups": groups, "tokens": prefix}]),
        "prefix_repetition_num_prefixes, …_prefix_len",
    );
    lengths(written, INPUT_KEYS, suffix as f64, 0.0, "prefix_repetition_suffix_len");
    lengths(written, OUTPUT_KEYS, output as f64, 0.0, "prefix_repetition_output_len");
}

/// `--goodput ttft:500 tpot:50 e2el:1000`, in milliseconds.
fn limits(source: &mut Source, written: &mut Written) {
    let mut each = Map::new();
    for limit in source.list("goodput") {
        let pair = limit.as_str().and_then(|text| text.split_once(':'));
        let read = pair.and_then(|(name, ms)| Some((name, ms.trim().parse::<f64>().ok()?)));
        match read {
            Some((name @ ("ttft" | "tpot" | "e2el"), ms)) => {
                let name = if name == "e2el" { "e2e" } else { name };
                _ = each.insert(name.to_owned(), json!(format!("{ms}ms")));
            }
            _ => source.tell("goodput", format!("{limit} is no limit such as ttft:500")),
        }
    }
    if !each.is_empty() {
        written.set("slos", json!({"perRequest": each}), "goodput");
    }
}
