//! A worker's records on its disk, in segments, until the coordinator has them.
//!
//! A segment is some hundred lines of JSON, compressed as one member of a gzip file, with its count and its checksum: it
//! fits into one message, so a transfer that was cut goes on with the next segment, and segments of all workers one
//! after the other are one file that any tool reads. The file has no name: when its process ends, however it ends, the
//! room is free again. What it may take is limited, and a disk is never filled: what has no room is dropped and counted.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use metrics::{Gaps, RecordLine, RecordNames, RequestRecord};
use nix::sys::statvfs::fstatvfs;
use protocol::{RecordSegment, RecordsAccount, Refusal, WorkerId};
use workload::{Plan, RecordPlan, Sampling};

use super::RecordTaker;

/// Lines of a segment before compression; with the longest line they still fit into one message.
const SEGMENT_BYTES: usize = 192 << 10;
/// Left free on a disk, whatever the limit.
const LEFT_FREE_BYTES: u64 = 64 << 20;
/// When a segment is asked for that is still being written.
const NOT_YET: Duration = Duration::from_millis(200);

/// What has been written, for those who ask; shared with the one who writes.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Option<File>,
    most_bytes: u64,
    table: Mutex<Table>,
}

/// Where everything is.
#[derive(Debug, Default)]
struct Table {
    segments: Vec<Segment>,
    bytes: u64,
    written: u64,
    dropped_by_queue: u64,
    dropped_by_disk: u64,
    problem: Option<String>,
    closed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    offset: u64,
    bytes: usize,
    records: u32,
    crc32c: u32,
}

impl Spool {
    /// A file of at most so many bytes on the disk of a folder. Where none can be made, all is dropped, and why is said.
    pub(crate) fn create(folder: &Path, most_bytes: u64) -> Self {
        let made = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
        let (file, problem) = match made {
            Ok(file) => (Some(file), None),
            Err(error) => {
                let line = format!("no file for records in {}: {error}", folder.display());
                tracing::warn!("{line}");
                (None, Some(line))
            }
        };
        Self { file, most_bytes, table: Mutex::new(Table { problem, ..Table::default() }) }
    }

    /// One segment; after the last one the account alone.
    ///
    /// # Errors
    /// They are still being written, or cannot be read.
    pub(crate) fn segment(&self, number: u32) -> Result<RecordSegment, Refusal> {
        let (account, segment) = {
            let table = self.table();
            if !table.closed {
                let reason = "records are still being written".to_owned();
                return Err(Refusal { reason, retry_after: Some(NOT_YET) });
            }
            let place = usize::try_from(number).unwrap_or(usize::MAX);
            (table.account(), table.segments.get(place).copied())
        };
        let Some(segment) = segment else {
            return Ok(RecordSegment { segment: number, account, ..RecordSegment::default() });
        };
        let bytes = self.read(segment).map_err(|error| {
            Refusal::for_good(format!("segment {number} of the records cannot be read: {error}"))
        })?;
        let Segment { records, crc32c, .. } = segment;
        Ok(RecordSegment { segment: number, records, crc32c, bytes, account })
    }

    fn read(&self, segment: Segment) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; segment.bytes];
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.read_exact_at(&mut bytes, segment.offset)?;
        Ok(bytes)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a whole segment, or drops it and says why.
    fn keep(&self, bytes: &[u8], records: u32) {
        let offset = self.table().bytes;
        match self.append(bytes, offset) {
            Ok(()) => {
                let crc32c = crc32c::crc32c(bytes);
                let mut table = self.table();
                table.segments.push(Segment { offset, bytes: bytes.len(), records, crc32c });
                table.bytes += bytes.len() as u64;
                table.written += u64::from(records);
            }
            Err(reason) => self.drop_records(records.into(), reason),
        }
    }

    fn append(&self, bytes: &[u8], offset: u64) -> Result<(), String> {
        let Some(file) = &self.file else { return Err("there is no file for records".to_owned()) };
        let length = bytes.len() as u64;
        if offset + length > self.most_bytes {
            let limit = self.most_bytes >> 20;
            return Err(format!("the limit of {limit} MiB is reached (`recordOptions.maxDisk`)"));
        }
        let free = fstatvfs(file).map(|disk| disk.blocks_available() * disk.fragment_size());
        if free.is_ok_and(|free| free < LEFT_FREE_BYTES + length) {
            let left = LEFT_FREE_BYTES >> 20;
            return Err(format!("its disk is full but for the {left} MiB that are left alone"));
        }
        file.write_all_at(bytes, offset).map_err(|error| format!("cannot be written: {error}"))
    }

    fn drop_records(&self, records: u64, reason: String) {
        let mut table = self.table();
        table.dropped_by_disk += records;
        if table.problem.is_none() {
            tracing::warn!(reason, "records are dropped");
            table.problem = Some(reason);
        }
    }

    fn has_room(&self) -> bool {
        self.table().problem.is_none()
    }
}

impl Table {
    fn account(&self) -> RecordsAccount {
        RecordsAccount {
            segments: u32::try_from(self.segments.len()).unwrap_or(u32::MAX),
            written: self.written,
            dropped_by_queue: self.dropped_by_queue,
            dropped_by_disk: self.dropped_by_disk,
            problem: self.problem.clone(),
        }
    }
}

/// Writes records into a spool.
pub(crate) struct SpoolWriter {
    spool: Arc<Spool>,
    plan: Arc<Plan>,
    worker: WorkerId,
    sampling: Sampling,
    gaps: Gaps,
    line: Vec<u8>,
    segment: GzEncoder<Vec<u8>>,
    segment_bytes: usize,
    segment_records: u32,
}

impl SpoolWriter {
    pub(crate) fn new(
        spool: Arc<Spool>,
        plan: Arc<Plan>,
        worker: WorkerId,
        records: RecordPlan,
    ) -> Self {
        Self {
            spool,
            worker,
            sampling: Sampling::new(plan.seed, records.share),
            gaps: records.gaps(),
            plan,
            line: Vec::new(),
            segment: empty_segment(),
            segment_bytes: 0,
            segment_records: 0,
        }
    }

    fn seal(&mut self) {
        let records = std::mem::take(&mut self.segment_records);
        self.segment_bytes = 0;
        let whole = std::mem::replace(&mut self.segment, empty_segment());
        if records == 0 {
            return;
        }
        match whole.finish() {
            Ok(bytes) => self.spool.keep(&bytes, records),
            Err(error) => self.spool.drop_records(records.into(), error.to_string()),
        }
    }

    fn write(&mut self, record: &RequestRecord) -> io::Result<()> {
        self.line.clear();
        let names = names(&self.plan, self.worker, record);
        serde_json::to_writer(&mut self.line, &RecordLine::of(record, names, self.gaps))?;
        self.line.push(b'\n');
        self.segment.write_all(&self.line)
    }
}

fn empty_segment() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

/// By what the plan calls the record's stage, class and target.
fn names<'a>(plan: &'a Plan, worker: WorkerId, record: &RequestRecord) -> RecordNames<'a> {
    let cell = plan.cell(record.scope.class);
    let stage = plan.stages.get(usize::from(record.scope.stage));
    RecordNames {
        worker: worker.ordinal,
        stage: stage.map_or("", |stage| stage.name.as_str()),
        class: plan.classes.get(cell.class).map(|class| class.name.as_str()),
        target: plan.targets.get(cell.target).map(|target| target.name.as_str()),
        has_turns: plan.sessions.is_some(),
    }
}

impl RecordTaker for SpoolWriter {
    fn sampling(&self) -> Sampling {
        self.sampling
    }

    fn take(&mut self, record: &RequestRecord) {
        // Compressing what has no room would be work for nothing.
        if !self.spool.has_room() {
            return self.spool.drop_records(1, String::new());
        }
        if let Err(error) = self.write(record) {
            return self.spool.drop_records(1, error.to_string());
        }
        self.segment_records += 1;
        self.segment_bytes += self.line.len();
        if self.segment_bytes >= SEGMENT_BYTES {
            self.seal();
        }
    }

    fn close(&mut self, dropped: u64) {
        self.seal();
        let mut table = self.spool.table();
        table.dropped_by_queue = dropped;
        table.closed = true;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;
    use protocol::MAX_CHUNK_BYTES;
    use serde_json::json;

    use super::*;
    use crate::{lane::tests::plan, records::tests::record};

    const WORKER: WorkerId = WorkerId { ordinal: 3, incarnation: 5 };

    struct Scene {
        _folder: tempfile::TempDir,
        spool: Arc<Spool>,
        writer: SpoolWriter,
    }

    fn scene(most_bytes: u64, lists_gaps: bool) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let spool = Arc::new(Spool::create(&folder.path().join("new"), most_bytes));
        let plan = Arc::new(plan("http://t/v1", &[("load.rate", json!(1))]));
        let records = RecordPlan { share: 1.0, lists_gaps, most_bytes };
        let writer = SpoolWriter::new(Arc::clone(&spool), plan, WORKER, records);
        Scene { _folder: folder, spool, writer }
    }

    fn all(spool: &Spool) -> (Vec<u8>, RecordsAccount) {
        let mut bytes = Vec::new();
        for number in 0.. {
            let segment = spool.segment(number).unwrap();
            assert!(segment.is_whole(), "segment {number}");
            assert!(segment.bytes.len() <= MAX_CHUNK_BYTES, "{}", segment.bytes.len());
            if segment.bytes.is_empty() {
                return (bytes, segment.account);
            }
            bytes.extend(segment.bytes);
        }
        unreachable!("segments end")
    }

    fn lines(bytes: &[u8]) -> Vec<String> {
        let mut text = String::new();
        MultiGzDecoder::new(bytes).read_to_string(&mut text).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn segments_one_after_the_other_are_one_file_of_all_lines() {
        let Scene { _folder, spool, mut writer } = scene(1 << 30, false);
        (0..5_000).for_each(|number| writer.take(&record(number)));
        let early = spool.segment(0).unwrap_err();
        assert!(early.retry_after.is_some(), "{early}");
        writer.close(7);
        let (bytes, account) = all(&spool);
        let lines = lines(&bytes);
        assert_eq!(lines.len(), 5_000);
        let line: RecordLine<'_> = serde_json::from_str(&lines[4_711]).unwrap();
        assert_eq!((line.request, line.worker, line.stage.as_ref()), (4_711, 3, "hold"));
        assert_eq!((line.icl_p50_us, line.icl_max_us), (Some(2_000), Some(3_000)));
        assert!(account.segments > 1, "{account:?}");
        assert_eq!(
            (account.written, account.dropped_by_queue, account.dropped_by_disk),
            (5_000, 7, 0)
        );
    }

    #[test]
    fn the_longest_records_still_fit_into_a_message() {
        let Scene { _folder, spool, mut writer } = scene(1 << 30, true);
        for number in 0..40_u64 {
            // As hard to compress as digits are.
            let mut state = number + 1;
            let gaps = (0..metrics::MOST_GAPS).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                u32::try_from(state >> 44).unwrap()
            });
            writer.take(&RequestRecord { gaps_us: gaps.collect(), ..record(number) });
        }
        writer.close(0);
        let (bytes, account) = all(&spool);
        assert_eq!((lines(&bytes).len(), account.written), (40, 40));
    }

    #[test]
    fn what_is_beyond_the_limit_is_dropped_and_counted() {
        let Scene { _folder, spool, mut writer } = scene(100_000, false);
        (0..20_000).for_each(|number| writer.take(&record(number)));
        writer.close(0);
        let (bytes, account) = all(&spool);
        assert!(bytes.len() <= 100_000);
        assert_eq!(account.written + account.dropped_by_disk, 20_000);
        assert!(account.written > 0 && account.dropped_by_disk > 0, "{account:?}");
        assert!(account.problem.unwrap().contains("recordOptions.maxDisk"));
        assert_eq!(lines(&bytes).len() as u64, account.written);
    }

    #[test]
    fn without_a_file_all_is_dropped_and_why_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let spool = Arc::new(Spool::create(&file.path().join("below"), 1 << 30));
        let plan = Arc::new(plan("http://t/v1", &[("load.rate", json!(1))]));
        let records = RecordPlan { share: 1.0, lists_gaps: false, most_bytes: 1 << 30 };
        let mut writer = SpoolWriter::new(Arc::clone(&spool), plan, WORKER, records);
        (0..10).for_each(|number| writer.take(&record(number)));
        writer.close(0);
        let (bytes, account) = all(&spool);
        assert_eq!((bytes.len(), account.written, account.dropped_by_disk), (0, 0, 10));
        assert!(account.problem.unwrap().contains("no file for records"));
    }

    #[test]
    fn a_broken_file_is_found_by_its_checksum() {
        let Scene { _folder, spool, mut writer } = scene(1 << 30, false);
        (0..100).for_each(|number| writer.take(&record(number)));
        writer.close(0);
        spool.file.as_ref().unwrap().write_all_at(b"xyz", 50).unwrap();
        assert!(!spool.segment(0).unwrap().is_whole());
    }
}
