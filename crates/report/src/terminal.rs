//! What a person reads in five seconds: rates, latencies, what became of the requests, and whether to trust it.
//!
//! One unit a table (milliseconds), three significant digits, an absent figure marked with its reason below. The verdict
//! comes last, where the eye is when the command ends: it decides how the rest is to be read.

mod figures;
mod progress;

#[cfg(test)]
pub(crate) mod example;

pub use progress::{ProgressView, progress_line};

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use metrics::{
    Books, Metric, NullReason, Percentile, RunResult, StageResult, Status, Summary, WindowResult,
};

use figures::{ABSENT, counted, length, milliseconds, percent, quantity, thousands, wrapped};

/// Columns where the terminal's width is not known.
pub const DEFAULT_WIDTH: u16 = 100;
/// Under this many columns a table is no table.
const MIN_WIDTH: u16 = 60;
/// A percentile that is null because answers were cut off.
const CENSORED: &str = "×";

/// The rows that are wanted, by the names of `metrics.collect`; empty means the usual ones.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    names: BTreeSet<String>,
}

impl Selection {
    /// Rows by name: metrics, and `throughput`, `tokens_per_second`, `error_rate` (or `errors`).
    pub fn of(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect() }
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.contains(name)
    }

    /// The usual latencies, or those named. `itl` and `icl` stand for each other: where one event is one token they are
    /// the same, and where it is not, `itl` is null.
    fn latencies(&self, window: &WindowResult) -> Vec<Metric> {
        const USUAL: [Metric; 7] = [
            Metric::Ttft,
            Metric::TtftScheduled,
            Metric::Itl,
            Metric::Icl,
            Metric::Tpot,
            Metric::E2eLatency,
            Metric::GeneratorLag,
        ];
        if self.names.is_empty() {
            let chunks = window.metrics.get(&Metric::Itl).is_none_or(|itl| itl.p50.is_none());
            let icl_too = chunks || differ(window, Metric::Icl, Metric::Itl);
            return USUAL.into_iter().filter(|&metric| metric != Metric::Icl || icl_too).collect();
        }
        let named = |metric: &Metric| self.names.contains(metric.name());
        let with_icl = |metric: &Metric| {
            let itl = window.metrics.get(&Metric::Itl);
            *metric == Metric::Icl
                && self.names.contains("itl")
                && itl.is_none_or(|itl| itl.p50.is_none())
        };
        Metric::ALL.into_iter().filter(|metric| named(metric) || with_icl(metric)).collect()
    }
}

fn differ(window: &WindowResult, one: Metric, other: Metric) -> bool {
    let count = |metric| window.metrics.get(&metric).map(|summary| summary.count);
    count(one) != count(other)
}

/// The usual table for that many columns.
pub fn table(result: &RunResult, width: u16) -> String {
    table_of(result, width, &Selection::default())
}

/// The table with the rows of `selection`.
pub fn table_of(result: &RunResult, width: u16, selection: &Selection) -> String {
    let width = width.max(MIN_WIDTH);
    let mut parts = vec![
        heading(result, width),
        rates(result, selection),
        latencies(&result.overall, selection, width),
        requests(&result.books, width),
    ];
    if result.stages.len() > 1 {
        parts.push(stages(&result.stages, width));
    }
    if !result.warnings.is_empty() {
        parts.push(warnings(result, width));
    }
    parts.push(verdict(result, width));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

fn heading(result: &RunResult, width: u16) -> String {
    let facts = &result.facts;
    let window = &result.overall;
    let first = format!("{}: {} at {}", facts.name, facts.model, facts.endpoint);
    let second = format!(
        "measured {} (run time {} to {}) with {}; output tokens counted by {}{}",
        length(window.measured),
        length(window.start),
        length(window.end),
        counted(facts.workers.into(), "worker"),
        facts.token_source,
        if facts.interrupted { "; interrupted" } else { "" },
    );
    let lines = [first, second].map(|line| wrapped(&line, width.into(), 2));
    lines.join("\n")
}

/// Per second: three columns of requests, three of tokens.
fn rates(result: &RunResult, selection: &Selection) -> String {
    let rates = &result.overall.rates;
    let figure = |rate: Option<f64>| rate.map_or_else(|| ABSENT.to_owned(), quantity);
    let mut lines = Vec::new();
    if selection.wants("throughput") {
        lines.push(format!(
            "requests/s   offered {}   sent {}   completed {}",
            figure(rates.offered),
            figure(rates.achieved),
            figure(rates.throughput)
        ));
    }
    if selection.wants("tokens_per_second") {
        lines.push(format!(
            "tokens/s     output {}   input {}   total {}",
            figure(rates.tokens_per_second),
            figure(rates.input_tokens_per_second),
            figure(rates.total_tokens_per_second)
        ));
    }
    if selection.wants("error_rate") || selection.wants("errors") {
        lines.push(format!(
            "errors       {}",
            rates.error_rate.map_or_else(|| ABSENT.to_owned(), percent)
        ));
    }
    lines.join("\n")
}

fn latencies(window: &WindowResult, selection: &Selection, width: u16) -> String {
    let mut rows = Vec::new();
    let mut reasons = BTreeSet::new();
    for metric in selection.latencies(window) {
        let Some(summary) = window.metrics.get(&metric) else { continue };
        if summary.kind != metrics::Kind::Latency {
            continue;
        }
        rows.push(latency_row(metric, summary));
        reasons.extend(summary.nulls.values().copied().chain(summary.null_reason));
    }
    if rows.is_empty() {
        return String::new();
    }
    let header = ["ms", "p50", "p90", "p95", "p99", "p99.9", "mean", "max", "samples"];
    let mut lines = vec![aligned(&header, rows, width)];
    lines.extend(
        reasons.into_iter().filter_map(footnote).map(|note| wrapped(note, width.into(), 4)),
    );
    lines.join("\n")
}

fn latency_row(metric: Metric, summary: &Summary) -> Vec<String> {
    let exact =
        |us: Option<u64>| us.map_or_else(|| ABSENT.to_owned(), |us| milliseconds(us as f64));
    let mut row = vec![metric.name().to_owned()];
    row.extend(Percentile::ALL.map(|percentile| match summary.nulls.get(&percentile) {
        Some(NullReason::Censored) => CENSORED.to_owned(),
        _ => exact(summary.percentile(percentile)),
    }));
    row.push(summary.mean.map_or_else(|| ABSENT.to_owned(), milliseconds));
    row.push(exact(summary.max));
    row.push(thousands(summary.count));
    row
}

fn footnote(reason: NullReason) -> Option<&'static str> {
    match reason {
        NullReason::FewSamples => Some("  –  too few samples for this percentile"),
        NullReason::Censored => {
            Some("  ×  more requests were cancelled or timed out than lie above this percentile")
        }
        NullReason::ChunksAreNotTokens => {
            Some("  itl is absent: an event of this server is not one token; read icl and tpot")
        }
        NullReason::NotStreamed => {
            Some("  answers were not streamed: there are no single tokens to time")
        }
        NullReason::NoSamples | NullReason::FewBlocks | NullReason::NotKept => None,
    }
}

/// What became of every request that was due.
fn requests(books: &Books, width: u16) -> String {
    let failed: Vec<_> = books
        .failed
        .iter()
        .map(|(class, count)| format!("{} {class}", thousands(*count)))
        .collect();
    let not_sent: Vec<_> = books
        .not_sent
        .iter()
        .map(|(reason, count)| format!("{} {}", thousands(*count), reason.name()))
        .collect();
    let parts = [
        (books.completed, "completed", Vec::new()),
        (books.failed_total(), "failed", failed),
        (books.cancelled, "cancelled", Vec::new()),
        (books.not_sent_total(), "not sent", not_sent),
        (books.lost.total(), "lost", Vec::new()),
    ];
    let shown = parts.iter().filter(|(count, what, _)| *count > 0 || *what == "completed");
    let outcomes: Vec<_> = shown
        .map(|(count, what, by)| match by.as_slice() {
            [] => format!("{} {what}", thousands(*count)),
            classes => format!("{} {what} ({})", thousands(*count), classes.join(", ")),
        })
        .collect();
    let line = format!("requests     {} due = {}", thousands(books.due), outcomes.join(" + "));
    keep_gap(&line, width)
}

/// Wraps a line whose label is followed by several spaces.
fn keep_gap(line: &str, width: u16) -> String {
    let label =
        line.find("  ").map_or(0, |gap| gap + line[gap..].len() - line[gap..].trim_start().len());
    let text = wrapped(&line[label..], usize::from(width).saturating_sub(label), 0);
    let indented = text.replace('\n', &format!("\n{}", " ".repeat(label)));
    format!("{}{indented}", &line[..label])
}

fn stages(stages: &[StageResult], width: u16) -> String {
    let header = [
        "stage",
        "seconds",
        "due",
        "offered/s",
        "done/s",
        "tokens/s",
        "errors",
        "ttft p50",
        "p99",
        "e2e p50",
        "p99",
    ];
    let rows = stages.iter().map(stage_row).collect();
    let mut text = aligned(&header, rows, width);
    if stages.iter().any(|stage| !stage.headline) {
        text.push_str("\n  *  not in the figures above");
    }
    text
}

fn stage_row(stage: &StageResult) -> Vec<String> {
    let window = &stage.window;
    let rate = |rate: Option<f64>| rate.map_or_else(|| ABSENT.to_owned(), quantity);
    let latency = |metric: Metric, percentile: Percentile| {
        let value = window.metrics.get(&metric).and_then(|summary| summary.percentile(percentile));
        value.map_or_else(|| ABSENT.to_owned(), |us| milliseconds(us as f64))
    };
    vec![
        format!("{}{}", stage.name, if stage.headline { "" } else { " *" }),
        format!("{}–{}", seconds(window.start), seconds(window.end)),
        thousands(stage.books.due),
        rate(window.rates.offered),
        rate(window.rates.throughput),
        rate(window.rates.tokens_per_second),
        window.rates.error_rate.map_or_else(|| ABSENT.to_owned(), percent),
        latency(Metric::Ttft, Percentile::P50),
        latency(Metric::Ttft, Percentile::P99),
        latency(Metric::E2eLatency, Percentile::P50),
        latency(Metric::E2eLatency, Percentile::P99),
    ]
}

fn seconds(duration: std::time::Duration) -> String {
    let text = format!("{:.1}", duration.as_secs_f64());
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A table whose first column is words and whose others are figures.
fn aligned(header: &[&str], rows: Vec<Vec<String>>, width: u16) -> String {
    let mut table = Table::new();
    let _table = table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header.to_vec())
        .add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

fn warnings(result: &RunResult, width: u16) -> String {
    let line = |warning: &metrics::Warning| {
        wrapped(&format!("warning {}: {}", warning.code, warning.message), width.into(), 2)
    };
    result.warnings.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn verdict(result: &RunResult, width: u16) -> String {
    let verdict = &result.verdict;
    let meaning = match verdict.status {
        Status::Valid => "the generator kept its schedule, and every request is accounted for",
        Status::Suspect => "read the figures with these reasons in mind",
        Status::Invalid => "do not use the figures",
    };
    let mut lines = vec![format!("verdict      {}: {meaning}", verdict.status.name())];
    for reason in &verdict.reasons {
        let label = match reason.status {
            Status::Valid => "remark",
            Status::Suspect | Status::Invalid => reason.status.name(),
        };
        let text = format!("- {label} {}: {}", reason.code, reason.message);
        lines.push(wrapped(&text, width.into(), 2));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
