//! What a run says of its level: how far the objective that is nearest to its limit is from it.

use metrics::{
    Figure, Outcome as Verdict, Percentile, Reason, RunResult, SloResult, Statistic, Status,
};
use workload::search::Reading;

/// What a run says of the generator, not of the service: it could not offer the level.
const LIMITS: [&str; 2] = ["generator_lag", "generator_limit"];
/// What befell the generator, at whatever level.
const ACCIDENTS: [&str; 4] = ["lost", "no_owner", "no_lease", "books"];
/// A level that is beyond doubt too much.
const FAILS: Reading = Reading::Margin { margin: -1.0, half_width: Some(0.0) };

/// What a run shows: the objective that is nearest to its limit, or worst beyond it, decides.
pub(super) fn reading(result: &RunResult) -> (Reading, String) {
    if let Some(spoken) = of_the_generator(&result.verdict.reasons) {
        return spoken;
    }
    if let Some(stopped) = &result.stopped {
        return (FAILS, format!("the load was ended early: {}", stopped.reason));
    }
    let held_back = result.verdict.reasons.iter().find(|reason| reason.code == "capped");
    let nothing = invalid(&result.verdict.reasons, &["nothing_answered"]);
    if let Some(reason) = nothing.or(held_back) {
        return (FAILS, reason.message.clone());
    }
    let of_classes = result.classes.iter().flat_map(|class| &class.window.slos);
    let slos: Vec<&SloResult> = result.overall.slos.iter().chain(of_classes).collect();
    let words = |slo: &SloResult| {
        let (demand, figure) = report::objective(slo);
        format!("{demand}: {figure}")
    };
    let margins = slos.iter().filter_map(|slo| Some((margin(slo)?, *slo)));
    let nearest = margins.min_by(|one, other| one.0.total_cmp(&other.0));
    let undecided = slos.iter().find(|slo| matches!(slo.outcome, Verdict::Undecided(_)));
    match (nearest, undecided) {
        (Some((margin, slo)), None) => {
            (Reading::Margin { margin, half_width: half_width(slo, result) }, words(slo))
        }
        (Some((margin, slo)), Some(_)) if margin < 0.0 => {
            (Reading::Margin { margin, half_width: half_width(slo, result) }, words(slo))
        }
        (_, Some(slo)) => (Reading::Blind, words(slo)),
        (None, None) => (Reading::Blind, "no objective of the run as a whole".to_owned()),
    }
}

/// What makes a run useless for a search, whatever the service did. A limit goes before an accident: at another time the
/// level would be too much for the generator all the same.
fn of_the_generator(reasons: &[Reason]) -> Option<(Reading, String)> {
    let limit = invalid(reasons, &LIMITS).map(|reason| (Reading::NotOffered, reason));
    let accident = || invalid(reasons, &ACCIDENTS).map(|reason| (Reading::Spoilt, reason));
    let (reading, reason) = limit.or_else(accident)?;
    Some((reading, reason.message.clone()))
}

fn invalid<'a>(reasons: &'a [Reason], codes: &[&str]) -> Option<&'a Reason> {
    let is = |reason: &&Reason| {
        reason.status == Status::Invalid && codes.contains(&reason.code.as_str())
    };
    reasons.iter().find(is)
}

/// Distance from the limit as a share of it; above 0 it is met.
fn margin(slo: &SloResult) -> Option<f64> {
    let limit = slo.slo.limit;
    let Some(figure) = slo.figure else { return (slo.outcome == Verdict::Missed).then_some(-1.0) };
    if limit <= 0.0 {
        return Some(if slo.outcome == Verdict::Met { 1.0 } else { -1.0 });
    }
    Some(match slo.slo.figure.bound() {
        metrics::Bound::AtMost => (limit - figure) / limit,
        metrics::Bound::AtLeast => (figure - limit) / limit,
    })
}

/// Half of the 95 % interval of the headline's figure, as a share of the limit.
fn half_width(slo: &SloResult, result: &RunResult) -> Option<f64> {
    let Figure::Of(metric, Statistic::Percentile(scaled)) = slo.slo.figure else { return None };
    let percentile = Percentile::ALL
        .into_iter()
        .find(|percentile| percentile.permille() * 10 == u32::from(scaled))?;
    let interval = result.overall.metrics.get(&metric)?.ci95.get(&percentile)?;
    let width = (interval.high - interval.low) as f64 / f64::from(metric.kind().units_per_shown());
    Some(width / 2.0 / slo.slo.limit)
}

/// In a line.
pub(super) fn told(reading: Reading, nearest: &str) -> String {
    match reading {
        Reading::Margin { margin, .. } if margin >= 0.0 => format!("within: {nearest}"),
        Reading::Margin { .. } => format!("beyond: {nearest}"),
        Reading::Blind => format!("not to be judged: {nearest}"),
        Reading::NotOffered => format!("not offered: {nearest}"),
        Reading::Spoilt => format!("made again: {nearest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &str, status: Status) -> Reason {
        Reason { code: code.to_owned(), status, message: format!("why {code}") }
    }

    #[test]
    fn a_lost_worker_spoils_a_probe_and_a_late_generator_ends_its_level() {
        let invalid = |code| reason(code, Status::Invalid);
        let read = |reasons: &[Reason]| of_the_generator(reasons).map(|(reading, _)| reading);
        assert_eq!(read(&[invalid("lost")]), Some(Reading::Spoilt));
        assert_eq!(read(&[invalid("generator_lag")]), Some(Reading::NotOffered));
        let both = [invalid("lost"), invalid("generator_limit")];
        assert_eq!(read(&both), Some(Reading::NotOffered));
        let suspect = [reason("lost", Status::Suspect), reason("degraded", Status::Suspect)];
        assert_eq!(read(&suspect), None, "so little was lost that the figures hold");
        assert_eq!(read(&[invalid("nothing_answered")]), None, "that is the service's");
    }
}
