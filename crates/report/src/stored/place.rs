//! Which directory is meant: a run's own, or the newest of those in a folder of results.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::{JOURNAL_FILE, ReadError};
use crate::checksums::CHECKSUMS_FILE;
use crate::directory::{CONFIG_FILE, METRICS_FILE, SERVER_FILE, SUMMARY_FILE};
use crate::records::{LINES_FILE, TABLE_FILE};

/// The table of a sweep, in its directory.
const SWEEP_FILE: &str = "sweep.json";
/// The answer of a search, in its directory.
const CAPACITY_FILE: &str = "capacity.json";

/// Whether a path is a file that one run or many left, and no report of them: nothing else may be written there.
#[must_use]
pub fn is_of_a_run(path: &Path) -> bool {
    const MARKS: [&str; 5] = [CONFIG_FILE, JOURNAL_FILE, SWEEP_FILE, CAPACITY_FILE, LINES_FILE];
    const OTHERS: [&str; 7] = [
        SUMMARY_FILE,
        METRICS_FILE,
        SERVER_FILE,
        CHECKSUMS_FILE,
        TABLE_FILE,
        "schedule.csv",
        "schedule.jsonl",
    ];
    let name = path.file_name().and_then(|name| name.to_str());
    let is_named = name.is_some_and(|name| MARKS.contains(&name) || OTHERS.contains(&name));
    is_named && path.is_file() && MARKS.iter().any(|mark| path.with_file_name(mark).exists())
}

/// A run's directory, and how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The directory.
    pub directory: PathBuf,
    /// It is the newest of so many in the folder that was named; `None` where it was named itself.
    pub newest_of: Option<usize>,
}

/// A run in a folder of results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEntry {
    /// Its directory.
    pub directory: PathBuf,
    /// Unix seconds and attempt: of its name, else of its last change.
    began: (i64, u64),
    /// Whether it has a summary.
    pub finished: bool,
}

/// The run that `input` names: itself, or the newest in it.
///
/// # Errors
/// There is none.
pub fn locate(input: &Path) -> Result<Located, ReadError> {
    let failed = |source| ReadError::Io { path: input.to_owned(), source };
    if fs::metadata(input).map_err(failed)?.is_file() {
        return Err(ReadError::File(input.to_owned()));
    }
    if is_run(input) {
        return Ok(Located { directory: input.to_owned(), newest_of: None });
    }
    let runs = entries(input)?;
    let newest_of = Some(runs.len());
    let newest = runs.into_iter().next_back();
    let directory = newest.ok_or_else(|| ReadError::NoRun(input.to_owned()))?.directory;
    Ok(Located { directory, newest_of })
}

/// The runs in a folder of results, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn entries(root: &Path) -> Result<Vec<RunEntry>, ReadError> {
    let failed = |source| ReadError::Io { path: root.to_owned(), source };
    let mut runs = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let directory = entry.map_err(failed)?.path();
        if is_run(&directory) {
            let finished = directory.join(SUMMARY_FILE).exists();
            runs.push(RunEntry { began: began(&directory), directory, finished });
        }
    }
    runs.sort_by(|a, b| (a.began, &a.directory).cmp(&(b.began, &b.directory)));
    Ok(runs)
}

/// Whether a directory is that of many runs: a sweep's, or a search's.
pub fn is_of_many(directory: &Path) -> bool {
    [SWEEP_FILE, CAPACITY_FILE].iter().any(|file| directory.join(file).is_file())
}

fn is_run(directory: &Path) -> bool {
    [SUMMARY_FILE, JOURNAL_FILE].iter().any(|file| directory.join(file).is_file())
}

/// By its name, which a copy keeps; of a directory with a name of its own by its last change.
fn began(directory: &Path) -> (i64, u64) {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    named(&name).unwrap_or_else(|| {
        let modified = fs::metadata(directory).and_then(|metadata| metadata.modified()).ok();
        let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), 0)
    })
}

/// `…-20240229-123456` or `…-20240229-123456-2`.
fn named(name: &str) -> Option<(i64, u64)> {
    let stamp = |text: &str| {
        let at = text.len().checked_sub("20240229-123456".len())?;
        let begin = DateTime::strptime("%Y%m%d-%H%M%S", text.get(at..)?).ok()?;
        Some(begin.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
    };
    if let Some(second) = stamp(name) {
        return Some((second, 1));
    }
    let (stem, attempt) = name.rsplit_once('-')?;
    Some((stamp(stem)?, attempt.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(root: &Path, name: &str, file: &str) {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join(file), "{}").unwrap();
    }

    #[test]
    fn the_newest_run_is_that_of_the_latest_name_whenever_its_files_were_touched() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), "b-20240229-123456-2", SUMMARY_FILE);
        run(root.path(), "b-20240229-123456-10", JOURNAL_FILE);
        run(root.path(), "b-20240229-123456", SUMMARY_FILE);
        run(root.path(), "z-20231231-235959", SUMMARY_FILE);
        fs::create_dir(root.path().join("zz-20250101-000000")).unwrap();
        let found = locate(root.path()).unwrap();
        assert_eq!(found.directory, root.path().join("b-20240229-123456-10"));
        assert_eq!(found.newest_of, Some(4));
        let itself = locate(&found.directory).unwrap();
        assert_eq!(itself.newest_of, None);
    }

    #[test]
    fn a_sweep_and_a_search_are_no_runs_and_known_by_their_tables() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), "a-sweep-20240229-123456", SWEEP_FILE);
        run(root.path(), "a-capacity-20240229-123456", CAPACITY_FILE);
        run(root.path(), "a-20240229-123456", SUMMARY_FILE);
        let is = |name: &str| is_of_many(&root.path().join(name));
        assert!(is("a-sweep-20240229-123456") && is("a-capacity-20240229-123456"));
        assert!(!is("a-20240229-123456"));
        assert_eq!(locate(root.path()).unwrap().newest_of, Some(1));
    }

    #[test]
    fn what_is_no_run_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(locate(root.path()), Err(ReadError::NoRun(_))));
        let file = root.path().join("summary.json");
        fs::write(&file, "{}").unwrap();
        assert!(matches!(locate(&file), Err(ReadError::File(_))));
        assert!(matches!(locate(&root.path().join("nothing")), Err(ReadError::Io { .. })));
    }

    #[test]
    fn dates_in_names() {
        assert_eq!(named("demo-20240229-123456"), Some((1_709_210_096, 1)));
        assert_eq!(named("demo-20240229-123456-3"), Some((1_709_210_096, 3)));
        assert_eq!(named("demo-20240231-123456"), None);
        assert_eq!(named("demo"), None);
    }
}
