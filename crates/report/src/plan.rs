//! What a plan would offer, as a person or a program is shown it before anything is sent.
//!
//! The view is plain figures: this room knows no workload, so that what is shown can be tested without
//! a configuration. Whoever makes the view counts; here is only format.

mod asked;
mod json;
mod rules_json;

use std::time::Duration;

use metrics::{Slos, StopRules, Warning};

use crate::chart::{Axis, Band, Chart, Scale, Series};
use crate::directory::ReportError;
use crate::plot::picture;

pub use asked::{
    PlannedClass, PlannedLengths, PlannedPrefix, PlannedPrefixSize, PlannedPrompts, PlannedService,
    PlannedTarget,
};
pub use json::plan_json;

/// A plan to be shown. Instants are offsets from the run's start.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanView {
    /// The run's name.
    pub name: String,
    /// Where requests would go.
    pub target: PlannedTarget,
    /// Services that share the load; none: `target` alone.
    pub targets: Vec<PlannedService>,
    /// Who decides when a request starts.
    pub load: PlannedLoad,
    /// Conversations; all figures of a request are then those of a session, and rates those of sessions.
    pub sessions: Option<PlannedSessions>,
    /// In order of time.
    pub stages: Vec<PlannedStage>,
    /// What it must reach and what would end it early: of the run, and of each part with rules of its own.
    pub rules: Vec<PlannedRules>,
    /// The configured number of requests, where one ends the run.
    pub request_limit: Option<u64>,
    /// Requests that would be due, warm-up included; `None` where the answers decide.
    pub requests: Option<u64>,
    /// When the last of `requests` is due, where their number ends the run.
    pub last_due: Option<Duration>,
    /// How long open requests are followed after the end.
    pub drain: Duration,
    /// When the first requests are due, as far as that is known.
    pub first_due: Vec<Duration>,
    /// What is asked, where there are no `classes`.
    pub prompts: PlannedPrompts,
    /// Kinds of requests; none: all are of one kind, `prompts`.
    pub classes: Vec<PlannedClass>,
    /// How many tokens that is.
    pub tokens: PlannedTokens,
    /// One for each worker, by rank.
    pub shares: Vec<PlannedShare>,
    /// The load over time; `None` where the answers decide when it ends.
    pub curve: Option<PlannedCurve>,
    /// What the tokens would cost, where prices are given.
    pub cost: Option<PlannedCost>,
    /// What records of single requests would take, where some are kept.
    pub records: Option<PlannedRecords>,
    /// Doubts.
    pub warnings: Vec<Warning>,
}

/// Conversations of several turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedSessions {
    /// How many turns one has on average, by those that were looked at.
    pub turns: f64,
    /// Between an answer and the next turn.
    pub pause: PlannedPause,
}

impl PlanView {
    /// What is counted.
    pub(crate) fn noun(&self) -> &'static str {
        if self.sessions.is_some() { "session" } else { "request" }
    }
}

/// What a run or a part of it must reach, and what would end it before its time.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRules {
    /// `stage peak`, `class chat`; `None`: of the whole run.
    pub of: Option<String>,
    /// What its figures must reach.
    pub slos: Slos,
    /// What would end it.
    pub stop_when: StopRules,
}

/// The load over time, in equal steps from the run's start.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCurve {
    /// `requests/s` or `users`.
    pub unit: &'static str,
    /// The length of a step.
    pub step: Duration,
    /// The mean of each step.
    pub values: Vec<f64>,
}

impl PlannedCurve {
    /// Where it ends.
    pub(crate) fn end(&self) -> Duration {
        self.step.mul_f64(self.values.len() as f64)
    }

    /// The value at a share of its length, from 0 to 1.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let step = (share * self.values.len() as f64) as usize;
        self.values.get(step.min(self.values.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }
}

/// What records of single requests would take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedRecords {
    /// Share of the requests, above 0 and at most 1.
    pub share: f64,
    /// Bytes on a worker's disk, and on the way to the coordinator, about; `None` where the number of requests is not known.
    pub worker_bytes: Option<f64>,
    /// Bytes in the results, about: lines and table.
    pub results_bytes: Option<f64>,
    /// What a worker's may take at the most.
    pub limit_bytes: u64,
}

/// What the tokens would cost, in the currency of the prices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlannedCost {
    /// Of a million input tokens.
    pub input_per_million: f64,
    /// Of a million output tokens.
    pub output_per_million: f64,
    /// Of all; `None` where the number of tokens is not known.
    pub total: Option<f64>,
}

/// Who decides when a request starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedLoad {
    /// The schedule does.
    Open {
        /// `even`, `poisson`, `gamma` or `burst`; `mixed` where stages differ.
        arrivals: &'static str,
        /// Most requests in flight.
        cap: Option<u32>,
        /// What finds the cap used up is dropped, not held back.
        drops: bool,
    },
    /// The end of a slot's last request does.
    Closed {
        /// Requests in flight at the most.
        slots: u32,
        /// How the first requests are spread.
        stagger: PlannedStagger,
        /// What a user does between an answer and the next request.
        pause: PlannedPause,
    },
}

/// What a user of a closed loop does between an answer and the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedPause {
    /// Asks at once.
    None,
    /// Thinks.
    Think {
        /// How the time is distributed.
        distribution: &'static str,
        /// Its mean.
        mean: Duration,
    },
    /// Waits for the next round.
    Rounds {
        /// From one to the next.
        every: Duration,
    },
}

/// How the first requests of a closed loop are spread, so that they do not stay in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedStagger {
    /// Over this time.
    Over(Duration),
    /// Over about one request's time, which the run's probe measures.
    Probed,
    /// The load is a ramp of slots.
    Ramp,
}

/// A part of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStage {
    /// Its name in results.
    pub name: String,
    /// Whether it counts for the headline.
    pub headline: bool,
    /// Start.
    pub start: Duration,
    /// End; `None`: when the requests are sent.
    pub end: Option<Duration>,
    /// Requests a second in an open loop, requests in flight in a closed one.
    pub level: PlannedLevel,
    /// How an open loop's arrivals are placed: `even`, `poisson`, `gamma 0.5`, `burst`.
    pub arrivals: String,
    /// Requests due in it, where that is known.
    pub requests: Option<u64>,
}

/// The load of a stage over its time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PlannedLevel {
    /// One level.
    Constant(f64),
    /// From the first to the second, linearly.
    Linear(f64, f64),
    /// From the first to the second, by equal factors in equal times.
    Exponential(f64, f64),
    /// In waves.
    Sine {
        /// Mean requests per second.
        mean: f64,
        /// How far it swings.
        amplitude: f64,
        /// Length of a wave.
        period: Duration,
    },
    /// Two rates in turn.
    OnOff {
        /// The first.
        level: f64,
        /// The second.
        off_level: f64,
        /// How long the first is offered.
        on: Duration,
        /// How long the second.
        off: Duration,
    },
    /// Requests at once, again and again.
    Burst {
        /// Mean requests per second.
        mean: f64,
        /// Requests in a burst.
        size: u32,
        /// Time from one burst's start to the next one's.
        every: Duration,
        /// Time over which a burst is spread.
        width: Duration,
    },
}

/// Tokens, from prompts made as the run would make them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PlannedTokens {
    /// How many prompts were made for it.
    pub sampled: u64,
    /// Input and output of a request on average; `None` where not every prompt says.
    pub each: InOut,
    /// In all; exact where every prompt was made.
    pub total: InOut,
    /// Per second at the highest rate offered.
    pub per_s: InOut,
}

/// A figure for input and one for output tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct InOut {
    /// Asked.
    pub input: Option<f64>,
    /// Ordered.
    pub output: Option<f64>,
}

/// One worker's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedShare {
    /// Requests due, where that is known.
    pub requests: Option<u64>,
    /// Of the cap, or of the slots; `None` without a cap.
    pub in_flight: Option<u32>,
}

/// The load over time as a PNG; `None` where its course is not known.
///
/// # Errors
/// It cannot be drawn or encoded.
pub fn plan_png(view: &PlanView) -> Result<Option<Vec<u8>>, ReportError> {
    view.curve.as_ref().map(|curve| picture(&chart(view, curve))).transpose()
}

fn chart(view: &PlanView, curve: &PlannedCurve) -> Chart {
    let end_s = curve.end().as_secs_f64();
    let step_s = curve.step.as_secs_f64();
    let band = |stage: &PlannedStage| Band {
        name: stage.name.clone(),
        from: stage.start.as_secs_f64(),
        to: stage.end.map_or(end_s, |end| end.as_secs_f64().min(end_s)),
    };
    // Each value where its step begins and where it ends.
    let steps = || (0..curve.values.len()).zip(&curve.values);
    let ends = |step: usize| [step as f64 * step_s, (step + 1) as f64 * step_s];
    Chart {
        id: "offered_load",
        title: format!("{}: the offered load", view.name),
        note: String::new(),
        x: Axis { label: "s since the start", scale: Scale::Linear },
        y: Axis { label: curve.unit, scale: Scale::Linear },
        at: steps().flat_map(|(step, _)| ends(step)).collect(),
        series: vec![Series::line(
            curve.unit,
            steps().flat_map(|(_, value)| [Some(*value), Some(*value)]).collect(),
        )],
        bands: view.stages.iter().map(band).collect(),
    }
}
