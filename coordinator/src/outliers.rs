//! Which worker is not like the others.
//!
//! All offer parts of one schedule to one service, so what they see should be alike. One that is late, fails more
//! or waits longer than the others says something about its own machine or path, and its samples are in the
//! merged answer. Compared is with the middle of the others, so that one bad worker hides nobody; of an even number with
//! both that stand there, so that of two others one alone makes nobody an outlier (after a loss, say, when those who took
//! over are late and the dead one was not).

use metrics::{Warning, WorkerResult};

/// A lag below it is nobody's trouble, microseconds.
const LAG_FLOOR_US: f64 = 1_000.0;
/// A lag that is so many times the others' is named.
const LAG_FACTOR: f64 = 3.0;
/// Requests of which a figure is made.
const FEWEST: u64 = 50;
/// Failures more than the others', as a share of what was started.
const ERRORS_ABOVE: f64 = 0.05;
/// TTFT p50 further than this from the others' is named, if it is also further than [`TTFT_FLOOR_US`].
const TTFT_SHARE: f64 = 0.25;
/// See [`TTFT_SHARE`], microseconds.
const TTFT_FLOOR_US: f64 = 5_000.0;

/// One warning for each worker that differs, with all in which it does.
pub(crate) fn outliers(workers: &[WorkerResult]) -> Vec<Warning> {
    let differs = |(place, worker): (usize, &WorkerResult)| {
        let others = workers.iter().enumerate().filter(|(other, _)| *other != place);
        let others: Vec<_> = others.map(|(_, other)| other).collect();
        let seen: Vec<_> = [lag(worker, &others), errors(worker, &others), ttft(worker, &others)]
            .into_iter()
            .flatten()
            .collect();
        (!seen.is_empty()).then(|| {
            let message = format!(
                "worker {} ({}) is not like the others: {}; look at its machine and its way to the target",
                worker.ordinal,
                worker.host,
                seen.join("; ")
            );
            Warning::new("worker_differs", message)
        })
    };
    workers.iter().enumerate().filter_map(differs).collect()
}

fn lag(worker: &WorkerResult, others: &[&WorkerResult]) -> Option<String> {
    let known = |worker: &WorkerResult| worker.generator_lag_p99_us.map(|us| us as f64);
    let (own, [_, theirs]) = (known(worker)?, middle(others.iter().filter_map(|o| known(o)))?);
    let late = own > LAG_FLOOR_US && own > theirs * LAG_FACTOR;
    late.then(|| {
        format!("its lag p99 is {} ms, the others' {} ms", milliseconds(own), milliseconds(theirs))
    })
}

fn errors(worker: &WorkerResult, others: &[&WorkerResult]) -> Option<String> {
    let rate = |worker: &WorkerResult| {
        let started = worker.books.started();
        let failed = worker.books.failed_total();
        (started >= FEWEST).then(|| (failed as f64) / (started as f64))
    };
    let (own, [_, theirs]) = (rate(worker)?, middle(others.iter().filter_map(|o| rate(o)))?);
    (own > theirs + ERRORS_ABOVE).then(|| {
        format!("{:.1} % of its requests failed, of the others' {:.1} %", own * 1e2, theirs * 1e2)
    })
}

fn ttft(worker: &WorkerResult, others: &[&WorkerResult]) -> Option<String> {
    let known = |worker: &WorkerResult| {
        let enough = worker.books.completed >= FEWEST;
        worker.ttft_p50_us.filter(|_| enough).map(|us| us as f64)
    };
    let (own, [low, high]) = (known(worker)?, middle(others.iter().filter_map(|o| known(o)))?);
    let theirs = own.clamp(low, high);
    let apart = (own - theirs).abs();
    let far = apart > TTFT_FLOOR_US && apart > theirs * TTFT_SHARE;
    far.then(|| {
        format!("its TTFT p50 is {} ms, the others' {} ms", milliseconds(own), milliseconds(theirs))
    })
}

/// The two values between which the median lies; of an odd number the median, twice.
fn middle(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some([sorted[last / 2], sorted[last.div_ceil(2)]])
}

/// Rounded, as in the table.
fn milliseconds(us: f64) -> String {
    format!("{:.1}", us / 1e3)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use metrics::{Books, FailureClass};

    use super::*;

    fn worker(ordinal: u32, lag_us: u64, failed: u64, ttft_us: u64) -> WorkerResult {
        let failures = BTreeMap::from([(FailureClass::Connect, failed)]);
        WorkerResult {
            ordinal,
            host: format!("host-{ordinal}"),
            incarnation: 1,
            books: Books {
                due: 100 + failed,
                completed: 100,
                failed: failures,
                ..Books::default()
            },
            share: None,
            generator_lag_p50_us: Some(10),
            generator_lag_p99_us: Some(lag_us),
            generator_lag_max_us: Some(lag_us),
            ttft_p50_us: Some(ttft_us),
            snapshots: 9,
            start_skew_us: 0,
            clock_offset_us: 0,
            clock_error_us: 0,
            cpu_seconds: None,
            lost: None,
        }
    }

    fn named(workers: &[WorkerResult]) -> Vec<String> {
        outliers(workers).into_iter().map(|warning| warning.message).collect()
    }

    #[test]
    fn equals_and_a_worker_alone_are_not_named() {
        let alike = [worker(0, 300, 1, 50_000), worker(1, 990, 3, 52_000)];
        assert!(named(&alike).is_empty());
        assert!(named(&[worker(0, 90_000, 90, 1)]).is_empty());
        assert!(named(&[]).is_empty());
    }

    #[test]
    fn who_is_late_fails_or_waits_more_than_the_others_is_named_once() {
        let fleet =
            [worker(0, 300, 0, 50_000), worker(1, 400, 1, 51_000), worker(2, 9_290, 25, 80_000)];
        let named = named(&fleet);
        assert_eq!(named.len(), 1, "{named:?}");
        let wanted = [
            "worker 2 (host-2)",
            "lag p99 is 9.3 ms, the others' 0.4 ms",
            "20.0 % of its requests failed, of the others' 1.0 %",
            "TTFT p50 is 80.0 ms, the others' 51.0 ms",
        ];
        assert!(wanted.iter().all(|words| named[0].contains(words)), "{named:?}");
    }

    #[test]
    fn of_two_others_one_alone_makes_nobody_an_outlier() {
        let heirs_of_one = [
            worker(0, 7_320, 20, 50_000),
            worker(1, 434, 0, 60_000),
            worker(2, 10_700, 22, 74_000),
        ];
        assert_eq!(named(&heirs_of_one), Vec::<String>::new());
    }

    #[test]
    fn who_is_quicker_than_the_others_is_named_too() {
        let fleet = [worker(0, 9, 0, 80_000), worker(1, 9, 0, 50_000), worker(2, 9, 0, 81_000)];
        let named = named(&fleet);
        assert!(named.len() == 1 && named[0].contains("worker 1 (host-1)"), "{named:?}");
    }
}
