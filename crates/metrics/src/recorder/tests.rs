use super::*;
use proptest::prelude::*;

const STAGE_0: Scope = Scope { stage: 0, class: 0 };
const STAGE_1: Scope = Scope { stage: 1, class: 0 };

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Stage 0 is [0 s, 2 s), stage 1 is [2 s, 4 s); after it comes the drain.
fn two_stages() -> Recorder {
    let window = |start, end| StageWindow { start: ms(start), end: Some(ms(end)) };
    Recorder::new(vec![window(0, 2_000), window(2_000, 4_000)])
}

fn event(at: u64, gap: Option<u64>, tokens: u32) -> EventSample {
    EventSample { at: ms(at), gap: gap.map(ms), tokens, shared: false }
}

/// Sent at once when due; first token after 100 ms; the end at `finished`.
fn answer(scheduled: u64, finished: u64, tokens: u64) -> Timeline {
    Timeline {
        scheduled: ms(scheduled),
        permitted: ms(scheduled),
        ready: ms(scheduled),
        connected: ms(scheduled),
        sent: ms(scheduled),
        headers: ms(scheduled + 50),
        first_token: Some(ms(scheduled + 100)),
        last_token: Some(ms(finished)),
        first_output: Some(ms(scheduled + 100)),
        finished: ms(finished),
        events: tokens,
        first_event_tokens: 1,
        output_tokens: tokens,
        streamed_tokens: tokens,
        input_tokens: Some(10),
        streamed: true,
        ..Timeline::default()
    }
}

fn usage(output: u64, hidden_reasoning: u64) -> Option<TokenUsage> {
    Some(TokenUsage { input: 10, cached: None, output, hidden_reasoning })
}

#[test]
fn counts_of_a_window_go_by_their_own_instant_and_books_by_the_due_one() {
    let mut recorder = two_stages();
    // Due and sent in stage 0, completed in stage 1, with tokens on both sides of the border.
    recorder.due(STAGE_0, ms(1_900));
    recorder.sent(STAGE_0, ms(1_900));
    recorder.event(STAGE_0, &event(1_999, None, 1));
    recorder.event(STAGE_0, &event(2_000, Some(1), 2));
    let completion = Completion { usage: usage(3, 0), event_tokens: 3, ..Completion::default() };
    recorder.completed(STAGE_0, &answer(1_900, 2_000, 3), &completion);
    let interval = recorder.take();

    let (first, second) = (&interval.scopes[&STAGE_0], &interval.scopes[&STAGE_1]);
    assert_eq!((first.books.due, first.books.completed), (1, 1));
    assert_eq!(second.books, crate::Books::default());
    let before = WindowCounts {
        due: 1,
        sent: 1,
        output_tokens: 1,
        input_tokens: 10,
        ..WindowCounts::default()
    };
    assert_eq!(first.window, before);
    let after = WindowCounts { completed: 1, output_tokens: 2, ..WindowCounts::default() };
    assert_eq!(second.window, after);
    assert_eq!(first.distribution(Metric::E2eLatency).unwrap().max(), Some(100_000));
    assert_eq!(interval.seconds[&1].output_tokens, 1);
    assert_eq!((interval.seconds[&2].output_tokens, interval.seconds[&2].completed), (2, 1));
}

#[test]
fn what_ends_in_the_drain_belongs_to_no_window_but_to_its_books_and_histograms() {
    let mut recorder = two_stages();
    recorder.completed(STAGE_1, &answer(3_900, 4_000, 2), &Completion::default());
    recorder.failed(STAGE_1, FailureClass::StreamCut, ms(4_500), Some(ms(700)), 4);
    let interval = recorder.take();
    let record = &interval.scopes[&STAGE_1];
    assert_eq!((record.window.completed, record.window.failed), (0, 0));
    assert_eq!((record.books.completed, record.books.failed_total()), (1, 1));
    assert_eq!(record.distribution(Metric::Ttft).unwrap().count(), 1);
    assert_eq!((record.last_completed, record.last_failed), (Some(ms(4_000)), Some(ms(4_500))));
}

#[test]
fn itl_is_recorded_once_a_token_and_icl_once_a_gap() {
    let mut recorder = two_stages();
    recorder.event(STAGE_0, &event(100, None, 5));
    recorder.event(STAGE_0, &EventSample { shared: true, ..event(130, Some(30), 3) });
    let record = recorder.take().total().unwrap();
    let icl = record.distribution(Metric::Icl).unwrap();
    let itl = record.distribution(Metric::Itl).unwrap();
    assert_eq!((icl.count(), icl.sum()), (1, Some(30_000)));
    assert_eq!((itl.count(), itl.sum()), (3, Some(30_000))); // three times 10 ms
    assert_eq!((record.notes.gaps, record.notes.shared_gaps), (1, 1));
    assert_eq!(record.window.output_tokens, 8);
}

#[test]
fn tokens_that_no_event_showed_are_spread_over_the_stream_or_at_the_end_where_none_were_streamed() {
    let mut recorder = two_stages();
    recorder.event(STAGE_0, &event(500, None, 1));
    let completion = Completion { usage: usage(12, 4), event_tokens: 1, ..Completion::default() };
    let timeline = Timeline { streamed_tokens: 8, ..answer(100, 1_500, 12) };
    recorder.completed(STAGE_0, &timeline, &completion);
    let interval = recorder.take();
    // Seven more were streamed from 0.2 to 1.5 s, and four never were.
    assert_eq!(interval.seconds[&0].output_tokens, 1 + 4);
    assert_eq!(interval.seconds[&1].output_tokens, 3 + 4);
}

#[test]
fn timed_out_and_cancelled_requests_are_censored_and_enter_no_per_request_histogram() {
    let mut recorder = two_stages();
    recorder.failed(STAGE_0, FailureClass::Timeout, ms(900), Some(ms(800)), 5);
    recorder.failed(STAGE_0, FailureClass::Connect, ms(950), None, 0);
    recorder.cancelled(STAGE_0, 3);
    recorder.not_sent(STAGE_0, NotSent::StageEnded);
    let record = recorder.take().total().unwrap();
    assert_eq!(record.notes.censored, 2);
    assert_eq!(record.notes.chunk_samples_of_unfinished, 4 + 2, "gaps, not events");
    assert_eq!(record.books.cancelled, 1);
    assert_eq!(record.books.not_sent[&NotSent::StageEnded], 1);
    let recorded: Vec<_> = record.recorded().map(|(metric, _)| metric).collect();
    assert_eq!(recorded, [Metric::E2eFailed]);
    assert_eq!(record.distribution(Metric::E2eFailed).unwrap().count(), 1);
}

#[test]
fn usage_and_events_agree_but_for_the_end_of_sequence_token() {
    let compare = |output, hidden, event_tokens| {
        let usage = usage(output, hidden);
        Completion { usage, event_tokens, ..Completion::default() }.tokens_disagree()
    };
    assert_eq!(compare(64, 0, 64), Some(false));
    assert_eq!(compare(65, 0, 64), Some(false), "the end-of-sequence token has no event");
    assert_eq!(compare(66, 0, 64), Some(true));
    assert_eq!(compare(63, 0, 64), Some(true));
    assert_eq!(compare(100, 36, 64), Some(false), "hidden reasoning has no events");
    assert_eq!(Completion::default().tokens_disagree(), None);
}

#[test]
fn the_server_counts_tokens_better_than_we_do() {
    let events = Completion { event_tokens: 5, ..Completion::default() };
    let tokenizer = Completion { tokenizer_tokens: Some(7), ..events };
    let server = Completion { usage: usage(9, 2), ..tokenizer };
    let counted = |c: Completion| (c.token_source(), c.output_tokens(), c.streamed_tokens());
    assert_eq!(counted(events), (TokenSource::Events, 5, 5));
    assert_eq!(counted(tokenizer), (TokenSource::Tokenizer, 7, 7));
    assert_eq!(counted(server), (TokenSource::Usage, 9, 7));

    let mut recorder = two_stages();
    for completion in [events, tokenizer, server] {
        recorder.completed(STAGE_0, &answer(0, 500, 5), &completion);
    }
    let notes = recorder.take().total().unwrap().notes;
    let sources = (notes.usage_requests, notes.tokenizer_requests, notes.event_counted_requests);
    assert_eq!(sources, (1, 1, 1));
    assert_eq!((notes.token_comparisons, notes.token_disagreements), (1, 1));
}

#[test]
fn an_answer_in_one_piece_has_no_events_that_its_tokens_could_disagree_with() {
    let mut recorder = two_stages();
    let completion = Completion { usage: usage(9, 0), ..Completion::default() };
    let timeline = Timeline { streamed: false, ..answer(0, 500, 9) };
    recorder.completed(STAGE_0, &timeline, &completion);
    let notes = recorder.take().total().unwrap().notes;
    assert_eq!((notes.token_comparisons, notes.usage_requests), (0, 1));
}

#[test]
fn loop_lag_is_a_percentile_of_its_own_second() {
    let mut recorder = two_stages();
    (1..=100).for_each(|n| recorder.loop_lag(0, Duration::from_micros(n)));
    recorder.loop_lag(1, Duration::from_micros(7));
    let interval = recorder.take();
    assert_eq!(interval.seconds[&0].loop_lag_p99_us, 99);
    assert_eq!(interval.seconds[&1].loop_lag_p99_us, 7);
    let record = interval.total().unwrap();
    assert_eq!(record.distribution(Metric::LoopLag).unwrap().count(), 101);
}

#[test]
fn an_open_ended_stage_holds_every_instant() {
    let mut recorder = Recorder::new(vec![StageWindow { start: ms(0), end: None }]);
    recorder.completed(STAGE_0, &answer(5_000_000, 5_001_000, 2), &Completion::default());
    assert_eq!(recorder.take().total().unwrap().window.completed, 1);
}

#[test]
fn a_cleared_interval_is_as_good_as_a_new_one() {
    let mut recorder = two_stages();
    let record = |recorder: &mut Recorder| {
        recorder.due(STAGE_0, ms(10));
        recorder.completed(STAGE_0, &answer(10, 1_000, 5), &Completion::default());
    };
    record(&mut recorder);
    let first = recorder.take();
    let mut spent = first.clone();
    spent.clear();
    assert!(spent.is_empty());
    let _nothing = recorder.swap(spent);
    record(&mut recorder);
    assert_eq!(recorder.take(), first);
    assert!(recorder.take().is_empty());
}

/// One thing that a lane can record.
#[derive(Debug, Clone)]
enum Step {
    Due(Scope, u64),
    Sent(Scope, u64),
    Event(Scope, u64, Option<u64>, u32),
    Completed(Scope, u64, u64, u64),
    Failed(Scope, u64),
    Cancelled(Scope),
    ReadLag(Scope, u64),
}

fn any_scope() -> impl Strategy<Value = Scope> {
    (0_u16..2, 0_u16..2).prop_map(|(stage, class)| Scope { stage, class })
}

fn any_step() -> impl Strategy<Value = Step> {
    let at = 0_u64..5_000;
    prop_oneof![
        (any_scope(), at.clone()).prop_map(|(scope, at)| Step::Due(scope, at)),
        (any_scope(), at.clone()).prop_map(|(scope, at)| Step::Sent(scope, at)),
        (any_scope(), at.clone(), prop::option::of(0_u64..100), 0_u32..4)
            .prop_map(|(scope, at, gap, tokens)| Step::Event(scope, at, gap, tokens)),
        (any_scope(), at.clone(), 100_u64..1_000, 0_u64..50)
            .prop_map(|(scope, at, length, tokens)| Step::Completed(scope, at, length, tokens)),
        (any_scope(), at.clone()).prop_map(|(scope, at)| Step::Failed(scope, at)),
        any_scope().prop_map(Step::Cancelled),
        (any_scope(), 0_u64..50).prop_map(|(scope, lag)| Step::ReadLag(scope, lag)),
    ]
}

fn apply(recorder: &mut Recorder, step: &Step) {
    match *step {
        Step::Due(scope, at) => recorder.due(scope, ms(at)),
        Step::Sent(scope, at) => recorder.sent(scope, ms(at)),
        Step::Event(scope, at, gap, tokens) => recorder.event(scope, &event(at, gap, tokens)),
        Step::Completed(scope, at, length, tokens) => {
            let completion = Completion { usage: usage(tokens, 0), ..Completion::default() };
            recorder.completed(scope, &answer(at, at + length, tokens), &completion);
        }
        Step::Failed(scope, at) => {
            recorder.failed(scope, FailureClass::Timeout, ms(at), Some(ms(5)), 2);
        }
        Step::Cancelled(scope) => recorder.cancelled(scope, 1),
        Step::ReadLag(scope, lag) => recorder.read_lag(scope, ms(lag)),
    }
}

fn recorded<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Interval {
    let mut recorder = two_stages();
    steps.into_iter().for_each(|step| apply(&mut recorder, step));
    recorder.take()
}

fn merged(parts: &[&Interval]) -> Interval {
    let mut total = Interval::default();
    parts.iter().for_each(|part| total.merge(part).unwrap());
    total
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_split_over_lanes_and_flushes_merges_to_what_one_lane_records(
        steps in prop::collection::vec((any_step(), 0_usize..3, any::<bool>()), 0..40),
    ) {
        let mut lanes = [two_stages(), two_stages(), two_stages()];
        let mut flushed = Vec::new();
        for (step, lane, flush) in &steps {
            apply(&mut lanes[*lane], step);
            if *flush {
                flushed.push(lanes[*lane].take());
            }
        }
        flushed.extend(lanes.iter_mut().map(Recorder::take));
        let total = merged(&flushed.iter().collect::<Vec<_>>());
        prop_assert_eq!(total, recorded(steps.iter().map(|(step, _, _)| step)));
    }

    #[test]
    fn merging_intervals_is_associative_and_commutative(
        a in prop::collection::vec(any_step(), 0..12),
        b in prop::collection::vec(any_step(), 0..12),
        c in prop::collection::vec(any_step(), 0..12),
    ) {
        let [a, b, c] = [a, b, c].map(|steps| recorded(&steps));
        let left = merged(&[&merged(&[&a, &b]), &c]);
        prop_assert_eq!(&left, &merged(&[&a, &merged(&[&b, &c])]));
        prop_assert_eq!(&left, &merged(&[&c, &a, &b]));
    }

    #[test]
    fn an_interval_survives_the_binary_codec_but_for_its_histograms(
        steps in prop::collection::vec(any_step(), 0..20),
    ) {
        let mut interval = recorded(&steps);
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(&interval, config).unwrap();
        let (back, _): (Interval, usize) =
            bincode::serde::decode_from_slice(&bytes, config).unwrap();
        interval.scopes.values_mut().for_each(|record| record.distributions.clear());
        prop_assert_eq!(back, interval);
    }
}

#[test]
fn what_was_asked_is_summed_only_with_what_was_counted() {
    let mut recorder = two_stages();
    let asked = Timeline {
        input_tokens_asked: Some(12),
        output_tokens_ordered: Some(5),
        ..answer(100, 200, 3)
    };
    let counted = Completion { usage: usage(3, 0), event_tokens: 3, ..Completion::default() };
    recorder.completed(STAGE_0, &asked, &counted);
    // Without usage there is no second side, and without a wish no first one.
    let untold = Timeline { input_tokens: None, ..asked };
    recorder.completed(STAGE_0, &untold, &Completion::default());
    recorder.completed(STAGE_0, &answer(100, 200, 3), &counted);
    let notes = recorder.take().total().unwrap().notes;
    assert_eq!((notes.input_asked, notes.input_counted), (12, 10));
    assert_eq!((notes.output_ordered, notes.output_counted), (5, 3));
}

#[test]
fn a_stage_that_a_rule_ends_counts_nothing_after_it_and_the_next_one_begins_as_planned() {
    let mut recorder = two_stages();
    recorder.end_stage_at(0, ms(1_000));
    [500, 1_000, 1_999, 2_000].into_iter().for_each(|at| recorder.sent(STAGE_0, ms(at)));
    let interval = recorder.take();
    assert_eq!(interval.scopes[&STAGE_0].window.sent, 1);
    assert_eq!(interval.scopes[&STAGE_1].window.sent, 1);
}
