//! Records of single requests in the results directory: `records/requests.jsonl.gz` and `records/requests.parquet`.
//!
//! They are written segment by segment as they are gathered, so that memory does not grow with the run. The lines are
//! those of the workers, byte for byte: members of a gzip file one after the other are a gzip file. The table has the
//! same columns under the same names. Both are there whole or not at all, in the order in which requests were gathered:
//! sort by `request`, or by an instant.

mod columns;
mod export;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use flate2::{Compression, write::GzEncoder};
use metrics::{Gaps, RecordLine};
use nix::sys::statvfs::fstatvfs;

use columns::Table;
pub use export::RecordsFile;

/// Their folder.
pub(crate) const RECORDS_FOLDER: &str = "records";
/// One JSON object a line.
pub(crate) const LINES_FILE: &str = "requests.jsonl.gz";
/// The same as a table.
pub(crate) const TABLE_FILE: &str = "requests.parquet";
/// Left free on the disk: the figures are written after the records.
const LEFT_FREE_BYTES: u64 = 64 << 20;
/// What a segment's lines may take when they are unpacked; honest ones take a tenth.
const MOST_UNPACKED_BYTES: u64 = 16 << 20;

/// Where the records of a run stand, if it has some.
pub fn records_file(run: &Path) -> Option<PathBuf> {
    Some(run.join(RECORDS_FOLDER).join(LINES_FILE)).filter(|path| path.is_file())
}

/// Writes the records of one run.
pub struct RecordFiles {
    folder: PathBuf,
    lines: BufWriter<File>,
    /// `None` once it is closed.
    table: Option<Table<BufWriter<File>>>,
    records: u64,
    is_whole: bool,
}

impl RecordFiles {
    /// Begins both files in a run's directory.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create(run: &Path, gaps: Gaps) -> io::Result<Self> {
        let folder = run.join(RECORDS_FOLDER);
        fs::create_dir_all(&folder)?;
        let lines = BufWriter::new(File::create(part(&folder, LINES_FILE))?);
        let table = BufWriter::new(File::create(part(&folder, TABLE_FILE))?);
        let table = Some(Table::begin(table, gaps)?);
        Ok(Self { folder, lines, table, records: 0, is_whole: false })
    }

    /// Adds a segment: one member of a gzip file of lines. How many there are.
    ///
    /// # Errors
    /// `InvalidData`: it is none, and nothing of it is kept. Others: the disk would be full.
    pub fn take(&mut self, member: &[u8]) -> io::Result<u64> {
        let disk = fstatvfs(self.lines.get_ref())?;
        let free = disk.blocks_available() * disk.fragment_size();
        if free < LEFT_FREE_BYTES + 2 * member.len() as u64 {
            let left = LEFT_FREE_BYTES >> 20;
            let line = format!("the disk is full but for the {left} MiB that are left alone");
            return Err(io::Error::new(io::ErrorKind::StorageFull, line));
        }
        let table = self.table.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        // All of it is read before any of it is kept.
        let lines = unpacked(member).map_err(no_record)?;
        let records: Vec<RecordLine<'_>> = serde_json::Deserializer::from_slice(&lines)
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(no_record)?;
        records.iter().try_for_each(|record| table.push(record))?;
        self.lines.write_all(member)?;
        self.records += records.len() as u64;
        Ok(records.len() as u64)
    }

    /// Completes both files.
    ///
    /// # Errors
    /// They cannot be written; then neither is there.
    pub fn finish(&mut self) -> io::Result<()> {
        let Some(table) = self.table.take() else { return Ok(()) };
        if self.records == 0 {
            // Nothing at all is no gzip file.
            let empty = GzEncoder::new(Vec::new(), Compression::fast()).finish()?;
            self.lines.write_all(&empty)?;
        }
        self.lines.flush()?;
        self.lines.get_ref().sync_all()?;
        table.finish()?.into_inner()?.sync_all()?;
        for name in [TABLE_FILE, LINES_FILE] {
            fs::rename(part(&self.folder, name), self.folder.join(name))?;
        }
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for RecordFiles {
    /// Halves of files help nobody, and their room may be what the figures need.
    fn drop(&mut self) {
        if !self.is_whole {
            for name in [TABLE_FILE, LINES_FILE] {
                let _ = fs::remove_file(part(&self.folder, name));
            }
            let _ = fs::remove_dir(&self.folder);
        }
    }
}

fn unpacked(member: &[u8]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    let read = GzDecoder::new(member).take(MOST_UNPACKED_BYTES).read_to_end(&mut lines)?;
    if read as u64 == MOST_UNPACKED_BYTES {
        return Err(io::Error::other("it unpacks to more than any segment has"));
    }
    Ok(lines)
}

fn no_record(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no records: {error}"))
}

fn part(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.part"))
}

/// Goes through the records of a file, in its order.
///
/// # Errors
/// It cannot be read, or `take` fails.
pub fn each_record(
    path: &Path,
    mut take: impl FnMut(&RecordLine<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut lines = BufReader::new(MultiGzDecoder::new(BufReader::new(File::open(path)?)));
    let (mut line, mut count) = (Vec::new(), 0);
    while lines.read_until(b'\n', &mut line)? > 0 {
        take(&serde_json::from_slice(&line).map_err(no_record)?)?;
        count += 1;
        line.clear();
    }
    Ok(count)
}

#[cfg(test)]
pub(crate) mod tests;
