//! One line a second while a run goes on: what the last seconds were like.

use std::time::Duration;

use metrics::{Live, LivePoint};

use crate::figures::{ABSENT, counted, milliseconds, or_absent, quantity, thousands};

/// The line, without a line break, under 120 columns; `None` before there is anything to tell. Latencies are in
/// milliseconds and of the last ten seconds, medians where nothing else is said.
pub fn progress_line(live: &Live) -> Option<String> {
    let last = live.last?;
    let gap = live.recent.get(live.token_gap()).and_then(|gap| gap.p50_us);
    let ttft = match live.recent.ttft.p50_us {
        Some(p50) => format!("{} p99 {}", ms(Some(p50)), ms(live.recent.ttft.p99_us)),
        None => ABSENT.to_owned(),
    };
    let lag = ms(live.recent.generator_lag.p99_us);
    let mut parts = vec![
        format!("{} {}", clock(live, &last), stage(live)),
        rate(live, &last),
        format!("{} in flight", thousands(last.in_flight_max)),
        format!("ms: ttft {ttft}, {} {}, lag p99 {lag}", live.token_gap().name(), ms(gap)),
        format!("{} tok/s", quantity_of(last.per_second(last.output_tokens))),
        format!("{} failed", thousands(live.books.failed)),
    ];
    if let Some(workers) = workers(live) {
        parts.push(workers);
    }
    Some(parts.join(" · "))
}

/// How many of the wanted workers are here, and the spares beside them; a worker alone is no news.
fn workers(live: &Live) -> Option<String> {
    let (owners, spares) = live.crew();
    let spares = (spares > 0).then(|| format!(" + {}", counted(spares.into(), "spare")));
    let is_news = live.workers_expected > 1 || spares.is_some();
    let noun = if live.workers_expected == 1 { "worker" } else { "workers" };
    is_news
        .then(|| format!("{owners}/{} {noun}{}", live.workers_expected, spares.unwrap_or_default()))
}

/// Where the run is.
pub(crate) fn stage(live: &Live) -> &str {
    match &live.stage {
        Some(stage) => &stage.name,
        None if live.run_time_ms.is_some() => "drain",
        None => live.phase.name(),
    }
}

/// Sent of what is asked, or completed where nothing is.
pub(crate) fn rate(live: &Live, last: &LivePoint) -> String {
    match live.asked_per_s {
        Some(asked) if live.turns.is_some() => {
            let sent = quantity_of(last.per_second(last.sent));
            format!("{sent} req/s of {} {}", quantity_of(asked), live.asked_unit())
        }
        Some(asked) => {
            format!("{}/{} req/s", quantity_of(last.per_second(last.sent)), quantity(asked))
        }
        None => format!("{} req/s", quantity_of(last.per_second(last.completed))),
    }
}

/// A whole number has no decimals.
pub(crate) fn quantity_of(value: f64) -> String {
    if value.fract() == 0.0 { thousands(value as u64) } else { quantity(value) }
}

pub(crate) fn ms(us: Option<u64>) -> String {
    or_absent(us, |us| milliseconds(us as f64))
}

fn clock(live: &Live, last: &LivePoint) -> String {
    let told_to = u64::from(last.second + last.seconds);
    match live.ends_at_ms.map(Duration::from_millis) {
        Some(end) if told_to <= end.as_secs() => format!("{told_to}/{} s", end.as_secs()),
        Some(_) | None => format!("{told_to} s"),
    }
}

#[cfg(test)]
mod tests {
    use metrics::{
        Distribution, LiveBooks, LiveLatencies, LivePercentiles, LiveStage, LiveTurn, LiveTurns,
        Metric, SparseHistogram,
    };

    use super::*;

    fn view() -> Live {
        let of = |p50_us, p99_us| LivePercentiles {
            count: 1_000,
            p50_us: Some(p50_us),
            p90_us: Some(p50_us),
            p99_us,
        };
        let recent = LiveLatencies {
            ttft: of(50_120, Some(61_300)),
            itl: of(10_030, None),
            generator_lag: of(20, Some(84)),
            ..LiveLatencies::default()
        };
        let last = LivePoint {
            second: 11,
            seconds: 1,
            sent: 99,
            completed: 97,
            output_tokens: 6_208,
            in_flight_max: 73,
            ..LivePoint::default()
        };
        Live {
            run_time_ms: Some(12_020),
            ends_at_ms: Some(60_000),
            stage: Some(LiveStage { name: "hold".to_owned(), ..LiveStage::default() }),
            asked_per_s: Some(100.0),
            last: Some(last),
            recent,
            so_far: recent,
            books: LiveBooks { failed: 3, ..LiveBooks::default() },
            workers_expected: 1,
            workers_here: 1,
            ..Live::default()
        }
    }

    #[test]
    fn the_last_second_in_one_line() {
        let line = progress_line(&view()).unwrap();
        insta::assert_snapshot!(line, @"12/60 s hold · 99/100 req/s · 73 in flight · ms: ttft 50.1 p99 61.3, itl 10.0, lag p99 0.084 · 6,208 tok/s · 3 failed");
        assert!(line.chars().count() <= 120);
    }

    #[test]
    fn after_the_end_there_is_nothing_to_be_a_part_of() {
        let last = LivePoint { second: 60, seconds: 1, ..LivePoint::default() };
        let drain = Live { last: Some(last), stage: None, ..view() };
        assert!(progress_line(&drain).unwrap().starts_with("61 s drain · "));
        assert_eq!(progress_line(&Live::default()), None, "there is nothing to tell yet");
    }

    #[test]
    fn two_seconds_told_at_once_are_still_rates() {
        let last = LivePoint { seconds: 2, sent: 199, ..view().last.unwrap() };
        let line = progress_line(&Live { last: Some(last), ..view() }).unwrap();
        assert!(line.contains("99.5/100 req/s") || line.contains("100/100 req/s"), "{line}");
        assert!(line.contains("3,104 tok/s"), "{line}");
    }

    #[test]
    fn sessions_that_are_asked_for_are_no_requests() {
        let turn = |name: &str| {
            let ttft = Distribution::new(Metric::Ttft.kind());
            LiveTurn::new(name, &SparseHistogram::default(), ttft)
        };
        let each = vec![turn("turn 1"), turn("turn 2")];
        let turns = Some(LiveTurns { each, later: turn("later turns") });
        let line = progress_line(&Live { turns, asked_per_s: Some(40.0), ..view() }).unwrap();
        assert!(line.contains(" · 99 req/s of 40 sessions/s · "), "{line}");
    }

    #[test]
    fn a_spare_is_none_of_the_wanted_workers() {
        let of = |workers_here, workers_expected| {
            let view = Live { workers_here, workers_expected, ..view() };
            progress_line(&view).unwrap().rsplit(" · ").next().unwrap().to_owned()
        };
        assert_eq!(of(3, 2), "2/2 workers + 1 spare");
        assert_eq!(of(3, 1), "1/1 worker + 2 spares");
        assert_eq!(of(1, 1), "3 failed", "a worker alone is no news");
    }

    #[test]
    fn before_the_first_answer_of_a_closed_loop_on_two_workers() {
        let view = Live {
            ends_at_ms: None,
            asked_per_s: None,
            recent: LiveLatencies::default(),
            workers_expected: 2,
            ..view()
        };
        insta::assert_snapshot!(progress_line(&view).unwrap(), @"12 s hold · 97 req/s · 73 in flight · ms: ttft –, itl –, lag p99 – · 6,208 tok/s · 3 failed · 1/2 workers");
    }
}
