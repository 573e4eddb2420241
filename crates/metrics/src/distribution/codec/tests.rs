use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use hdrhistogram::serialization::V2DeflateSerializer;
use proptest::prelude::*;

use super::*;

fn recorded(kind: Kind, values: &[u64]) -> Distribution {
    let mut distribution = Distribution::new(kind);
    values.iter().for_each(|&value| distribution.record(value));
    distribution
}

/// The compressed form of any plain bytes, lengths and cookie right.
fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    let deflated = encoder.finish().unwrap();
    let mut bytes = COMPRESSED_COOKIE.to_be_bytes().to_vec();
    bytes.extend(u32::try_from(deflated.len()).unwrap().to_be_bytes());
    bytes.extend(deflated);
    bytes
}

/// A latency histogram with those payload bytes as its counts, header right.
fn with_counts(payload: &[u8]) -> EncodedDistribution {
    let encoded = Distribution::new(Kind::Latency).encode();
    let mut plain = inflate(&encoded.histogram, 100).unwrap()[..PLAIN_HEADER_BYTES].to_vec();
    plain[4..8].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    plain.extend(payload);
    EncodedDistribution { histogram: compressed(&plain), ..encoded }
}

#[test]
fn an_empty_distribution_survives() {
    let empty = Distribution::new(Kind::Rate);
    assert_eq!(empty.encode().decode(), Ok(empty));
}

#[test]
fn a_number_that_cannot_be_negated_is_an_error() {
    // Nine 0xff bytes are the zig-zag form of i64::MIN: "skip 2^63 buckets".
    assert_eq!(
        with_counts(&[0xff; 9]).decode(),
        Err(DecodeError::Format("more buckets than its bounds have"))
    );
}

#[test]
fn counts_that_no_run_has_are_an_error() {
    // i64::MAX as zig-zag is 0xff…fe.
    let most = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for times in [1, 3] {
        let error = with_counts(&most.repeat(times)).decode().unwrap_err();
        assert_eq!(error, DecodeError::Format("too many samples"));
    }
}

#[test]
fn a_deflate_bomb_stops_at_the_size_of_a_full_histogram() {
    let bomb = compressed(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let encoded =
        EncodedDistribution { histogram: bomb, ..Distribution::new(Kind::Latency).encode() };
    assert_eq!(encoded.decode(), Err(DecodeError::Format("longer than its buckets")));
}

#[test]
fn the_bounds_must_be_those_of_the_kind() {
    let encoded =
        EncodedDistribution { kind: Kind::Count, ..recorded(Kind::Latency, &[5]).encode() };
    assert_eq!(encoded.decode(), Err(DecodeError::Bounds(Kind::Count)));
}

#[test]
fn figures_that_contradict_the_buckets_are_refused() {
    let good = recorded(Kind::Latency, &[5, 70_000]).encode();
    let lies = [
        EncodedDistribution { count: 3, ..good.clone() },
        EncodedDistribution { min: Some(6), ..good.clone() },
        EncodedDistribution { max: Some(60_000), ..good.clone() },
        EncodedDistribution { max: None, ..good.clone() },
        EncodedDistribution { above: 1, ..good.clone() },
        EncodedDistribution { below: 3, ..good.clone() },
        EncodedDistribution { max: Some(7_200_000_000), ..good.clone() },
        EncodedDistribution { min: Some(0), ..Distribution::new(Kind::Latency).encode() },
    ];
    for lie in lies {
        assert!(matches!(lie.decode(), Err(DecodeError::Figures(_))), "{lie:?}");
    }
}

#[test]
fn every_cut_is_an_error() {
    let good = recorded(Kind::Latency, &[1, 50, 3_000, 3_000, 900_000]).encode();
    for length in 0..good.histogram.len() {
        let cut = good.histogram[..length].to_vec();
        let encoded = EncodedDistribution { histogram: cut, ..good.clone() };
        assert!(encoded.decode().is_err(), "cut at {length}");
    }
}

fn any_values() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec((0_u32..40, any::<u64>()).prop_map(|(bits, n)| n % (1 << bits)), 0..60)
}

proptest! {
    #[test]
    fn decode_after_encode_is_identity(
        values in any_values(),
        kind in prop::sample::select(vec![Kind::Latency, Kind::Count, Kind::Rate]),
    ) {
        let distribution = recorded(kind, &values);
        prop_assert_eq!(distribution.encode().decode(), Ok(distribution));
    }

    /// Two readers of the same bytes: ours and the library's.
    #[test]
    fn the_library_writes_the_same_bytes(
        first in any_values(), second in any_values(), times in 1_u64..1 << 40,
    ) {
        let mut encoder = Encoder::new();
        for values in [first, second] {
            let mut distribution = recorded(Kind::Latency, &values);
            values.iter().take(3).for_each(|&value| distribution.record_n(value, times));
            let mut theirs = Vec::new();
            let dense = distribution.buckets.dense_form(Kind::Latency);
            let _bytes =
                V2DeflateSerializer::new().serialize(&*dense, &mut theirs).unwrap();
            prop_assert_eq!(encoder.encode(&distribution).histogram, theirs);
        }
    }

    #[test]
    fn the_library_reads_the_same_buckets(values in any_values()) {
        let encoded = recorded(Kind::Latency, &values).encode();
        let theirs: hdrhistogram::Histogram<u64> = hdrhistogram::serialization::Deserializer::new()
            .deserialize(&mut encoded.histogram.as_slice())
            .unwrap();
        let ours: Vec<_> = encoded.decode().unwrap().buckets().collect();
        let theirs: Vec<_> = theirs
            .iter_recorded()
            .map(|step| (theirs.highest_equivalent(step.value_iterated_to()), step.count_at_value()))
            .collect();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn the_binary_codec_carries_it(values in any_values()) {
        let distribution = recorded(Kind::Latency, &values);
        let config = bincode::config::standard();
        let bytes = bincode::serde::encode_to_vec(&distribution, config).unwrap();
        let (back, read): (Distribution, usize) =
            bincode::serde::decode_from_slice(&bytes, config).unwrap();
        prop_assert_eq!(read, bytes.len());
        prop_assert_eq!(back, distribution);
    }

    #[test]
    fn garbage_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let empty = Distribution::new(Kind::Latency).encode();
        let direct = EncodedDistribution { histogram: bytes.clone(), ..empty.clone() };
        prop_assert!(direct.decode().is_err());
        let inflated = EncodedDistribution { histogram: compressed(&bytes), ..empty };
        prop_assert!(inflated.decode().is_err());
    }

    #[test]
    fn garbage_counts_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = with_counts(&payload).decode();
    }

    #[test]
    fn a_flipped_byte_never_panics_and_never_changes_the_samples_unseen(
        values in prop::collection::vec(0_u64..3_600_000_000, 1..40),
        place in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        let mut encoded = recorded(Kind::Latency, &values).encode();
        let index = place.index(encoded.histogram.len());
        encoded.histogram[index] ^= flip;
        // zlib's own checksum catches what the header's checks do not.
        if let Ok(decoded) = encoded.decode() {
            prop_assert_eq!(decoded, recorded(Kind::Latency, &values));
        }
    }
}
