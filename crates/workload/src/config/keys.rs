//! The one table of keys.

use super::key::{Key, Kind};
use super::maps::{Member, Needed};

const DAY_S: f64 = 86_400.0;

/// Words of `metrics.collect`; `errors` is `error_rate`.
pub(crate) const COLLECTABLE: &[&str] = &[
    "ttft",
    "ttft_scheduled",
    "ttfb",
    "ttfo",
    "itl",
    "icl",
    "tpot",
    "ntpot",
    "e2e_latency",
    "e2e_scheduled",
    "schedule_lag",
    "generator_lag",
    "cap_wait",
    "connect",
    "output_rate",
    "token_rate_per_user",
    "output_tokens",
    "input_tokens",
    "throughput",
    "tokens_per_second",
    "input_tokens_per_second",
    "total_tokens_per_second",
    "goodput",
    "error_rate",
    "errors",
    "offered_rate",
    "achieved_rate",
    "cache_hit_ratio",
    "queue_depth",
];

const fn key(path: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { path, kind, default, meaning }
}

const fn duration(min_s: f64, max_s: f64) -> Kind {
    Kind::Duration { min_s, max_s }
}

const fn integer(unit: &'static str, min: u64, max: u64) -> Kind {
    Kind::Integer { unit, min, max }
}

const fn number(unit: &'static str, min: f64, max: f64) -> Kind {
    Kind::Number { unit, min, max }
}

const TURNS: Kind = integer("turns", 1, 1000);
const SHARE: Kind = number("", 0.0, 1.0);
const RATE: Kind = number("requests per second", 1e-6, 1e6);
const TOKENS: Kind = integer("tokens", 1, 10_000_000);
const TOKEN_MEAN: Kind = number("tokens", 1.0, 1e7);
const TOKEN_SPREAD: Kind = number("tokens", 0.0, 1e7);
const WEIGHT: Kind = number("", 1e-9, 1e9);
const MILLISECONDS: Kind = number("milliseconds", 0.0, 3.6e6);
const MICROSECONDS: Kind = number("microseconds", 0.0, 3.6e9);
const FAULT_SECONDS: Kind = number("seconds", 0.0, 3600.0);

const DISTRIBUTIONS: Kind =
    Kind::Choice(&["fixed", "normal", "lognormal", "uniform", "empirical", "mixture"]);

const fn member(name: &'static str, kind: Kind, needed: Needed, meaning: &'static str) -> Member {
    Member { name, kind, needed, meaning }
}

/// The parts of a mixture of lengths.
#[rustfmt::skip]
const LENGTH_PARTS: &[Member] = &[
    member("weight", WEIGHT, Needed::Yes, "How often, against the sum of all weights."),
    member("distribution", Kind::Choice(&["fixed", "normal", "lognormal", "uniform", "empirical"]), Needed::Else("as without a mixture"), "As without a mixture; so are the others."),
    member("mean", TOKEN_MEAN, Needed::Else("none"), "Mean length."),
    member("stddev", TOKEN_SPREAD, Needed::Else("0"), "Standard deviation."),
    member("min", TOKENS, Needed::Else("1"), "Shortest."),
    member("max", TOKENS, Needed::Else("none"), "Longest."),
    member("file", Kind::Path, Needed::Else("none"), "A file of lengths."),
];

const ARRIVALS: Kind = Kind::Choice(&["even", "poisson", "gamma"]);
const BURSTINESS: Kind = number("", 0.01, 1000.0);
const USERS: Kind = integer("requests in flight", 1, 1_000_000);
const STAGE_LENGTH: Kind = duration(0.001, 30.0 * DAY_S);

/// An entry of `stages`: its own keys, and keys of `load`, each under the name that it has there.
#[rustfmt::skip]
const STAGE: &[Member] = &[
    member("name", Kind::Text, Needed::Else("`stage-1`, …"), "The stage's name in results."),
    member("duration", STAGE_LENGTH, Needed::Yes, "How long it lasts."),
    member("headline", Kind::Switch, Needed::Else("`true` where it is held and no other stage has `true`"), "Whether it counts for the headline."),
    member("type", Kind::Choice(&["constant", "ramp", "burst", "sine", "onOff"]), Needed::Else("as in `load`"), "The shape. A ramp takes the whole stage, unless `ramp.over` is shorter."),
    member("rate", RATE, Needed::Else("as in `load`"), "Requests per second."),
    member("concurrency", USERS, Needed::Else("as in `load`"), "Without a rate of the stage's own: users of a closed loop."),
    member("arrivals", ARRIVALS, Needed::Else("as in `load`"), "How arrivals are placed."),
    member("burstiness", BURSTINESS, Needed::Else("as in `load`"), "Shape of their gaps' gamma distribution."),
    member("ramp", Kind::Section("load.ramp"), Needed::Else("as in `load`"), "With `type: ramp`."),
    member("burst", Kind::Section("load.burst"), Needed::Else("as in `load`"), "With `type: burst`."),
    member("sine", Kind::Section("load.sine"), Needed::Else("as in `load`"), "With `type: sine`."),
    member("onOff", Kind::Section("load.onOff"), Needed::Else("as in `load`"), "With `type: onOff`."),
    member("slos", Kind::Slos, Needed::Else("none"), "What its own figures must reach, beside what the run must; as under `slos`, without `perRequest`. A missed one makes the exit code 3."),
    member("stopWhen", Kind::Section("stopWhen"), Needed::Else("that of the run, which ends the load"), "Rules that end this stage alone, in place of the run's. What is left of it is not offered; the next one begins when it was planned to."),
];

/// The levels of shared beginnings.
#[rustfmt::skip]
const PREFIX_LEVELS: &[Member] = &[
    member("name", Kind::Text, Needed::Else("`level 1`, …"), "What the groups are, for people: `tenant`, `system prompt`, `conversation`."),
    member("groups", integer("groups", 1, 1_000_000), Needed::Else("1"), "Groups inside each group of the level above."),
    member("tokens", TOKENS, Needed::Else("none"), "Length of the shared text, beside `inputLength`."),
    member("share", SHARE, Needed::Else("none"), "Instead, in the last level: the share of `inputLength` that is shared."),
    member("zipf", number("", 0.0, 10.0), Needed::Else("0"), "How popular groups are: group g is drawn with a chance in proportion to 1 / g^zipf. 0: all alike."),
];

/// What a traffic class says.
#[rustfmt::skip]
const CLASSES: &[Member] = &[
    member("name", Kind::Text, Needed::Yes, "Its name in results."),
    member("weight", WEIGHT, Needed::Yes, "How many of the requests, against the sum of all weights."),
    member("prompts", Kind::Section("prompts"), Needed::Else("the run's"), "What it asks: keys as under `prompts`, in place of the run's."),
    member("model", Kind::Text, Needed::Else("the target's"), "Its model, or the name of a LoRA adapter."),
    member("headers", Kind::Headers, Needed::Else("none"), "Headers over the target's, such as `x-llm-d-inference-objective` or `x-llm-d-inference-fairness-id`; no credentials."),
    member("priority", Kind::Signed, Needed::Else("none"), "The member `priority` of the body (vLLM: lower is sooner)."),
    member("extraBody", Kind::Object, Needed::Else("none"), "Merged over each body after the target's; no credentials."),
    member("slos", Kind::Slos, Needed::Else("none"), "What its own figures must reach, as under `slos`; without `perRequest`."),
];

/// What one of several targets says.
#[rustfmt::skip]
const TARGETS: &[Member] = &[
    member("endpoint", Kind::Url, Needed::Yes, "As `target.endpoint`; all speak one API."),
    member("weight", WEIGHT, Needed::Else("1"), "How many of the requests, against the sum of all weights."),
    member("name", Kind::Text, Needed::Else("host and port"), "Its name in results. Each target has one of its own: two at one host and port need a `name` each."),
    member("model", Kind::Text, Needed::Else("that of `target`"), "The model's name there; a class's own wins."),
];

/// Every key, in the order of the reference and of `config.yaml`.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("benchmark.name", Kind::Text, "`benchmark`", "Names the run and its results directory."),
    key("benchmark.duration", duration(0.001, 30.0 * DAY_S), "60 s; with `benchmark.requests` none", "How long load is offered after the warm-up."),
    key("benchmark.warmup", duration(0.0, DAY_S), "0", "Load before the measurement, at the first stage's starting level; it precedes `duration` and is out of the headline."),
    key("benchmark.warmupRequests", integer("requests", 1, 1_000_000_000), "none", "The same by number, in an open loop: the first so many requests are the warm-up."),
    key("benchmark.cooldown", duration(0.0, DAY_S), "0", "Load after the measurement, at the last stage's level, so that the last measured requests are answered under load; it follows `duration` and is out of the headline."),
    key("benchmark.cooldownRequests", integer("requests", 1, 1_000_000_000), "none", "The same by number, in an open loop: so many requests follow those that are measured."),
    key("benchmark.seed", integer("", 0, u64::MAX), "42", "Fixes due times, lengths and the order of shuffled records."),
    key("benchmark.promptSalt", integer("", 0, u64::MAX), "fresh for each run", "Fixes the text of synthetic prompts. Setting it repeats an earlier run's text exactly, which may then be in the server's cache."),
    key("benchmark.drain", duration(0.0, DAY_S), "30 s", "How long open requests are followed after the last stage, before they are cancelled."),
    key("benchmark.requests", integer("requests", 1, u64::MAX), "no limit", "Ends the run after so many requests, the warm-up's included; with `duration`, whichever comes first."),
    key("target.endpoint", Kind::Url, "`OPENAI_API_BASE`", "What to measure. A URL that ends in `/chat/completions` or `/completions` is used as it is and picks the API; to a bare host `/v1/chat/completions` is added, to any other path `/chat/completions`."),
    key("target.model", Kind::Text, "the server's, if it lists one", "The model's name in the request."),
    key("target.api", Kind::Choice(&["chat", "completions", "auto"]), "`auto`", "The API to speak; `auto` follows the URL, else chat."),
    key("target.stream", Kind::Switch, "`true`", "Asks for a stream. Without one there is no TTFT and no ITL."),
    key("target.apiKeyFile", Kind::Path, "`OPENAI_API_KEY` in the environment", "A file that holds the API key; the key itself is refused in a configuration."),
    key("target.headers", Kind::Headers, "none", "Headers to add. Those named like a credential (`*auth*`, `*cookie*`, `*credential*`, `*key*`, `*pass*`, `*secret*`, `*token*`) are sent, and redacted everywhere else."),
    key("target.extraBody", Kind::Object, "none", "Merged over each request's body, such as `{temperature: 0}`. Members named like a credential, at any depth (`api_key`, `password`, `secret`, `authorization`, `access_token`, …; not `max_tokens`), are sent, and redacted everywhere else."),
    key("target.ignoreEos", Kind::Switch, "`false`", "Asks the server to generate as many tokens as were ordered, whatever the model wants (`ignore_eos`; vLLM, SGLang)."),
    key("target.minTokens", Kind::Switch, "`false`", "Sends `min_tokens` equal to the ordered number of tokens (vLLM)."),
    key("target.caFile", Kind::Path, "the system's certificates", "Certificates in PEM to trust as well."),
    key("target.insecureSkipVerify", Kind::Switch, "`false`", "Accepts any certificate."),
    key("targets", Kind::Maps(TARGETS), "none", "Several services that share the load by weight, instead of `target.endpoint`. Headers, body and credentials of `target` go to each."),
    key("classes", Kind::Maps(CLASSES), "none", "Kinds of requests. Which one a request is, is drawn by weight from its number."),
    key("load.type", Kind::Choice(&["constant", "ramp", "burst", "sine", "onOff", "schedule", "shareGPT"]), "`constant`; `schedule` with `load.schedule`", "The shape of the load: one level, on its way to one, requests in bursts, a wave, two rates in turn, or what a file says; `shareGPT` is a closed loop over the data set."),
    key("load.rate", RATE, "none", "Requests per second, offered whatever the server's state (open loop)."),
    key("load.concurrency", USERS, "none; 32 with `type: shareGPT`", "Alone: so many users who each ask again when answered (closed loop). With `rate`: most requests in flight; what that holds back is counted."),
    key("load.capPolicy", Kind::Choice(&["hold", "drop"]), "`hold`", "With `rate` and `concurrency`: what becomes of a request that is due while so many are in flight. It is held back until one ends, or dropped; both are counted."),
    key("load.arrivals", ARRIVALS, "`even`; `gamma` with `burstiness`", "How an open loop places arrivals: at equal distances, as independent users do, or in gaps of a gamma distribution."),
    key("load.burstiness", BURSTINESS, "none", "Shape of the gamma distribution of the gaps, as in `vllm bench serve`: 1 is Poisson, less comes in clusters, more is more even."),
    key("load.thinkTime.mean", duration(0.0, DAY_S), "none", "Closed loop: a user waits so long between an answer and the next request."),
    key("load.thinkTime.distribution", Kind::Choice(&["fixed", "exponential", "lognormal", "uniform"]), "`exponential`", "How that time is distributed."),
    key("load.thinkTime.stddev", duration(0.0, DAY_S), "none", "With `distribution: lognormal`: its standard deviation."),
    key("load.thinkTime.min", duration(0.0, DAY_S), "0", "With `distribution: uniform`: the shortest."),
    key("load.thinkTime.max", duration(0.0, DAY_S), "none", "With `distribution: uniform`: the longest."),
    key("load.rounds.size", integer("requests", 1, 1_000_000), "none", "For providers with small rate limits: a closed loop of so many users who all ask at the start of a round, and whoever is answered waits for the next one."),
    key("load.rounds.minSeconds", duration(0.001, DAY_S), "none", "From the start of one round to that of the next: no such stretch has more than `size` new requests."),
    key("load.rampUp", duration(0.0, DAY_S), "about one request's time, found by the probe", "Closed loop: the users' first requests are spread over this time, so that they are not in step."),
    key("load.ramp.from", number("requests per second, or in flight", 0.0, 1e6), "0", "With `type: ramp`: the level at the start."),
    key("load.ramp.to", number("requests per second, or in flight", 1e-6, 1e6), "`load.rate`, else `load.concurrency`", "With `type: ramp`: the level at the end of the ramp, which is then held."),
    key("load.ramp.over", duration(0.001, 30.0 * DAY_S), "half of the duration", "With `type: ramp`: how long the ramp takes, as a part of `duration`."),
    key("load.ramp.shape", Kind::Choice(&["linear", "exponential", "steps"]), "`linear`", "With `type: ramp`: by equal amounts, by equal factors (`from` above 0), or in steps that are stages of their own."),
    key("load.ramp.steps", integer("steps", 1, 100), "none", "With `shape: steps`: how many levels, the first of them `from`, are held for equal times before `to` is."),
    key("load.burst.size", integer("requests", 1, 1_000_000), "`load.rate`, rounded up", "With `type: burst`: requests in a burst. Bursts follow each other every size / rate seconds, so that the mean is `load.rate`."),
    key("load.burst.width", duration(0.0, DAY_S), "0", "With `type: burst`: the time over which a burst's requests are spread evenly."),
    key("load.sine.amplitude", number("requests per second", 0.0, 1e6), "half of `load.rate`", "With `type: sine`: how far the rate swings about `load.rate`, its mean."),
    key("load.sine.period", duration(0.001, 30.0 * DAY_S), "the duration", "With `type: sine`: the length of a wave, which begins at the mean and rises."),
    key("load.onOff.on", duration(0.001, 30.0 * DAY_S), "none", "With `type: onOff`: how long `load.rate` is offered."),
    key("load.onOff.off", duration(0.001, 30.0 * DAY_S), "none", "With `type: onOff`: how long `offRate` is offered after it, again and again."),
    key("load.onOff.offRate", number("requests per second", 0.0, 1e6), "0", "With `type: onOff`: the rate while off."),
    key("load.schedule", Kind::Path, "none", "A file with a row a request: `scheduled_offset_s,input_tokens,output_tokens` (CSV), or a trace of Mooncake (`.jsonl`), Azure or BurstGPT (`.csv`). Requests are due when it says and as long as it says; it is copied beside the results."),
    key("load.scheduleFormat", Kind::Choice(&["csv", "mooncake", "azure", "burstGPT"]), "by its name and first line", "How its rows are laid out."),
    key("load.timeScale", number("", 1e-6, 1e6), "1", "Its instants are multiplied by this: 0.1 is ten times as fast."),
    key("load.dataset", Kind::Path, "none", "The ShareGPT file; the same as `prompts.dataset`."),
    key("load.prefixRatio", SHARE, "0", "The same as `prompts.prefixRatio`."),
    key("stages", Kind::Maps(STAGE), "one stage, as in `load`", "Loads one after the other, each with figures of its own; what a stage leaves out is as in `load`. The headline is all stages that are held (no ramps), or those with `headline: true`. All are open loops, or all are closed ones."),
    key("sessions.turns.mean", number("turns", 1.0, 1000.0), "none", "Conversations instead of single requests: each turn sends all that was said before, the server's own answers included. `load.rate` is then sessions per second, `load.concurrency` alone sessions at once (with `rate`: at most), `benchmark.requests` so many sessions. How many turns a session has on average; of ShareGPT as many as the conversation has."),
    key("sessions.turns.distribution", Kind::Choice(&["fixed", "normal", "lognormal", "uniform"]), "`normal`", "How the number of turns is distributed."),
    key("sessions.turns.stddev", number("turns", 0.0, 1000.0), "0", "Its standard deviation; draws outside the bounds are drawn again."),
    key("sessions.turns.min", TURNS, "1", "Fewest turns."),
    key("sessions.turns.max", TURNS, "none", "Most turns; of ShareGPT a longer conversation is cut."),
    key("sessions.thinkTime.mean", duration(0.0, DAY_S), "none", "A user waits so long between an answer and the next turn."),
    key("sessions.thinkTime.distribution", Kind::Choice(&["fixed", "exponential", "lognormal", "uniform"]), "`exponential`", "How that time is distributed; as `load.thinkTime`, which is between two sessions of a closed loop."),
    key("sessions.thinkTime.stddev", duration(0.0, DAY_S), "none", "With `distribution: lognormal`: its standard deviation."),
    key("sessions.thinkTime.min", duration(0.0, DAY_S), "0", "With `distribution: uniform`: the shortest."),
    key("sessions.thinkTime.max", duration(0.0, DAY_S), "none", "With `distribution: uniform`: the longest."),
    key("prompts.type", Kind::Choice(&["synthetic", "file", "shareGPT"]), "what the other keys imply, else `synthetic`", "Where prompts come from."),
    key("prompts.file", Kind::Path, "none", "A file of prompts: `.txt` (one a line), `.jsonl` (`{\"prompt\"}`, `{\"messages\"}` or an OpenAI request body), `.json` (a list of those or of texts) or `.csv` (column `prompt`)."),
    key("prompts.dataset", Kind::Path, "none", "A ShareGPT file: the prompt is the first human turn, the number of tokens ordered is the length of the reply."),
    key("prompts.inputLength.distribution", DISTRIBUTIONS, "`empirical` with a file, `mixture` with a mixture, else `normal`", "How lengths of synthetic prompts are distributed. `lognormal` has a long tail; its mean and deviation are those of the lengths themselves. `uniform` goes from `min` to `max`."),
    key("prompts.inputLength.file", Kind::Path, "none", "A file of lengths: a whole number a line, or `length,count`; lines behind `#` are passed over."),
    key("prompts.inputLength.mixture", Kind::Maps(LENGTH_PARTS), "none", "Several distributions, of which each length is of one, by weight."),
    key("prompts.inputLength.mean", TOKEN_MEAN, "550", "Mean length of synthetic prompts, of their content alone (no chat template)."),
    key("prompts.inputLength.stddev", TOKEN_SPREAD, "150; 0 if only a mean is given", "Standard deviation of that length; draws outside the bounds are drawn again."),
    key("prompts.inputLength.min", TOKENS, "1", "Shortest prompt."),
    key("prompts.inputLength.max", TOKENS, "none", "Longest prompt. Records of a data set that are longer are skipped, and counted."),
    key("prompts.outputLength.distribution", DISTRIBUTIONS, "`empirical` with a file, `mixture` with a mixture, else `normal`", "How the number of tokens ordered is distributed; as for prompts."),
    key("prompts.outputLength.file", Kind::Path, "none", "A file of such numbers."),
    key("prompts.outputLength.mixture", Kind::Maps(LENGTH_PARTS), "none", "Several distributions, by weight."),
    key("prompts.outputLength.mean", TOKEN_MEAN, "150; a data set's own lengths", "Mean number of tokens ordered (`max_tokens`)."),
    key("prompts.outputLength.stddev", TOKEN_SPREAD, "10; 0 if only a mean is given", "Standard deviation of that number."),
    key("prompts.outputLength.min", TOKENS, "1", "Fewest tokens ordered, where they are drawn."),
    key("prompts.outputLength.max", TOKENS, "none", "Most tokens ordered. Without a mean it bounds a data set's own lengths, and is ordered where the data set has none."),
    key("prompts.text", Kind::Choice(&["words", "sonnets"]), "`words`", "What synthetic text is made of: plain words of the vocabulary, or lines of Shakespeare's sonnets, which people can read; both exact in tokens."),
    key("prompts.asTokenIds", Kind::Switch, "`false`", "Sends synthetic prompts as lists of token ids, so that the server counts what was asked to the token. Completions API only; the tokenizer must be the model's."),
    key("prompts.tokenScale", number("", 0.05, 20.0), "1; without `prompts.tokenizer` what the server's `/tokenize` says, where it has one (vLLM, SGLang, llama.cpp)", "Tokens that the server counts for each one that `prompts.tokenizer` counts: synthetic prompts are made so much shorter or longer that the server counts what was asked."),
    key("prompts.prefixRatio", SHARE, "0", "Share of each prompt that is one prefix common to all. The text of a data set is kept whole: the prefix stands before it, as long as it takes to be this share of both together."),
    key("prompts.prefixes", Kind::Maps(PREFIX_LEVELS), "none", "Beginnings that synthetic prompts share, in groups and levels, the outermost first: a group of a level stands inside one of the level above, as a conversation in its system prompt. Excludes `prefixRatio`."),
    key("prompts.tokenizer", Kind::PathOr("bundled"), "`bundled`", "A `tokenizer.json` that counts and makes tokens; the bundled one is Qwen3's."),
    key("prompts.salt", Kind::Choice(&["none", "prepend"]), "`none`", "Text of a file or data set is sent unaltered; `prepend` puts a few characters before it, different for each request and run, so that no prefix cache knows it."),
    key("prompts.shuffle", Kind::Switch, "`false`", "Takes the records of a file or data set in an order drawn from the seed."),
    key("answers.require", Kind::Choices(&["length"]), "nothing", "What an answer must have to count as completed, else it fails as `validation`. `length`: as many tokens as were ordered; needs `target.ignoreEos` or `target.minTokens`, as a model may end its answer earlier."),
    key("slos", Kind::Slos, "none", "What the measured window must reach, else the exit code is 3. A metric takes statistics (`p50` … `p99.9`, any percentile, `mean`, `min`, `max`) with limits: `ttft: {p95: 500ms, p99: 1s}`; a rate or share its limit alone: `error_rate: 0.01`, `throughput: 20`. Latencies, token counts, errors and `ttft_over_3s` must stay at or under it, rates at or above. `perRequest: {ttft: 500ms, itl: 50ms, e2e: 10s}` sets limits to each request (`itl` there is its own mean, `tpot`), by which `goodput` and `slo_attainment` count."),
    key("stopWhen.overload", Kind::Switch, "`false`", "Ends the load when more than 5 % of the requests of the window waited more than 3 s for their first token."),
    key("stopWhen.errorRate", SHARE, "none", "Ends the load when more than this share of the requests of the window failed."),
    key("stopWhen.saturation", Kind::Switch, "`false`", "Open loop: ends the load when more than 5 % of the arrivals pile up and the number of open requests rises beyond doubt (Mann-Kendall test)."),
    key("stopWhen.window", duration(1.0, 3600.0), "10 s", "The time over which these shares are taken; a share needs 20 requests. The load ends at a whole second that all workers know in time, about 3 s after a rule speaks."),
    key("metrics.collect", Kind::Choices(COLLECTABLE), "the usual ones", "Rows of the table; everything is recorded in any case."),
    key("metrics.prometheus.endpoint", Kind::Url, "none", "A Prometheus to ask, after the run, about the service: range queries over the run's own time. The metrics of vLLM, of the inference gateway and of GPUs that it has are collected by themselves."),
    key("metrics.prometheus.queries", Kind::Queries, "none", "What to ask it beside them, such as `[{name: gpu_utilization, query: DCGM_FI_DEV_GPU_UTIL}]`."),
    key("metrics.scrape", Kind::Texts, "none", "Without a Prometheus: pages of `/metrics` that the coordinator reads once a second while the run goes on, each a URL; `target` is that of the service itself. The same metrics are collected."),
    key("records", Kind::Choice(&["none", "sample", "all"]), "`none`", "Keeps a record of each request, or of a sample of them: its instants, tokens and outcome, in `records/` of the results."),
    key("recordOptions.share", number("", 1e-6, 1.0), "0.01", "With `records: sample`: the share of the requests. Which ones is a function of seed and number, the same for any number of workers."),
    key("recordOptions.gaps", Kind::Switch, "`false`", "Writes every gap between a request's events too, not only their median and maximum."),
    key("recordOptions.maxDisk", integer("MiB", 1, 1 << 20), "1024", "What a worker's records may take of its disk until they are gathered. Those beyond it are dropped, and counted."),
    key("telemetry.endpoint", Kind::Url, "`OTEL_EXPORTER_OTLP_ENDPOINT`", "An OpenTelemetry collector that takes OTLP over HTTP, such as `http://collector:4318`: it is told the run's metrics, and spans of it, its stages and sampled requests. Credentials belong into `OTEL_EXPORTER_OTLP_HEADERS`. Workers on other machines take their own `--otlp`, or the variable."),
    key("telemetry.interval", duration(1.0, 3600.0), "`OTEL_METRIC_EXPORT_INTERVAL`, else 10 s", "How often metrics are told."),
    key("telemetry.sample", SHARE, "0.01", "Share of the requests that have a span; with `telemetry.traceContext` those ask the server for one too. Which ones they are, and their traces' names, follows from seed, salt and number."),
    key("telemetry.traceContext", Kind::Switch, "`false`", "Sends each request's name to the server as `traceparent` (W3C Trace Context), so that its spans join ours. Those that are sampled ask it to record them too, which is work for the server."),
    key("price.inputPerMillion", number("any currency", 0.0, 1e6), "none", "What a million input tokens cost; `plan` tells the run's."),
    key("price.outputPerMillion", number("any currency", 0.0, 1e6), "none", "What a million output tokens cost."),
    key("client.lanes", integer("threads", 1, 1024), "by the number of cores", "Threads of a worker that send and measure."),
    key("client.pinLanes", Kind::Switch, "`false`", "Keeps each lane on one processor of those that the process may use: steadier, where nothing else runs there."),
    key("client.http", Kind::Choice(&["1.1", "2"]), "`1.1`", "The HTTP version. HTTP/2 shares connections among requests and has no kernel stamps: arrivals are those of user space, and the result says so."),
    key("client.http2Connections", integer("connections", 1, 1024), "1", "Connections of each lane with `client.http: 2`; requests take them in turn."),
    key("client.sourceAddresses", Kind::Addresses, "chosen by the kernel", "Local addresses that connections begin at, in turn: each has its own local ports, so more of them carry more connections to one destination."),
    key("client.dnsRefresh", duration(0.0, DAY_S), "30 s", "How long an answer of the name service is used for new connections. They go to the addresses of a name in turn."),
    key("client.timeouts.connect", duration(0.001, 3600.0), "10 s", "Bound on name resolution, TCP and TLS together."),
    key("client.timeouts.request", duration(0.001, DAY_S), "600 s", "Bound on a whole request, and on all that is asked of the target before the load."),
    key("fleet.onWorkerLoss", Kind::Choice(&["takeover", "continue", "abort"]), "`takeover`", "What becomes of a lost worker's share: others take it over, it is left out and counted, or the run ends."),
    key("sweep.grid", Kind::Grid, "none", "Many runs of one configuration, one after the other: each combination of these keys' values is a point, the last key changing fastest. A key is any of this page, such as `load.rate` or `prompts.prefixRatio`; a value `null` takes the key out."),
    key("sweep.points", Kind::Points, "none", "Points one by one, each a map of keys. With a grid each of them is combined with all of it."),
    key("sweep.repeats", integer("runs", 1, 1000), "1", "How often each point is run, in rounds over all points."),
    key("sweep.pause", duration(0.0, DAY_S), "2 s", "Between one run and the next."),
    key("search.by", Kind::Choice(&["rate", "concurrency"]), "`rate` if `load.rate` is set, else `concurrency`", "With `--find-capacity`: which of the two keys of `load` is looked for: the highest level at which all objectives of `slos` hold."),
    key("search.from", number("requests per second, or in flight", 1e-6, 1e6), "that of `load`", "The first level tried; from there it is doubled, or halved."),
    key("search.most", number("requests per second, or in flight", 1e-6, 1e6), "1000000", "No level above this is tried."),
    key("search.precision", number("", 0.001, 0.5), "0.05", "The search ends when the lowest level that fails is within this share of the highest that holds."),
    key("search.repeats", integer("runs", 1, 100), "3", "A level at which it is in doubt whether the objectives hold is tried up to so often, and decided by the mean."),
    key("search.probes", integer("runs", 1, 1000), "40", "The search ends after so many runs in any case."),
    key("search.pause", duration(0.0, DAY_S), "5 s", "Between one run and the next, so that the service's queues are empty."),
    key("simulator.listen", Kind::Text, "`127.0.0.1:0`", "Address and port to listen on; port 0 takes a free one."),
    key("simulator.model", Kind::Text, "`simulated`", "The name of the one model it serves."),
    key("simulator.adapters", Kind::Texts, "none", "Names of LoRA adapters that requests may name instead of the model."),
    key("simulator.seed", integer("", 0, u64::MAX), "42", "Fixes jitter, faults and answers."),
    key("simulator.fixed", Kind::Switch, "`false`", "Constant TTFT and ITL, nothing else."),
    key("simulator.ttftMs", MILLISECONDS, "50", "Time to first token, before the prompt's length adds to it."),
    key("simulator.ttftPerInputTokenUs", MICROSECONDS, "20", "Added to the TTFT for each input token that is not cached."),
    key("simulator.itlMs", MILLISECONDS, "10", "Time between tokens of a sequence that runs alone."),
    key("simulator.itlPerSequenceUs", MICROSECONDS, "20", "Added to it for each sequence that runs at the same time."),
    key("simulator.jitter", number("", 0.0, 2.0), "0.1", "Spread of both, as the sigma of a logarithmic normal distribution; 0: none."),
    key("simulator.maxConcurrency", integer("sequences", 0, 10_000_000), "256", "Sequences that run at once; others queue. 0: no limit."),
    key("simulator.prefixCacheBlocks", integer("blocks of 64 bytes", 0, 1_000_000_000), "65536", "Size of the prefix cache; 0: none."),
    key("simulator.eosProbability", SHARE, "0", "Probability that an answer ends after a token, unless `ignore_eos` is asked for."),
    key("simulator.contextLength", integer("tokens", 1, 1_000_000_000), "131072", "Longer requests are refused with status 400."),
    key("simulator.tokenizer", Kind::Path, "none: ⌈bytes / 4⌉", "A `tokenizer.json` that counts prompt tokens."),
    key("simulator.apiKey", Kind::Text, "none", "Requests without this key are refused with status 401."),
    key("simulator.faults.status.code", integer("", 400, 599), "503", "Status of the refused requests."),
    key("simulator.faults.status.rate", SHARE, "0", "Share of requests refused with that status."),
    key("simulator.faults.stall.rate", SHARE, "0", "Share of streams that stop for a while."),
    key("simulator.faults.stall.afterTokens", integer("tokens", 0, 10_000_000), "the simulator's", "After how many tokens they stop."),
    key("simulator.faults.stall.seconds", FAULT_SECONDS, "the simulator's", "For how long."),
    key("simulator.faults.cut.rate", SHARE, "0", "Share of streams that are cut off."),
    key("simulator.faults.cut.afterTokens", integer("tokens", 0, 10_000_000), "the simulator's", "After how many tokens."),
    key("simulator.faults.malformed.rate", SHARE, "0", "Share of streams with an event that is not JSON."),
    key("simulator.faults.inBandError.rate", SHARE, "0", "Share of streams with an error as an event."),
    key("simulator.faults.slowHeaders.rate", SHARE, "0", "Share of requests whose status line comes late."),
    key("simulator.faults.slowHeaders.seconds", FAULT_SECONDS, "the simulator's", "How late."),
    key("simulator.faults.noDone.rate", SHARE, "0", "Share of streams that end without `[DONE]`."),
    key("simulator.faults.empty.rate", SHARE, "0", "Share of streams without a token."),
    key("simulator.faults.short.rate", SHARE, "0", "Share of answers that end after half of their tokens, even if `ignore_eos` is asked for."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_collected_is_a_metric_a_rate_or_the_servers() {
        const RATES: [&str; 9] = [
            "throughput",
            "tokens_per_second",
            "input_tokens_per_second",
            "total_tokens_per_second",
            "goodput",
            "error_rate",
            "errors",
            "offered_rate",
            "achieved_rate",
        ];
        const SERVERS: [&str; 2] = ["cache_hit_ratio", "queue_depth"];
        for word in COLLECTABLE {
            let known = metrics::Metric::from_name(word).is_some() || RATES.contains(word);
            assert!(known || SERVERS.contains(word), "{word}");
        }
    }
}
