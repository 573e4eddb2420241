//! What a capacity search found: the answer in a line, every level that was tried, and the curve of latency against load.

mod by_workers;

use metrics::Status;
use serde_json::{Value, json};

pub use by_workers::{
    CapacityByWorkers, CapacityOfCount, capacity_by_workers_html, capacity_by_workers_json,
    capacity_by_workers_plot, capacity_by_workers_text,
};

use crate::chart::{Axis, Band, Chart, Scale, Series, Shape, Visible};
use crate::directory::ReportError;
use crate::document::{Block, Document, Section, Table, Tile, VerdictView};
use crate::figures::{ABSENT, counted, milliseconds, percent, quantity};
use crate::html::page;
use crate::plot::picture;
use crate::summary_json::SCHEMA_VERSION;
use crate::terminal::aligned;

/// One run of a level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedRun {
    /// Its results, as a path from the search's own directory.
    pub directory: String,
    /// Its verdict.
    pub status: Status,
    /// The codes of the verdict's reasons, remarks among them.
    pub codes: Vec<String>,
}

/// One level, with the figures of its runs (the median of each).
#[derive(Debug, Clone, PartialEq)]
pub struct TriedLevel {
    /// Requests per second, or in flight.
    pub level: f64,
    /// `holds`, `fails`, `too few samples`, `not offered`.
    pub judgement: &'static str,
    /// More than chance.
    pub certain: bool,
    /// Distance of the nearest objective from its limit, as a share of the limit; above 0 it is met.
    pub margin: Option<f64>,
    /// The objective that was nearest to its limit, with its figure.
    pub nearest: String,
    /// Requests completed per second.
    pub throughput: Option<f64>,
    /// Output tokens per second.
    pub tokens_per_second: Option<f64>,
    /// TTFT in microseconds: p50 and p99.
    pub ttft_us: [Option<f64>; 2],
    /// End-to-end latency in microseconds: p50 and p99.
    pub e2e_us: [Option<f64>; 2],
    /// In the order in which they were made.
    pub runs: Vec<TriedRun>,
}

/// A search that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacityView {
    /// `benchmark.name`.
    pub name: String,
    /// `rate` or `concurrency`.
    pub by: &'static str,
    /// `requests/s` or `requests in flight`.
    pub unit: &'static str,
    /// How it ended, for programs.
    pub outcome: &'static str,
    /// The same in a sentence.
    pub meaning: String,
    /// The highest level that holds.
    pub holds: Option<f64>,
    /// The lowest that fails.
    pub fails: Option<f64>,
    /// The lowest between the two that the generator could not offer.
    pub not_offered: Option<f64>,
    /// Both bounds are more than chance.
    pub certain: bool,
    /// The level of greatest power (throughput / latency).
    pub knee: Option<f64>,
    /// Workers that offered the load.
    pub workers: u32,
    /// What had to hold.
    pub objectives: Vec<String>,
    /// What was not as asked for, a line each.
    pub remarks: Vec<String>,
    /// Ascending.
    pub levels: Vec<TriedLevel>,
}

impl CapacityView {
    /// `41.2 requests/s (fails at 43.1)`.
    fn answer(&self) -> String {
        let shown = |level: Option<f64>| level.map(quantity);
        let (holds, fails) = (shown(self.holds), shown(self.fails));
        let answer = match (&holds, &fails) {
            (Some(low), Some(_)) => format!("{low} {}", self.unit),
            (Some(low), None) => format!("at least {low} {}", self.unit),
            (None, Some(high)) => format!("under {high} {}", self.unit),
            (None, None) => "not found".to_owned(),
        };
        let above = shown(self.not_offered).map(|level| format!("not offered at {level}"));
        let beyond = fails.filter(|_| holds.is_some()).map(|level| format!("fails at {level}"));
        let limits: Vec<String> = above.into_iter().chain(beyond).collect();
        if limits.is_empty() { answer } else { format!("{answer} ({})", limits.join(", ")) }
    }

    /// Both bounds for programs.
    fn bounds(&self) -> Value {
        json!({
            "holds": self.holds,
            "fails": self.fails,
            "certain": self.certain,
            "notOffered": self.not_offered,
        })
    }

    /// Runs in all.
    fn probes(&self) -> usize {
        self.levels.iter().map(|level| level.runs.len()).sum()
    }

    fn each_worker(&self) -> Option<f64> {
        self.holds.map(|level| level / f64::from(self.workers.max(1)))
    }
}

/// The answer for programs.
pub fn capacity_json(view: &CapacityView) -> Value {
    let verdict = |run: &TriedRun| json!({"status": run.status.name(), "codes": run.codes});
    let level = |level: &TriedLevel| {
        json!({
            "level": level.level,
            "judgement": level.judgement,
            "certain": level.certain,
            "margin": level.margin,
            "nearestObjective": level.nearest,
            "throughput": level.throughput,
            "tokensPerSecond": level.tokens_per_second,
            "ttftP50Us": level.ttft_us[0],
            "ttftP99Us": level.ttft_us[1],
            "e2eP50Us": level.e2e_us[0],
            "e2eP99Us": level.e2e_us[1],
            "runs": level.runs.iter().map(|run| &run.directory).collect::<Vec<_>>(),
            "verdicts": level.runs.iter().map(verdict).collect::<Vec<_>>(),
        })
    };
    json!({
        "schemaVersion": SCHEMA_VERSION,
        "name": view.name,
        "by": view.by,
        "unit": view.unit,
        "outcome": view.outcome,
        "capacity": view.holds,
        "bounds": view.bounds(),
        "knee": view.knee,
        "workers": view.workers,
        "capacityPerWorker": view.each_worker(),
        "objectives": view.objectives,
        "remarks": view.remarks,
        "levels": view.levels.iter().map(level).collect::<Vec<_>>(),
    })
}

/// The answer and the levels for a terminal.
pub fn capacity_text(view: &CapacityView, width: u16) -> String {
    let table = aligned(&HEADER, view.levels.iter().map(row).collect(), width);
    let certainty = if view.certain { "" } else { "; a bound is in doubt, see `search.repeats`" };
    let mut lines = vec![table, String::new(), format!("capacity  {}{certainty}", view.answer())];
    lines.push(format!("because   {}", view.meaning));
    lines.push(format!("held      {}", view.objectives.join(", ")));
    if let Some(knee) = view.knee {
        lines.push(format!(
            "knee      {} {} (most throughput for its latency)",
            quantity(knee),
            view.unit
        ));
    }
    if let Some(each) = view.each_worker().filter(|_| view.workers > 1) {
        lines.push(format!("workers   {}, {} {} each", view.workers, quantity(each), view.unit));
    }
    lines.extend(view.remarks.iter().map(|remark| format!("remark    {remark}")));
    lines.join("\n")
}

const HEADER: [&str; 10] = [
    "level",
    "judged",
    "margin",
    "nearest objective",
    "req/s",
    "tok/s",
    "ttft p50",
    "ttft p99",
    "e2e p50",
    "e2e p99",
];

fn row(level: &TriedLevel) -> Vec<String> {
    let doubt = if level.certain { "" } else { " ?" };
    let rate = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), quantity);
    let ms = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), milliseconds);
    let signed = |margin: f64| match margin < 0.0 {
        true => format!("-{}", percent(-margin)),
        false => percent(margin),
    };
    vec![
        quantity(level.level),
        format!("{}{doubt}", level.judgement),
        level.margin.map_or_else(|| ABSENT.to_owned(), signed),
        level.nearest.clone(),
        rate(level.throughput),
        rate(level.tokens_per_second),
        ms(level.ttft_us[0]),
        ms(level.ttft_us[1]),
        ms(level.e2e_us[0]),
        ms(level.e2e_us[1]),
    ]
}

/// The page.
///
/// # Errors
/// As of a run's page.
pub fn capacity_html(view: &CapacityView) -> Result<String, ReportError> {
    page(&document(view), "the runs below this directory")
}

/// The curve as a picture; none with under two levels.
///
/// # Errors
/// It cannot be drawn.
pub fn capacity_plot(view: &CapacityView) -> Result<Option<Vec<u8>>, ReportError> {
    let chart = chart(view);
    if chart.is_empty() { Ok(None) } else { picture(&chart).map(Some) }
}

fn document(view: &CapacityView) -> Document {
    let notes = vec![
        "Latencies in ms. `?`: the level is judged by the mean of its runs, which chance may explain.".to_owned(),
    ];
    let table = Table {
        header: HEADER.to_vec(),
        rows: view.levels.iter().map(row).collect(),
        words: 1,
        notes,
    };
    let chart = chart(view);
    let mut blocks = Vec::new();
    if !chart.is_empty() {
        blocks.push(Block::Chart(chart));
    }
    blocks.push(Block::Table(table));
    if !view.remarks.is_empty() {
        blocks.push(Block::Lines(view.remarks.clone()));
    }
    Document {
        title: format!("{}: capacity", view.name),
        subtitle: format!(
            "{}; offered by {}",
            view.objectives.join(", "),
            counted(view.workers.into(), "worker")
        ),
        verdict: verdict(view.certain),
        gaps: Vec::new(),
        tiles: tiles(view),
        sections: vec![Section { id: "levels", title: "Latency against load", blocks }],
    }
}

/// Of one search or of several.
fn verdict(is_certain: bool) -> VerdictView {
    VerdictView {
        status: if is_certain { Status::Valid } else { Status::Suspect },
        name: if is_certain { "CERTAIN" } else { "IN DOUBT" },
        meaning: match is_certain {
            true => "both bounds are more than chance".into(),
            false => {
                "a bound is missing, or chance may explain it: more `search.repeats` or a longer `benchmark.duration` help".into()
            }
        },
        reasons: Vec::new(),
    }
}

fn tiles(view: &CapacityView) -> Vec<Tile> {
    let shown = |level: Option<f64>| level.map_or_else(|| ABSENT.to_owned(), quantity);
    let fails = format!("fails at {}", shown(view.fails));
    let mut tiles = vec![Tile {
        label: "capacity".into(),
        value: shown(view.holds),
        unit: view.unit,
        note: fails,
    }];
    tiles.push(Tile {
        label: "knee".into(),
        value: shown(view.knee),
        unit: view.unit,
        note: "most throughput for its latency".to_owned(),
    });
    if view.workers > 1 {
        tiles.push(Tile {
            label: "for each worker".into(),
            value: shown(view.each_worker()),
            unit: view.unit,
            note: counted(view.workers.into(), "worker"),
        });
    }
    tiles
}

/// Latencies over the levels that were tried, with the capacity's two bounds as the borders of the bands.
fn chart(view: &CapacityView) -> Chart {
    let line = |name: &str, visible, value: &dyn Fn(&TriedLevel) -> Option<f64>| Series {
        name: name.to_owned(),
        shape: Shape::Points,
        visible,
        values: view.levels.iter().map(value).collect(),
    };
    let ms = |us: Option<f64>| us.map(|us| us.max(1.0) / 1_000.0);
    let (first, last) = (view.levels.first(), view.levels.last());
    let ends = (first.map_or(0.0, |level| level.level), last.map_or(0.0, |level| level.level));
    let mut bands = Vec::new();
    if let Some(holds) = view.holds {
        bands.push(Band { name: "holds".to_owned(), from: ends.0, to: holds });
        bands.push(Band { name: String::new(), from: holds, to: view.fails.unwrap_or(ends.1) });
    }
    Chart {
        id: "latency_against_load",
        title: format!("{}: latency against load", view.name),
        note: format!("A point is the median of a level's runs. Capacity: {}.", view.answer()),
        x: Axis {
            label: if view.by == "rate" { "offered requests/s" } else { "requests in flight" },
            scale: Scale::Linear,
        },
        y: Axis { label: "ms", scale: Scale::Log },
        at: view.levels.iter().map(|level| level.level).collect(),
        series: vec![
            line("ttft p50", Visible::AtFirst, &|level| ms(level.ttft_us[0])),
            line("ttft p99", Visible::AtFirst, &|level| ms(level.ttft_us[1])),
            line("e2e p50", Visible::AtFirst, &|level| ms(level.e2e_us[0])),
            line("e2e p99", Visible::AtFirst, &|level| ms(level.e2e_us[1])),
        ],
        bands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn view() -> CapacityView {
        let level = |level: f64, judgement, certain| TriedLevel {
            level,
            judgement,
            certain,
            margin: Some(0.5 - level / 40.0),
            nearest: "ttft p95 120 ms of 200".to_owned(),
            throughput: Some(level),
            tokens_per_second: Some(level * 10.0),
            ttft_us: [Some(20_000.0), Some(90_000.0)],
            e2e_us: [Some(200_000.0), None],
            runs: vec![TriedRun {
                directory: "runs/x".to_owned(),
                status: Status::Suspect,
                codes: vec!["failures".to_owned()],
            }],
        };
        CapacityView {
            name: "demo".to_owned(),
            by: "rate",
            unit: "requests/s",
            outcome: "bracketed",
            meaning: "the objectives hold at one level and not at the other".to_owned(),
            holds: Some(19.5),
            fails: Some(20.5),
            not_offered: None,
            certain: false,
            knee: Some(10.0),
            workers: 2,
            objectives: vec!["ttft p95 at most 200 ms".to_owned()],
            remarks: Vec::new(),
            levels: vec![
                level(10.0, "holds", true),
                level(19.5, "holds", false),
                level(20.5, "fails", true),
            ],
        }
    }

    #[test]
    fn the_answer_has_both_bounds_and_its_doubt() {
        let text = capacity_text(&view(), 200);
        assert!(
            text.contains("capacity  19.5 requests/s (fails at 20.5); a bound is in doubt"),
            "{text}"
        );
        assert!(
            text.contains("holds ?") && text.contains("workers   2, 9.75 requests/s each"),
            "{text}"
        );
        let json = capacity_json(&view());
        assert_eq!((&json["capacity"], &json["bounds"]["fails"]), (&json!(19.5), &json!(20.5)));
        assert_eq!(json["capacityPerWorker"], 9.75);
        assert_eq!(json["levels"][0]["runs"], json!(["runs/x"]));
        let verdicts = json!([{"status": "SUSPECT", "codes": ["failures"]}]);
        assert_eq!(json["levels"][0]["verdicts"], verdicts);
        assert!(capacity_html(&view()).unwrap().contains("IN DOUBT"));
        assert!(capacity_plot(&view()).unwrap().is_some());
        let none = CapacityView { holds: None, fails: None, levels: Vec::new(), ..view() };
        assert!(capacity_text(&none, 80).contains("not found"));
        assert_eq!(capacity_plot(&none).unwrap(), None);
    }

    #[test]
    fn what_could_not_be_offered_stands_beside_what_fails_and_never_for_it() {
        let answer = |holds, not_offered, fails| {
            CapacityView { holds, not_offered, fails, ..view() }.answer()
        };
        let cases = [
            (
                (Some(19.5), Some(20.0), Some(40.0)),
                "19.5 requests/s (not offered at 20.0, fails at 40.0)",
            ),
            ((Some(19.5), Some(20.0), None), "at least 19.5 requests/s (not offered at 20.0)"),
            ((None, Some(20.0), Some(40.0)), "under 40.0 requests/s (not offered at 20.0)"),
            ((None, Some(20.0), None), "not found (not offered at 20.0)"),
        ];
        for ((holds, not_offered, fails), words) in cases {
            assert_eq!(answer(holds, not_offered, fails), words);
        }
        let json = capacity_json(&CapacityView { not_offered: Some(20.0), ..view() });
        assert_eq!(json["bounds"]["notOffered"], 20.0);
    }
}
