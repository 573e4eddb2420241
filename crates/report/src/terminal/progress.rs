//! One line a second while a run goes on: what the last second was like.

use std::time::Duration;

use metrics::SecondCounts;

use crate::figures::{ABSENT, milliseconds, quantity, thousands};

/// What the line shows. Percentiles are those of the last second, over all workers.
#[derive(Debug, Clone, Default)]
pub struct ProgressView<'a> {
    /// Run time.
    pub elapsed: Duration,
    /// Its planned end, if a time and not a number of requests ends it.
    pub total: Option<Duration>,
    /// The stage that runs, `drain` after the last.
    pub stage: &'a str,
    /// Requests a second that the plan asks for now; `None` in a closed loop.
    pub asked_per_s: Option<f64>,
    /// The counters of the last second.
    pub last_second: SecondCounts,
    /// `ttft` p50 and p99.
    pub ttft: Option<(Duration, Duration)>,
    /// `itl` p50.
    pub itl_p50: Option<Duration>,
    /// `generator_lag` p99.
    pub generator_lag_p99: Option<Duration>,
    /// Requests failed so far.
    pub failed: u64,
    /// Workers heard and workers expected; shown where more than one is expected.
    pub workers: (usize, usize),
}

/// The line, without a line break, under 120 columns. Latencies are in milliseconds, medians where nothing else is said.
pub fn progress_line(view: &ProgressView<'_>) -> String {
    let seconds = &view.last_second;
    let rate = match view.asked_per_s {
        Some(asked) => format!("{}/{} req/s", thousands(seconds.sent), quantity(asked)),
        None => format!("{} req/s", thousands(seconds.completed)),
    };
    let ttft = match view.ttft {
        Some((p50, p99)) => format!("{} p99 {}", ms(Some(p50)), ms(Some(p99))),
        None => ABSENT.to_owned(),
    };
    let (itl, lag) = (ms(view.itl_p50), ms(view.generator_lag_p99));
    let mut parts = vec![
        format!("{} {}", clock(view.elapsed, view.total), view.stage),
        rate,
        format!("{} in flight", thousands(seconds.in_flight_max)),
        format!("ms: ttft {ttft}, itl {itl}, lag p99 {lag}"),
        format!("{} tok/s", thousands(seconds.output_tokens)),
        format!("{} failed", thousands(view.failed)),
    ];
    if view.workers.1 > 1 {
        parts.push(format!("{}/{} workers", view.workers.0, view.workers.1));
    }
    parts.join(" · ")
}

fn ms(duration: Option<Duration>) -> String {
    duration.map_or_else(|| ABSENT.to_owned(), |d| milliseconds(d.as_micros() as f64))
}

fn clock(elapsed: Duration, total: Option<Duration>) -> String {
    match total {
        Some(total) if elapsed <= total => format!("{}/{} s", elapsed.as_secs(), total.as_secs()),
        Some(_) | None => format!("{} s", elapsed.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> ProgressView<'static> {
        let last_second = SecondCounts {
            sent: 99,
            completed: 97,
            output_tokens: 6_208,
            in_flight_max: 73,
            ..SecondCounts::default()
        };
        ProgressView {
            elapsed: Duration::from_millis(12_020),
            total: Some(Duration::from_secs(60)),
            stage: "hold",
            asked_per_s: Some(100.0),
            last_second,
            ttft: Some((Duration::from_micros(50_120), Duration::from_micros(61_300))),
            itl_p50: Some(Duration::from_micros(10_030)),
            generator_lag_p99: Some(Duration::from_micros(84)),
            failed: 3,
            workers: (1, 1),
        }
    }

    #[test]
    fn the_last_second_in_one_line() {
        insta::assert_snapshot!(progress_line(&view()), @"12/60 s hold · 99/100 req/s · 73 in flight · ms: ttft 50.1 p99 61.3, itl 10.0, lag p99 0.084 · 6,208 tok/s · 3 failed");
        assert!(progress_line(&view()).chars().count() <= 120);
    }

    #[test]
    fn after_the_end_there_is_nothing_to_be_a_part_of() {
        let drain = ProgressView { elapsed: Duration::from_secs(61), stage: "drain", ..view() };
        assert!(progress_line(&drain).starts_with("61 s drain · "));
    }

    #[test]
    fn before_the_first_answer_of_a_closed_loop_on_two_workers() {
        let view = ProgressView {
            total: None,
            asked_per_s: None,
            ttft: None,
            itl_p50: None,
            generator_lag_p99: None,
            workers: (1, 2),
            ..view()
        };
        insta::assert_snapshot!(progress_line(&view), @"12 s hold · 97 req/s · 73 in flight · ms: ttft –, itl –, lag p99 – · 6,208 tok/s · 3 failed · 1/2 workers");
    }
}
