//! Counts what a plan would offer, for the report to show.
//!
//! Requests are counted by going through the schedule itself and tokens by making prompts as the run
//! would, so that a plan and its run cannot disagree.

use std::num::NonZeroU32;

use metrics::Warning;
use report::{
    InOut, PlanView, PlannedCost, PlannedCurve, PlannedPause, PlannedRecords, PlannedSessions,
    PlannedShare, PlannedTokens,
};
use workload::{Drive, Plan, PromptError, PromptSource, Shard};

use super::asked;
use super::curve::{self, Bins};
use super::load::{first_due, load, named, peak_rate, planned_stage, thinks};
use super::rules;
use crate::limits::Service;

/// Longer schedules, an hour at 5,000 requests a second, are not gone through: that would take seconds.
const MOST_COUNTED: u64 = 20_000_000;
/// Prompts made to learn how many tokens one has.
const MOST_SAMPLED: u64 = 1_000;
/// Under so many requests in flight a worker, whole numbers no longer divide evenly.
const SMALL_SHARE: u32 = 10;

/// What a view is made of.
pub(super) struct Facts<'a> {
    pub(super) plan: &'a Plan,
    pub(super) service: Service,
    pub(super) prompts: &'a PromptSource,
    pub(super) workers: NonZeroU32,
    /// Of a million tokens, input and output.
    pub(super) price: Option<(f64, f64)>,
}

/// Requests of a schedule, where it can be counted.
struct Counted {
    by_stage: Vec<Option<u64>>,
    by_rank: Vec<Option<u64>>,
    total: Option<u64>,
    /// The schedule was gone through.
    is_complete: bool,
    curve: Option<PlannedCurve>,
}

impl Facts<'_> {
    /// The view, with `warnings` and its own.
    pub(super) fn view(&self, mut warnings: Vec<Warning>) -> Result<PlanView, PromptError> {
        let plan = self.plan;
        let counted = self.count();
        let shares = self.shares(&counted.by_rank);
        warnings.extend(small_shares(&shares));
        let stages = plan.stages.iter().zip(&counted.by_stage);
        let is_cut = counted.is_complete && counted.total == plan.requests;
        let last_due = if is_cut { plan.arrivals(Shard::WHOLE).last() } else { None };
        let (tokens, turns) = self.tokens(counted.total)?;
        let records = self.records(counted.total, tokens.each.output);
        warnings.extend(records.and_then(no_room));
        Ok(PlanView {
            name: plan.name.clone(),
            target: asked::target(plan, self.service),
            targets: asked::targets(plan),
            load: load(plan),
            sessions: plan.sessions.as_ref().map(|sessions| PlannedSessions {
                turns,
                pause: sessions.think.map_or(PlannedPause::None, thinks),
            }),
            stages: stages.map(|(stage, requests)| planned_stage(stage, *requests)).collect(),
            rules: rules::of(plan),
            request_limit: plan.requests,
            requests: counted.total,
            last_due: last_due.map(|arrival| arrival.due),
            drain: plan.drain,
            first_due: first_due(plan),
            prompts: asked::prompts(&plan.prompts, self.prompts),
            classes: asked::classes(plan, self.prompts),
            cost: self.cost(tokens.total),
            records,
            tokens,
            shares,
            curve: counted.curve.map(|curve| named(curve, plan)),
            warnings,
        })
    }

    fn count(&self) -> Counted {
        let expected = self.plan.expected_arrivals();
        let mut by_stage = vec![None; self.plan.stages.len()];
        let mut by_rank = vec![None; self.workers.get() as usize];
        if expected.is_none_or(|expected| expected > MOST_COUNTED) {
            // A closed loop sends what is asked for, unless its time ends first.
            let asked = self.plan.requests.filter(|_| self.plan.end().is_none());
            let total = expected.or(asked);
            let curve = curve::of_levels(self.plan);
            return Counted { by_stage, by_rank, total, is_complete: false, curve };
        }
        let mut total = 0;
        let mut bins = Bins::of(self.plan, expected.unwrap_or(0));
        let mut counts = self.plan.due_counts(self.workers);
        while let Some(until) = bins.until() {
            let mut of_bin = 0;
            for (rank, stage, requests) in counts.advance(until) {
                *by_stage[usize::from(stage)].get_or_insert(0) += requests;
                *by_rank[rank as usize].get_or_insert(0) += requests;
                of_bin += requests;
            }
            bins.take(of_bin);
            total += of_bin;
        }
        let counted = |all: Vec<Option<u64>>| all.into_iter().map(|n| n.or(Some(0))).collect();
        let (by_stage, by_rank) = (counted(by_stage), counted(by_rank));
        Counted { by_stage, by_rank, total: Some(total), is_complete: true, curve: bins.curve() }
    }

    fn cost(&self, total: InOut) -> Option<PlannedCost> {
        let (input, output) = self.price?;
        let spent = |tokens: Option<f64>, price: f64| Some(tokens? / 1e6 * price);
        let total = spent(total.input, input).zip(spent(total.output, output));
        Some(PlannedCost {
            input_per_million: input,
            output_per_million: output,
            total: total.map(|(input, output)| input + output),
        })
    }

    /// A table takes somewhat less than half of the lines that it is made of.
    fn records(&self, requests: Option<u64>, output_tokens: Option<f64>) -> Option<PlannedRecords> {
        let records = self.plan.records?;
        let tokens = output_tokens.unwrap_or_else(|| self.plan.mean_output_tokens());
        let all = requests.map(|requests| records.expected_bytes(requests as f64, tokens));
        Some(PlannedRecords {
            share: records.share,
            worker_bytes: all.map(|all| all / f64::from(self.workers.get())),
            results_bytes: all.map(|all| 1.5 * all),
            limit_bytes: records.most_bytes,
        })
    }

    fn shares(&self, by_rank: &[Option<u64>]) -> Vec<PlannedShare> {
        let in_flight = match self.plan.drive {
            Drive::Open { cap, .. } => cap,
            Drive::Closed { slots, .. } => Some(slots),
        };
        let share = |shard: Shard| in_flight.map(|all| shard.share(all.get()));
        Shard::split(self.workers)
            .zip(by_rank)
            .map(|(shard, requests)| PlannedShare { requests: *requests, in_flight: share(shard) })
            .collect()
    }

    /// From prompts spread evenly over the run, all of them where they are few; of sessions with how many turns they have
    /// on average.
    fn tokens(&self, total: Option<u64>) -> Result<(PlannedTokens, f64), PromptError> {
        let all = total.or(self.prompts.wraps_at()).unwrap_or(MOST_SAMPLED);
        let sampled = all.min(MOST_SAMPLED);
        let (mut input, mut output, mut turns) = (Some(0), Some(0), 0);
        for index in 0..sampled {
            let number = u128::from(index) * u128::from(all) / u128::from(sampled);
            let one = self.whole(u64::try_from(number).unwrap_or(u64::MAX))?;
            input = sum(input, one.input);
            output = sum(output, one.output);
            turns += u64::from(one.turns);
        }
        let mean = |tokens: u64| (sampled > 0).then(|| tokens as f64 / sampled as f64);
        let each = InOut { input: input.and_then(mean), output: output.and_then(mean) };
        let times = |factor: Option<f64>| {
            let product = |tokens: Option<f64>| Some(tokens? * factor?);
            InOut { input: product(each.input), output: product(each.output) }
        };
        let total = times(total.map(|total| total as f64));
        let tokens = PlannedTokens { sampled, each, total, per_s: times(peak_rate(self.plan)) };
        Ok((tokens, mean(turns).unwrap_or(1.0)))
    }

    /// A request, or all turns of a session: each is asked after what was asked and ordered before it.
    fn whole(&self, number: u64) -> Result<Whole, PromptError> {
        let turns = self.prompts.turns(number)?;
        let mut whole = Whole { input: Some(0), output: Some(0), turns };
        let mut said = Some(0);
        for turn in 0..turns {
            let prompt = self.prompts.turn(number, turn)?;
            said = sum(said, prompt.input_tokens.map(u64::from));
            whole.input = sum(whole.input, said);
            let output = prompt.output_tokens.map(u64::from);
            whole.output = sum(whole.output, output);
            said = sum(said, output);
        }
        Ok(whole)
    }
}

/// Tokens of a request, or of a session.
struct Whole {
    input: Option<u64>,
    output: Option<u64>,
    turns: u32,
}

/// Records that would be dropped.
fn no_room(records: PlannedRecords) -> Option<Warning> {
    let expected = records.worker_bytes.filter(|bytes| *bytes > records.limit_bytes as f64)?;
    let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
    let message = format!(
        "records would take about {:.0} MiB of each worker's disk, and may take {:.0}: the rest is dropped; raise `recordOptions.maxDisk`, or take a sample",
        mebibytes(expected),
        mebibytes(records.limit_bytes as f64)
    );
    Some(Warning::new("records_limit", message))
}

/// Nothing as soon as one prompt does not say.
fn sum(so_far: Option<u64>, tokens: Option<u64>) -> Option<u64> {
    Some(so_far? + tokens?)
}

/// A cap or slots that are dealt out in whole numbers make workers unlike each other.
fn small_shares(shares: &[PlannedShare]) -> Option<Warning> {
    let least = shares.iter().filter_map(|share| share.in_flight).min()?;
    if shares.len() < 2 || least >= SMALL_SHARE {
        return None;
    }
    let idle = if least == 0 { "; those with none never send" } else { "" };
    let message = format!(
        "a worker may have as few as {least} of the requests in flight, and each waits for its own \
         share only{idle}: use fewer workers or raise `load.concurrency`"
    );
    Some(Warning::new("small_share", message))
}

#[cfg(test)]
mod tests;
