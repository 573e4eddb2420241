//! `tokenstorm simulate`: the simulator as a program, for try-outs and for judging clients by.
//!
//! Its flags are the keys of a configuration's `simulator:` section, with the same defaults, so that
//! what was tried here can be moved into a file.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use simulator::{
    CutFault, FaultConfig, PlainFault, Rate, Simulator, SimulatorConfig, SlowHeadersFault,
    StallFault, StatusFault, Truth,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::telemetry::{self, Simulated, TelemetryArgs};

/// Serve simulated answers to OpenAI-style requests, and tell exactly when each was sent.
///
/// Paths: POST /v1/chat/completions, POST /v1/completions, POST /tokenize, GET /v1/models, /health, /metrics (vLLM's
/// names), /truth (what was really received and sent, in microseconds; /truth?requests=1 lists each
/// request), POST /truth/reset. It runs on one core until SIGINT or SIGTERM.
#[derive(Args, Debug)]
pub(crate) struct SimulateArgs {
    /// Address and port to listen on; port 0 picks a free one, which is printed
    #[arg(long, value_name = "HOST:PORT", default_value_t = SimulatorConfig::default().listen)]
    listen: String,
    /// Name of the one model served
    #[arg(long, default_value_t = SimulatorConfig::default().model)]
    model: String,
    /// Name of a LoRA adapter that requests may name instead; may be given several times
    #[arg(long = "adapter", value_name = "NAME")]
    adapters: Vec<String>,
    /// Seed of jitter, token text, answer lengths and faults
    #[arg(long, default_value_t = SimulatorConfig::default().seed)]
    seed: u64,
    /// Constant TTFT and ITL: no queue, no prefix cache, no jitter, no growth with load
    #[arg(long)]
    fixed: bool,
    /// Time to the first token of an empty prompt, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = SimulatorConfig::default().ttft_ms)]
    ttft_ms: f64,
    /// Added to the TTFT for each prompt token that is not in the prefix cache, in microseconds
    #[arg(long, value_name = "US", default_value_t = SimulatorConfig::default().ttft_per_input_token_us)]
    ttft_per_input_token_us: f64,
    /// Time between two tokens of a sequence that runs alone, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = SimulatorConfig::default().itl_ms)]
    itl_ms: f64,
    /// Added to the ITL for each other running sequence, in microseconds
    #[arg(long, value_name = "US", default_value_t = SimulatorConfig::default().itl_per_sequence_us)]
    itl_per_sequence_us: f64,
    /// Sigma of the log-normal factor on each TTFT and ITL; 0 is none
    #[arg(long, value_name = "SIGMA", default_value_t = SimulatorConfig::default().jitter)]
    jitter: f64,
    /// Sequences that run at once, the others queue; 0 is no cap
    #[arg(long, value_name = "N", default_value_t = SimulatorConfig::default().max_concurrency)]
    max_concurrency: usize,
    /// Blocks of 64 prompt bytes that the prefix cache holds; 0 switches it off
    #[arg(long, value_name = "N", default_value_t = SimulatorConfig::default().prefix_cache_blocks)]
    prefix_cache_blocks: usize,
    /// Chance after each token that the answer ends, unless the request says ignore_eos
    #[arg(long, value_name = "P", default_value_t = SimulatorConfig::default().eos_probability)]
    eos_probability: f64,
    /// Prompt and answer tokens that one request may have; longer ones get a 400
    #[arg(long, value_name = "TOKENS", default_value_t = SimulatorConfig::default().context_length)]
    context_length: u64,
    /// A tokenizer.json to count prompt tokens with; without one a token is 4 bytes
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Bearer token that /v1 asks for
    #[arg(long, env = "TOKENSTORM_SIMULATOR_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<ApiKey>,
    // It tells of spans alone: one, as vLLM makes it, of each request whose client asks for it.
    #[command(flatten)]
    telemetry: TelemetryArgs,
    #[command(flatten)]
    faults: FaultArgs,
}

/// A rate is a probability per request, such as 0.05, or 1/n for exactly every n-th request.
#[derive(Args, Debug)]
#[command(
    next_help_heading = "Faults (a rate is a probability such as 0.05, or 1/20 for every 20th request)"
)]
struct FaultArgs {
    /// How often to answer with an error status
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_status_rate: Rate,
    /// Which status; 429 and 503 come with Retry-After
    #[arg(long, value_name = "CODE", default_value_t = StatusFault::default().code)]
    fault_status_code: u16,
    /// How often to pause in mid-stream
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_stall_rate: Rate,
    /// Tokens before the pause
    #[arg(long, value_name = "N", default_value_t = StallFault::default().after_tokens)]
    fault_stall_after_tokens: u64,
    /// Length of the pause
    #[arg(long, value_name = "S", default_value_t = StallFault::default().seconds)]
    fault_stall_seconds: f64,
    /// How often to close the connection in mid-stream
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_cut_rate: Rate,
    /// Tokens before the connection is closed
    #[arg(long, value_name = "N", default_value_t = CutFault::default().after_tokens)]
    fault_cut_after_tokens: u64,
    /// How often to send one event that is not JSON
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_malformed_rate: Rate,
    /// How often to send an error event instead of the stream's second half
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_in_band_error_rate: Rate,
    /// How often to send status line and headers late
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_slow_headers_rate: Rate,
    /// How late
    #[arg(long, value_name = "S", default_value_t = SlowHeadersFault::default().seconds)]
    fault_slow_headers_seconds: f64,
    /// How often to leave out `[DONE]`
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_no_done_rate: Rate,
    /// How often to answer without a token
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_empty_rate: Rate,
    /// How often to end an answer after half of its tokens, whatever the request says
    #[arg(long, value_name = "RATE", default_value_t = Rate::NEVER)]
    fault_short_rate: Rate,
}

/// A credential: never shown, not even by `Debug`.
#[derive(Clone)]
struct ApiKey(String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[redacted]")
    }
}

impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self(key.to_owned())
    }
}

/// Serves until SIGINT or SIGTERM, then prints what was seen.
pub(crate) fn simulate(args: SimulateArgs) -> anyhow::Result<()> {
    if let Err(error) = simulator::raise_descriptor_limit() {
        tracing::warn!(%error, "cannot raise the limit on open files: a stream needs one each");
    }
    let told = telemetry::of_variables(&args.telemetry)?;
    let config = args.into_config();
    let opening = format!(
        "simulating model `{}`, TTFT {} ms, ITL {} ms",
        config.model, config.ttft_ms, config.itl_ms
    );
    let wanted = told.as_ref().filter(|told| told.wants_spans());
    let (queue, simulated) = wanted.map(|_| Simulated::queue(&config.model)).unzip();
    let running = match queue {
        Some(queue) => Simulator::start_telling(config, queue),
        None => Simulator::start(config),
    };
    let running = running
        .map_err(|error| crate::exit::Stop::new(crate::exit::Exit::BadConfiguration, error))?;
    let base_url = running.base_url();
    eprintln!("{opening}: {base_url} (ground truth at {base_url}/truth; Ctrl-C ends it)");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let telling = told.zip(simulated).map(|(told, simulated)| simulated.told(&told));
        wait_for_the_end().await?;
        println!("{}", summary(&running.stop()));
        if let Some(telling) = telling {
            telemetry::say_problems(&telling.finish().await);
        }
        Ok(())
    })
}

/// Returns when somebody wants the program to end.
async fn wait_for_the_end() -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// The truth in one line.
fn summary(truth: &Truth) -> String {
    let p99 = |value: Option<u64>| value.map_or_else(|| "none".to_owned(), |us| format!("{us} µs"));
    format!(
        "received {}: completed {}, failed {}, cancelled {}, open {}; {} output tokens; p99 of TTFT {}, ICL {}, own lag {}",
        truth.received,
        truth.completed,
        truth.failed,
        truth.cancelled,
        truth.open,
        truth.output_tokens,
        p99(truth.ttft_us.p99),
        p99(truth.icl_us.p99),
        p99(truth.own_lag_p99_us()),
    )
}

impl SimulateArgs {
    fn into_config(self) -> SimulatorConfig {
        SimulatorConfig {
            listen: self.listen,
            model: self.model,
            adapters: self.adapters,
            seed: self.seed,
            fixed: self.fixed,
            ttft_ms: self.ttft_ms,
            ttft_per_input_token_us: self.ttft_per_input_token_us,
            itl_ms: self.itl_ms,
            itl_per_sequence_us: self.itl_per_sequence_us,
            jitter: self.jitter,
            max_concurrency: self.max_concurrency,
            prefix_cache_blocks: self.prefix_cache_blocks,
            eos_probability: self.eos_probability,
            context_length: self.context_length,
            tokenizer: self.tokenizer,
            api_key: self.api_key.map(|ApiKey(key)| key),
            faults: self.faults.into_config(),
        }
    }
}

impl FaultArgs {
    fn into_config(self) -> FaultConfig {
        FaultConfig {
            status: StatusFault { code: self.fault_status_code, rate: self.fault_status_rate },
            stall: StallFault {
                rate: self.fault_stall_rate,
                after_tokens: self.fault_stall_after_tokens,
                seconds: self.fault_stall_seconds,
            },
            cut: CutFault { rate: self.fault_cut_rate, after_tokens: self.fault_cut_after_tokens },
            malformed: PlainFault { rate: self.fault_malformed_rate },
            in_band_error: PlainFault { rate: self.fault_in_band_error_rate },
            slow_headers: SlowHeadersFault {
                rate: self.fault_slow_headers_rate,
                seconds: self.fault_slow_headers_seconds,
            },
            no_done: PlainFault { rate: self.fault_no_done_rate },
            empty: PlainFault { rate: self.fault_empty_rate },
            short: PlainFault { rate: self.fault_short_rate },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn parse(flags: &[&str]) -> SimulatorConfig {
        Command::try_parse_from([&["simulate"], flags].concat()).unwrap().args.into_config()
    }

    #[test]
    fn without_flags_it_is_the_default_section() {
        assert_eq!(parse(&[]), SimulatorConfig::default());
    }

    /// Every key but the fault's own, and every fault, reachable: otherwise a flag was forgotten.
    #[test]
    fn every_flag_sets_its_key() {
        let config = parse(&[
            "--listen=127.0.0.1:1",
            "--model=m",
            "--adapter=a",
            "--adapter=b",
            "--seed=1",
            "--fixed",
            "--ttft-ms=2",
            "--ttft-per-input-token-us=3",
            "--itl-ms=4",
            "--itl-per-sequence-us=5",
            "--jitter=0.6",
            "--max-concurrency=7",
            "--prefix-cache-blocks=8",
            "--eos-probability=0.9",
            "--context-length=10",
            "--tokenizer=t.json",
            "--api-key=k",
            "--fault-status-rate=1/2",
            "--fault-status-code=429",
            "--fault-stall-rate=1/3",
            "--fault-stall-after-tokens=3",
            "--fault-stall-seconds=3.5",
            "--fault-cut-rate=1/4",
            "--fault-cut-after-tokens=5",
            "--fault-malformed-rate=1/5",
            "--fault-in-band-error-rate=1/6",
            "--fault-slow-headers-rate=1/7",
            "--fault-slow-headers-seconds=7.5",
            "--fault-no-done-rate=1/8",
            "--fault-empty-rate=1/9",
            "--fault-short-rate=1/10",
        ]);
        let expected: SimulatorConfig = serde_json::from_value(serde_json::json!({
            "listen": "127.0.0.1:1", "model": "m", "adapters": ["a", "b"], "seed": 1, "fixed": true, "ttftMs": 2, "ttftPerInputTokenUs": 3,
            "itlMs": 4, "itlPerSequenceUs": 5, "jitter": 0.6, "maxConcurrency": 7, "prefixCacheBlocks": 8,
            "eosProbability": 0.9, "contextLength": 10, "tokenizer": "t.json", "apiKey": "k",
            "faults": {
                "status": {"rate": "1/2", "code": 429},
                "stall": {"rate": "1/3", "afterTokens": 3, "seconds": 3.5},
                "cut": {"rate": "1/4", "afterTokens": 5}, "malformed": {"rate": "1/5"},
                "inBandError": {"rate": "1/6"}, "slowHeaders": {"rate": "1/7", "seconds": 7.5},
                "noDone": {"rate": "1/8"}, "empty": {"rate": "1/9"},
                "short": {"rate": "1/10"},
            },
        }))
        .unwrap();
        assert_eq!(config, expected);
    }

    #[test]
    fn a_rate_out_of_range_is_refused_with_what_is_allowed() {
        let refused = Command::try_parse_from(["simulate", "--fault-cut-rate=7"])
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(refused.contains("a probability from 0 to 1, or `1/n`"), "{refused}");
    }

    #[test]
    fn the_api_key_is_not_in_the_debug_output() {
        let command = Command::try_parse_from(["simulate", "--api-key=hush"]).unwrap();
        assert!(!format!("{:?}", command.args).contains("hush"));
    }

    #[test]
    fn the_summary_names_every_outcome() {
        let line = summary(&Truth {
            received: 4,
            completed: 2,
            failed: 1,
            cancelled: 1,
            ..Truth::default()
        });
        assert!(
            line.starts_with("received 4: completed 2, failed 1, cancelled 1, open 0;"),
            "{line}"
        );
        assert!(line.ends_with("own lag none"), "{line}");
    }
}
