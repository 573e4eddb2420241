//! `--find-capacity`: runs at one level after the other, until it is known where the objectives cease to hold.
//!
//! Which level comes next is decided by [`workload::search`]; here a level becomes a run, and its result a reading.
//! Each run has fresh prompts (a salt of its own), or the prefix cache that the one before has filled would make the next
//! one look better.

use std::path::{Path, PathBuf};

use metrics::{
    Figure, Metric, Outcome as Verdict, Percentile, RunResult, SloResult, Statistic, Status,
};
use report::{CapacityView, TriedLevel, write_file};
use serde_json::{Value, json};
use workload::{
    Config,
    search::{
        Found, Judgement, Next, Outcome, Reading, Search, SearchBy, SearchRules, knee, pause,
    },
};

use crate::{
    benchmark::BenchmarkArgs,
    crew::Crew,
    exit::{Exit, Stop},
    many::{Listener, below, make},
    say,
    settings::Loaded,
};

/// What a run says of the generator, not of the service.
const GENERATORS: [&str; 6] =
    ["generator_lag", "generator_limit", "lost", "no_owner", "no_lease", "books"];
/// A level that is beyond doubt too much.
const FAILS: Reading = Reading::Margin { margin: -1.0, half_width: Some(0.0) };

/// A run of the search.
struct Tried {
    level: f64,
    directory: String,
    result: RunResult,
    nearest: String,
}

/// Searches, and tells what was found.
pub(crate) fn find(loaded: Loaded, arguments: &BenchmarkArgs, crew: &Crew) -> anyhow::Result<Exit> {
    let (by, rules) =
        SearchRules::of(&loaded.config).map_err(|problems| Stop::bad_configuration(&problems))?;
    let listener = Listener::start()?;
    let config = fresh(&loaded.config)?;
    let name = config.text("benchmark.name").unwrap_or("benchmark").to_owned();
    let folder = arguments.directory_of_many(&name, "capacity")?;
    write_file(&folder.join("config.yaml"), loaded.config.to_yaml().as_bytes())?;
    let mut search = Search::new(rules);
    let mut tried: Vec<Tried> = Vec::new();
    let found = loop {
        let level = match search.next() {
            Next::Done(found) => break Some(found),
            Next::Probe(level) => level,
        };
        if !tried.is_empty() {
            listener.pause(pause(&loaded.config));
        }
        if listener.told_to_end() {
            break None;
        }
        eprintln!("probe {}: {} {}", search.probes() + 1, shown(level), by.unit());
        let output = folder.join("runs");
        let at = Loaded {
            config: at_level(&config, by, level)?,
            credentials: loaded.credentials.clone(),
        };
        let ended = arguments.run_quietly(at, &output, crew)?;
        let Some((directory, result)) = whole_run(&ended.directory) else { break None };
        let (reading, nearest) = reading(&result);
        eprintln!("  {}", told(reading, &nearest));
        search.record(level, reading);
        tried.push(Tried { level, directory: below(&folder, &directory), result, nearest });
    };
    let found = found.unwrap_or(Found {
        outcome: Outcome::ProbesUsedUp,
        holds: None,
        fails: None,
        certain: false,
    });
    let view = view(&name, by, crew.size().expected.get(), &search, found, &tried);
    write(&view, &folder)?;
    print(&view, &folder, arguments)?;
    Ok(if listener.told_to_end() { Exit::Interrupted } else { exit(found) })
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

/// What a run shows: the objective that is nearest to its limit, or worst beyond it, decides.
fn reading(result: &RunResult) -> (Reading, String) {
    let reason = |codes: &[&str]| {
        let mut reasons = result.verdict.reasons.iter();
        reasons.find(|reason| {
            codes.contains(&reason.code.as_str()) && reason.status == Status::Invalid
        })
    };
    if let Some(reason) = reason(&GENERATORS) {
        return (Reading::NotOffered, reason.message.clone());
    }
    if let Some(stopped) = &result.stopped {
        return (FAILS, format!("the load was ended early: {}", stopped.reason));
    }
    let held_back = result.verdict.reasons.iter().find(|reason| reason.code == "capped");
    if let Some(reason) = reason(&["nothing_answered"]).or(held_back) {
        return (FAILS, reason.message.clone());
    }
    let of_classes = result.classes.iter().flat_map(|class| &class.window.slos);
    let slos: Vec<&SloResult> = result.overall.slos.iter().chain(of_classes).collect();
    let words = |slo: &SloResult| {
        let (demand, figure) = report::objective(slo);
        format!("{demand}: {figure}")
    };
    let margins = slos.iter().filter_map(|slo| Some((margin(slo)?, *slo)));
    let nearest = margins.min_by(|one, other| one.0.total_cmp(&other.0));
    let undecided = slos.iter().find(|slo| matches!(slo.outcome, Verdict::Undecided(_)));
    match (nearest, undecided) {
        (Some((margin, slo)), None) => {
            (Reading::Margin { margin, half_width: half_width(slo, result) }, words(slo))
        }
        (Some((margin, slo)), Some(_)) if margin < 0.0 => {
            (Reading::Margin { margin, half_width: half_width(slo, result) }, words(slo))
        }
        (_, Some(slo)) => (Reading::Blind, words(slo)),
        (None, None) => (Reading::Blind, "no objective of the run as a whole".to_owned()),
    }
}

/// Distance from the limit as a share of it; above 0 it is met.
fn margin(slo: &SloResult) -> Option<f64> {
    let limit = slo.slo.limit;
    let Some(figure) = slo.figure else { return (slo.outcome == Verdict::Missed).then_some(-1.0) };
    if limit <= 0.0 {
        return Some(if slo.outcome == Verdict::Met { 1.0 } else { -1.0 });
    }
    Some(match slo.slo.figure.bound() {
        metrics::Bound::AtMost => (limit - figure) / limit,
        metrics::Bound::AtLeast => (figure - limit) / limit,
    })
}

/// Half of the 95 % interval of the headline's figure, as a share of the limit.
fn half_width(slo: &SloResult, result: &RunResult) -> Option<f64> {
    let Figure::Of(metric, Statistic::Percentile(scaled)) = slo.slo.figure else { return None };
    let percentile = Percentile::ALL
        .into_iter()
        .find(|percentile| percentile.permille() * 10 == u32::from(scaled))?;
    let interval = result.overall.metrics.get(&metric)?.ci95.get(&percentile)?;
    let width = (interval.high - interval.low) as f64 / f64::from(metric.kind().units_per_shown());
    Some(width / 2.0 / slo.slo.limit)
}

fn told(reading: Reading, nearest: &str) -> String {
    match reading {
        Reading::Margin { margin, .. } if margin >= 0.0 => format!("within: {nearest}"),
        Reading::Margin { .. } => format!("beyond: {nearest}"),
        Reading::Blind => format!("not to be judged: {nearest}"),
        Reading::NotOffered => format!("not offered: {nearest}"),
    }
}

fn shown(level: f64) -> String {
    if level.fract() == 0.0 { format!("{level:.0}") } else { format!("{level:.3}") }
}

fn view(
    name: &str,
    by: SearchBy,
    workers: u32,
    search: &Search,
    found: Found,
    tried: &[Tried],
) -> CapacityView {
    let repeats = search.rules().repeats;
    let levels: Vec<TriedLevel> =
        search.levels().iter().map(|level| line(level, repeats, tried)).collect();
    let objectives = tried.first().map(|first| objectives(&first.result)).unwrap_or_default();
    let curve: Vec<(f64, f64)> = levels
        .iter()
        .map(|level| (level.throughput.unwrap_or(0.0), level.e2e_us[0].unwrap_or(0.0)))
        .collect();
    CapacityView {
        name: name.to_owned(),
        by: if by == SearchBy::Rate { "rate" } else { "concurrency" },
        unit: by.unit(),
        outcome: outcome_name(found.outcome),
        meaning: meaning(found.outcome).to_owned(),
        holds: found.holds,
        fails: found.fails,
        certain: found.certain,
        knee: knee(&curve).map(|place| levels[place].level),
        workers,
        objectives,
        levels,
    }
}

fn objectives(result: &RunResult) -> Vec<String> {
    result.overall.slos.iter().map(|slo| report::objective(slo).0).collect()
}

fn line(level: &workload::search::Level, repeats: usize, tried: &[Tried]) -> TriedLevel {
    let (judgement, certain) = match level.judgement(repeats) {
        Judgement::Holds { certain } => ("holds", certain),
        Judgement::Fails { certain } => ("fails", certain),
        Judgement::Blind => ("too few samples", false),
        Judgement::NotOffered => ("not offered", false),
        Judgement::Open => ("open", false),
    };
    let runs: Vec<&Tried> = tried.iter().filter(|run| run.level == level.level).collect();
    let of = |value: &dyn Fn(&RunResult) -> Option<f64>| {
        median(runs.iter().filter_map(|run| value(&run.result)).collect())
    };
    let percentile = |metric: Metric, percentile: Percentile| {
        of(&|result| Some(result.overall.metrics.get(&metric)?.percentile(percentile)? as f64))
    };
    let both = |metric| [percentile(metric, Percentile::P50), percentile(metric, Percentile::P99)];
    TriedLevel {
        level: level.level,
        judgement,
        certain,
        margin: level.margin(),
        nearest: runs.last().map(|run| run.nearest.clone()).unwrap_or_default(),
        throughput: of(&|result| result.overall.rates.throughput),
        tokens_per_second: of(&|result| result.overall.rates.tokens_per_second),
        ttft_us: both(Metric::Ttft),
        e2e_us: both(Metric::E2eLatency),
        directories: runs.iter().map(|run| run.directory.clone()).collect(),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Bracketed => "bracketed",
        Outcome::AtLeast => "atLeast",
        Outcome::NoneHolds => "noneHolds",
        Outcome::GeneratorLimit => "generatorLimit",
        Outcome::TooFewSamples => "tooFewSamples",
        Outcome::ProbesUsedUp => "unfinished",
    }
}

fn meaning(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Bracketed => "the objectives hold at one level and not at the other",
        Outcome::AtLeast => "the highest level that may be tried holds: raise `search.most`",
        Outcome::NoneHolds => "the objectives fail even at the lowest level",
        Outcome::GeneratorLimit => {
            "the generator reached its limit before the service did: use more workers"
        }
        Outcome::TooFewSamples => {
            "probes are too short for these objectives: raise `benchmark.duration`"
        }
        Outcome::ProbesUsedUp => "the search ended before the bounds were as narrow as asked for",
    }
}

fn exit(found: Found) -> Exit {
    match (found.outcome, found.holds) {
        (Outcome::NoneHolds, _) => Exit::SloMissed,
        (_, None) => Exit::Invalid,
        (_, Some(_)) => Exit::Ok,
    }
}

fn write(view: &CapacityView, folder: &Path) -> anyhow::Result<()> {
    let json = format!("{:#}\n", report::capacity_json(view));
    write_file(&folder.join("capacity.json"), json.as_bytes())?;
    write_file(&folder.join("capacity.html"), report::capacity_html(view)?.as_bytes())?;
    if let Some(picture) = report::capacity_plot(view)? {
        make(&folder.join("plots"))?;
        write_file(&folder.join("plots").join("latency_against_load.png"), &picture)?;
    }
    Ok(())
}

fn print(view: &CapacityView, folder: &Path, arguments: &BenchmarkArgs) -> anyhow::Result<()> {
    if arguments.format.json {
        return Ok(say(&serde_json::to_string_pretty(&report::capacity_json(view))?)?);
    }
    let width = terminal_size::terminal_size().map(|(width, _)| width.0);
    say(&report::capacity_text(view, width.unwrap_or(report::DEFAULT_WIDTH)))?;
    let shown = folder.display();
    Ok(say(&format!("Results: {shown}\nReport:  {shown}/capacity.html"))?)
}
