//! Objectives and stop rules of a plan, for programs.

use metrics::{RequestLimit, Slo};
use serde_json::{Value, json};

use super::PlannedRules;

/// In the order of the run, its stages, its classes.
pub(super) fn rules(rules: &PlannedRules) -> Value {
    json!({
        "of": rules.of,
        "objectives": rules.slos.limits.iter().map(objective).collect::<Vec<_>>(),
        "perRequest": rules.slos.per_request.iter().map(per_request).collect::<Vec<_>>(),
        "stopWhen": {
            "overload": rules.stop_when.overload,
            "errorRate": rules.stop_when.error_rate,
            "saturation": rules.stop_when.saturation,
            "windowSeconds": rules.stop_when.window_s,
        },
    })
}

fn objective(slo: &Slo) -> Value {
    json!({
        "metric": slo.figure.name(),
        "statistic": slo.figure.statistic().map(|statistic| statistic.to_string()),
        "unit": slo.figure.unit(),
        "bound": slo.figure.bound().name(),
        "limit": slo.limit,
    })
}

fn per_request(limit: &RequestLimit) -> Value {
    let kind = limit.metric.kind();
    json!({
        "metric": limit.metric.name(),
        "unit": kind.unit(),
        "limit": limit.limit as f64 / f64::from(kind.units_per_shown()),
    })
}
