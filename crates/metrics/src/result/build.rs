//! From what the ledger merged to the result: windows, rates, summaries, intervals, verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    GroupDescription, GroupResult, Rates, RunFacts, RunResult, Sessions, StageDescription,
    StageResult, StoppedEarly, WindowResult, WorkerResult,
};
use crate::books::{Books, FailureSample, share};
use crate::censoring::Censored;
use crate::confidence::intervals95;
use crate::distribution::{Distribution, MergeError, whole_micros};
use crate::drift;
use crate::interval::{Interval, Notes, Scope, ScopeRecord};
use crate::metric::Metric;
use crate::recorder::SLOW_TTFT;
use crate::series::Series;
use crate::server::ServerMetrics;
use crate::slo::{Judged, SloResult, Slos, judge as judge_slo};
use crate::steady::SteadyState;
use crate::summary::{NullReason, Summary};
use crate::verdict::{Evidence, Thresholds, Verdict, chunks_are_not_tokens, judge};
use crate::warning::Warning;

/// All that the coordinator hands over at the end of a run.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// What ran.
    pub facts: RunFacts,
    /// The stages in the plan's order; a scope's `stage` is an index into them.
    pub stages: Vec<StageDescription>,
    /// Traffic classes, if there are several kinds of requests.
    pub classes: Vec<GroupDescription>,
    /// Targets, if there are several.
    pub targets: Vec<GroupDescription>,
    /// Turns, if there are sessions.
    pub turns: Vec<GroupDescription>,
    /// The workers.
    pub workers: Vec<WorkerResult>,
    /// Everything the ledger merged, with what it booked itself (`lost`, `no_owner`) in the scopes' books.
    pub merged: Interval,
    /// The run over time.
    pub series: Series,
    /// Warnings collected on the way.
    pub warnings: Vec<Warning>,
    /// A few failures of each class in words.
    pub failures: Vec<FailureSample>,
    /// What the run must reach.
    pub slos: Slos,
    /// Why the load ended early, if a rule ended it.
    pub stopped: Option<StoppedEarly>,
}

impl RunResult {
    /// The result of a run, with the default thresholds. It fails only if versions were mixed.
    pub fn build(record: RunRecord) -> Result<Self, MergeError> {
        let thresholds = Thresholds::default();
        let context = Context { record: &record, thresholds: &thresholds };
        let stages = context.stages()?;
        let (headline, overall) = context.headline(&stages)?;
        let classes = context.groups(&record.classes, &overall)?;
        let targets = context.groups(&record.targets, &overall)?;
        let turns = context.groups(&record.turns, &overall)?;
        let sessions = context.sessions(&turns);
        let books = record.merged.books();
        let verdict = context.verdict(&stages, &headline, &books);
        let mut seconds = record.series.points(&record.merged.seconds);
        for point in &mut seconds {
            point.percentiles.retain(|metric, _| is_told(&overall, *metric));
        }
        let steady = context.steady(&overall);
        let RunRecord { facts, workers, mut warnings, failures, stopped, .. } = record;
        warnings.extend(drift::warnings(&overall.notes));
        Ok(Self {
            facts,
            verdict,
            warnings,
            failures,
            books,
            overall,
            stages,
            classes,
            targets,
            turns,
            sessions,
            workers,
            seconds,
            stopped,
            steady,
            server: ServerMetrics::default(),
            records: None,
            telemetry: None,
        })
    }
}

struct Context<'a> {
    record: &'a RunRecord,
    thresholds: &'a Thresholds,
}

/// A window's ends, and what its rates are divided by.
struct Span {
    start: Duration,
    end: Duration,
    measured: Duration,
}

impl Context<'_> {
    fn stages(&self) -> Result<Vec<StageResult>, MergeError> {
        let indexed = (0_u16..).zip(&self.record.stages);
        indexed.map(|(index, stage)| self.stage(index, stage)).collect()
    }

    fn stage(&self, index: u16, stage: &StageDescription) -> Result<StageResult, MergeError> {
        let record = self.record.merged.stage(index)?;
        let span = stage_span(stage, &record);
        let mut window = self.window(&record, &span, Some(|candidate| candidate == index));
        if !stage.headline {
            window.slos.clear();
        }
        let own_slos = self.objectives(&stage.slos, &record, &window.rates, window.ttft_over_3s);
        Ok(StageResult {
            name: stage.name.clone(),
            index,
            headline: stage.headline,
            books: record.books,
            window,
            own_slos,
            stopped: stage.stopped.clone(),
            distributions: record.distributions,
        })
    }

    /// The stages that are neither warm-up nor ramp, merged; rates over the union of their windows.
    fn headline(&self, stages: &[StageResult]) -> Result<(ScopeRecord, WindowResult), MergeError> {
        let wanted = |index: u16| {
            self.record.stages.get(usize::from(index)).is_some_and(|stage| stage.headline)
        };
        let record = self.record.merged.fold(|scope| wanted(scope.stage))?;
        let windows = || stages.iter().filter(|stage| stage.headline).map(|stage| &stage.window);
        let mut first_two = windows();
        if let (Some(only), None) = (first_two.next(), first_two.next()) {
            return Ok((record, only.clone()));
        }
        let span = Span {
            start: windows().map(|window| window.start).min().unwrap_or_default(),
            end: windows().map(|window| window.end).max().unwrap_or_default(),
            measured: windows().map(|window| window.measured).sum(),
        };
        let window = self.window(&record, &span, Some(wanted));
        Ok((record, window))
    }

    /// Parts of the requests: books of the whole run, figures of the headline. What is kept over time is not kept by
    /// class, so there are no intervals.
    fn groups(
        &self,
        groups: &[GroupDescription],
        headline: &WindowResult,
    ) -> Result<Vec<GroupResult>, MergeError> {
        let span = Span { start: headline.start, end: headline.end, measured: headline.measured };
        let group = |group: &GroupDescription| {
            let own = |scope: Scope| group.cells.contains(&scope.class);
            let mut books = Books::default();
            let scopes = self.record.merged.scopes.iter().filter(|(scope, _)| own(**scope));
            scopes.for_each(|(_, record)| books.merge(&record.books));
            let in_headline = |stage: u16| {
                self.record.stages.get(usize::from(stage)).is_some_and(|stage| stage.headline)
            };
            let record = self.record.merged.fold(|scope| own(scope) && in_headline(scope.stage))?;
            let mut window = self.window(&record, &span, None::<fn(u16) -> bool>);
            window.slos = self.objectives(&group.slos, &record, &window.rates, window.ttft_over_3s);
            Ok(GroupResult {
                name: group.name.clone(),
                share: group.share,
                books,
                window,
                distributions: record.distributions,
            })
        };
        groups.iter().map(group).collect()
    }

    fn sessions(&self, turns: &[GroupResult]) -> Option<Sessions> {
        let (_first, later) = turns.split_first()?;
        let mut notes = Notes::default();
        self.record.merged.scopes.values().for_each(|scope| notes.merge(&scope.notes));
        Some(Sessions::of(&notes, later.iter().map(|turn| turn.books.due).sum()))
    }

    /// Whether any answer of the run said how much of its prompt the cache held.
    fn cache_is_told(&self) -> bool {
        self.record.merged.scopes.values().any(|record| record.notes.cache_told > 0)
    }

    fn window(
        &self,
        record: &ScopeRecord,
        span: &Span,
        stages: Option<impl Fn(u16) -> bool>,
    ) -> WindowResult {
        let rates = self.rates(record, span.measured);
        let ttft = record.distribution(Metric::Ttft);
        let slow = ttft.and_then(|d| share(d.count_above(whole_micros(SLOW_TTFT)), d.count()));
        WindowResult {
            start: span.start,
            end: span.end,
            measured: span.measured,
            slos: self.objectives(&self.record.slos, record, &rates, slow),
            rates,
            metrics: self.summaries(record, stages),
            notes: record.notes,
            ttft_over_3s: slow,
        }
    }

    fn objectives(
        &self,
        slos: &Slos,
        record: &ScopeRecord,
        rates: &Rates,
        ttft_over_3s: Option<f64>,
    ) -> Vec<SloResult> {
        let samples = |metric| self.samples(record, metric);
        let window = Judged { rates, ttft_over_3s, samples, books: &record.books };
        slos.limits.iter().map(|slo| judge_slo(*slo, &window)).collect()
    }

    fn rates(&self, record: &ScopeRecord, measured: Duration) -> Rates {
        let demanded = !self.record.slos.per_request.is_empty();
        let mut rates =
            Rates { cache_hit_ratio: self.cache_hit_ratio(record), ..rates(record, measured) };
        rates.goodput = rates.goodput.filter(|_| demanded);
        rates.slo_attainment = rates.slo_attainment.filter(|_| demanded);
        rates
    }

    /// Within the headline: by the TTFT where there is one, else by the whole answer.
    fn steady(&self, headline: &WindowResult) -> SteadyState {
        let by = if self.record.facts.streamed { Metric::Ttft } else { Metric::E2eLatency };
        let within = headline.start..headline.end;
        let counts = &self.record.merged.seconds;
        let mut steady = SteadyState::detect(by, &self.record.series, counts, within, |stage| {
            self.record.stages.get(usize::from(stage)).is_some_and(|stage| stage.headline)
        });
        if let SteadyState::From(window) = &mut steady {
            window.percentiles.retain(|metric, _| is_told(headline, *metric));
            for (metric, figures) in &mut window.percentiles {
                let nulls = headline.metrics.get(metric).map(|summary| &summary.nulls);
                figures.censor(|percentile| {
                    nulls.and_then(|nulls| nulls.get(&percentile)) == Some(&NullReason::Censored)
                });
            }
        }
        steady
    }

    /// By exact sums: tokens, not requests, are what a cache saves.
    fn cache_hit_ratio(&self, record: &ScopeRecord) -> Option<f64> {
        let sum = |metric| record.distribution(metric).and_then(Distribution::sum);
        let (cached, all) = (sum(Metric::CachedTokens)?, sum(Metric::InputTokens)?);
        share(cached, all).filter(|_| self.cache_is_told())
    }

    fn summaries(
        &self,
        record: &ScopeRecord,
        stages: Option<impl Fn(u16) -> bool>,
    ) -> BTreeMap<Metric, Summary> {
        let e2e = record.distribution(Metric::E2eLatency);
        let e2e_p50 = e2e.and_then(|e2e| e2e.quantile(0.5)).map(Duration::from_micros);
        let summary = |metric: Metric| match self.samples(record, metric) {
            Err(reason) => Summary::absent(metric.kind(), reason),
            Ok(samples) => {
                let over_time =
                    stages.as_ref().and_then(|stages| self.record.series.stretches(metric, stages));
                let censored = Censored::of(metric, &record.books);
                let intervals = match over_time {
                    Some(stretches) => intervals95(&stretches, e2e_p50, censored),
                    None => Err(NullReason::NotKept),
                };
                Summary::of(metric, samples, censored).with_ci95(intervals)
            }
        };
        Metric::ALL.into_iter().map(|metric| (metric, summary(metric))).collect()
    }

    /// A metric's samples, or why there is nothing to show.
    fn samples<'r>(
        &self,
        record: &'r ScopeRecord,
        metric: Metric,
    ) -> Result<&'r Distribution, NullReason> {
        if metric.needs_stream() && !self.record.facts.streamed {
            return Err(NullReason::NotStreamed);
        }
        if metric.needs_cache() && !self.cache_is_told() {
            return Err(NullReason::CacheNotTold);
        }
        if metric == Metric::Itl && chunks_are_not_tokens(&record.notes, self.thresholds) {
            return Err(NullReason::ChunksAreNotTokens);
        }
        record.distribution(metric).ok_or(NullReason::NoSamples)
    }

    fn verdict(
        &self,
        stages: &[StageResult],
        headline: &ScopeRecord,
        books: &crate::Books,
    ) -> Verdict {
        let quantile = |metric, q| headline.distribution(metric).and_then(|d| d.quantile(q));
        let named = |stage: &StageResult| format!("stage {}", stage.name);
        let workers = self.record.workers.iter();
        let evidence = Evidence {
            books,
            parts: stages
                .iter()
                .map(|stage| (named(stage), &stage.books))
                .chain(workers.map(|w| (format!("worker {}", w.ordinal), &w.books)))
                .collect(),
            headline_stages: stages
                .iter()
                .filter(|stage| stage.headline)
                .map(|stage| (stage.name.clone(), &stage.books))
                .collect(),
            seconds: &self.record.merged.seconds,
            notes: &headline.notes,
            generator_lag_p99_us: quantile(Metric::GeneratorLag, 0.99),
            ttft_p50_us: quantile(Metric::Ttft, 0.5),
            read_lag_p99_us: quantile(Metric::ReadLag, 0.99),
            held_back: held_back(headline, self.thresholds),
            headline: &headline.books,
            degraded: self.record.facts.degraded,
        };
        judge(&evidence, self.thresholds)
    }
}

/// Whether a metric means anything in this run: over time and in the steady part as in the table.
fn is_told(headline: &WindowResult, metric: Metric) -> bool {
    let reason = headline.metrics.get(&metric).and_then(|summary| summary.null_reason);
    !matches!(reason, Some(NullReason::ChunksAreNotTokens | NullReason::NotStreamed))
}

/// The planned end, else the last completion, else the last failure.
fn stage_span(stage: &StageDescription, record: &ScopeRecord) -> Span {
    let start = stage.window.start;
    let answered = record.last_completed.or(record.last_failed).unwrap_or(start);
    let end = stage.window.end.unwrap_or(answered).max(start);
    Span { start, end, measured: end - start }
}

/// Requests that waited for the cap, and those that it held until their stage was over.
pub(crate) fn held_back(record: &ScopeRecord, thresholds: &Thresholds) -> u64 {
    let cap_wait = record.distribution(Metric::CapWait);
    let waited = cap_wait.map_or(0, |d| d.count_above(thresholds.held_back_from_us));
    waited + record.notes.never_permitted
}

fn rates(record: &ScopeRecord, measured: Duration) -> Rates {
    let window = &record.window;
    let rate = |count: u64| (!measured.is_zero()).then(|| count as f64 / measured.as_secs_f64());
    Rates {
        offered: rate(window.due),
        achieved: rate(window.sent),
        throughput: rate(window.completed),
        tokens_per_second: rate(window.output_tokens),
        input_tokens_per_second: rate(window.input_tokens),
        total_tokens_per_second: rate(window.output_tokens.saturating_add(window.input_tokens)),
        error_rate: record.books.error_rate(),
        goodput: rate(window.good),
        slo_attainment: share(record.notes.good, record.books.started()),
        cache_hit_ratio: None,
    }
}

#[cfg(test)]
mod tests;
