//! The tables of a report.

use std::collections::{BTreeMap, BTreeSet};

use metrics::{
    Books, Kind, Metric, NullReason, Percentile, RunResult, StageResult, Summary, WindowResult,
    WorkerResult,
};

use super::{Headline, Table};
use crate::figures::{
    self, ABSENT, CENSORED, USUAL, latency, length, milliseconds, or_absent, percent, quantity,
    thousands,
};
use crate::stored::StoredRun;
use crate::summary_json::iso_8601;

/// Why a figure is not there.
pub(crate) fn reason_words(reason: NullReason) -> &'static str {
    match reason {
        NullReason::NoSamples => "nothing was recorded",
        NullReason::FewSamples => "too few samples for this percentile",
        NullReason::Censored => {
            "more requests were cancelled or timed out than lie above this percentile"
        }
        NullReason::NotStreamed => "answers were not streamed: there are no single tokens to time",
        NullReason::ChunksAreNotTokens => {
            "an event of this server is not one token: read icl and tpot"
        }
        NullReason::FewBlocks => "the run is too short for a 95 % interval (under ten blocks)",
        NullReason::NotKept => "not kept over time",
        NullReason::CacheNotTold => {
            "no answer said how much of its prompt was in the server's prefix cache"
        }
    }
}

/// The usual latencies of the measured stages.
pub(super) fn usual(result: &RunResult, headline: &Headline) -> Table {
    let mut table = metrics_table(result, figures::usual(&result.overall));
    table.notes.extend(intervals(result, headline));
    table
}

/// Every other metric that has samples.
pub(super) fn others(result: &RunResult) -> Table {
    metrics_table(result, Metric::ALL.into_iter().filter(|metric| !USUAL.contains(metric)))
}

fn metrics_table(result: &RunResult, metrics: impl Iterator<Item = Metric>) -> Table {
    let header = vec![
        "metric",
        "unit",
        "p50",
        "p90",
        "p95",
        "p99",
        "p99.9",
        "mean",
        "std. dev.",
        "max",
        "samples",
    ];
    let mut table = Table { header, words: 2, ..Table::default() };
    let mut reasons = BTreeSet::new();
    let mut absent: BTreeMap<NullReason, Vec<&str>> = BTreeMap::new();
    for metric in metrics {
        let Some(summary) = result.overall.metrics.get(&metric) else { continue };
        match summary.null_reason {
            Some(NullReason::NoSamples) => {}
            Some(reason) => absent.entry(reason).or_default().push(metric.name()),
            None => {
                reasons.extend(summary.nulls.values().copied());
                table.rows.push(metric_row(metric, summary));
            }
        }
    }
    let marks =
        reasons.into_iter().map(|reason| format!("{} {}", mark(reason), reason_words(reason)));
    table.notes = marks.collect();
    let absent = absent.iter();
    table
        .notes
        .extend(absent.map(|(why, names)| format!("{}: {}", names.join(", "), reason_words(*why))));
    table
}

fn mark(reason: NullReason) -> &'static str {
    if reason == NullReason::Censored { CENSORED } else { ABSENT }
}

/// The two percentiles of the usual latencies with how far they could have come out otherwise.
fn intervals(result: &RunResult, headline: &Headline) -> Option<String> {
    let mut parts = Vec::new();
    let mut why = None;
    for metric in [Metric::Ttft, headline.token_gap, Metric::E2eLatency] {
        let Some(summary) = result.overall.metrics.get(&metric) else { continue };
        why = why.or(summary.ci95_null);
        for percentile in [Percentile::P50, Percentile::P99] {
            let Some(interval) = summary.ci95.get(&percentile) else { continue };
            let [low, high] = [interval.low, interval.high].map(|us| milliseconds(us as f64));
            parts.push(format!("{} {} {low} to {high} ms", metric.name(), percentile.name()));
        }
    }
    if parts.is_empty() {
        return why.map(|why| format!("No 95 % intervals: {}.", reason_words(why)));
    }
    Some(format!("95 % intervals: {}.", parts.join(", ")))
}

fn metric_row(metric: Metric, summary: &Summary) -> Vec<String> {
    let unit = match summary.kind {
        Kind::Latency => "ms",
        Kind::Count => "tokens",
        Kind::Rate => "1/s",
    };
    let exact = |value: Option<u64>| or_absent(value, |value| shown(summary.kind, value as f64));
    let mean = |value: Option<f64>| or_absent(value, |value| shown(summary.kind, value));
    let mut row = vec![metric.name().to_owned(), unit.to_owned()];
    row.extend(Percentile::ALL.map(|percentile| match summary.nulls.get(&percentile) {
        Some(reason) => mark(*reason).to_owned(),
        None => exact(summary.percentile(percentile)),
    }));
    row.extend([
        mean(summary.mean),
        mean(summary.stddev),
        exact(summary.max),
        thousands(summary.count),
    ]);
    row
}

fn shown(kind: Kind, value: f64) -> String {
    match kind {
        Kind::Latency => milliseconds(value),
        Kind::Count if value.fract() == 0.0 => thousands(value as u64),
        Kind::Count => quantity(value),
        Kind::Rate => quantity(value / f64::from(kind.units_per_shown())),
    }
}

pub(super) fn stages(result: &RunResult, headline: &Headline) -> Table {
    let gap = if headline.token_gap == Metric::Icl { "icl p50" } else { "itl p50" };
    let mut table = Table {
        header: vec![
            "stage",
            "seconds",
            "due",
            "offered/s",
            "sent/s",
            "completed/s",
            "tokens/s",
            "errors",
            "ttft p50",
            "ttft p99",
            gap,
            "e2e p50",
            "e2e p99",
        ],
        rows: result.stages.iter().map(|stage| stage_row(stage, headline)).collect(),
        words: 1,
        notes: vec!["Latencies in ms.".to_owned()],
    };
    if result.stages.iter().any(|stage| !stage.headline) {
        table.notes.push("* warm-up or ramp: not in the headline.".to_owned());
    }
    table
}

fn stage_row(stage: &StageResult, headline: &Headline) -> Vec<String> {
    let window = &stage.window;
    let mut row = vec![
        format!("{}{}", stage.name, if stage.headline { "" } else { " *" }),
        format!("{}–{}", tenths(window.start.as_secs_f64()), tenths(window.end.as_secs_f64())),
        thousands(stage.books.due),
        rate(window.rates.offered),
        rate(window.rates.achieved),
    ];
    row.extend(window_cells(window, headline));
    row
}

/// What any part of a run is looked at for: completed and tokens a second, errors, and the latencies by their columns'
/// names (ttft p50 and p99, the gap's p50, e2e p50 and p99).
pub(super) fn window_cells(window: &WindowResult, headline: &Headline) -> [String; 8] {
    [
        rate(window.rates.throughput),
        rate(window.rates.tokens_per_second),
        or_absent(window.rates.error_rate, percent),
        latency(window, Metric::Ttft, Percentile::P50),
        latency(window, Metric::Ttft, Percentile::P99),
        latency(window, headline.token_gap, Percentile::P50),
        latency(window, Metric::E2eLatency, Percentile::P50),
        latency(window, Metric::E2eLatency, Percentile::P99),
    ]
}

fn rate(rate: Option<f64>) -> String {
    or_absent(rate, quantity)
}

fn tenths(seconds: f64) -> String {
    let text = format!("{seconds:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// What became of every request that was due: whole run, stages.
pub(super) fn books(result: &RunResult) -> Table {
    let row = |name: String, books: &Books| {
        let counts = [
            books.due,
            books.completed,
            books.failed_total(),
            books.cancelled,
            books.not_sent_total(),
            books.lost.total(),
        ];
        std::iter::once(name).chain(counts.map(thousands)).collect()
    };
    let mut rows = vec![row("whole run".to_owned(), &result.books)];
    if result.stages.len() > 1 {
        rows.extend(result.stages.iter().map(|stage| row(stage.name.clone(), &stage.books)));
    }
    let mut notes = vec!["due = completed + failed + cancelled + not sent + lost".to_owned()];
    let not_sent = result.books.not_sent.iter();
    notes.extend(
        not_sent.map(|(why, &count)| format!("not sent, {}: {}", why.name(), thousands(count))),
    );
    Table {
        header: vec!["", "due", "completed", "failed", "cancelled", "not sent", "lost"],
        rows,
        words: 1,
        notes,
    }
}

/// Failures by class, the most frequent first, with what the server or the system said.
pub(super) fn failures(result: &RunResult) -> Option<Table> {
    const SAMPLES: usize = 3;
    let mut classes: Vec<_> = result.books.failed.iter().filter(|(_, count)| **count > 0).collect();
    classes.sort_by_key(|(class, count)| (std::cmp::Reverse(**count), **class));
    let rows = classes.iter().map(|(class, count)| {
        let mut told = BTreeSet::new();
        let samples = result.failures.iter().filter(|sample| sample.class == **class);
        let words: Vec<_> = samples
            .filter(|sample| told.insert(sample.detail.as_str()))
            .take(SAMPLES)
            .map(|sample| {
                format!("at {} s: {}", tenths(sample.at.as_secs_f64()), printable(&sample.detail))
            })
            .collect();
        vec![class.name(), thousands(**count), words.join("\n")]
    });
    let rows: Vec<_> = rows.collect();
    let header = vec!["failure", "requests", "for example"];
    (!rows.is_empty()).then(|| Table { header, rows, words: 1, notes: Vec::new() })
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Of the points within the headline.
pub(super) fn server(result: &RunResult) -> Table {
    let figure = |value: Option<f64>| or_absent(value, quantity);
    let row = |series: &metrics::ServerSeries| {
        let inside = crate::server_json::in_headline(series, result);
        vec![
            series.name.clone(),
            series.unit.clone(),
            series.of.clone(),
            figure(inside.mean()),
            figure(inside.min()),
            figure(inside.max()),
            thousands(inside.points.len() as u64),
        ]
    };
    let header = vec!["name", "unit", "of", "mean", "min", "max", "points"];
    let rows = result.server.series.iter().map(row).collect();
    let sources = result.server.sources.join(", ");
    let note = format!("From {sources}; while the headline was measured. Not measured by us.");
    Table { header, rows, words: 3, notes: vec![note] }
}

pub(super) fn workers(result: &RunResult) -> Table {
    let header = vec![
        "worker",
        "host",
        "share",
        "due",
        "completed",
        "failed",
        "lag p50",
        "lag p99",
        "lag max",
        "ttft p50",
        "CPU s",
        "skew ms",
        "lost",
    ];
    let rows = result.workers.iter().map(worker_row).collect();
    let notes = vec![
        "lag: the generator's own lateness; lag and ttft in ms; skew: measured start against the agreed one.".to_owned(),
    ];
    Table { header, rows, words: 2, notes }
}

fn worker_row(worker: &WorkerResult) -> Vec<String> {
    let ms = |us: Option<u64>| or_absent(us, |us| milliseconds(us as f64));
    let skew = worker.start_skew_us as f64 / 1_000.0;
    let lost = worker.lost.map_or_else(String::new, |lost| format!("at {}", length(lost.at)));
    vec![
        worker.ordinal.to_string(),
        worker.host.clone(),
        or_absent(worker.share, percent),
        thousands(worker.books.due),
        thousands(worker.books.completed),
        thousands(worker.books.failed_total()),
        ms(worker.generator_lag_p50_us),
        ms(worker.generator_lag_p99_us),
        ms(worker.generator_lag_max_us),
        ms(worker.ttft_p50_us),
        or_absent(worker.cpu_seconds, quantity),
        format!("{skew:.3}"),
        lost,
    ]
}

/// What ran, where and by what.
pub(super) fn facts(run: &StoredRun) -> Table {
    let facts = &run.result.facts;
    let yes = |truth: bool| if truth { "yes" } else { "no" }.to_owned();
    let mut rows = vec![
        vec!["run".to_owned(), facts.id.clone()],
        vec!["model".to_owned(), facts.model.clone()],
        vec!["endpoint".to_owned(), facts.endpoint.clone()],
        vec![
            "API".to_owned(),
            format!("{}{}", facts.api, if facts.streamed { ", streamed" } else { "" }),
        ],
        vec!["began".to_owned(), iso_8601(facts.started_at_unix_ns).unwrap_or_default()],
        vec!["ended".to_owned(), iso_8601(facts.ended_at_unix_ns).unwrap_or_default()],
        vec!["workers, lanes".to_owned(), format!("{}, {}", facts.workers, facts.lanes)],
        vec!["seed, salt".to_owned(), format!("{}, {}", facts.seed, facts.prompt_salt)],
        vec!["tokens counted by".to_owned(), facts.token_source.clone()],
        vec!["tokenizer".to_owned(), facts.tokenizer.clone().unwrap_or_else(|| ABSENT.to_owned())],
        vec!["arrivals stamped by".to_owned(), facts.stamps.clone()],
        vec!["tokenstorm".to_owned(), facts.tokenstorm_version.clone()],
    ];
    rows.extend(facts.note.iter().map(|note| vec!["note".to_owned(), note.clone()]));
    rows.extend(
        facts.labels.iter().map(|(name, value)| vec![format!("label {name}"), value.clone()]),
    );
    let environment = facts.environment.iter();
    rows.extend(environment.map(|(name, value)| vec![name.clone(), value.clone()]));
    if facts.interrupted || facts.degraded {
        let words =
            format!("interrupted: {}, degraded: {}", yes(facts.interrupted), yes(facts.degraded));
        rows.push(vec!["ended early".to_owned(), words]);
    }
    Table { header: vec!["", ""], rows, words: 2, notes: Vec::new() }
}

/// Each metric's formula, and the rates'.
pub(super) fn definitions() -> Table {
    const RATES: [(&str, &str); 6] = [
        ("offered_rate, achieved_rate", "due and sent requests / second, by due and sent instants"),
        ("throughput", "completed requests / second, by completion instant"),
        ("tokens_per_second", "output tokens / second, by the instant the tokens arrived"),
        (
            "goodput",
            "requests / second within every limit of `slos.perRequest`, by completion instant",
        ),
        ("error_rate", "failed / (completed + failed), of the requests due in the window"),
        (
            "verdict",
            "whether the figures can be trusted: about the run and its generator, never about the server",
        ),
    ];
    let mut rows: Vec<Vec<String>> = Metric::ALL
        .iter()
        .map(|metric| vec![metric.name().to_owned(), metric.definition().to_owned()])
        .collect();
    rows.extend(RATES.map(|(name, meaning)| vec![name.to_owned(), meaning.to_owned()]));
    Table { header: vec!["name", "definition"], rows, words: 2, notes: Vec::new() }
}
