//! A run as one archive, to take it from where it was measured to where it is kept.
//!
//! It is a gzipped tar with the run's directory at its root, so that unpacking it into a folder of results puts the run
//! among its like. Whoever reads it through `kubectl exec` or ssh can tell a whole one by its checksum; only then
//! should a coordinator that holds its results end.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use flate2::{Compression, write::GzEncoder};
use tar::{Builder, HeaderMode};

use crate::{
    benchmark::name_of,
    exit::{Exit, Stop},
    hold,
};

/// What becomes of a coordinator that holds the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// It may end.
    Release,
    /// It goes on waiting: whoever fetched them looks at them first.
    KeepHolding,
}

/// Writes the run's archive to a new file, or with `-` to stdout.
pub(crate) fn pack(run: &Path, to: &Path, afterwards: Afterwards) -> anyhow::Result<Exit> {
    over(run)?;
    if to == Path::new("-") {
        to_stdout(run)?;
    } else {
        to_new_file(run, to)?;
    }
    if afterwards == Afterwards::Release {
        hold::release(run).context("the archive is whole, but its coordinator was not released")?;
    }
    Ok(Exit::Ok)
}

/// A run that goes on has no results to take; one that holds them is over, though its process lives.
fn over(run: &Path) -> Result<(), Stop> {
    if hold::is_held(run) {
        return Ok(());
    }
    let unlocked = File::open(run.join("journal")).map(|journal| journal.try_lock_shared());
    match unlocked {
        Ok(Err(TryLockError::WouldBlock)) => {
            let line = format!("{}: its run still goes on", run.display());
            Err(Stop::new(Exit::BadConfiguration, line))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn to_stdout(run: &Path) -> anyhow::Result<()> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        let line = "an archive is nothing for a terminal: send it to a file or a pipe";
        return Err(Stop::new(Exit::BadConfiguration, line).into());
    }
    let mut out = BufWriter::new(stdout.lock());
    write_archive(run, &mut out)
        .and_then(|()| out.flush())
        .context("the archive was not read whole")
}

/// Half an archive helps nobody.
fn to_new_file(run: &Path, path: &Path) -> anyhow::Result<()> {
    let file = File::create_new(path).map_err(|error| {
        Stop::new(Exit::BadConfiguration, format!("cannot make {}: {error}", path.display()))
    })?;
    let mut out = BufWriter::new(file);
    let whole = write_archive(run, &mut out)
        .and_then(|()| out.flush())
        .and_then(|()| out.get_ref().sync_all());
    whole.inspect_err(|_| drop(fs::remove_file(path))).with_context(|| path.display().to_string())
}

fn write_archive(run: &Path, out: impl Write) -> io::Result<()> {
    let mut archive = Builder::new(GzEncoder::new(out, Compression::default()));
    archive.mode(HeaderMode::Deterministic);
    let root = PathBuf::from(name_of(&std::path::absolute(run)?));
    append(&mut archive, run, &root)?;
    archive.into_inner()?.finish()?;
    Ok(())
}

/// In the order of their names, and without those that begin with a dot: unfinished files and marks.
fn append(archive: &mut Builder<impl Write>, from: &Path, name: &Path) -> io::Result<()> {
    archive.append_dir(name, from)?;
    let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            append(archive, &path, &name)?;
        } else {
            archive.append_path_with_name(&path, &name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    /// A run's directory in a folder of its own.
    fn example() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("demo-20240229-123456");
        fs::create_dir_all(run.join("plots")).unwrap();
        for (name, text) in [
            ("summary.json", "{}"),
            ("journal", "j"),
            ("plots/ttft.png", "p"),
            (".summary.json.part", "half"),
        ] {
            fs::write(run.join(name), text).unwrap();
        }
        (folder, run)
    }

    fn contents(archive: &[u8]) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(GzDecoder::new(archive));
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (name, text)
        });
        entries.filter(|(name, _)| !name.ends_with('/')).collect()
    }

    #[test]
    fn an_archive_holds_the_run_under_its_name_and_nothing_unfinished() {
        let (_folder, run) = example();
        let mut archive = Vec::new();
        write_archive(&run, &mut archive).unwrap();
        let expected = [("journal", "j"), ("plots/ttft.png", "p"), ("summary.json", "{}")]
            .map(|(name, text)| (format!("demo-20240229-123456/{name}"), text.to_owned()));
        let files: Vec<_> =
            contents(&archive).into_iter().filter(|(_, text)| !text.is_empty()).collect();
        assert_eq!(files, expected);
    }

    #[test]
    fn the_coordinator_is_released_by_a_whole_archive_only() {
        let (folder, run) = example();
        fs::write(run.join(".held"), "").unwrap();
        let there = folder.path().join("there.tar.gz");
        fs::write(&there, "mine").unwrap();
        pack(&run, &there, Afterwards::Release).unwrap_err();
        assert!(hold::is_held(&run), "nothing is overwritten, so nothing was packed");
        assert_eq!(fs::read_to_string(&there).unwrap(), "mine");

        pack(&run, &folder.path().join("a.tar.gz"), Afterwards::KeepHolding).unwrap();
        assert!(hold::is_held(&run));
        pack(&run, &folder.path().join("b.tar.gz"), Afterwards::Release).unwrap();
        assert!(!hold::is_held(&run));
    }

    #[test]
    fn a_run_that_goes_on_is_not_packed() {
        let (folder, run) = example();
        let journal = File::open(run.join("journal")).unwrap();
        journal.try_lock().unwrap();
        let to = folder.path().join("a.tar.gz");
        let words = pack(&run, &to, Afterwards::Release).unwrap_err().to_string();
        assert!(words.contains("its run still goes on"), "{words}");
        assert!(!to.exists());
    }
}
