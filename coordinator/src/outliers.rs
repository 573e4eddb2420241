//! Which worker is not like the others.
//!
//! All offer parts of one schedule to one service, so what they see should be alike. One that is late, fails more
//! or waits longer than the others says something about its own machine or path, and its samples are in the
//! merged answer. Compared is with the median of the others, so that one bad worker hides nobody.

use metrics::{Warning, WorkerResult};

/// A lag below it is nobody's trouble, microseconds.
const LAG_FLOOR_US: u64 = 1_000;
/// A lag that is so many times the others' is named.
const LAG_FACTOR: u64 = 3;
/// Requests of which a figure is made.
const FEWEST: u64 = 50;
/// Failures more than the others', as a share of what was started.
const ERRORS_ABOVE: f64 = 0.05;
/// TTFT p50 further than this from the others' is named, if it is also further than [`TTFT_FLOOR_US`].
const TTFT_SHARE: f64 = 0.25;
/// See [`TTFT_SHARE`], microseconds.
const TTFT_FLOOR_US: u64 = 5_000;

/// One warning for each worker that differs, with all in which it does.
pub(crate) fn outliers(workers: &[WorkerResult]) -> Vec<Warning> {
    let differs = |(place, worker): (usize, &WorkerResult)| {
        let others: Vec<_> =
            workers.iter().enumerate().filter(|(other, _)| *other != place).collect();
        let others: Vec<_> = others.into_iter().map(|(_, other)| other).collect();
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
    let own = worker.generator_lag_p99_us?;
    let theirs = median(others.iter().filter_map(|other| other.generator_lag_p99_us))?;
    let late = own > LAG_FLOOR_US && own > theirs.saturating_mul(LAG_FACTOR);
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
    let own = rate(worker)?;
    let mut theirs: Vec<_> = others.iter().filter_map(|other| rate(other)).collect();
    theirs.sort_by(f64::total_cmp);
    let theirs = *theirs.get(theirs.len().checked_sub(1)? / 2)?;
    (own > theirs + ERRORS_ABOVE).then(|| {
        format!("{:.1} % of its requests failed, of the others' {:.1} %", own * 1e2, theirs * 1e2)
    })
}

fn ttft(worker: &WorkerResult, others: &[&WorkerResult]) -> Option<String> {
    let known =
        |worker: &WorkerResult| worker.ttft_p50_us.filter(|_| worker.books.completed >= FEWEST);
    let own = known(worker)?;
    let theirs = median(others.iter().filter_map(|other| known(other)))?;
    let apart = own.abs_diff(theirs);
    let far = apart > TTFT_FLOOR_US && (apart as f64) > (theirs as f64) * TTFT_SHARE;
    far.then(|| {
        format!("its TTFT p50 is {} ms, the others' {} ms", milliseconds(own), milliseconds(theirs))
    })
}

/// The lower one of an even number.
fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Rounded, as in the table.
fn milliseconds(us: u64) -> String {
    format!("{:.1}", us as f64 / 1e3)
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
            "lag p99 is 9.3 ms, the others' 0.3 ms",
            "20.0 % of its requests failed, of the others' 0.0 %",
            "TTFT p50 is 80.0 ms, the others' 50.0 ms",
        ];
        assert!(wanted.iter().all(|words| named[0].contains(words)), "{named:?}");
    }
}
