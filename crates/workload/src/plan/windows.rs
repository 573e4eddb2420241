//! What surrounds the measurement: warm-up and cool-down, by time or by number.
//!
//! The warm-up precedes `duration` and offers the first stage's starting load; a cool-down follows it at the
//! last stage's load. By number they need a schedule, so they are an open loop's: the length of a warm-up is
//! the instant at which the schedule has so many arrivals, and a cool-down ends the run by its number of
//! requests.

use std::time::Duration;

use super::build::Builder;
use super::stages::Part;
use super::{ArrivalProcess, Offered, Plan, PlanError, Stage, StageKind};
use crate::config::{Config, DEFAULT_SEED};
use crate::random::{Purpose, Random};

impl Builder<'_> {
    /// The parts one after the other, between a warm-up and a cool-down.
    pub(super) fn lay_out(&mut self, mut parts: Vec<Part>, is_open: bool) -> Vec<Stage> {
        if let Some(first) = parts.first().cloned()
            && let Some(warmup) = self.warmup(&first, is_open)
        {
            parts.insert(0, warmup);
        }
        if let Some(last) = parts.last().cloned()
            && let Some(cooldown) = self.cooldown(&last, is_open)
        {
            parts.push(cooldown);
        }
        one_after_the_other(parts)
    }

    fn warmup(&mut self, first: &Part, is_open: bool) -> Option<Part> {
        let offered = steady(first.offered, first.offered.starting());
        let by_time = self.config.duration("benchmark.warmup").filter(|time| !time.is_zero());
        let by_number =
            self.number("benchmark.warmupRequests", "benchmark.warmup", by_time, is_open);
        if by_time.is_some() && first.starts_at_nothing() {
            self.warn("warmup_idle", "the warm-up offers nothing, because `load.ramp.from` is 0: set it, or leave out `benchmark.warmup`");
        }
        let length = match by_number {
            Some(_) if first.starts_at_nothing() => {
                let needs = "`load.ramp.from` above 0: at no load there is no request";
                self.refuse(PlanError::Needs { what: "benchmark.warmupRequests", needs });
                return None;
            }
            Some(number) if splits_a_burst(offered, number) => {
                let needs = "a multiple of `load.burst.size`: a burst's requests are due together";
                self.refuse(PlanError::Needs { what: "benchmark.warmupRequests", needs });
                return None;
            }
            Some(number) => holds(self.config, offered, first.arrivals, number),
            None => by_time?,
        };
        let warmup = Part::new(StageKind::Warmup, Some(length), offered);
        Some(Part { arrivals: first.arrivals, ..warmup })
    }

    /// By number it has no end of its own: [`Self::with_cooldown_requests`].
    fn cooldown(&mut self, last: &Part, is_open: bool) -> Option<Part> {
        let by_time = self.config.duration("benchmark.cooldown").filter(|time| !time.is_zero());
        let by_number =
            self.number("benchmark.cooldownRequests", "benchmark.cooldown", by_time, is_open);
        if by_number.is_none() && by_time.is_none() {
            return None;
        }
        if last.length.is_none() {
            self.refuse(PlanError::Needs {
                what: "benchmark.cooldown",
                needs: "`benchmark.duration`: a number of requests alone leaves open when it begins",
            });
        }
        let offered = steady(last.offered, last.offered.ending());
        if by_number.is_some() && offered.ending() <= 0.0 {
            let needs = "a load at the end: at no load there is no request";
            self.refuse(PlanError::Needs { what: "benchmark.cooldownRequests", needs });
        }
        let length = by_time.filter(|_| by_number.is_none());
        Some(Part { arrivals: last.arrivals, ..Part::new(StageKind::Cooldown, length, offered) })
    }

    /// A number of requests, where one is asked for and can be.
    fn number(
        &mut self,
        key: &'static str,
        by_time_key: &'static str,
        by_time: Option<Duration>,
        is_open: bool,
    ) -> Option<u64> {
        let number = self.config.integer(key)?;
        if by_time.is_some() {
            let advice = "set one of them";
            self.refuse(PlanError::Excluded { first: key, second: by_time_key, advice });
        }
        if !is_open {
            let needs = "an open loop (`load.rate`): of a closed loop only time tells which requests come when";
            self.refuse(PlanError::Needs { what: key, needs });
            return None;
        }
        Some(number)
    }

    /// Ends a run whose cool-down is counted when so many requests have followed the measured ones.
    pub(super) fn with_cooldown_requests(&self, mut plan: Plan) -> Plan {
        let number = self.config.integer("benchmark.cooldownRequests");
        let cooldown = plan.stages.last().filter(|stage| stage.kind == StageKind::Cooldown);
        if let (Some(number), Some(cooldown)) = (number, cooldown) {
            let all = plan.all_due_before(cooldown.start).saturating_add(number);
            plan.requests = Some(plan.requests.map_or(all, |most| most.min(all)));
        }
        plan
    }
}

/// How long so many arrivals take, from the schedule's start: until the next one is due.
fn holds(config: &Config, offered: Offered, arrivals: ArrivalProcess, number: u64) -> Duration {
    let level = offered.starting();
    let seconds = match (offered, arrivals) {
        (Offered::Burst { size, width, .. }, _) => {
            let size = f64::from(size.get());
            let (burst, place) = ((number as f64 / size).floor(), number as f64 % size);
            burst * size / level + width.as_secs_f64() * place / size
        }
        (_, ArrivalProcess::Even) => number as f64 / level,
        (_, random) => arrivals_take(config, random, number) / level,
    };
    // Rounded down: the arrival that is due then must not fall before it.
    Duration::from_nanos((seconds * 1e9).floor() as u64)
}

fn splits_a_burst(offered: Offered, number: u64) -> bool {
    match offered {
        Offered::Burst { size, .. } => {
            !number.is_multiple_of(u64::from(size.get())) && offered.together() > 1
        }
        _ => false,
    }
}

/// Where the first arrival after so many lies on the axis of Λ.
fn arrivals_take(config: &Config, process: ArrivalProcess, number: u64) -> f64 {
    let seed = config.integer("benchmark.seed").unwrap_or(DEFAULT_SEED);
    let mut gaps = Random::new(seed, Purpose::Arrivals, 0);
    let mut nano_arrivals = 0_u128;
    for _ in 0..=number {
        nano_arrivals += u128::from(process.nano_gap(&mut gaps));
    }
    nano_arrivals as f64 / 1e9
}

/// What a warm-up or a cool-down offers beside a load: bursts stay bursts.
fn steady(offered: Offered, level: f64) -> Offered {
    match offered {
        Offered::Burst { .. } => offered,
        _ => Offered::Constant { level },
    }
}

/// The stages of parts, each where the one before ends.
pub(super) fn one_after_the_other(parts: Vec<Part>) -> Vec<Stage> {
    let mut start = Duration::ZERO;
    let mut stages = Vec::with_capacity(parts.len());
    for Part { name, kind, length, offered, arrivals, own } in parts {
        let end = length.map(|length| start + length);
        stages.push(Stage { name, kind, start, end, offered, arrivals, own });
        start = end.unwrap_or(start);
    }
    stages
}
