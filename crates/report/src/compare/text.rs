//! A comparison on a terminal.

use super::tables::{HEADER, configuration_table, notes, row, rules_table};
use super::view::conclusion;
use super::{ComparedSide, ComparisonView};
use crate::figures::{GLUE, labelled, wrapped};
use crate::terminal::aligned;

/// For that many columns.
pub fn comparison_text(view: &ComparisonView, width: u16) -> String {
    let mut parts = vec![heading(view, width)];
    for (side, figures) in view.candidates.iter().zip(&view.compared) {
        let rows = figures.iter().map(|one| unbroken(row(one))).collect();
        let table = aligned(&HEADER, rows, width).replace(GLUE, " ");
        let several = view.candidates.len() > 1;
        parts.push(if several { format!("{}\n{table}", side.title()) } else { table });
    }
    let notes = notes(view);
    let lines = notes.iter().chain(&view.remarks).map(|line| wrapped(line, width.into(), 2));
    parts.push(lines.collect::<Vec<_>>().join("\n"));
    let tables = [configuration_table(view), rules_table(view)].into_iter().flatten();
    parts.extend(tables.map(|table| aligned(&table.header, table.rows, width)));
    let conclusion = conclusion(view);
    let words = format!("{}: {}", conclusion.name, conclusion.meaning);
    parts.push(labelled("conclusion", &words, width.into()));
    parts.join("\n\n")
}

/// A figure and its unit stay on one line.
fn unbroken(cells: Vec<String>) -> Vec<String> {
    cells.into_iter().map(|cell| cell.replace(' ', &GLUE.to_string())).collect()
}

fn heading(view: &ComparisonView, width: u16) -> String {
    let line = |label: &str, side: &ComparedSide| labelled(label, &side.title(), width.into());
    let mut lines = vec![line("baseline", &view.baseline)];
    lines.extend(view.candidates.iter().map(|side| line("candidate", side)));
    lines.join("\n")
}
