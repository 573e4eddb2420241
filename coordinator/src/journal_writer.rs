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

use protocol::{Record, WireError, append_frame};
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

/// The only writer of one journal; it holds the file's lock for life.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    queue: mpsc::Sender<Vec<u8>>,
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
        let (queue, waiting) = mpsc::channel();
        let (progress, durable) = watch::channel(Durable::default());
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(file, &waiting, &progress))
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { queue, appended: 0, durable })
    }

    /// Queues a record; its number, from 1.
    pub(crate) fn append(&mut self, record: &Record) -> Result<u64, JournalWriteError> {
        if let Some(reason) = &self.durable.borrow().failed {
            return Err(JournalWriteError::Write(reason.clone()));
        }
        let mut frame = Vec::new();
        append_frame(&mut frame, record)?;
        self.queue
            .send(frame)
            .map_err(|_| JournalWriteError::Write("its thread has ended".to_owned()))?;
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
        let (queue, waiting) = mpsc::channel();
        let (progress, durable) = watch::channel(Durable::default());
        let thread = thread::spawn(move || write_all(device, &waiting, &progress));
        let mut writer = JournalWriter { queue, appended: 0, durable };
        let first = writer.append(&Record::End).unwrap();
        let failure = JournalWriter::wait_for(writer.durable(), first).await;
        assert!(matches!(failure, Err(JournalWriteError::Write(_))));
        thread.join().unwrap();
        assert!(matches!(writer.append(&Record::End), Err(JournalWriteError::Write(_))));
    }
}
