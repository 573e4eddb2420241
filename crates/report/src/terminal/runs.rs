//! The list of a folder's runs.

use metrics::{Metric, Percentile, RunResult};

use super::aligned;
use crate::figures::{milliseconds, or_absent, percent, quantity};
use crate::stored::StoredRun;
use crate::summary_json::iso_8601;

/// One run of a folder.
pub struct RunLine {
    /// Its directory's name.
    pub directory: String,
    /// What its files say, or why they say nothing.
    pub run: Result<StoredRun, String>,
}

/// A line a run.
pub fn list(runs: impl IntoIterator<Item = RunLine>) -> String {
    let header =
        ["run", "began (UTC)", "verdict", "req/s", "ttft p50", "ttft p99", "errors", "labels"];
    let mut rows = Vec::new();
    let mut unread = Vec::new();
    for RunLine { directory, run } in runs {
        match run {
            Ok(run) => rows.push(row(directory, &run.result)),
            Err(reason) => unread.push(format!("{directory}: {reason}")),
        }
    }
    let mut text = if rows.is_empty() { String::new() } else { aligned(&header, rows, u16::MAX) };
    if !text.is_empty() {
        text.push_str("\nttft in ms");
    }
    for line in unread {
        text.push_str(if text.is_empty() { "" } else { "\n" });
        text.push_str(&line);
    }
    text
}

fn row(directory: String, result: &RunResult) -> Vec<String> {
    let ttft = |percentile: Percentile| {
        let summary = result.overall.metrics.get(&Metric::Ttft);
        let value = summary.and_then(|summary| summary.percentile(percentile));
        or_absent(value, |us| milliseconds(us as f64))
    };
    let facts = &result.facts;
    let began = iso_8601(facts.started_at_unix_ns).unwrap_or_default();
    let rates = &result.overall.rates;
    let labels: Vec<_> =
        facts.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    vec![
        directory,
        began.get(..19).unwrap_or_default().replace('T', " "),
        result.verdict.status.name().to_owned(),
        or_absent(rates.throughput, quantity),
        ttft(Percentile::P50),
        ttft(Percentile::P99),
        or_absent(rates.error_rate, percent),
        labels.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    #[test]
    fn runs_that_cannot_be_read_are_told_after_the_others() {
        let result = example::troubled();
        let run = StoredRun { directory: "/x".into(), result, config: None, gaps: Vec::new() };
        let text = list([
            RunLine { directory: "cut-off".to_owned(), run: Err("no summary".to_owned()) },
            RunLine { directory: "demo-1".to_owned(), run: Ok(run) },
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[2].trim_start().starts_with("demo-1") && lines[2].contains("INVALID"),
            "{text}"
        );
        assert!(
            lines[2].contains("2024-02-29 12:34:56") && lines[2].contains("gpu=h100"),
            "{text}"
        );
        assert_eq!(lines.last(), Some(&"cut-off: no summary"));
    }
}
