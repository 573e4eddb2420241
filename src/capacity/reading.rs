//! What a run says of its level: how far the objective that is nearest to its limit is from it.
//!
//! A level that was not reached says nothing for the service: where the cap held requests back or dropped them, the load
//! was another one. And only completed requests have latencies, so a service that refuses most of its load looks the better
//! for it. Where no objective speaks of errors, the share of failures above which the verdict doubts the latencies is one.

use metrics::{
    Figure, Outcome as Verdict, Percentile, RateFigure, Reason, RunResult, SloResult, Statistic,
    Status, Thresholds,
};
use workload::search::Reading;

/// What a run says of the generator, not of the service: it could not offer the level.
const LIMITS: [&str; 2] = ["generator_lag", "generator_limit"];
/// What befell the generator, at whatever level.
const ACCIDENTS: [&str; 4] = ["lost", "no_owner", "no_lease", "books"];
/// The cap kept the level from the service.
const CAPPED: [&str; 2] = ["capped", "cap_dropped"];
/// Objectives in which a failed request counts as one.
const OF_ERRORS: [RateFigure; 2] = [RateFigure::ErrorRate, RateFigure::SloAttainment];
/// A level that is beyond doubt too much.
const FAILS: Reading = Reading::Margin { margin: -1.0, half_width: Some(0.0) };

/// What a run shows: the objective that is nearest to its limit, or worst beyond it, decides.
pub(super) fn reading(result: &RunResult) -> (Reading, String) {
    let reasons = &result.verdict.reasons;
    if let Some(spoken) = of_the_generator(reasons) {
        return spoken;
    }
    if let Some(stopped) = &result.stopped {
        return (FAILS, format!("the load was ended early: {}", stopped.reason));
    }
    if let Some(reason) = invalid(reasons, &["nothing_answered"]).or_else(|| capped(reasons)) {
        return (FAILS, reason.message.clone());
    }
    let all: Vec<Objective<'_>> = objectives(result).collect();
    if all.is_empty() {
        return (Reading::Blind, "no objective of the run as a whole".to_owned());
    }
    let distances = all.iter().filter_map(|objective| objective.distance(result));
    let nearest = distances.chain(of_failures(result)).min_by(|a, b| a.margin.total_cmp(&b.margin));
    let undecided = all.iter().find(|one| matches!(one.slo.outcome, Verdict::Undecided(_)));
    match (nearest, undecided) {
        (Some(nearest), Some(_)) if nearest.margin < 0.0 => nearest.told(),
        (_, Some(undecided)) => (Reading::Blind, undecided.words()),
        (Some(nearest), None) => nearest.told(),
        (None, None) => (Reading::Blind, "no objective has a figure".to_owned()),
    }
}

/// An objective as it was held against a run.
pub(super) struct Objective<'a> {
    slo: &'a SloResult,
    /// Whose it is; `None` is the whole run's.
    class: Option<&'a str>,
}

/// How far something is from its limit.
struct Distance {
    /// As a share of the limit; above 0 it is met.
    margin: f64,
    half_width: Option<f64>,
    words: String,
}

/// Of the run, and of its classes.
pub(super) fn objectives(result: &RunResult) -> impl Iterator<Item = Objective<'_>> {
    let of_run = result.overall.slos.iter().map(|slo| Objective { slo, class: None });
    let of_classes = result.classes.iter().flat_map(|class| {
        class.window.slos.iter().map(|slo| Objective { slo, class: Some(&class.name) })
    });
    of_run.chain(of_classes)
}

impl Objective<'_> {
    /// What is demanded: `ttft p95 ≤ 200 ms`, of a class with its name.
    pub(super) fn demand(&self) -> String {
        let (demand, _) = report::objective(self.slo);
        self.class.map_or_else(|| demand.clone(), |class| format!("{class}: {demand}"))
    }

    fn words(&self) -> String {
        let (_, figure) = report::objective(self.slo);
        format!("{}: {figure}", self.demand())
    }

    /// `None` without a figure.
    fn distance(&self, result: &RunResult) -> Option<Distance> {
        let margin = margin(self.slo)?;
        // What is kept over time is not kept by class, and the run's interval is none of its classes'.
        let half_width = self.class.is_none().then(|| half_width(self.slo, result)).flatten();
        Some(Distance { margin, half_width, words: self.words() })
    }
}

impl Distance {
    fn told(self) -> (Reading, String) {
        let Self { margin, half_width, words } = self;
        (Reading::Margin { margin, half_width }, words)
    }
}

/// How far the share of failed requests is from the one above which the verdict says that the latencies are those of
/// survivors; `None` without failures, and where the user has an objective that judges them.
fn of_failures(result: &RunResult) -> Option<Distance> {
    let failed = result.overall.rates.error_rate.filter(|failed| *failed > 0.0)?;
    if speaks_of_errors(result) {
        return None;
    }
    let limit = Thresholds::default().failed_share;
    let words = format!(
        "{:.1} % of the requests failed (at most {:.0} %), and no objective speaks of errors",
        failed * 100.0,
        limit * 100.0
    );
    Some(Distance { margin: (limit - failed) / limit, half_width: None, words })
}

/// Whether an objective of the run, or one of each class, counts failed requests.
fn speaks_of_errors(result: &RunResult) -> bool {
    let counts = |slo: &SloResult| match slo.slo.figure {
        Figure::Rate(rate) => OF_ERRORS.contains(&rate),
        Figure::Of(..) => false,
    };
    let of_class = |slos: &[SloResult]| slos.iter().any(counts);
    let by_class = !result.classes.is_empty()
        && result.classes.iter().all(|class| of_class(&class.window.slos));
    of_class(&result.overall.slos) || by_class
}

/// What makes a run useless for a search, whatever the service did. A limit goes before an accident: at another time the
/// level would be too much for the generator all the same.
fn of_the_generator(reasons: &[Reason]) -> Option<(Reading, String)> {
    let limit = invalid(reasons, &LIMITS).map(|reason| (Reading::NotOffered, reason));
    let accident = || invalid(reasons, &ACCIDENTS).map(|reason| (Reading::Spoilt, reason));
    let (reading, reason) = limit.or_else(accident)?;
    Some((reading, reason.message.clone()))
}

fn invalid<'a>(reasons: &'a [Reason], codes: &[&str]) -> Option<&'a Reason> {
    let is = |reason: &&Reason| {
        reason.status == Status::Invalid && codes.contains(&reason.code.as_str())
    };
    reasons.iter().find(is)
}

/// A few requests that were dropped are a remark, and no reason.
pub(super) fn capped(reasons: &[Reason]) -> Option<&Reason> {
    let is =
        |reason: &&Reason| reason.status != Status::Valid && CAPPED.contains(&reason.code.as_str());
    reasons.iter().find(is)
}

/// Distance from the limit as a share of it; above 0 it is met.
fn margin(slo: &SloResult) -> Option<f64> {
    let limit = slo.slo.limit;
    let Some(figure) = slo.figure else { return (slo.outcome == Verdict::Missed).then_some(-1.0) };
    if limit <= 0.0 {
        return Some(if slo.outcome == Verdict::Met { 1.0 } else { -1.0 });
    }
    Some(match slo.slo.figure.bound() {
        metrics::Bound::AtMost => (limit - figure) / limit,
        metrics::Bound::AtLeast => (figure - limit) / limit,
    })
}

/// Half of the 95 % interval of the headline's figure, as a share of the limit: of the run's own objectives only.
fn half_width(slo: &SloResult, result: &RunResult) -> Option<f64> {
    let Figure::Of(metric, Statistic::Percentile(scaled)) = slo.slo.figure else { return None };
    let percentile = Percentile::ALL
        .into_iter()
        .find(|percentile| percentile.permille() * 10 == u32::from(scaled))?;
    let interval = result.overall.metrics.get(&metric)?.ci95.get(&percentile)?;
    let width = (interval.high - interval.low) as f64 / f64::from(metric.kind().units_per_shown());
    Some(width / 2.0 / slo.slo.limit)
}

/// In a line.
pub(super) fn told(reading: Reading, nearest: &str) -> String {
    match reading {
        Reading::Margin { margin, .. } if margin >= 0.0 => format!("within: {nearest}"),
        Reading::Margin { .. } => format!("beyond: {nearest}"),
        Reading::Blind => format!("not to be judged: {nearest}"),
        Reading::NotOffered => format!("not offered: {nearest}"),
        Reading::Spoilt => format!("made again: {nearest}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use metrics::{
        Completion, FailureClass, GroupResult, Interval95, Metric, Recorder, RunFacts, RunRecord,
        Scope, Series, Slo, Slos, StageDescription, StageWindow, Timeline,
    };

    use super::*;

    fn reason(code: &str, status: Status) -> Reason {
        Reason { code: code.to_owned(), status, message: format!("why {code}") }
    }

    #[test]
    fn a_lost_worker_spoils_a_probe_and_a_late_generator_ends_its_level() {
        let invalid = |code| reason(code, Status::Invalid);
        let read = |reasons: &[Reason]| of_the_generator(reasons).map(|(reading, _)| reading);
        assert_eq!(read(&[invalid("lost")]), Some(Reading::Spoilt));
        assert_eq!(read(&[invalid("generator_lag")]), Some(Reading::NotOffered));
        let both = [invalid("lost"), invalid("generator_limit")];
        assert_eq!(read(&both), Some(Reading::NotOffered));
        let suspect = [reason("lost", Status::Suspect), reason("degraded", Status::Suspect)];
        assert_eq!(read(&suspect), None, "so little was lost that the figures hold");
        assert_eq!(read(&[invalid("nothing_answered")]), None, "that is the service's");
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Ten seconds of load; `tell` says what became of it.
    fn run(slos: Vec<Slo>, tell: impl FnOnce(&mut Recorder)) -> RunResult {
        let window = StageWindow { start: ms(0), end: Some(ms(10_000)) };
        let mut recorder = Recorder::new(vec![window]);
        tell(&mut recorder);
        let stage = StageDescription {
            name: "hold".to_owned(),
            headline: true,
            window,
            slos: Slos::default(),
            stopped: None,
        };
        let record = RunRecord {
            facts: RunFacts { streamed: true, ..RunFacts::default() },
            stages: vec![stage],
            classes: Vec::new(),
            targets: Vec::new(),
            turns: Vec::new(),
            workers: Vec::new(),
            merged: recorder.take(),
            series: Series::new(),
            warnings: Vec::new(),
            failures: Vec::new(),
            slos: Slos { limits: slos, per_request: Vec::new() },
            stopped: None,
        };
        RunResult::build(record).unwrap()
    }

    /// A request due at `at` whose only token arrives 50 ms later.
    fn answered(recorder: &mut Recorder, at: u64) {
        let timeline = Timeline {
            scheduled: ms(at),
            permitted: ms(at),
            ready: ms(at),
            connected: ms(at),
            sent: ms(at),
            headers: ms(at + 50),
            first_token: Some(ms(at + 50)),
            last_token: Some(ms(at + 50)),
            finished: ms(at + 50),
            events: 1,
            first_event_tokens: 1,
            output_tokens: 1,
            streamed_tokens: 1,
            streamed: true,
            ..Timeline::default()
        };
        recorder.due(Scope::default(), ms(at));
        recorder.completed(Scope::default(), &timeline, &Completion::default());
    }

    fn refused(recorder: &mut Recorder, at: u64) {
        recorder.due(Scope::default(), ms(at));
        let class = FailureClass::Status(503);
        recorder.failed(Scope::default(), class, ms(at + 1), Some(ms(1)), 0);
    }

    fn of(figure: Figure, limit: f64) -> Slo {
        Slo { figure, limit }
    }

    /// TTFT p50 of at most 200 ms: a margin of 75 % for those who answer.
    pub(in super::super) fn ttft() -> Slo {
        of(Figure::Of(Metric::Ttft, Statistic::Percentile(5_000)), 200_000.0)
    }

    /// Of a hundred requests so many are refused.
    pub(in super::super) fn shedding(share: u64, slos: Vec<Slo>) -> RunResult {
        run(slos, |recorder| {
            (0..share).for_each(|n| refused(recorder, n * 100));
            (share..100).for_each(|n| answered(recorder, n * 100));
        })
    }

    fn margin_of(reading: Reading) -> f64 {
        match reading {
            Reading::Margin { margin, .. } => margin,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_level_that_the_cap_dropped_requests_of_fails_whatever_the_others_say() {
        let dropped = |count: u64| {
            run(vec![ttft()], |recorder| {
                for n in 0..count {
                    recorder.due(Scope::default(), ms(n));
                    recorder.dropped(Scope::default(), ms(n));
                }
                (count..100).for_each(|n| answered(recorder, n * 100));
            })
        };
        let (read, words) = reading(&dropped(60));
        assert_eq!(read, FAILS, "{words}");
        assert!(words.contains("dropped 60 of 100 requests"), "{words}");
        let (read, _) = reading(&dropped(1));
        assert!((margin_of(read) - 0.75).abs() < 0.01, "1 % is a remark: {read:?}");
    }

    #[test]
    fn a_service_that_refuses_most_does_not_hold_by_its_survivors() {
        let (read, words) = reading(&shedding(60, vec![ttft()]));
        assert!((margin_of(read) + 5.0).abs() < 0.01, "60 % against 10 %: {read:?}");
        let expected =
            "60.0 % of the requests failed (at most 10 %), and no objective speaks of errors";
        assert_eq!(words, expected);
        // Near the limit it is as near as any objective, and repeated like any.
        let (read, words) = reading(&shedding(8, vec![ttft()]));
        assert!((margin_of(read) - 0.2).abs() < 0.01, "{read:?} {words}");
        let (read, words) = reading(&shedding(0, vec![ttft()]));
        assert!((margin_of(read) - 0.75).abs() < 0.01 && words.starts_with("ttft"), "{words}");
    }

    #[test]
    fn an_objective_of_errors_judges_failures_in_their_place() {
        for figure in [RateFigure::ErrorRate, RateFigure::SloAttainment] {
            let limit = if figure == RateFigure::ErrorRate { 0.8 } else { 0.2 };
            let mut result = shedding(60, vec![ttft(), of(Figure::Rate(figure), limit)]);
            // Without limits of a request there is no attainment.
            result.overall.slos[1].figure = Some(if limit > 0.5 { 0.6 } else { 0.4 });
            result.overall.slos[1].outcome = Verdict::Met;
            let (read, words) = reading(&result);
            assert!(margin_of(read) > 0.0, "{figure:?} {words}");
        }
        let (read, _) = reading(&shedding(60, vec![of(Figure::Rate(RateFigure::ErrorRate), 0.3)]));
        assert!((margin_of(read) + 1.0).abs() < 0.01, "twice its limit: {read:?}");
    }

    #[test]
    fn a_class_has_no_interval_and_its_words_say_whose_they_are() {
        let mut result = shedding(0, vec![ttft()]);
        let ttfts = result.overall.metrics.get_mut(&Metric::Ttft).unwrap();
        let interval = Interval95 { low: 49_000, high: 51_000 };
        let _none = ttfts.ci95.insert(Percentile::P50, interval);
        let width = |result: &RunResult| match reading(result) {
            (Reading::Margin { half_width, .. }, words) => (half_width, words),
            other => panic!("{other:?}"),
        };
        // 1 ms of 200.
        assert_eq!(width(&result), (Some(0.005), "ttft p50 ≤ 200 ms: 50.0 ms".to_owned()));
        // The same objective as the class `chat` has it, and near its limit.
        let class = GroupResult {
            name: "chat".to_owned(),
            share: 1.0,
            books: result.books.clone(),
            window: result.overall.clone(),
            distributions: BTreeMap::new(),
        };
        result.classes = vec![class];
        result.classes[0].window.slos[0].slo.limit = 60_000.0;
        assert_eq!(width(&result), (None, "chat: ttft p50 ≤ 60.0 ms: 50.0 ms".to_owned()));
    }
}
