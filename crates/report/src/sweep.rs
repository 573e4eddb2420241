//! The runs of a sweep side by side: one table and a few charts over all.
//!
//! A line of the table is a run, so that repeats show how far apart equal runs are; nothing is averaged but in the charts,
//! where a point is the median of its repeats. Everything is read from the runs' own summaries: a sweep that was cut off and
//! gone on with gives the table that it would have given.

mod charts;
mod figure;

use metrics::{RunResult, Status};
use serde_json::{Map, Value, json};

use crate::csv_table::inert;
use crate::directory::ReportError;
use crate::document::{Block, Document, ReasonView, Section, Table, Tile, VerdictView};
use crate::figures::{ABSENT, GLUE, counted, or_absent, wrapped};
use crate::html::page;
use crate::markdown::markdown_of;
use crate::plot::{Plot, picture};
use crate::summary_json::SCHEMA_VERSION;
use crate::terminal::{fits, fitted};
use charts::charts;
use figure::{FIGURES, Figure};

/// One run of a sweep.
#[derive(Debug, Clone)]
pub struct SweptRun {
    /// What it is known by.
    pub id: String,
    /// The keys that it sets, in the sweep's order.
    pub overrides: Vec<(String, Value)>,
    /// From 1.
    pub repeat: u32,
    /// Its results, as a path from the sweep's own directory; empty where there are none yet.
    pub directory: String,
    /// What its summary says; none before its end.
    pub result: Option<RunResult>,
}

/// A sweep.
#[derive(Debug, Clone)]
pub struct SweepView {
    /// `benchmark.name`.
    pub name: String,
    /// The key whose values are the horizontal axis of the charts.
    pub axis: Option<String>,
    /// In the order in which they are run.
    pub runs: Vec<SweptRun>,
}

impl SweptRun {
    fn point(&self) -> String {
        let pairs = self.overrides.iter().map(|(key, value)| format!("{key}={}", plain(value)));
        pairs.collect::<Vec<_>>().join(" ")
    }

    fn verdict(&self) -> &'static str {
        self.result.as_ref().map_or(ABSENT, |result| result.verdict.status.name())
    }
}

impl SweepView {
    fn done(&self) -> impl Iterator<Item = &RunResult> {
        self.runs.iter().filter_map(|run| run.result.as_ref())
    }

    /// Every key that a point sets, in the order of their first appearance.
    fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = Vec::new();
        for (key, _) in self.runs.iter().flat_map(|run| &run.overrides) {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        keys
    }

    /// Figures that at least one run has.
    fn figures(&self) -> Vec<&'static Figure> {
        let has = |figure: &&Figure| self.done().any(|result| (figure.of)(result).is_some());
        FIGURES.iter().filter(has).collect()
    }

    fn repeats(&self) -> u32 {
        self.runs.iter().map(|run| run.repeat).max().unwrap_or(0)
    }
}

/// A value as it is written on a command line.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A line a run: the keys, then the figures with their units, an absent one empty.
///
/// # Errors
/// None that was ever seen: it writes to memory.
pub fn sweep_csv(sweep: &SweepView) -> Result<String, ReportError> {
    let failed = |error: String| ReportError::Render { what: "sweep.csv", error };
    let mut writer = csv::Writer::from_writer(Vec::new());
    let (keys, figures) = (sweep.keys(), FIGURES);
    let mut header: Vec<String> = vec!["id".to_owned()];
    header.extend(keys.iter().map(|key| inert(key)));
    header.extend(
        ["repeat", "directory", "verdict", "due", "completed", "failed"].map(str::to_owned),
    );
    header.extend(figures.iter().map(|figure| figure.column.to_owned()));
    writer.write_record(&header).map_err(|error| failed(error.to_string()))?;
    for run in &sweep.runs {
        let set = |key: &&str| run.overrides.iter().find(|(known, _)| known == *key);
        let mut row = vec![run.id.clone()];
        row.extend(
            keys.iter()
                .map(|key| set(key).map_or_else(String::new, |(_, value)| inert(&plain(value)))),
        );
        row.extend([run.repeat.to_string(), inert(&run.directory)]);
        let result = run.result.as_ref();
        let text = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        row.push(result.map_or("", |result| result.verdict.status.name()).to_owned());
        let books = result.map(|result| &result.books);
        row.push(text(books.map(|books| books.due)));
        row.push(text(books.map(|books| books.completed)));
        row.push(text(books.map(metrics::Books::failed_total)));
        let value = |figure: &Figure| result.and_then(figure.of);
        row.extend(
            figures
                .iter()
                .map(|figure| value(figure).map_or_else(String::new, |value| value.to_string())),
        );
        writer.write_record(&row).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// The same for programs.
pub fn sweep_json(sweep: &SweepView) -> Value {
    let run = |run: &SweptRun| {
        let result = run.result.as_ref();
        let figure =
            |figure: &Figure| (figure.column.to_owned(), json!(result.and_then(figure.of)));
        let books = result.map(|result| {
            let books = &result.books;
            json!({"due": books.due, "completed": books.completed, "failed": books.failed_total()})
        });
        json!({
            "id": run.id,
            "overrides": run.overrides.iter().cloned().collect::<Map<_, _>>(),
            "repeat": run.repeat,
            "directory": run.directory,
            "verdict": result.map(|result| result.verdict.status.name()),
            "books": books,
            "figures": FIGURES.iter().map(figure).collect::<Map<_, _>>(),
        })
    };
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "name": sweep.name,
        "axis": sweep.axis,
        "runs": sweep.runs.iter().map(run).collect::<Vec<_>>(),
    })
}

/// Columns that a narrow terminal leaves out, the least important first.
const EXPENDABLE: [&str; 12] = [
    "lag p99",
    "ttft p95",
    "itl p99",
    "e2e p50",
    "itl p50",
    "offered/s",
    "e2e p99",
    "tok/s",
    "ttft p50",
    "cached",
    "goodput/s",
    "run",
];

/// The table for a terminal. Where the points' names would break it they have numbers, told below.
pub fn sweep_text(sweep: &SweepView, width: u16) -> String {
    let figures = sweep.figures();
    let mut header = vec!["point", "run", "verdict"];
    header.extend(figures.iter().map(|figure| figure.short));
    let mut rows: Vec<_> = sweep.runs.iter().map(|run| row(run, &figures)).collect();
    let units = "latencies in ms";
    if fits(&header, rows.clone(), width) {
        return format!("{}\n\n{units}", fitted(&header, rows, &[], width));
    }
    let mut points: Vec<String> = Vec::new();
    for cell in rows.iter_mut().filter_map(|row| row.first_mut()) {
        let known = points.iter().position(|point| point == cell);
        let place = known.unwrap_or(points.len());
        let name = std::mem::replace(cell, (place + 1).to_string());
        points.extend(known.is_none().then_some(name));
    }
    let table = fitted(&header, rows, &EXPENDABLE, width);
    let legend = (1..)
        .zip(&points)
        .map(|(number, name)| wrapped(&format!("point{GLUE}{number}: {name}"), width.into(), 2));
    format!("{table}\n\n{units}\n{}", legend.collect::<Vec<_>>().join("\n"))
}

fn row(run: &SweptRun, figures: &[&Figure]) -> Vec<String> {
    let mut row = vec![run.point(), run.repeat.to_string(), run.verdict().to_owned()];
    let value = |figure: &&Figure| run.result.as_ref().and_then(figure.of);
    row.extend(figures.iter().map(|figure| or_absent(value(figure), figure.shown)));
    row
}

/// The page.
///
/// # Errors
/// As of a run's page.
pub fn sweep_html(sweep: &SweepView) -> Result<String, ReportError> {
    page(&document(sweep), "the runs below this directory")
}

/// The table in Markdown.
pub fn sweep_markdown(sweep: &SweepView) -> String {
    markdown_of(&document(sweep))
}

/// The charts as pictures.
///
/// # Errors
/// One cannot be drawn.
pub fn sweep_plots(sweep: &SweepView) -> Result<Vec<Plot>, ReportError> {
    charts(sweep).iter().map(|chart| Ok((chart.id, picture(chart)?))).collect()
}

fn document(sweep: &SweepView) -> Document {
    let figures = sweep.figures();
    let mut header = vec!["point", "run", "verdict"];
    header.extend(figures.iter().map(|figure| figure.short));
    let rows = sweep.runs.iter().map(|run| row(run, &figures)).collect();
    let table = Table { header, rows, words: 3, notes: vec!["Latencies in ms.".to_owned()] };
    let charts: Vec<Block> = charts(sweep).into_iter().map(Block::Chart).collect();
    let mut sections =
        vec![Section { id: "runs", title: "Runs", blocks: vec![Block::Table(table)] }];
    if !charts.is_empty() {
        sections.insert(0, Section { id: "charts", title: "Over the sweep", blocks: charts });
    }
    let points = sweep.runs.iter().filter(|run| run.repeat == 1).count() as u64;
    Document {
        title: sweep.name.clone(),
        subtitle: format!(
            "{}, {} each, {} done",
            counted(points, "point"),
            counted(sweep.repeats().into(), "run"),
            sweep.done().count(),
        ),
        verdict: verdict(sweep),
        gaps: gaps(sweep),
        tiles: tiles(sweep),
        sections,
    }
}

/// The worst of all runs, with the reasons of each.
fn verdict(sweep: &SweepView) -> VerdictView {
    let status = sweep.done().map(|result| result.verdict.status).max().unwrap_or(Status::Valid);
    let mut reasons = Vec::new();
    for run in &sweep.runs {
        let spoken = run.result.iter().flat_map(|result| &result.verdict.reasons);
        for reason in spoken.filter(|reason| reason.status != Status::Valid) {
            reasons.push(ReasonView {
                label: reason.status.name(),
                code: reason.code.clone(),
                message: format!("{}, run {}: {}", run.point(), run.repeat, reason.message),
            });
        }
    }
    VerdictView {
        status,
        name: status.name(),
        meaning: match status {
            Status::Valid => "nothing speaks against the figures of any run".into(),
            Status::Suspect => {
                "read the figures of the named runs with these reasons in mind".into()
            }
            Status::Invalid => "do not use the figures of the runs named as invalid".into(),
        },
        reasons,
    }
}

fn gaps(sweep: &SweepView) -> Vec<String> {
    let missing = sweep.runs.iter().filter(|run| run.result.is_none());
    missing.map(|run| format!("{}, run {}: not run yet", run.point(), run.repeat)).collect()
}

/// The best of the throughputs, and where.
fn tiles(sweep: &SweepView) -> Vec<Tile> {
    let throughput = |run: &SweptRun| run.result.as_ref()?.overall.rates.throughput;
    let best = sweep.runs.iter().filter_map(|run| Some((throughput(run)?, run)));
    let best = best.max_by(|one, other| one.0.total_cmp(&other.0));
    best.map(|(rate, run)| Tile {
        label: "most completed".into(),
        value: crate::figures::quantity(rate),
        unit: "req/s",
        note: run.point(),
    })
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests;
