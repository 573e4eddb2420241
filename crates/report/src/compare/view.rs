//! A comparison as a document: the page and the Markdown.

use metrics::Status;

use super::tables::{
    Finding, configuration_table, difference, figures_table, interval, rules_table, runs_table,
    shown, side_by_side, unit,
};
use super::{ComparisonView, RuleOutcome, charts};
use crate::directory::ReportError;
use crate::document::{Block, Document, ReasonView, Section, Tile, VerdictView};
use crate::figures::{ABSENT, counted};
use crate::html::page;
use crate::markdown::markdown_of;

/// One page for a browser.
///
/// # Errors
/// The template cannot be filled: never seen.
pub fn comparison_html(view: &ComparisonView) -> Result<String, ReportError> {
    let names: Vec<&str> = view.sides().map(|side| side.name.as_str()).collect();
    page(&document(view), &names.join(", "))
}

/// One comment of a pull request.
pub fn comparison_markdown(view: &ComparisonView) -> String {
    let mut document = document(view);
    // The table says the same.
    document.tiles.clear();
    markdown_of(&document)
}

/// What it comes to, in two words and a sentence.
pub(super) struct Conclusion {
    pub(super) status: Status,
    pub(super) name: &'static str,
    pub(super) meaning: String,
}

pub(super) fn conclusion(view: &ComparisonView) -> Conclusion {
    let found = |wanted: Finding| -> Vec<String> {
        let several = view.candidates.len() > 1;
        let rows = view.rows().filter(|(_, compared)| Finding::of(compared) == wanted);
        rows.map(|(side, compared)| match several {
            true => format!("{} of {}", compared.figure, side.title()),
            false => compared.figure.to_string(),
        })
        .collect()
    };
    let (worse, better) = (found(Finding::Worse), found(Finding::Better));
    let (chance, undecided) = (found(Finding::MayBeChance), found(Finding::Undecided));
    let broken = view.rules.iter().filter(|rule| rule.outcomes.contains(&RuleOutcome::Broken));
    let broken = broken.count() as u64;
    let mut parts = Vec::new();
    if broken > 0 {
        parts.push(format!("{} broken", counted(broken, "rule")));
    }
    for (names, words) in [(&worse, "worse beyond chance"), (&better, "better beyond chance")] {
        if !names.is_empty() {
            parts.push(format!("{words}: {}", names.join(", ")));
        }
    }
    // Of several candidates that would be a long list.
    let listed = |names: &[String]| match view.candidates.len() {
        1 => names.join(", "),
        _ => counted(names.len() as u64, "figure"),
    };
    let (chance_words, undecided_words) = (listed(&chance), listed(&undecided));
    if !chance.is_empty() {
        parts.push(format!("no difference shown: {chance_words}"));
    }
    if !undecided.is_empty() {
        parts.push(format!("not decided: {undecided_words}"));
    }
    let (status, name) = match (broken, worse.is_empty(), better.is_empty(), chance.is_empty()) {
        (1.., ..) => (Status::Invalid, "FAILED"),
        (0, false, true, _) => (Status::Suspect, "WORSE"),
        (0, false, false, _) => (Status::Suspect, "WORSE AND BETTER"),
        (0, true, false, _) => (Status::Valid, "BETTER"),
        (0, true, true, false) => (Status::Valid, "NO DIFFERENCE SHOWN"),
        (0, true, true, true) => (Status::Suspect, "NOT DECIDED"),
    };
    let meaning = match parts.as_slice() {
        // The name says the rest.
        [_] if status == Status::Valid && better.is_empty() => chance_words,
        [_] if chance.is_empty() && better.is_empty() && worse.is_empty() => undecided_words,
        several => several.join("; "),
    };
    Conclusion { status, name, meaning }
}

fn document(view: &ComparisonView) -> Document {
    let conclusion = conclusion(view);
    let mut figures = vec![Block::Table(figures_table(view))];
    figures.extend(rules_table(view).map(Block::Table));
    let remarks =
        if view.remarks.is_empty() { None } else { Some(Block::Lines(view.remarks.clone())) };
    let configuration = configuration_table(view).map(Block::Table);
    let sections = [
        ("figures", "What differs", figures),
        ("remarks", "Read this with it", Vec::from_iter(remarks)),
        ("configuration", "Where the configurations differ", Vec::from_iter(configuration)),
        ("distributions", "Distributions", drawn(charts::distributions(view))),
        ("series", "From run to run", drawn(charts::series(view))),
        ("time", "Over time", drawn(charts::over_time(view))),
        ("others", "Side by side", vec![Block::Table(side_by_side(view))]),
        ("runs", "What was compared", vec![Block::Table(runs_table(view))]),
    ];
    let sections = sections
        .into_iter()
        .filter(|(_, _, blocks)| !blocks.is_empty())
        .map(|(id, title, blocks)| Section { id, title, blocks });
    Document {
        title: title(view),
        subtitle: subtitle(view),
        verdict: VerdictView {
            status: conclusion.status,
            name: conclusion.name,
            meaning: conclusion.meaning.into(),
            reasons: reasons(view),
        },
        gaps: gaps(view),
        tiles: tiles(view),
        sections: sections.collect(),
    }
}

fn drawn(charts: Vec<crate::chart::Chart>) -> Vec<Block> {
    charts.into_iter().filter(|chart| !chart.is_empty()).map(Block::Chart).collect()
}

fn title(view: &ComparisonView) -> String {
    match view.candidates.as_slice() {
        [only] => format!("{} against {}", only.name, view.baseline.name),
        several => format!("{} candidates against {}", several.len(), view.baseline.name),
    }
}

fn subtitle(view: &ComparisonView) -> String {
    let candidates: Vec<String> = view.candidates.iter().map(super::ComparedSide::title).collect();
    format!("baseline {} · candidate {}", view.baseline.title(), candidates.join(", "))
}

/// Rules that are not kept, and runs whose figures are in doubt.
fn reasons(view: &ComparisonView) -> Vec<ReasonView> {
    let mut reasons = Vec::new();
    for result in &view.rules {
        for (side, outcome) in view.candidates.iter().zip(&result.outcomes) {
            if *outcome != RuleOutcome::Kept {
                let message = format!("{}: {}", side.title(), outcome.words());
                reasons.push(ReasonView { label: "rule", code: result.rule.text.clone(), message });
            }
        }
    }
    for run in view.sides().flat_map(|side| &side.runs) {
        let verdict = &run.result.verdict;
        let label = match verdict.status {
            Status::Valid => continue,
            Status::Suspect | Status::Invalid => verdict.status.name(),
        };
        let doubts: Vec<&str> = verdict
            .reasons
            .iter()
            .filter(|reason| reason.status != Status::Valid)
            .map(|reason| reason.message.as_str())
            .collect();
        reasons.push(ReasonView {
            label,
            code: run.result.facts.id.clone(),
            message: doubts.join("; "),
        });
    }
    reasons
}

fn gaps(view: &ComparisonView) -> Vec<String> {
    let runs = view.sides().flat_map(|side| &side.runs);
    runs.flat_map(|run| run.gaps.iter().map(|gap| format!("{}: {gap}", run.result.facts.id)))
        .collect()
}

/// The figures of the first candidate; where there are more, the table says more.
fn tiles(view: &ComparisonView) -> Vec<Tile> {
    let Some(figures) = view.compared.first().filter(|_| view.candidates.len() == 1) else {
        return Vec::new();
    };
    let tile = |compared: &metrics::Compared| {
        let figure = compared.figure;
        let (value, note) = match &compared.difference {
            Ok(found) => (difference(figure, found), interval(figure, found)),
            Err(_) => (ABSENT.to_owned(), "not decided".to_owned()),
        };
        let side = |side: &Result<f64, _>| {
            side.as_ref().map_or_else(|_| ABSENT.to_owned(), |value| shown(figure, *value))
        };
        let (before, after) = (side(&compared.baseline), side(&compared.candidate));
        let finding = Finding::of(compared).words();
        Tile {
            label: figure.to_string().into(),
            value,
            unit: "",
            note: format!("{finding} · {before} → {after} {} · {note}", unit(figure)),
        }
    };
    figures.iter().map(tile).collect()
}
