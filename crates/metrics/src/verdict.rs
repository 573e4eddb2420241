//! Whether the numbers can be trusted: about the run and its generator, never about the server.
//!
//! A slow server is a result. A late generator, a lost worker or books that do not balance make every result doubtful,
//! and a table without that doubt beside it is believed. So the rules, with their figures and what to do, are part of
//! the result. Each rule is a function of its own; the thresholds are METRICS' defaults in one place.

mod rules;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::books::Books;
use crate::interval::{Notes, SecondCounts};

/// How far the numbers can be trusted. Ordered: the worst reason decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// As they are.
    Valid,
    /// With the reasons in mind.
    Suspect,
    /// Not at all.
    Invalid,
}

impl Status {
    /// `VALID`, `SUSPECT`, `INVALID`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Suspect => "SUSPECT",
            Self::Invalid => "INVALID",
        }
    }

    /// The status of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Valid, Self::Suspect, Self::Invalid].into_iter().find(|status| status.name() == name)
    }
}

/// One rule that spoke. A reason of status `Valid` is a remark: it qualifies a figure and not the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable name, such as `generator_lag`.
    pub code: String,
    /// The figures and what to do.
    pub message: String,
    /// What it makes of the run.
    pub status: Status,
}

/// The judgement of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The worst of the reasons.
    pub status: Status,
    /// Every rule that spoke, worst first.
    pub reasons: Vec<Reason>,
}

/// The limits of the rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// `generator_lag` p99 above this is suspect.
    pub generator_lag_suspect_us: u64,
    /// Above this many percent of the TTFT's median it is suspect as well …
    pub generator_lag_ttft_percent: u64,
    /// … but not under this.
    pub generator_lag_floor_us: u64,
    /// Above this it is invalid.
    pub generator_lag_invalid_us: u64,
    /// A request counts as held back by the cap from this wait on.
    pub held_back_from_us: u64,
    /// Share of requests that the cap may hold back.
    pub held_back_share: f64,
    /// Share of the due requests that may be sent late while the generator is at its limit.
    pub shortfall_share: f64,
    /// A second counts as at the limit above this loop lag (p99).
    pub limit_loop_lag_us: u64,
    /// Or above this share of a core, in thousandths.
    pub limit_lane_cpu_permille: u64,
    /// Waiting for a core above this share of the time, the worst lane's, is suspect.
    pub core_wait_share: f64,
    /// Lost requests above this share of those due make the run invalid.
    pub lost_invalid_share: f64,
    /// Requests that nobody was there to send, likewise.
    pub unowned_invalid_share: f64,
    /// `read_lag` p99 above this is suspect.
    pub read_lag_suspect_us: u64,
    /// Gaps between events of one read above this share make `icl` and `itl` suspect.
    pub shared_gaps_share: f64,
    /// Cancelled or timed out requests above this share of a stage's are suspect.
    pub censored_share: f64,
    /// Requests whose usage and events disagree above this share take `itl` away.
    pub disagreement_share: f64,
    /// Failed requests above this share leave latencies of survivors.
    pub failed_share: f64,
}

impl Default for Thresholds {
    /// METRICS, "Verdict", "Arrival", "What enters a histogram", and the table's note on `itl`.
    fn default() -> Self {
        Self {
            generator_lag_suspect_us: 10_000,
            generator_lag_ttft_percent: 10,
            generator_lag_floor_us: 1_000,
            generator_lag_invalid_us: 1_000_000,
            held_back_from_us: 1_000,
            held_back_share: 0.01,
            shortfall_share: 0.02,
            limit_loop_lag_us: 10_000,
            limit_lane_cpu_permille: 900,
            core_wait_share: 0.1,
            lost_invalid_share: 0.01,
            unowned_invalid_share: 0.05,
            read_lag_suspect_us: 10_000,
            shared_gaps_share: 0.01,
            censored_share: 0.01,
            disagreement_share: 0.01,
            failed_share: 0.1,
        }
    }
}

/// What the rules look at.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// The whole run's books.
    pub books: &'a Books,
    /// All other books with the name of what they are of: stages, workers.
    pub parts: Vec<(String, &'a Books)>,
    /// The stages of the headline with their names, for censoring.
    pub headline_stages: Vec<(String, &'a Books)>,
    /// The run by second.
    pub seconds: &'a BTreeMap<u32, SecondCounts>,
    /// The headline's notes.
    pub notes: &'a Notes,
    /// The headline's `generator_lag` p99, whatever the sample count.
    pub generator_lag_p99_us: Option<u64>,
    /// The headline's `ttft` median.
    pub ttft_p50_us: Option<u64>,
    /// The headline's `read_lag` p99.
    pub read_lag_p99_us: Option<u64>,
    /// Requests of the headline that waited for the cap at least [`Thresholds::held_back_from_us`], or were never sent
    /// for it.
    pub held_back: u64,
    /// The headline's books.
    pub headline: &'a Books,
    /// The journal could not be written to its end.
    pub degraded: bool,
}

/// Applies every rule.
pub fn judge(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Verdict {
    let mut reasons: Vec<Reason> =
        rules::ALL.iter().flat_map(|rule| rule(evidence, thresholds)).collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.status));
    let status = reasons.first().map_or(Status::Valid, |worst| worst.status);
    Verdict { status, reasons }
}

/// Rules that speak only of a run that is over: open requests are in no book, and first answers take their time.
const AT_THE_END: [&str; 2] = ["books", "nothing_answered"];

/// Applies the rules that can speak while the run goes on.
pub fn judge_so_far(evidence: &Evidence<'_>, thresholds: &Thresholds) -> Verdict {
    let mut reasons = judge(evidence, thresholds).reasons;
    reasons.retain(|reason| !AT_THE_END.contains(&reason.code.as_str()));
    let status = reasons.first().map_or(Status::Valid, |worst| worst.status);
    Verdict { status, reasons }
}

/// Whether usage and events disagree too often for `itl` to mean anything.
pub fn chunks_are_not_tokens(notes: &Notes, thresholds: &Thresholds) -> bool {
    crate::books::share(notes.token_disagreements, notes.token_comparisons)
        .is_some_and(|share| share > thresholds.disagreement_share)
}

#[cfg(test)]
mod tests;
