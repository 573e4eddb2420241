use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{
    Distribution, LiveBooks, LiveLatencies, LivePercentiles, LiveStage, Phase, Reason,
    SparseHistogram, Verdict,
};
use ratatui::{Terminal, backend::TestBackend};

use super::*;

fn percentiles(p50_us: u64, count: u64) -> LivePercentiles {
    LivePercentiles {
        count,
        p50_us: Some(p50_us),
        p90_us: Some(p50_us * 11 / 10),
        p99_us: (count >= 100).then_some(p50_us * 13 / 10),
    }
}

fn latencies(count: u64) -> LiveLatencies {
    LiveLatencies {
        ttft: percentiles(50_120, count),
        itl: percentiles(10_030, count * 60),
        e2e_latency: percentiles(650_000, count),
        schedule_lag: percentiles(120, count),
        generator_lag: percentiles(21, count),
        ..LiveLatencies::default()
    }
}

fn worker(ordinal: u32, host: &str, state: LiveState) -> LiveWorker {
    LiveWorker {
        ordinal,
        host: host.to_owned(),
        state,
        share: Some(0.25),
        books: LiveBooks { due: 1_050, ..LiveBooks::default() },
        in_flight: 18,
        generator_lag_p99_us: Some(84),
        ..LiveWorker::default()
    }
}

fn live() -> Live {
    let point = |second: u32| LivePoint {
        second,
        seconds: 1,
        sent: 90 + u64::from(second % 20),
        completed: 97,
        output_tokens: 6_208,
        in_flight_max: 60 + u64::from(second),
        latencies: latencies(100),
        ..LivePoint::default()
    };
    Live {
        name: "throughput-test".to_owned(),
        model: "llama-70b".to_owned(),
        endpoint: "http://gateway/v1/chat/completions".to_owned(),
        phase: Phase::Running,
        run_time_ms: Some(42_300),
        ends_at_ms: Some(120_000),
        time_left_ms: Some(77_700),
        stage: Some(LiveStage { name: "hold".to_owned(), index: 1, of: 2, ..LiveStage::default() }),
        asked_per_s: Some(100.0),
        last: Some(LivePoint { sent: 99, ..point(41) }),
        recent: latencies(99),
        recent_seconds: 10,
        so_far: latencies(4_100),
        books: LiveBooks {
            due: 4_200,
            completed: 4_120,
            failed: 7,
            open: 73,
            failed_by: BTreeMap::from([("status_503".to_owned(), 5), ("timeout".to_owned(), 2)]),
            ..LiveBooks::default()
        },
        in_flight: 73,
        verdict: Verdict {
            status: Status::Suspect,
            reasons: vec![Reason {
                code: "worker_lost".to_owned(),
                message: "worker 2 (node-c) is lost, and with it what it had in flight".to_owned(),
                status: Status::Suspect,
            }],
        },
        workers_expected: 4,
        workers_here: 3,
        workers: vec![
            worker(0, "node-a", LiveState::Sending),
            worker(1, "a-host-with-a-very-long-name.example", LiveState::Silent),
            worker(2, "node-c", LiveState::Lost),
            worker(3, "node-d", LiveState::Sending),
        ],
        points: Arc::new((0..42).map(point).collect()),
        ..Live::default()
    }
}

fn with_turns() -> Live {
    let turn = |name: &str, ttft_us: u64| {
        let mut ttft = Distribution::new(Metric::Ttft.kind());
        ttft.record_n(ttft_us, 20);
        LiveTurn::new(name, &SparseHistogram::from(&ttft), ttft)
    };
    let each = vec![turn("turn 1", 50_000), turn("turn 2", 55_000), turn("turn 3", 62_000)];
    Live { turns: Some(LiveTurns { each, later: turn("later turns", 60_000) }), ..live() }
}

#[test]
fn the_first_turn_and_the_later_ones_are_below_all() {
    let screen = drawn(&with_turns(), &[], 80, 24);
    let rows: Vec<_> = screen.lines().skip_while(|line| !line.contains("ttft ")).take(3).collect();
    assert!(rows[1].trim_matches(['"', ' ']).starts_with("turn 1"), "{screen}");
    assert!(rows[2].contains("later turns"), "{screen}");
    assert_eq!(
        (rows[1].matches("50.0").count(), rows[2].matches("60.0").count()),
        (4, 4),
        "{screen}"
    );
}

fn drawn(live: &Live, messages: &[&str], width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let messages: Vec<_> = messages.iter().map(|text| (*text).to_owned()).collect();
    let _frame =
        terminal.draw(|frame| draw_screen(frame, live, &messages, Palette::Colours)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn eighty_columns() {
    insta::assert_snapshot!(drawn(&live(), &[], 80, 24));
}

#[test]
fn a_wide_terminal_has_charts() {
    insta::assert_snapshot!(drawn(&live(), &["stopping: open requests are followed"], 160, 28));
}

#[test]
fn before_the_start_it_says_who_is_waited_for() {
    let waiting = Live {
        phase: Phase::Forming,
        name: "demo".to_owned(),
        workers_expected: 2,
        workers_here: 1,
        workers: vec![LiveWorker { host: "node-a".to_owned(), ..LiveWorker::default() }],
        ..Live::default()
    };
    insta::assert_snapshot!(drawn(&waiting, &["1 of 2 workers are here"], 80, 20));
}

#[test]
fn no_size_is_too_small_to_draw_on() {
    for (width, height) in [(1, 1), (5, 3), (79, 2), (120, 5), (300, 1)] {
        let _screen = drawn(&live(), &["a message"], width, height);
    }
}

#[test]
fn without_colours_nothing_is_coloured() {
    let mut terminal = Terminal::new(TestBackend::new(160, 28)).unwrap();
    let _frame = terminal.draw(|frame| draw_screen(frame, &live(), &[], Palette::Plain)).unwrap();
    let cells = terminal.backend().buffer().content();
    assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
}
