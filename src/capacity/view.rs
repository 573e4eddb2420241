//! A search that is over, as it is shown and written.

use std::{cmp::Reverse, collections::BTreeMap, path::Path};

use metrics::{Metric, Percentile, RunResult, Status};
use report::{CapacityView, TriedLevel, TriedRun, write_file};
use workload::search::{Found, Judgement, Level, Outcome, Search, SearchBy, knee};

use super::{
    Tried,
    reading::{capped, objectives},
};
use crate::many::make;

/// The generator could not offer it.
const NOT_OFFERED: &str = "not offered";

/// What was looked for, and by whom.
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    pub(super) by: SearchBy,
    /// That were asked for; a run that had fewer is remarked on.
    pub(super) workers: u32,
}

pub(super) fn view(
    subject: &Subject<'_>,
    search: &Search,
    found: Found,
    tried: &[Tried],
) -> CapacityView {
    let Subject { name, by, workers } = *subject;
    let repeats = search.rules().repeats;
    let levels: Vec<TriedLevel> =
        search.levels().iter().map(|level| line(level, repeats, tried)).collect();
    let demands = tried.first().map(|first| demands(&first.result)).unwrap_or_default();
    let curve: Vec<(f64, f64)> = levels.iter().map(|level| power(level, tried)).collect();
    CapacityView {
        name: name.to_owned(),
        by: by_name(by),
        unit: by.unit(),
        outcome: outcome_name(found.outcome),
        meaning: meaning(found).to_owned(),
        holds: found.holds,
        fails: found.fails,
        not_offered: found.not_offered,
        certain: found.certain,
        knee: knee(&curve).map(|place| levels[place].level),
        workers,
        objectives: demands,
        remarks: tried
            .iter()
            .filter_map(|run| remark(run, by, workers))
            .chain(doubts(tried, by.unit()))
            .collect(),
        levels,
    }
}

/// Throughput and latency; of a level that did not reach the service they are those of another load.
fn power(level: &TriedLevel, tried: &[Tried]) -> (f64, f64) {
    let mut runs = tried.iter().filter(|run| run.level == level.level);
    let is_capped = runs.any(|run| capped(&run.result.verdict.reasons).is_some());
    if is_capped || level.judgement == NOT_OFFERED {
        return (0.0, 0.0);
    }
    (level.throughput.unwrap_or(0.0), level.e2e_us[0].unwrap_or(0.0))
}

/// For programs.
pub(super) fn by_name(by: SearchBy) -> &'static str {
    match by {
        SearchBy::Rate => "rate",
        SearchBy::Concurrency => "concurrency",
    }
}

/// A run that had fewer workers than were asked for.
fn remark(run: &Tried, by: SearchBy, asked: u32) -> Option<String> {
    let had = run.result.facts.workers;
    let level = super::shown(run.level);
    (had < asked)
        .then(|| format!("a run at {level} {} was offered by {had} of {asked} workers", by.unit()))
}

/// At which levels a verdict was not VALID and why, a line for each reason, the graver first: such a level may have been
/// judged by what the reason made of its figures.
fn doubts(tried: &[Tried], unit: &str) -> Vec<String> {
    let mut levels: BTreeMap<(Reverse<Status>, &str), Vec<f64>> = BTreeMap::new();
    for run in tried {
        let reasons = run.result.verdict.reasons.iter();
        for reason in reasons.filter(|reason| reason.status != Status::Valid) {
            levels
                .entry((Reverse(reason.status), reason.code.as_str()))
                .or_default()
                .push(run.level);
        }
    }
    let line = |((Reverse(status), code), mut levels): ((Reverse<Status>, &str), Vec<f64>)| {
        levels.sort_by(f64::total_cmp);
        levels.dedup();
        let shown: Vec<String> = levels.into_iter().map(super::shown).collect();
        format!("{} for `{code}` at {} {unit}", status.name(), shown.join(", "))
    };
    levels.into_iter().map(line).collect()
}

/// Of the run and of its classes.
fn demands(result: &RunResult) -> Vec<String> {
    objectives(result).map(|objective| objective.demand()).collect()
}

fn line(level: &Level, repeats: usize, tried: &[Tried]) -> TriedLevel {
    let (judgement, certain) = match level.judgement(repeats) {
        Judgement::Holds { certain } => ("holds", certain),
        Judgement::Fails { certain } => ("fails", certain),
        Judgement::Blind => ("too few samples", false),
        Judgement::NotOffered => (NOT_OFFERED, false),
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
        runs: runs.into_iter().map(tried_run).collect(),
    }
}

fn tried_run(run: &Tried) -> TriedRun {
    let verdict = &run.result.verdict;
    TriedRun {
        directory: run.directory.clone(),
        status: verdict.status,
        codes: verdict.reasons.iter().map(|reason| reason.code.clone()).collect(),
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

fn meaning(found: Found) -> &'static str {
    match found.outcome {
        Outcome::Bracketed => "the objectives hold at one level and not at the other",
        Outcome::AtLeast => "the highest level that may be tried holds: raise `search.most`",
        Outcome::NoneHolds => "the objectives fail even at the lowest level",
        Outcome::GeneratorLimit => of_the_generator(found.holds.is_some(), found.fails.is_some()),
        Outcome::TooFewSamples => {
            "probes are too short for these objectives: raise `benchmark.duration`"
        }
        Outcome::ProbesUsedUp => "the search ended before the bounds were as narrow as asked for",
    }
}

/// What was known of the service where the generator ended a search.
fn of_the_generator(a_level_holds: bool, a_level_fails: bool) -> &'static str {
    match (a_level_holds, a_level_fails) {
        (true, false) => "the generator reached its limit before the service did: use more workers",
        (true, true) => {
            "the generator could not offer what lies between the level that holds and the one that fails: use more workers"
        }
        (false, true) => {
            "the generator could not offer what lies under the level that fails: use more workers"
        }
        (false, false) => {
            "nothing is known of the service: the generator could offer no level at which its objectives can be judged"
        }
    }
}

/// `capacity.json`, the page and the picture.
pub(super) fn write(view: &CapacityView, folder: &Path) -> anyhow::Result<()> {
    let json = format!("{:#}\n", report::capacity_json(view));
    write_file(&folder.join("capacity.json"), json.as_bytes())?;
    write_file(&folder.join("capacity.html"), report::capacity_html(view)?.as_bytes())?;
    if let Some(picture) = report::capacity_plot(view)? {
        make(&folder.join("plots"))?;
        write_file(&folder.join("plots").join("latency_against_load.png"), &picture)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use workload::search::{Next, Reading, SearchRules};

    use super::*;
    use crate::{
        capacity::{
            exit_of,
            reading::{
                reading,
                tests::{shedding, ttft},
            },
        },
        exit::Exit,
    };

    const RULES: SearchRules = SearchRules {
        from: 10.0,
        least: 5.0,
        most: 1e6,
        precision: 1.0,
        repeats: 3,
        probes: 40,
        whole: false,
    };
    const SUBJECT: Subject<'_> = Subject { name: "demo", by: SearchBy::Rate, workers: 0 };

    /// A search to its end with what each level's run shows, and how that is read.
    fn searched(probe: impl Fn(f64) -> (Reading, RunResult)) -> (Found, CapacityView) {
        let (mut search, mut tried) = (Search::new(RULES), Vec::new());
        loop {
            let level = match search.next() {
                Next::Done(found) => return (found, view(&SUBJECT, &search, found, &tried)),
                Next::Probe(level) => level,
            };
            let (reading, result) = probe(level);
            search.record(level, reading);
            let directory = format!("runs/{}", tried.len());
            tried.push(Tried { level, directory, result, nearest: String::new() });
        }
    }

    #[test]
    fn every_doubt_of_a_verdict_is_remarked_on_with_its_levels() {
        let (found, view) = searched(|level| {
            let result = shedding(if level > 10.0 { 60 } else { 0 }, vec![ttft()]);
            (reading(&result).0, result)
        });
        assert_eq!((found.holds, found.fails), (Some(10.0), Some(20.0)));
        assert_eq!(view.remarks, ["SUSPECT for `failures` at 20 requests/s"]);
        let codes = |place: usize| view.levels[place].runs[0].codes.as_slice();
        assert_eq!((codes(0), codes(1)), (&[][..], &["failures".to_owned()][..]));
        assert_eq!(view.levels[1].runs[0].status, Status::Suspect);
    }

    #[test]
    fn a_search_of_which_nothing_could_be_offered_says_nothing_of_the_service() {
        let (found, view) = searched(|_| (Reading::NotOffered, shedding(0, vec![ttft()])));
        assert_eq!((view.outcome, view.not_offered), ("generatorLimit", Some(5.0)));
        assert!(view.meaning.starts_with("nothing is known of the service"), "{}", view.meaning);
        assert_eq!((view.holds, view.fails, view.knee), (None, None, None));
        assert!(exit_of(found) == Exit::Invalid, "no objective was missed");
    }
}
