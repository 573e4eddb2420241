//! What a person reads in five seconds: rates, latencies, what became of the requests, and whether to trust it.
//!
//! One unit a table (milliseconds), three significant digits, an absent figure marked with its reason below. The verdict
//! comes last, where the eye is when the command ends: it decides how the rest is to be read.

mod curve;
mod grid;
mod objectives;
mod plan;
mod progress;
mod runs;
mod screen;
mod workers;

#[cfg(test)]
pub(crate) mod example;

pub(crate) use grid::{aligned, fits, fitted};
pub use plan::plan_text;
pub use progress::progress_line;
pub use runs::{RunLine, list};
pub use screen::{Palette, draw_screen};

use std::collections::BTreeSet;

use metrics::{
    Books, Drift, FailureSample, GroupResult, Kind, Metric, Notes, NullReason, Percentile,
    RunFacts, RunResult, StageResult, Status, Summary, WindowResult,
};

use crate::figures::{
    CENSORED, GLUE, counted, labelled, latency, length, milliseconds, or_absent, percent, quantity,
    samples, thousands, usual, wrapped,
};

/// Columns where the terminal's width is not known.
pub const DEFAULT_WIDTH: u16 = 100;
/// Under this many columns a table is no table.
const MIN_WIDTH: u16 = 60;
/// Columns of latencies that a narrow terminal leaves out, the least important first.
const EXPENDABLE_LATENCIES: [&str; 4] = ["p95", "mean", "p90", "p99.9"];
/// Of stages, and of classes, targets and turns.
const EXPENDABLE_OF_PARTS: [&str; 7] =
    ["e2e p50", "share", "tokens/s", "offered/s", "e2e p99", "seconds", "ttft p50"];
/// From this width on the rates stand in columns.
const ALIGNED_RATES_WIDTH: u16 = 76;

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

    /// The usual latencies that have samples, or all that are named. `itl` and `icl` stand for each other: where an
    /// event is one token they are the same, and where it is not, `itl` is null and `icl` takes its place.
    fn latencies(&self, window: &WindowResult) -> Vec<Metric> {
        if self.names.is_empty() {
            return usual(window).filter(|&metric| samples(window, metric) > 0).collect();
        }
        let stands_in = self.names.contains("itl") && samples(window, Metric::Itl) == 0;
        let named = |metric: &Metric| self.names.contains(metric.name());
        Metric::ALL
            .into_iter()
            .filter(|metric| named(metric) || (*metric == Metric::Icl && stands_in))
            .collect()
    }
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
        rates(result, selection, width),
        latencies(&result.overall, selection, width),
        objectives::steady(result, width),
        requests(&result.books, width),
        sessions(result, width),
        failures(result, width),
    ];
    if result.stages.len() > 1 {
        parts.push(stages(&result.stages, width));
    }
    parts.push(server(result, width));
    let groups = [("class", &result.classes), ("target", &result.targets), ("turn", &result.turns)];
    let groups = groups.into_iter().filter(|(_, groups)| !groups.is_empty());
    parts.extend(groups.map(|(what, groups)| group_table(what, groups, width)));
    parts.push(workers::workers(result, width));
    if !result.warnings.is_empty() {
        parts.push(warnings(result, width));
    }
    parts.push(objectives::objectives(result, width));
    parts.push(objectives::stopped(result, width));
    parts.push(verdict(result, width));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

fn heading(result: &RunResult, width: u16) -> String {
    let facts = &result.facts;
    let window = &result.overall;
    let first = format!("{}: {} at {}", facts.name, facts.model, facts.endpoint);
    let [start, end] = [window.start, window.end].map(length);
    let measured = if window.measured.is_zero() && !window.start.is_zero() {
        format!("nothing measured (the measured window begins at run time {start})")
    } else {
        format!("measured {} (run time {start} to {end})", length(window.measured))
    };
    let second = format!(
        "{measured} with {}{}{}",
        counted(facts.workers.into(), "worker"),
        token_source(facts),
        if facts.interrupted { "; interrupted" } else { "" },
    );
    let lines = [first, second].map(|line| wrapped(&line, width.into(), 2));
    lines.join("\n")
}

fn token_source(facts: &RunFacts) -> &'static str {
    match facts.token_source.as_str() {
        "usage" => "; tokens as the server counts them",
        "tokenizer" => "; tokens as our tokenizer counts them",
        "events" => "; one event counted as one token",
        "mixed" => "; tokens counted by the server or, where it did not, by events",
        _ => "",
    }
}

/// Per second, requests above tokens.
fn rates(result: &RunResult, selection: &Selection, width: u16) -> String {
    let rates = &result.overall.rates;
    let figure = |rate: Option<f64>| or_absent(rate, quantity);
    let line = |label: &str, columns: [(&str, Option<f64>); 3]| {
        if width < ALIGNED_RATES_WIDTH {
            let words = columns.map(|(name, rate)| format!("{name}{GLUE}{}", figure(rate)));
            return labelled(label, &words.join(", "), width.into());
        }
        let cells = columns.map(|(name, rate)| format!("{name:<9} {:>9}", figure(rate)));
        format!("{label:<13}{}", cells.join("   "))
    };
    let mut lines = Vec::new();
    if selection.wants("throughput") {
        let columns =
            [("offered", rates.offered), ("sent", rates.achieved), ("completed", rates.throughput)];
        lines.push(line("requests/s", columns));
    }
    if selection.wants("tokens_per_second") {
        let columns = [
            ("output", rates.tokens_per_second),
            ("input", rates.input_tokens_per_second),
            ("total", rates.total_tokens_per_second),
        ];
        lines.push(line("tokens/s", columns));
    }
    if selection.wants("error_rate") || selection.wants("errors") {
        let share = or_absent(rates.error_rate, percent);
        lines.push(format!("{:<13}{share}", "errors"));
    }
    lines.extend(objectives::goodput(&result.overall).filter(|_| selection.wants("goodput")));
    lines.extend(objectives::slow_ttft(&result.overall));
    lines.extend(drift(&result.overall.notes, &result.facts.api, width));
    let ratio = rates.cache_hit_ratio.filter(|ratio| *ratio > 0.0);
    let named = selection.names.contains("cache_hit_ratio");
    if (ratio.is_some() && selection.wants("cache_hit_ratio")) || named {
        let ratio = or_absent(rates.cache_hit_ratio, percent);
        lines.push(format!(
            "{:<13}{ratio} of the prompt tokens, as the server counts them",
            "cache hits"
        ));
    }
    lines.join("\n")
}

/// How the server's counts of tokens differ from what was asked for, where they differ by half a percent.
fn drift(notes: &Notes, api: &str, width: u16) -> Option<String> {
    let sides = [("input", notes.input_drift()), ("output", notes.output_drift())];
    let worth = |(name, drift): (&str, Drift)| {
        let share = drift.share().filter(|share| share.abs() >= 0.005)?;
        let sign = if share < 0.0 { '−' } else { '+' };
        Some(format!("{name}{GLUE}{sign}{}", percent(share.abs())))
    };
    let parts: Vec<_> = sides.into_iter().filter_map(worth).collect();
    let template = notes.input_drift().share().is_some_and(|share| api == "chat" && share >= 0.005);
    let template = if template { "; a chat's template counts with them" } else { "" };
    let parts = parts.join(", ");
    let text = format!("{parts} of the tokens asked for, as the server counts them{template}");
    (!parts.is_empty()).then(|| labelled("drift", &text, width.into()))
}

fn latencies(window: &WindowResult, selection: &Selection, width: u16) -> String {
    let summaries: Vec<(Metric, &Summary)> = selection
        .latencies(window)
        .into_iter()
        .filter_map(|metric| Some((metric, window.metrics.get(&metric)?)))
        .filter(|(_, summary)| summary.kind == Kind::Latency)
        .collect();
    let mut lines = Vec::new();
    if !summaries.is_empty() {
        let header = ["ms", "p50", "p90", "p95", "p99", "p99.9", "mean", "max", "samples"];
        let rows = summaries.iter().map(|(metric, summary)| latency_row(*metric, summary));
        lines.push(fitted(&header, rows.collect(), &EXPENDABLE_LATENCIES, width));
    }
    lines.extend(intervals(window, &summaries, width));
    let mut reasons: BTreeSet<NullReason> =
        summaries.iter().flat_map(|(_, summary)| summary.nulls.values().copied()).collect();
    let absent = [Metric::Ttft, Metric::Itl].map(|metric| window.metrics.get(&metric));
    reasons.extend(absent.into_iter().flatten().filter_map(|summary| summary.null_reason));
    let notes = reasons.into_iter().filter_map(footnote);
    lines.extend(notes.map(|note| wrapped(note, width.into(), 2)));
    lines.join("\n")
}

/// How far the two latencies that matter most could have come out otherwise.
fn intervals(window: &WindowResult, shown: &[(Metric, &Summary)], width: u16) -> Option<String> {
    let mut parts = Vec::new();
    for metric in [Metric::Ttft, Metric::E2eLatency] {
        let is_shown = shown.iter().any(|(candidate, _)| *candidate == metric);
        let Some(summary) = window.metrics.get(&metric).filter(|_| is_shown) else { continue };
        for percentile in [Percentile::P50, Percentile::P99] {
            let Some(interval) = summary.ci95.get(&percentile) else { continue };
            let [low, high] = [interval.low, interval.high].map(|us| milliseconds(us as f64));
            let words = format!("{} {} {low} to {high}", metric.name(), percentile.name());
            parts.push(words.replace(' ', &GLUE.to_string()));
        }
    }
    let text = format!("95{GLUE}% intervals: {}", parts.join(", "));
    (!parts.is_empty()).then(|| wrapped(&text, width.into(), 2))
}

fn latency_row(metric: Metric, summary: &Summary) -> Vec<String> {
    let exact = |us: Option<u64>| or_absent(us, |us| milliseconds(us as f64));
    let mut row = vec![metric.name().to_owned()];
    row.extend(Percentile::ALL.map(|percentile| match summary.nulls.get(&percentile) {
        Some(NullReason::Censored) => CENSORED.to_owned(),
        _ => exact(summary.percentile(percentile)),
    }));
    row.push(or_absent(summary.mean, milliseconds));
    row.push(exact(summary.max));
    row.push(thousands(summary.count));
    row
}

fn footnote(reason: NullReason) -> Option<&'static str> {
    match reason {
        NullReason::FewSamples => Some("– too few samples for this percentile"),
        NullReason::Censored => {
            Some("× more requests were cancelled or timed out than lie above this percentile")
        }
        NullReason::ChunksAreNotTokens => {
            Some("itl is absent: an event of this server is not one token; read icl and tpot")
        }
        NullReason::NotStreamed => {
            Some("answers were not streamed: there are no single tokens to time")
        }
        NullReason::NoSamples
        | NullReason::FewBlocks
        | NullReason::NotKept
        | NullReason::CacheNotTold => None,
    }
}

/// What the service said of itself while the headline was measured.
fn server(result: &RunResult, width: u16) -> String {
    if result.server.series.is_empty() {
        return String::new();
    }
    let figure = |value: Option<f64>| or_absent(value, quantity);
    let row = |series: &metrics::ServerSeries| {
        let inside = crate::server_json::in_headline(series, result);
        let mut row = vec![series.name.clone(), series.unit.clone()];
        row.extend([inside.mean(), inside.min(), inside.max()].map(figure));
        row
    };
    let rows = result.server.series.iter().map(row).collect();
    aligned(&["server says", "unit", "mean", "min", "max"], rows, width)
}

/// What became of every request that was due.
fn requests(books: &Books, width: u16) -> String {
    let failed = books.failed.iter().map(|(class, &count)| (count, class.name()));
    let not_sent = books.not_sent.iter().map(|(why, &count)| (count, why.name().to_owned()));
    let outcomes = [
        (books.completed, "completed", String::new()),
        (books.failed_total(), "failed", broken_down(failed.collect())),
        (books.cancelled, "cancelled", String::new()),
        (books.not_sent_total(), "not sent", broken_down(not_sent.collect())),
        (books.lost.total(), "lost", String::new()),
    ];
    let shown = outcomes.iter().filter(|(count, what, _)| *count > 0 || *what == "completed");
    let words: Vec<_> =
        shown.map(|(count, what, by)| format!("{}{GLUE}{what}{by}", thousands(*count))).collect();
    let text = format!("{} due = {}", thousands(books.due), words.join(" + "));
    labelled("requests", &text, width.into())
}

/// What became of conversations; nothing where requests stand alone.
fn sessions(result: &RunResult, width: u16) -> String {
    let told = result.sessions.as_ref().map(crate::document::told);
    told.map_or_else(String::new, |text| labelled("sessions", &text, width.into()))
}

/// ` (8 status_503, 2 timeout)`, the most frequent first; nothing for nothing.
fn broken_down(mut classes: Vec<(u64, String)>) -> String {
    classes.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
    let words: Vec<_> = classes
        .iter()
        .map(|(count, class)| format!("{}{GLUE}{class}", thousands(*count)))
        .collect();
    if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) }
}

/// The first failure of each class in the words that came with it; the others are in summary.json.
fn failures(result: &RunResult, width: u16) -> String {
    let mut told = BTreeSet::new();
    let first_of_class = result.failures.iter().filter(|sample| told.insert(sample.class));
    let line = |sample: &FailureSample| {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let words: String = sample.detail.chars().map(printable).collect();
        wrapped(&format!("failed {}: {words}", sample.class.name()), width.into(), 2)
    };
    first_of_class.map(line).collect::<Vec<_>>().join("\n")
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
        "ttft p99",
        "e2e p50",
        "e2e p99",
    ];
    let rows = stages.iter().map(stage_row).collect();
    let mut text = fitted(&header, rows, &EXPENDABLE_OF_PARTS, width);
    text.push_str("\nttft and e2e in ms");
    if stages.iter().any(|stage| !stage.headline) {
        text.push_str("; * not in the figures above");
    }
    text
}

/// Classes, targets or turns beside each other, in the headline's window.
fn group_table(what: &str, groups: &[GroupResult], width: u16) -> String {
    let header = [
        what, "share", "due", "done/s", "tokens/s", "errors", "ttft p50", "ttft p99", "e2e p50",
        "e2e p99",
    ];
    let rows = groups.iter().map(group_row).collect();
    let table = fitted(&header, rows, &EXPENDABLE_OF_PARTS, width);
    let share = if what == "turn" { "share of what was due" } else { "share as planned" };
    format!("{table}\n{share}; due of the whole run; ttft and e2e in ms")
}

fn group_row(group: &GroupResult) -> Vec<String> {
    let [throughput, tokens, errors, latencies @ ..] = window_cells(&group.window);
    let mut row = vec![
        group.name.clone(),
        percent(group.share),
        thousands(group.books.due),
        throughput,
        tokens,
        errors,
    ];
    row.extend(latencies);
    row
}

/// Completed and tokens per second, errors, TTFT and e2e latency.
fn window_cells(window: &WindowResult) -> [String; 7] {
    let rate = |rate: Option<f64>| or_absent(rate, quantity);
    [
        rate(window.rates.throughput),
        rate(window.rates.tokens_per_second),
        or_absent(window.rates.error_rate, percent),
        latency(window, Metric::Ttft, Percentile::P50),
        latency(window, Metric::Ttft, Percentile::P99),
        latency(window, Metric::E2eLatency, Percentile::P50),
        latency(window, Metric::E2eLatency, Percentile::P99),
    ]
}

fn stage_row(stage: &StageResult) -> Vec<String> {
    let window = &stage.window;
    let mut row = vec![
        format!("{}{}", stage.name, if stage.headline { "" } else { " *" }),
        format!("{}–{}", seconds(window.start), seconds(window.end)),
        thousands(stage.books.due),
        or_absent(window.rates.offered, quantity),
    ];
    row.extend(window_cells(window));
    row
}

fn seconds(duration: std::time::Duration) -> String {
    let text = format!("{:.1}", duration.as_secs_f64());
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
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
        Status::Valid => "nothing speaks against the figures",
        Status::Suspect => "read the figures with these reasons in mind",
        Status::Invalid => "do not use the figures",
    };
    let status = format!("{}: {meaning}", verdict.status.name());
    let mut lines = vec![labelled("verdict", &status, width.into())];
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
