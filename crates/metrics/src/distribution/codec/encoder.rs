//! Writes HDR's V2 + DEFLATE form from the occupied buckets.
//!
//! The library's serializer takes 200 KiB for the plain form of every histogram, and DEFLATE's tables as much again: fresh
//! pages, which the kernel must clear, for the few hundred bytes of a second. A worker writes seventeen histograms a second.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::{COMPRESSED_COOKIE, Distribution, EncodedDistribution, Form};
use crate::distribution::place_of;
use crate::varint;

/// Writes one distribution after the other in the same memory.
#[derive(Debug)]
pub struct Encoder {
    plain: Vec<u8>,
    deflated: Vec<u8>,
    compress: Compress,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// Takes the memory for DEFLATE's tables.
    pub fn new() -> Self {
        let compress = Compress::new(Compression::default(), true);
        Self { plain: Vec::new(), deflated: Vec::new(), compress }
    }

    /// The form that travels, byte for byte what the library writes.
    pub fn encode(&mut self, distribution: &Distribution) -> EncodedDistribution {
        let exact = &distribution.exact;
        EncodedDistribution {
            kind: distribution.kind,
            count: distribution.count(),
            sum: exact.sum,
            sum_of_squares: exact.sum_of_squares,
            min: exact.min,
            max: exact.max,
            below: exact.below,
            above: exact.above,
            histogram: self.histogram(distribution),
        }
    }

    fn histogram(&mut self, distribution: &Distribution) -> Vec<u8> {
        self.plain.clear();
        self.plain.extend_from_slice(&Form::of(distribution.kind).header);
        let counts_at = self.plain.len();
        put_counts(&mut self.plain, distribution.buckets());
        let counts_bytes = length_of(&self.plain[counts_at..]);
        self.plain[4..8].copy_from_slice(&counts_bytes);
        self.deflate();
        let mut bytes = Vec::with_capacity(8 + self.deflated.len());
        bytes.extend_from_slice(&COMPRESSED_COOKIE.to_be_bytes());
        bytes.extend_from_slice(&length_of(&self.deflated));
        bytes.extend_from_slice(&self.deflated);
        bytes
    }

    fn deflate(&mut self) {
        self.compress.reset();
        self.deflated.clear();
        loop {
            self.deflated.reserve(self.plain.len() / 2 + 64);
            let read = usize::try_from(self.compress.total_in()).unwrap_or(usize::MAX);
            let rest = &self.plain[read..];
            let status =
                self.compress.compress_vec(rest, &mut self.deflated, FlushCompress::Finish);
            if status.expect("deflating into memory has no error") == Status::StreamEnd {
                return;
            }
        }
    }
}

/// Each occupied bucket's count, zig-zag encoded; before it, if buckets in between are empty, their number as a negative one. A single empty
/// bucket is a count of zero. So is a histogram without samples.
fn put_counts(bytes: &mut Vec<u8>, buckets: impl Iterator<Item = (u64, u64)>) {
    let mut next = 0;
    for (value, count) in buckets {
        let place = place_of(value);
        match place - next {
            0 => {}
            1 => varint::put(bytes, 0),
            empty => varint::put(bytes, 2 * empty - 1),
        }
        varint::put(bytes, 2 * count);
        next = place + 1;
    }
    if next == 0 {
        varint::put(bytes, 0);
    }
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("twenty thousand buckets take far less").to_be_bytes()
}
