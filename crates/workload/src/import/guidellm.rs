//! A scenario of GuideLLM, or the options of `guidellm benchmark`.
//!
//! Its layouts have changed: `rate_type` became `profile`, a profile's rates moved into it, and all of it may stand under
//! `args` or `spec`. Names with hyphens and with underscores are the same.

use serde_json::{Map, Value, json};

use super::Lost;
use super::source::{Source, number};
use super::written::Written;
use crate::config::looks_like_credential;

/// Requests that a data set of synthetic text has there, where nothing ends the run.
const SAMPLES: u64 = 1_000;
/// Users of our closed loop that stand for "as many as the server takes".
const FLOOD: u64 = 512;

const WHOLE_REPORT: &str = "not needed: every format is made of each run";
const REASONS: &[(&str, &str)] = &[
    ("processor", "name a tokenizer.json by `prompts.tokenizer`; the bundled one counts here"),
    ("processor_args", "a tokenizer.json needs none"),
    ("outputs", WHOLE_REPORT),
    ("output_path", "where results go is `--output`"),
    ("output_dir", "where results go is `--output`"),
    ("output_formats", WHOLE_REPORT),
    ("output_extras", WHOLE_REPORT),
    ("disable_console", "give it with the run, as `--json`"),
    ("disable_console_outputs", "give it with the run, as `--json`"),
    ("disable_progress", "progress goes to a terminal alone"),
    ("display_scheduler_stats", WHOLE_REPORT),
    ("sample_requests", "no request's own text is kept"),
    ("max_errors", "set `stopWhen.errorRate`"),
    ("max_global_error_rate", "set `stopWhen.errorRate`"),
    ("data_column_mapper", "columns are found by name: see `prompts.file`"),
    ("data_preprocessors", "prompts are sent as they are"),
    ("data_num_workers", "prompts are made ahead by as many threads as are free"),
    ("data_samples", "set `benchmark.requests`"),
    ("data_args", "columns are found by name: see `prompts.file`"),
    ("dataloader_kwargs", "prompts are made ahead by as many threads as are free"),
];

/// Writes our keys; what is left is the loss.
pub(super) fn translate(mut source: Source, written: &mut Written) -> Vec<Lost> {
    for wrapper in ["spec", "args"] {
        if let Some(Value::Object(inner)) = source.take(wrapper) {
            source.join(inner);
        }
    }
    if let Some(text) = source.text("description") {
        written.set("benchmark.name", name_of(&text), "description");
    }
    target(&mut source, written);
    let turns = data(&mut source, written);
    if let Some(turns) = turns {
        conversations(&mut source, written, turns);
    }
    let turns = turns.unwrap_or(1.0);
    let ends = ends(&mut source, written, turns);
    load(&mut source, written, ends, turns);
    source.pass(&["apiVersion", "kind", "metadata", "prefer_response_metrics"]);
    source.finish(REASONS)
}

/// Each turn is a request there, and rates and numbers are those of requests; here they are those of conversations.
fn conversations(source: &mut Source, written: &mut Written, turns: f64) {
    written.set("sessions.turns.mean", turns, "turns");
    if written.has("target.api") {
        written.set("target.api", "chat", "a completion has no turns");
        source.tell("request_type", "conversations are asked as chat");
    }
}

/// The first words of a description.
fn name_of(text: &str) -> String {
    let sentence = text.split(['.', ':', ';', '\n']).next().unwrap_or(text);
    sentence.split_whitespace().take(6).collect::<Vec<_>>().join("-").to_lowercase()
}

fn target(source: &mut Source, written: &mut Written) {
    let backend = source.take("backend");
    let own = backend.as_ref().and_then(Value::as_object).cloned();
    if let Some(other) =
        backend.as_ref().and_then(Value::as_str).filter(|name| *name != "openai_http")
    {
        source.tell("backend", format!("`{other}` is spoken to by HTTP, as an OpenAI server"));
    }
    let (mut target, mut model) = (source.text("target"), source.text("model"));
    if let Some(own) = own {
        let text = |name: &str| own.get(name).and_then(Value::as_str).map(str::to_owned);
        target = target.or_else(|| text("target"));
        model = model.or_else(|| text("model"));
    }
    match target {
        Some(url) => written.set("target.endpoint", url, "target"),
        None => source.tell(
            "target",
            "it is not told: set `target.endpoint`, or give `--endpoint` with the run",
        ),
    }
    if let Some(model) = model {
        written.set("target.model", model, "model");
    }
    source.pass(&["backend_type"]);
    let format = source.text("request_type").or_else(|| source.text("request_format"));
    match format.as_deref() {
        Some("text_completions" | "/v1/completions") => {
            written.set("target.api", "completions", "request_type");
        }
        None | Some("chat_completions" | "/v1/chat/completions") => {}
        Some(other) => {
            source.tell("request_type", format!("`{other}` is not spoken here: chat instead"));
        }
    }
    backend_options(source, written);
}

fn backend_options(source: &mut Source, written: &mut Written) {
    let section = if source.has("backend_args") { "backend_args" } else { "backend_kwargs" };
    if let Some(Value::String(text)) = source.take_if(section, Value::is_string)
        && let Ok(Value::Object(inner)) = serde_json::from_str(&text)
    {
        source.put(section, Value::Object(inner));
    }
    let path = |name: &str| format!("{section}.{name}");
    if let Some(seconds) = source.number(&path("timeout")) {
        written.set("client.timeouts.request", seconds, &path("timeout"));
    }
    if source.switch(&path("verify")) == Some(false) {
        written.set("target.insecureSkipVerify", true, &path("verify"));
    }
    if source.switch(&path("stream")) == Some(false) {
        written.set("target.stream", false, &path("stream"));
    }
    for name in ["extras.body", "extra_body"] {
        if let Some(body @ Value::Object(_)) = source.take(&path(name)) {
            written.set("target.extraBody", body, &path(name));
        }
    }
    if let Some(Value::Object(headers)) = source.take(&path("headers")) {
        let (secret, harmless): (Map<_, _>, Map<_, _>) =
            headers.into_iter().partition(|(name, _)| looks_like_credential(name));
        for (name, _) in secret {
            source.tell(&path(&name), "a credential: put a key into OPENAI_API_KEY");
        }
        if !harmless.is_empty() {
            written.set("target.headers", Value::Object(harmless), &path("headers"));
        }
    }
    source.lose(&path("api_key"), "a credential: put it into OPENAI_API_KEY");
}

/// What ends one benchmark.
#[derive(Clone, Copy)]
struct Ends {
    seconds: Option<f64>,
    requests: Option<u64>,
}

/// Length, warm-up and cool-down. There both are a part of the run, here they stand around it.
fn ends(source: &mut Source, written: &mut Written, turns: f64) -> Ends {
    let seconds = source.number("max_seconds").or_else(|| source.number("max_duration"));
    let requests = source.count("max_requests");
    let requests = requests.map(|requests| (requests as f64 / turns).ceil() as u64);
    let mut part = |names: [&str; 2], key: &'static str| {
        let share = names.iter().find_map(|name| {
            let inner = ["percent", "value"].iter().find_map(|inner| source.number_in(name, inner));
            inner.or_else(|| source.number(name))
        })?;
        let seconds = match (share < 1.0, seconds) {
            (true, Some(seconds)) => share * seconds,
            (true, None) => return None,
            (false, _) => share,
        };
        written.set(key, seconds, names[0]);
        Some(seconds)
    };
    let warmup = part(["warmup", "warmup_percent"], "benchmark.warmup").unwrap_or(0.0);
    let cooldown = part(["cooldown", "cooldown_percent"], "benchmark.cooldown").unwrap_or(0.0);
    let measured = seconds.map(|seconds| (seconds - warmup - cooldown).max(1.0));
    let requests = if measured.is_none() { requests.or(Some(SAMPLES)) } else { requests };
    if let Some(share) = source.number("max_error_rate") {
        written.set("stopWhen.errorRate", share, "max_error_rate");
    }
    for name in ["over_saturation", "detect_saturation"] {
        let inside = format!("{name}.enabled");
        let on = if source.has(&inside) { source.switch(&inside) } else { source.switch(name) };
        if on == Some(true) {
            written.set("stopWhen.saturation", true, name);
        }
    }
    Ends { seconds: measured, requests }
}

fn load(source: &mut Source, written: &mut Written, ends: Ends, turns: f64) {
    if let Some(seconds) = ends.seconds {
        written.set("benchmark.duration", seconds, "max_seconds, less warm-up and cool-down");
    }
    if let Some(requests) = ends.requests {
        let from = if turns > 1.0 { "max_requests / turns" } else { "max_requests" };
        written.set("benchmark.requests", requests, from);
    }
    if let Some(seed) = source.count("random_seed") {
        written.set("benchmark.seed", seed, "random_seed");
    }
    let (kind, levels) = profile(source);
    let rates: Vec<f64> = levels.iter().map(|rate| rate / turns).collect();
    match kind.as_str() {
        "synchronous" => written.set("load.concurrency", 1, "profile synchronous"),
        "concurrent" => several(written, &levels, "concurrency", ends),
        "throughput" => {
            let users = levels.first().map_or(FLOOD, |users| *users as u64);
            written.set(
                "load.concurrency",
                users,
                "profile throughput: as many as the server may take",
            );
        }
        "constant" | "async" => several(written, &rates, "rate", ends),
        "poisson" => {
            written.set("load.arrivals", "poisson", "profile");
            several(written, &rates, "rate", ends);
        }
        other => {
            written.set("load.concurrency", 1, "the first step of a sweep");
            source.tell("profile", format!("`{other}` finds its own rates: give them as `stages` or `sweep`, or use `tokenstorm run --find-capacity`"));
        }
    }
    if let Some(seconds) = source.number("rampup").filter(|seconds| *seconds > 0.0) {
        match kind.as_str() {
            "concurrent" | "throughput" => written.set("load.rampUp", seconds, "rampup"),
            _ => source.tell("rampup", "of a rate it is `load.type: ramp`"),
        }
    }
}

/// The profile's name and its levels, wherever they stand.
fn profile(source: &mut Source) -> (String, Vec<f64>) {
    let mut levels = Vec::new();
    let inside = ["rate", "rates", "streams", "max_concurrency"];
    let kind = match source.take_if("profile", Value::is_object) {
        Some(profile) => {
            let mut inner = Source::new(profile.as_object().cloned().unwrap_or_default());
            let kind = inner.text("kind").or_else(|| inner.text("type"));
            levels = inside
                .iter()
                .map(|name| inner.numbers(name))
                .find(|found| !found.is_empty())
                .unwrap_or_default();
            for lost in inner.finish(&[]) {
                source.tell(&format!("profile.{}", lost.path), lost.reason);
            }
            kind
        }
        None => ["profile", "rate_type", "strategy"].iter().find_map(|name| source.text(name)),
    };
    let outside = source.numbers("rate");
    if levels.is_empty() {
        levels = outside;
    }
    (kind.unwrap_or_else(|| "sweep".to_owned()), levels)
}

/// One level is the load; several are stages where time ends each, and else runs of their own.
fn several(written: &mut Written, levels: &[f64], what: &'static str, ends: Ends) {
    let whole = |level: &f64| if what == "rate" { json!(level) } else { json!(*level as u64) };
    let (own, key) =
        if what == "rate" { ("rate", "load.rate") } else { ("concurrency", "load.concurrency") };
    match (levels, ends) {
        ([], _) => {}
        ([level], _) => written.set(key, whole(level), "rate"),
        (several, Ends { seconds: Some(seconds), requests: None }) => {
            let stage = |level: &f64| json!({own: whole(level), "duration": seconds});
            written.set(
                "stages",
                several.iter().map(stage).collect::<Value>(),
                "rate: one stage each",
            );
            // Each stage has a length of its own, and the run has theirs together.
            written.set(
                "benchmark.duration",
                seconds * several.len() as f64,
                "max_seconds of each rate",
            );
        }
        (several, _) => {
            let point = |level: &f64| json!({key: whole(level)});
            written.set(
                "sweep.points",
                several.iter().map(point).collect::<Value>(),
                "rate: a run each",
            );
        }
    }
}

/// Where conversations are asked for, how many turns they have.
fn data(source: &mut Source, written: &mut Written) -> Option<f64> {
    let mut all = match source.take("data") {
        None => {
            source.tell("data", "it is not told: synthetic prompts of the usual lengths");
            return None;
        }
        Some(Value::Array(entries)) => entries,
        Some(one) => vec![one],
    };
    if all.len() > 1 {
        source
            .tell("data", "only the first of several data sets is used; give others as `classes`");
    }
    if source.text("data_sampler").is_some() {
        written.set("prompts.shuffle", true, "data_sampler");
    }
    match all.swap_remove(0) {
        Value::Object(map) => synthetic(source, written, map),
        Value::String(text) => described(source, written, &text),
        other => {
            source.tell("data", format!("{other} is no data set"));
            None
        }
    }
}

/// A map in JSON, pairs such as `prompt_tokens=256,output_tokens=128`, or the name of a file.
fn described(source: &mut Source, written: &mut Written, text: &str) -> Option<f64> {
    if let Ok(Value::Object(map)) = serde_json::from_str(text) {
        return synthetic(source, written, map);
    }
    if text.contains("prompt_tokens=") {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        let map = pairs.map(|(name, value)| (name.trim().to_owned(), Value::from(value.trim())));
        return synthetic(source, written, map.collect());
    }
    let ending = text.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending {
        "txt" | "jsonl" | "json" | "csv" => {
            written.set(
                "prompts.file",
                text,
                "data: a relative path counts from this file's folder",
            );
        }
        _ => source.tell("data", format!("{text} is on a hub: name a file by `prompts.file`")),
    }
    None
}

fn synthetic(source: &mut Source, written: &mut Written, map: Map<String, Value>) -> Option<f64> {
    const KEYS: [(&str, &str); 8] = [
        ("prompt_tokens", "prompts.inputLength.mean"),
        ("prompt_tokens_stdev", "prompts.inputLength.stddev"),
        ("prompt_tokens_min", "prompts.inputLength.min"),
        ("prompt_tokens_max", "prompts.inputLength.max"),
        ("output_tokens", "prompts.outputLength.mean"),
        ("output_tokens_stdev", "prompts.outputLength.stddev"),
        ("output_tokens_min", "prompts.outputLength.min"),
        ("output_tokens_max", "prompts.outputLength.max"),
    ];
    let mut inner = Source::underscored(map);
    for (name, key) in KEYS {
        if let Some(tokens) = inner.number(name) {
            written.set(key, tokens, name);
        }
    }
    let bounded = |side: &str| {
        let key = |last: &str| format!("prompts.{side}Length.{last}");
        !written.has(&key("stddev")) && written.has(&key("min")) && written.has(&key("max"))
    };
    let (input, output) = (bounded("input"), bounded("output"));
    if input {
        written.set("prompts.inputLength.distribution", "uniform", "prompt_tokens_min, …_max");
    }
    if output {
        written.set("prompts.outputLength.distribution", "uniform", "output_tokens_min, …_max");
    }
    prefixes(&mut inner, written);
    let turns = inner.number("turns").filter(|turns| *turns > 1.0);
    inner.lose("branches", "a conversation has no branches here");
    inner.pass(&["kind", "type", "source"]);
    inner.lose("samples", "prompts are made without end: set `benchmark.requests`");
    for lost in inner.finish(&[]) {
        source.tell(&format!("data.{}", lost.path), lost.reason);
    }
    turns
}

/// Beginnings that prompts share, of one length.
fn prefixes(data: &mut Source, written: &mut Written) {
    let buckets = data.list("prefix_buckets");
    let bucket = |bucket: &Value| {
        Some((number(bucket.get("prefix_tokens")?)?, bucket.get("prefix_count").and_then(number)))
    };
    let first = buckets.first().and_then(bucket);
    if let Some((tokens, groups)) = first.or_else(|| Some((data.number("prefix_tokens")?, None))) {
        let level = json!({"groups": groups.unwrap_or(1.0) as u64, "tokens": tokens as u64});
        written.set("prompts.prefixes", json!([level]), "prefix_tokens");
    }
    if buckets.len() > 1 {
        data.tell("prefix_buckets", "only the first is used");
    }
}
