//! Objectives and an early end in words: the same on a terminal, on the page and on paper.

use metrics::{Bound, NullReason, Outcome, RunResult, SloResult, StoppedEarly};

use crate::figures::{ABSENT, length, milliseconds, percent, quantity};

/// What was demanded, such as `ttft p95 ≤ 200 ms`, and the figure.
pub fn objective(result: &SloResult) -> (String, String) {
    let [name, limit, figure, _] = cells(result);
    (format!("{name} {limit}"), figure)
}

/// Figure with its statistic, limit, figure, and what became of it.
pub(crate) fn cells(result: &SloResult) -> [String; 4] {
    let slo = result.slo;
    let side = match slo.figure.bound() {
        Bound::AtMost => "≤",
        Bound::AtLeast => "≥",
    };
    let figure = result.figure.map(|value| shown(slo.figure.unit(), value));
    let outcome = match result.outcome {
        Outcome::Met => "met".to_owned(),
        Outcome::Missed => "MISSED".to_owned(),
        Outcome::Undecided(reason) => format!("undecided: {}", words(reason)),
    };
    [
        slo.figure.to_string(),
        format!("{side} {}", shown(slo.figure.unit(), slo.limit)),
        figure.unwrap_or_else(|| ABSENT.to_owned()),
        outcome,
    ]
}

/// A limit or figure in the unit in which it is shown.
pub(crate) fn shown(unit: &str, value: f64) -> String {
    match unit {
        "us" => format!("{} ms", milliseconds(value)),
        "share" => percent(value),
        "per_s" => format!("{}/s", quantity(value)),
        _ => quantity(value),
    }
}

fn words(reason: NullReason) -> &'static str {
    match reason {
        NullReason::NoSamples => "nothing was measured",
        NullReason::FewSamples => "too few samples",
        NullReason::Censored => "too many requests were cut off",
        NullReason::NotStreamed => "not streamed",
        NullReason::ChunksAreNotTokens => "an event is not a token",
        NullReason::FewBlocks => "too short",
        NullReason::NotKept => "not kept",
        NullReason::CacheNotTold => "the server does not tell of its cache",
    }
}

/// Why stages ended early, and why the load did, where rules ended them.
pub(crate) fn stopped_words(result: &RunResult) -> Vec<String> {
    let of_stages = result.stages.iter().filter_map(|stage| Some((stage, stage.stopped.as_ref()?)));
    let of_stages = of_stages.map(|(stage, StoppedEarly { at, reason })| {
        let (at, rule) = (length(*at), reason.rule.name());
        format!("stage {} at {at} by its own rule {rule}: {reason}", stage.name)
    });
    let of_run = result.stopped.iter().map(|StoppedEarly { at, reason }| {
        let stage = result.stages.get(usize::from(reason.stage));
        let stage = stage.filter(|_| result.stages.len() > 1);
        let stage = stage.map_or_else(String::new, |stage| format!(" in stage {}", stage.name));
        format!("at {}{stage} by the rule {}: {reason}", length(*at), reason.rule.name())
    });
    of_stages.chain(of_run).collect()
}
