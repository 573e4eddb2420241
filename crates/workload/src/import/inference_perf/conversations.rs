//! Conversations of inference-perf: `conversation_replay`, and the users of a `shared_prefix` with `enable_multi_turn_chat`.
//!
//! There a load counts requests, and here conversations; so numbers and rates are divided by the turns that one has. Users
//! of shared prefixes never end there: here they have as many turns as the stage has requests for each.

use serde_json::{Map, Value, json};

use super::super::source::{Source, number, whole};
use super::super::written::Written;
use super::{INPUT, LengthKeys, OUTPUT, lengths};

const PREFIX: &str = "data.shared_prefix";
const REPLAY: &str = "data.conversation_replay";
/// Of `conversation_replay`, where they are left out.
const USUAL_CONVERSATIONS: u64 = 200;
const USUAL_SHARED_PROMPT: u64 = 8_359;

const TURNS: LengthKeys = [
    "sessions.turns.mean",
    "sessions.turns.stddev",
    "sessions.turns.min",
    "sessions.turns.max",
    "sessions.turns.distribution",
];

/// Who talks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Talks {
    /// So many users, each of whom goes on for as long as there is load.
    Users(u64),
    /// Conversations of so many turns on average, one after the other.
    Replayed(f64),
}

/// Conversations, where there are any; what they say is written.
pub(super) fn find(source: &mut Source, written: &mut Written) -> Option<Talks> {
    let kind = source.peek("data.type").and_then(Value::as_str).map(str::to_owned);
    let many = source.peek(&format!("{PREFIX}.enable_multi_turn_chat"));
    let many = many.and_then(Value::as_bool) == Some(true);
    let talks = match kind.as_deref() {
        Some("conversation_replay") => replayed(source, written),
        Some("shared_prefix") if many => users(source, written),
        _ => return None,
    };
    source.pass(&["data.type"]);
    if written.has("target.api") {
        written.set("target.api", "chat", "a completion has no turns");
    }
    Some(talks)
}

fn users(source: &mut Source, written: &mut Written) -> Talks {
    let path = |name: &str| format!("{PREFIX}.{name}");
    let mut either = |new: &str, old: &str| {
        let count = source.count(&path(new));
        count.or_else(|| source.count(&path(old))).unwrap_or(10)
    };
    let groups = either("num_unique_system_prompts", "num_groups");
    let each = either("num_users_per_system_prompt", "num_prompts_per_group");
    let system = source.count(&path("system_prompt_len")).unwrap_or(100);
    let level = json!({"name": "system prompt", "groups": groups, "tokens": system});
    written.set("prompts.prefixes", json!([level]), PREFIX);
    for (distribution, length, keys) in [
        ("question_distribution", "question_len", INPUT),
        ("output_distribution", "output_len", OUTPUT),
    ] {
        let tokens = source.count(&path(length)).unwrap_or(50);
        match source.has(&path(distribution)) {
            true => lengths(source, written, &path(distribution), keys),
            false => written.set(keys[0], tokens, &path(length)),
        }
    }
    source.pass(&["data.shared_prefix.enable_multi_turn_chat"]);
    Talks::Users(groups.saturating_mul(each).max(1))
}

fn replayed(source: &mut Source, written: &mut Written) -> Talks {
    let path = |name: &str| format!("{REPLAY}.{name}");
    if let Some(seed) = source.count(&path("seed")) {
        written.set("benchmark.seed", seed, &path("seed"));
    }
    let conversations = source.count(&path("num_conversations")).unwrap_or(USUAL_CONVERSATIONS);
    let turns = mean(source, &path("turns_per_conversation")).unwrap_or(1.0);
    for (name, keys) in [
        ("turns_per_conversation", TURNS),
        ("input_tokens_per_turn", INPUT),
        ("output_tokens_per_turn", OUTPUT),
    ] {
        match source.has(&path(name)) {
            true => lengths(source, written, &path(name), keys),
            false => source.tell(&path(name), "it is not told: set it by hand"),
        }
    }
    prompts(source, written, conversations);
    tools(source, written);
    Talks::Replayed(turns.max(1.0))
}

/// The system prompt: a part that all share, and one of each conversation, whose length is the mean.
fn prompts(source: &mut Source, written: &mut Written, conversations: u64) {
    let path = |name: &str| format!("{REPLAY}.{name}");
    let shared = source.count(&path("shared_system_prompt_len")).unwrap_or(USUAL_SHARED_PROMPT);
    let own = path("dynamic_system_prompt_len");
    let mut levels = vec![json!({"name": "system prompt", "tokens": shared})];
    levels.retain(|_| shared > 0);
    if let Some(tokens) = mean(source, &own).map(|mean| mean.round() as u64).filter(|n| *n > 0) {
        levels.push(json!({"name": "conversation", "groups": conversations, "tokens": tokens}));
        source.pass(&[own.as_str()]);
        source.tell(&own, "a shared beginning has one length: the mean");
    }
    if !levels.is_empty() {
        written.set("prompts.prefixes", Value::Array(levels), REPLAY);
    }
}

/// The time that a tool takes is a user's time to think.
fn tools(source: &mut Source, written: &mut Written) {
    let section = format!("{REPLAY}.tool_call_latency_sec");
    let path = |name: &str| format!("{section}.{name}");
    let mean = source.number(&path("mean"));
    let stddev = source.number(&path("std_dev"));
    let (min, max) = (source.number(&path("min")), source.number(&path("max")));
    let kind = source.text(&path("type")).unwrap_or_else(|| "normal".to_owned());
    let Some(mean) = mean else { return };
    match (kind.as_str(), stddev, max) {
        ("uniform", _, Some(max)) => {
            written.set("sessions.thinkTime.distribution", "uniform", &section);
            written.set("sessions.thinkTime.min", min.unwrap_or(0.0), &section);
            return written.set("sessions.thinkTime.max", max, &section);
        }
        ("normal" | "lognormal", Some(stddev), _) if mean > 0.0 && stddev > 0.0 => {
            written.set("sessions.thinkTime.distribution", "lognormal", &section);
            written.set("sessions.thinkTime.stddev", stddev, &section);
            source
                .tell(&section, "a lognormal time of the same mean and deviation, without bounds");
        }
        _ => {
            written.set("sessions.thinkTime.distribution", "fixed", &section);
            if kind != "fixed" {
                source.tell(&section, "the mean instead");
            }
        }
    }
    written.set("sessions.thinkTime.mean", mean, &section);
}

/// The mean of a distribution, which stays where it is.
fn mean(source: &Source, section: &str) -> Option<f64> {
    let of = |name: &str| source.peek(&format!("{section}.{name}")).and_then(number);
    match source.peek(&format!("{section}.type")).and_then(Value::as_str) {
        Some("uniform") => of("min").zip(of("max")).map(|(min, max)| f64::midpoint(min, max)),
        _ => of("mean"),
    }
}

/// One of their stages, in numbers.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Requests per second, and seconds.
    Rate(f64, f64),
    /// Requests in flight, and requests.
    Level(u64, u64),
}

impl Stage {
    fn of(stage: &Map<String, Value>) -> Option<Self> {
        let level = stage.get("concurrency_level").and_then(whole);
        if let Some((level, requests)) = level.zip(stage.get("num_requests").and_then(whole)) {
            return Some(Self::Level(level, requests));
        }
        Some(Self::Rate(number(stage.get("rate")?)?, number(stage.get("duration")?)?))
    }
}

impl Talks {
    /// The load: of several stages each is a run of its own.
    pub(super) fn load(
        self,
        source: &mut Source,
        written: &mut Written,
        stages: &[Map<String, Value>],
    ) {
        let poisson = source.text("load.type").is_some_and(|kind| kind == "poisson");
        let read: Vec<Stage> = stages.iter().filter_map(Stage::of).collect();
        if read.len() < stages.len() || read.is_empty() {
            source.tell("load.stages", "a stage without its two figures is left out");
        }
        let points: Vec<_> = read.iter().map(|stage| self.keys(*stage)).collect();
        if let (Self::Users(_), Some(Stage::Rate(..))) = (self, read.first()) {
            written.set("sessions.thinkTime.distribution", "fixed", "load.type");
            source.tell(
                "load.stages",
                "users ask at a rate there; here each asks so long after its answer that it is that rate where answers take no time",
            );
        } else if poisson {
            written.set("load.arrivals", "poisson", "load.type");
        }
        match points.as_slice() {
            [] => {}
            [only] => {
                for (key, value) in only {
                    written.set(key, value.clone(), "load.stages[0]");
                }
            }
            several => {
                let point = |keys: &Vec<(&'static str, Value)>| {
                    keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
                };
                let points: Vec<Map<String, Value>> = several.iter().map(point).collect();
                written.set("sweep.points", json!(points), "load.stages: a run each");
            }
        }
    }

    /// What one of their stages is.
    fn keys(self, stage: Stage) -> Vec<(&'static str, Value)> {
        // As many turns as each user has requests.
        let turns = |requests: f64, users: u64| (requests / users as f64).round().max(1.0);
        match (self, stage) {
            (Self::Users(users), Stage::Rate(rate, seconds)) => {
                let between = users as f64 / rate;
                vec![
                    ("benchmark.duration", json!(seconds)),
                    ("load.concurrency", json!(users)),
                    ("load.rampUp", json!(between.min(seconds / 2.0))),
                    ("sessions.turns.mean", json!(turns(rate * seconds, users))),
                    ("sessions.thinkTime.mean", json!(between)),
                ]
            }
            (Self::Users(users), Stage::Level(level, requests)) => vec![
                ("benchmark.requests", json!(users)),
                ("load.concurrency", json!(level)),
                ("sessions.turns.mean", json!(turns(requests as f64, users))),
            ],
            (Self::Replayed(turns), Stage::Rate(rate, seconds)) => {
                vec![("benchmark.duration", json!(seconds)), ("load.rate", json!(rate / turns))]
            }
            (Self::Replayed(turns), Stage::Level(level, requests)) => vec![
                ("benchmark.requests", json!((requests as f64 / turns).ceil() as u64)),
                ("load.concurrency", json!(level)),
            ],
        }
    }
}
