//! The figures as CSV: one line for each stage and metric, for spreadsheets and data frames.
//!
//! Columns and units are those of `summary.json`, and an absent figure is an empty field. The headline is the stage
//! `overall`; a traffic class and a target, which have the headline's window, stand as `class NAME` and `target NAME`.
//! An objective is a line `slo:FIGURE` with its figure as `mean`, its limit and its outcome.

use metrics::{Kind, Metric, Outcome, Percentile, RunResult, SloResult, Summary, WindowResult};

use crate::directory::ReportError;
use crate::stored::StoredRun;

const HEADER: [&str; 18] = [
    "run", "stage", "headline", "metric", "unit", "count", "mean", "stddev", "min", "p50", "p90",
    "p95", "p99", "p99_9", "max", "reason", "limit", "outcome",
];
/// Fields of a line after run, stage and headline.
const OWN: usize = HEADER.len() - 3;

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
    let mut add = |stage: &str, headline: bool, window: &WindowResult, own: &[SloResult]| {
        let start = [result.facts.id.as_str(), stage, if headline { "true" } else { "false" }];
        let start = start.map(|field| inert(field).to_owned());
        let with = |rest: Vec<String>| start.iter().cloned().chain(rest).collect::<Vec<_>>();
        rows.extend(window.metrics.iter().map(|(metric, summary)| with(figures(*metric, summary))));
        rows.extend(rates(window).map(with));
        rows.extend(window.slos.iter().chain(own).map(|slo| with(objective(slo))));
    };
    add("overall", true, &result.overall, &[]);
    for stage in &result.stages {
        add(&stage.name, stage.headline, &stage.window, &stage.own_slos);
    }
    // A turn's name says what it is.
    for (what, groups) in
        [("class ", &result.classes), ("target ", &result.targets), ("", &result.turns)]
    {
        for group in groups {
            add(&format!("{what}{}", group.name), true, &group.window, &[]);
        }
    }
    rows
}

/// A spreadsheet takes a field that begins like a formula for one.
pub(crate) fn inert(field: &str) -> String {
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
    row.resize(OWN, String::new());
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
        ("slo_attainment", "share", rates.slo_attainment),
        ("ttft_over_3s", "share", window.ttft_over_3s),
        ("cache_hit_ratio", "share", rates.cache_hit_ratio),
    ];
    named.into_iter().map(|(name, unit, rate)| {
        let mut row = vec![String::new(); OWN];
        (row[0], row[1]) = (name.to_owned(), unit.to_owned());
        row[3] = rate.map_or_else(String::new, |rate| rate.to_string());
        row
    })
}

/// Limit and figure in the unit of the objective's metric.
fn objective(result: &SloResult) -> Vec<String> {
    let figure = result.slo.figure;
    let value = |value: f64| {
        if figure.unit() == "us" { value.round().to_string() } else { value.to_string() }
    };
    let mut row = vec![String::new(); OWN];
    (row[0], row[1]) = (format!("slo:{figure}"), figure.unit().to_owned());
    row[3] = result.figure.map_or_else(String::new, value);
    if let Outcome::Undecided(why) = result.outcome {
        row[OWN - 3] = why.name().to_owned();
    }
    row[OWN - 2] = value(result.slo.limit);
    row[OWN - 1] = result.outcome.name().to_owned();
    row
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
        assert_eq!(rows.len(), 4 * (Metric::ALL.len() + 11), "headline and three stages");
        let ttft = rows.iter().find(|row| &row[1] == "overall" && &row[3] == "ttft").unwrap();
        assert_eq!((&ttft[12], &ttft[13]), ("", ""), "p99 is censored, p99.9 has few samples");
        assert_eq!(&ttft[15], "p99:censored p99_9:few_samples");
        assert!(rows.iter().any(|row| row[1].starts_with("'=cmd")), "no formula");
    }

    #[test]
    fn classes_targets_and_objectives_have_lines_of_their_own() {
        let rows_of = |result| {
            let run = StoredRun { directory: "/x".into(), result, config: None, gaps: Vec::new() };
            let text = csv(&run).unwrap();
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            reader.records().map(Result::unwrap).collect::<Vec<_>>()
        };
        let classes = rows_of(example::classes());
        let of = |stage: &str, metric: &str| {
            let found = classes.iter().find(|row| &row[1] == stage && &row[3] == metric);
            found.unwrap_or_else(|| panic!("no {metric} of {stage}")).clone()
        };
        assert_eq!(
            (&of("class chat", "ttft")[5], &of("target canary", "ttft")[5]),
            ("1500", "667")
        );
        let missed = of("class batch", "slo:ttft p50");
        assert_eq!((&missed[16], &missed[17]), ("1000", "missed"));
        let demanded = rows_of(example::demanded());
        let undecided = demanded.iter().find(|row| &row[3] == "slo:ttft p99.9").unwrap();
        assert_eq!(
            (&undecided[6], &undecided[15], &undecided[17]),
            ("", "few_samples", "undecided")
        );
    }
}
