//! What the same search found with each of some numbers of workers: from which number on the service is the limit, and not
//! whoever loads it.

use serde_json::{Value, json};

use super::{CapacityView, verdict};
use crate::chart::{Axis, Chart, Scale, Series, Shape, Visible};
use crate::directory::ReportError;
use crate::document::{Block, Document, Section, Table, Tile};
use crate::figures::{ABSENT, counted, quantity};
use crate::html::page;
use crate::plot::picture;
use crate::summary_json::SCHEMA_VERSION;
use crate::terminal::aligned;

/// One search of several.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacityOfCount {
    /// Its results, as a path from the directory of all.
    pub directory: String,
    /// What it found.
    pub view: CapacityView,
}

/// All searches.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacityByWorkers {
    /// `benchmark.name`.
    pub name: String,
    /// `rate` or `concurrency`.
    pub by: &'static str,
    /// `requests/s` or `requests in flight`.
    pub unit: &'static str,
    /// By rising number of workers.
    pub counts: Vec<CapacityOfCount>,
}

impl CapacityByWorkers {
    fn views(&self) -> impl Iterator<Item = &CapacityView> {
        self.counts.iter().map(|count| &count.view)
    }

    fn objectives(&self) -> &[String] {
        self.views().next().map_or(&[], |view| view.objectives.as_slice())
    }

    fn remarks(&self) -> Vec<String> {
        let of = |view: &CapacityView| {
            let whose = counted(view.workers.into(), "worker");
            view.remarks.iter().map(|remark| format!("{whose}: {remark}")).collect::<Vec<_>>()
        };
        self.views().flat_map(of).collect()
    }

    /// The search that holds at the highest level; of equal ones that of the fewest workers.
    fn best(&self) -> Option<&CapacityView> {
        let held = self.views().filter(|view| view.holds.is_some());
        held.reduce(|best, view| if view.holds > best.holds { view } else { best })
    }

    fn is_certain(&self) -> bool {
        self.views().all(|view| view.certain)
    }
}

/// The answer for programs; each search has a `capacity.json` of its own with its levels.
pub fn capacity_by_workers_json(table: &CapacityByWorkers) -> Value {
    let of = |CapacityOfCount { directory, view }: &CapacityOfCount| {
        json!({
            "workers": view.workers,
            "outcome": view.outcome,
            "capacity": view.holds,
            "bounds": view.bounds(),
            "capacityPerWorker": view.each_worker(),
            "knee": view.knee,
            "probes": view.probes(),
            "remarks": view.remarks,
            "directory": directory,
        })
    };
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "name": table.name,
        "by": table.by,
        "unit": table.unit,
        "objectives": table.objectives(),
        "byWorkers": table.counts.iter().map(of).collect::<Vec<_>>(),
    })
}

/// The answer for a terminal.
pub fn capacity_by_workers_text(table: &CapacityByWorkers, width: u16) -> String {
    let rows = table.views().map(row).collect();
    let mut lines = vec![
        aligned(&HEADER, rows, width),
        String::new(),
        format!("{}; ?: a bound is in doubt, see `search.repeats`", table.unit),
        format!("held      {}", table.objectives().join(", ")),
    ];
    lines.extend(table.remarks().into_iter().map(|remark| format!("remark    {remark}")));
    lines.join("\n")
}

const HEADER: [&str; 7] = ["workers", "holds at", "fails at", "each", "knee", "probes", "limit"];

fn row(view: &CapacityView) -> Vec<String> {
    let shown = |level: Option<f64>| level.map_or_else(|| ABSENT.to_owned(), quantity);
    let doubt = if view.certain { "" } else { " ?" };
    vec![
        view.workers.to_string(),
        format!("{}{doubt}", shown(view.holds)),
        shown(view.fails),
        shown(view.each_worker()),
        shown(view.knee),
        view.probes().to_string(),
        limit(view.outcome).to_owned(),
    ]
}

/// Who or what kept a search from going higher.
fn limit(outcome: &str) -> &'static str {
    match outcome {
        "bracketed" | "noneHolds" => "service",
        "generatorLimit" => "generator",
        "atLeast" => "search.most",
        "tooFewSamples" => "too few samples",
        _ => "unfinished",
    }
}

/// The page.
///
/// # Errors
/// As of a run's page.
pub fn capacity_by_workers_html(table: &CapacityByWorkers) -> Result<String, ReportError> {
    page(&document(table), "the searches below this directory")
}

/// Both bounds over the number of workers as a picture; none of a single number.
///
/// # Errors
/// It cannot be drawn.
pub fn capacity_by_workers_plot(table: &CapacityByWorkers) -> Result<Option<Vec<u8>>, ReportError> {
    let chart = chart(table);
    if chart.is_empty() { Ok(None) } else { picture(&chart).map(Some) }
}

fn chart(table: &CapacityByWorkers) -> Chart {
    let line = |name: &str, value: &dyn Fn(&CapacityView) -> Option<f64>| Series {
        name: name.to_owned(),
        shape: Shape::Points,
        visible: Visible::AtFirst,
        values: table.views().map(value).collect(),
    };
    Chart {
        id: "capacity_by_workers",
        title: format!("{}: capacity by number of workers", table.name),
        note: "The capacity lies between the lines. Where more workers find no more, the service is the limit."
            .to_owned(),
        // Numbers of workers are doubled rather than counted.
        x: Axis { label: "workers", scale: Scale::LogOfWhole },
        y: Axis { label: table.unit, scale: Scale::Linear },
        at: table.views().map(|view| f64::from(view.workers)).collect(),
        series: vec![
            line("holds at", &|view| view.holds),
            line("fails at", &|view| view.fails),
        ],
        bands: Vec::new(),
    }
}

fn document(table: &CapacityByWorkers) -> Document {
    let notes = vec![
        format!("In {}. `?`: a bound is missing, or chance may explain it.", table.unit),
        "The levels of each search, and its latencies over load, are in the page of its own directory."
            .to_owned(),
    ];
    let rows = table.views().map(row).collect();
    let chart = chart(table);
    let mut blocks = Vec::new();
    if !chart.is_empty() {
        blocks.push(Block::Chart(chart));
    }
    blocks.push(Block::Table(Table { header: HEADER.to_vec(), rows, words: 0, notes }));
    let remarks = table.remarks();
    if !remarks.is_empty() {
        blocks.push(Block::Lines(remarks));
    }
    Document {
        title: format!("{}: capacity by number of workers", table.name),
        subtitle: table.objectives().join(", "),
        verdict: verdict(table.is_certain()),
        gaps: Vec::new(),
        tiles: tiles(table),
        sections: vec![Section { id: "capacity", title: "Capacity by number of workers", blocks }],
    }
}

fn tiles(table: &CapacityByWorkers) -> Vec<Tile> {
    let Some(best) = table.best() else { return Vec::new() };
    vec![Tile {
        label: "most found".into(),
        value: best.holds.map_or_else(|| ABSENT.to_owned(), quantity),
        unit: table.unit,
        note: format!("with {}", counted(best.workers.into(), "worker")),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::tests::view;

    fn table() -> CapacityByWorkers {
        let of = |workers: u32, holds: f64, fails: Option<f64>| CapacityOfCount {
            directory: format!("workers-{workers}"),
            view: CapacityView {
                workers,
                holds: Some(holds),
                fails,
                certain: fails.is_some(),
                ..view()
            },
        };
        CapacityByWorkers {
            name: "demo".to_owned(),
            by: "rate",
            unit: "requests/s",
            counts: vec![of(1, 12.0, None), of(2, 19.5, Some(20.5)), of(4, 19.5, Some(20.5))],
        }
    }

    #[test]
    fn each_number_of_workers_is_a_row_with_both_bounds() {
        let text = capacity_by_workers_text(&table(), 200);
        let rows: Vec<Vec<&str>> =
            text.lines().skip(2).take(3).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0][..4], ["1", "12.0", "?", "–"], "{text}");
        assert_eq!(rows[1][..4], ["2", "19.5", "20.5", "9.75"], "{text}");
        assert_eq!(rows[2][..4], ["4", "19.5", "20.5", "4.88"], "{text}");
        assert!(rows.iter().all(|row| row.last() == Some(&"service")), "{text}");
        let json = capacity_by_workers_json(&table());
        assert_eq!(json["byWorkers"][1]["bounds"]["fails"], 20.5);
        assert_eq!(json["byWorkers"][2]["directory"], "workers-4");
    }

    #[test]
    fn the_page_names_the_fewest_workers_that_find_the_most() {
        let best = tiles(&table()).remove(0);
        assert_eq!((best.value.as_str(), best.note.as_str()), ("19.5", "with 2 workers"));
        let page = capacity_by_workers_html(&table()).unwrap();
        assert!(page.contains("IN DOUBT") && page.contains("capacity_by_workers"), "a bound lacks");
        assert!(capacity_by_workers_plot(&table()).unwrap().is_some());
    }

    #[test]
    fn one_number_alone_has_no_chart_and_none_is_no_error() {
        let mut one = table();
        one.counts.truncate(1);
        assert_eq!(capacity_by_workers_plot(&one).unwrap(), None);
        one.counts.clear();
        assert!(capacity_by_workers_html(&one).is_ok());
    }

    #[test]
    fn a_run_with_fewer_workers_is_remarked_on() {
        let mut table = table();
        table.counts[2].view.remarks = vec!["a run was offered by 3 of 4 workers".to_owned()];
        let text = capacity_by_workers_text(&table, 200);
        assert!(text.contains("remark    4 workers: a run was offered by 3 of 4"), "{text}");
    }
}
