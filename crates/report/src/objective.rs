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
    let unit = slo.figure.unit();
    let limit = shown(unit, slo.limit);
    let figure = result.figure.map(|value| (shown(unit, value), value));
    let (limit, figure) = match figure {
        // Rounded they would be the same, and the outcome would contradict them.
        Some((text, value)) if text == limit && value != slo.limit => {
            let [limit, figure] = told_apart(unit, [slo.limit, value]);
            (limit, Some(figure))
        }
        figure => (limit, figure.map(|(text, _)| text)),
    };
    let outcome = match result.outcome {
        Outcome::Met => "met".to_owned(),
        Outcome::Missed => "MISSED".to_owned(),
        Outcome::Undecided(reason) => format!("undecided: {}", words(reason)),
    };
    [
        slo.figure.to_string(),
        format!("{side} {limit}"),
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

/// Most decimals that are ever shown.
const MOST_DECIMALS: usize = 6;

/// Two values with as many decimals as tell them apart.
fn told_apart(unit: &str, values: [f64; 2]) -> [String; 2] {
    let (scale, name) = match unit {
        "us" => (1e-3, " ms"),
        "share" => (100.0, " %"),
        "per_s" => (1.0, "/s"),
        _ => (1.0, ""),
    };
    let with = |decimals: usize| values.map(|value| format!("{:.decimals$}{name}", value * scale));
    let differ = |[one, other]: &[String; 2]| one != other;
    (0..MOST_DECIMALS).map(with).find(differ).unwrap_or_else(|| with(MOST_DECIMALS))
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

#[cfg(test)]
mod tests {
    use metrics::{Figure, Metric, RateFigure, Slo, Statistic};

    use super::*;

    fn missed(figure: Figure, limit: f64, value: f64) -> [String; 2] {
        let slo = Slo { figure, limit };
        let result = SloResult { slo, figure: Some(value), outcome: Outcome::Missed };
        let [_, limit, value, _] = cells(&result);
        [limit, value]
    }

    #[test]
    fn what_misses_its_limit_does_not_look_like_it() {
        let attainment = Figure::Rate(RateFigure::SloAttainment);
        assert_eq!(missed(attainment, 0.9999, 0.9996), ["≥ 99.99 %", "99.96 %"]);
        assert_eq!(missed(attainment, 0.999_99, 0.999_97), ["≥ 99.999 %", "99.997 %"]);
        let p95 = Figure::Of(Metric::Ttft, Statistic::Percentile(9_500));
        assert_eq!(missed(p95, 200_000.0, 200_400.0), ["≤ 200.0 ms", "200.4 ms"]);
        assert_eq!(missed(p95, 200_000.0, 400_000.0), ["≤ 200 ms", "400 ms"]);
    }
}
