//! A comparison for programs.

use metrics::{Basis, Compared, Difference, Undecided};
use serde_json::{Value, json};

use super::tables::Finding;
use super::{ComparedSide, ComparisonView, RuleOutcome};
use crate::directory::ReportError;

/// The layout of this file: keys are added, never renamed.
const SCHEMA_VERSION: u32 = 1;

/// All figures in the unit that stands beside them.
///
/// # Errors
/// It cannot be written as JSON: never seen.
pub fn comparison_json(view: &ComparisonView) -> Result<String, ReportError> {
    let candidates = view.candidates.iter().zip(&view.compared).map(|(side, figures)| {
        let mut value = of_side(side);
        value["figures"] = figures.iter().map(figure).collect();
        value
    });
    let rules = view.rules.iter().map(|result| {
        let outcomes: Vec<&str> = result.outcomes.iter().map(|one| outcome(*one)).collect();
        json!({"rule": result.rule.text, "outcomes": outcomes})
    });
    let configuration =
        view.configuration.iter().map(|one| json!({"key": one.key, "values": one.values}));
    let value = json!({
        "schemaVersion": SCHEMA_VERSION,
        "tool": {"name": "tokenstorm", "version": env!("CARGO_PKG_VERSION")},
        "baseline": of_side(&view.baseline),
        "candidates": candidates.collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
        "configuration": configuration.collect::<Vec<_>>(),
        "remarks": view.remarks,
    });
    let broken =
        |error: serde_json::Error| ReportError::Render { what: "JSON", error: error.to_string() };
    serde_json::to_string_pretty(&value).map_err(broken)
}

fn of_side(side: &ComparedSide) -> Value {
    let runs = side.runs.iter().map(|run| {
        json!({"id": run.result.facts.id, "verdict": run.result.verdict.status.name(), "gaps": run.gaps})
    });
    json!({"name": side.name, "runs": runs.collect::<Vec<_>>()})
}

fn figure(compared: &Compared) -> Value {
    let reason =
        |side: &Result<f64, metrics::NullReason>| side.err().map(metrics::NullReason::name);
    let mut value = json!({
        "figure": compared.figure.to_string(),
        "unit": compared.figure.unit(),
        "baseline": compared.baseline.ok(),
        "baselineNullReason": reason(&compared.baseline),
        "candidate": compared.candidate.ok(),
        "candidateNullReason": reason(&compared.candidate),
        "finding": match Finding::of(compared) {
            Finding::Worse => "worse",
            Finding::Better => "better",
            Finding::MayBeChance => "may_be_chance",
            Finding::Undecided => "undecided",
        },
    });
    match &compared.difference {
        Ok(found) => value["difference"] = difference(found),
        Err(why) => value["undecided"] = undecided(*why).into(),
    }
    value
}

fn difference(found: &Difference) -> Value {
    let basis = match found.basis {
        Basis::Blocks { seconds, baseline, candidate } => {
            json!({"unit": "block", "seconds": seconds, "baseline": baseline, "candidate": candidate})
        }
        Basis::Runs { baseline, candidate } => {
            json!({"unit": "run", "baseline": baseline, "candidate": candidate})
        }
    };
    json!({
        "absolute": found.absolute,
        "absoluteCi95": found.absolute_ci95,
        "relative": found.relative,
        "relativeCi95": found.relative_ci95,
        "p": found.p,
        "pHolm": found.p_holm,
        "real": found.is_real,
        "basis": basis,
    })
}

fn undecided(why: Undecided) -> &'static str {
    match why {
        Undecided::Absent => "absent",
        Undecided::FewBlocks { .. } => "few_blocks",
        Undecided::FewBeyond => "few_samples",
        Undecided::NoIntervals => "no_journal",
        Undecided::NotKept => "not_kept",
        Undecided::OutsideOfBlocks => "outside_of_blocks",
    }
}

fn outcome(outcome: RuleOutcome) -> &'static str {
    match outcome {
        RuleOutcome::Kept => "kept",
        RuleOutcome::Broken => "broken",
        RuleOutcome::MayBeChance => "may_be_chance",
        RuleOutcome::Undecided => "undecided",
    }
}
