use super::*;
use crate::books::{FailureClass, NotSent};
use crate::interval::Scope;
use crate::recorder::{Completion, EventSample, Recorder, StageWindow, TokenUsage};
use crate::slo::{Figure, Outcome, Slo, Statistic};
use crate::timeline::Timeline;
use crate::verdict::Status;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn window(start_ms: u64, end_ms: Option<u64>) -> StageWindow {
    StageWindow { start: ms(start_ms), end: end_ms.map(ms) }
}

fn stage(name: &str, headline: bool, window: StageWindow) -> StageDescription {
    let (name, slos) = (name.to_owned(), Slos::default());
    StageDescription { name, headline, window, slos, stopped: None }
}

/// Warm-up [0, 2 s), a pause-free first half [2 s, 6 s), a ramp [6 s, 8 s), a second half [8 s, 12 s).
fn four_stages() -> Vec<StageDescription> {
    vec![
        stage("warmup", false, window(0, Some(2_000))),
        stage("low", true, window(2_000, Some(6_000))),
        stage("ramp", false, window(6_000, Some(8_000))),
        stage("high", true, window(8_000, Some(12_000))),
    ]
}

fn record(stages: Vec<StageDescription>, merged: Interval) -> RunRecord {
    RunRecord {
        facts: RunFacts { streamed: true, ..RunFacts::default() },
        stages,
        classes: Vec::new(),
        targets: Vec::new(),
        turns: Vec::new(),
        workers: Vec::new(),
        merged,
        series: Series::new(),
        warnings: Vec::new(),
        failures: Vec::new(),
        slos: Slos::default(),
        stopped: None,
    }
}

/// A request due at `at` that answers after `latency_ms` with 4 tokens in 4 events, TTFT half of it, 10 tokens in.
fn answer(recorder: &mut Recorder, stage: u16, at: u64, latency_ms: u64) {
    let scope = Scope { stage, class: 0 };
    let (first, finished) = (at + latency_ms / 2, at + latency_ms);
    recorder.due(scope, ms(at));
    recorder.sent(scope, ms(at));
    let gap = ms(finished - first) / 3;
    for event in 0..4_u32 {
        let gap = (event > 0).then_some(gap);
        let at = ms(first) + gap.unwrap_or_default() * event;
        recorder.event(scope, &EventSample { at, gap, tokens: 1, shared: false });
    }
    let usage = TokenUsage { input: 10, cached: None, output: 4, hidden_reasoning: 0 };
    let timeline = Timeline {
        scheduled: ms(at),
        permitted: ms(at),
        ready: ms(at),
        connected: ms(at),
        sent: ms(at),
        headers: ms(first),
        first_token: Some(ms(first)),
        last_token: Some(ms(finished)),
        finished: ms(finished),
        events: 4,
        first_event_tokens: 1,
        output_tokens: 4,
        streamed_tokens: 4,
        input_tokens: Some(10),
        streamed: true,
        ..Timeline::default()
    };
    let completion = Completion { usage: Some(usage), event_tokens: 4, ..Completion::default() };
    recorder.completed(scope, &timeline, &completion);
}

fn recorder(stages: &[StageDescription]) -> Recorder {
    Recorder::new(stages.iter().map(|stage| stage.window).collect())
}

#[test]
fn the_headline_is_the_stages_that_are_neither_warm_up_nor_ramp() {
    let stages = four_stages();
    let mut recorder = recorder(&stages);
    answer(&mut recorder, 0, 500, 100);
    // 2 answers in the first half, 4 in the second; the last one ends in the drain, after 12 s.
    [2_000, 3_000].into_iter().for_each(|at| answer(&mut recorder, 1, at, 200));
    answer(&mut recorder, 2, 7_000, 100);
    [8_000, 9_000, 10_000, 11_900].into_iter().for_each(|at| answer(&mut recorder, 3, at, 400));
    let result = RunResult::build(record(stages, recorder.take())).unwrap();

    assert_eq!((result.books.due, result.books.completed), (8, 8));
    let overall = &result.overall;
    assert_eq!((overall.start, overall.end, overall.measured), (ms(2_000), ms(12_000), ms(8_000)));
    // Over 4 s + 4 s: 6 due and sent; 5 completed inside; tokens 2·4 + 3·4 = 20 and of the last one those before
    // 12 s: its first is at 12.1 s, so none; input is credited when it is sent: 6 · 10.
    let rates = &overall.rates;
    assert_eq!((rates.offered, rates.achieved), (Some(0.75), Some(0.75)));
    assert_eq!(rates.throughput, Some(0.625));
    assert_eq!(rates.tokens_per_second, Some(2.5));
    assert_eq!(rates.input_tokens_per_second, Some(7.5));
    assert_eq!(rates.total_tokens_per_second, Some(10.0));
    assert_eq!(rates.error_rate, Some(0.0));
    // TTFTs 100, 100, 200, 200, 200, 200 ms: the one that ended in the drain is among them.
    let ttft = &overall.metrics[&Metric::Ttft];
    assert_eq!((ttft.count, ttft.min, ttft.max), (6, Some(100_000), Some(200_000)));
    assert_eq!(ttft.mean, Some(1_000_000.0 / 6.0));
    assert_eq!(result.stages[1].window.rates.throughput, Some(0.5));
    assert_eq!(result.stages[3].window.rates.throughput, Some(0.75));
    assert_eq!(result.stages[0].books.completed, 1);
    assert_eq!(result.verdict.status, Status::Valid);
}

#[test]
fn an_open_ended_stage_ends_at_its_last_completion() {
    let stages = vec![stage("hold", true, window(0, None))];
    let mut recorder = recorder(&stages);
    (0..10).for_each(|n| answer(&mut recorder, 0, n * 100, 300));
    let result = RunResult::build(record(stages, recorder.take())).unwrap();
    // The last was due at 900 ms and took 300: 10 in 1.2 s, the last one included.
    assert_eq!(result.overall.end, ms(1_200));
    assert_eq!(result.overall.rates.throughput, Some(10.0 / 1.2));
}

#[test]
fn a_window_without_length_has_no_rates() {
    let stages = vec![stage("hold", true, window(0, None))];
    let result = RunResult::build(record(stages, Interval::default())).unwrap();
    assert_eq!(result.overall.rates, Rates::default());
    assert_eq!(result.verdict.status, Status::Invalid);
}

#[test]
fn an_open_ended_stage_of_failures_ends_at_the_last_one() {
    let stages = vec![stage("hold", true, window(0, None))];
    let mut recorder = recorder(&stages);
    let scope = Scope::default();
    for at in [100, 200] {
        recorder.due(scope, ms(at));
        recorder.failed(scope, FailureClass::Status(503), ms(at + 50), Some(ms(50)), 0);
    }
    let result = RunResult::build(record(stages, recorder.take())).unwrap();
    assert_eq!(result.overall.end, ms(250));
    assert_eq!(result.overall.rates.error_rate, Some(1.0));
    assert_eq!(result.overall.metrics[&Metric::E2eFailed].count, 2);
    let ttft = &result.overall.metrics[&Metric::Ttft];
    assert_eq!(ttft.null_reason, Some(NullReason::NoSamples));
}

#[test]
fn itl_is_taken_away_where_chunks_are_not_tokens_and_only_there() {
    let stages = vec![stage("hold", true, window(0, Some(10_000)))];
    let mut recorder = recorder(&stages);
    (0..50).for_each(|n| answer(&mut recorder, 0, n * 100, 300));
    let sound = recorder.take();
    let mut spoilt = sound.clone();
    let notes = &mut spoilt.scopes.get_mut(&Scope::default()).unwrap().notes;
    assert_eq!((notes.token_comparisons, notes.token_disagreements), (50, 0));
    notes.token_disagreements = 1;

    let itl_of = |merged: Interval| {
        let result = RunResult::build(record(stages.clone(), merged)).unwrap();
        let metrics = &result.overall.metrics;
        assert_eq!(metrics[&Metric::Icl].count, 150);
        (metrics[&Metric::Itl].count, metrics[&Metric::Itl].null_reason)
    };
    assert_eq!(itl_of(sound), (150, None));
    assert_eq!(itl_of(spoilt), (0, Some(NullReason::ChunksAreNotTokens)));
}

#[test]
fn not_streamed_says_so() {
    let stages = vec![stage("hold", true, window(0, Some(10_000)))];
    let mut run = record(stages, Interval::default());
    run.facts.streamed = false;
    let result = RunResult::build(run).unwrap();
    let reason = |metric| result.overall.metrics[&metric].null_reason;
    assert_eq!(reason(Metric::Ttft), Some(NullReason::NotStreamed));
    assert_eq!(reason(Metric::E2eLatency), Some(NullReason::NoSamples));
}

#[test]
fn requests_that_the_cap_held_make_the_offered_rate_suspect() {
    let stages = vec![stage("hold", true, window(0, Some(10_000)))];
    let mut recorder = recorder(&stages);
    (0..90).for_each(|n| answer(&mut recorder, 0, n * 100, 300));
    let uncapped = |due| {
        let mut recorder = self::recorder(&stages);
        (0..90).for_each(|n| answer(&mut recorder, 0, n * 100, 300));
        recorder.due(Scope::default(), due);
        recorder.not_sent(Scope::default(), NotSent::StageEnded);
        RunResult::build(record(stages.clone(), recorder.take())).unwrap()
    };
    assert_eq!(
        uncapped(ms(9_100)).verdict.reasons,
        [],
        "its connection was too slow: no cap in it"
    );
    for n in 90..92 {
        recorder.due(Scope::default(), ms(n * 100));
        recorder.never_permitted(Scope::default(), ms(n * 100));
    }
    let result = RunResult::build(record(stages, recorder.take())).unwrap();
    let codes: Vec<_> = result.verdict.reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["capped"], "2 of 92");
}

#[test]
fn a_long_run_has_intervals_and_a_series() {
    let stages = vec![stage("hold", true, window(0, Some(110_000)))];
    let mut recorder = recorder(&stages);
    let (mut merged, mut series) = (Interval::default(), Series::new());
    for second in 0..110_u32 {
        let start = u64::from(second) * 1_000;
        (0..20).for_each(|n| answer(&mut recorder, 0, start + n * 20, 100 + (n * 7 + start) % 90));
        let flushed = recorder.take();
        merged.merge(&flushed).unwrap();
        series.push(second..second + 1, &flushed);
    }
    let run = RunRecord { series, ..record(stages, merged) };
    let result = RunResult::build(run).unwrap();
    let ttft = &result.overall.metrics[&Metric::Ttft];
    let (p50, interval) = (ttft.p50.unwrap(), ttft.ci95[&crate::Percentile::P50]);
    assert!(interval.low <= p50 && p50 <= interval.high);
    assert_eq!(result.overall.metrics[&Metric::ReadLag].ci95_null, None, "absent altogether");
    assert_eq!(result.seconds.len(), 110);
    assert_eq!(result.seconds[7].counts.completed, 20);
    assert_eq!(result.seconds[7].percentiles[&Metric::Ttft].count, 20);
    let connect_wait = &result.overall.metrics[&Metric::ConnectWait];
    assert_eq!(connect_wait.ci95_null, Some(NullReason::NotKept));
}

#[test]
fn slow_first_tokens_are_a_share_of_their_own() {
    let stages = vec![stage("hold", true, window(0, Some(10_000)))];
    let mut recorder = recorder(&stages);
    (0..3).for_each(|n| answer(&mut recorder, 0, n * 100, 300));
    answer(&mut recorder, 0, 500, 8_000); // TTFT 4 s
    let result = RunResult::build(record(stages, recorder.take())).unwrap();
    assert_eq!(result.overall.ttft_over_3s, Some(0.25));
}

#[test]
fn a_stage_answers_for_its_own_objectives_even_where_it_is_no_headline() {
    let mut stages = four_stages();
    let limit = |limit| Slo { figure: Figure::Of(Metric::Ttft, Statistic::Max), limit };
    stages[2].slos.limits = vec![limit(40_000.0)];
    stages[3].slos.limits = vec![limit(250_000.0)];
    let mut recorder = recorder(&stages);
    answer(&mut recorder, 1, 2_000, 400);
    answer(&mut recorder, 2, 7_000, 100);
    answer(&mut recorder, 3, 9_000, 400);
    let result = RunResult::build(record(stages, recorder.take())).unwrap();
    // TTFTs are 50 ms in the ramp and 200 ms in the second half.
    let outcomes = |stage: usize| -> Vec<_> {
        result.stages[stage].own_slos.iter().map(|slo| (slo.figure, slo.outcome)).collect()
    };
    assert_eq!(outcomes(1), []);
    assert_eq!(outcomes(2), [(Some(50_000.0), Outcome::Missed)]);
    assert_eq!(outcomes(3), [(Some(200_000.0), Outcome::Met)]);
    assert!(result.overall.slos.is_empty());
}
