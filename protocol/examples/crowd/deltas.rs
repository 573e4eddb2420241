//! What a member ships of a second: as many histograms and samples as a real worker, of answers that nobody gave.

use std::time::Duration;

use metrics::{
    Books, Distribution, Interval, Kind, Metric, Scope, ScopeRecord, SecondCounts, WindowCounts,
};
use protocol::{Delta, Part, WorkerId, split};

/// Requests of a member that are due in each second.
pub(crate) const REQUESTS: u64 = 20;
/// Tokens of an answer, each an event.
const TOKENS: u64 = 150;
/// Histograms of a delta, as a real worker's.
const HISTOGRAMS: usize = 17;

/// What became of so many requests: all were answered.
pub(crate) fn record(requests: u64) -> ScopeRecord {
    let books = Books { due: requests, completed: requests, ..Books::default() };
    let window = WindowCounts {
        due: requests,
        sent: requests,
        completed: requests,
        output_tokens: requests * TOKENS,
        ..WindowCounts::default()
    };
    ScopeRecord { books, window, ..ScopeRecord::default() }
}

pub(crate) fn counts() -> SecondCounts {
    SecondCounts {
        due: REQUESTS,
        sent: REQUESTS,
        started: REQUESTS,
        completed: REQUESTS,
        output_tokens: REQUESTS * TOKENS,
        in_flight_max: REQUESTS,
        ..SecondCounts::default()
    }
}

/// A delta with its histograms encoded once: some three thousand samples in those of single tokens, twenty in the others.
pub(crate) fn template(worker: WorkerId) -> Part {
    let mut record = record(REQUESTS);
    // A generator of few lines; what counts is that the buckets are many and differ from member to member.
    let mut state = worker.incarnation | 1;
    for metric in Metric::ALL.into_iter().take(HISTOGRAMS) {
        let samples =
            if matches!(metric, Metric::Icl | Metric::Itl) { REQUESTS * TOKENS } else { REQUESTS };
        let mut distribution = Distribution::new(metric.kind());
        for _ in 0..samples {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let spread = state >> 44;
            distribution.record(match metric.kind() {
                Kind::Latency => 9_000 + ((spread * spread) >> 26),
                Kind::Count => 100 + spread % 100,
                Kind::Rate => 80_000 + spread % 40_000,
            });
        }
        record.distributions.insert(metric, distribution);
    }
    let mut interval = Interval::default();
    interval.scopes.insert(Scope::default(), record);
    let delta = Delta {
        interval,
        in_flight: REQUESTS,
        start_skew: Some(Duration::from_micros(100)),
        kernel_stamps: true,
        ..Delta::default()
    };
    let mut parts = split(worker, 1, delta);
    parts.remove(0)
}
