//! How a worker's records of single requests come to the coordinator: segment by segment, after its last delta.
//!
//! The coordinator asks, so that it takes no more than it can write down; a segment is known by its number, so a
//! transfer that was cut goes on where it was; and each has its count and its checksum, so what is missing is known.

use serde::{Deserialize, Serialize};

use crate::WorkerId;

/// A question for one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRecords {
    /// Whose.
    pub worker: WorkerId,
    /// Which, from 0.
    pub segment: u32,
}

/// One segment: a member of a gzip file of JSON lines, at most [`crate::MAX_CHUNK_BYTES`] of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordSegment {
    /// Which.
    pub segment: u32,
    /// Lines in it.
    pub records: u32,
    /// CRC-32C of `bytes`, as it was when they were written.
    pub crc32c: u32,
    /// The bytes; empty beyond the last segment.
    pub bytes: Vec<u8>,
    /// All that this worker has.
    pub account: RecordsAccount,
}

impl RecordSegment {
    /// Whether the bytes are those that were written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        crc32c::crc32c(&self.bytes) == self.crc32c
    }
}

/// What a worker has of records, and what it has not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsAccount {
    /// Segments, numbered from 0.
    pub segments: u32,
    /// Records in them.
    pub written: u64,
    /// Records that were dropped because their writer did not keep up.
    pub dropped_by_queue: u64,
    /// Records that were dropped at the limit of disk space, or because the disk would take no more.
    pub dropped_by_disk: u64,
    /// Why, in words.
    pub problem: Option<String>,
}

/// The coordinator has of a worker's records what it will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsTaken {
    /// Whose.
    pub worker: WorkerId,
}
