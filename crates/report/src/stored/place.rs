//! Which directory is meant: a run's own, or the newest of those in a folder of results.
//!
//! The runs of a sweep or of a search lie deeper, and none of them stands for all: they are named, never chosen.

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
/// What the runs of a sweep have in common, in its directory from the beginning.
const BASE_FILE: &str = "base.yaml";
/// Where the runs of a sweep or of a search are, in its directory.
const RUNS_FOLDER: &str = "runs";
/// The deepest that a run lies in the directory of many: `workers-2/runs/<run>`, `runs/<point>/<run>`.
const DEPTH_OF_MANY: usize = 3;

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
    if runs.is_empty() && holds_many(input) {
        let mut below = runs_below(input);
        let (folder, runs) = (input.to_owned(), below.len());
        let newest = below.pop().map(|run| run.directory);
        return Err(ReadError::OfMany { folder, runs, newest });
    }
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

/// What many runs were made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Many {
    /// A table over settings.
    Sweep,
    /// The highest load at which objectives hold.
    Search,
}

impl Many {
    /// Of the directory of many runs, finished or not; `None` of any other.
    #[must_use]
    pub fn of(directory: &Path) -> Option<Self> {
        let has = |file: &str| directory.join(file).is_file();
        if has(SWEEP_FILE) || has(BASE_FILE) {
            Some(Self::Sweep)
        } else if has(CAPACITY_FILE) || (has(CONFIG_FILE) && directory.join(RUNS_FOLDER).is_dir()) {
            Some(Self::Search)
        } else {
            None
        }
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Search => "capacity search",
        }
    }
}

/// Whether a directory is that of many runs: a sweep's, or a search's.
#[must_use]
pub fn is_of_many(directory: &Path) -> bool {
    Many::of(directory).is_some()
}

/// The sweeps and searches in a folder of results, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub fn many_entries(root: &Path) -> Result<Vec<(PathBuf, Many)>, ReadError> {
    let failed = |source| ReadError::Io { path: root.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let directory = entry.map_err(failed)?.path();
        found.extend(Many::of(&directory).map(|many| (directory, many)));
    }
    found.sort_by_cached_key(|(directory, _)| (began(directory), directory.clone()));
    Ok(found)
}

/// The runs of the sweeps and searches in a folder, of one that is named itself, or of a part of one; oldest first. Other
/// folders are not gone through.
#[must_use]
pub fn runs_below(root: &Path) -> Vec<RunEntry> {
    let mut runs = Vec::new();
    if is_within_many(root) {
        gather(root, DEPTH_OF_MANY, &mut runs);
    } else {
        for (directory, _) in many_entries(root).unwrap_or_default() {
            gather(&directory, DEPTH_OF_MANY, &mut runs);
        }
    }
    runs.sort_by(|a, b| (a.began, &a.directory).cmp(&(b.began, &b.directory)));
    runs
}

fn holds_many(root: &Path) -> bool {
    is_within_many(root) || many_entries(root).is_ok_and(|found| !found.is_empty())
}

/// The directory of many runs itself, or a folder in it.
fn is_within_many(directory: &Path) -> bool {
    let absolute = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    absolute.ancestors().take(DEPTH_OF_MANY).any(is_of_many)
}

fn gather(folder: &Path, depth: usize, runs: &mut Vec<RunEntry>) {
    runs.extend(entries(folder).unwrap_or_default());
    if depth <= 1 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let directory = entry.path();
        if directory.is_dir() && !is_run(&directory) {
            gather(&directory, depth - 1, runs);
        }
    }
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
    fn runs_of_a_sweep_or_a_search_are_named_and_none_is_taken_for_all() {
        let root = tempfile::tempdir().unwrap();
        run(root.path(), "a-sweep-20240229-120000", BASE_FILE);
        run(root.path(), "a-capacity-20240229-130000", CONFIG_FILE);
        let within = |path: &str| root.path().join(path);
        for folder in ["a-sweep-20240229-120000/runs/p1-1", "a-sweep-20240229-120000/runs/p2-1"] {
            fs::create_dir_all(within(folder)).unwrap();
        }
        fs::create_dir(within("a-capacity-20240229-130000/runs")).unwrap();
        run(&within("a-sweep-20240229-120000/runs/p1-1"), "a-20240229-120000", SUMMARY_FILE);
        run(&within("a-sweep-20240229-120000/runs/p2-1"), "a-20240229-120100", JOURNAL_FILE);
        run(&within("a-capacity-20240229-130000/runs"), "a-20240229-130000", SUMMARY_FILE);
        for (folder, count, newest) in [
            ("", 3, "a-capacity-20240229-130000/runs/a-20240229-130000"),
            ("a-capacity-20240229-130000", 1, "a-capacity-20240229-130000/runs/a-20240229-130000"),
            ("a-sweep-20240229-120000", 2, "a-sweep-20240229-120000/runs/p2-1/a-20240229-120100"),
            (
                "a-sweep-20240229-120000/runs",
                2,
                "a-sweep-20240229-120000/runs/p2-1/a-20240229-120100",
            ),
        ] {
            let error = locate(&within(folder)).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, ReadError::OfMany { runs, .. } if runs == count), "{told}");
            assert!(told.contains(newest), "{told}");
        }
        let kinds: Vec<Many> =
            many_entries(root.path()).unwrap().into_iter().map(|(_, many)| many).collect();
        assert_eq!(kinds, [Many::Sweep, Many::Search]);
        let point = locate(&within("a-sweep-20240229-120000/runs/p1-1")).unwrap();
        assert_eq!(point.newest_of, Some(1), "a point's own folder holds its run");
        fs::remove_dir_all(within("a-sweep-20240229-120000/runs")).unwrap();
        let told = locate(&within("a-sweep-20240229-120000")).unwrap_err().to_string();
        assert!(told.contains("has left no run yet"), "{told}");
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
