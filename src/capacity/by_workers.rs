//! `--worker-counts`: the search once with each of some numbers of workers, and one table over all.
//!
//! Where the generator is the limit, more workers find more; where the service is, they find the same. So the table says
//! from which number on the answer is the service's. Each number has a directory of its own, as a search by itself would
//! have; the next one begins at the level that the last one found to hold.

use std::{num::NonZeroU32, path::Path};

use report::{CapacityByWorkers, CapacityOfCount, write_file};
use workload::search::SearchRules;

use super::{Hunt, Searched};
use crate::{crew::Crew, exit::Exit, many::make, say};

/// In rising order, each once; `None` where no flag asks for any.
pub(super) fn counts(asked: &[NonZeroU32]) -> Option<(Vec<NonZeroU32>, NonZeroU32)> {
    let mut counts = asked.to_vec();
    counts.sort_unstable();
    counts.dedup();
    let most = *counts.last()?;
    Some((counts, most))
}

/// Searches with each, and tells what was found; what ends one search early ends all.
pub(super) fn find(
    hunt: &Hunt<'_>,
    counts: &[NonZeroU32],
    crew: &Crew,
    folder: &Path,
) -> anyhow::Result<Exit> {
    let mut table = CapacityByWorkers {
        name: hunt.name.clone(),
        by: hunt.by_name(),
        unit: hunt.by.unit(),
        counts: Vec::new(),
    };
    let (mut gravest, mut rules) = (Exit::Ok, hunt.rules);
    for count in counts {
        eprintln!("with {count} of the workers:");
        let directory = format!("workers-{count}");
        let place = folder.join(&directory);
        make(&place)?;
        let Searched { view, exit, ended } = hunt.search(rules, &crew.part(*count), &place)?;
        rules = next(hunt.rules, view.holds);
        table.counts.push(CapacityOfCount { directory, view });
        write(&table, folder)?;
        ended?;
        gravest = gravest.gravest(exit);
        if exit == Exit::Interrupted {
            break;
        }
    }
    print(&table, folder, hunt)?;
    Ok(gravest)
}

/// Begins where the last search has found a level that holds.
fn next(rules: SearchRules, holds: Option<f64>) -> SearchRules {
    SearchRules { from: holds.unwrap_or(rules.from), ..rules }
}

fn write(table: &CapacityByWorkers, folder: &Path) -> anyhow::Result<()> {
    let json = format!("{:#}\n", report::capacity_by_workers_json(table));
    write_file(&folder.join("capacity.json"), json.as_bytes())?;
    write_file(&folder.join("capacity.html"), report::capacity_by_workers_html(table)?.as_bytes())?;
    if let Some(picture) = report::capacity_by_workers_plot(table)? {
        make(&folder.join("plots"))?;
        write_file(&folder.join("plots").join("capacity_by_workers.png"), &picture)?;
    }
    Ok(())
}

fn print(table: &CapacityByWorkers, folder: &Path, hunt: &Hunt<'_>) -> anyhow::Result<()> {
    if hunt.arguments.format.json {
        let json = report::capacity_by_workers_json(table);
        return Ok(say(&serde_json::to_string_pretty(&json)?)?);
    }
    let width = terminal_size::terminal_size().map(|(width, _)| width.0);
    say(&report::capacity_by_workers_text(table, width.unwrap_or(report::DEFAULT_WIDTH)))?;
    let shown = folder.display();
    Ok(say(&format!(
        "Results: {shown}\nReport:  {shown}/capacity.html, and one beside the runs of each number of workers"
    ))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_workers_are_tried_in_rising_order_and_once() {
        let of = |numbers: &[u32]| {
            counts(&numbers.iter().filter_map(|n| NonZeroU32::new(*n)).collect::<Vec<_>>())
        };
        let (counts, most) = of(&[4, 1, 2, 4]).unwrap();
        assert_eq!(counts.iter().map(|count| count.get()).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(most.get(), 4);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_next_search_begins_where_the_last_one_held() {
        let rules = SearchRules {
            from: 10.0,
            least: 0.1,
            most: 1e6,
            precision: 0.05,
            repeats: 3,
            probes: 40,
            whole: false,
        };
        assert_eq!(next(rules, Some(37.0)).from, 37.0);
        assert_eq!(next(rules, None), rules, "nothing held: it begins as the first one did");
    }
}
