//! What was demanded, and the steady part of the headline: the lines above the verdict.

use metrics::{
    Bound, Metric, NullReason, Outcome, RunResult, SloResult, StageResult, SteadyState,
    StoppedEarly, WindowResult,
};

use super::aligned;
use crate::figures::{ABSENT, counted, labelled, length, milliseconds, percent, quantity};

/// Every objective with its limit, its figure and what became of it; below, the stages, where there are several.
pub(super) fn objectives(result: &RunResult, width: u16) -> String {
    let of_classes = result.classes.iter().flat_map(|class| {
        class.window.slos.iter().map(|slo| {
            let mut cells = row(slo);
            cells[0] = format!("{}: {}", class.name, cells[0]);
            cells
        })
    });
    let rows: Vec<_> = result.overall.slos.iter().map(row).chain(of_classes).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![aligned(&["objective", "limit", "figure", ""], rows, width)];
    let measured: Vec<_> = result.stages.iter().filter(|stage| stage.headline).collect();
    if measured.len() > 1 && !result.overall.slos.is_empty() {
        lines.extend(measured.iter().map(|stage| of_stage(stage, width)));
    }
    lines.join("\n")
}

fn row(result: &SloResult) -> Vec<String> {
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
    vec![
        slo.figure.to_string(),
        format!("{side} {}", shown(slo.figure.unit(), slo.limit)),
        figure.unwrap_or_else(|| ABSENT.to_owned()),
        outcome,
    ]
}

fn shown(unit: &str, value: f64) -> String {
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

fn of_stage(stage: &StageResult, width: u16) -> String {
    let slos = &stage.window.slos;
    let missed = slos.iter().filter(|slo| slo.outcome == Outcome::Missed);
    let missed: Vec<_> = missed
        .map(|slo| {
            let unit = slo.slo.figure.unit();
            let figure = slo.figure.map(|value| format!(" ({})", shown(unit, value)));
            format!("{}{}", slo.slo.figure, figure.unwrap_or_default())
        })
        .collect();
    let met = slos.iter().filter(|slo| slo.outcome == Outcome::Met).count();
    let text = if missed.is_empty() {
        format!("stage {}: {met} of {} met", stage.name, counted(slos.len() as u64, "objective"))
    } else {
        format!("stage {}: missed {}", stage.name, missed.join(", "))
    };
    labelled("", &text, width.into())
}

/// Requests per second within the limits of a request, and how many of a hundred that is.
pub(super) fn goodput(window: &WindowResult) -> Option<String> {
    let rate = window.rates.goodput?;
    let share = window.rates.slo_attainment.map(percent);
    let share = share.map_or_else(String::new, |share| format!(" ({share} of the requests)"));
    Some(format!("{:<13}{}/s within the limits of a request{share}", "goodput", quantity(rate)))
}

/// Only where it is worth a word.
pub(super) fn slow_ttft(window: &WindowResult) -> Option<String> {
    let share = window.ttft_over_3s.filter(|share| *share > 0.0)?;
    Some(format!("{:<13}{} waited more than 3 s for the first token", "slow", percent(share)))
}

/// Why the load ended early, if a rule ended it.
pub(super) fn stopped(result: &RunResult, width: u16) -> String {
    let Some(StoppedEarly { at, reason }) = &result.stopped else { return String::new() };
    let stage = result.stages.get(usize::from(reason.stage)).filter(|_| result.stages.len() > 1);
    let stage = stage.map_or_else(String::new, |stage| format!(" in stage {}", stage.name));
    let text = format!("at {}{stage} by the rule {}: {reason}", length(*at), reason.rule.name());
    labelled("stopped", &text, width.into())
}

/// From when on the service was steady, if it was not from the start.
pub(super) fn steady(result: &RunResult, width: u16) -> String {
    let window = match &result.steady {
        SteadyState::From(window) => window,
        SteadyState::Not(why) => {
            let text = match why {
                metrics::NotSteady::FewSeconds => return String::new(),
                metrics::NotSteady::StillChanging => {
                    "never: the TTFT was still changing when the load ended (MSER-5); lengthen the run, or offer less"
                }
            };
            return labelled("steady", text, width.into());
        }
    };
    let mut parts = vec![format!("{}/s completed", quantity(window.throughput))];
    for metric in [Metric::Ttft, Metric::E2eLatency] {
        let Some(point) = window.percentiles.get(&metric) else { continue };
        let [p50, p99] = [point.p50, point.p99].map(|us| milliseconds(us as f64));
        parts.push(format!("{} p50 {p50} p99 {p99} ms", metric.name()));
    }
    let [start, end] = [window.start, window.end].map(length);
    let text = format!("run time {start} to {end} (MSER-5): {}", parts.join(", "));
    labelled("steady", &text, width.into())
}
