//! A distribution as bytes: HDR's own V2 + DEFLATE form, which any HdrHistogram tool reads, beside the exact figures.
//!
//! What arrives from a peer or a damaged file is checked before it is believed. The library's decoder allocates what the
//! bytes ask for, negates numbers that may not be negatable, and makes 190 KiB of every few bytes. So the bytes are inflated
//! here, under a limit, and read once into a list of the occupied buckets; the figures must agree with the buckets.

mod encoder;

pub use encoder::Encoder;

use std::io::Read;
use std::sync::OnceLock;

use flate2::read::ZlibDecoder;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use serde::{
    Deserialize, Deserializer as SerdeDeserializer, Serialize, Serializer as SerdeSerializer,
};

use super::buckets::{Buckets, empty, highest_of};
use super::{Bounds, Distribution, Exact};
use crate::metric::Kind;
use crate::sparse::SparseHistogram;
use crate::varint;

/// First word of the compressed form, and of the plain form inside it (HdrHistogram's `EncodableHistogram`: base cookie
/// | 0x10).
const COMPRESSED_COOKIE: u32 = 0x1c84_9304 | 0x10;
const PLAIN_COOKIE: u32 = 0x1c84_9303 | 0x10;
/// Cookie, payload length, normalizing offset, digits, lowest, highest, ratio.
const PLAIN_HEADER_BYTES: usize = 40;
/// A count takes at most nine bytes (LEB128 in its 64b9B form).
const MAX_COUNT_BYTES: usize = 9;

/// More samples in one distribution are refused: no run has them, and below this limit the counts of as many peers as
/// there can be add up without overflow.
const MAX_SAMPLES: u64 = 1 << 48;

/// A distribution in the form that travels and is journalled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncodedDistribution {
    /// What is counted, and so which bounds the histogram must have.
    pub kind: Kind,
    /// Number of samples; the sum of the buckets.
    pub count: u64,
    /// Sum of the samples; `None` when it did not fit.
    pub sum: Option<u64>,
    /// Sum of the squares; `None` when it did not fit.
    pub sum_of_squares: Option<u128>,
    /// Smallest sample.
    pub min: Option<u64>,
    /// Largest sample.
    pub max: Option<u64>,
    /// Samples under the range.
    pub below: u64,
    /// Samples over the range.
    pub above: u64,
    /// HDR V2 + DEFLATE.
    #[serde(with = "byte_string")]
    pub histogram: Vec<u8>,
}

/// Bytes that are no distribution of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not HDR V2 + DEFLATE, or cut short.
    #[error("not an HDR V2 + DEFLATE histogram: {0}")]
    Format(&'static str),
    /// A histogram, but with other bounds or digits than its kind's.
    #[error("the histogram's bounds or digits are not those of {0:?}")]
    Bounds(Kind),
    /// The exact figures contradict the buckets.
    #[error("the exact figures contradict the buckets: {0}")]
    Figures(&'static str),
}

impl Distribution {
    /// The form that travels. Who writes many takes one [`Encoder`] for all.
    pub fn encode(&self) -> EncodedDistribution {
        Encoder::new().encode(self)
    }
}

impl EncodedDistribution {
    /// The distribution, equal bucket by bucket to the one that was encoded. Allocates at most the inflated counts (9 bytes
    /// a bucket) and 12 bytes for each occupied one, whatever the bytes say.
    pub fn decode(&self) -> Result<Distribution, DecodeError> {
        let form = Form::of(self.kind);
        let plain = inflate(&self.histogram, form.buckets)?;
        check_header(&plain, form)?;
        let list = occupied(&plain[PLAIN_HEADER_BYTES..], form.buckets)?;
        if list.count() != self.count {
            return Err(DecodeError::Figures("the count is not the sum of the buckets"));
        }
        let decoded =
            Distribution { kind: self.kind, buckets: Buckets::Listed(list), exact: self.exact() };
        check_figures(&decoded)?;
        Ok(decoded)
    }

    fn exact(&self) -> Exact {
        Exact {
            sum: self.sum,
            sum_of_squares: self.sum_of_squares,
            min: self.min,
            max: self.max,
            below: self.below,
            above: self.above,
        }
    }
}

/// The plain form inside the compressed one, refused as soon as it is longer than any histogram of that many buckets.
fn inflate(compressed: &[u8], buckets: usize) -> Result<Vec<u8>, DecodeError> {
    let (cookie, rest) = word(compressed).ok_or(DecodeError::Format("no cookie"))?;
    let (length, deflated) = word(rest).ok_or(DecodeError::Format("no length"))?;
    if cookie != COMPRESSED_COOKIE {
        return Err(DecodeError::Format("wrong cookie"));
    }
    if usize::try_from(length) != Ok(deflated.len()) {
        return Err(DecodeError::Format("wrong length"));
    }
    let limit = PLAIN_HEADER_BYTES + buckets * MAX_COUNT_BYTES;
    let mut plain = Vec::new();
    let read = ZlibDecoder::new(deflated).take(limit as u64 + 1).read_to_end(&mut plain);
    match read {
        Err(_) => Err(DecodeError::Format("not deflated")),
        Ok(bytes) if bytes > limit => Err(DecodeError::Format("longer than its buckets")),
        Ok(bytes) if bytes < PLAIN_HEADER_BYTES => Err(DecodeError::Format("no header")),
        Ok(_) => Ok(plain),
    }
}

/// How a kind's histograms are written.
struct Form {
    kind: Kind,
    /// How many there are.
    buckets: usize,
    /// What stands in front of the counts.
    header: Vec<u8>,
}

impl Form {
    /// Made once of each kind: an empty histogram is 190 KiB.
    fn of(kind: Kind) -> &'static Self {
        static LATENCY: OnceLock<Form> = OnceLock::new();
        static COUNT: OnceLock<Form> = OnceLock::new();
        static RATE: OnceLock<Form> = OnceLock::new();
        let form = match kind {
            Kind::Latency => &LATENCY,
            Kind::Count => &COUNT,
            Kind::Rate => &RATE,
        };
        form.get_or_init(|| Self::new(kind))
    }

    fn new(kind: Kind) -> Self {
        let empty = empty(kind);
        let mut header = Vec::new();
        let _bytes =
            V2Serializer::new().serialize(&empty, &mut header).expect("an empty histogram encodes");
        header.truncate(PLAIN_HEADER_BYTES);
        Self { kind, buckets: empty.distinct_values(), header }
    }
}

fn check_header(plain: &[u8], form: &Form) -> Result<(), DecodeError> {
    let (cookie, _) = word(plain).ok_or(DecodeError::Format("no inner cookie"))?;
    if cookie != PLAIN_COOKIE {
        return Err(DecodeError::Format("wrong inner cookie"));
    }
    let (payload, _) = word(&plain[4..]).ok_or(DecodeError::Format("no inner length"))?;
    if usize::try_from(payload) != Ok(plain.len() - PLAIN_HEADER_BYTES) {
        return Err(DecodeError::Format("wrong inner length"));
    }
    // Offset, digits, bounds and ratio are those of an empty histogram of that kind, byte by byte.
    if plain[8..PLAIN_HEADER_BYTES] != form.header[8..] {
        return Err(DecodeError::Bounds(form.kind));
    }
    Ok(())
}

/// The occupied buckets. A number that is not negative is a bucket's count, another one so many empty buckets; each count
/// must be in a bucket that exists.
fn occupied(mut bytes: &[u8], buckets: usize) -> Result<SparseHistogram, DecodeError> {
    let mut list = SparseHistogram::default();
    let (mut place, mut total) = (0_u64, 0_u64);
    while !bytes.is_empty() {
        let (number, rest) =
            varint::take(bytes).ok_or(DecodeError::Format("a count is cut short"))?;
        bytes = rest;
        let zig_zag = ((number >> 1) as i64) ^ -((number & 1) as i64);
        let skipped = match u64::try_from(zig_zag) {
            Ok(count) => {
                total = total.saturating_add(count);
                if count > 0 && place < buckets as u64 {
                    list.push(highest_of(place), count);
                }
                1
            }
            Err(_) => zig_zag.unsigned_abs(),
        };
        place = place.saturating_add(skipped);
        if total > MAX_SAMPLES {
            return Err(DecodeError::Format("too many samples"));
        }
        if place > buckets as u64 {
            return Err(DecodeError::Format("more buckets than its bounds have"));
        }
    }
    Ok(list)
}

/// Minimum and maximum lie in the first and last occupied bucket, and the out-of-range counts are possible.
fn check_figures(decoded: &Distribution) -> Result<(), DecodeError> {
    let exact = &decoded.exact;
    let bounds = Bounds::of(decoded.kind);
    let (first, last) = (decoded.buckets().next(), decoded.buckets().last());
    let (Some((lowest, _)), Some((highest, _))) = (first, last) else {
        let nothing = *exact == Exact::EMPTY;
        return nothing.then_some(()).ok_or(DecodeError::Figures("figures without samples"));
    };
    let (Some(min), Some(max)) = (exact.min, exact.max) else {
        return Err(DecodeError::Figures("samples without minimum and maximum"));
    };
    if decoded.bucket_of(min) != lowest || decoded.bucket_of(max) != highest {
        return Err(DecodeError::Figures("minimum or maximum outside its bucket"));
    }
    if exact.below.checked_add(exact.above).is_none_or(|outside| outside > decoded.count()) {
        return Err(DecodeError::Figures("more samples out of range than samples"));
    }
    if (exact.above > 0) != (max > bounds.highest) || (exact.below > 0) != (min < bounds.lowest) {
        return Err(DecodeError::Figures("out-of-range samples and the range disagree"));
    }
    Ok(())
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}

impl Serialize for Distribution {
    fn serialize<S: SerdeSerializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encode().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Distribution {
    fn deserialize<D: SerdeDeserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        EncodedDistribution::deserialize(deserializer)?.decode().map_err(serde::de::Error::custom)
    }
}

/// Bytes as one byte string instead of a sequence of numbers: a tenth of the work in a binary codec.
mod byte_string {
    use std::fmt;

    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_byte_buf(ByteString)
    }

    struct ByteString;

    impl<'de> Visitor<'de> for ByteString {
        type Value = Vec<u8>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("bytes")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        /// Text formats have no byte strings.
        fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = numbers.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests;
