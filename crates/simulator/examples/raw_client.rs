//! Offers a simulator a closed loop by the plainest client there can be, and prints its cost as JSON.
//!
//! `scripts/bench.sh` holds tokenstorm's own cost per event against it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Parser;
use simulator::{RawEnd, RawLoad};

/// Costs of a closed loop without any measuring
#[derive(Parser)]
struct Arguments {
    /// Where the simulator listens
    addr: SocketAddr,
    /// Connections, each with one request at a time
    #[arg(long, default_value = "64")]
    streams: NonZeroUsize,
    /// Tokens of each answer
    #[arg(long, default_value_t = 64)]
    tokens: u64,
    /// Model that the simulator serves
    #[arg(long, default_value = "simulated")]
    model: String,
    /// Seconds over which the first requests are spread
    #[arg(long, default_value = "0.1", value_parser = seconds)]
    ramp_up: Duration,
    /// Seconds that are not measured
    #[arg(long, default_value = "2", value_parser = seconds)]
    warmup: Duration,
    /// Seconds that are measured
    #[arg(long, default_value = "10", value_parser = seconds)]
    seconds: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    _ = simulator::raise_descriptor_limit()?;
    let load = RawLoad {
        addr: arguments.addr,
        streams: arguments.streams,
        output_tokens: arguments.tokens,
        model: arguments.model,
        ramp_up: arguments.ramp_up,
        warmup: arguments.warmup,
        end: RawEnd::After(arguments.seconds),
    };
    println!("{}", serde_json::to_string(&load.run()?)?);
    Ok(())
}
