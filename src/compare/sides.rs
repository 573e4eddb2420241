//! The runs of a side: found, read, and what must be known of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use metrics::{Observed, RunOverTime, Status};
use report::{ComparedSide, ReadError, StoredRun, entries, load_foreign, locate};

use super::unreadable;
use crate::{benchmark::name_of, recover, repeat, report::stored};

/// A run as it is compared.
#[derive(Debug)]
pub(super) struct SideRun {
    pub(super) stored: StoredRun,
    over_time: Option<RunOverTime>,
    /// Another tool measured it: there are only the figures that it printed.
    is_foreign: bool,
}

/// One run, or repeats.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) runs: Vec<SideRun>,
    pub(super) remarks: Vec<String>,
}

impl SideRun {
    fn observed(&self) -> Observed<'_> {
        Observed { result: &self.stored.result, over_time: self.over_time.as_ref() }
    }
}

impl Side {
    /// The runs that `words` name: one directory, or several with commas between them.
    pub(super) fn read(words: &str) -> anyhow::Result<Self> {
        let mut side = Self { runs: Vec::new(), remarks: Vec::new() };
        for directory in directories(words)? {
            if let Some(foreign) = load_foreign(&directory).map_err(unreadable)? {
                let stored = StoredRun::from(foreign);
                side.runs.push(SideRun { stored, over_time: None, is_foreign: true });
                continue;
            }
            let stored = stored(&directory)?;
            for gap in &stored.gaps {
                eprintln!("not whole: {}: {gap}", stored.result.facts.id);
            }
            let over_time = match recover::over_time_of_journal(&directory) {
                Ok(over_time) => Some(over_time),
                Err(error) => {
                    side.remarks.push(format!(
                        "{}: how much it varied over time is not known ({error})",
                        name_of(&directory)
                    ));
                    None
                }
            };
            side.runs.push(SideRun { stored, over_time, is_foreign: false });
        }
        Ok(side)
    }

    pub(super) fn observed(&self) -> Vec<Observed<'_>> {
        self.runs.iter().map(SideRun::observed).collect()
    }

    /// Whether a run of it has that verdict.
    pub(super) fn is(&self, status: Status) -> bool {
        self.runs.iter().any(|run| run.stored.result.verdict.status == status)
    }

    /// Whether another tool measured a run of it.
    pub(super) fn is_foreign(&self) -> bool {
        self.runs.iter().any(|run| run.is_foreign)
    }

    fn first(&self) -> Option<&StoredRun> {
        self.runs.first().map(|run| &run.stored)
    }

    /// Called by its first run.
    pub(super) fn name(&self) -> String {
        self.first().map(|run| run.result.facts.id.clone()).unwrap_or_default()
    }
}

impl From<Side> for ComparedSide {
    fn from(side: Side) -> Self {
        let name = side.name();
        Self { name, runs: side.runs.into_iter().map(|run| run.stored).collect() }
    }
}

/// Runs of one name, in different folders, are called by their directories.
pub(super) fn tell_apart(sides: &mut [Side]) {
    let mut places: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for run in sides.iter().flat_map(|side| &side.runs) {
        let (id, directory) = (&run.stored.result.facts.id, &run.stored.directory);
        let _new = places.entry(id.clone()).or_default().insert(directory.clone());
    }
    for run in sides.iter_mut().flat_map(|side| &mut side.runs) {
        let id = &mut run.stored.result.facts.id;
        if places.get(id).is_some_and(|places| places.len() > 1) {
            *id = run.stored.directory.display().to_string();
        }
    }
}

/// Several are taken as they are named; one that is a repeat stands for its group.
fn directories(words: &str) -> anyhow::Result<Vec<PathBuf>> {
    // A folder may have a comma in its name.
    let parts: Vec<&str> = words.split(',').filter(|part| !part.is_empty()).collect();
    if parts.len() > 1 && !Path::new(words).exists() {
        return parts.into_iter().map(one).collect();
    }
    let run = one(words)?;
    let group = group_of(&run)?;
    if group.len() > 1 {
        eprintln!("{} is one of {} repeats: all of them are compared", name_of(&run), group.len());
        return Ok(group);
    }
    Ok(vec![run])
}

/// A run by its directory, or the newest of a folder, which is then named.
fn one(words: &str) -> anyhow::Result<PathBuf> {
    let path = Path::new(words);
    let located = match locate(path) {
        // What they are is seen when they are read.
        Err(ReadError::File(_) | ReadError::NoRun(_))
            if load_foreign(path).map_err(unreadable)?.is_some() =>
        {
            return Ok(path.to_owned());
        }
        located => located.map_err(unreadable)?,
    };
    if let Some(runs) = located.newest_of {
        eprintln!("the newest of {runs} runs: {}", located.directory.display());
    }
    Ok(located.directory)
}

/// The runs beside it that are of its group, oldest first; none if it belongs to none.
fn group_of(run: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let group = |directory: &Path| {
        let summary = StoredRun::read_summary(directory).ok()?;
        repeat::group_of(&summary.result.facts.labels).map(str::to_owned)
    };
    let Some(wanted) = group(run) else { return Ok(Vec::new()) };
    let absolute = std::path::absolute(run)?;
    let Some(folder) = absolute.parent() else { return Ok(Vec::new()) };
    let runs = entries(folder).map_err(unreadable)?.into_iter().map(|entry| entry.directory);
    Ok(runs.filter(|other| group(other).as_deref() == Some(&wanted)).collect())
}

/// What else is not alike, a line each.
pub(super) fn unlike(sides: &[&Side]) -> Vec<String> {
    let mut remarks = Vec::new();
    let Some(first) = sides.first().and_then(|side| side.first()) else { return remarks };
    let stages = |run: &StoredRun| -> Vec<String> {
        run.result
            .stages
            .iter()
            .filter(|stage| stage.headline)
            .map(|one| one.name.clone())
            .collect()
    };
    let is_any_foreign = sides.iter().any(|side| side.is_foreign());
    for run in sides.iter().flat_map(|side| &side.runs).map(|run| &run.stored) {
        let (facts, id) = (&run.result.facts, &run.result.facts.id);
        if !is_any_foreign && stages(run) != stages(first) {
            remarks.push(format!(
                "{id} measured the stages {}, and {} {}",
                stages(run).join(", "),
                first.result.facts.id,
                stages(first).join(", ")
            ));
        }
        if !is_any_foreign && facts.tokenstorm_version != first.result.facts.tokenstorm_version {
            remarks.push(format!(
                "{id} was measured by tokenstorm {}, and {} by {}",
                facts.tokenstorm_version,
                first.result.facts.id,
                first.result.facts.tokenstorm_version
            ));
        }
        if facts.interrupted {
            remarks.push(format!("{id} was interrupted: it is shorter than planned"));
        }
        let verdict = &run.result.verdict;
        if verdict.status != Status::Valid {
            let reasons: BTreeSet<&str> = verdict
                .reasons
                .iter()
                .filter(|reason| reason.status != Status::Valid)
                .map(|reason| reason.code.as_str())
                .collect();
            let reasons = Vec::from_iter(reasons).join(", ");
            remarks.push(format!("{id} is {}: {reasons}", verdict.status.name()));
        }
    }
    let mut seen: Vec<&Path> = Vec::new();
    for run in sides.iter().flat_map(|side| &side.runs) {
        let directory = run.stored.directory.as_path();
        if seen.contains(&directory) {
            remarks.push(format!("{} is named twice", run.stored.result.facts.id));
        }
        seen.push(directory);
    }
    remarks
}
