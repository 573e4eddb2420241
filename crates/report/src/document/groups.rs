//! Traffic classes, targets and turns: a table and the curves of each kind.

use metrics::{GroupResult, Metric, RunResult, Sessions};

use super::tables::window_cells;
use super::{Block, Headline, Table, charts};
use crate::chart::by_group;
use crate::figures::{counted, percent, thousands};

/// Of the classes; nothing where there is one kind of requests.
pub(super) fn classes(result: &RunResult, headline: &Headline) -> Vec<Block> {
    let ids = ["ttft_by_class", "itl_by_class", "e2e_by_class"];
    blocks("class", "planned", ids, &result.classes, headline)
}

/// Of the targets; nothing where there is one.
pub(super) fn targets(result: &RunResult, headline: &Headline) -> Vec<Block> {
    let ids = ["ttft_by_target", "itl_by_target", "e2e_by_target"];
    blocks("target", "planned", ids, &result.targets, headline)
}

/// Of the turns of sessions, and what became of these; nothing where requests stand alone.
pub(super) fn turns(result: &RunResult, headline: &Headline) -> Vec<Block> {
    let ids = ["ttft_by_turn", "itl_by_turn", "e2e_by_turn"];
    let mut blocks = blocks("turn", "of due", ids, &result.turns, headline);
    if let (Some(Block::Table(table)), Some(sessions)) = (blocks.first_mut(), &result.sessions) {
        table.notes.insert(0, format!("Sessions: {}.", told(sessions)));
    }
    blocks
}

/// What became of the sessions, in a line.
pub(crate) fn told(sessions: &Sessions) -> String {
    let outcomes = [
        (sessions.completed, "completed"),
        (sessions.cut, "cut"),
        (sessions.lost, "lost with a worker"),
    ];
    let shown = outcomes.iter().filter(|(count, what)| *count > 0 || *what == "completed");
    let words: Vec<_> =
        shown.map(|(count, what)| format!("{} {what}", thousands(*count))).collect();
    let missing = match sessions.turns_not_reached {
        0 => String::new(),
        turns => format!("; {} not reached", counted(turns, "turn")),
    };
    format!("{} begun = {}{missing}", thousands(sessions.begun), words.join(" + "))
}

fn blocks(
    what: &'static str,
    share: &'static str,
    ids: [&'static str; 3],
    groups: &[GroupResult],
    headline: &Headline,
) -> Vec<Block> {
    if groups.is_empty() {
        return Vec::new();
    }
    let metrics = [Metric::Ttft, headline.token_gap, Metric::E2eLatency];
    let curves =
        ids.into_iter().zip(metrics).map(|(id, metric)| by_group(id, metric, what, groups));
    let mut blocks = vec![Block::Table(table([what, share], groups, headline))];
    blocks.extend(charts(curves));
    blocks
}

fn table([what, share]: [&'static str; 2], groups: &[GroupResult], headline: &Headline) -> Table {
    let gap = if headline.token_gap == Metric::Icl { "icl p50" } else { "itl p50" };
    Table {
        header: vec![
            what, share, "due", "completed", "failed", "not sent", "lost", "completed/s", "tokens/s",
            "errors", "ttft p50", "ttft p99", gap, "e2e p50", "e2e p99",
        ],
        rows: groups.iter().map(|group| row(group, headline)).collect(),
        words: 1,
        notes: vec![
            "Counts are of the whole run, rates and latencies (ms) of the measured stages. Percentiles of a part have no 95 % interval.".to_owned(),
        ],
    }
}

fn row(group: &GroupResult, headline: &Headline) -> Vec<String> {
    let books = &group.books;
    let mut row = vec![
        group.name.clone(),
        percent(group.share),
        thousands(books.due),
        thousands(books.completed),
        thousands(books.failed_total()),
        thousands(books.not_sent_total()),
        thousands(books.lost.total()),
    ];
    row.extend(window_cells(&group.window, headline));
    row
}
