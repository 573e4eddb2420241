//! What was demanded, and the steady part of the headline: the lines above the verdict.

use metrics::{Metric, Outcome, RunResult, StageResult, SteadyState, WindowResult};

use super::aligned;
use crate::figures::{counted, labelled, length, milliseconds, percent, quantity};
use crate::objective::{cells, shown, stopped_words};

/// Every objective with its limit, its figure and what became of it; below, the stages, where there are several.
pub(super) fn objectives(result: &RunResult, width: u16) -> String {
    let stages = result.stages.iter().map(|stage| (&stage.name, &stage.own_slos));
    let classes = result.classes.iter().map(|class| (&class.name, &class.window.slos));
    let of_parts = stages.chain(classes).flat_map(|(name, slos)| {
        slos.iter().map(move |slo| {
            let [objective, limit, figure, outcome] = cells(slo);
            vec![format!("{name}: {objective}"), limit, figure, outcome]
        })
    });
    let rows: Vec<_> =
        result.overall.slos.iter().map(|slo| cells(slo).to_vec()).chain(of_parts).collect();
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
    let lines = stopped_words(result);
    let lines = lines.iter().map(|text| labelled("stopped", text, width.into()));
    lines.collect::<Vec<_>>().join("\n")
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
        let figures = [("p50", point.p50), ("p99", point.p99)].into_iter();
        let figures = figures
            .filter_map(|(name, us)| Some(format!(" {name} {}", milliseconds(us? as f64))))
            .collect::<String>();
        if !figures.is_empty() {
            parts.push(format!("{}{figures} ms", metric.name()));
        }
    }
    let [start, end] = [window.start, window.end].map(length);
    let text = format!("run time {start} to {end} (MSER-5): {}", parts.join(", "));
    labelled("steady", &text, width.into())
}
