//! `--find-capacity`: runs at one level after the other, until it is known where the objectives cease to hold.
//!
//! Which level comes next is decided by [`workload::search`]; here a level becomes a run, and its result a reading.
//! Each run has fresh prompts (a salt of its own), or the prefix cache that the one before has filled would make the next
//! one look better.

mod by_workers;
mod reading;
mod view;

use std::{
    cell::Cell,
    path::{Path, PathBuf},
    time::Duration,
};

use metrics::RunResult;
use report::{CapacityView, write_file};
use serde_json::{Value, json};
use workload::{
    Config,
    search::{Found, Next, Outcome, Search, SearchBy, SearchRules, pause},
};

use crate::{
    benchmark::{BenchmarkArgs, ManyEnded},
    crew::Crew,
    exit::{Exit, Stop},
    judge,
    many::{Listener, below},
    say,
    settings::Loaded,
    site::Site,
};

/// A run of the search.
struct Tried {
    level: f64,
    directory: String,
    result: RunResult,
    nearest: String,
}

/// What all searches of one command have in common.
struct Hunt<'a> {
    name: String,
    by: SearchBy,
    rules: SearchRules,
    /// Without the search itself, and with a salt of each run's own.
    at: Loaded,
    pause: Duration,
    /// There was a run already, which the service may still be busy with.
    has_run: Cell<bool>,
    arguments: &'a BenchmarkArgs,
    site: &'a Site,
    listener: Listener,
}

/// A search that is over.
struct Searched {
    view: CapacityView,
    exit: Exit,
    /// What ended it before its time, if it was an error; what was known is written.
    ended: anyhow::Result<()>,
}

/// What a search knows so far.
struct Progress {
    search: Search,
    tried: Vec<Tried>,
}

/// Searches, and tells what was found.
pub(crate) fn find(
    loaded: Loaded,
    arguments: &BenchmarkArgs,
    crew: &Crew,
    site: &Site,
) -> anyhow::Result<ManyEnded> {
    let config = &loaded.config;
    let (by, rules) =
        SearchRules::of(config).map_err(|problems| judge::refusal(config, &problems))?;
    let counts = by_workers::counts(&arguments.worker_counts);
    let whole = match &counts {
        Some((_, most)) => crew.with_at_least(*most)?,
        None => crew.clone(),
    };
    let name = config.text("benchmark.name").unwrap_or("benchmark").to_owned();
    let directory = arguments.directory_of_many(&name, "capacity")?;
    write_file(&directory.join("config.yaml"), config.to_yaml().as_bytes())?;
    let hunt = Hunt {
        name,
        by,
        rules,
        at: Loaded { config: fresh(config)?, ..loaded.clone() },
        pause: pause(config),
        has_run: Cell::new(false),
        arguments,
        site,
        listener: Listener::start()?,
    };
    let ended = match counts {
        Some((counts, _)) => by_workers::find(&hunt, &counts, &whole, &directory),
        None => hunt.find(&whole, &directory),
    };
    Ok(ManyEnded { ended, directory })
}

impl Hunt<'_> {
    /// The only search.
    fn find(&self, crew: &Crew, folder: &Path) -> anyhow::Result<Exit> {
        let Searched { view, exit, ended } = self.search(self.rules, crew, folder)?;
        ended?;
        self.print(&view, folder)?;
        Ok(exit)
    }

    /// One search, with its files in a directory of its own.
    fn search(&self, rules: SearchRules, crew: &Crew, folder: &Path) -> anyhow::Result<Searched> {
        let mut progress = Progress { search: Search::new(rules), tried: Vec::new() };
        let over = self.follow(&mut progress, crew, folder);
        let (found, ended) = match over {
            Ok(found) => (found, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let exit = match found {
            Some(found) => exit_of(found),
            None => Exit::Interrupted,
        };
        let workers = crew.size().expected.get();
        let subject = view::Subject { name: &self.name, by: self.by, workers };
        let Progress { search, tried } = &progress;
        let found = found.unwrap_or_else(|| search.so_far());
        let view = view::view(&subject, search, found, tried);
        view::write(&view, folder)?;
        Ok(Searched { view, exit, ended })
    }

    /// Probes until it is known; `None` if it was interrupted.
    fn follow(
        &self,
        progress: &mut Progress,
        crew: &Crew,
        folder: &Path,
    ) -> anyhow::Result<Option<Found>> {
        loop {
            let level = match progress.search.next() {
                Next::Done(found) => return Ok(Some(found)),
                Next::Probe(level) => level,
            };
            self.rest();
            if self.listener.told_to_end() {
                return Ok(None);
            }
            eprintln!(
                "probe {}: {} {}",
                progress.search.probes() + 1,
                shown(level),
                self.by.unit()
            );
            let config = at_level(&self.at.config, self.by, level)?;
            let at = Loaded { config, ..self.at.clone() };
            let output = folder.join("runs");
            let ended = self.arguments.run_quietly(&at, &output, crew, self.site)?;
            let Some((directory, result)) = whole_run(&ended.directory) else { return Ok(None) };
            let (reading, nearest) = reading::reading(&result);
            eprintln!("  {}", reading::told(reading, &nearest));
            progress.search.record(level, reading);
            let directory = below(folder, &directory);
            progress.tried.push(Tried { level, directory, result, nearest });
        }
    }

    /// Between two runs, of one search or of two.
    fn rest(&self) {
        if self.has_run.replace(true) {
            self.listener.pause(self.pause);
        }
    }

    fn by_name(&self) -> &'static str {
        view::by_name(self.by)
    }

    fn print(&self, view: &CapacityView, folder: &Path) -> anyhow::Result<()> {
        if self.arguments.format.json {
            return Ok(say(&serde_json::to_string_pretty(&report::capacity_json(view))?)?);
        }
        let width = terminal_size::terminal_size().map(|(width, _)| width.0);
        say(&report::capacity_text(view, width.unwrap_or(report::DEFAULT_WIDTH)))?;
        let shown = folder.display();
        Ok(say(&format!("Results: {shown}\nReport:  {shown}/capacity.html"))?)
    }
}

/// A run, if it reached its own end.
fn whole_run(directory: &Path) -> Option<(PathBuf, RunResult)> {
    let run = report::StoredRun::read_summary(directory).ok()?;
    (!run.result.facts.interrupted).then_some((directory.to_owned(), run.result))
}

/// Without the search itself, and with a salt of each run's own.
fn fresh(config: &Config) -> Result<Config, Stop> {
    let nothing = [("benchmark.promptSalt".to_owned(), Value::Null)];
    let fresh = config.overridden(&nothing, "slos").map_err(|all| Stop::bad_configuration(&all))?;
    Ok(fresh.without("search"))
}

fn at_level(config: &Config, by: SearchBy, level: f64) -> Result<Config, Stop> {
    let mut overrides = vec![(by.key().to_owned(), json!(level))];
    if by == SearchBy::Concurrency {
        overrides.push(("load.rate".to_owned(), Value::Null));
    }
    config.overridden(&overrides, by.key()).map_err(|all| Stop::bad_configuration(&all))
}

fn shown(level: f64) -> String {
    if level.fract() == 0.0 { format!("{level:.0}") } else { format!("{level:.3}") }
}

fn exit_of(found: Found) -> Exit {
    match (found.outcome, found.holds) {
        (Outcome::NoneHolds, _) => Exit::SloMissed,
        (_, None) => Exit::Invalid,
        (_, Some(_)) => Exit::Ok,
    }
}
