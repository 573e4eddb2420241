//! What was demanded and what became of it, before everything that explains it.

use metrics::{RunResult, SloResult};

use super::{Block, Table};
use crate::figures::{percent, quantity};
use crate::objective::{cells, stopped_words};

/// Objectives of the run, of its classes and of its stages, what single requests had to reach, and an early end.
pub(super) fn blocks(result: &RunResult) -> Vec<Block> {
    let mut blocks = Vec::new();
    let table = table(result);
    if !table.rows.is_empty() {
        blocks.push(Block::Table(table));
    }
    let lines: Vec<String> = goodput(result).into_iter().chain(stopped(result)).collect();
    if !lines.is_empty() {
        blocks.push(Block::Lines(lines));
    }
    blocks
}

fn table(result: &RunResult) -> Table {
    let row = |of: &str, slo: &SloResult| {
        let [objective, limit, figure, outcome] = cells(slo);
        vec![objective, of.to_owned(), limit, figure, outcome]
    };
    let mut rows: Vec<_> = result.overall.slos.iter().map(|slo| row("headline", slo)).collect();
    for stage in &result.stages {
        let of = format!("stage {}, its own", stage.name);
        rows.extend(stage.own_slos.iter().map(|slo| row(&of, slo)));
    }
    for class in &result.classes {
        let of = format!("class {}", class.name);
        rows.extend(class.window.slos.iter().map(|slo| row(&of, slo)));
    }
    let measured: Vec<_> = result.stages.iter().filter(|stage| stage.headline).collect();
    if measured.len() > 1 {
        for stage in measured {
            let of = format!("stage {}", stage.name);
            rows.extend(stage.window.slos.iter().map(|slo| row(&of, slo)));
        }
    }
    let mut notes = Vec::new();
    if rows.iter().any(|row| row.last().is_some_and(|outcome| outcome.starts_with("undecided"))) {
        notes.push("undecided: what was measured cannot tell, and that is no \"met\".".to_owned());
    }
    if rows.iter().any(|row| row[1].starts_with("stage ")) {
        notes.push(
            "Of stages, only what they demand of their own decides the exit code, beside the headline and the classes.".to_owned(),
        );
    }
    Table { header: vec!["objective", "of", "limit", "figure", "outcome"], rows, words: 2, notes }
}

fn goodput(result: &RunResult) -> Option<String> {
    let rates = &result.overall.rates;
    let rate = quantity(rates.goodput?);
    let share = rates.slo_attainment.map(percent);
    let share = share.map_or_else(String::new, |share| format!(", {share} of the requests"));
    Some(format!("goodput: {rate} requests/s within every limit of a request{share}"))
}

fn stopped(result: &RunResult) -> impl Iterator<Item = String> {
    stopped_words(result).into_iter().map(|words| format!("ended early: {words}"))
}
