//! The simulator from outside: a plain socket client against a server on port 0.
//!
//! No test asserts how long something took; where time matters, it asserts what can never be early.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod client;
mod faults;
mod load;
mod protocol;
mod raw_client;
mod truth;

use simulator::{FaultConfig, Running, Simulator, SimulatorConfig};

/// Quick and constant: 2 ms to the first token, 1 ms between tokens.
fn quick() -> SimulatorConfig {
    SimulatorConfig { fixed: true, ttft_ms: 2.0, itl_ms: 1.0, ..SimulatorConfig::default() }
}

fn start(config: SimulatorConfig) -> Running {
    Simulator::start(config).unwrap()
}

fn start_with(faults: FaultConfig) -> Running {
    start(SimulatorConfig { faults, ..quick() })
}

/// A streamed chat of `tokens` tokens with usage.
fn chat(tokens: u64) -> String {
    chat_about("hello", tokens)
}

fn chat_about(prompt: &str, tokens: u64) -> String {
    serde_json::json!({"model": "simulated", "messages": [{"role": "user", "content": prompt}], "max_tokens": tokens,
        "stream": true, "stream_options": {"include_usage": true}})
    .to_string()
}

/// The same, not streamed.
fn whole_chat(tokens: u64) -> String {
    chat(tokens).replace(r#""stream":true"#, r#""stream":false"#)
}

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
