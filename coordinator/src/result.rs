//! From the merged books to the run's result.
//!
//! Here alone the plan meets what was reported: what the schedule says was due and no worker answered
//! for is `lost`, so a silent gap cannot exist.

use std::{collections::BTreeMap, time::Duration};

use metrics::{
    Books, GroupDescription, Interval, NotSent, RunFacts, RunRecord, Scope, Slos, StageDescription,
    StageWindow, StopReason, StoppedEarly, Warning, WorkerLost, WorkerResult,
};
use workload::{Cell, Plan};

use crate::{Ending, Member, Merged, Settlement, clock::unix_now_ns, outliers::outliers};

impl Merged {
    /// Everything that the result is computed from. `facts` are those that only the command knows; the
    /// others are filled in.
    #[must_use]
    pub fn record(&self, plan: &Plan, facts: RunFacts) -> RunRecord {
        let mut warnings = self.prepared.warnings.clone();
        let mut merged = self.ledger.total().clone();
        let stages = self.stages(plan, &merged);
        let settlement = self.ledger.settle(plan, self.offered_until(plan));
        for (scope, gap) in settlement.gaps.values().flatten() {
            let record = merged.scopes.entry(*scope).or_default();
            record.books.merge(gap);
            record.window.due += gap.due;
        }
        for (scope, requests) in settlement.beyond.values().flatten() {
            let record = merged.scopes.entry(*scope).or_default();
            record.books.take_back_without_lease(*requests);
            record.window.due = record.window.due.saturating_sub(*requests);
        }
        let members = self.roster.members();
        let due = merged.books().due;
        let workers: Vec<_> =
            members.filter_map(|member| self.worker(member, &settlement, due)).collect();
        warnings.extend(self.warnings());
        warnings.extend(workers.iter().filter_map(lost));
        warnings.extend(outliers(&workers));
        RunRecord {
            facts: self.facts(facts, &merged),
            stages,
            classes: groups(
                plan,
                plan.classes.iter().map(|c| (c.name.clone(), c.weight, c.slos.clone())),
                |cell| cell.class,
            ),
            targets: groups(
                plan,
                plan.targets.iter().map(|t| (t.name.clone(), t.weight, Slos::default())),
                |cell| cell.target,
            ),
            turns: turns(plan, &merged),
            workers,
            merged,
            series: self.ledger.series().clone(),
            warnings,
            failures: self.ledger.samples().cloned().collect(),
            slos: plan.slos.clone(),
            stopped: self.stopped_at.zip(self.stop_reason.clone()).map(early),
        }
    }

    fn facts(&self, facts: RunFacts, merged: &Interval) -> RunFacts {
        let assigned = || self.roster.members().filter_map(|member| member.assigned.as_ref());
        let accounts = self.ledger.accounts();
        let kernel = accounts.values().filter(|account| account.kernel_stamps).count();
        RunFacts {
            started_at_unix_ns: self.start_unix_ns.unwrap_or(facts.started_at_unix_ns),
            ended_at_unix_ns: unix_now_ns(),
            workers: u32::try_from(self.roster.len()).unwrap_or(u32::MAX),
            lanes: assigned().map(|assigned| u32::from(assigned.lanes)).sum(),
            tokenizer: assigned().find_map(|assigned| assigned.tokenizer.clone()),
            token_source: token_source(merged),
            stamps: match kernel {
                all if all == accounts.len() => "kernel",
                0 => "user_space",
                _ => "mixed",
            }
            .to_owned(),
            interrupted: self.ending == Ending::Interrupted,
            degraded: matches!(self.ending, Ending::Degraded(_)),
            probe_requests: self.prepared.probe_requests,
            ..facts
        }
    }

    /// The plan's stages as they ended: at their end, at a stop, or with the last request.
    fn stages(&self, plan: &Plan, merged: &Interval) -> Vec<StageDescription> {
        // Numbers are those of requests that stand alone, and of sessions' first turns.
        let numbered = merged.scopes.iter().filter(|(scope, _)| scope.class < plan.first_cells());
        let due: u64 = numbered.map(|(_, record)| record.books.due).sum();
        let spent = plan.requests.is_some_and(|requests| due >= requests);
        let last_used = merged
            .scopes
            .iter()
            .filter(|(_, record)| record.books.due > 0)
            .map(|(scope, _)| usize::from(scope.stage))
            .max();
        let described = plan.stages.iter().enumerate().map(|(index, stage)| {
            let place = u16::try_from(index).unwrap_or(u16::MAX);
            let own_end = self.ledger.stage_ends().of(place);
            let ends = stage.end.into_iter().chain(self.stopped_at);
            let stopped = ends.chain(own_end.map(|stop| stop.at)).min();
            let end = match last_used {
                Some(last) if spent && index == last => None,
                Some(last) if spent && index > last => Some(stage.start),
                Some(_) | None => stopped.map(|end| end.max(stage.start)),
            };
            StageDescription {
                name: stage.name.clone(),
                headline: plan.headline(place),
                window: StageWindow { start: stage.start, end },
                slos: stage.own.slos.clone(),
                stopped: own_end.cloned(),
            }
        });
        described.collect()
    }

    fn worker(
        &self,
        member: &Member,
        settlement: &Settlement,
        all_due: u64,
    ) -> Option<WorkerResult> {
        let id = member.id;
        let account = self.ledger.accounts().get(&id)?;
        let mut books = Books::default();
        let gaps = settlement.gaps.get(&id).into_iter().flat_map(BTreeMap::values);
        account.books.values().chain(gaps).for_each(|scope| books.merge(scope));
        let beyond = settlement.beyond.get(&id).into_iter().flat_map(BTreeMap::values);
        beyond.for_each(|requests| books.take_back_without_lease(*requests));
        let ownership = self.ledger.ownership();
        let loss = ownership.and_then(|ownership| ownership.loss(id));
        // The end of a spare is nobody's loss.
        let owned = ownership.is_some_and(|table| table.tenures().iter().any(|t| t.owner == id));
        let last_told = Duration::from_secs(account.covered_to.into());
        let (offset_ns, error_ns) = member.clock.unwrap_or_default();
        Some(WorkerResult {
            ordinal: id.ordinal,
            host: member.host.clone(),
            incarnation: id.incarnation,
            share: (all_due > 0).then(|| books.due as f64 / all_due as f64),
            generator_lag_p50_us: account.generator_lag.quantile(0.5),
            generator_lag_p99_us: account.generator_lag.quantile(0.99),
            generator_lag_max_us: account.generator_lag.max(),
            ttft_p50_us: account.ttft.quantile(0.5),
            snapshots: account.deltas,
            start_skew_us: account.start_skew.map_or(0, micros),
            clock_offset_us: offset_ns / 1_000,
            clock_error_us: error_ns.div_ceil(1_000),
            cpu_seconds: Some(account.cpu.as_secs_f64()),
            lost: (!account.complete && owned).then(|| WorkerLost {
                at: loss.map_or(last_told, |loss| loss.noticed_at),
                taken_over_at: ownership.and_then(|ownership| ownership.taken_over_at(id)),
                in_flight_at_last_snapshot: books.lost.in_flight_at_last_snapshot,
                due_after_last_snapshot: books.lost.due_after_last_snapshot,
                without_owner: books.not_sent.get(&NotSent::NoOwner).copied().unwrap_or_default(),
            }),
            books,
        })
    }

    /// Until when the load was offered: its planned end, or an earlier stop; zero where it never began.
    fn offered_until(&self, plan: &Plan) -> Duration {
        if self.start_unix_ns.is_none() {
            return Duration::ZERO;
        }
        plan.end().into_iter().chain(self.stopped_at).min().unwrap_or(Duration::MAX)
    }

    /// The load is whole, but fewer carry it.
    fn fewer_than_expected(&self) -> Option<Warning> {
        let came = self.ledger.ownership()?.roots().get();
        fewer(came, self.roster.size().expected.get())
    }

    fn warnings(&self) -> Vec<Warning> {
        let mut all: Vec<Warning> = Vec::new();
        for member in self.roster.members() {
            let own = member.assigned.iter().flat_map(|assigned| &assigned.warnings);
            for warning in own {
                if !all.contains(warning) {
                    all.push(warning.clone());
                }
            }
        }
        let inexact =
            self.ledger.total().scopes.values().map(|s| s.notes.prompts_inexact).sum::<u64>();
        if inexact > 0 {
            let checked: u64 =
                self.ledger.total().scopes.values().map(|s| s.notes.prompts_checked).sum();
            let message = format!(
                "{inexact} of {checked} prompts that were counted again do not have the asked number of tokens"
            );
            all.push(Warning::new("prompt_lengths", message));
        }
        all.extend(self.fewer_than_expected());
        if let Ending::Degraded(reason) = &self.ending {
            all.push(Warning::new("degraded", reason.clone()));
        }
        all
    }
}

fn early((at, reason): (Duration, StopReason)) -> StoppedEarly {
    StoppedEarly { at, reason }
}

/// Classes, or targets, each with its cells; none where there is one.
fn groups(
    plan: &Plan,
    named: impl Iterator<Item = (String, f64, Slos)> + Clone,
    group_of: impl Fn(Cell) -> usize,
) -> Vec<GroupDescription> {
    let all: f64 = named.clone().map(|(_, weight, _)| weight).sum();
    let cells = |index: usize| {
        (0..plan.cells()).filter(|cell| group_of(plan.cell(*cell)) == index).collect()
    };
    let group = |(index, (name, weight, slos)): (usize, (String, f64, Slos))| GroupDescription {
        name,
        share: weight / all,
        cells: cells(index),
        slos,
    };
    named.enumerate().map(group).collect()
}

/// The turns of sessions. No plan knows their shares: these are of what was due.
fn turns(plan: &Plan, merged: &Interval) -> Vec<GroupDescription> {
    let due = |turn: Option<usize>| {
        let of_turn = |scope: &Scope| turn.is_none_or(|turn| plan.cell(scope.class).turn == turn);
        let records = merged.scopes.iter().filter(|(scope, _)| of_turn(scope));
        records.map(|(_, record)| record.books.due).sum::<u64>()
    };
    let all = due(None).max(1) as f64;
    let group = |(turn, name): (usize, String)| GroupDescription {
        name,
        share: due(Some(turn)) as f64 / all,
        cells: (0..plan.cells()).filter(|cell| plan.cell(*cell).turn == turn).collect(),
        slos: Slos::default(),
    };
    plan.turn_names().into_iter().enumerate().map(group).collect()
}

/// Which worker did not reach the end, when that was noticed, and what was missing until others went on.
fn lost(worker: &WorkerResult) -> Option<Warning> {
    let lost = worker.lost?;
    let missing = lost.in_flight_at_last_snapshot + lost.due_after_last_snapshot;
    let taken_over = match lost.taken_over_at {
        Some(at) => format!("others sent its share from {} s on", at.as_secs()),
        None => "nobody sent its share from then on".to_owned(),
    };
    let message = format!(
        "worker {} ({}) was missed at {:.1} s; {taken_over}; {missing} of its requests are lost, {} more were nobody's",
        worker.ordinal,
        worker.host,
        lost.at.as_secs_f64(),
        lost.without_owner
    );
    Some(Warning::new("worker_lost", message))
}

/// Who did not come in time.
fn fewer(came: u32, expected: u32) -> Option<Warning> {
    let message = format!(
        "the run started with {came} of {expected} workers: each of them had a larger share than was meant; look at why the others did not come, or expect fewer"
    );
    (came < expected).then(|| Warning::new("fewer_workers", message))
}

/// The best source that counted every completed request's output tokens, or `mixed`.
fn token_source(merged: &Interval) -> String {
    let mut notes = metrics::Notes::default();
    merged.scopes.values().for_each(|record| notes.merge(&record.notes));
    let sources = [
        ("usage", notes.usage_requests),
        ("tokenizer", notes.tokenizer_requests),
        ("events", notes.event_counted_requests),
    ];
    let used: Vec<_> = sources.iter().filter(|(_, requests)| *requests > 0).collect();
    match used[..] {
        [] => "none",
        [(name, _)] => name,
        [..] => "mixed",
    }
    .to_owned()
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_began_with_fewer_says_so() {
        assert_eq!(fewer(3, 3), None);
        let warning = fewer(2, 3).unwrap();
        assert_eq!(warning.code, "fewer_workers");
        assert!(warning.message.contains("2 of 3 workers"));
    }
}
