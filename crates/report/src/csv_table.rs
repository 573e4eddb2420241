//! The figures as CSV: one line for each stage and metric, for spreadsheets and data frames.
//!
//! Columns and units are those of `summary.json`, and an absent figure is an empty field. The headline is the stage
//! `overall`.

use metrics::{Kind, Metric, Percentile, RunResult, Summary, WindowResult};

use crate::directory::ReportError;
use crate::stored::StoredRun;

const HEADER: [&str; 16] = [
    "run", "stage", "headline", "metric", "unit", "count", "mean", "stddev", "min", "p50", "p90",
    "p95", "p99", "p99_9", "max", "reason",
];

/// Every metric of the headline and of each stage, then the rates.
///
/// # Errors
/// None that was ever seen: it writes to memory.
pub fn csv(run: &StoredRun) -> Result<String, ReportError> {
    let failed = |error: String| ReportError::Render { what: "csv", error };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER).map_err(|error| failed(error.to_string()))?;
    for row in rows(&run.result) {
        writer.write_record(&row).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

fn rows(result: &RunResult) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut add = |stage: &str, headline: bool, window: &WindowResult| {
        let start = [result.facts.id.as_str(), stage, if headline { "true" } else { "false" }];
        let start = start.map(|field| inert(field).to_owned());
        let with = |rest: Vec<String>| start.iter().cloned().chain(rest).collect::<Vec<_>>();
        rows.extend(window.metrics.iter().map(|(metric, summary)| with(figures(*metric, summary))));
        rows.extend(rates(window).map(with));
    };
    add("overall", true, &result.overall);
    for stage in &result.stages {
        add(&stage.name, stage.headline, &stage.window);
    }
    rows
}

/// A spreadsheet takes a field that begins like a formula for one.
fn inert(field: &str) -> String {
    if field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{field}")
    } else {
        field.to_owned()
    }
}

fn figures(metric: Metric, summary: &Summary) -> Vec<String> {
    let exact = |value: Option<u64>| {
        value.map_or_else(String::new, |value| shown(summary.kind, value as f64))
    };
    let mean =
        |value: Option<f64>| value.map_or_else(String::new, |value| shown(summary.kind, value));
    let mut row =
        vec![metric.name().to_owned(), summary.unit().to_owned(), summary.count.to_string()];
    row.extend([mean(summary.mean), mean(summary.stddev), exact(summary.min)]);
    row.extend(Percentile::ALL.map(|percentile| exact(summary.percentile(percentile))));
    row.push(exact(summary.max));
    let nulls = summary
        .nulls
        .iter()
        .map(|(percentile, why)| format!("{}:{}", percentile.name(), why.name()));
    let reason = summary.null_reason.map(|why| why.name().to_owned());
    row.push(reason.unwrap_or_else(|| nulls.collect::<Vec<_>>().join(" ")));
    row
}

fn shown(kind: Kind, value: f64) -> String {
    match kind {
        Kind::Latency => value.round().to_string(),
        Kind::Count | Kind::Rate => (value / f64::from(kind.units_per_shown())).to_string(),
    }
}

/// A rate is a single figure: its mean over the window.
fn rates(window: &WindowResult) -> impl Iterator<Item = Vec<String>> {
    let rates = &window.rates;
    let named = [
        ("offered_rate", "per_s", rates.offered),
        ("achieved_rate", "per_s", rates.achieved),
        ("throughput", "per_s", rates.throughput),
        ("tokens_per_second", "per_s", rates.tokens_per_second),
        ("input_tokens_per_second", "per_s", rates.input_tokens_per_second),
        ("total_tokens_per_second", "per_s", rates.total_tokens_per_second),
        ("error_rate", "share", rates.error_rate),
        ("goodput", "per_s", rates.goodput),
    ];
    named.into_iter().map(|(name, unit, rate)| {
        let mut row = vec![String::new(); HEADER.len() - 3];
        (row[0], row[1]) = (name.to_owned(), unit.to_owned());
        row[3] = rate.map_or_else(String::new, |rate| rate.to_string());
        row
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn every_line_has_every_field_and_absent_ones_are_empty() {
        let mut result = example::troubled();
        result.stages[1].name = "=cmd|' /C calc'!A0, \"x\"".to_owned();
        let run = StoredRun { directory: "/x".into(), result, config: None, gaps: Vec::new() };
        let text = csv(&run).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 4 * (Metric::ALL.len() + 8), "headline and three stages");
        let ttft = rows.iter().find(|row| &row[1] == "overall" && &row[3] == "ttft").unwrap();
        assert_eq!((&ttft[12], &ttft[13]), ("", ""), "p99 is censored, p99.9 has few samples");
        assert_eq!(&ttft[15], "p99:censored p99_9:few_samples");
        assert!(rows.iter().any(|row| row[1].starts_with("'=cmd")), "no formula");
    }
}
