//! A sweep: a run for each point and repeat, one after the other, and one table over all.
//!
//! What is done is found in the directory itself: a point by its hash, and a run counts by its summary alone. So a sweep
//! that was cut off, at whatever instant, is gone on with by running what has no summary.

use std::path::{Path, PathBuf};

use metrics::RunResult;
use report::{StoredRun, SweepView, SweptRun, entries, write_file};
use workload::{
    Config,
    sweep::{Sweep, SweepPoint},
};

use crate::{
    benchmark::{BenchmarkArgs, ManyEnded},
    crew::Crew,
    exit::{Exit, Stop},
    judge,
    many::{Listener, below, make},
    say,
    settings::Loaded,
    site::Site,
};

/// The configuration without its sweep: what all runs have in common.
const BASE: &str = "base.yaml";
/// As given.
const CONFIG: &str = "config.yaml";

/// The sweep that a configuration asks for, every point of it checked.
pub(crate) fn of(config: &Config) -> Result<Option<Sweep>, Stop> {
    let found = Sweep::of(config).map_err(|problems| judge::refusal(config, &problems))?;
    let Some(sweep) = found else { return Ok(None) };
    let problems = judge::of_points(&sweep.points, config);
    if problems.is_empty() { Ok(Some(sweep)) } else { Err(judge::refusal(config, &problems)) }
}

/// What `plan` says of it, under the plan of its first point.
pub(crate) fn told(sweep: &Sweep) -> String {
    const MOST: usize = 20;
    let runs = sweep.points.len() as u64 * u64::from(sweep.repeats);
    let mut lines = vec![format!(
        "sweep: {} points, {} of each, {runs} runs in all; above is the first point",
        sweep.points.len(),
        sweep.repeats,
    )];
    lines.extend(sweep.points.iter().take(MOST).map(|point| format!("  {}", point.name())));
    if sweep.points.len() > MOST {
        lines.push(format!("  … and {} more", sweep.points.len() - MOST));
    }
    lines.join("\n")
}

/// Runs what is not done yet.
pub(crate) fn run(
    sweep: &Sweep,
    loaded: Loaded,
    arguments: &BenchmarkArgs,
    crew: &Crew,
    site: &Site,
) -> anyhow::Result<ManyEnded> {
    let directory = match &arguments.resume_sweep {
        Some(folder) => resumed(folder, &loaded.config)?,
        None => begun(&loaded.config, arguments)?,
    };
    let name = loaded.config.text("benchmark.name").unwrap_or("sweep").to_owned();
    let mut table = Table::read(sweep, &directory, name);
    let led = lead(sweep, &loaded, &mut table, (arguments, crew, site), &directory);
    let ended = led
        .inspect_err(|_| eprintln!("{}", go_on(&directory)))
        .and_then(|()| finish(&table, &directory, arguments));
    Ok(ManyEnded { ended, directory })
}

/// From the first run that is not done to the last, or until it is time to end.
fn lead(
    sweep: &Sweep,
    loaded: &Loaded,
    table: &mut Table,
    (arguments, crew, site): (&BenchmarkArgs, &Crew, &Site),
    folder: &Path,
) -> anyhow::Result<()> {
    let listener = Listener::start()?;
    let (all, before) = (table.view.runs.len(), table.done());
    if before > 0 {
        eprintln!("{before} of {all} runs are done already");
    }
    let mut rested = true;
    for place in 0..all {
        if table.view.runs[place].result.is_some() {
            continue;
        }
        if !rested {
            listener.pause(sweep.pause);
        }
        if listener.told_to_end() {
            break;
        }
        rested = false;
        let (point, repeat) = table.point(sweep, place);
        eprintln!("run {} of {all}: {} ({repeat} of {})", place + 1, point.name(), sweep.repeats);
        let applied =
            point.applied_to(&loaded.config).map_err(|all| Stop::bad_configuration(&all))?;
        let output = folder.join(place_of(point, repeat));
        let at = Loaded { config: applied, ..loaded.clone() };
        let ended = arguments.run_quietly(&at, &output, crew, site)?;
        table.exits.push(ended.exit);
        table.look(place, folder, &output);
        table.write_data(folder)?;
        if ended.exit == Exit::Interrupted {
            break;
        }
    }
    Ok(())
}

/// What a user can do after a run that ended without a result.
fn go_on(folder: &Path) -> String {
    format!("the sweep goes on with `--resume-sweep {}`", folder.display())
}

fn finish(table: &Table, folder: &Path, arguments: &BenchmarkArgs) -> anyhow::Result<Exit> {
    table.write_data(folder)?;
    table.write_reports(folder)?;
    if arguments.format.json {
        say(&serde_json::to_string_pretty(&report::sweep_json(&table.view))?)?;
    } else {
        let width = terminal_size::terminal_size().map(|(width, _)| width.0);
        say(&report::sweep_text(&table.view, width.unwrap_or(report::DEFAULT_WIDTH)))?;
        let shown = folder.display();
        say(&format!(
            "Sweep:  {shown}\nReport: {shown}/sweep.html, table in sweep.csv, sweep.md and sweep.json"
        ))?;
    }
    if table.done() < table.view.runs.len() {
        eprintln!("{} of {} runs are done: {}", table.done(), table.view.runs.len(), go_on(folder));
        return Ok(Exit::Interrupted);
    }
    Ok(table.exits.iter().fold(Exit::Ok, |gravest, exit| gravest.gravest(*exit)))
}

fn place_of(point: &SweepPoint, repeat: u32) -> PathBuf {
    Path::new("runs").join(format!("{}-{repeat}", point.id()))
}

/// A new directory, with what the sweep was started with.
fn begun(config: &Config, arguments: &BenchmarkArgs) -> anyhow::Result<PathBuf> {
    let name = config.text("benchmark.name").unwrap_or("benchmark");
    let folder = arguments.directory_of_many(name, "sweep")?;
    make(&folder.join("runs"))?;
    write_file(&folder.join(CONFIG), config.to_yaml().as_bytes())?;
    write_file(&folder.join(BASE), base(config).as_bytes())?;
    Ok(folder)
}

fn base(config: &Config) -> String {
    config.without("sweep").to_yaml()
}

/// What a sweep was begun with, in its directory: as given, but for credentials, which are asked for anew.
pub(crate) fn kept_configuration(folder: &Path) -> Result<PathBuf, Stop> {
    let shown = folder.display();
    let problem = if !folder.is_dir() {
        "there is no such directory".to_owned()
    } else if !folder.join(BASE).is_file() {
        format!("it is no sweep's directory: it has no {BASE}")
    } else {
        return Ok(folder.join(CONFIG));
    };
    Err(Stop::new(Exit::BadConfiguration, format!("--resume-sweep {shown}: {problem}")))
}

/// A sweep's own directory, if what its runs have in common is still the same: else the table would compare what cannot
/// be compared.
fn resumed(folder: &Path, config: &Config) -> anyhow::Result<PathBuf> {
    let bad = |line: String| Stop::new(Exit::BadConfiguration, line);
    let path = folder.join(BASE);
    let theirs = std::fs::read_to_string(&path)
        .map_err(|error| bad(format!("cannot read {}: {error}", path.display())))?;
    let ours = base(config);
    let differs = ours.lines().find(|line| !theirs.lines().any(|known| known == *line));
    let lacks = theirs.lines().find(|line| !ours.lines().any(|known| known == *line));
    if let Some(line) = differs.or(lacks) {
        let shown = path.display();
        let line = format!(
            "--resume-sweep: the configuration is not that of {shown}; the first difference: {}",
            line.trim()
        );
        return Err(bad(line).into());
    }
    write_file(&folder.join(CONFIG), config.to_yaml().as_bytes())?;
    Ok(folder.to_owned())
}

/// Every run with what its summary says.
struct Table {
    view: SweepView,
    /// Of the runs that were made now, and of those that were found.
    exits: Vec<Exit>,
}

impl Table {
    /// Rounds over all points, and of each run what is there already.
    fn read(sweep: &Sweep, folder: &Path, name: String) -> Self {
        let rounds = (1..=sweep.repeats)
            .flat_map(|repeat| sweep.points.iter().map(move |point| (point, repeat)));
        let runs = rounds.map(|(point, repeat)| SweptRun {
            id: point.id(),
            overrides: point.overrides.clone(),
            repeat,
            directory: String::new(),
            result: None,
        });
        let view = SweepView { name, axis: sweep.axis(), runs: runs.collect() };
        let mut table = Self { view, exits: Vec::new() };
        for place in 0..table.view.runs.len() {
            let (point, repeat) = table.point(sweep, place);
            table.look(place, folder, &folder.join(place_of(point, repeat)));
            let found = table.view.runs[place].result.as_ref().map(Exit::of);
            table.exits.extend(found);
        }
        table
    }

    fn point<'a>(&self, sweep: &'a Sweep, place: usize) -> (&'a SweepPoint, u32) {
        (&sweep.points[place % sweep.points.len()], self.view.runs[place].repeat)
    }

    fn done(&self) -> usize {
        self.view.runs.iter().filter(|run| run.result.is_some()).count()
    }

    /// The newest whole run of one place.
    fn look(&mut self, place: usize, folder: &Path, output: &Path) {
        if let Some((directory, result)) = whole_run(output) {
            let run = &mut self.view.runs[place];
            run.directory = below(folder, &directory);
            run.result = Some(result);
        }
    }

    fn write_data(&self, folder: &Path) -> anyhow::Result<()> {
        let csv = report::sweep_csv(&self.view)?;
        write_file(&folder.join("sweep.csv"), csv.as_bytes())?;
        let json = format!("{:#}\n", report::sweep_json(&self.view));
        write_file(&folder.join("sweep.json"), json.as_bytes())?;
        Ok(())
    }

    fn write_reports(&self, folder: &Path) -> anyhow::Result<()> {
        write_file(&folder.join("sweep.md"), report::sweep_markdown(&self.view).as_bytes())?;
        write_file(&folder.join("sweep.html"), report::sweep_html(&self.view)?.as_bytes())?;
        let plots = report::sweep_plots(&self.view)?;
        if !plots.is_empty() {
            make(&folder.join("plots"))?;
        }
        for (name, picture) in plots {
            write_file(&folder.join("plots").join(format!("{name}.png")), &picture)?;
        }
        Ok(())
    }
}

/// The newest run in a folder that reached its own end.
fn whole_run(output: &Path) -> Option<(PathBuf, RunResult)> {
    let found = entries(output).ok()?;
    let read = |directory: PathBuf| {
        let run = StoredRun::read_summary(&directory).ok()?;
        (!run.result.facts.interrupted).then_some((directory, run.result))
    };
    found.into_iter().rev().filter(|entry| entry.finished).find_map(|entry| read(entry.directory))
}
