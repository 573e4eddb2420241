//! What is offered: configuration, plan, shards, schedules, prompts, tokenizers.
//!
//! Everything here is a function of (plan, seed, number), so that any number of workers offers the
//! same load as one: no clock, no runtime and no logging, and nothing but files is read. What the
//! configuration says is proved once, on the way from [`Config`] to [`Plan`]; downstream the types
//! are the proof.
#![deny(missing_docs, unused_results)]

pub mod config;
pub mod import;
pub mod plan;
pub mod prompts;
pub mod random;
pub mod schedule;
pub mod search;
pub mod shard;
pub mod sweep;
pub mod tokenizer;
mod traces;

pub use config::{Config, ConfigError, Sources};
pub use plan::{
    Api, ArrivalProcess, CapPolicy, Cell, ClientPlan, Component, Counted, Drive, FileFormat,
    HttpVersion, LengthPlan, LengthProblem, LengthShape, Offered, OnWorkerLoss, OutputLengths,
    Pause, Plan, PlanError, PlanInputs, PrefixLevel, PrefixSize, PromptKind, PromptPlan, RampUp,
    RecordPlan, RequiredOfAnswers, SaltPlacement, Sampling, SessionPlan, Stage, StageKind, Target,
    TelemetryPlan, TextMaterial, ThinkTime, TokenizerChoice, TrafficClass, WeightedTarget,
};
pub use prompts::{ClassText, Content, InputFile, LengthCheck, Prompt, PromptError, PromptSource};
pub use schedule::{
    Arrival, Arrivals, DueCounts, Rows, ScheduleFile, ScheduleFormat, ScheduleProblem,
};
pub use shard::Shard;
pub use tokenizer::{Tokenizer, TokenizerError};
pub use traces::Traces;
