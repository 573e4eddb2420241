//! One run's own directory: `<root>/<name>-<UTC date-time>`.
//!
//! Results are never overwritten. The directory is made by `create_dir`, which fails where it exists, so two runs that
//! start in the same second get two directories without asking first. A file is written beside its place and renamed
//! into it: a reader sees the whole file or none.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use metrics::RunResult;
use serde_json::Value;

use crate::checksums;
use crate::html::html;
use crate::metrics_json::metrics_value;
use crate::plot::plots;
use crate::records::RECORDS_FOLDER;
use crate::server_json;
use crate::stored::StoredRun;
use crate::summary_json::summary_value;

/// The configuration as run.
pub(crate) const CONFIG_FILE: &str = "config.yaml";
/// The answer.
pub(crate) const SUMMARY_FILE: &str = "summary.json";
/// The run over time, and the histograms.
pub(crate) const METRICS_FILE: &str = "metrics.json";

/// The server's own metrics; only where somebody was asked.
pub(crate) const SERVER_FILE: &str = "server_metrics.json";

/// The page.
pub(crate) const REPORT_FILE: &str = "report.html";
/// The pictures.
pub(crate) const PLOTS_FOLDER: &str = "plots";

/// Longest name that a directory keeps of `benchmark.name`.
const MAX_NAME_BYTES: usize = 80;

/// A results directory or a file in it could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The directory.
    #[error("cannot create the results directory {path}: {source}; choose another one by --output")]
    Create {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file in it.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A report could not be made of the figures.
    #[error("cannot make {what}: {error}")]
    Render {
        /// Which one.
        what: &'static str,
        /// Why.
        error: String,
    },
    /// The run's start is no instant that a calendar knows.
    #[error("{0} seconds since 1970 is no date")]
    Date(i64),
}

/// The directory of one run.
#[derive(Debug)]
pub struct ResultsDirectory {
    path: PathBuf,
}

impl ResultsDirectory {
    /// Makes `<root>/<name>-<yyyymmdd-hhmmss>` in UTC, with `-2`, `-3`, … where it exists; `root` too if it is missing.
    pub fn create(root: &Path, name: &str, started_at_unix_s: i64) -> Result<Self, ReportError> {
        let started = Timestamp::from_second(started_at_unix_s)
            .map_err(|_| ReportError::Date(started_at_unix_s))?;
        let stem = format!("{}-{}", sanitised(name), started.strftime("%Y%m%d-%H%M%S"));
        let failed = |path: &Path, source| ReportError::Create { path: path.to_owned(), source };
        fs::create_dir_all(root).map_err(|error| failed(root, error))?;
        for attempt in 1_u64.. {
            let path = match attempt {
                1 => root.join(&stem),
                again => root.join(format!("{stem}-{again}")),
            };
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        unreachable!("a directory cannot hold 2^64 others")
    }

    /// The directory of a run that was here before.
    pub fn open(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the journal belongs.
    pub fn journal_path(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Writes `config.yaml`: the configuration as run.
    pub fn write_config(&self, yaml: &str) -> Result<(), ReportError> {
        self.write(CONFIG_FILE, |file| file.write_all(yaml.as_bytes()))
    }

    /// Writes `summary.json` and `metrics.json`, and `server_metrics.json` where the server was asked.
    pub fn write_result(&self, result: &RunResult) -> Result<(), ReportError> {
        self.write(SUMMARY_FILE, |file| write_json(file, &summary_value(result), Layout::Pretty))?;
        self.write(METRICS_FILE, |file| write_json(file, &metrics_value(result), Layout::Compact))?;
        if result.server.is_empty() {
            return Ok(());
        }
        let points = server_json::points(&result.server);
        self.write(SERVER_FILE, |file| write_json(file, &points, Layout::Compact))
    }

    /// Writes `report.html` and what `plots/` can hold, then the checksums of all files that are there.
    ///
    /// # Errors
    /// One of them cannot be made or written; those before it are there.
    pub fn write_reports(&self, run: &StoredRun) -> Result<(), ReportError> {
        let drawn = self.write_drawn(run);
        drawn.and(checksums::write(&self.path))
    }

    fn write_drawn(&self, run: &StoredRun) -> Result<(), ReportError> {
        write_file(&self.path.join(REPORT_FILE), html(run)?.as_bytes())?;
        let folder = self.path.join(PLOTS_FOLDER);
        for (name, picture) in plots(run)? {
            fs::create_dir_all(&folder)
                .map_err(|source| ReportError::Write { path: folder.clone(), source })?;
            write_file(&folder.join(format!("{name}.png")), &picture)?;
        }
        Ok(())
    }

    /// Removes the directory of a run that never began: what `create` and `write_config` made, the copy of a schedule,
    /// records without a line, and an empty journal's file. Anything else in it stays, and so does the directory.
    pub fn discard(&self) -> Result<(), ReportError> {
        let written =
            ["config.yaml", "schedule.csv", "schedule.jsonl"].map(|name| self.path.join(name));
        for path in written.into_iter().chain([self.journal_path()]) {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(ReportError::Write { path, source });
                }
                _ => {}
            }
        }
        // Nobody was asked for any: at most its files without a line.
        let records = self.path.join(RECORDS_FOLDER);
        match fs::remove_dir_all(&records) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(ReportError::Write { path: records, source });
            }
            _ => {}
        }
        match fs::remove_dir(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(ReportError::Write { path: self.path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), ReportError> {
        write_whole(&self.path.join(name), content)
    }
}

/// Writes a file that is there whole or not at all; a pipe or a device is written as it is.
///
/// # Errors
/// It cannot be written; what was there before stays.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), ReportError> {
    write_whole(path, |file| file.write_all(content))
}

/// The same, written as it comes: nothing holds the whole of it.
///
/// # Errors
/// It cannot be made or written; what was there before stays.
pub fn write_streamed(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ReportError> {
    write_whole(path, |file| content(file))
}

fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), ReportError> {
    let written = |source| ReportError::Write { path: path.to_owned(), source };
    // A pipe or a device is written to: a file in its place would be the end of it.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        let open = || File::options().write(true).open(path);
        let mut file = BufWriter::new(open().map_err(written)?);
        return content(&mut file).and_then(|()| file.flush()).map_err(written);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.part"));
    let whole = || {
        let mut file = BufWriter::new(File::create(&beside)?);
        content(&mut file)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&beside, path)
    };
    whole().map_err(|source| {
        // A torn file helps nobody, and its room may be what the next one needs. The first failure is what is told.
        let _ = fs::remove_file(&beside);
        ReportError::Write { path: path.to_owned(), source }
    })
}

/// How a JSON file is laid out.
enum Layout {
    /// For people.
    Pretty,
    /// For programs: the histograms would be a line a number.
    Compact,
}

fn write_json(file: &mut BufWriter<File>, value: &Value, layout: Layout) -> io::Result<()> {
    match layout {
        Layout::Pretty => serde_json::to_writer_pretty(&mut *file, value)?,
        Layout::Compact => serde_json::to_writer(&mut *file, value)?,
    }
    file.write_all(b"\n")
}

/// The name as a single path component that needs no quoting: letters, digits, `.`, `_` and `-`; others become one `-`.
fn sanitised(name: &str) -> String {
    let mut safe = String::new();
    for character in name.chars() {
        let kept = character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
        let next = if kept { character } else { '-' };
        if next != '-' || !safe.ends_with('-') {
            safe.push(next);
        }
    }
    safe.truncate(MAX_NAME_BYTES);
    let trimmed = safe.trim_matches(['-', '.']);
    if trimmed.is_empty() { "run".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::example;

    /// 2024-02-29 12:34:56 UTC.
    const STARTED: i64 = 1_709_210_096;

    #[test]
    fn names_become_one_safe_path_component() {
        assert_eq!(sanitised("throughput-test"), "throughput-test");
        assert_eq!(sanitised("../../etc/passwd"), "etc-passwd");
        assert_eq!(sanitised("Llama 3.1: 70B (fp8)"), "Llama-3.1-70B-fp8");
        assert_eq!(sanitised("…"), "run");
        assert_eq!(sanitised(""), "run");
        assert_eq!(sanitised(&"x".repeat(500)).len(), MAX_NAME_BYTES);
    }

    #[test]
    fn an_existing_directory_is_never_used_again() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("results");
        let names: Vec<_> = (0..3)
            .map(|_| ResultsDirectory::create(&below, "demo", STARTED).unwrap())
            .map(|directory| directory.path().file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            names,
            ["demo-20240229-123456", "demo-20240229-123456-2", "demo-20240229-123456-3"]
        );
    }

    #[test]
    fn files_are_whole_and_nothing_else_stays() {
        let root = tempfile::tempdir().unwrap();
        let directory = ResultsDirectory::create(root.path(), "demo", STARTED).unwrap();
        directory.write_config("benchmark: {name: demo}\n").unwrap();
        directory.write_result(&example::one_stage()).unwrap();
        directory.write_result(&example::one_stage()).unwrap();
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["config.yaml", "metrics.json", "summary.json"]);
        for name in ["metrics.json", "summary.json"] {
            let text = fs::read_to_string(directory.path().join(name)).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["schemaVersion"], 1, "{name}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_no_part_of_it() {
        let root = tempfile::tempdir().unwrap();
        let directory = ResultsDirectory::create(root.path(), "demo", STARTED).unwrap();
        let full = |file: &mut BufWriter<File>| {
            file.write_all(b"half of it")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = directory.write("summary.json", full).unwrap_err();
        assert!(error.to_string().contains("summary.json"), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_root_that_is_a_file_is_named_with_the_flag() {
        let root = tempfile::NamedTempFile::new().unwrap();
        let error = ResultsDirectory::create(root.path(), "demo", STARTED).unwrap_err();
        let words = error.to_string();
        assert!(
            words.contains("--output") && words.contains(root.path().to_str().unwrap()),
            "{words}"
        );
    }

    #[test]
    fn discarding_takes_only_what_a_run_that_never_began_left() {
        let root = tempfile::tempdir().unwrap();
        let directory = ResultsDirectory::create(root.path(), "demo", STARTED).unwrap();
        directory.write_config("").unwrap();
        directory.discard().unwrap();
        assert!(!directory.path().exists());

        let kept = ResultsDirectory::create(root.path(), "demo", STARTED).unwrap();
        fs::write(kept.path().join("notes.txt"), "mine").unwrap();
        kept.discard().unwrap();
        assert!(kept.path().join("notes.txt").exists());
    }
}
