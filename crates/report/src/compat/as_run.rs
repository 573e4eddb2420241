//! A foreign run in the form of ours, so that whatever presents or compares runs takes it.
//!
//! It has the figures that its file has, and nothing else: no stages, no histograms, no course over time. That is a doubt
//! about every comparison with it, and so its verdict is SUSPECT, with the reasons.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{
    Books, Figure, Metric, NotSteady, Notes, NullReason, Percentile, RateFigure, Rates, Reason,
    RunFacts, RunResult, ServerMetrics, Statistic, Status, SteadyState, Summary, Verdict,
    WindowResult,
};

use super::ForeignRun;
use crate::stored::StoredRun;

impl From<ForeignRun> for StoredRun {
    fn from(run: ForeignRun) -> Self {
        let file = run.path.file_name().unwrap_or_default().to_string_lossy();
        let completed = run.completed.unwrap_or_default();
        let result = RunResult {
            facts: RunFacts {
                id: format!("{file} ({})", run.tool.name()),
                name: file.into_owned(),
                model: run.model.clone().unwrap_or_default(),
                streamed: true,
                ..RunFacts::default()
            },
            verdict: verdict(&run),
            warnings: Vec::new(),
            failures: Vec::new(),
            books: Books { due: completed, completed, ..Books::default() },
            overall: window(&run),
            stages: Vec::new(),
            classes: Vec::new(),
            targets: Vec::new(),
            turns: Vec::new(),
            sessions: None,
            workers: Vec::new(),
            seconds: Vec::new(),
            stopped: None,
            steady: SteadyState::Not(NotSteady::FewSeconds),
            server: ServerMetrics::default(),
            records: None,
            telemetry: None,
        };
        Self { directory: run.path, result, config: None, gaps: Vec::new() }
    }
}

fn verdict(run: &ForeignRun) -> Verdict {
    let reason = |code: &str, message: &String| Reason {
        code: code.to_owned(),
        message: message.clone(),
        status: Status::Suspect,
    };
    let lacks = run.lacks.iter().map(|line| reason("foreign_file", line));
    let differs = run.differs.iter().map(|line| reason("other_definition", line));
    Verdict { status: Status::Suspect, reasons: lacks.chain(differs).collect() }
}

fn window(run: &ForeignRun) -> WindowResult {
    let metrics = Metric::ALL.into_iter().map(|metric| (metric, summary(run, metric)));
    WindowResult {
        start: Duration::ZERO,
        end: Duration::ZERO,
        measured: Duration::ZERO,
        rates: rates(run),
        metrics: metrics.collect(),
        notes: Notes::default(),
        ttft_over_3s: None,
        slos: Vec::new(),
    }
}

fn rates(run: &ForeignRun) -> Rates {
    let rate = |rate: RateFigure| run.figure(Figure::Rate(rate));
    Rates {
        offered: rate(RateFigure::OfferedRate),
        achieved: rate(RateFigure::AchievedRate),
        throughput: rate(RateFigure::Throughput),
        tokens_per_second: rate(RateFigure::TokensPerSecond),
        input_tokens_per_second: rate(RateFigure::InputTokensPerSecond),
        total_tokens_per_second: rate(RateFigure::TotalTokensPerSecond),
        error_rate: rate(RateFigure::ErrorRate),
        ..Rates::default()
    }
}

/// The statistics that a summary has. How many samples there are is told of requests only.
fn summary(run: &ForeignRun, metric: Metric) -> Summary {
    let mut summary = Summary::absent(metric.kind(), NullReason::NoSamples);
    let recorded = |statistic: Statistic| {
        let shown = run.figure(Figure::Of(metric, statistic))?;
        Some(shown * f64::from(metric.kind().units_per_shown()))
    };
    let whole = |statistic| recorded(statistic).map(|value| value.round() as u64);
    summary.mean = recorded(Statistic::Mean);
    (summary.min, summary.max) = (whole(Statistic::Min), whole(Statistic::Max));
    let mut nulls = BTreeMap::new();
    for percentile in Percentile::ALL {
        let scaled = u16::try_from(percentile.permille() * 10).unwrap_or(u16::MAX);
        let value = whole(Statistic::Percentile(scaled));
        summary.set_percentile(percentile, value);
        if value.is_none() {
            let _none = nulls.insert(percentile, NullReason::NoSamples);
        }
    }
    if summary.mean.is_some() || nulls.len() < Percentile::ALL.len() {
        summary.null_reason = None;
        summary.nulls = nulls;
        summary.count = run.completed.filter(|_| metric.per_request()).unwrap_or_default();
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::{Asked, Loaded, Tool, export, load};
    use crate::terminal::example;

    #[test]
    fn the_figures_of_the_file_are_those_of_the_run_and_others_are_absent() {
        let ours = example::one_stage();
        let stored = StoredRun::of(std::path::Path::new("/x"), ours.clone(), Vec::new());
        let file = export(&stored, &Asked::default(), Tool::Vllm).unwrap().files.remove(0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.json");
        std::fs::write(&path, file.text).unwrap();
        let Loaded::Foreign(run) = load(&path).unwrap() else { panic!("ours?") };
        let theirs = StoredRun::from(*run).result;
        assert_eq!((theirs.facts.id.as_str(), theirs.books.completed), ("v.json (vllm)", 2_000));
        let p99 = Statistic::Percentile(9_900);
        for metric in [Metric::Ttft, Metric::Icl, Metric::E2eLatency] {
            let figure = Figure::Of(metric, p99);
            assert_eq!(theirs.figure(figure), ours.figure(figure), "{metric:?}");
        }
        assert_eq!(theirs.figure(Figure::Of(Metric::Itl, p99)), Err(NullReason::NoSamples));
        let throughput = Figure::Rate(RateFigure::Throughput);
        assert_eq!(theirs.figure(throughput), ours.figure(throughput));
        assert_eq!(theirs.verdict.status, Status::Suspect);
        assert!(theirs.verdict.reasons.iter().any(|reason| reason.code == "other_definition"));
    }
}
