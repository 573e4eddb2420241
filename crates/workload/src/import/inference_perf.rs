//! A configuration of inference-perf: `load`, `api`, `server`, `tokenizer`, `data`, `metrics`, `report`, `storage`.
//!
//! Its defaults are written out where they differ from ours, so that the file says what is offered.

use serde_json::{Map, Value, json};

mod conversations;

use super::Lost;
use super::source::{Source, number, whole};
use super::written::Written;
use crate::config::looks_like_credential;
use conversations::Talks;

const WHOLE_REPORT: &str =
    "not needed: a summary, every stage and every percentile are always written";
const OWN_LANES: &str = "lanes and connections are found by the machine; for a cap on requests in flight set `load.concurrency` beside the rate";
const REASONS: &[(&str, &str)] = &[
    ("report", WHOLE_REPORT),
    ("storage", "where results go is `--output`"),
    ("load.interval", "stages follow each other without a pause"),
    ("load.num_workers", OWN_LANES),
    ("load.worker_max_concurrency", OWN_LANES),
    ("load.worker_max_tcp_connections", OWN_LANES),
    (
        "load.request_retries",
        "a request that may have been sent is never repeated: it is counted as failed",
    ),
    ("load.request_retry_backoff_sec", "nothing is repeated"),
    ("load.circuit_breakers", "set `stopWhen.errorRate` or `stopWhen.overload`"),
    ("circuit_breakers", "set `stopWhen.errorRate` or `stopWhen.overload`"),
    (
        "load.sweep",
        "give levels as `stages`, or let `tokenstorm run --find-capacity` find the highest",
    ),
    ("metrics.prometheus.scrape_interval", "queries go over the run's own window"),
    ("metrics.prometheus.google_managed", "give the address of a Prometheus"),
    ("metrics.prometheus.filters", "name queries in `metrics.prometheus.queries`"),
    ("server.api_key", "a credential: put it into OPENAI_API_KEY"),
    ("server.cert_path", "client certificates are not sent to a target"),
    ("server.key_path", "client certificates are not sent to a target"),
    ("tokenizer", "name a tokenizer.json by `prompts.tokenizer`; the bundled one counts here"),
    (
        "data.input_distribution.total_count",
        "prompts are made without end: `benchmark.requests` ends a run by number",
    ),
    ("data.output_distribution.total_count", "prompts are made without end"),
];

/// Its own, where a configuration leaves them out.
const LENGTHS: [(&str, f64); 4] =
    [("mean", 512.0), ("std_dev", 200.0), ("min", 10.0), ("max", 1_024.0)];

/// Writes our keys; what is left is the loss.
pub(super) fn translate(mut source: Source, written: &mut Written) -> Vec<Lost> {
    server(&mut source, written);
    let talks = conversations::find(&mut source, written);
    load(&mut source, written, talks);
    if talks.is_none() {
        data(&mut source, written);
    }
    if let Some(url) = source.text("metrics.prometheus.url") {
        written.set("metrics.prometheus.endpoint", url, "metrics.prometheus.url");
    }
    source.pass(&["metrics.type"]);
    source.finish(REASONS)
}

fn server(source: &mut Source, written: &mut Written) {
    if let Some(url) = source.text("server.base_url") {
        written.set("target.endpoint", url, "server.base_url");
    } else {
        source.tell("server.base_url", "it is not told: set `target.endpoint`");
    }
    if let Some(model) = source.text("server.model_name") {
        written.set("target.model", model, "server.model_name");
    }
    written.set(
        "target.ignoreEos",
        source.switch("server.ignore_eos").unwrap_or(true),
        "server.ignore_eos",
    );
    if source.text("server.type").is_some_and(|kind| kind == "mock") {
        source.tell("server.type", "for a server that is only simulated write `simulator: {}` instead of `target.endpoint`");
    }
    let short = source.has("api.type") || source.has("api.streaming") || source.has("api.headers");
    let api = if short { source.text("api.type") } else { source.text("api") };
    match api.as_deref() {
        Some("chat") => written.set("target.api", "chat", "api.type"),
        None | Some("completion") => written.set("target.api", "completions", "api.type"),
        Some(other) => source.tell("api.type", format!("`{other}` is not spoken here")),
    }
    let streaming = source.switch("api.streaming").unwrap_or(false);
    let from = if streaming {
        "api.streaming"
    } else {
        "api.streaming: there is no TTFT and no ITL without"
    };
    written.set("target.stream", streaming, from);
    headers(source, written);
}

/// Objectives travel as headers there; here they are also judged for each request.
fn headers(source: &mut Source, written: &mut Written) {
    let unit = source.text("api.slo_unit").unwrap_or_else(|| "ms".to_owned());
    let ttft = source.text("api.slo_ttft_header").unwrap_or_else(|| "x-slo-ttft-ms".to_owned());
    let tpot = source.text("api.slo_tpot_header").unwrap_or_else(|| "x-slo-tpot-ms".to_owned());
    let Some(Value::Object(all)) = source.take("api.headers") else { return };
    let (mut headers, mut each) = (Map::new(), Map::new());
    for (name, value) in all {
        for (header, metric) in [(&ttft, "ttft"), (&tpot, "tpot")] {
            if name.eq_ignore_ascii_case(header)
                && let Some(limit) = number(&value)
            {
                _ = each.insert(metric.to_owned(), json!(format!("{limit}{unit}")));
            }
        }
        if looks_like_credential(&name) {
            source.tell(
                &format!("api.headers.{name}"),
                "a credential: put a key into OPENAI_API_KEY",
            );
        } else {
            _ = headers.insert(name, value);
        }
    }
    if !headers.is_empty() {
        written.set("target.headers", Value::Object(headers), "api.headers");
    }
    if !each.is_empty() {
        written.set("slos", json!({"perRequest": each}), "api.headers");
    }
}

fn load(source: &mut Source, written: &mut Written, talks: Option<Talks>) {
    if let Some(seconds) = source.number("load.request_timeout") {
        written.set("client.timeouts.request", seconds, "load.request_timeout");
    }
    if let Some(seed) = source.count("load.base_seed") {
        written.set("benchmark.seed", seed, "load.base_seed");
    }
    adapters(source, written);
    let stages = stages(source);
    if let Some(talks) = talks {
        return talks.load(source, written, &stages);
    }
    match source.text("load.type").as_deref() {
        None | Some("constant") => open(source, written, &stages, "even"),
        Some("poisson") => open(source, written, &stages, "poisson"),
        Some("concurrent") => closed(source, written, &stages),
        Some(other) => source.tell(
            "load.type",
            format!(
                "`{other}` is not offered here; a trace of requests can be named by `load.schedule`"
            ),
        ),
    }
}

/// Two figures a stage; what else stands in one is told.
fn stages(source: &mut Source) -> Vec<Map<String, Value>> {
    let list = source.take("load.stages");
    let stages = list.as_ref().and_then(Value::as_array).into_iter().flatten();
    let stages: Vec<_> = stages.filter_map(Value::as_object).cloned().collect();
    for (place, stage) in stages.iter().enumerate() {
        for name in stage.keys() {
            if !["rate", "duration", "concurrency_level", "num_requests"].contains(&name.as_str()) {
                source
                    .tell(&format!("load.stages[{place}].{name}"), "there is nothing like it here");
            }
        }
    }
    stages
}

fn open(source: &mut Source, written: &mut Written, stages: &[Map<String, Value>], arrivals: &str) {
    let read: Vec<(f64, f64)> = stages
        .iter()
        .filter_map(|stage| Some((number(stage.get("rate")?)?, number(stage.get("duration")?)?)))
        .collect();
    if read.len() < stages.len() {
        source.tell("load.stages", "a stage without a rate and a duration is left out");
    }
    written.set("load.arrivals", arrivals, "load.type");
    match read.as_slice() {
        [] if !source.has("load.sweep") => {
            source.tell("load.stages", "there is none: set `load.rate`");
        }
        [] => {}
        [(rate, seconds)] => {
            written.set("load.rate", *rate, "load.stages[0].rate");
            written.set("benchmark.duration", *seconds, "load.stages[0].duration");
        }
        several => {
            let entry = |(rate, seconds): &(f64, f64)| json!({"rate": rate, "duration": seconds});
            let entries: Vec<Value> = several.iter().map(entry).collect();
            written.set("stages", Value::Array(entries), "load.stages");
        }
    }
}

/// A stage ends there when so many requests are answered; several are runs of their own here.
fn closed(source: &mut Source, written: &mut Written, stages: &[Map<String, Value>]) {
    let read: Vec<(u64, u64)> = stages
        .iter()
        .filter_map(|stage| {
            Some((whole(stage.get("concurrency_level")?)?, whole(stage.get("num_requests")?)?))
        })
        .collect();
    if read.len() < stages.len() || read.is_empty() {
        source.tell(
            "load.stages",
            "a stage without `concurrency_level` and `num_requests` is left out",
        );
    }
    match read.as_slice() {
        [] => {}
        [(users, requests)] => {
            written.set("load.concurrency", *users, "load.stages[0].concurrency_level");
            written.set("benchmark.requests", *requests, "load.stages[0].num_requests");
        }
        several => {
            let point = |(users, requests): &(u64, u64)| json!({"load.concurrency": users, "benchmark.requests": requests});
            let points: Vec<Value> = several.iter().map(point).collect();
            written.set("sweep.points", Value::Array(points), "load.stages: a run each");
        }
    }
}

fn adapters(source: &mut Source, written: &mut Written) {
    let split = source.list("load.lora_traffic_split");
    let class = |entry: &Value| {
        let (name, share) = (entry.get("name")?.as_str()?, number(entry.get("split")?)?);
        Some(json!({"name": name, "weight": share, "model": name}))
    };
    let classes: Vec<Value> = split.iter().filter_map(class).collect();
    if classes.len() < split.len() {
        source.tell("load.lora_traffic_split", "an entry without `name` and `split` is left out");
    }
    if !classes.is_empty() {
        written.set("classes", Value::Array(classes), "load.lora_traffic_split");
    }
}

fn data(source: &mut Source, written: &mut Written) {
    let kind = source.text("data.type").unwrap_or_else(|| "mock".to_owned());
    match kind.as_str() {
        "synthetic" | "random" => {
            lengths(source, written, "data.input_distribution", INPUT);
            lengths(source, written, "data.output_distribution", OUTPUT);
        }
        "shared_prefix" => shared_prefix(source, written),
        "shareGPT" => {
            written.set("prompts.type", "shareGPT", "data.type");
            match source.text("data.path") {
                Some(path) => written.set("prompts.dataset", path, "data.path: a relative one counts from this file's folder"),
                None => source.tell("data.path", "it is fetched from a hub there: name the file by `prompts.dataset`"),
            }
        }
        other => source.tell("data.type", format!("`{other}` is not read here: synthetic prompts of the usual lengths instead; a file can be named by `prompts.file`")),
    }
}

/// mean, stddev, min, max and distribution, as keys of ours.
type LengthKeys = [&'static str; 5];
const INPUT: LengthKeys = [
    "prompts.inputLength.mean",
    "prompts.inputLength.stddev",
    "prompts.inputLength.min",
    "prompts.inputLength.max",
    "prompts.inputLength.distribution",
];
const OUTPUT: LengthKeys = [
    "prompts.outputLength.mean",
    "prompts.outputLength.stddev",
    "prompts.outputLength.min",
    "prompts.outputLength.max",
    "prompts.outputLength.distribution",
];

/// A distribution of lengths, with its own defaults for what is left out.
fn lengths(source: &mut Source, written: &mut Written, section: &str, keys: LengthKeys) {
    let path = |name: &str| format!("{section}.{name}");
    let shape = source.text(&path("type")).unwrap_or_else(|| "normal".to_owned());
    for ((name, usual), key) in LENGTHS.into_iter().zip(keys) {
        let given = source.number(&path(name));
        let given =
            if name == "std_dev" { given.or_else(|| source.number(&path("std"))) } else { given };
        let wanted = match shape.as_str() {
            "fixed" => name == "mean",
            "uniform" => name == "min" || name == "max",
            _ => true,
        };
        if wanted {
            written.set(key, given.unwrap_or(usual), &path(name));
        }
    }
    match shape.as_str() {
        "normal" => {}
        "lognormal" | "uniform" | "fixed" => written.set(keys[4], shape, &path("type")),
        other => source.tell(
            &path("type"),
            format!("`{other}`: a normal distribution of the same mean and deviation instead"),
        ),
    }
}

/// Groups share a system prompt, and each group asks some questions again and again.
fn shared_prefix(source: &mut Source, written: &mut Written) {
    const SECTION: &str = "data.shared_prefix";
    let path = |name: &str| format!("{SECTION}.{name}");
    let mut either = |new: &str, old: &str, usual: u64| {
        let count = source.count(&path(new));
        count.or_else(|| source.count(&path(old))).unwrap_or(usual)
    };
    let groups = either("num_unique_system_prompts", "num_groups", 10);
    let questions = either("num_users_per_system_prompt", "num_prompts_per_group", 10);
    let system = either("system_prompt_len", "system_prompt_len", 100);
    let question = either("question_len", "question_len", 50);
    let answer = either("output_len", "output_len", 50);
    let levels = json!([
        {"name": "system prompt", "groups": groups, "tokens": system},
        {"name": "question", "groups": questions, "share": 1},
    ]);
    written.set("prompts.prefixes", levels, SECTION);
    let sides = [
        ("question_distribution", "question_len", INPUT, question),
        ("output_distribution", "output_len", OUTPUT, answer),
    ];
    for (distribution, length, keys, tokens) in sides {
        if source.has(&path(distribution)) {
            lengths(source, written, &path(distribution), keys);
        } else {
            written.set(keys[0], tokens, &path(length));
        }
    }
}
