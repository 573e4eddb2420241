//! A plan as JSON: `tokenstorm plan --json`.

use std::time::Duration;

use metrics::Warning;
use serde_json::{Value, json};

use super::rules_json::rules;
use super::{
    InOut, PlanView, PlannedClass, PlannedCost, PlannedCurve, PlannedLengths, PlannedLevel,
    PlannedLoad, PlannedPause, PlannedPrefix, PlannedPrefixSize, PlannedPrompts, PlannedRecords,
    PlannedService, PlannedShare, PlannedStage, PlannedStagger,
};

/// The version of the JSON form's layout.
const SCHEMA_VERSION: u32 = 1;

/// The plan for programs.
pub fn plan_json(view: &PlanView) -> Value {
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "name": view.name,
        "target": {
            "endpoint": view.target.url,
            "simulated": view.target.url.is_none() && view.targets.is_empty(),
            "api": view.target.api,
            "streamed": view.target.streamed,
            "model": view.target.model,
        },
        "targets": view.targets.iter().map(service).collect::<Vec<_>>(),
        "load": load(&view.load),
        "sessions": view.sessions.map(|sessions| json!({
            "meanTurns": sessions.turns,
            "pause": pause_of(&sessions.pause),
        })),
        "stages": view.stages.iter().map(stage).collect::<Vec<_>>(),
        "rules": view.rules.iter().map(rules).collect::<Vec<_>>(),
        "requestLimit": view.request_limit,
        "requests": view.requests,
        "lastDueSeconds": view.last_due.map(|last| last.as_secs_f64()),
        "drainSeconds": view.drain.as_secs_f64(),
        "firstDueSeconds": view.first_due.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
        // Of several classes none asks what the run as a whole is configured to.
        "prompts": view.classes.is_empty().then(|| prompts(&view.prompts)),
        "classes": view.classes.iter().map(class).collect::<Vec<_>>(),
        "tokens": {
            "sampledPrompts": view.tokens.sampled,
            "perRequest": in_out(view.tokens.each),
            "total": in_out(view.tokens.total),
            "perSecondAtMost": in_out(view.tokens.per_s),
        },
        "cost": view.cost.map(cost),
        "records": view.records.map(records),
        "offered": view.curve.as_ref().map(curve),
        "workers": view.shares.iter().enumerate().map(share).collect::<Vec<_>>(),
        "warnings": view.warnings.iter().map(warning).collect::<Vec<_>>(),
    })
}

fn service(service: &PlannedService) -> Value {
    json!({
        "name": service.name,
        "share": service.share,
        "endpoint": service.url,
        "model": service.model,
    })
}

fn class(class: &PlannedClass) -> Value {
    json!({
        "name": class.name,
        "share": class.share,
        "model": class.model,
        "prompts": prompts(&class.prompts),
    })
}

fn cost(cost: PlannedCost) -> Value {
    json!({
        "inputPerMillion": cost.input_per_million,
        "outputPerMillion": cost.output_per_million,
        "total": cost.total,
    })
}

fn records(records: PlannedRecords) -> Value {
    json!({
        "share": records.share,
        "workerBytes": records.worker_bytes.map(f64::round),
        "resultsBytes": records.results_bytes.map(f64::round),
        "workerLimitBytes": records.limit_bytes,
    })
}

fn curve(curve: &PlannedCurve) -> Value {
    json!({"unit": curve.unit, "stepSeconds": curve.step.as_secs_f64(), "values": curve.values})
}

fn load(load: &PlannedLoad) -> Value {
    match load {
        PlannedLoad::Open { arrivals, cap, drops } => {
            let policy = cap.map(|_| if *drops { "drop" } else { "hold" });
            json!({"loop": "open", "arrivals": arrivals, "maxInFlight": cap, "capPolicy": policy})
        }
        PlannedLoad::Closed { slots, stagger, pause } => {
            let over = match stagger {
                PlannedStagger::Over(time) => Some(time.as_secs_f64()),
                PlannedStagger::Probed | PlannedStagger::Ramp => None,
            };
            json!({
                "loop": "closed", "maxInFlight": slots, "rampUpSeconds": over, "pause": pause_of(pause),
            })
        }
    }
}

fn pause_of(pause: &PlannedPause) -> Value {
    match pause {
        PlannedPause::None => Value::Null,
        PlannedPause::Think { distribution, mean } => {
            json!({"distribution": distribution, "meanSeconds": mean.as_secs_f64()})
        }
        PlannedPause::Rounds { every } => json!({"roundSeconds": every.as_secs_f64()}),
    }
}

fn stage(stage: &PlannedStage) -> Value {
    let (from, to) = match stage.level {
        PlannedLevel::Constant(level)
        | PlannedLevel::Burst { mean: level, .. }
        | PlannedLevel::Sine { mean: level, .. }
        | PlannedLevel::OnOff { level, .. } => (level, level),
        PlannedLevel::Linear(from, to) | PlannedLevel::Exponential(from, to) => (from, to),
    };
    let burst = match stage.level {
        PlannedLevel::Burst { size, every, width, .. } => json!({
            "size": size,
            "everySeconds": every.as_secs_f64(),
            "widthSeconds": width.as_secs_f64(),
        }),
        _ => Value::Null,
    };
    let wave = match stage.level {
        PlannedLevel::Sine { amplitude, period, .. } => {
            json!({"amplitude": amplitude, "periodSeconds": period.as_secs_f64()})
        }
        PlannedLevel::OnOff { off_level, on, off, .. } => json!({
            "offLevel": off_level, "onSeconds": on.as_secs_f64(), "offSeconds": off.as_secs_f64(),
        }),
        _ => Value::Null,
    };
    json!({
        "name": stage.name,
        "headline": stage.headline,
        "startSeconds": stage.start.as_secs_f64(),
        "endSeconds": stage.end.map(|end| end.as_secs_f64()),
        "levelAtStart": from,
        "levelAtEnd": to,
        "arrivals": stage.arrivals,
        "burst": burst,
        "wave": wave,
        "requests": stage.requests,
    })
}

fn prompts(prompts: &PlannedPrompts) -> Value {
    json!({
        "type": prompts.kind,
        "file": prompts.file,
        "records": prompts.records,
        "shuffled": prompts.shuffled,
        "salted": prompts.salted,
        "prefixRatio": prompts.prefix_ratio,
        "prefixes": prompts.prefixes.iter().map(prefix).collect::<Vec<_>>(),
        "inputLength": lengths(&prompts.input),
        "outputLength": lengths(&prompts.output),
        "tokenizer": prompts.tokenizer,
    })
}

fn prefix(level: &PlannedPrefix) -> Value {
    let (tokens, share) = match level.size {
        PlannedPrefixSize::Tokens(tokens) => (Some(tokens), None),
        PlannedPrefixSize::Share(share) => (None, Some(share)),
    };
    json!({
        "name": level.name,
        "groups": level.groups,
        "tokens": tokens,
        "share": share,
        "zipf": level.zipf,
    })
}

fn lengths(lengths: &PlannedLengths) -> Value {
    match lengths {
        PlannedLengths::Drawn { distribution, mean, stddev, min, max } => json!({
            "distribution": distribution, "mean": mean, "stddev": stddev, "min": min, "max": max,
        }),
        PlannedLengths::Recorded { max } => json!({"recorded": true, "max": max}),
    }
}

fn in_out(tokens: InOut) -> Value {
    json!({"input": tokens.input, "output": tokens.output})
}

fn share((rank, share): (usize, &PlannedShare)) -> Value {
    json!({"rank": rank, "requests": share.requests, "maxInFlight": share.in_flight})
}

fn warning(warning: &Warning) -> Value {
    json!({"code": warning.code, "message": warning.message})
}
