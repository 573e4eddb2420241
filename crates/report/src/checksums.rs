//! `SHA256SUMS`: what the files of a run were when it ended, in the form that `sha256sum --check` reads.
//!
//! A result travels: it is copied, archived, edited by hand. Whoever doubts it can see whether it is what the run wrote.
//! The journal is left out:
//! it can be large, and each of its records has its own checksum. So is the page, which can be made anew at any time.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::directory::{
    CONFIG_FILE, METRICS_FILE, PLOTS_FOLDER, ReportError, SUMMARY_FILE, write_file,
};
use crate::records::{LINES_FILE, RECORDS_FOLDER, TABLE_FILE};

/// The file's name.
pub(crate) const CHECKSUMS_FILE: &str = "SHA256SUMS";

/// Writes the checksums of what is there.
pub(crate) fn write(directory: &Path) -> Result<(), ReportError> {
    let mut names: Vec<String> =
        [CONFIG_FILE, METRICS_FILE, "schedule.csv", "schedule.jsonl", SUMMARY_FILE]
            .map(str::to_owned)
            .into();
    let plots = fs::read_dir(directory.join(PLOTS_FOLDER)).into_iter().flatten().flatten();
    let mut plots: Vec<_> = plots
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".png"))
        .map(|name| format!("{PLOTS_FOLDER}/{name}"))
        .collect();
    plots.sort();
    names.extend(plots);
    names.extend([LINES_FILE, TABLE_FILE].map(|name| format!("{RECORDS_FOLDER}/{name}")));
    let mut text = String::new();
    for name in names {
        match hash_of(&directory.join(&name)) {
            Ok(hash) => text.push_str(&format!("{hash}  {name}\n")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ReportError::Write { path: directory.join(name), source }),
        }
    }
    write_file(&directory.join(CHECKSUMS_FILE), text.as_bytes())
}

/// The files that are not what they were, or not there; `None` of a run without checksums.
pub fn altered(directory: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(directory.join(CHECKSUMS_FILE)).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once("  "));
    let is_altered = |sum: &str, name: &str| match hash_of(&directory.join(name)) {
        Ok(hash) => hash != sum,
        Err(_) => true,
    };
    Some(
        lines
            .filter(|(sum, name)| is_altered(sum, name))
            .map(|(_, name)| name.to_owned())
            .collect(),
    )
}

/// Block by block: records may be larger than memory.
fn hash_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let _bytes = io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_edited_or_removed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(altered(folder.path()), None);
        for name in [CONFIG_FILE, SUMMARY_FILE, METRICS_FILE] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        write(folder.path()).unwrap();
        assert_eq!(altered(folder.path()), Some(Vec::new()));
        fs::write(folder.path().join(SUMMARY_FILE), "better").unwrap();
        fs::remove_file(folder.path().join(CONFIG_FILE)).unwrap();
        let expected = [CONFIG_FILE, SUMMARY_FILE].map(str::to_owned);
        assert_eq!(altered(folder.path()), Some(expected.into()));
    }
}
