//! Appends records to the journal on a thread of its own, one `fdatasync` for all that waits.
//!
//! While one sync runs, records queue; the next sync takes them all. So the disk sets the pace, an
//! acknowledgement waits for one sync at most two times, and no timer is needed. After a failed write
//! nothing more is appended: what follows a hole could not be trusted.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::mpsc,
    thread,
};

use protocol::{Record, WireError, append_frame, read_journal};
use tokio::sync::watch;

/// Why the journal cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalWriteError {
    /// The file cannot be created, or somebody else's run holds it.
    #[error("the journal {path} cannot be opened: {reason}")]
    Open {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// A write or sync failed; nothing was appended since.
    #[error("the journal cannot be written: {0}")]
    Write(String),
    /// The record is no valid frame.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// How much of the journal is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durable {
    /// Records, from the first.
    pub(crate) records: u64,
    /// Why no more will follow.
    pub(crate) failed: Option<String>,
}

/// The only writer of one journal; it holds the file's lock for life. Dropped, it waits until what was queued is
/// written and the lock is free: who comes next is never refused for a thread that is about to end.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    /// Both are there until it is dropped.
    queue: Option<mpsc::Sender<Vec<u8>>>,
    thread: Option<thread::JoinHandle<()>>,
    appended: u64,
    durable: watch::Receiver<Durable>,
}

impl JournalWriter {
    /// Creates the file; it must not exist.
    pub(crate) fn create(path: &Path) -> Result<Self, JournalWriteError> {
        let failed =
            |reason: String| JournalWriteError::Open { path: path.display().to_string(), reason };
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(|error| failed(error.to_string()))?;
        file.try_lock().map_err(|error| failed(error.to_string()))?;
        Self::on(file).map_err(|error| failed(error.to_string()))
    }

    /// Goes on with a journal that another coordinator left: refused while that one holds it. Each whole
    /// record is handed over; what is torn is cut off before anything is appended.
    pub(crate) fn resume(
        path: &Path,
        on_record: impl FnMut(Record),
    ) -> Result<Self, JournalWriteError> {
        let failed =
            |reason: String| JournalWriteError::Open { path: path.display().to_string(), reason };
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(|error| failed(error.to_string()))?;
        file.try_lock().map_err(|error| failed(format!("its run still goes on ({error})")))?;
        let tail = read_journal(path, on_record).map_err(|error| failed(error.to_string()))?;
        if let Some(tail) = tail {
            tracing::warn!(bytes = tail.torn_bytes, "the journal's torn end is cut off");
            file.set_len(tail.valid_bytes).map_err(|error| failed(error.to_string()))?;
        }
        file.sync_all().map_err(|error| failed(error.to_string()))?;
        Self::on(file).map_err(|error| failed(error.to_string()))
    }

    fn on(file: File) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel();
        let (progress, durable) = watch::channel(Durable::default());
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(file, &waiting, &progress))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), appended: 0, durable })
    }

    /// Queues a record; its number, from 1.
    pub(crate) fn append(&mut self, record: &Record) -> Result<u64, JournalWriteError> {
        if let Some(reason) = &self.durable.borrow().failed {
            return Err(JournalWriteError::Write(reason.clone()));
        }
        let mut frame = Vec::new();
        append_frame(&mut frame, record)?;
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(frame).is_ok());
        if !sent {
            return Err(JournalWriteError::Write("its thread has ended".to_owned()));
        }
        self.appended += 1;
        Ok(self.appended)
    }

    /// What is on disk, as it grows.
    pub(crate) fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.clone()
    }

    /// Returns once a record is on disk.
    pub(crate) async fn wait_for(
        mut durable: watch::Receiver<Durable>,
        record: u64,
    ) -> Result<(), JournalWriteError> {
        let reached = durable
            .wait_for(|durable| durable.records >= record || durable.failed.is_some())
            .await
            .map_err(|_| JournalWriteError::Write("its thread has ended".to_owned()))?;
        match &reached.failed {
            Some(reason) if reached.records < record => {
                Err(JournalWriteError::Write(reason.clone()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}

/// The thread: ends when the writer is dropped, or at the first failure.
fn write_all(mut file: File, waiting: &mpsc::Receiver<Vec<u8>>, progress: &watch::Sender<Durable>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = first;
        let mut records = 1;
        while let Ok(next) = waiting.try_recv() {
            batch.extend_from_slice(&next);
            records += 1;
        }
        match append(&mut file, &batch) {
            Ok(()) => progress.send_modify(|durable| durable.records += records),
            Err(error) => {
                progress.send_modify(|durable| durable.failed = Some(error.to_string()));
                return;
            }
        }
    }
}

fn append(file: &mut File, batch: &[u8]) -> io::Result<()> {
    file.write_all(batch)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::Journal;

    use super::*;

    #[tokio::test]
    async fn what_is_said_to_be_durable_can_be_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut writer = JournalWriter::create(&path).unwrap();
        let records: Vec<_> =
            (0..100).map(|n| Record::Stop { at: Duration::from_secs(n) }).collect();
        let mut last = 0;
        for record in &records {
            last = writer.append(record).unwrap();
        }
        JournalWriter::wait_for(writer.durable(), last).await.unwrap();
        assert_eq!(Journal::read(&path).unwrap().records, records);
    }

    #[tokio::test]
    async fn a_journal_is_gone_on_with_after_its_torn_end_is_cut_and_never_while_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut first = JournalWriter::create(&path).unwrap();
        let number = first.append(&Record::Stop { at: Duration::from_secs(1) }).unwrap();
        JournalWriter::wait_for(first.durable(), number).await.unwrap();
        let held = JournalWriter::resume(&path, drop).unwrap_err();
        assert!(held.to_string().contains("still goes on"), "{held}");
        drop(first);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(&[9, 0, 0, 0, 1]).unwrap();
        let mut seen = 0;
        let mut second = JournalWriter::resume(&path, |_| seen += 1).unwrap();
        assert_eq!(seen, 1);
        let number = second.append(&Record::End).unwrap();
        JournalWriter::wait_for(second.durable(), number).await.unwrap();
        let journal = Journal::read(&path).unwrap();
        assert_eq!((journal.records.len(), journal.tail), (2, None));
    }

    #[test]
    fn an_existing_journal_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let _first = JournalWriter::create(&path).unwrap();
        assert!(matches!(JournalWriter::create(&path), Err(JournalWriteError::Open { .. })));
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error_and_nothing_is_appended_after_it() {
        // Every write to this device fails with "no space left".
        let device = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let mut writer = JournalWriter::on(device).unwrap();
        let first = writer.append(&Record::End).unwrap();
        let failure = JournalWriter::wait_for(writer.durable(), first).await;
        assert!(matches!(failure, Err(JournalWriteError::Write(_))));
        assert!(matches!(writer.append(&Record::End), Err(JournalWriteError::Write(_))));
    }
}
