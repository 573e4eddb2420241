//! `tokenstorm results`: the runs of a folder, one of them, one as an archive, and away with some.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Subcommand;
use report::{Many, RunEntry, altered, entries, is_of_many, locate, many_entries, runs_below};

use crate::{
    exit::{Exit, Stop},
    hold,
    many::below,
    pack::{self, Afterwards},
    report::stored,
    say,
};

/// What `results` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ResultsArgs {
    #[command(subcommand)]
    verb: ResultsVerb,
}

#[derive(Debug, Subcommand)]
enum ResultsVerb {
    /// List the runs of a folder, oldest first; of a sweep or a search its runs
    Ls {
        /// The folder
        #[arg(value_name = "DIR", default_value = "results")]
        folder: PathBuf,
    },
    /// Print a run's table, and whether its files are as the run wrote them
    Show {
        /// A run's directory; of a folder of them the newest run
        #[arg(value_name = "DIR", default_value = "results")]
        run: PathBuf,
    },
    /// Pack a run into one archive; a coordinator that holds its results ends then
    Pack {
        /// A new file, such as run.tar.gz, or `-` for stdout
        #[arg(value_name = "FILE")]
        to: PathBuf,
        /// A run's directory, or that of a sweep or a search; of a folder of them the newest that is held, else the newest run
        #[arg(value_name = "DIR", default_value = "results")]
        run: PathBuf,
        /// Does not end a coordinator that holds its results: `results release` does, when the archive was looked at
        #[arg(long)]
        keep_holding: bool,
    },
    /// End a coordinator that holds its results
    Release {
        /// A run's directory, or that of a sweep or a search; of a folder of them the newest that is held
        #[arg(value_name = "DIR", default_value = "results")]
        run: PathBuf,
    },
    /// Remove runs for ever
    Rm {
        /// Their directories
        #[arg(value_name = "DIR", required = true)]
        runs: Vec<PathBuf>,
    },
}

/// Lists, shows or removes.
pub(crate) fn results(arguments: &ResultsArgs) -> anyhow::Result<Exit> {
    match &arguments.verb {
        ResultsVerb::Ls { folder } => list(folder),
        ResultsVerb::Show { run } => show(run),
        ResultsVerb::Pack { to, run, keep_holding: true } => {
            pack::pack(&held_or_located(run)?, to, Afterwards::KeepHolding)
        }
        ResultsVerb::Pack { to, run, keep_holding: false } => {
            pack::pack(&held_or_located(run)?, to, Afterwards::Release)
        }
        ResultsVerb::Release { run } => release(&held_or_located(run)?),
        ResultsVerb::Rm { runs } => remove(runs),
    }
}

/// The runs of a folder, and of its sweeps and searches how to see theirs; of a sweep or a search itself its runs.
fn list(folder: &Path) -> anyhow::Result<Exit> {
    let unreadable = |error| Stop::new(Exit::BadConfiguration, error);
    let mut runs = entries(folder).map_err(unreadable)?;
    let mut many = many_entries(folder).map_err(unreadable)?;
    if is_of_many(folder) || (runs.is_empty() && many.is_empty()) {
        (runs, many) = (runs_below(folder), Vec::new());
    }
    if runs.is_empty() && many.is_empty() {
        eprintln!("{} holds no run", folder.display());
        return Ok(Exit::Ok);
    }
    let own = runs.iter().map(|run| report::RunLine {
        directory: below(folder, &run.directory),
        run: stored_if_finished(run),
    });
    let of_many = many.iter().map(|(directory, many)| report::RunLine {
        directory: below(folder, directory),
        run: Err(told_of_many(directory, *many)),
    });
    say(&report::list(own.chain(of_many)))?;
    Ok(Exit::Ok)
}

fn told_of_many(directory: &Path, many: Many) -> String {
    let (runs, shown) = (runs_below(directory).len(), directory.display());
    format!("a {} of {runs} runs: `results ls {shown}` lists them", many.name())
}

/// The reason, in a few words, where there is nothing to show.
fn stored_if_finished(entry: &RunEntry) -> Result<report::StoredRun, String> {
    if !entry.finished {
        return Err(
            "no summary: it goes on or was cut off (`report` shows what its journal holds)"
                .to_owned(),
        );
    }
    report::StoredRun::read_summary(&entry.directory).map_err(|error| error.to_string())
}

fn show(run: &Path) -> anyhow::Result<Exit> {
    let directory = located(run)?;
    let run = stored(&directory)?;
    for gap in &run.gaps {
        eprintln!("not whole: {gap}");
    }
    let width = terminal_size::terminal_size().map_or(report::DEFAULT_WIDTH, |(width, _)| width.0);
    say(&report::table(&run.result, width))?;
    match altered(&directory) {
        None => eprintln!("there are no checksums: whether the files were altered is not known"),
        Some(files) if files.is_empty() => {}
        Some(files) => eprintln!("not as the run wrote them: {}", files.join(", ")),
    }
    Ok(Exit::Ok)
}

/// A run by its directory, or the newest of a folder, which is then named.
fn located(run: &Path) -> Result<PathBuf, Stop> {
    let located = locate(run).map_err(|error| Stop::new(Exit::BadConfiguration, error))?;
    if let Some(runs) = located.newest_of {
        eprintln!("the newest of {runs} runs: {}", located.directory.display());
    }
    Ok(located.directory)
}

/// What is to be fetched: the directory itself where it is one of many runs (a sweep, a search), else of a folder the newest
/// that is held, else the newest run.
fn held_or_located(place: &Path) -> Result<PathBuf, Stop> {
    if is_of_many(place) {
        return Ok(place.to_owned());
    }
    let inside = fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
    let held = inside.filter(|directory| hold::is_held(directory));
    match held.max_by_key(|directory| hold::since(directory)) {
        Some(newest) => Ok(newest),
        None => located(place),
    }
}

fn release(run: &Path) -> anyhow::Result<Exit> {
    if !hold::release(run).with_context(|| format!("cannot release {}", run.display()))? {
        eprintln!("{} is not held", run.display());
    }
    Ok(Exit::Ok)
}

/// Everything is checked before anything is removed.
fn remove(runs: &[PathBuf]) -> anyhow::Result<Exit> {
    let problems: Vec<String> = runs.iter().filter_map(|run| reason_to_keep(run)).collect();
    if !problems.is_empty() {
        return Err(Stop::bad_configuration(&problems).into());
    }
    for run in runs {
        fs::remove_dir_all(run).with_context(|| format!("cannot remove {}", run.display()))?;
        say(&format!("removed {}", run.display()))?;
    }
    Ok(Exit::Ok)
}

fn reason_to_keep(run: &Path) -> Option<String> {
    match locate(run) {
        Err(error) => return Some(error.to_string()),
        Ok(located) if located.newest_of.is_some() => {
            return Some(format!(
                "{} is a folder of runs: name the runs themselves",
                run.display()
            ));
        }
        Ok(_) => {}
    }
    let journal = File::open(run.join("journal")).ok()?;
    journal.try_lock_shared().err().map(|_| format!("{}: its run still goes on", run.display()))
}
