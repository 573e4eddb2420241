//! What a run must reach, and what would end it before its time.

use metrics::{Bound, Figure, RequestLimit, Slo, Statistic, StopRules};

use crate::figures::{counted, labelled, percent};
use crate::objective::shown;
use crate::plan::PlannedRules;

/// A line for the run and for every part that has rules of its own.
pub(super) fn lines(rules: &[PlannedRules], width: usize) -> Vec<String> {
    let with = |label: &str, rules: &PlannedRules, words: String| {
        let of = rules.of.as_ref().map_or_else(String::new, |of| format!("{of}: "));
        labelled(label, &format!("{of}{words}"), width)
    };
    let line = |rules| {
        let reach = must_reach(rules).map(|words| with("objectives", rules, words));
        let end = ends_early(rules).map(|words| with("ends early", rules, words));
        reach.into_iter().chain(end)
    };
    rules.iter().flat_map(line).collect()
}

fn must_reach(rules: &PlannedRules) -> Option<String> {
    let mut parts: Vec<String> = rules.slos.limits.iter().map(limit).collect();
    if !rules.slos.per_request.is_empty() {
        let each: Vec<String> = rules.slos.per_request.iter().map(of_request).collect();
        parts.push(format!("each request {}", each.join(" and ")));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn limit(slo: &Slo) -> String {
    format!("{} {}", slo.figure, bounded(slo.figure, slo.limit))
}

fn of_request(limit: &RequestLimit) -> String {
    let value = limit.limit as f64 / f64::from(limit.metric.kind().units_per_shown());
    let figure = Figure::Of(limit.metric, Statistic::Mean);
    format!("{} {}", limit.metric.name(), bounded(figure, value))
}

fn bounded(figure: Figure, limit: f64) -> String {
    let side = match figure.bound() {
        Bound::AtMost => "≤",
        Bound::AtLeast => "≥",
    };
    format!("{side} {}", shown(figure.unit(), limit))
}

fn ends_early(rules: &PlannedRules) -> Option<String> {
    let StopRules { overload, error_rate, saturation, window_s } = rules.stop_when;
    let overload =
        overload.then(|| "more than 5 % wait more than 3 s for the first token".to_owned());
    let errors =
        error_rate.map(|share| format!("more than {} of the requests fail", percent(share)));
    let saturation = saturation
        .then(|| "more than 5 % of the arrivals pile up, and ever more are open".to_owned());
    let told: Vec<String> = [overload, errors, saturation].into_iter().flatten().collect();
    let window = counted(window_s.into(), "second");
    (!told.is_empty()).then(|| format!("if {} (within {window})", told.join(", or if ")))
}

#[cfg(test)]
mod tests {
    use metrics::{Metric, RateFigure, Slos};

    use super::*;

    #[test]
    fn rules_of_the_run_and_of_its_parts_are_told() {
        let ttft = Figure::Of(Metric::Ttft, Statistic::Percentile(9_500));
        let limits = vec![
            Slo { figure: ttft, limit: 500_000.0 },
            Slo { figure: Figure::Rate(RateFigure::ErrorRate), limit: 0.01 },
        ];
        let per_request = vec![RequestLimit { metric: Metric::Ttft, limit: 2_000_000 }];
        let run = PlannedRules {
            of: None,
            slos: Slos { limits: limits.clone(), per_request },
            stop_when: StopRules::default(),
        };
        let stage = PlannedRules {
            of: Some("stage high".to_owned()),
            slos: Slos { limits: limits[..1].to_vec(), per_request: Vec::new() },
            stop_when: StopRules {
                overload: true,
                error_rate: Some(0.2),
                saturation: false,
                window_s: 5,
            },
        };
        assert_eq!(
            lines(&[run, stage], 200),
            [
                "objectives   ttft p95 ≤ 500 ms, error_rate ≤ 1.00 %, each request ttft ≤ 2,000 ms",
                "objectives   stage high: ttft p95 ≤ 500 ms",
                "ends early   stage high: if more than 5 % wait more than 3 s for the first token, or if more than 20.0 % of the requests fail (within 5 seconds)",
            ]
        );
    }

    #[test]
    fn nothing_demanded_is_no_line() {
        let rules = PlannedRules {
            of: None,
            slos: Slos::default(),
            stop_when: StopRules { window_s: 10, ..StopRules::default() },
        };
        assert_eq!(lines(&[rules], 80), [""; 0]);
    }
}
