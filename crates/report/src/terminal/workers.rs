//! The fleet, worker by worker: what each offered and how well, for whoever asks which machine was not like the others.
//!
//! A run on one machine has no such table. A long fleet shows the ten workers that most need a look and what the others
//! have in common, because nobody reads two hundred rows; all of them are in summary.json.

use std::{cmp::Reverse, time::Duration};

use metrics::{RunResult, WorkerLost, WorkerResult};

use super::aligned;
use crate::figures::{
    ABSENT, GLUE, counted, length, milliseconds, or_absent, percent, quantity, thousands, wrapped,
};

/// Rows of a fleet that is shown whole.
const MOST_ROWS: usize = 12;
/// Rows of a longer one; the others are summed up in a line.
const WORST: usize = 10;
/// Characters of a name. Names of pods differ in their ends.
const NAME: usize = 24;
/// Clocks that are further apart, such as those of machines that were started on different days, are not told in milliseconds.
const FAR_US: u64 = 10_000_000;

/// The table; nothing for a worker that is alone.
pub(super) fn workers(result: &RunResult, width: u16) -> String {
    let all = &result.workers;
    if all.len() < 2 {
        return String::new();
    }
    let (shown, others) = chosen(all);
    let columns = Columns::of(&shown, width.into());
    let table = aligned(&columns.header(), columns.rows(&shown), width);
    let mut lines = vec![table.replace(GLUE, " ")];
    lines.push(wrapped(&columns.note(), width.into(), 2));
    if !others.is_empty() {
        lines.push(wrapped(&in_common(&others), width.into(), 2));
    }
    lines.join("\n")
}

/// Those with a row, in order of their numbers, and those without.
fn chosen(all: &[WorkerResult]) -> (Vec<&WorkerResult>, Vec<&WorkerResult>) {
    let mut ranked: Vec<_> = all.iter().collect();
    if ranked.len() <= MOST_ROWS {
        return (ranked, Vec::new());
    }
    ranked.sort_by_key(|worker| Reverse(trouble(worker)));
    let others = ranked.split_off(WORST);
    ranked.sort_by_key(|worker| (worker.ordinal, worker.incarnation));
    (ranked, others)
}

/// What makes a worker worth a look, the worst first: it was lost, requests of it failed, it was late.
fn trouble(worker: &WorkerResult) -> (bool, u64, Option<u64>) {
    let failed = worker.books.failed_total().saturating_mul(1_000);
    let permille = failed.checked_div(worker.books.started()).unwrap_or_default();
    (worker.lost.is_some(), permille, worker.generator_lag_p99_us)
}

/// Which columns have something to say, and room for it.
#[derive(Clone, Copy)]
struct Columns {
    hosts: bool,
    /// CPU and clocks.
    clocks: bool,
    /// Somebody was lost.
    lost: bool,
}

impl Columns {
    fn of(shown: &[&WorkerResult], width: usize) -> Self {
        let hosts = shown.windows(2).any(|pair| pair[0].host != pair[1].host);
        let lost = shown.iter().any(|worker| worker.lost.is_some());
        let all = Self { hosts, clocks: true, lost };
        let unnamed = Self { hosts: false, ..all };
        let fitting = [all, unnamed].into_iter().find(|columns| columns.width(shown) <= width);
        fitting.unwrap_or(Self { clocks: false, ..unnamed })
    }

    /// Characters of a line in which no cell is broken.
    fn width(self, shown: &[&WorkerResult]) -> usize {
        const MARGINS: usize = 3;
        let mut widths: Vec<_> = self.header().iter().map(|cell| cell.chars().count()).collect();
        for row in self.rows(shown) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        widths.iter().map(|width| width + MARGINS).sum()
    }

    fn rows(self, shown: &[&WorkerResult]) -> Vec<Vec<String>> {
        shown.iter().map(|worker| self.row(worker)).collect()
    }

    fn header(self) -> Vec<&'static str> {
        let mut header = vec!["worker"];
        header.extend(self.hosts.then_some("host"));
        header.extend(["share", "due", "sent", "done", "failed", "lag p99"]);
        if self.clocks {
            header.extend(["CPU s", "skew", "clock"]);
        }
        header.extend(self.lost.then_some("lost"));
        header
    }

    fn row(self, worker: &WorkerResult) -> Vec<String> {
        let books = &worker.books;
        let mut row = vec![worker.ordinal.to_string()];
        row.extend(self.hosts.then(|| shortened(&worker.host)));
        row.push(or_absent(worker.share, percent));
        let sent = books.started().saturating_add(books.lost.in_flight_at_last_snapshot);
        row.extend([books.due, sent, books.completed, books.failed_total()].map(thousands));
        row.push(ms_or_absent(worker.generator_lag_p99_us));
        if self.clocks {
            row.push(or_absent(worker.cpu_seconds, quantity));
            row.push(signed(worker.start_skew_us));
            let error = milliseconds(worker.clock_error_us as f64);
            row.push(glued(&format!("{} ± {error}", signed(worker.clock_offset_us))));
        }
        row.extend(self.lost.then(|| worker.lost.map_or_else(String::new, fate)));
        row
    }

    fn note(self) -> String {
        let mut note = "lag: the worker's own lateness, in ms".to_owned();
        if self.clocks {
            note.push_str(
                "; skew: its start against the agreed one, clock: the coordinator's less its own, both in ms",
            );
        }
        if self.lost {
            note.push_str("; lost: when it was missed, and from when on others sent its share");
        }
        note
    }
}

fn fate(lost: WorkerLost) -> String {
    let heirs = lost.taken_over_at.map_or_else(|| "nobody".to_owned(), length);
    glued(&format!("{}, {heirs}", length(lost.at)))
}

/// A cell that stays on one line.
fn glued(text: &str) -> String {
    text.replace(' ', &GLUE.to_string())
}

/// The others in one line: from the least to the most.
fn in_common(others: &[&WorkerResult]) -> String {
    let range = |figure: fn(&WorkerResult) -> Option<u64>, shown: fn(u64) -> String| {
        let figures = || others.iter().filter_map(|worker| figure(worker));
        match (figures().min(), figures().max()) {
            (Some(least), Some(most)) if least == most => shown(least),
            (Some(least), Some(most)) => format!("{} to {}", shown(least), shown(most)),
            _ => ABSENT.to_owned(),
        }
    };
    let ms = |us: u64| milliseconds(us as f64);
    let failed: u64 = others.iter().map(|worker| worker.books.failed_total()).sum();
    let skew = others.iter().map(|worker| worker.start_skew_us.unsigned_abs()).max();
    format!(
        "and {}: {} due, {} done, {} failed in all, lag p99 {} ms, skew at most {} ms; \
         summary.json has each",
        counted(others.len() as u64, "other worker"),
        range(|worker| Some(worker.books.due), thousands),
        range(|worker| Some(worker.books.completed), thousands),
        thousands(failed),
        range(|worker| worker.generator_lag_p99_us, ms),
        ms_or_absent(skew),
    )
}

/// A long name by its end.
fn shortened(name: &str) -> String {
    let characters = name.chars().count();
    if characters <= NAME {
        return name.to_owned();
    }
    let end: String = name.chars().skip(characters - (NAME - 1)).collect();
    format!("…{end}")
}

fn ms_or_absent(us: Option<u64>) -> String {
    or_absent(us, |us| milliseconds(us as f64))
}

/// Milliseconds with a sign where it is below zero; a long time in its own units.
fn signed(us: i64) -> String {
    let sign = if us < 0 { "-" } else { "" };
    match us.unsigned_abs() {
        far if far >= FAR_US => format!("{sign}{}", length(Duration::from_micros(far))),
        near => format!("{sign}{}", milliseconds(near as f64)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{example, table};
    use super::*;

    /// Twenty seconds of so many workers; the third was late, the second was lost.
    fn fleet(count: u32) -> RunResult {
        let mut result = example::one_stage();
        let one = result.workers[0].clone();
        result.workers = (0..count)
            .map(|ordinal| {
                let mut worker = WorkerResult { ordinal, ..one.clone() };
                worker.host = format!("tokenstorm-worker-pool-a-{ordinal}-x{ordinal}k9");
                worker.share = Some(1.0 / f64::from(count));
                worker.generator_lag_p99_us = Some(200 + u64::from(ordinal));
                worker
            })
            .collect();
        result.facts.workers = count;
        result.workers[2].generator_lag_p99_us = Some(18_400);
        let worker = &mut result.workers[1];
        worker.books.completed -= 3;
        worker.books.lost.in_flight_at_last_snapshot = 1;
        worker.books.lost.due_after_last_snapshot = 2;
        worker.lost = Some(WorkerLost {
            at: Duration::from_millis(8_600),
            taken_over_at: Some(Duration::from_secs(10)),
            in_flight_at_last_snapshot: 1,
            due_after_last_snapshot: 2,
            without_owner: 0,
        });
        result
    }

    #[test]
    fn a_worker_alone_has_no_table() {
        assert_eq!(workers(&example::one_stage(), 100), "");
    }

    #[test]
    fn each_worker_of_a_fleet_has_a_row() {
        insta::assert_snapshot!(workers(&fleet(3), 140), @r"
         worker                       host    share     due    sent    done   failed   lag p99   CPU s    skew            clock          lost
        ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
         0        …rm-worker-pool-a-0-x0k9   33.3 %   2,000   2,000   2,000        0     0.200    1.50   0.140   -0.035 ± 0.060
         1        …rm-worker-pool-a-1-x1k9   33.3 %   2,000   1,998   1,997        0     0.201    1.50   0.140   -0.035 ± 0.060   8.6 s, 10 s
         2        …rm-worker-pool-a-2-x2k9   33.3 %   2,000   2,000   2,000        0      18.4    1.50   0.140   -0.035 ± 0.060
        lag: the worker's own lateness, in ms; skew: its start against the agreed one, clock: the coordinator's less its own, both in ms; lost: when
          it was missed, and from when on others sent its share
        ");
    }

    #[test]
    fn of_a_long_fleet_ten_are_shown_and_the_others_summed_up() {
        let text = workers(&fleet(200), 140);
        assert_eq!(text.matches("-pool-a-").count(), 10);
        let rows: Vec<_> = text.lines().map(str::trim).collect();
        assert!(rows.iter().any(|row| row.starts_with("1 ") && row.ends_with("8.6 s, 10 s")));
        assert!(rows.iter().any(|row| row.starts_with("2 ") && row.contains("18.4")));
        assert!(rows.iter().any(|row| row.starts_with("199 ")));
        let others = "and 190 other workers: 2,000 due, 2,000 done, 0 failed in all, lag p99 0.200 to 0.391 ms";
        assert!(text.contains(others), "{text}");
    }

    #[test]
    fn no_line_of_a_fleet_is_wider_than_the_terminal() {
        for width in [60, 76, 80, 100, 140] {
            for line in table(&fleet(200), width).lines() {
                assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
            }
        }
    }

    #[test]
    fn one_machine_has_no_names_to_tell_apart() {
        let mut result = fleet(3);
        result.workers.iter_mut().for_each(|worker| "here".clone_into(&mut worker.host));
        assert!(!workers(&result, 140).contains("here"));
        assert!(!workers(&fleet(3), 100).contains("pool"), "no room for names");
    }

    #[test]
    fn clocks_of_machines_that_were_started_on_different_days_are_not_told_in_milliseconds() {
        assert_eq!(signed(-35), "-0.035");
        assert_eq!(signed(9_000_000), "9,000");
        assert_eq!(signed(-93_600_000_000), "-26 h 00 min");
    }

    #[test]
    fn a_long_name_is_known_by_its_end() {
        assert_eq!(shortened("node-7"), "node-7");
        let name = shortened("tokenstorm-worker-of-a-long-name-kxg6q");
        assert!(name.starts_with('…') && name.ends_with("name-kxg6q"), "{name}");
        assert_eq!(name.chars().count(), NAME);
    }
}
