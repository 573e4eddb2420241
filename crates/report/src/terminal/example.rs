//! Results to present in tests, made the way a run makes them: recorded, merged, built.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::{
    Completion, EventSample, FailureClass, Figure, GroupDescription, Interval, Lost, Metric, Notes,
    PointPercentiles, RateFigure, Recorder, RequestLimit, RunFacts, RunRecord, RunResult, Scope,
    Series, SeriesPoint, Slo, Slos, StageDescription, StageWindow, Statistic, SteadyState,
    SteadyWindow, StopReason, StopRule, StoppedEarly, Timeline, TokenUsage, Warning, WorkerLost,
    WorkerResult,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn facts() -> RunFacts {
    RunFacts {
        id: "0123456789abcdef".to_owned(),
        name: "demo".to_owned(),
        started_at_unix_ns: 1_709_210_096_250_000_000,
        ended_at_unix_ns: 1_709_210_118_000_000_000,
        model: "llama-70b".to_owned(),
        endpoint: "http://127.0.0.1:8000/v1/chat/completions".to_owned(),
        api: "chat".to_owned(),
        streamed: true,
        seed: 42,
        prompt_salt: "7d3f".to_owned(),
        workers: 1,
        lanes: 2,
        token_source: "usage".to_owned(),
        tokenizer: Some("bundled".to_owned()),
        stamps: "kernel".to_owned(),
        probe_requests: 1,
        tokenstorm_version: "0.1.0".to_owned(),
        interrupted: false,
        degraded: false,
        labels: BTreeMap::from([("gpu".to_owned(), "h100".to_owned())]),
        note: Some("after the upgrade".to_owned()),
        environment: BTreeMap::from([("kernel".to_owned(), "6.1.0".to_owned())]),
    }
}

/// A request due at `at` ms: sent 40 µs later, TTFT 50 ms and a little that varies, 8 tokens 10 ms apart.
fn answer(recorder: &mut Recorder, stage: u16, at: u64) {
    answer_of(recorder, Scope { stage, class: 0 }, at);
}

fn answer_of(recorder: &mut Recorder, scope: Scope, at: u64) {
    let scheduled = ms(at);
    let sent = scheduled + Duration::from_micros(40);
    let first = sent + ms(50) + Duration::from_micros(at * 37 % 9_000);
    let (gap, finished) = (ms(10), first + ms(70));
    recorder.due(scope, scheduled);
    recorder.sent(scope, sent);
    for event in 0..8_u32 {
        let at = first + gap * event;
        let gap = (event > 0).then_some(gap);
        recorder.event(scope, &EventSample { at, gap, tokens: 1, shared: false });
    }
    let timeline = Timeline {
        scheduled,
        permitted: scheduled,
        ready: scheduled + Duration::from_micros(25),
        connected: scheduled + Duration::from_micros(30),
        sent,
        write_call: Duration::from_micros(12),
        headers: first,
        first_token: Some(first),
        last_token: Some(finished),
        first_output: Some(first),
        finished,
        events: 8,
        first_event_tokens: 1,
        output_tokens: 8,
        streamed_tokens: 8,
        input_tokens: Some(16),
        input_tokens_asked: Some(16),
        streamed: true,
        ..Timeline::default()
    };
    let usage = TokenUsage { input: 16, cached: None, output: 8, hidden_reasoning: 0 };
    let completion = Completion { usage: Some(usage), event_tokens: 8, ..Completion::default() };
    recorder.completed(scope, &timeline, &completion);
}

fn stage(name: &str, headline: bool, from_ms: u64, to_ms: u64) -> StageDescription {
    let window = StageWindow { start: ms(from_ms), end: Some(ms(to_ms)) };
    let (name, slos) = (name.to_owned(), Slos::default());
    StageDescription { name, headline, window, slos, stopped: None }
}

fn recorder(stages: &[StageDescription]) -> Recorder {
    Recorder::new(stages.iter().map(|stage| stage.window).collect())
}

fn built(stages: Vec<StageDescription>, merged: Interval) -> RunRecord {
    let mut series = Series::new();
    series.push(0..1, &merged);
    let worker = WorkerResult {
        ordinal: 0,
        host: "bench-1".to_owned(),
        incarnation: 7,
        books: merged.books(),
        share: Some(1.0),
        generator_lag_p50_us: Some(10),
        generator_lag_p99_us: Some(25),
        generator_lag_max_us: Some(40),
        ttft_p50_us: Some(50_000),
        snapshots: 21,
        start_skew_us: 140,
        clock_offset_us: -35,
        clock_error_us: 60,
        cpu_seconds: Some(1.5),
        lost: None,
    };
    let workers = vec![worker];
    RunRecord {
        facts: facts(),
        stages,
        classes: Vec::new(),
        targets: Vec::new(),
        turns: Vec::new(),
        workers,
        merged,
        series,
        warnings: Vec::new(),
        failures: Vec::new(),
        slos: metrics::Slos::default(),
        stopped: None,
    }
}

/// One of each kind.
pub(crate) fn all() -> [RunResult; 6] {
    [one_stage(), troubled(), all_failed(), demanded(), classes(), sessions()]
}

/// 20 s at 100 requests a second, nothing wrong.
pub(crate) fn one_stage() -> RunResult {
    let stages = vec![stage("hold", true, 0, 20_000)];
    let mut recorder = recorder(&stages);
    (0..2_000).for_each(|n| answer(&mut recorder, 0, n * 10));
    RunResult::build(built(stages, recorder.take())).unwrap()
}

/// Warm-up and two stages, failures, a cap, a lost worker, chunks of several tokens, few samples, warnings.
pub(crate) fn troubled() -> RunResult {
    let stages = vec![
        stage("warmup", false, 0, 2_000),
        stage("low", true, 2_000, 6_000),
        stage("high", true, 6_000, 10_000),
    ];
    let mut recorder = recorder(&stages);
    (0..20).for_each(|n| answer(&mut recorder, 0, n * 100));
    (0..40).for_each(|n| answer(&mut recorder, 1, 2_000 + n * 100));
    (0..400).for_each(|n| answer(&mut recorder, 2, 6_000 + n * 10));
    let high = Scope { stage: 2, class: 0 };
    for n in 0..30_u64 {
        recorder.due(high, ms(7_000 + n));
        match n {
            0..12 => recorder.failed(high, FailureClass::Status(503), ms(7_100), Some(ms(90)), 0),
            12..20 => recorder.failed(high, FailureClass::Timeout, ms(9_000), Some(ms(1_900)), 3),
            20..26 => recorder.never_permitted(high, ms(7_000 + n)),
            _ => recorder.cancelled(high, 2),
        }
    }
    recorder
        .note(high, &Notes { token_comparisons: 10, token_disagreements: 10, ..Notes::default() });
    let mut merged = recorder.take();
    let books = &mut merged.scopes.entry(high).or_default().books;
    books.due += 5;
    books.lost = Lost { in_flight_at_last_snapshot: 3, due_after_last_snapshot: 2 };
    let mut run = built(stages, merged);
    run.workers[0].lost = Some(WorkerLost {
        at: ms(9_500),
        taken_over_at: None,
        in_flight_at_last_snapshot: 3,
        due_after_last_snapshot: 2,
        without_owner: 0,
    });
    run.warnings = vec![Warning::new(
        "prompts_repeat",
        "the data set was used up after 300 requests and began again: the server's prefix cache \
         may answer the rest; use a larger one",
    )];
    RunResult::build(run).unwrap()
}

/// A closed loop whose requests all failed, not streamed.
pub(crate) fn all_failed() -> RunResult {
    let stages = vec![StageDescription {
        name: "hold".to_owned(),
        headline: true,
        window: StageWindow { start: ms(0), end: None },
        slos: Slos::default(),
        stopped: None,
    }];
    let mut recorder = recorder(&stages);
    for n in 0..4 {
        recorder.due(Scope::default(), ms(n * 10));
        recorder.failed(Scope::default(), FailureClass::Connect, ms(n * 10 + 5), None, 0);
    }
    let mut run = built(stages, recorder.take());
    run.facts.streamed = false;
    run.facts.token_source = "none".to_owned();
    let mut result = RunResult::build(run).unwrap();
    result.seconds.truncate(1);
    for stage in &mut result.stages {
        stage.distributions = BTreeMap::new();
    }
    result
}

/// An hour of ten stages and fifty workers, some 1,200 points: the largest page that must open at once.
pub(crate) fn an_hour() -> RunResult {
    let stages: Vec<_> = (0..10_u64)
        .map(|n| stage(&format!("step-{n}"), true, n * 360_000, (n + 1) * 360_000))
        .collect();
    let mut recorder = recorder(&stages);
    for (n, index) in (0..10_u64).zip(0_u16..) {
        (0..2_000).for_each(|k| answer(&mut recorder, index, n * 360_000 + k * 170));
    }
    let mut run = built(stages, recorder.take());
    run.workers = (0..50_u32)
        .map(|ordinal| {
            let host = format!("bench-{ordinal}");
            WorkerResult { ordinal, host, share: Some(0.02), ..run.workers[0].clone() }
        })
        .collect();
    let mut result = RunResult::build(run).unwrap();
    let point = result.seconds[0].clone();
    result.seconds = (0..1_200_u32)
        .map(|n| {
            let mut point = SeriesPoint { second: n * 3, seconds: 3, ..point.clone() };
            let wave = u64::from(n * 7_919 % 1_000);
            point.counts.due = 300 + wave;
            point.counts.sent = 300 + wave;
            point.counts.completed = 290 + wave;
            point.counts.failed = u64::from(n % 97 == 0) * 5;
            point.counts.in_flight_max = 100 + wave / 3;
            for figures in point.percentiles.values_mut() {
                figures.count = 1_000;
                let waved = |us: Option<u64>, factor| Some(us.unwrap_or(50_000) + wave * factor);
                figures.p50 = waved(figures.p50, 20);
                figures.p90 = waved(figures.p90, 40);
                figures.p99 = waved(figures.p99, 90);
            }
            point
        })
        .collect();
    result
}

/// Two classes, one with an objective that it misses, on two targets.
pub(crate) fn classes() -> RunResult {
    let stages = vec![stage("hold", true, 0, 20_000)];
    let mut recorder = recorder(&stages);
    for n in 0..2_000_u64 {
        // Cells: class × target; of three chat requests one goes to the canary, and so on.
        let (class, target) = (u16::from(n % 4 == 0), u16::from(n % 3 == 0));
        answer_of(&mut recorder, Scope { stage: 0, class: class * 2 + target }, n * 10);
    }
    let mut run = built(stages, recorder.take());
    let figure = Figure::Of(Metric::Ttft, Statistic::Percentile(5_000));
    let missed = Slos { limits: vec![Slo { figure, limit: 1_000.0 }], ..Slos::default() };
    let group = |name: &str, share, cells: [u16; 2], slos| GroupDescription {
        name: name.to_owned(),
        share,
        cells: cells.to_vec(),
        slos,
    };
    run.classes =
        vec![group("chat", 0.75, [0, 1], Slos::default()), group("batch", 0.25, [2, 3], missed)];
    run.targets = vec![
        group("stable", 0.667, [0, 2], Slos::default()),
        group("canary", 0.333, [1, 3], Slos::default()),
    ];
    RunResult::build(run).unwrap()
}

/// 1,000 sessions of two turns, of which one in ten was cut before the second and one was lost with it.
pub(crate) fn sessions() -> RunResult {
    let stages = vec![stage("hold", true, 0, 20_000)];
    let mut recorder = recorder(&stages);
    for n in 0..1_000_u64 {
        let [first, second] = [0, 1].map(|class| Scope { stage: 0, class });
        answer_of(&mut recorder, first, n * 10);
        let cut = n % 10 == 0;
        if !cut {
            answer_of(&mut recorder, second, n * 10 + 200);
        }
        let notes = Notes {
            sessions_begun: 1,
            sessions_completed: u64::from(!cut),
            sessions_cut: u64::from(cut && n > 0),
            later_turns: 1,
            ..Notes::default()
        };
        recorder.note(first, &notes);
    }
    let mut run = built(stages, recorder.take());
    run.turns = (0..2_u16)
        .map(|turn| GroupDescription {
            name: format!("turn {}", turn + 1),
            share: [0.526, 0.474][usize::from(turn)],
            cells: vec![turn],
            slos: Slos::default(),
        })
        .collect();
    RunResult::build(run).unwrap()
}

/// Objectives of every outcome, an early end, a steady part.
pub(crate) fn demanded() -> RunResult {
    let stages = vec![stage("hold", true, 0, 20_000)];
    let per_request = vec![RequestLimit { metric: Metric::Ttft, limit: 54_500 }];
    let mut recorder = recorder(&stages).with_request_limits(per_request.clone());
    (0..200).for_each(|n| answer(&mut recorder, 0, n * 100));
    let mut run = built(stages, recorder.take());
    let ttft = |scaled, limit| {
        let figure = Figure::Of(Metric::Ttft, Statistic::Percentile(scaled));
        Slo { figure, limit }
    };
    let goodput = Slo { figure: Figure::Rate(RateFigure::Goodput), limit: 9.0 };
    let limits = vec![ttft(9_500, 60_000.0), ttft(9_990, 60_000.0), goodput];
    run.slos = Slos { limits, per_request };
    let reason = StopReason {
        rule: StopRule::Overload,
        stage: 0,
        from_second: 6,
        to_second: 16,
        figure: 0.25,
        limit: 0.05,
    };
    run.stopped = Some(StoppedEarly { at: ms(20_000), reason });
    let mut result = RunResult::build(run).unwrap();
    let point =
        PointPercentiles { count: 150, p50: Some(54_000), p90: Some(58_000), p99: Some(59_000) };
    result.steady = SteadyState::From(SteadyWindow {
        by: Metric::Ttft,
        start: ms(5_000),
        end: ms(20_000),
        throughput: 10.0,
        tokens_per_second: 80.0,
        percentiles: BTreeMap::from([(Metric::Ttft, point)]),
    });
    result
}
