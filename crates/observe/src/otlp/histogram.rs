//! A distribution of ours in the buckets of OTLP.
//!
//! Ours are HDR buckets, at most 0.1 % wide, and each goes whole into one of the collector's: a bound is exact to 0.1 % of its value. Count,
//! sum, minimum and maximum are exact. What a reader computes from the buckets is as exact as they are wide: an explicit
//! one as wide as the conventions make it, an exponential one 2^(2^-scale) − 1 of its value, and the scale is told with it.

use metrics::{Distribution, Kind};
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Histogram,
        HistogramDataPoint, exponential_histogram_data_point::Buckets, metric::Data,
    },
};

use super::settings::HistogramForm;

/// As many as an SDK has by default.
const MOST_BUCKETS: i64 = 160;
/// At scale 7 a bucket is 0.54 % wide; narrower ones would show the buckets of ours.
const FINEST_SCALE: i32 = 7;
/// From here on a bucket would be wider than everything that we record.
const COARSEST_SCALE: i32 = -4;

/// From when to when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start_unix_ns: u64,
    pub(crate) now_unix_ns: u64,
}

/// Samples since the start, in seconds or as counts; `bounds` are in the unit of the samples.
pub(crate) fn data(
    samples: &Distribution,
    bounds: &[u64],
    form: HistogramForm,
    attributes: Vec<KeyValue>,
    span: Span,
) -> Data {
    let cumulative = AggregationTemporality::Cumulative as i32;
    match form {
        HistogramForm::Explicit => Data::Histogram(Histogram {
            data_points: vec![explicit(samples, bounds, attributes, span)],
            aggregation_temporality: cumulative,
        }),
        HistogramForm::Exponential => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential(samples, attributes, span)],
            aggregation_temporality: cumulative,
        }),
    }
}

/// A recorded value in the unit that is told: seconds, or as it is.
fn told(kind: Kind, value: u64) -> f64 {
    match kind {
        Kind::Latency => value as f64 / 1e6,
        Kind::Count | Kind::Rate => value as f64,
    }
}

fn explicit(
    samples: &Distribution,
    bounds: &[u64],
    attributes: Vec<KeyValue>,
    span: Span,
) -> HistogramDataPoint {
    let kind = samples.kind();
    let mut before = 0;
    let mut bucket_counts: Vec<u64> = samples
        .cumulative(bounds)
        .into_iter()
        .map(|at_or_under| at_or_under - std::mem::replace(&mut before, at_or_under))
        .collect();
    bucket_counts.push(samples.count() - before);
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: span.start_unix_ns,
        time_unix_nano: span.now_unix_ns,
        count: samples.count(),
        sum: samples.sum().map(|sum| told(kind, sum)),
        bucket_counts,
        explicit_bounds: bounds.iter().map(|bound| told(kind, *bound)).collect(),
        min: samples.min().map(|min| told(kind, min)),
        max: samples.max().map(|max| told(kind, max)),
        ..HistogramDataPoint::default()
    }
}

fn exponential(
    samples: &Distribution,
    attributes: Vec<KeyValue>,
    span: Span,
) -> ExponentialHistogramDataPoint {
    let kind = samples.kind();
    let logs: Vec<(f64, u64)> = samples
        .buckets()
        .filter(|(value, _)| *value > 0)
        .map(|(value, count)| (told(kind, value).log2(), count))
        .collect();
    let scale = scale_for(logs.first().zip(logs.last()).map(|((low, _), (high, _))| (*low, *high)));
    let positive = buckets(&logs, scale);
    let above_zero: u64 = positive.bucket_counts.iter().sum();
    ExponentialHistogramDataPoint {
        attributes,
        start_time_unix_nano: span.start_unix_ns,
        time_unix_nano: span.now_unix_ns,
        count: samples.count(),
        sum: samples.sum().map(|sum| told(kind, sum)),
        scale,
        zero_count: samples.count() - above_zero,
        positive: Some(positive),
        negative: None,
        min: samples.min().map(|min| told(kind, min)),
        max: samples.max().map(|max| told(kind, max)),
        ..ExponentialHistogramDataPoint::default()
    }
}

/// The index of the bucket (base^i, base^(i+1)] that holds a value, by its binary logarithm; base = 2^(2^-scale).
fn index(log2: f64, scale: i32) -> i64 {
    ((log2 * f64::from(scale).exp2()).ceil() as i64) - 1
}

/// The finest scale at which the values fit.
fn scale_for(logs: Option<(f64, f64)>) -> i32 {
    let Some((low, high)) = logs else { return FINEST_SCALE };
    let fits = |scale: &i32| index(high, *scale) - index(low, *scale) < MOST_BUCKETS;
    (COARSEST_SCALE..=FINEST_SCALE).rev().find(fits).unwrap_or(COARSEST_SCALE)
}

/// Of ascending values.
fn buckets(logs: &[(f64, u64)], scale: i32) -> Buckets {
    let Some((lowest, _)) = logs.first() else { return Buckets::default() };
    let offset = index(*lowest, scale);
    let mut bucket_counts = Vec::new();
    for (log2, count) in logs {
        let place = usize::try_from(index(*log2, scale) - offset).unwrap_or(0);
        if bucket_counts.len() <= place {
            bucket_counts.resize(place + 1, 0);
        }
        bucket_counts[place] += count;
    }
    Buckets { offset: i32::try_from(offset).unwrap_or(0), bucket_counts }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: Span = Span { start_unix_ns: 1, now_unix_ns: 2 };

    fn recorded(values: &[u64]) -> Distribution {
        let mut samples = Distribution::new(Kind::Latency);
        values.iter().for_each(|value| samples.record(*value));
        samples
    }

    #[test]
    fn explicit_buckets_hold_what_is_above_one_bound_and_not_above_the_next() {
        let samples = recorded(&[400, 500, 501, 900, 5_000]);
        let point = explicit(&samples, &[500, 1_000], Vec::new(), SPAN);
        assert_eq!(point.bucket_counts, [2, 2, 1]);
        assert_eq!(point.explicit_bounds, [0.0005, 0.001]);
        assert_eq!((point.count, point.min, point.max), (5, Some(0.0004), Some(0.005)));
        assert!((point.sum.unwrap() - 0.007_301).abs() < 1e-12);
    }

    #[test]
    fn without_samples_there_are_empty_buckets() {
        let none = recorded(&[]);
        let point = explicit(&none, &[500], Vec::new(), SPAN);
        assert_eq!(
            (point.count, point.bucket_counts.as_slice(), point.min),
            (0, &[0, 0][..], None)
        );
        let point = exponential(&none, Vec::new(), SPAN);
        assert_eq!((point.count, point.zero_count), (0, 0));
    }

    #[test]
    fn a_power_of_the_base_is_the_upper_end_of_its_bucket() {
        // Scale 0: base 2, bucket 0 is (1, 2], bucket -1 is (0.5, 1].
        assert_eq!([2.0_f64, 1.0, 0.75, 2.1].map(|value| index(value.log2(), 0)), [0, -1, -1, 1]);
        // Scale 1: base √2.
        assert_eq!([2.0_f64, 1.5].map(|value| index(value.log2(), 1)), [1, 1]);
    }

    #[test]
    fn zeros_are_counted_apart() {
        let point = exponential(&recorded(&[0, 0, 1_000_000]), Vec::new(), SPAN);
        assert_eq!((point.zero_count, point.count), (2, 3));
        assert_eq!(point.positive.unwrap().bucket_counts, [1]);
    }

    #[test]
    fn what_is_wide_has_wide_buckets() {
        let scale = |values: &[u64]| exponential(&recorded(values), Vec::new(), SPAN).scale;
        assert_eq!(scale(&[20_000, 21_000]), FINEST_SCALE);
        // 1 µs to 1,000 s: 30 octaves in 160 buckets, 4 of them an octave.
        assert_eq!(scale(&[1, 1_000_000_000]), 2);
    }

    proptest! {
        #[test]
        fn every_sample_is_in_the_bucket_that_holds_its_value(
            values in prop::collection::vec(0_u64..600_000_000, 1..100)
        ) {
            let samples = recorded(&values);
            let point = exponential(&samples, Vec::new(), SPAN);
            let positive = point.positive.unwrap();
            prop_assert!(positive.bucket_counts.len() as i64 <= MOST_BUCKETS);
            prop_assert_eq!(point.zero_count + positive.bucket_counts.iter().sum::<u64>(), point.count);
            // The quantile by the buckets is the recorded one to the width of a bucket.
            let base = (-f64::from(point.scale)).exp2().exp2();
            for q in [0.5, 0.9, 0.99] {
                let product: f64 = q * point.count as f64;
                let wanted = (product - product * 1e-12).ceil().max(1.0) as u64;
                let mut seen = point.zero_count;
                let place = positive.bucket_counts.iter().position(|count| {
                    seen += count;
                    seen >= wanted
                });
                let recorded = samples.quantile(q).unwrap() as f64 / 1e6;
                if point.zero_count >= wanted {
                    prop_assert!(recorded < 1e-6);
                } else if let Some(place) = place {
                    let upper = base.powf(f64::from(positive.offset) + place as f64 + 1.0);
                    prop_assert!(recorded <= upper * 1.002 && recorded >= upper / base / 1.002, "{} {}", recorded, upper);
                }
            }
        }
    }
}
