use super::*;
use proptest::prelude::*;

const KINDS: [Kind; 3] = [Kind::Latency, Kind::Count, Kind::Rate];

fn recorded(kind: Kind, values: &[u64]) -> Distribution {
    let mut distribution = Distribution::new(kind);
    values.iter().for_each(|&value| distribution.record(value));
    distribution
}

fn latencies(values: &[u64]) -> Distribution {
    recorded(Kind::Latency, values)
}

fn merged(parts: &[Distribution]) -> Distribution {
    let mut total = Distribution::new(parts[0].kind());
    parts.iter().for_each(|part| total.merge(part).unwrap());
    total
}

#[test]
fn the_exact_figures_of_a_small_sample() {
    // 2, 4, 4, 4, 5, 5, 7, 9: sum 40, mean 5, squared deviations 9+1+1+1+0+0+4+16 = 32, 32 / 7 = 4.571428…
    let distribution = latencies(&[2, 4, 4, 4, 5, 5, 7, 9]);
    assert_eq!((distribution.count(), distribution.sum()), (8, Some(40)));
    assert_eq!((distribution.min(), distribution.max()), (Some(2), Some(9)));
    assert_eq!(distribution.mean(), Some(5.0));
    assert!((distribution.stddev().unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    assert_eq!(distribution.quantile(0.5), Some(4)); // ⌈0.5 × 8⌉ = 4th: 4
    assert_eq!(distribution.quantile(0.95), Some(9)); // ⌈7.6⌉ = 8th: 9
}

#[test]
fn nothing_recorded_has_no_figures() {
    let empty = Distribution::new(Kind::Latency);
    assert!(empty.is_empty());
    assert_eq!((empty.min(), empty.max(), empty.mean()), (None, None, None));
    assert_eq!((empty.stddev(), empty.quantile(0.5)), (None, None));
    assert_eq!(latencies(&[7]).stddev(), None);
}

#[test]
fn a_standard_deviation_far_from_zero_does_not_cancel() {
    // An hour in microseconds, and one more: with floats of the squares the difference would drown.
    let hour = 3_600_000_000;
    let distribution = latencies(&[hour - 1, hour, hour - 1, hour]);
    // Deviations ±0.5: 4 × 0.25 / 3.
    assert!((distribution.stddev().unwrap() - (1.0_f64 / 3.0).sqrt()).abs() < 1e-9);
}

#[test]
fn durations_are_truncated_to_whole_microseconds() {
    let mut distribution = Distribution::new(Kind::Latency);
    distribution.record_duration(Duration::from_nanos(999));
    distribution.record_duration(Duration::from_nanos(1_999));
    assert_eq!(distribution.buckets().collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    assert_eq!(distribution.below(), 0, "0 is inside for a latency");
}

#[test]
fn samples_out_of_range_are_kept_at_the_edge_and_counted() {
    let two_hours = 7_200_000_000;
    let distribution = latencies(&[1_000, two_hours]);
    assert_eq!((distribution.below(), distribution.above()), (0, 1));
    assert_eq!(distribution.max(), Some(two_hours), "the exact maximum is the true one");
    let p100 = distribution.quantile(1.0).unwrap();
    assert!((3_600_000_000..3_604_000_000).contains(&p100), "{p100}");
    let counts = recorded(Kind::Count, &[0, 1, 10_000_000, 10_000_001]);
    assert_eq!((counts.below(), counts.above(), counts.count()), (1, 1, 4));
    assert_eq!(counts.quantile(0.25), Some(0));
}

#[test]
fn sums_that_no_longer_fit_are_absent_and_stay_so() {
    let mut distribution = latencies(&[1]);
    distribution.record_n(u64::MAX, 2);
    assert_eq!(
        (distribution.sum(), distribution.mean(), distribution.stddev()),
        (None, None, None)
    );
    distribution.record(1);
    assert_eq!(distribution.sum(), None);
    assert_eq!((distribution.count(), distribution.above()), (4, 2));
}

#[test]
fn other_kinds_and_other_bounds_are_refused_before_anything_is_added() {
    let mut latency = latencies(&[5]);
    let error = latency.merge(&recorded(Kind::Count, &[5])).unwrap_err();
    assert_eq!(error, MergeError::Kind { ours: Kind::Latency, theirs: Kind::Count });
    let coarser = Distribution {
        kind: Kind::Latency,
        buckets: Buckets::Dense(
            hdrhistogram::Histogram::new_with_bounds(1, 3_600_000_000, 2).unwrap(),
        ),
        exact: Exact::EMPTY,
    };
    assert!(matches!(latency.merge(&coarser), Err(MergeError::Bounds { .. })));
    assert_eq!(latency, latencies(&[5]));
}

#[test]
fn clearing_leaves_an_empty_distribution() {
    let mut distribution = latencies(&[5, 6_000_000_000]);
    distribution.clear();
    assert_eq!(distribution, Distribution::new(Kind::Latency));
    distribution.record(5);
    assert_eq!(distribution, latencies(&[5]));
}

#[test]
fn count_above_counts_whole_buckets() {
    let distribution = latencies(&[1_000, 1_001, 3_000_000, 3_003_000]);
    assert_eq!(distribution.count_above(1_000), 3);
    assert_eq!(distribution.count_above(3_000_000), 1);
    assert_eq!(distribution.count_above(u64::MAX), 0);
}

#[test]
fn ranks_are_exact_where_floats_are_not() {
    for (permille, q) in [(500, 0.5), (900, 0.9), (950, 0.95), (990, 0.99), (999, 0.999)] {
        for count in 1..5_000_u64 {
            assert_eq!(rank(count, q), (count * permille).div_ceil(1_000), "{q} of {count}");
        }
    }
}

fn any_values() -> impl Strategy<Value = Vec<u64>> {
    // Every magnitude, a few out of range.
    prop::collection::vec((0_u32..34, any::<u64>()).prop_map(|(bits, n)| n % (1 << bits)), 0..80)
}

proptest! {
    #[test]
    fn merged_equals_recorded_in_one_place(
        parts in prop::collection::vec(any_values(), 1..6),
        kind in prop::sample::select(&KINDS),
    ) {
        let split: Vec<_> = parts.iter().map(|part| recorded(kind, part)).collect();
        prop_assert_eq!(merged(&split), recorded(kind, &parts.concat()));
    }

    #[test]
    fn merge_is_commutative_and_associative(
        a in any_values(), b in any_values(), c in any_values(),
    ) {
        let [a, b, c] = [a, b, c].map(|values| latencies(&values));
        let left = merged(&[merged(&[a.clone(), b.clone()]), c.clone()]);
        let right = merged(&[a.clone(), merged(&[b.clone(), c.clone()])]);
        prop_assert_eq!(&left, &right);
        prop_assert_eq!(left, merged(&[c, b, a]));
    }

    #[test]
    fn quantiles_of_the_merge_are_the_exact_order_statistics_within_precision(
        parts in prop::collection::vec(prop::collection::vec(0_u64..3_600_000_000, 0..60), 1..5),
        permille in 0_u64..=1_000,
    ) {
        let mut all = parts.concat();
        prop_assume!(!all.is_empty());
        all.sort_unstable();
        let total = merged(&parts.iter().map(|part| latencies(part)).collect::<Vec<_>>());
        let rank = (all.len() as u64 * permille).div_ceil(1_000).max(1);
        let exact = all[rank as usize - 1];
        let found = total.quantile(permille as f64 / 1_000.0).unwrap();
        let tolerance = (exact / 1_000).max(1);
        prop_assert!(found.abs_diff(exact) <= tolerance, "{found} for {exact}");
    }

    #[test]
    fn recording_n_times_equals_n_recordings(value in 0_u64..10_000_000_000, n in 0_u64..50) {
        let mut at_once = Distribution::new(Kind::Latency);
        at_once.record_n(value, n);
        prop_assert_eq!(at_once, latencies(&vec![value; n as usize]));
    }
}

#[test]
fn buckets_and_exact_figures_are_the_distribution_again_but_for_the_squares() {
    let mut recorded = Distribution::new(Kind::Latency);
    (0..5_000_u64).for_each(|n| recorded.record(n * n));
    let figures = ExactFigures {
        sum: recorded.sum(),
        min: recorded.min(),
        max: recorded.max(),
        below: recorded.below(),
        above: recorded.above(),
    };
    let read = Distribution::from_buckets(Kind::Latency, recorded.buckets(), figures);
    assert!(read.buckets().eq(recorded.buckets()));
    assert_eq!((read.quantile(0.99), read.max()), (recorded.quantile(0.99), recorded.max()));
    assert_eq!((read.mean(), read.stddev()), (recorded.mean(), None));
}

#[test]
fn many_quantiles_in_one_pass_are_those_that_are_asked_for_one_by_one() {
    let mut recorded = Distribution::new(Kind::Latency);
    (0..1_000_u64).for_each(|n| recorded.record(n * n * 7 % 90_000));
    let asked = [0.0, 0.001, 0.5, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0];
    let one_by_one: Vec<_> = asked.iter().filter_map(|&q| recorded.quantile(q)).collect();
    assert_eq!(recorded.quantiles(&asked), one_by_one);
    assert!(Distribution::new(Kind::Latency).quantiles(&asked).is_empty());
}
