use std::time::Duration;

use super::*;
use crate::plan::curve::tests::plan;

fn view(sets: &[&str], workers: u32) -> PlanView {
    let plan = plan(sets);
    let (prompts, _) = PromptSource::open(&plan).unwrap();
    let workers = NonZeroU32::new(workers).unwrap();
    let facts =
        Facts { plan: &plan, service: Service::Elsewhere, prompts: &prompts, workers, price: None };
    facts.view(Vec::new()).unwrap()
}

const EXACT: [&str; 2] = ["prompts.inputLength.mean=100", "prompts.outputLength.mean=20"];

#[test]
fn a_constant_rate_is_counted_by_stage_and_worker() {
    let sets = ["load.rate=7", "benchmark.duration=10", "benchmark.warmup=2"];
    let view = view(&[&sets[..], &EXACT].concat(), 3);
    // 2 s and 10 s at 7 a second; 84 = 3 · 28.
    assert_eq!(view.stages.iter().map(|s| s.requests).collect::<Vec<_>>(), [Some(14), Some(70)]);
    assert_eq!(view.requests, Some(84));
    assert_eq!(view.shares, [PlannedShare { requests: Some(28), in_flight: None }; 3]);
    // Every prompt was made: 84 · 100, 84 · 20, and 7 · 100, 7 · 20 a second.
    assert_eq!(view.tokens.sampled, 84);
    assert_eq!(view.tokens.total, InOut { input: Some(8_400.0), output: Some(1_680.0) });
    assert_eq!(view.tokens.per_s, InOut { input: Some(700.0), output: Some(140.0) });
    let first: Vec<_> = view.first_due.iter().map(|due| due.as_nanos() * 7).collect();
    assert_eq!(first[0], 0);
    assert!(first[1].abs_diff(1_000_000_000) < 7, "{first:?}");
    assert!(view.warnings.is_empty());
}

#[test]
fn a_session_has_the_tokens_of_all_its_turns() {
    let sets = ["load.rate=2", "benchmark.duration=5", "sessions.turns.mean=3"];
    let view = view(&[&sets[..], &EXACT].concat(), 1);
    assert_eq!((view.requests, view.sessions.map(|told| told.turns)), (Some(10), Some(3.0)));
    // 100, then 100 + 20 + 100, then 220 + 20 + 100.
    assert_eq!(view.tokens.each, InOut { input: Some(660.0), output: Some(60.0) });
    assert_eq!(view.tokens.per_s.output, Some(120.0));
    assert_eq!(view.curve.unwrap().unit, "sessions/s");
}

#[test]
fn a_number_of_requests_ends_an_open_loop_at_its_last_due_instant() {
    let sets = ["load.rate=10", "benchmark.duration=60", "benchmark.requests=21"];
    let view = view(&[&sets[..], &EXACT].concat(), 1);
    assert_eq!((view.requests, view.last_due), (Some(21), Some(Duration::from_secs(2))));
    assert_eq!(view.tokens.total.input, Some(2_100.0));
}

#[test]
fn a_closed_loop_has_a_number_of_requests_only_where_one_is_asked_for() {
    let by_time = view(&[&["load.concurrency=4", "benchmark.duration=9"], &EXACT[..]].concat(), 1);
    assert_eq!((by_time.requests, by_time.tokens.total), (None, InOut::default()));
    assert_eq!(by_time.tokens.each, InOut { input: Some(100.0), output: Some(20.0) });
    let by_number =
        view(&[&["load.concurrency=4", "benchmark.requests=50"], &EXACT[..]].concat(), 1);
    assert_eq!((by_number.requests, by_number.last_due), (Some(50), None));
    assert_eq!(by_number.tokens.total.output, Some(1_000.0));
}

#[test]
fn slots_start_where_the_plan_has_them_once_they_are_known() {
    let sets = ["load.concurrency=4", "load.rampUp=2"];
    let starts = view(&[&sets[..], &EXACT].concat(), 1).first_due;
    assert_eq!(starts, [0, 500, 1_000, 1_500].map(Duration::from_millis));
    assert!(view(&[&["load.concurrency=4"], &EXACT[..]].concat(), 1).first_due.is_empty());
}

#[test]
fn a_cap_that_leaves_a_worker_little_is_doubtful() {
    let codes = |cap: &str, workers| {
        let view = view(&[&["load.rate=10", cap], &EXACT[..]].concat(), workers);
        view.warnings.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
    };
    assert!(codes("load.concurrency=40", 4).is_empty());
    assert!(codes("load.concurrency=4", 1).is_empty(), "one worker shares with nobody");
    // 39 over 4: 10, 10, 10, 9.
    assert!(codes("load.concurrency=39", 4)[0].contains("as few as 9"));
    assert!(codes("load.concurrency=3", 4)[0].contains("never send"));
}

#[test]
fn a_long_schedule_is_not_gone_through() {
    let view = view(&[&["load.rate=100000", "benchmark.duration=1h"], &EXACT[..]].concat(), 2);
    assert_eq!(view.requests, Some(360_000_000));
    assert_eq!(view.stages[0].requests, None);
    assert_eq!(view.tokens.total.input, Some(3.6e10));
}

#[test]
fn bursts_show_when_each_is_due() {
    let sets = ["load.type=burst", "load.rate=20", "load.burst.size=50", "benchmark.duration=20"];
    let first = view(&[&sets[..], &EXACT].concat(), 1).first_due;
    assert_eq!(first, [0, 2_500, 5_000, 7_500, 10_000].map(Duration::from_millis));
}
