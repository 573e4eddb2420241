//! What a report says, apart from how it is laid out: one value for the page, the PDF and the Markdown.
//!
//! A person must see in ten seconds what happened and whether to believe it, so the order is fixed: verdict, headline,
//! latencies, then what explains them, and last what was run and what each word means.

mod configuration;
mod groups;
mod headline;
mod objectives;
mod tables;

pub(crate) use configuration::redacted;
pub(crate) use groups::told;
pub(crate) use headline::{Headline, merged_headline};
pub(crate) use tables::reason_words;

use std::borrow::Cow;

use metrics::{Metric, RunResult, Status};

use crate::chart::{
    Chart, against_load, histogram, over_time, percentiles, server as server_charts,
};
use crate::figures::{counted, length, milliseconds, or_absent, percent, quantity, thousands};
use crate::stored::StoredRun;
use crate::summary_json::iso_8601;

/// A whole report.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) verdict: VerdictView,
    /// What is missing and so not shown.
    pub(crate) gaps: Vec<String>,
    pub(crate) tiles: Vec<Tile>,
    pub(crate) sections: Vec<Section>,
}

/// Whether to believe it.
#[derive(Debug)]
pub(crate) struct VerdictView {
    pub(crate) status: Status,
    pub(crate) name: &'static str,
    pub(crate) meaning: Cow<'static, str>,
    pub(crate) reasons: Vec<ReasonView>,
}

/// One rule that spoke.
#[derive(Debug)]
pub(crate) struct ReasonView {
    pub(crate) label: &'static str,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// One figure of the headline.
#[derive(Debug)]
pub(crate) struct Tile {
    pub(crate) label: Cow<'static, str>,
    pub(crate) value: String,
    pub(crate) unit: &'static str,
    /// Why it is absent, or what stands beside it.
    pub(crate) note: String,
}

/// A part with a heading.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) blocks: Vec<Block>,
}

/// What a section holds.
#[derive(Debug)]
pub(crate) enum Block {
    Table(Table),
    Chart(Chart),
    /// Lines of their own, such as warnings.
    Lines(Vec<String>),
    /// Text as it is, such as YAML.
    Verbatim(String),
}

/// Words in the first column, figures in the others unless `words` says otherwise.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) header: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    /// Columns of words from the left.
    pub(crate) words: usize,
    /// Under it.
    pub(crate) notes: Vec<String>,
}

impl Table {
    /// Whether the header says anything.
    pub(crate) fn has_header(&self) -> bool {
        self.header.iter().any(|cell| !cell.is_empty())
    }

    /// The last column of a table of failures is what a server said.
    pub(crate) fn is_prose(&self, column: usize) -> bool {
        self.header.get(column) == Some(&"for example")
    }
}

impl Document {
    /// Everything that the files of a run say.
    pub(crate) fn of(run: &StoredRun) -> Self {
        let result = &run.result;
        let headline = Headline::of(result);
        let sections = vec![
            section("objectives", "Objectives", objectives::blocks(result)),
            section("latency", "Latency", latency(result, &headline)),
            section("time", "Over time", charts(over_time(result, &headline))),
            section("load", "Load and stages", load(result, &headline)),
            section("classes", "Traffic classes", groups::classes(result, &headline)),
            section("targets", "Targets", groups::targets(result, &headline)),
            section("turns", "Turns of sessions", groups::turns(result, &headline)),
            section("server", "What the server says", server(result)),
            section("requests", "Requests and errors", requests(result)),
            section("workers", "Workers", vec![Block::Table(tables::workers(result))]),
            section("warnings", "Warnings", warnings(result)),
            section("others", "Every other metric", vec![Block::Table(tables::others(result))]),
            section("run", "What was run", what_was_run(run)),
            section(
                "definitions",
                "What each number means",
                vec![Block::Table(tables::definitions())],
            ),
        ];
        Self {
            title: if result.facts.name.is_empty() {
                "run".to_owned()
            } else {
                result.facts.name.clone()
            },
            subtitle: subtitle(result),
            verdict: verdict(result),
            gaps: run.gaps.clone(),
            tiles: tiles(result, &headline),
            sections: sections.into_iter().filter(|section| !section.blocks.is_empty()).collect(),
        }
    }

    /// Its charts in order.
    pub(crate) fn charts(&self) -> impl Iterator<Item = &Chart> {
        let blocks = self.sections.iter().flat_map(|section| &section.blocks);
        blocks.filter_map(|block| match block {
            Block::Chart(chart) => Some(chart),
            Block::Table(_) | Block::Lines(_) | Block::Verbatim(_) => None,
        })
    }
}

fn section(id: &'static str, title: &'static str, blocks: Vec<Block>) -> Section {
    Section { id, title, blocks }
}

fn charts(charts: impl IntoIterator<Item = Chart>) -> Vec<Block> {
    charts.into_iter().filter(|chart| !chart.is_empty()).map(Block::Chart).collect()
}

fn subtitle(result: &RunResult) -> String {
    let facts = &result.facts;
    let begun = iso_8601(facts.started_at_unix_ns).unwrap_or_default();
    let begun = begun.get(..19).unwrap_or_default().replace('T', " ");
    let measured = length(result.overall.measured);
    let labels = facts.labels.iter().map(|(name, value)| format!(" · {name}={value}"));
    format!(
        "{} at {} · {begun} UTC · measured {measured} with {}{}{}",
        facts.model,
        facts.endpoint,
        counted(facts.workers.into(), "worker"),
        if facts.interrupted { " · interrupted" } else { "" },
        labels.collect::<String>(),
    )
}

fn verdict(result: &RunResult) -> VerdictView {
    let verdict = &result.verdict;
    let reasons = verdict.reasons.iter().map(|reason| ReasonView {
        label: match reason.status {
            Status::Valid => "remark",
            Status::Suspect | Status::Invalid => reason.status.name(),
        },
        code: reason.code.clone(),
        message: reason.message.clone(),
    });
    VerdictView {
        status: verdict.status,
        name: verdict.status.name(),
        meaning: match verdict.status {
            Status::Valid => "nothing speaks against the figures",
            Status::Suspect => "read the figures with these reasons in mind",
            Status::Invalid => "do not use the figures",
        }
        .into(),
        reasons: reasons.collect(),
    }
}

fn tiles(result: &RunResult, headline: &Headline) -> Vec<Tile> {
    let rates = &result.overall.rates;
    let per_second = |rate: Option<f64>| or_absent(rate, quantity);
    let offered =
        rates.offered.map_or_else(String::new, |rate| format!("of {} offered", quantity(rate)));
    let mut tiles = vec![
        Tile {
            label: "completed".into(),
            value: per_second(rates.throughput),
            unit: "req/s",
            note: offered,
        },
        Tile {
            label: "output tokens".into(),
            value: per_second(rates.tokens_per_second),
            unit: "tok/s",
            note: String::new(),
        },
    ];
    let latencies = [
        (Metric::Ttft, "TTFT"),
        (headline.token_gap, headline.token_gap_label()),
        (Metric::E2eLatency, "end to end"),
    ];
    let measured = result.stages.iter().filter(|stage| stage.headline);
    let failed = measured.map(|stage| stage.books.failed_total()).sum();
    tiles.extend(latencies.map(|(metric, label)| latency_tile(result, metric, label)));
    tiles.push(Tile {
        label: "errors".into(),
        value: or_absent(rates.error_rate, percent),
        unit: "",
        note: format!("{} failed", thousands(failed)),
    });
    if rates.goodput.is_some() {
        let note = "within every limit of a request".to_owned();
        tiles.push(Tile {
            label: "goodput".into(),
            value: per_second(rates.goodput),
            unit: "req/s",
            note,
        });
    }
    tiles
}

fn latency_tile(result: &RunResult, metric: Metric, label: &'static str) -> Tile {
    let summary = result.overall.metrics.get(&metric);
    let shown = |us: Option<u64>| or_absent(us, |us| milliseconds(us as f64));
    let note = match summary {
        None => "not in the summary".to_owned(),
        Some(summary) => match summary.null_reason {
            Some(reason) => tables::reason_words(reason).to_owned(),
            None => format!("p50 · p99 {} ms", shown(summary.p99)),
        },
    };
    Tile {
        label: label.into(),
        value: shown(summary.and_then(|summary| summary.p50)),
        unit: "ms",
        note,
    }
}

fn latency(result: &RunResult, headline: &Headline) -> Vec<Block> {
    let mut blocks = vec![Block::Table(tables::usual(result, headline))];
    let distributions = [
        ("ttft_distribution", Metric::Ttft),
        ("itl_distribution", headline.token_gap),
        ("e2e_distribution", Metric::E2eLatency),
    ];
    let histograms = distributions
        .into_iter()
        .filter_map(|(id, metric)| histogram(id, metric, result, headline));
    blocks.extend(charts(std::iter::once(percentiles(result, headline)).chain(histograms)));
    blocks
}

fn load(result: &RunResult, headline: &Headline) -> Vec<Block> {
    let mut blocks = charts(against_load(result, headline));
    blocks.push(Block::Table(tables::stages(result, headline)));
    blocks
}

/// Nothing, where nobody was asked.
fn server(result: &RunResult) -> Vec<Block> {
    let mut blocks = charts(server_charts(result));
    if !result.server.series.is_empty() {
        blocks.push(Block::Table(tables::server(result)));
    }
    if !result.server.problems.is_empty() {
        blocks.push(Block::Lines(result.server.problems.clone()));
    }
    blocks
}

fn requests(result: &RunResult) -> Vec<Block> {
    let mut blocks = vec![Block::Table(tables::books(result))];
    blocks.extend(tables::failures(result).map(Block::Table));
    blocks
}

fn warnings(result: &RunResult) -> Vec<Block> {
    let lines: Vec<_> = result
        .warnings
        .iter()
        .map(|warning| format!("{}: {}", warning.code, warning.message))
        .collect();
    if lines.is_empty() { Vec::new() } else { vec![Block::Lines(lines)] }
}

fn what_was_run(run: &StoredRun) -> Vec<Block> {
    let mut blocks = vec![Block::Table(tables::facts(run))];
    if let Some(yaml) = &run.config {
        blocks.push(Block::Verbatim(configuration::redacted(yaml)));
    }
    blocks
}

#[cfg(test)]
mod tests;
