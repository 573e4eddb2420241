//! What the simulator is told: the `simulator:` section of a file, or the flags of `tokenstorm simulate`.
//!
//! Both are this one struct, so that a section can be tried on the command line and moved into a
//! file unchanged. Validation reports every problem at once and edits nothing.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::rate::Rate;

/// Settings of one simulator. Every key has a default; unknown keys are refused.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SimulatorConfig {
    /// Address and port to listen on; port 0 picks a free one.
    pub listen: String,
    /// Name of the one model served; requests for another get a 404.
    pub model: String,
    /// LoRA adapters of that model, which requests may name in its place.
    pub adapters: Vec<String>,
    /// Seed of jitter, token text, answer lengths and faults.
    pub seed: u64,
    /// Constant TTFT and ITL: no queue, prefix cache, jitter or growth.
    pub fixed: bool,
    /// Time to the first token of an empty prompt, in milliseconds, without queueing.
    pub ttft_ms: f64,
    /// Added to the TTFT for every prompt token that the prefix cache does not hold, in microseconds.
    pub ttft_per_input_token_us: f64,
    /// Time between two tokens of a sequence that runs alone, in milliseconds.
    pub itl_ms: f64,
    /// Added to the ITL for every other running sequence, in microseconds.
    pub itl_per_sequence_us: f64,
    /// Sigma of the log-normal factor (mean 1) on each TTFT and ITL; 0 is none.
    pub jitter: f64,
    /// Sequences that run at once, the rest waits first come first served; 0 is no cap.
    pub max_concurrency: usize,
    /// Blocks of 64 prompt bytes that the prefix cache holds; 0 switches it off.
    pub prefix_cache_blocks: usize,
    /// Chance after each token that the answer ends, unless the request says `ignore_eos`.
    pub eos_probability: f64,
    /// Prompt and answer tokens of one request; longer ones get a 400.
    pub context_length: u64,
    /// A `tokenizer.json` to count prompt tokens with, instead of ⌈bytes/4⌉.
    pub tokenizer: Option<PathBuf>,
    /// Bearer token that `/v1` asks for; none means open. Never shown, never serialised.
    #[serde(skip_serializing)]
    pub api_key: Option<String>,
    /// What goes wrong, and how often.
    pub faults: FaultConfig,
}

/// The faults, each with its own rate; several may strike one request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FaultConfig {
    /// An error status instead of an answer.
    pub status: StatusFault,
    /// A pause in mid-stream.
    pub stall: StallFault,
    /// The connection closes in mid-stream, without the body's end.
    pub cut: CutFault,
    /// One extra event in mid-stream that is not JSON.
    pub malformed: PlainFault,
    /// An error event in mid-stream instead of the rest, under status 200.
    pub in_band_error: PlainFault,
    /// The status line and headers come late.
    pub slow_headers: SlowHeadersFault,
    /// The stream ends cleanly, but without `[DONE]`.
    pub no_done: PlainFault,
    /// An answer without a single token.
    pub empty: PlainFault,
    /// An answer that ends after half of its tokens, whatever the request says.
    pub short: PlainFault,
}

/// A fault that has only a rate.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PlainFault {
    /// How often.
    pub rate: Rate,
}

/// An error status instead of an answer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StatusFault {
    /// The status, 400 to 599; 429 and 503 come with `Retry-After: 1`.
    pub code: u16,
    /// How often.
    pub rate: Rate,
}

/// A pause in mid-stream.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StallFault {
    /// How often.
    pub rate: Rate,
    /// Tokens before the pause; a shorter answer pauses before its last token.
    pub after_tokens: u64,
    /// Length of the pause.
    pub seconds: f64,
}

/// The connection closes in mid-stream.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CutFault {
    /// How often.
    pub rate: Rate,
    /// Tokens before the cut; a shorter answer is cut before its last token.
    pub after_tokens: u64,
}

/// The status line and headers come late.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SlowHeadersFault {
    /// How often.
    pub rate: Rate,
    /// How late.
    pub seconds: f64,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            model: "simulated".to_owned(),
            adapters: Vec::new(),
            seed: 42,
            fixed: false,
            ttft_ms: 50.0,
            ttft_per_input_token_us: 20.0,
            itl_ms: 10.0,
            itl_per_sequence_us: 20.0,
            jitter: 0.1,
            max_concurrency: 256,
            prefix_cache_blocks: 65_536,
            eos_probability: 0.0,
            context_length: 131_072,
            tokenizer: None,
            api_key: None,
            faults: FaultConfig::default(),
        }
    }
}

impl Default for StatusFault {
    fn default() -> Self {
        Self { code: 503, rate: Rate::NEVER }
    }
}

impl Default for StallFault {
    fn default() -> Self {
        Self { rate: Rate::NEVER, after_tokens: 4, seconds: 30.0 }
    }
}

impl Default for CutFault {
    fn default() -> Self {
        Self { rate: Rate::NEVER, after_tokens: 4 }
    }
}

impl Default for SlowHeadersFault {
    fn default() -> Self {
        Self { rate: Rate::NEVER, seconds: 5.0 }
    }
}

/// The key is a credential: it is in no log, error or panic message.
impl fmt::Debug for SimulatorConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimulatorConfig")
            .field("listen", &self.listen)
            .field("model", &self.model)
            .field("adapters", &self.adapters)
            .field("seed", &self.seed)
            .field("fixed", &self.fixed)
            .field("ttft_ms", &self.ttft_ms)
            .field("ttft_per_input_token_us", &self.ttft_per_input_token_us)
            .field("itl_ms", &self.itl_ms)
            .field("itl_per_sequence_us", &self.itl_per_sequence_us)
            .field("jitter", &self.jitter)
            .field("max_concurrency", &self.max_concurrency)
            .field("prefix_cache_blocks", &self.prefix_cache_blocks)
            .field("eos_probability", &self.eos_probability)
            .field("context_length", &self.context_length)
            .field("tokenizer", &self.tokenizer)
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .field("faults", &self.faults)
            .finish()
    }
}

/// One unusable setting.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`simulator.{key}` is {value}: {allowed}")]
pub struct ConfigProblem {
    /// The key, as it stands in the file.
    pub key: &'static str,
    /// What was given.
    pub value: String,
    /// What is allowed instead.
    pub allowed: &'static str,
}

const DURATION_IN_REACH: &str = "a number from 0 up to one hour is allowed";
const LONGEST_MS: f64 = 3_600_000.0;

impl SimulatorConfig {
    /// Every setting that cannot work, or nothing.
    ///
    /// # Errors
    /// One [`ConfigProblem`] a setting.
    pub fn validate(&self) -> Result<(), Vec<ConfigProblem>> {
        let mut problems = Problems::default();
        problems.latency("ttftMs", self.ttft_ms, 1.0);
        problems.latency("ttftPerInputTokenUs", self.ttft_per_input_token_us, 1e-3);
        problems.latency("itlMs", self.itl_ms, 1.0);
        problems.latency("itlPerSequenceUs", self.itl_per_sequence_us, 1e-3);
        problems.latency("faults.stall.seconds", self.faults.stall.seconds, 1e3);
        problems.latency("faults.slowHeaders.seconds", self.faults.slow_headers.seconds, 1e3);
        let jitter = (0.0..=2.0).contains(&self.jitter);
        problems.unless(jitter, "jitter", self.jitter, "a sigma from 0 to 2 is allowed");
        let eos = (0.0..=1.0).contains(&self.eos_probability);
        let eos_range = "a probability from 0 to 1 is allowed";
        problems.unless(eos, "eosProbability", self.eos_probability, eos_range);
        let context = self.context_length;
        problems.unless(context > 0, "contextLength", context, "at least 1 token is needed");
        let code = self.faults.status.code;
        let is_error = (400..=599).contains(&code);
        problems.unless(is_error, "faults.status.code", code, "400 to 599 is allowed");
        problems.unless(!self.model.is_empty(), "model", "empty", "a name is needed");
        let key_is_usable = self.api_key.as_ref().is_none_or(|key| !key.trim().is_empty());
        problems.unless(key_is_usable, "apiKey", "empty", "leave it out for an open server");
        problems.finish()
    }
}

#[derive(Default)]
struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn unless(
        &mut self,
        fine: bool,
        key: &'static str,
        value: impl ToString,
        allowed: &'static str,
    ) {
        if !fine {
            self.0.push(ConfigProblem { key, value: value.to_string(), allowed });
        }
    }

    /// `ms_per_unit` converts the setting's own unit, so that one limit holds for all of them.
    fn latency(&mut self, key: &'static str, value: f64, ms_per_unit: f64) {
        let fine = (0.0..=LONGEST_MS).contains(&(value * ms_per_unit));
        self.unless(fine, key, value, DURATION_IN_REACH);
    }

    fn finish(self) -> Result<(), Vec<ConfigProblem>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_valid() {
        let config: SimulatorConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, SimulatorConfig::default());
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn a_full_section_is_read_by_its_camel_case_keys() {
        let text = r#"{"listen": "127.0.0.1:9", "model": "m", "seed": 7, "fixed": true, "ttftMs": 1,
            "ttftPerInputTokenUs": 2, "itlMs": 3, "itlPerSequenceUs": 4, "jitter": 0.5,
            "maxConcurrency": 6, "prefixCacheBlocks": 7, "eosProbability": 0.5, "contextLength": 9,
            "tokenizer": "t.json", "apiKey": "k", "faults": {"status": {"code": 429, "rate": 0.1},
            "stall": {"rate": "1/3", "afterTokens": 2, "seconds": 1}, "cut": {"rate": 0, "afterTokens": 1},
            "malformed": {"rate": 0.5}, "inBandError": {"rate": 0.5},
            "slowHeaders": {"rate": 0.5, "seconds": 2}, "noDone": {"rate": 1}, "empty": {"rate": 1}, "short": {"rate": 1}}}"#;
        let config: SimulatorConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!((config.max_concurrency, config.faults.status.code), (6, 429));
        assert_eq!(config.faults.stall.rate, "1/3".parse().unwrap());
    }

    #[test]
    fn yaml_takes_rates_as_numbers_and_as_fractions() {
        let text =
            "ttftMs: 5\nfaults:\n  cut: {rate: 0.05}\n  empty: {rate: 1}\n  noDone: {rate: 1/20}\n";
        let config: SimulatorConfig = serde_saphyr::from_str(text).unwrap();
        let faults = &config.faults;
        let rates =
            [faults.cut.rate, faults.empty.rate, faults.no_done.rate].map(|rate| rate.to_string());
        assert_eq!((config.ttft_ms, rates), (5.0, ["0.05", "1", "1/20"].map(str::to_owned)));
        assert!(serde_saphyr::from_str::<SimulatorConfig>("faults: {cut: {rate: 1.5}}").is_err());
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth() {
        for text in [
            r#"{"ttft": 1}"#,
            r#"{"faults": {"stalls": {}}}"#,
            r#"{"faults": {"cut": {"seconds": 1}}}"#,
        ] {
            let error = serde_json::from_str::<SimulatorConfig>(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut config =
            SimulatorConfig { ttft_ms: -1.0, jitter: f64::NAN, ..SimulatorConfig::default() };
        config.faults.status.code = 200;
        let keys: Vec<_> =
            config.validate().unwrap_err().iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["ttftMs", "jitter", "faults.status.code"]);
    }

    #[test]
    fn the_api_key_is_neither_shown_nor_serialised() {
        let config =
            SimulatorConfig { api_key: Some("hush".to_owned()), ..SimulatorConfig::default() };
        assert!(!format!("{config:?}").contains("hush"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hush"));
    }
}
