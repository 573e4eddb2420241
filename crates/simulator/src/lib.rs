//! An inference service to measure: OpenAI-style streaming, a latency model, faults, ground truth.
//!
//! A load generator is believed when its figures agree with a server that knows better. This one
//! does: it stamps each request where the kernel received it and each token before its write,
//! on a loop that measures its own lateness, and shares no code with the client that it judges.
//!
//! ```text
//! bytes → http → openai → batch, prefix_cache, model, faults → answer → bytes
//!         └ connection ┘  └──────── generate, on pacer ────────┘
//!                               └─ truth (what was seen) ─┘
//! ```
//!
//! ```no_run
//! use simulator::{Simulator, SimulatorConfig};
//!
//! let config = SimulatorConfig { fixed: true, ..SimulatorConfig::default() };
//! let running = Simulator::start(config)?;
//! println!("listening on {}", running.base_url());
//! println!("{} requests so far", running.truth().received);
//! # Ok::<(), simulator::SimulatorError>(())
//! ```

mod answer;
mod batch;
mod clock;
mod config;
mod connection;
mod exposition;
mod faults;
mod generate;
mod http;
mod model;
mod openai;
mod pacer;
mod prefix_cache;
mod prompt;
mod rate;
mod raw_client;
mod routes;
mod seeded;
mod served;
mod server;
mod service;
mod spread;
mod truth;

pub use answer::answer_text;
pub use config::{
    ConfigProblem, CutFault, FaultConfig, PlainFault, SimulatorConfig, SlowHeadersFault,
    StallFault, StatusFault,
};
pub use rate::{Rate, RateError};
pub use raw_client::{RawEnd, RawError, RawLoad, RawReport};
pub use served::Served;
pub use server::{Running, Simulator, SimulatorError, raise_descriptor_limit};
pub use spread::Spread;
pub use truth::{Outcome, RequestTruth, Truth};
