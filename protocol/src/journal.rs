//! The journal: every change of the books, in order, on disk before it is acknowledged.
//!
//! A file of frames: length (u32, little endian), CRC-32C of the content (u32, little endian), content.
//! A torn or damaged tail is where reading ends: it is reported with its offset, and what stands before it
//! is whole. Only the coordinator appends; anybody may read.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use metrics::StopReason;
use serde::{Deserialize, Serialize};
use workload::Plan;

use crate::{
    Assigned, Change, Loss, MAX_FRAME_BYTES, Part, StageEnd, WireError, WorkerId, decode, encode,
};

/// Bytes before each record's content.
const HEADER_BYTES: usize = 8;

/// One entry. Variants are the file's format: add, never reorder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// First: what is run.
    Plan {
        /// [`crate::PROTOCOL_VERSION`] of the writer.
        protocol: u32,
        /// The plan as sent to every worker.
        plan: Box<Plan>,
        /// Unix time of the run's creation, nanoseconds.
        created_unix_ns: i64,
    },
    /// The fleet: ranks are positions in this list, fixed for the run.
    Roster(Vec<(WorkerId, String)>),
    /// A worker's clock against the coordinator's.
    ClockOffset {
        /// Whose.
        worker: WorkerId,
        /// Coordinator minus worker, nanoseconds.
        offset_ns: i64,
        /// Half of the sample's round trip, nanoseconds.
        error_ns: u64,
    },
    /// Run time zero.
    Arm {
        /// On the coordinator's monotonic clock, nanoseconds.
        start_at_coordinator_ns: u64,
        /// The same instant as Unix time, nanoseconds.
        start_unix_ns: i64,
    },
    /// Part of a delta, accepted.
    Part(Part),
    /// Load stops early at this run time.
    Stop {
        /// Nothing due at or after it is offered.
        at: Duration,
    },
    /// The run is over and the books are closed.
    End,
    /// A worker that has no part of the load yet has a place.
    Spare {
        /// Which one.
        worker: WorkerId,
        /// Its host or pod name.
        host: String,
    },
    /// A worker is gone, and what changes by it; or, without a loss, classes without an owner go to a
    /// spare. One record: a loss and its change are on disk together, before either is told.
    Ownership {
        /// Who is gone.
        loss: Option<Loss>,
        /// What goes to whom.
        change: Option<Change>,
    },
    /// Another coordinator has taken over the run.
    Resumed {
        /// When, Unix time in nanoseconds.
        at_unix_ns: i64,
        /// The last change of owners that it knows of.
        epoch: u64,
    },
    /// What was found before the load: for the result, whoever writes it.
    Prepared {
        /// Requests that were sent to see whether the target answers.
        probe_requests: u64,
        /// Doubts, in words for the report.
        warnings: Vec<metrics::Warning>,
    },
    /// Closed loop: on disk before a worker is granted a round at or beyond the one named before, so that another
    /// coordinator knows the most that it can hold.
    Rounds {
        /// Which one.
        worker: WorkerId,
        /// It is granted only rounds below this, until another record says more.
        below: u64,
    },
    /// What a worker said about its inputs.
    Assigned {
        /// Which one.
        worker: WorkerId,
        /// Its words.
        assigned: Assigned,
    },
    /// A rule ends the load; on disk before anybody is told.
    StoppedByRule {
        /// Nothing due at or after this run time is offered: a whole second.
        at: Duration,
        /// Which rule, and with which figures.
        reason: StopReason,
    },
    /// A rule of their own ends stages, and the load goes on with the next one; on disk before anybody is told.
    StageStopped {
        /// Which ones, and when.
        ends: Vec<StageEnd>,
        /// Which rule, and with which figures.
        reason: StopReason,
    },
}

/// Why a journal could not be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system's answer.
    #[error("{path}: {source}")]
    Io {
        /// The journal's path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record cannot be written.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Where reading ended before the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalTail {
    /// Bytes of whole records before it.
    pub valid_bytes: u64,
    /// Bytes after them that are no whole record.
    pub torn_bytes: u64,
}

/// A journal as read.
#[derive(Debug)]
pub struct Journal {
    /// Every whole record, in order.
    pub records: Vec<Record>,
    /// A torn tail, if there is one.
    pub tail: Option<JournalTail>,
}

/// Appends one record's frame to `buffer`.
///
/// # Errors
/// A record above [`MAX_FRAME_BYTES`].
pub fn append_frame(buffer: &mut Vec<u8>, record: &Record) -> Result<(), WireError> {
    let content = encode(record)?;
    let length = u32::try_from(content.len()).map_err(|_| WireError::TooLarge(content.len()))?;
    buffer.extend_from_slice(&length.to_le_bytes());
    buffer.extend_from_slice(&crc32c::crc32c(&content).to_le_bytes());
    buffer.extend_from_slice(&content);
    Ok(())
}

/// A journal's records, read one by one: memory stays that of one record. Ends at the first that is not whole; what is
/// left then is told by [`JournalRecords::tail`].
#[derive(Debug)]
pub struct JournalRecords {
    path: PathBuf,
    reader: BufReader<File>,
    total_bytes: u64,
    valid_bytes: u64,
}

impl JournalRecords {
    /// Opens a journal.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let total_bytes = file.metadata().map_err(failed)?.len();
        let reader = BufReader::new(file);
        Ok(Self { path: path.to_owned(), reader, total_bytes, valid_bytes: 0 })
    }

    /// What has not been read: once the records have ended, a torn tail, if there is one.
    #[must_use]
    pub fn tail(&self) -> Option<JournalTail> {
        let valid_bytes = self.valid_bytes;
        let torn_bytes = self.total_bytes.saturating_sub(valid_bytes);
        (torn_bytes > 0).then_some(JournalTail { valid_bytes, torn_bytes })
    }
}

impl Iterator for JournalRecords {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        match next_record(&mut self.reader) {
            Ok(next) => next.map(|(record, bytes)| {
                self.valid_bytes += bytes;
                Ok(record)
            }),
            Err(source) => Some(Err(JournalError::Io { path: self.path.clone(), source })),
        }
    }
}

/// Reads a whole journal, handing each record to `on_record`.
///
/// # Errors
/// The file cannot be opened or read. Damage is not an error: it is the returned tail.
pub fn read_journal(
    path: &Path,
    mut on_record: impl FnMut(Record),
) -> Result<Option<JournalTail>, JournalError> {
    let mut records = JournalRecords::open(path)?;
    for record in &mut records {
        on_record(record?);
    }
    Ok(records.tail())
}

impl Journal {
    /// Reads all of it.
    ///
    /// # Errors
    /// As [`read_journal`].
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let mut records = Vec::new();
        let tail = read_journal(path, |record| records.push(record))?;
        Ok(Self { records, tail })
    }
}

/// `None` at the end of what is whole.
fn next_record(reader: &mut impl Read) -> io::Result<Option<(Record, u64)>> {
    let mut header = [0; HEADER_BYTES];
    if !fill(reader, &mut header)? {
        return Ok(None);
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
    if length > MAX_FRAME_BYTES {
        return Ok(None);
    }
    let mut content = vec![0; length];
    if !fill(reader, &mut content)? || crc32c::crc32c(&content) != checksum {
        return Ok(None);
    }
    let whole = decode(&content).ok().map(|record| (record, (HEADER_BYTES + length) as u64));
    Ok(whole)
}

/// `false` when the file ends first.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn written(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for record in records {
            append_frame(&mut bytes, record).unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Journal {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        Journal::read(file.path()).unwrap()
    }

    fn stops(count: u64) -> Vec<Record> {
        (0..count).map(|second| Record::Stop { at: Duration::from_secs(second) }).collect()
    }

    #[test]
    fn what_was_appended_is_read_back() {
        let records = stops(3);
        let journal = read(&written(&records));
        assert_eq!((journal.records, journal.tail), (records, None));
    }

    proptest! {
        #[test]
        fn a_journal_cut_anywhere_gives_the_whole_records_before_the_cut(cut in 0_usize..200) {
            let records = stops(8);
            let bytes = written(&records);
            let cut = cut.min(bytes.len());
            let journal = read(&bytes[..cut]);
            let whole = journal.records.len();
            prop_assert_eq!(&journal.records[..], &records[..whole]);
            let next = written(&records[..(whole + 1).min(records.len())]).len();
            prop_assert!(cut < next || whole == records.len());
            let torn = journal.tail.map_or(0, |tail| tail.torn_bytes);
            prop_assert_eq!(written(&records[..whole]).len() as u64 + torn, cut as u64);
        }

        #[test]
        fn one_flipped_bit_ends_the_reading_at_its_record(bit in 0_usize..800) {
            let records = stops(8);
            let mut bytes = written(&records);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let journal = read(&bytes);
            prop_assert!(journal.tail.is_some());
            prop_assert_eq!(&journal.records[..], &records[..journal.records.len()]);
        }
    }
}
